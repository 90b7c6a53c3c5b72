"""What a network is known to say: which id follows which few, counted beforehand in texts of its own.

A network that was trained for some tasks writes the same phrases again and again, and most of what it says there can
be read from a table: an n-gram draft (Leviathan et al. 2023, arXiv 2211.17192, drafts with bigrams; He et al. 2023,
arXiv 2311.08252, "REST", from a store of texts). `speculate.py` guesses from it; what is guessed wrong costs time and
nothing else. The table is a file beside the weights, `denken draft` makes it, and without one an engine guesses from
what it has said itself.

A context is told by the hash of its ids, as CPython has it of a tuple: 64 bits, so that another one is taken for it
once in 10^14 times. Of each the file keeps the id that followed most often, and in eight degrees each how often that
was seen and how often another followed. A context is left out where too little was seen of it, and where a shorter
one says the same as surely.
"""

# N = contexts, T = ids of all texts, L = those of which one is counted, S = slots

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy
import torch
from numpy.typing import NDArray

from denken.errors import CheckpointError
from denken.model import tensorfile

# In the format of safetensors; called otherwise, for a folder's *.safetensors are its weights.
FILE = "draft.ngrams"
# How many ids before a place it is looked up by, the longest first.
ORDERS = (6, 4, 3, 2)
# A context that was followed by one id so often is kept.
LEAST = 8
# From how often, and from what share of others on, the next degree begins.
OFTEN = (2, 3, 5, 9, 17, 65)
OTHERS = (1e-9, 0.03, 0.08, 0.16, 0.3, 0.5, 0.7)
# More contexts than this are no table that would be of use.
MOST = 1 << 24

Numbers = NDArray[numpy.int64]
Kind = TypeVar("Kind", bound=numpy.generic)


@dataclass(frozen=True, slots=True)
class Ngrams:
    """contexts_N: their hashes, ascending. ids_N: what follows. hits_N, misses_N: degrees of 0 to 7."""

    contexts_N: Numbers
    ids_N: Numbers
    hits_N: Numbers
    misses_N: Numbers

    def slots(self) -> tuple[Numbers, NDArray[numpy.int32], NDArray[numpy.uint8], NDArray[numpy.uint8]]:
        """Each context at the slot that its hash's lowest bits say: hashes, ids and degrees. There are at least four
        slots a context; where two meet, the one that was seen more often stays."""
        count = 1 << max(1, (4 * len(self.contexts_N) - 1).bit_length())
        order = numpy.argsort(self.hits_N, kind="stable")
        held_by_S = numpy.full(count, -1)
        held_by_S[self.contexts_N[order] & (count - 1)] = order
        held_S = held_by_S >= 0

        def laid(numbers_N: Numbers, kind: type[Kind]) -> NDArray[Kind]:
            found_S = numpy.zeros(count, dtype=kind)
            found_S[held_S] = numbers_N[held_by_S[held_S]]
            return found_S

        return (
            laid(self.contexts_N, numpy.int64),
            laid(self.ids_N, numpy.int32),
            laid(self.hits_N, numpy.uint8),
            laid(self.misses_N, numpy.uint8),
        )


def counted(texts: Iterable[tuple[Sequence[int], int]], least: int = LEAST) -> Ngrams:
    """What follows what in these texts.

    texts: ids, and from which on they were said; what stands before is looked back at, and not counted.
    """
    none = numpy.zeros(0, dtype=numpy.int64)
    ids, before, said = [none], [none], [numpy.zeros(0, dtype=bool)]
    for text, start in texts:
        ids.append(numpy.asarray(text, dtype=numpy.int64))
        before.append(numpy.arange(len(text)))
        said.append(before[-1] >= start)
    ids_T, before_T, said_T = map(numpy.concatenate, (ids, before, said))
    kept: list[Ngrams] = []
    for order in reversed(ORDERS):
        (places_L,) = numpy.nonzero(said_T & (before_T >= order))
        found, first_N = _followed(_hashes(ids_T, places_L, order), ids_T[places_L], least)
        shorter = zip(ORDERS[-len(kept) :], reversed(kept), strict=True) if kept else ()
        told_N = _told(found, [(_hashes(ids_T, places_L[first_N], size), table) for size, table in shorter])
        kept.append(_chosen(found, ~told_N))
    return _joined(kept)


def _followed(hashes_L: Numbers, next_L: Numbers, least: int) -> tuple[Ngrams, Numbers]:
    """What followed each context most often, and the first of its places."""
    order_L = numpy.lexsort((next_L, hashes_L))
    hashes_L, next_L = hashes_L[order_L], next_L[order_L]
    # Runs of the same context with the same id behind it, then the longest run of each context.
    begins = _begins(hashes_L, next_L)
    counts = numpy.diff(numpy.append(begins, len(hashes_L)))
    by_count = numpy.lexsort((counts, hashes_L[begins]))
    begins, counts = begins[by_count], counts[by_count]
    first = _begins(hashes_L[begins])
    last = numpy.append(first[1:], len(begins)) - 1 if len(first) else first
    totals, best = numpy.add.reduceat(counts, first) if len(first) else counts, counts[last]
    enough = best >= least
    best, totals, at = best[enough], totals[enough], begins[last][enough]
    hits = numpy.searchsorted(OFTEN, best, side="right") + 1
    misses = numpy.searchsorted(OTHERS, (totals - best) / totals, side="right")
    return Ngrams(hashes_L[at], next_L[at], hits, misses), order_L[at]


