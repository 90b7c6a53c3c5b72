"""Attention over the paged cache with plain tensors: blocks are gathered by their numbers, then PyTorch's attention.

It reads a cache that lies on any device, and needs neither rows (`rows.py`) nor kernels. Where everybody has one query,
nothing in it depends on a number that Python would have to look at, so that a CUDA graph can hold it (`device.py`).
Texts of unlike lengths are padded; what is beyond a text's end is hidden by a mask.
"""

# N = tokens of the step, C = texts of a group, T = queries of each, B = blocks of each, L = tokens of those blocks,
# H = heads, K = key heads, G = H / K, D = columns of a key, E = columns of a value

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from denken.engine.paged import Store, additive
from denken.engine.scheduler import Chunk

# A group's padded scores may be so many times its real ones; few enough do not matter.
PADDING, FEW = 2, 1 << 20


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts that are computed side by side.

    table_CB: their blocks. mask: what is added to scores, (C, 1, T, L) in the cache's type.
    tokens_CT: which of the step's tokens each query is (anyone, where a text has fewer); None: the step's tokens are
    these texts' only ones, in order. real_N, token_N: which of the C * T queries are real, and whose they are.
    """

    table_CB: Tensor
    mask: Tensor
    tokens_CT: Tensor | None = None
    real_N: Tensor | None = None
    token_N: Tensor | None = None


class Gathered:
    """An `Attend`: writes the step's keys and values into their blocks, then lets every text look at its own.

    slots_N: where in the blocks each token's key goes.
    """

    def __init__(self, store: Store, slots_N: Tensor, texts: Sequence[Texts]) -> None:
        self.store, self.slots_N, self.texts = store, slots_N, texts
        self.latent = store.layout.latent_size > 0

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        query_NHD, keys = query_BTHD[0], self.store.keys[layer]
        keys.flatten(0, 1).index_copy_(0, self.slots_N, key_BTKD[0].to(keys.dtype))
        values = keys[..., : self.store.layout.latent_size]
        if value_BTKE is not None:
            values = self.store.values[layer]
            values.flatten(0, 1).index_copy_(0, self.slots_N, value_BTKE[0].to(values.dtype))
        if len(self.texts) == 1 and self.texts[0].tokens_CT is None:
            return self._seen(query_NHD[:, None], keys, values, self.texts[0], scale)[None, :, 0]
        out_NHE = query_NHD.new_empty(*query_NHD.shape[:2], values.shape[-1])
        for texts in self.texts:
            assert texts.tokens_CT is not None
            assert texts.real_N is not None
            assert texts.token_N is not None
            seen_CTHE = self._seen(query_NHD[texts.tokens_CT], keys, values, texts, scale)
            out_NHE.index_copy_(0, texts.token_N, seen_CTHE.flatten(0, 1).index_select(0, texts.real_N))
        return out_NHE[None]

    def _seen(self, query_CTHD: Tensor, keys: Tensor, values: Tensor, texts: Texts, scale: float) -> Tensor:
        """What each query sees (C, T, H, E). Heads that share keys are further queries of the same text."""
        count, tokens, heads, _ = query_CTHD.shape
        blocks = texts.table_CB.reshape(-1)
        key_CLKD = keys.index_select(0, blocks).view(count, -1, *keys.shape[2:])
        if self.latent:
            value_CLKE = key_CLKD[..., : values.shape[-1]]
        else:
            value_CLKE = values.index_select(0, blocks).view(count, -1, *values.shape[2:])
        kinds = keys.shape[2]
        query_CKXD = query_CTHD.unflatten(2, (kinds, -1)).permute(0, 2, 1, 3, 4).flatten(2, 3)
        shared = heads // kinds
        mask_C1XL = texts.mask.expand(-1, -1, tokens, -1)
        if shared > 1:
            mask_C1XL = mask_C1XL[:, :, :, None].expand(-1, -1, -1, shared, -1).flatten(2, 3)
        seen_CKXE = F.scaled_dot_product_attention(
            query_CKXD.to(key_CLKD.dtype),
            key_CLKD.transpose(1, 2),
            value_CLKE.transpose(1, 2),
            attn_mask=mask_C1XL.expand(-1, kinds, -1, -1),
            scale=scale,
        )
        seen_CTHE = seen_CKXE.unflatten(2, (tokens, shared)).permute(0, 2, 1, 3, 4).flatten(2, 3)
        return seen_CTHE.to(query_CTHD.dtype)


def hidden_beyond(last_CT: Tensor, length: int, dtype: torch.dtype) -> Tensor:
    """A mask (C, 1, T, L) under which each query sees the tokens up to its own place `last_CT`."""
    beyond_CTL = torch.arange(length, device=last_CT.device) > last_CT[..., None]
    return additive(beyond_CTL, dtype)[:, None]


def side_by_side(chunks: Sequence[Chunk], store: Store, dtype: torch.dtype, device: torch.device) -> list[Texts]:
    """Chunks of a step, whose tokens stand in their order, in groups without too much padding."""
    first, end = [], 0
    for chunk in chunks:
        first.append(end)
        end += chunk.count
    order = sorted(range(len(chunks)), key=lambda i: (chunks[i].count, chunks[i].start))
    groups: list[list[int]] = [[]]
    longest = real = 0
    for i in order:
        tokens = chunks[i].start + chunks[i].count
        longest, real = max(longest, tokens), real + chunks[i].count * tokens
        # In this order nobody has had more queries.
        if groups[-1] and (len(groups[-1]) + 1) * chunks[i].count * longest > max(FEW, PADDING * real):
            groups.append([])
            longest, real = tokens, chunks[i].count * tokens
        groups[-1].append(i)
    return [_texts([chunks[j] for j in group], [first[j] for j in group], store, dtype, device) for group in groups]


def _texts(
    chunks: Sequence[Chunk], first: Sequence[int], store: Store, dtype: torch.dtype, device: torch.device
) -> Texts:
    size, most = store.block_size, max(chunk.count for chunk in chunks)
    counts = [-(-(chunk.start + chunk.count) // size) for chunk in chunks]
    longest = max(counts)

    def tensor(numbers: list[list[int]] | list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=device)

    tables = [chunk.sequence.blocks[:count] for chunk, count in zip(chunks, counts, strict=True)]
    spare = [most - chunk.count for chunk in chunks]
    tokens = [[*range(at, at + c.count), *[at] * left] for c, at, left in zip(chunks, first, spare, strict=True)]
    places = [[*range(c.start, c.start + c.count), *[0] * left] for c, left in zip(chunks, spare, strict=True)]
    return Texts(
        tensor([[*table, *[table[0]] * (longest - len(table))] for table in tables]),
        hidden_beyond(tensor(places), longest * size, dtype),
        tensor(tokens),
        tensor([row * most + place for row, chunk in enumerate(chunks) for place in range(chunk.count)]),
        tensor([at + place for chunk, at in zip(chunks, first, strict=True) for place in range(chunk.count)]),
    )
