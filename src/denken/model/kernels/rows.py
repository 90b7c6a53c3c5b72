"""Keys and values of those who decode, in rows, and attention for their new tokens.

A row holds one sequence's keys and values as attention reads them: of each key head, keys in panels of 32 tokens,
column after column, and values token after token. `Strip` is some rows of one layer: in the network's type, whose
numbers it holds as they are, or narrower, in bf16 or int8. In int8 a token's key of one head, or its value, has one
scale, max|x| / 127, and is rounded to the nearest; it is multiplied in whole numbers, with queries in 15 bits and
weights in 14 bits of the largest of 32 tokens'.
Or there are no rows, and the cache's blocks themselves lie as attention reads them, in parts of PART tokens: keys
(parts, K, D, PART) and values (parts, K, PART, D).
A query gets the numbers, to the bit, that `attention.attend` gives it, but where rows are narrower than their network.
"""

# S = new tokens, H = query heads, K = key heads, D = columns of a head, U = slots, N = tokens

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from denken.model.kernels.attention import HEADS, heads_of
from denken.model.kernels.call import INTEGER, NAMES, NUMBER, POINTER, address, kernel, threads

# A row's length is a multiple of this.
PANEL = 32
# Tokens whose keys stand together in blocks that are read themselves.
PART = 16
# Numbers that may be read, not used, behind the last of a strip, or of blocks that are read themselves.
BEHIND = 64
# How kernels are told of rows narrower than their network, and what types they have.
NARROW = {torch.bfloat16: 1, torch.int8: 2}


@dataclass(frozen=True, slots=True)
class Strip:
    """Rows of one layer. keys (rows, K, stride / PANEL, D, PANEL) and values (rows, K, stride, D), flat, with BEHIND
    numbers more behind them. In bf16 a panel's token 16 + i stands between its tokens i and i + 1. In int8 four columns
    of a key stand together, and of four tokens' values a column; a panel's scales stand behind its keys, and others
    behind its values, in fp32: a token has `columns` numbers."""

    keys: Tensor
    values: Tensor
    stride: int


@dataclass(frozen=True, slots=True)
class Tables:
    """In which blocks, of so many tokens each, a multiple of PART, those of a text lie that has no row. blocks_SB:
    (texts, most of one), padded behind."""

    blocks_SB: Tensor
    block_size: int

    def record(self) -> tuple[int | None, int, int]:
        return address(self.blocks_SB), self.blocks_SB.shape[1], self.block_size


@dataclass(frozen=True, slots=True)
class Begun:
    """Beginnings that stand apart, a row each. slots_S: whose is whose; lengths_U: how many tokens each has."""

    strip: Strip
    slots_S: Tensor
    lengths_U: Tensor


def attend_rows(
    query_SHD: Tensor,
    key_SKD: Tensor,
    value_SKD: Tensor,
    strip: Strip,
    lengths_S: Tensor,
    block_keys: Tensor,
    block_values: Tensor,
    places_S: Tensor,
    begun: Begun | None,
    order_S: Tensor,
    scale: float,
    seats_S: Tensor | None = None,
    tables: Tables | None = None,
) -> Tensor:
    """(S, H, D): new tokens, one of each row, or as `seats_S` says. Their keys and values are written first, to place
    lengths_S - 1 of their rows and to places_S of the blocks (places, K, D).

    order_S: the tokens, those of one slot on end, and within them those of one row. seats_S: each token's row; tokens
    of one row follow one another. tables: there are no rows, but blocks (parts, K, ...) that are read themselves; of
    the strip only the stride is looked at, which no text may be longer than.
    """
    out_SHD = torch.empty(query_SHD.shape, dtype=query_SHD.dtype)
    types = (*HEADS * 3, *[POINTER] * 3, *[INTEGER] * 2, *[POINTER] * 6, INTEGER, *[POINTER] * 5, *[INTEGER] * 6)
    kernel(f"denken_attend_rows_{NAMES[query_SHD.dtype]}", (*types, NUMBER, INTEGER))(
        *heads_of(query_SHD),
        *heads_of(key_SKD),
        *heads_of(value_SKD),
        address(out_SHD),
        *_record(strip),
        address(lengths_S),
        address(block_keys),
        address(block_values),
        address(places_S),
        None if begun is None else address(begun.strip.keys),
        None if begun is None else address(begun.strip.values),
        0 if begun is None else begun.strip.stride,
        None if begun is None else address(begun.slots_S),
        None if begun is None else address(begun.lengths_U),
        address(seats_S),
        address(order_S),
        *((None, 0, 0) if tables is None else tables.record()),
        *query_SHD.shape[:2],
        *key_SKD.shape[1:],
        scale,
        threads(query_SHD.numel() * strip.stride),
    )
    return out_SHD


def copy_rows(
    block_keys: Tensor, block_values: Tensor, strip: Strip, places_N: Tensor, seats_N: Tensor, spots_N: Tensor
) -> None:
    """Copies tokens from places_N of the blocks (..., K, D) to spots_N of their rows, seats_N."""
    types = (*[POINTER] * 4, *[INTEGER] * 2, *[POINTER] * 3, *[INTEGER] * 4)
    kernel(f"denken_copy_rows_{NAMES[block_keys.dtype]}", types)(
        address(block_keys),
        address(block_values),
        *_record(strip),
        address(places_N),
        address(seats_N),
        address(spots_N),
        len(places_N),
        *block_keys.shape[-2:],
        threads(len(places_N) * block_keys.shape[-2] * block_keys.shape[-1]),
    )


def write_blocks(
    key_NKD: Tensor, value_NKD: Tensor, block_keys: Tensor, block_values: Tensor, places_N: Tensor
) -> None:
    """Writes tokens to their places of blocks that are read themselves."""
    types = (*HEADS * 2, *[POINTER] * 3, *[INTEGER] * 4)
    kernel(f"denken_write_blocks_{NAMES[key_NKD.dtype]}", types)(
        *heads_of(key_NKD),
        *heads_of(value_NKD),
        address(block_keys),
        address(block_values),
        address(places_N),
        *key_NKD.shape,
        threads(key_NKD.numel()),
    )


def read_blocks(block_keys: Tensor, block_values: Tensor, places_N: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values (N, K, D) from their places of blocks that are read themselves."""
    heads, size = block_keys.shape[-3:-1]
    found = [torch.empty(len(places_N), heads, size, dtype=block_keys.dtype) for _ in range(2)]
    kernel(f"denken_read_blocks_{NAMES[block_keys.dtype]}", (*[POINTER] * 5, *[INTEGER] * 4))(
        *map(address, (*found, block_keys, block_values, places_N)), *found[0].shape, threads(found[0].numel())
    )
    return found[0], found[1]


def columns(size: int, dtype: torch.dtype) -> int:
    """Numbers that rows of this type keep of a token's key, or value, of a head: in int8 fours and a scale's bytes."""
    return -(-size // 4) * 4 + torch.float32.itemsize if dtype == torch.int8 and size else size


def narrow(row: Tensor) -> int:
    """How kernels are told of what type rows are."""
    return NARROW.get(row.dtype, 0)


def _record(strip: Strip) -> tuple[int | None, int | None, int, int]:
    return address(strip.keys), address(strip.values), strip.stride, narrow(strip.keys)
