"""The pure part of next-token training: logits and targets in, losses out.

Which positions count was decided before (`denken.train.batch`); here every row of `logits_NV` counts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# B = rows, T = tokens in a row, D = hidden size, V = vocabulary, N = positions that have a target, S = sources

IGNORE = -100


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """The negative log-likelihood of each target, natural logarithm, in fp32 whatever the logits are: losses_N.

    It is 0, without gradient, where the target is IGNORE.
    """
    return F.cross_entropy(logits_NV.float(), targets_N, ignore_index=IGNORE, reduction="none")


def select_targets(hidden_BTD: Tensor, targets_BT: Tensor, *, multiple: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Keep only the positions that have a target, so that the head is paid for nowhere else.

    Returns hidden_ND and targets_N, filled up with rows of zero and IGNORE to a multiple of `multiple`, and the flat
    index of each kept position, not filled up. A multiple of a few hundred keeps the number of different shapes small:
    oneDNN prepares, and keeps, a program for every shape it meets.
    """
    flat = targets_BT.reshape(-1)
    index_N = (flat != IGNORE).nonzero().squeeze(1)
    filling = -len(index_N) % multiple
    hidden_ND = _Rows.apply(hidden_BTD.flatten(0, 1), index_N, filling)
    return hidden_ND, F.pad(flat[index_N], (0, filling), value=IGNORE), index_N


class _Rows(torch.autograd.Function):
    """`x[index]` for an index without repeats, then rows of zero: its gradient is a copy, where PyTorch's own adds."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x_MD: Tensor, index_N: Tensor, filling: int) -> Tensor:
        ctx.save_for_backward(index_N)
        ctx.rows = x_MD.shape[0]  # type: ignore[attr-defined]
        return F.pad(x_MD.index_select(0, index_N), (0, 0, 0, filling))

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, grad_ND: Tensor) -> tuple[Tensor, None, None]:
        (index_N,) = ctx.saved_tensors  # type: ignore[attr-defined]
        grad_MD = grad_ND.new_zeros(ctx.rows, grad_ND.shape[1])  # type: ignore[attr-defined]
        return grad_MD.index_copy_(0, index_N, grad_ND[: len(index_N)]), None, None


def sums_by_source(losses_N: Tensor, sources_N: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Total loss and number of targets of each of `count` sources: losses_S and targets_S, both float64."""
    losses_S = torch.bincount(sources_N, weights=losses_N.double(), minlength=count)
    return losses_S, torch.bincount(sources_N, minlength=count).double()
