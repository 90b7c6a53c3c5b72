"""One token of each of some sequences through all layers of a network, in one call; or several, one after another,
each drawn from the logits before it.

Where the network is small, or its products fast, a call of Python's for each kernel costs more than some kernels do,
and what Python does between two steps more than a step.
The numbers are those of the kernels called one by one, to the bit (`denken.engine.native`).
"""

# S = sequences, T = steps, M = hidden size, F = half of a head's columns, V = vocabulary, P = positions

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, NAMES, NUMBER, POINTER, address, kernel
from denken.model.kernels.experts import RouterRecord, Routing
from denken.model.kernels.operands import Product, Record
from denken.model.kernels.rows import Begun, Tables, narrow

# What an id does to a sequence.
ENDS, OPENS = 1, 2
_CALL = (*[POINTER] * 7, INTEGER)
_AHEAD = (*[POINTER] * 6, INTEGER)
# How many of a text's last ids a guess looks back at, as in `guesses.h`.
TAIL = 64


@dataclass(frozen=True, slots=True)
class Latent:
    """Multi-head latent attention, as in `denken.model.attention.LatentAttention`.

    query_down, query_norm: None where queries are made of the hidden state at once. up: the up-projection's weight (H *
    (plain + value), latent). by_head: of each head what lifts queries and what lowers what is seen; for fp32 alone.
    """

    query_down: Product | None
    query: Product
    key: Product
    query_norm: Tensor | None
    key_norm: Tensor
    up: Tensor
    by_head: Sequence[tuple[Product, Product]]
    sizes: tuple[int, int, int, int]
    interleaved: bool
    eps: float

    def record(self) -> _Latent:
        """sizes: latent, rotary, plain and value columns. Whoever keeps the record keeps the tensors."""
        products = _products(itertools.chain.from_iterable(self.by_head))
        record = _Latent(
            *map(_product, (self.query_down, self.query, self.key)),
            *map(address, (self.query_norm, self.key_norm, self.up)),
            ctypes.addressof(products),
            *self.sizes,
            self.interleaved,
            self.eps,
        )
        record.kept = products
        return record


