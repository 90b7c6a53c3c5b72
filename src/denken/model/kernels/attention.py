"""Softmax attention with grouped heads: for learning, for prompts, and for the next token of many sequences.

Scores and probabilities of fp32 and bf16 networks are computed in fp32 and rounded to the network's type, as are the
results. A query gets the same numbers, to the bit, in all three.
"""

# N = tokens, H = query heads, K = key heads, D = columns of a head; S = sequences that decode, U = slots, P = tokens of
# the longest beginning

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, NAMES, NUMBER, POINTER, address, kernel, threads

# Numbers that may be read, not used, behind the last of rows and beginnings.
BEHIND = 64
_HEADS = (POINTER, INTEGER)


@dataclass(frozen=True, slots=True)
class Stretch:
    """`count` queries from token `query` on: each sees the keys [prefix, prefix + prefix_count), then of the `count`
    keys from `own` on those up to itself."""

    query: int
    count: int
    prefix: int
    prefix_count: int
    own: int


def to_table(stretches: list[Stretch]) -> Tensor:
    """Stretches as `attend` takes them."""
    return torch.tensor([[s.query, s.count, s.prefix, s.prefix_count, s.own] for s in stretches], dtype=torch.long)


def attend(query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor, stretches: Tensor, scale: float) -> Tensor:
    """(N, H, D); 0 for tokens of no stretch. Heads stand on end, tokens may stand apart."""
    out_NHD = torch.zeros(query_NHD.shape, dtype=query_NHD.dtype)
    types = (*_HEADS * 3, POINTER, POINTER, *[INTEGER] * 4, NUMBER, INTEGER)
    kernel(f"denken_attend_{NAMES[query_NHD.dtype]}", types)(
        *_heads(query_NHD),
        *_heads(key_NKD),
        *_heads(value_NKD),
        address(out_NHD),
        address(stretches),
        len(stretches),
        query_NHD.shape[1],
        *key_NKD.shape[1:],
        scale,
        threads(query_NHD.numel() * len(key_NKD)),
    )
    return out_NHD


class Attention(torch.autograd.Function):
    """`attend`, to be learnt through; queries, keys and values are of the same tokens. Nothing is kept but these."""

    @staticmethod
    def forward(
        ctx: Any, query_NHD: Tensor, key_NKD: Tensor, value_NKD: Tensor, stretches: Tensor, scale: float
    ) -> Tensor:
        ctx.save_for_backward(query_NHD, key_NKD, value_NKD, stretches)
        ctx.scale = scale
        return attend(query_NHD, key_NKD, value_NKD, stretches, scale)

    @staticmethod
    def backward(ctx: Any, grad_NHD: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query_NHD, key_NKD, value_NKD, stretches = ctx.saved_tensors
        grad_NHD = grad_NHD.contiguous()
        query_grad = torch.zeros(query_NHD.shape, dtype=grad_NHD.dtype)
        key_grad, value_grad = (torch.empty(key_NKD.shape, dtype=grad_NHD.dtype) for _ in range(2))
        types = (*_HEADS * 4, *[POINTER] * 4, *[INTEGER] * 5, NUMBER, INTEGER)
        kernel(f"denken_attend_backward_{NAMES[grad_NHD.dtype]}", types)(
            *_heads(query_NHD),
            *_heads(key_NKD),
            *_heads(value_NKD),
            *_heads(grad_NHD),
            address(query_grad),
            address(key_grad),
            address(value_grad),
            address(stretches),
            len(stretches),
            len(query_NHD),
            query_NHD.shape[1],
            *key_NKD.shape[1:],
            ctx.scale,
            threads(query_NHD.numel() * len(key_NKD)),
        )
        return query_grad, key_grad, value_grad, None, None


@dataclass(frozen=True, slots=True)
class Begun:
    """Beginnings that stand apart: keys (U * K, D, P) and values (U * K, P, D) in fp32, with BEHIND numbers more
    behind them; slots_S: whose is whose; lengths_U: their true lengths."""

    keys: Tensor
    values: Tensor
    length: int
    slots_S: Tensor
    lengths_U: Tensor


def attend_rows(
    query_SHD: Tensor,
    key_SKD: Tensor,
    value_SKD: Tensor,
    row_keys: Tensor,
    row_values: Tensor,
    stride: int,
    lengths_S: Tensor,
    block_keys: Tensor,
    block_values: Tensor,
    places_S: Tensor,
    begun: Begun | None,
    order_S: Tensor,
    scale: float,
    seats_S: Tensor | None = None,
) -> Tensor:
    """(S, H, D): new tokens, one of each row, or as `seats_S` says. Their keys and values are written first, to place
    lengths_S - 1 of their rows and to places_S of the blocks (places, K, D).

    row_keys (rows, K, D, stride) and row_values (rows, K, stride, D) are fp32, with BEHIND numbers more behind them.
    order_S: the tokens, those of one slot on end. seats_S: each token's row; tokens of one row follow one another.
    """
    out_SHD = torch.empty(query_SHD.shape, dtype=query_SHD.dtype)
    types = (*_HEADS * 3, *[POINTER] * 3, INTEGER, *[POINTER] * 6, INTEGER, *[POINTER] * 4, *[INTEGER] * 4, NUMBER)
    kernel(f"denken_attend_rows_{NAMES[query_SHD.dtype]}", (*types, INTEGER))(
        *_heads(query_SHD),
        *_heads(key_SKD),
        *_heads(value_SKD),
        address(out_SHD),
        address(row_keys),
        address(row_values),
        stride,
        address(lengths_S),
        address(block_keys),
        address(block_values),
        address(places_S),
        None if begun is None else address(begun.keys),
        None if begun is None else address(begun.values),
        0 if begun is None else begun.length,
        None if begun is None else address(begun.slots_S),
        None if begun is None else address(begun.lengths_U),
        address(seats_S),
        address(order_S),
        *query_SHD.shape[:2],
        *key_SKD.shape[1:],
        scale,
        threads(query_SHD.numel() * stride),
    )
    return out_SHD


def _heads(x_NHD: Tensor) -> tuple[int, int]:
    """Where the tokens' heads begin, and how far apart tokens are."""
    assert x_NHD.stride(2) == 1
    assert x_NHD.stride(1) == x_NHD.shape[2]
    return x_NHD.data_ptr(), x_NHD.stride(0)
