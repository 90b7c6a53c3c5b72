"""Keys and values, and the attention that reads them: the engine's `Attend`.

In each layer the step's keys and values are written first and read after, which is what lets two requests share a
block in the step that computes it. Blocks are the truth; those who decode read straight rows (see rows.py).

Without kernels decoding is written out as two batched products and a softmax, in fp32 on a CPU also for a bf16 network
(PyTorch's kernels for small bf16 products are slower than reading twice the bytes), rounded where `denken.train.attend`
rounds: scores before the softmax, probabilities after it, sums at the end.
"""

# N = tokens of the step, S = decoding sequences, T = tokens of a chunk, L = tokens seen, H = heads, K = key heads,
# G = H / K, D = columns of a key, E = columns of a value; with beginnings that stand apart: U = slots (groups),
# M = members of the largest group, P = tokens of the longest beginning

from __future__ import annotations

import copy
import itertools
import math
import mmap
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from denken.engine.rows import Seating
from denken.engine.scheduler import Chunk
from denken.model.attention import CacheLayout
from denken.model.kernels.attention import Stretch, attend, to_table
from denken.model.kernels.call import covers
from denken.model.kernels.decode import Piece, Seats
from denken.model.kernels.rows import (
    BEHIND,
    PANEL,
    PART,
    Begun,
    Strip,
    Tables,
    attend_rows,
    columns,
    copy_rows,
    read_blocks,
    write_blocks,
)

# Memory of this process alone, where systems have a word for it.
PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
# The most scores of a chunk that are written out, rather than left to PyTorch's kernel, which rounds elsewhere.
WRITTEN_OUT = 1 << 23
# Queries of a chunk that one thread takes at a time, with kernels.
AT_ONCE = 256