@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture of experts, as in `denken.model.moe.MixtureOfExperts`.

    logits: of all experts, in fp32. experts: gate and up side by side, and down, of each. shared: the same of those
    that see every token.
    """

    routing: Routing
    logits: Product
    experts: Sequence[tuple[Product, Product]]
    shared: tuple[Product, Product] | None

    def record(self) -> _Mixture:
        """Whoever keeps the record keeps the tensors."""
        products, shared = _products(itertools.chain.from_iterable(self.experts)), self.shared or (None, None)
        record = _Mixture(self.routing.record(self.logits), ctypes.addressof(products), *map(_product, shared))
        record.kept = products
        return record


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's weights, as in `denken.engine.native`: of attention qkv and turn, or a `Latent`; of what follows it
    gate_up and down, or a `Mixture`."""

    before_attention: Tensor
    before_mlp: Tensor
    out: Product
    turn: Tensor | None = None
    qkv: Product | None = None
    latent: Latent | None = None
    gate_up: Product | None = None
    down: Product | None = None
    mixture: Mixture | None = None

    def record(self, kept: list[ctypes.Structure]) -> list[int]:
        """kept: takes what must be kept for as long as the record is used."""
        norms = [address(x) or 0 for x in (self.before_attention, self.turn, self.before_mlp)]
        products = (self.qkv, self.out, self.gate_up, self.down)
        numbers = [number for product in products for number in (product.record() if product else [0] * 6)]
        parts = [None if part is None else part.record() for part in (self.latent, self.mixture)]
        kept += [part for part in parts if part is not None]
        return [*norms, *numbers, *(0 if part is None else ctypes.addressof(part) for part in parts)]


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a prompt, beside those who decode: how many tokens, how many before them, and the places of all of
    these."""

    count: int
    before: int
    places: Tensor


@dataclass(frozen=True, slots=True)
class Seats:
    """Where each sequence's keys and values are, as `rows.attend_rows` takes them; tensors of a layer each.

    pieces: those who read, whose tokens stand behind those of all who decode; places_N has all of them. parts: whether
    blocks lie as attention reads them.
    Whoever replaces a tensor replaces its list: that is how it is seen.
    """

    row_keys: Sequence[Tensor]
    row_values: Sequence[Tensor]
    block_keys: Sequence[Tensor]
    block_values: Sequence[Tensor]
    stride: int
    lengths_S: Tensor
    places_N: Tensor
    begun: Sequence[Begun] | None
    order_S: Tensor
    seats_S: Tensor | None = None
    tables: Tables | None = None
    pieces: Sequence[Piece] = ()
    parts: bool = False

    def tensors(self) -> tuple[Sequence[Tensor], ...]:
        return self.row_keys, self.row_values, self.block_keys, self.block_values


@dataclass(frozen=True, slots=True)
class Ends:
    """What stands before a network's layers and behind them. cos_PF, sin_PF: the angles of every position that may
    come."""

    embedding_VM: Tensor
    cos_PF: Tensor
    sin_PF: Tensor
    head: Product


@dataclass(frozen=True, slots=True)
class Going:
    """Sequences that go on by themselves. ids_S, positions_S: of each one's last id. skips_S: how many of its ids stand
    in its slot. places_ST: where in the blocks each id's key goes. limits_S: the most ids to say. behind_S: the same
    where an id has come that opens another part of a text; 0 where a sequence stops there. manners, noise_ST: as
    `softmax.draw` takes them. stops_V: bytes; ENDS for ids behind which a sequence stops, OPENS for those.
    """

    ids_S: Sequence[int]
    positions_S: Sequence[int]
    skips_S: Sequence[int]
    places_ST: Sequence[Sequence[int]]
    limits_S: Sequence[int]
    behind_S: Sequence[int]
    manners: Sequence[tuple[float, float, float, float]]
    noise_ST: Sequence[Sequence[float]]
    stops_V: Tensor


@dataclass(frozen=True, slots=True)
class Guessing:
    """What sequences guess from, and what came of it (`denken.engine.speculate`, whose tables are read and written).

    tables: addresses of tags, ids, hits, misses, right, seen and classes; masks: those of slots. texts: numbers of each
    one's texts. tails: their last ids. surmises: as in `Sequence`. longest, worth: the most ids of a guess, the least
    chance. gain, brought: ids that a sequence gets from a pass and those that it brings, lately.
    """

    tables: Sequence[int]
    masks: Sequence[int]
    texts: Sequence[tuple[int, ...]]
    tails: Sequence[Sequence[int]]
    surmises: Sequence[tuple[int, ...]]
    longest: int
    worth: float
    gain: float
    brought: float


@dataclass(frozen=True, slots=True)
class Guessed:
    """Of each sequence: how many ids were guessed, how many were right, its surmise now. gain, brought: as before."""

    guessed: list[int]
    right: list[int]
    surmises: list[tuple[int, ...]]
    gain: float
    brought: float


@dataclass(frozen=True, slots=True)
class Said:
    """What a sequence said: ids, log-probabilities, and from how many each was drawn (0: from all)."""

    ids: list[int]
    logprobs: list[float]
    kept: list[int]


@dataclass(frozen=True, slots=True)
class Ahead:
    """What sequences said in a call. passes: of each pass through the network its tokens and seconds; none where they
    tell nothing of those to come."""

    said: list[Said]
    passes: list[tuple[int, float]]
    guessed: Guessed | None


class _Network(ctypes.Structure):
    _fields_ = [
        *((name, INTEGER) for name in ("layers", "hidden", "inner", "heads", "key_heads", "head_size", "turning")),
        ("eps", NUMBER),
        ("scale", NUMBER),
        ("last", POINTER),
    ]


class _Seats(ctypes.Structure):
    _fields_ = [
        ("rows", INTEGER),
        ("stride", INTEGER),
        ("narrow", INTEGER),
        ("lengths", POINTER),
        ("places", POINTER),
        ("slot_length", INTEGER),
        ("slots", POINTER),
        ("slot_lengths", POINTER),
        ("seats", POINTER),
        ("order", POINTER),
        ("tables", POINTER),
        ("table_pitch", INTEGER),
        *((name, INTEGER) for name in ("block_size", "tokens", "reading")),
        ("pieces", POINTER),
        ("parts", INTEGER),
    ]


class _Latent(ctypes.Structure):
    kept: Any
    _fields_ = [
        *((name, Record) for name in ("query_down", "query", "key")),
        *((name, POINTER) for name in ("query_norm", "key_norm", "up", "by_head")),
        *((name, INTEGER) for name in ("latent", "rotary", "plain", "value", "interleaved")),
        ("eps", NUMBER),
    ]


class _Mixture(ctypes.Structure):
    kept: Any
    _fields_ = [
        ("router", RouterRecord),
        ("experts", POINTER),
        *((name, Record) for name in ("shared_gate_up", "shared_down")),
    ]


class _Ends(ctypes.Structure):
    _fields_ = [
        *((name, POINTER) for name in ("embedding", "cosine", "sine")),
        ("head", Record),
        ("vocabulary", INTEGER),
    ]


class _Rows(ctypes.Structure):
    _fields_ = [
        ("count", INTEGER),
        ("steps", INTEGER),
        ("seconds", ctypes.c_double),
        *((name, POINTER) for name in ("ids", "positions", "skips", "places", "limits", "behind")),
        *((name, POINTER) for name in ("manners", "noise", "stops")),
        *((name, POINTER) for name in ("said", "logprobs", "kept", "counts")),
        ("passes", INTEGER),
        ("tokens", POINTER),
        ("took", POINTER),
    ]


class _Tables(ctypes.Structure):
    _fields_ = [
        *((name, INTEGER) for name in ("mask", "known_mask")),
        *((name, POINTER) for name in ("table", "ids", "hits", "misses", "right", "seen", "classes")),
    ]


class _Guessing(ctypes.Structure):
    _fields_ = [
        ("guesses", _Tables),
        *((name, INTEGER) for name in ("sources", "longest")),
        *((name, ctypes.c_double) for name in ("worth", "gain", "brought")),
        *((name, POINTER) for name in ("texts", "tails", "surmises", "guessed", "accepted")),
    ]


class Decoder:
    """A network's layers and last norm. heads: of queries, of keys, columns of each, and how many of these turn."""

    def __init__(
        self,
        layers: Sequence[Layer],
        last_M: Tensor,
        inner: int,
        heads: tuple[int, int, int, int],
        eps: float,
        scale: float,
    ) -> None:
        self._kept, self._parts = (list(layers), last_M), list[ctypes.Structure]()
        self._weights = torch.tensor([layer.record(self._parts) for layer in layers])
        self._network = _Network(len(layers), len(last_M), inner, *heads, eps, scale, last_M.data_ptr())
        self._call = kernel(f"denken_decode_{NAMES[last_M.dtype]}", _CALL)
        self._ahead = kernel(f"denken_ahead_{NAMES[last_M.dtype]}", _AHEAD)
        self._seen: tuple[Sequence[Tensor], Sequence[Begun] | None] | None = None
        self._layers = self._weights

    def __call__(self, x_SM: Tensor, cos_SF: Tensor, sin_SF: Tensor, seats: Seats) -> Tensor:
        """Hidden states after the last norm (S, M); x_SM is overwritten. Keys and values are written first."""
        self._find(seats)
        own, _kept = _record(seats)
        out_SM = torch.empty(x_SM.shape, dtype=x_SM.dtype)
        self._call(
            ctypes.addressof(self._network),
            address(self._layers),
            ctypes.addressof(own),
            address(x_SM),
            address(cos_SF),
            address(sin_SF),
            address(out_SM),
            torch.get_num_threads(),
        )
        return out_SM

    def ahead(self, going: Going, ends: Ends, seats: Seats, seconds: float, guessing: Guessing | None = None) -> Ahead:
        """What each sequence says until T ids, its limit, or an id that stops it; no pass through the network begins
        when so many seconds have passed, nor once a sequence has said T ids.

        seats: of all sequences; each has a row of its own, with room for T ids more. guessing: what may be guessed, and
        checked in the same pass: it changes how many passes there are, and nothing that is said.
        """
        self._find(seats)
        steps = len(going.noise_ST[0])
        lists = (going.ids_S, going.positions_S, going.skips_S, going.places_ST, going.limits_S, going.behind_S)
        ids, positions, skips, places, limits, behind = (torch.tensor(x, dtype=torch.long) for x in lists)
        manners, noise = (torch.tensor(x, dtype=torch.float64) for x in (going.manners, going.noise_ST))
        said, kept = (torch.empty(len(ids), steps, dtype=torch.long) for _ in range(2))
        logprobs, counts = torch.empty(len(ids), steps, dtype=torch.float64), torch.zeros(len(ids), dtype=torch.long)
        tokens, took = torch.empty(steps, dtype=torch.long), torch.empty(steps, dtype=torch.float64)
        inputs = (ids, positions, skips, places, limits, behind, manners, noise, going.stops_V)
        outputs = map(address, (said, logprobs, kept, counts))
        rows = _Rows(len(ids), steps, seconds, *map(address, inputs), *outputs, 0, address(tokens), address(took))
        tables = map(address, (ends.embedding_VM, ends.cos_PF, ends.sin_PF))
        own_ends = _Ends(*tables, Record(*ends.head.record()), len(ends.embedding_VM))
        (own_seats, _kept), guesses = _record(seats), None if guessing is None else _Guesses(guessing)
        self._ahead(
            ctypes.addressof(self._network),
            address(self._layers),
            *(ctypes.addressof(structure) for structure in (own_seats, own_ends, rows)),
            None if guesses is None else ctypes.addressof(guesses.record),
            torch.get_num_threads(),
        )
        columns = zip(said.tolist(), logprobs.tolist(), kept.tolist(), counts.tolist(), strict=True)
        return Ahead(
            [Said(ids[:count], logprobs[:count], kept[:count]) for ids, logprobs, kept, count in columns],
            list(zip(tokens[: rows.passes].tolist(), took[: rows.passes].tolist(), strict=True)),
            None if guesses is None else guesses.result(),
        )

    def _find(self, seats: Seats) -> None:
        """Writes the addresses of keys and values behind each layer's weights, where they are others than before."""
        if self._seen is not None and self._seen[0] is seats.row_keys and self._seen[1] is seats.begun:
            return
        begun = seats.begun or []
        columns = [[x.data_ptr() for x in tensors] for tensors in seats.tensors()]
        columns += [
            [x.data_ptr() for x in column]
            for column in zip(*((b.strip.keys, b.strip.values) for b in begun), strict=True)
        ]
        columns += [[0] * len(self._weights)] * (6 - len(columns))
        self._layers = torch.cat((self._weights, torch.tensor(columns).t()), dim=1).contiguous()
        self._seen = seats.row_keys, seats.begun


