"""One step through the network: all chunks' ids in one row, keys and values in blocks, logits where ids are due.

Linear layers see one row of tokens; only attention knows that they belong to different texts. In each layer the
step's keys and values are written first and read after, which is what lets two requests share a block in the step
that computes it. Who takes part was the scheduler's choice, what is drawn is the sampler's.
"""

# N = tokens of the step, S = decoding sequences, T = tokens of a chunk, L = tokens seen, H = heads, K = key heads,
# G = H / K, D = columns of a key, E = columns of a value

from __future__ import annotations

import itertools
import math
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from denken.engine.rows import Rows
from denken.engine.scheduler import Chunk
from denken.model.attention import Attend, CacheLayout


class Model(Protocol):
    """What the engine needs of a `denken.model.Transformer`."""

    @property
    def cache_layout(self) -> CacheLayout: ...

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor | None = None, attend: Attend | None = None) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


class Store:
    """Keys and values of every layer, once in blocks (blocks, block_size, K, D) and once in rows (tokens, K, D).

    MLA's values are the first columns of its keys, so that nothing but the latent is kept.
    """

    def __init__(self, layout: CacheLayout, blocks: int, block_size: int, like: Tensor) -> None:
        self.layout = layout
        self.block_size = block_size

        def allocate(size: int) -> list[Tensor]:
            # Zeros, because memory's old contents may be NaN, which a masked score would not keep out of a sum.
            shape = (blocks, block_size, layout.kv_heads, size)
            return [
                torch.zeros(shape, dtype=like.dtype, device=like.device) for _ in range(layout.layers if size else 0)
            ]

        self.keys, self.values = allocate(layout.key_size), allocate(layout.value_size)
        self.row_keys = [block.flatten(0, 1) for block in allocate(layout.key_size)]
        self.row_values = [block.flatten(0, 1) for block in allocate(layout.value_size)]

    @property
    def pairs(self) -> list[tuple[Tensor, Tensor]]:
        """Every tensor of blocks with its tensor of rows."""
        return list(zip(self.keys + self.values, self.row_keys + self.row_values, strict=True))

    def zero(self) -> None:
        for tensor in itertools.chain.from_iterable(self.pairs):
            tensor.zero_()


class Paged:
    """The engine's `Attend`: writes the step's keys and values, then lets every sequence look at its own.

    decodes: decoding chunks that have rows, in row order; they are the step's first tokens.
    others: the remaining chunks, in the order of their tokens. slots_N: where each token's key goes in the blocks.
    """

    def __init__(
        self, store: Store, decodes: list[Chunk], others: list[Chunk], stride: int, slots_N: Tensor, dtype: torch.dtype
    ) -> None:
        self.store = store
        self.latent = store.layout.latent_size > 0
        self.others = others
        self.stride = stride
        self.slots_N = slots_N
        device = slots_N.device
        lengths = [chunk.start + 1 for chunk in decodes]
        lengths_S = torch.tensor(lengths, dtype=torch.long, device=device)
        self.decodes = len(decodes)
        self.longest = max(lengths, default=0)
        self.row_slots_S = torch.arange(len(decodes), device=device) * stride + lengths_S - 1
        self.mask_S11L = None
        if min(lengths, default=0) < self.longest:
            beyond_SL = torch.arange(self.longest, device=device) >= lengths_S[:, None]
            self.mask_S11L = _mask(beyond_SL, dtype)[:, None, None]
        self.tables = [torch.tensor(chunk.sequence.blocks, device=device) for chunk in others]
        self.masks = [self._chunk_mask(chunk, dtype, device) for chunk in others]

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        query_NHD, key_NKD = query_BTHD[0], key_BTKD[0]
        value_NKE = key_NKD[..., : self.store.layout.latent_size] if value_BTKE is None else value_BTKE[0]
        self._write(self.store.keys[layer], self.store.row_keys[layer], key_NKD)
        if value_BTKE is not None:
            self._write(self.store.values[layer], self.store.row_values[layer], value_NKE)
        out_NHE = query_NHD.new_empty(*query_NHD.shape[:2], value_NKE.shape[-1])
        if self.decodes:
            out_NHE[: self.decodes] = self._decode(layer, query_NHD[: self.decodes], scale)
        end = self.decodes
        for chunk, table, mask_TL in zip(self.others, self.tables, self.masks, strict=True):
            start, end = end, end + chunk.count
            if chunk.start == 0:
                key_LKD, value_LKE = key_NKD[start:end], value_NKE[start:end]
            else:
                key_LKD, value_LKE = self._gather(layer, table, chunk.start + chunk.count)
            out_NHE[start:end] = self._chunk(query_NHD[start:end], key_LKD, value_LKE, mask_TL, scale)
        return out_NHE[None]

    def _write(self, blocks: Tensor, rows: Tensor, new_NKD: Tensor) -> None:
        new_NKD = new_NKD.to(blocks.dtype)
        blocks.flatten(0, 1).index_copy_(0, self.slots_N, new_NKD)
        if self.decodes:
            rows.index_copy_(0, self.row_slots_S, new_NKD[: self.decodes])

    def _decode(self, layer: int, query_SHD: Tensor, scale: float) -> Tensor:
        """All rows at once. The heads of a group stand where tokens usually do: they share their keys."""

        def rows(tensor: Tensor) -> Tensor:
            whole: Tensor = tensor[: self.decodes * self.stride].unflatten(0, (self.decodes, self.stride))
            return whole[:, : self.longest].transpose(1, 2)

        key_SKLD = rows(self.store.row_keys[layer])
        query_SKGD = query_SHD.unflatten(1, (key_SKLD.shape[1], -1))
        if self.latent:
            value_SKLE = key_SKLD[..., : self.store.layout.latent_size]
            out_SKGE = _weigh(query_SKGD, key_SKLD, value_SKLE, self.mask_S11L, scale)
        else:
            out_SKGE = F.scaled_dot_product_attention(
                query_SKGD, key_SKLD, rows(self.store.row_values[layer]), attn_mask=self.mask_S11L, scale=scale
            )
        return out_SKGE.flatten(1, 2)

    def _gather(self, layer: int, table: Tensor, length: int) -> tuple[Tensor, Tensor]:
        key_LKD = self.store.keys[layer].index_select(0, table).flatten(0, 1)[:length]
        if self.latent:
            return key_LKD, key_LKD[..., : self.store.layout.latent_size]
        return key_LKD, self.store.values[layer].index_select(0, table).flatten(0, 1)[:length]

    def _chunk(
        self, query_THD: Tensor, key_LKD: Tensor, value_LKE: Tensor, mask_TL: Tensor | None, scale: float
    ) -> Tensor:
        query_HTD = query_THD.transpose(0, 1)
        if self.latent:
            # Keys of two dimensions: one product for all heads, rather than one copy of the keys for each.
            return _weigh(query_HTD, key_LKD[:, 0], value_LKE[:, 0], mask_TL, scale).transpose(0, 1)
        query_KGTD = query_HTD.unflatten(0, (key_LKD.shape[1], -1))
        groups = query_KGTD.shape[1]
        out_KGTE = F.scaled_dot_product_attention(
            query_KGTD,
            key_LKD.transpose(0, 1)[:, None].expand(-1, groups, -1, -1),
            value_LKE.transpose(0, 1)[:, None].expand(-1, groups, -1, -1),
            attn_mask=mask_TL,
            is_causal=mask_TL is None and query_KGTD.shape[2] > 1,
            scale=scale,
        )
        return out_KGTE.flatten(0, 1).transpose(0, 1)

    def _chunk_mask(self, chunk: Chunk, dtype: torch.dtype, device: torch.device) -> Tensor | None:
        """None where plain causality (or, for a single token, no mask) does the same faster."""
        if chunk.count == 1 or (chunk.start == 0 and not self.latent):
            return None
        beyond_TL = torch.ones(chunk.count, chunk.start + chunk.count, dtype=torch.bool, device=device)
        return _mask(beyond_TL.triu(chunk.start + 1), dtype)


