"""Softmax attention with grouped heads: for learning and for prompts. For the next token of many sequences: `rows.py`.

Scores and probabilities of fp32 and bf16 networks are computed in fp32 and rounded to the network's type, as are the
results. A query gets the same numbers, to the bit, in all three.
"""

# N = tokens, H = query heads, K = key heads, D = columns of a head

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, NAMES, NUMBER, POINTER, address, kernel, threads

# A kernel's arguments for what `heads_of` returns.
HEADS = (POINTER, INTEGER)


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
    types = (*HEADS * 3, POINTER, POINTER, *[INTEGER] * 4, NUMBER, INTEGER)
    kernel(f"denken_attend_{NAMES[query_NHD.dtype]}", types)(
        *heads_of(query_NHD),
        *heads_of(key_NKD),
        *heads_of(value_NKD),
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
        types = (*HEADS * 4, *[POINTER] * 4, *[INTEGER] * 5, NUMBER, INTEGER)
        kernel(f"denken_attend_backward_{NAMES[grad_NHD.dtype]}", types)(
            *heads_of(query_NHD),
            *heads_of(key_NKD),
            *heads_of(value_NKD),
            *heads_of(grad_NHD),
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


def heads_of(x_NHD: Tensor) -> tuple[int, int]:
    """Where the tokens' heads begin, and how far apart tokens are."""
    assert x_NHD.stride(2) == 1
    assert x_NHD.stride(1) == x_NHD.shape[2]
    return x_NHD.data_ptr(), x_NHD.stride(0)