def learn(
    tables: Sequence[int],
    masks: Sequence[int],
    texts: tuple[int, ...],
    ids: list[int],
    span: tuple[int, int],
    prompt: int,
) -> None:
    """As `denken.engine.speculate.Speculation.learn`: the ids `span` of a text follow what stands before them."""
    first = max(0, span[0] - TAIL)
    part, own = torch.tensor(ids[first : span[1]]), torch.tensor(texts)
    record = _Tables(*masks, *tables)
    call = kernel("denken_learn", (POINTER, POINTER, INTEGER, POINTER, *[INTEGER] * 3))
    places = (place - first for place in (*span, prompt))
    call(ctypes.addressof(record), address(own), len(texts), address(part), *places)


class _Guesses:
    """`Guessing` as native code takes it, and what it wrote."""

    def __init__(self, given: Guessing) -> None:
        rows, sources = len(given.texts), len(given.texts[0])
        self._texts_SX = torch.tensor(given.texts)
        self._tails_SX = torch.tensor([[*[-1] * (TAIL - len(tail)), *tail] for tail in given.tails])
        surmises = [[*own[: given.longest], *[-1] * (given.longest - len(own))] for own in given.surmises]
        self._surmises_SX = torch.tensor(surmises, dtype=torch.long)
        self._guessed_S, self._right_S = (torch.zeros(rows, dtype=torch.long) for _ in range(2))
        written = (self._texts_SX, self._tails_SX, self._surmises_SX, self._guessed_S, self._right_S)
        numbers = (sources, given.longest, given.worth, given.gain, given.brought)
        self.record = _Guessing(_Tables(*given.masks, *given.tables), *numbers, *map(address, written))

    def result(self) -> Guessed:
        surmises = [tuple(id for id in own if id >= 0) for own in self._surmises_SX.tolist()]
        return Guessed(
            self._guessed_S.tolist(), self._right_S.tolist(), surmises, self.record.gain, self.record.brought
        )