class Runner:
    """Holds the model and its cache. blocks, block_size: as in `cache.Blocks`."""

    def __init__(self, model: Model, like: Tensor, blocks: int, block_size: int) -> None:
        self.model = model
        self.device = like.device
        self.block_size = block_size
        self.store = Store(model.cache_layout, blocks, block_size, like)
        self.rows = Rows(blocks * block_size, block_size)
        self.dtype = like.dtype

    @torch.inference_mode()
    def run(self, chunks: list[Chunk]) -> Tensor:
        """Logits (R, V) after the last id of each chunk that is its sequence's last, in the order of `chunks`."""
        decodes, missing = self.rows.seat([chunk for chunk in chunks if chunk.decodes])
        for row, first, chunk in missing:
            self._fill(row, first, chunk)
        seated = {id(chunk) for chunk in decodes}
        others = [chunk for chunk in chunks if id(chunk) not in seated]
        order = decodes + others
        ids = [i for chunk in order for i in chunk.sequence.ids[chunk.start : chunk.start + chunk.count]]
        positions = [p for chunk in order for p in range(chunk.start, chunk.start + chunk.count)]
        slots = [slot for chunk in order for slot in self._slots(chunk)]
        ends = itertools.accumulate(chunk.count for chunk in order)
        last_token = {id(chunk): end - 1 for chunk, end in zip(order, ends, strict=True)}
        attend = Paged(self.store, decodes, others, self.rows.stride, self._tensor(slots), self.dtype)
        hidden_1NM = self.model.hidden(self._tensor(ids)[None], self._tensor(positions)[None], attend)
        wanted = [last_token[id(chunk)] for chunk in chunks if chunk.last]
        return self.model.logits(hidden_1NM[0, self._tensor(wanted)])

    def forget(self) -> None:
        """The weights changed: what the rows hold is of no use. (Blocks are forgotten by who keeps their books.)"""
        self.rows.clear()

    def reset(self) -> None:
        """A step failed midway: nothing that is stored may reach a later one."""
        self.rows.clear()
        with torch.inference_mode():
            self.store.zero()

    def _slots(self, chunk: Chunk) -> list[int]:
        size, blocks = self.block_size, chunk.sequence.blocks
        return [blocks[i // size] * size + i % size for i in range(chunk.start, chunk.start + chunk.count)]

    def _fill(self, row: int, first: int, chunk: Chunk) -> None:
        """Copies a sequence's tokens from `first` on into its row, in every layer."""
        size = self.block_size
        table = self._tensor(chunk.sequence.blocks[first // size : -(-chunk.start // size)])
        begin = row * self.rows.stride + first
        for blocks, rows in self.store.pairs:
            target = rows[begin : begin + len(table) * size].unflatten(0, (-1, size))
            torch.index_select(blocks, 0, table, out=target)

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def _mask(beyond: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: minus infinity where `beyond`."""
    return torch.zeros(beyond.shape, dtype=dtype, device=beyond.device).masked_fill_(beyond, -math.inf)


def _weigh(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Softmax attention spelt out: torch's own has no fast form where values are narrower than keys.

    query (..., T, D), key (..., L, D), value (..., L, E); scores in fp32.
    """
    scores = torch.matmul(query, key.transpose(-1, -2)).float() * scale
    if mask is not None:
        scores = scores + mask
    return torch.matmul(scores.softmax(dim=-1).to(value.dtype), value)