class Store:
    """Keys and values of every layer, once in blocks (blocks, block_size, K, D) and once in rows (tokens * K, D).

    Rows hold one stretch for every key head of a sequence, so that a head's keys lie side by side. With kernels
    (`native`) they lie as in `rows.Strip`, in the network's type or in that of `narrow`, as do those of `Beginnings`.
    MLA's values are the first columns of its keys, so that nothing but the latent is kept; kernels read rows of keys
    and rows of values in different orders, and have it in both. Without `row_tokens` there are no rows, and blocks lie
    as kernels read them (`rows.Tables`).
    """

    def __init__(
        self,
        layout: CacheLayout,
        blocks: int,
        block_size: int,
        row_tokens: int | None,
        like: Tensor,
        narrow: torch.dtype | None = None,
    ) -> None:
        self.layout = layout
        self.block_size = block_size
        on_cpu, latent = like.device.type == "cpu", layout.latent_size > 0
        self.native = on_cpu and layout.layers > 0 and covers(like)
        self.row_dtype = torch.float32 if on_cpu and not (latent or self.native) else like.dtype
        if self.native and narrow is not None:
            self.row_dtype = narrow
        self.has_rows = row_tokens is not None
        # What a row's length is a multiple of.
        self.panel = PANEL if self.native else 1
        self._shape = blocks, block_size, row_tokens
        self._like = torch.empty(0, dtype=like.dtype, device=like.device)
        self._allocate()

    def _allocate(self) -> None:
        layout, like = self.layout, self._like
        heads, (blocks, block_size, row_tokens) = layout.kv_heads, self._shape

        def allocate(size: int, dtype: torch.dtype, *shape: int) -> list[Tensor]:
            # Zeros, because memory's old contents may be NaN, which a masked score would not keep out of a sum.
            layers = layout.layers if size else 0
            return [_zeros((*shape, size), dtype, like.device) for _ in range(layers)]

        if row_tokens is None:
            size, parts = layout.key_size, (blocks, block_size // PART, heads)
            self.row_keys = self.keys = allocate(PART, like.dtype, *parts, size)
            self.row_values = self.values = allocate(size, like.dtype, *parts, PART)
            return
        self.keys, self.values = (
            allocate(size, like.dtype, blocks, block_size, heads) for size in (layout.key_size, layout.value_size)
        )
        self.row_keys, self.row_values = (
            allocate(columns(size, self.row_dtype), self.row_dtype, row_tokens * heads + BEHIND)
            for size in (layout.key_size, layout.key_size if self.native else layout.value_size)
        )
        if self.native and layout.latent_size:
            self.values = self.keys

    @property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Every tensor of blocks with its tensor of rows."""
        return list(zip(self.keys + self.values, self.row_keys + self.row_values, strict=True))

    def zero(self) -> None:
        """Everything is zero again. On a CPU the memory goes back: writing zeros would take all that may be used."""
        if self._like.device.type == "cpu":
            return self._allocate()
        for tensor in itertools.chain.from_iterable(self.pairs):
            tensor.zero_()

    def fill(self, missing: list[tuple[int, int, Chunk]], skips: list[int], stride: int) -> None:
        """Copies texts from blocks into their rows, in every layer. missing, skips: as in `Seating`."""
        if self.native:
            return self._fill(missing, skips, stride)
        by_place: dict[int, list[tuple[int, int, Chunk]]] = {}
        for row, first, chunk in missing:
            by_place.setdefault(first - skips[row], []).append((row, first, chunk))
        size, heads, device = self.block_size, self.layout.kv_heads, self.keys[0].device if self.keys else None
        for place, entries in by_place.items():
            tables = [c.sequence.blocks[first // size : -(-c.start // size)] for _, first, c in entries]
            longest = max(len(table) for table in tables)
            # What a shorter text's row gets beyond its end is hidden, and overwritten as it grows.
            table = torch.tensor([[*table, *[table[0]] * (longest - len(table))] for table in tables], device=device)
            rows = torch.tensor([row for row, _, _ in entries], device=device)
            end = place + longest * size
            for blocks, flat in self.pairs:
                found_RKTD = blocks[table].flatten(1, 2).transpose(1, 2).to(flat.dtype)
                count = flat.shape[0] // (heads * stride)
                rows_RKTD = flat[: count * heads * stride].view(count, heads, stride, -1)
                rows_RKTD[:, :, place:end].index_copy_(0, rows, found_RKTD)

    def strip(self, layer: int, stride: int) -> Strip:
        return Strip(self.row_keys[layer], self.row_values[layer], stride)

    def slots(self, chunk: Chunk, count: int) -> list[int]:
        """Where in the blocks the keys of so many ids go, from the chunk's first on."""
        size, blocks = self.block_size, chunk.sequence.blocks
        return [blocks[i // size] * size + i % size for i in range(chunk.start, chunk.start + count)]

    def blocks_of(self, seating: Seating) -> Tables | None:
        """The blocks behind the beginnings that stand apart, where no rows hold what is in them."""
        if self.has_rows or not seating.order:
            return None
        skips = [skip // self.block_size for skip in seating.skips]
        own = [chunk.sequence.blocks[skip:] for chunk, skip in zip(seating.order, skips, strict=True)]
        longest = max(map(len, own))
        return Tables(torch.tensor([[*blocks, *[0] * (longest - len(blocks))] for blocks in own]), self.block_size)

    def places(self, blocks: Sequence[int], count: int) -> Tensor:
        """Where the first so many tokens of these blocks are."""
        return (
            torch.tensor(blocks, dtype=torch.long)[:, None] * self.block_size + torch.arange(self.block_size)
        ).flatten()[:count]

    def write(self, layer: int, key_NKD: Tensor, value_NKD: Tensor, slots_N: Tensor) -> None:
        """Tokens' keys and values into the blocks, with kernels."""
        if not self.has_rows:
            return write_blocks(key_NKD, value_NKD, self.keys[layer], self.values[layer], slots_N)
        blocks = [(self.keys[layer], key_NKD), (self.values[layer], value_NKD)]
        for tensor, new_NKD in blocks[:1] if self.layout.latent_size else blocks:
            tensor.flatten(0, 1).index_copy_(0, slots_N, new_NKD)
        return None

    def read(self, layer: int, places_N: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens' keys and values (N, K, ...) out of the blocks."""
        if not self.has_rows:
            return read_blocks(self.keys[layer], self.values[layer], places_N)
        key_NKD = self.keys[layer].flatten(0, 1).index_select(0, places_N)
        if self.layout.latent_size:
            return key_NKD, key_NKD[..., : self.layout.latent_size]
        return key_NKD, self.values[layer].flatten(0, 1).index_select(0, places_N)

    def _fill(self, missing: list[tuple[int, int, Chunk]], skips: list[int], stride: int) -> None:
        """`fill` in kernels, a text at a time."""
        for row, first, chunk in missing:
            count = chunk.start - first
            places_N = self.places(chunk.sequence.blocks[first // self.block_size :], count)
            seats_N, spots_N = torch.full((count,), row), torch.arange(count) + (first - skips[row])
            for layer, blocks in enumerate(zip(self.keys, self.values, strict=True)):
                copy_rows(*blocks, self.strip(layer, stride), places_N, seats_N, spots_N)


class Beginnings:
    """Keys and values that stand apart for groups of rows, and how the groups' queries come to them.

    slots: as in `Seating`. Rows are padded to groups of equal size, beginnings to equal length.
    """

    def __init__(self, store: Store, slots: list[int], blocks_of_slot: list[tuple[int, ...]]) -> None:
        self.blocks_of_slot = blocks_of_slot
        self.heads = store.layout.kv_heads
        self.lengths = [len(blocks) * store.block_size for blocks in blocks_of_slot]
        self.device = store.keys[0].device
        self.strips = _strips(store, blocks_of_slot) if store.native else []
        self.keys, self.values = ([], []) if store.native else self._padded(store)
        self.arrange(slots)

    def _padded(self, store: Store) -> tuple[list[Tensor], list[Tensor]]:
        """Keys (U * K, P, D) and values (U * K, P, E) of every layer."""
        longest = max(map(len, self.blocks_of_slot))
        self.length = longest * store.block_size
        padded = [[*blocks, *[0] * (longest - len(blocks))] for blocks in self.blocks_of_slot]
        table = torch.tensor(padded, device=self.device)

        def gather(blocks: Tensor) -> Tensor:
            found_UPKD = blocks[table].flatten(1, 2)
            return found_UPKD.transpose(1, 2).to(store.row_dtype).flatten(0, 1)

        return [gather(blocks) for blocks in store.keys], [gather(blocks) for blocks in store.values]

    def arrange(self, slots: list[int]) -> None:
        """Who sits where has changed, but not what the slots hold."""
        device = self.device
        members: list[list[int]] = [[] for _ in self.blocks_of_slot]
        place = []
        for row, slot in enumerate(slots):
            place.append(len(members[slot]))
            members[slot].append(row)
        most, heads = max(map(len, members)), self.heads
        slots_S, place_S = torch.tensor(slots, device=device), torch.tensor(place, device=device)
        rows_UM = torch.tensor([[*rows, *[0] * (most - len(rows))] for rows in members], device=device)
        head_K = torch.arange(heads, device=device)
        # Where in (U, K, M) each of (S, K) stands, and the other way round.
        self.to_rows = ((slots_S[:, None] * heads + head_K) * most + place_S[:, None]).flatten()
        self.to_slots = (rows_UM[:, None] * heads + head_K[:, None]).flatten()
        self.lengths_S = torch.tensor([self.lengths[slot] for slot in slots], device=device)
        self.slots_S, self.lengths_U = slots_S, torch.tensor(self.lengths, device=device)
        self.order_S = slots_S.argsort(stable=True)
        self.begun = [Begun(strip, self.slots_S, self.lengths_U) for strip in self.strips]

    def of(self, slots: list[int]) -> Beginnings:
        """The same for tokens of these slots, of which several may stand in one row."""
        again = copy.copy(self)
        again.arrange(slots)
        return again

    def scores(self, layer: int, query_NGD: Tensor) -> Tensor:
        """Rows' queries (S * K, G, D) over their beginnings: (S * K, G, P)."""
        key_XPD = self.keys[layer]
        query_XYD = query_NGD.flatten(1).index_select(0, self.to_slots).view(key_XPD.shape[0], -1, key_XPD.shape[-1])
        scores_XYP = torch.bmm(query_XYD, key_XPD.mT)
        return (
            scores_XYP.view(-1, query_NGD.shape[1] * self.length)
            .index_select(0, self.to_rows)
            .view(*query_NGD.shape[:2], self.length)
        )

    def sums(self, layer: int, probs_NGP: Tensor) -> Tensor:
        """What probabilities (S * K, G, P) take of the beginnings' values: (S * K, G, E)."""
        value_XPE = self.values[layer]
        groups = probs_NGP.shape[1]
        probs_XYP = probs_NGP.flatten(1).index_select(0, self.to_slots).view(value_XPE.shape[0], -1, self.length)
        sums_XYE = torch.bmm(probs_XYP, value_XPE)
        return sums_XYE.view(-1, groups * value_XPE.shape[-1]).index_select(0, self.to_rows).unflatten(1, (groups, -1))


class Paged:
    """The engine's `Attend`: writes the step's keys and values, then lets every sequence look at its own.

    seating: decoding chunks that have rows; they are the step's first tokens. beginnings: where theirs stand apart.
    others: the remaining chunks, in the order of their tokens. slots_N: where each token's key goes in the blocks.
    """

    def __init__(
        self,
        store: Store,
        seating: Seating,
        beginnings: Beginnings | None,
        others: list[Chunk],
        stride: int,
        slots_N: Tensor,
        dtype: torch.dtype,
    ) -> None:
        self.store = store
        self.latent = store.layout.latent_size > 0
        seats = [row for row, chunk in enumerate(seating.order) for _ in range(chunk.count)]
        # Which row each token belongs to; None: one a row.
        self.seats_S = torch.tensor(seats) if len(seats) > len(seating.order) else None
        if beginnings is not None and self.seats_S is not None:
            beginnings = beginnings.of([seating.slots[row] for row in seats])
        self.beginnings = beginnings
        self.others = others
        self.stride = stride
        self.slots_N = slots_N
        self.dtype = dtype
        device, heads = slots_N.device, store.layout.kv_heads
        lengths = [
            chunk.start + 1 + place - skip
            for chunk, skip in zip(seating.order, seating.skips, strict=True)
            for place in range(chunk.count)
        ]
        lengths_S = torch.tensor(lengths, dtype=torch.long, device=device)
        self.decodes = len(lengths)
        self.longest = max(lengths, default=0)
        self.places = [store.places(each.sequence.blocks, each.start + each.count).to(device) for each in others]
        written = self.latent or not store.native
        self.masks = [self._chunk_mask(chunk, dtype, device) if written else None for chunk in others]
        if store.native:
            self.lengths_S = lengths_S
            self.order_S = torch.arange(self.decodes) if beginnings is None else beginnings.order_S
            self.stretches = [_stretches(chunk) for chunk in others]
            self.blocks = store.blocks_of(seating)
            return
        starts_N = torch.arange(self.decodes * heads, device=device) * stride
        self.row_slots_N = starts_N + (lengths_S - 1).repeat_interleave(heads)
        self.mask_S1L = self._mask(lengths, lengths_S) if lengths else None

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        query_NHD, key_NKD = query_BTHD[0], key_BTKD[0]
        if self.store.native:
            value_NKD = key_NKD if value_BTKE is None else value_BTKE[0]
            return self._native(layer, query_NHD, key_NKD, value_NKD, scale)[None]
        value_NKE = key_NKD[..., : self.store.layout.latent_size] if value_BTKE is None else value_BTKE[0]
        self._write(self.store.keys[layer], self.store.row_keys[layer], key_NKD)
        if value_BTKE is not None:
            self._write(self.store.values[layer], self.store.row_values[layer], value_NKE)
        if self.decodes and not self.others:
            return self._decode(layer, query_NHD, scale)[None]
        out_NHE = query_NHD.new_empty(*query_NHD.shape[:2], value_NKE.shape[-1])
        if self.decodes:
            out_NHE[: self.decodes] = self._decode(layer, query_NHD[: self.decodes], scale)
        end = self.decodes
        for chunk, places_L, mask_TL in zip(self.others, self.places, self.masks, strict=True):
            start, end = end, end + chunk.count
            if chunk.start == 0:
                key_LKD, value_LKE = key_NKD[start:end], value_NKE[start:end]
            else:
                key_LKD, value_LKE = self.store.read(layer, places_L)
            out_NHE[start:end] = self._chunk(query_NHD[start:end], key_LKD, value_LKE, mask_TL, scale)
        return out_NHE[None]

    def seats(self) -> Seats | None:
        """Where everybody's keys and values are; None where there are no kernels, or where latents are read."""
        store, apart = self.store, self.beginnings
        if not store.native or (self.latent and self.others):
            return None
        begun = None if apart is None else apart.begun
        pieces = [Piece(each.count, each.start, own) for each, own in zip(self.others, self.places, strict=True)]
        return Seats(
            *(store.row_keys, store.row_values, store.keys, store.values),
            self.stride,
            self.lengths_S,
            self.slots_N,
            begun,
            self.order_S,
            seats_S=self.seats_S,
            tables=self.blocks,
            pieces=pieces,
            parts=not store.has_rows,
        )

    def _native(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor, scale: float) -> Tensor:
        """All of `__call__` in kernels, which know where a sequence ends: nothing is masked. MLA's values are its keys,
        and its prompts are products as without kernels, for there one key head has many queries."""
        decodes, outs, latent = self.decodes, [], self.store.layout.latent_size
        if self.others:
            self.store.write(layer, key_NKD[decodes:], value_NKD[decodes:], self.slots_N[decodes:])
        if decodes:
            seen_NHD = self._over_rows(layer, query_NHD, key_NKD, value_NKD, scale)
            outs.append(seen_NHD[..., :latent] if latent else seen_NHD)
        end = decodes
        chunks = zip(self.others, self.places, self.stretches, self.masks, strict=True)
        for chunk, places_L, stretches, mask_TL in chunks:
            start, end = end, end + chunk.count
            if chunk.start == 0:
                key_LKD, value_LKD = key_NKD[start:end], value_NKD[start:end]
            else:
                key_LKD, value_LKD = self.store.read(layer, places_L)
            if latent:
                outs.append(self._chunk(query_NHD[start:end], key_LKD, value_LKD[..., :latent], mask_TL, scale))
            else:
                outs.append(attend(query_NHD[start:end], key_LKD, value_LKD, stretches, scale))
        if len(outs) == 1:
            return outs[0]
        return torch.cat(outs) if outs else query_NHD[..., : latent or None]

    def _over_rows(self, layer: int, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor, scale: float) -> Tensor:
        """What those who decode see (S, H, D)."""
        decodes = self.decodes
        begun = None if self.beginnings is None else self.beginnings.begun[layer]
        return attend_rows(
            *(query_NHD[:decodes], key_NKD[:decodes], value_NKD[:decodes], self.store.strip(layer, self.stride)),
            *(self.lengths_S, self.store.keys[layer], self.store.values[layer], self.slots_N),
            *(begun, self.order_S, scale, self.seats_S),
            tables=self.blocks,
        )

    def _write(self, blocks: Tensor, rows: Tensor, new_NKD: Tensor) -> None:
        blocks.flatten(0, 1).index_copy_(0, self.slots_N, new_NKD.to(blocks.dtype))
        if self.decodes:
            rows.index_copy_(0, self.row_slots_N, new_NKD[: self.decodes].flatten(0, 1).to(rows.dtype))

    def _decode(self, layer: int, query_SHD: Tensor, scale: float) -> Tensor:
        """All rows at once: heads that share keys are the rows of one product."""
        heads = self.store.layout.kv_heads

        def rows(tensor: Tensor) -> Tensor:
            whole = tensor[: self.decodes * heads * self.stride].unflatten(0, (self.decodes * heads, self.stride))
            return whole[:, : self.longest]

        key_NLD = rows(self.store.row_keys[layer])
        query_NGD = query_SHD.unflatten(1, (heads, -1)).flatten(0, 1)
        if self.latent:
            value_NLE = key_NLD[..., : self.store.layout.latent_size]
            return weigh(query_NGD, key_NLD, value_NLE, self.mask_S1L, scale).unflatten(0, (-1, heads)).flatten(1, 2)
        value_NLE = rows(self.store.row_values[layer])
        query_NGD = query_NGD.to(key_NLD.dtype) * scale
        scores_NGL = torch.bmm(query_NGD, key_NLD.mT)
        if self.beginnings is not None:
            scores_NGL = torch.cat((self.beginnings.scores(layer, query_NGD), scores_NGL), dim=-1)
        if self.mask_S1L is not None:
            scores_NGL.view(self.decodes, -1, scores_NGL.shape[-1]).add_(self.mask_S1L)
        probs_NGL = scores_NGL.to(self.dtype).softmax(dim=-1).to(key_NLD.dtype)
        if self.beginnings is None:
            out_NGE = torch.bmm(probs_NGL, value_NLE)
        else:
            first = self.beginnings.length
            sums_NGE = self.beginnings.sums(layer, probs_NGL[..., :first])
            out_NGE = torch.baddbmm(sums_NGE, probs_NGL[..., first:], value_NLE)
        return out_NGE.view(self.decodes, -1, out_NGE.shape[-1]).to(self.dtype)

    def _mask(self, lengths: list[int], lengths_S: Tensor) -> Tensor | None:
        """What is added to a row's scores: minus infinity beyond its beginning's end, and beyond its own."""
        places_L = torch.arange(self.longest, device=lengths_S.device)
        beyond_SL = places_L >= lengths_S[:, None]
        ragged = min(lengths) < self.longest
        if self.beginnings is not None:
            begun = self.beginnings
            ragged = ragged or min(begun.lengths) < begun.length
            places_P = torch.arange(begun.length, device=lengths_S.device)
            beyond_SL = torch.cat((places_P >= begun.lengths_S[:, None], beyond_SL), dim=1)
        return additive(beyond_SL, self.store.row_dtype)[:, None] if ragged else None

    def _chunk(
        self, query_THD: Tensor, key_LKD: Tensor, value_LKE: Tensor, mask_TL: Tensor | None, scale: float
    ) -> Tensor:
        query_HTD = query_THD.transpose(0, 1)
        if self.latent:
            # Keys of two dimensions: one product for all heads, rather than one copy of the keys for each.
            return weigh(query_HTD, key_LKD[:, 0], value_LKE[:, 0], mask_TL, scale).transpose(0, 1)
        query_KGTD = query_HTD.unflatten(0, (key_LKD.shape[1], -1))
        groups = query_KGTD.shape[1]
        if self.dtype != self.store.row_dtype and query_HTD[..., 0].numel() * len(key_LKD) <= WRITTEN_OUT:
            return self._rounded(query_KGTD.float(), key_LKD.float(), value_LKE.float(), scale)
        out_KGTE = F.scaled_dot_product_attention(
            query_KGTD,
            key_LKD.transpose(0, 1)[:, None].expand(-1, groups, -1, -1),
            value_LKE.transpose(0, 1)[:, None].expand(-1, groups, -1, -1),
            attn_mask=mask_TL,
            is_causal=mask_TL is None and query_KGTD.shape[2] > 1,
            scale=scale,
        )
        return out_KGTE.flatten(0, 1).transpose(0, 1)

    def _rounded(self, query_KGTD: Tensor, key_LKD: Tensor, value_LKE: Tensor, scale: float) -> Tensor:
        """A bf16 network's chunk, rounded as its trainer rounds."""
        tokens, length = query_KGTD.shape[2], len(key_LKD)
        beyond_TL = torch.ones(tokens, length, dtype=torch.bool, device=key_LKD.device).triu(length - tokens + 1)
        scores_KGTL = torch.matmul(query_KGTD * scale, key_LKD.permute(1, 2, 0)[:, None])
        scores_KGTL = scores_KGTL.masked_fill_(beyond_TL, -math.inf).to(self.dtype)
        out_KGTE = torch.matmul(scores_KGTL.softmax(dim=-1).float(), value_LKE.transpose(0, 1)[:, None])
        return out_KGTE.flatten(0, 1).transpose(0, 1).to(self.dtype)

    def _chunk_mask(self, chunk: Chunk, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """None where plain causality (or, for a single token, no mask) does the same faster."""
        if chunk.count == 1 or (chunk.start == 0 and not self.latent):
            return None
        beyond_TL = torch.ones(chunk.count, chunk.start + chunk.count, dtype=torch.bool, device=device)
        return additive(beyond_TL.triu(chunk.start + 1), dtype)


def _stretches(chunk: Chunk) -> Tensor:
    """A chunk's queries, some at a time, over its text so far."""
    starts = range(0, chunk.count, AT_ONCE)
    return to_table(
        [
            Stretch(start, min(AT_ONCE, chunk.count - start), 0, chunk.start + start, chunk.start + start)
            for start in starts
        ]
    )


def _strips(store: Store, blocks_of_slot: list[tuple[int, ...]]) -> list[Strip]:
    """Beginnings as kernels take them, of every layer: copied from their blocks, a row each."""
    size, heads = store.block_size, store.layout.kv_heads
    counts = [len(blocks) * size for blocks in blocks_of_slot]
    stride = max(PANEL, -(-max(counts) // PANEL) * PANEL)
    places_N = torch.cat([store.places(blocks, count) for blocks, count in zip(blocks_of_slot, counts, strict=True)])
    seats_N = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    spots_N = torch.cat([torch.arange(count) for count in counts])
    tokens_N = torch.arange(len(places_N))
    numbers = len(counts) * stride * heads * columns(store.layout.key_size, store.row_dtype) + BEHIND
    strips = []
    for block_keys, block_values in zip(store.keys, store.values, strict=True):
        keys, values = (torch.zeros(numbers, dtype=store.row_dtype) for _ in range(2))
        strips.append(Strip(keys, values, stride))
        if store.has_rows:
            copy_rows(block_keys, block_values, strips[-1], places_N, seats_N, spots_N)
        else:
            copy_rows(*read_blocks(block_keys, block_values, places_N), strips[-1], tokens_N, seats_N, spots_N)
    return strips


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros that take memory where they are first written; `torch.zeros` writes to all of them at once. Behind them
    kernels may read BEHIND numbers more."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    # Straight from the system: what the heap hands out may be used memory, which it must overwrite.
    area = mmap.mmap(-1, size + BEHIND * dtype.itemsize, **PRIVATE)
    return torch.frombuffer(area, dtype=torch.uint8)[:size].view(dtype).view(shape)


def additive(beyond: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: minus infinity where `beyond`."""
    return torch.zeros(beyond.shape, dtype=dtype, device=beyond.device).masked_fill_(beyond, -math.inf)


def weigh(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Softmax attention spelt out: torch's own has no fast form where values are narrower than keys.

    query (..., T, D), key (..., L, D), value (..., L, E); scores in fp32.
    """
    scores = torch.matmul(query, key.transpose(-1, -2)).float() * scale
    if mask is not None:
        scores = scores + mask
    return torch.matmul(scores.softmax(dim=-1).to(value.dtype), value)