def _product(product: Product | None) -> Record:
    return Record() if product is None else Record(*product.record())


def _products(products: Iterable[Product]) -> ctypes.Array[Record]:
    found = [_product(product) for product in products]
    return (Record * len(found))(*found)


def _record(seats: Seats) -> tuple[_Seats, Tensor | None]:
    """And what must be kept for as long as it is used."""
    decoding, pieces = len(seats.lengths_S), None
    if seats.pieces:
        starts = itertools.accumulate((piece.count for piece in seats.pieces), initial=decoding)
        own = zip(starts, seats.pieces, strict=False)
        pieces = torch.tensor([[start, each.count, each.before, each.places.data_ptr()] for start, each in own])
    begun = seats.begun[0] if seats.begun else None
    record = _Seats(
        decoding,
        seats.stride,
        narrow(seats.row_keys[0]),
        address(seats.lengths_S),
        address(seats.places_N),
        begun.strip.stride if begun else 0,
        address(begun.slots_S) if begun else None,
        address(begun.lengths_U) if begun else None,
        address(seats.seats_S),
        address(seats.order_S),
        *((None, 0, 0) if seats.tables is None else seats.tables.record()),
        len(seats.places_N),
        len(seats.pieces),
        address(pieces),
        seats.parts,
    )
    return record, pieces