def _told(found: Ngrams, shorter: Sequence[tuple[Numbers, Ngrams]]) -> NDArray[numpy.bool_]:
    """Of which contexts the longest shorter one that is kept says the same, as surely."""
    told_N = numpy.zeros(len(found.ids_N), dtype=bool)
    open_N = numpy.ones(len(found.ids_N), dtype=bool)
    for hashes_N, table in shorter:
        if len(table.contexts_N):
            at_N = numpy.searchsorted(table.contexts_N, hashes_N).clip(max=len(table.contexts_N) - 1)
            known_N = open_N & (table.contexts_N[at_N] == hashes_N)
            same_N = (table.ids_N[at_N] == found.ids_N) & (table.misses_N[at_N] <= found.misses_N + 1)
            told_N |= known_N & same_N
            open_N &= ~known_N
    return told_N


def _begins(*columns_L: Numbers) -> Numbers:
    """Where a run of the same begins."""
    if not len(columns_L[0]):
        return numpy.zeros(0, dtype=numpy.int64)
    changes = numpy.any([numpy.diff(column_L) != 0 for column_L in columns_L], axis=0)
    return numpy.flatnonzero(numpy.append(True, changes))


def _hashes(ids_T: Numbers, places_L: Numbers, order: int) -> Numbers:
    """The hash of the `order` ids before each place, as `hash` has it of their tuple."""
    one, two, five = (numpy.uint64(x) for x in (11400714785074694791, 14029467366897019727, 2870177450012600261))
    left, right = numpy.uint64(31), numpy.uint64(33)
    sums_L = numpy.full(len(places_L), five)
    for back in range(order, 0, -1):
        sums_L += ids_T[places_L - back].astype(numpy.uint64) * two
        sums_L = (sums_L << left | sums_L >> right) * one
    return (sums_L + (numpy.uint64(order) ^ five ^ numpy.uint64(3527539))).view(numpy.int64)


def _joined(tables: Sequence[Ngrams]) -> Ngrams:
    columns = zip(*((x.contexts_N, x.ids_N, x.hits_N, x.misses_N) for x in tables), strict=True)
    joined = Ngrams(*(numpy.concatenate(column) for column in columns))
    return _chosen(joined, numpy.argsort(joined.contexts_N, kind="stable"))


def _chosen(table: Ngrams, which: NDArray[numpy.bool_] | Numbers) -> Ngrams:
    return Ngrams(table.contexts_N[which], table.ids_N[which], table.hits_N[which], table.misses_N[which])


def find(folder: Path, vocabulary: int) -> Ngrams | None:
    """The table of a folder's network, as `read`; None where the folder has none."""
    path = folder / FILE
    return read(path, vocabulary) if path.exists() else None


def write(path: Path, table: Ngrams) -> None:
    """Twelve bytes a context: its hash, and what followed with both degrees in one number. Whole or not at all."""
    said_N = table.ids_N << 6 | table.hits_N << 3 | table.misses_N
    tensors = {
        "contexts": torch.from_numpy(table.contexts_N),
        "followed_by": torch.from_numpy(said_N.astype(numpy.int32)),
    }
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        tensorfile.write(unfinished, tensors, {"format": "denken n-grams 1", "orders": ",".join(map(str, ORDERS))})
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path, vocabulary: int) -> Ngrams:
    """The table of a network with so many ids. CheckpointError where it is damaged, or of another network."""
    entries, _ = tensorfile.read_header(path)
    shapes = {name: (entry.dtype, entry.shape) for name, entry in entries.items()}
    count = entries["contexts"].shape[:1] if "contexts" in entries else (0,)
    if shapes != {"contexts": ("I64", count), "followed_by": ("I32", count)} or count > (MOST,):
        raise CheckpointError(f"{path} is no table of n-grams; remove it, or make it anew with `denken draft`.")
    found = {name: tensor.numpy() for name, tensor in tensorfile.read_tensors(path, shapes)}
    said_N = found["followed_by"].astype(numpy.int64)
    table = Ngrams(found["contexts"], said_N >> 6, said_N >> 3 & 7, said_N & 7)
    if len(said_N) and not 0 <= table.ids_N.min() <= table.ids_N.max() < vocabulary:
        raise CheckpointError(
            f"{path} speaks of ids that this network does not have; make it anew with `denken draft`, or remove it."
        )
    return table
