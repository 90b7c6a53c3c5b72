"""Log-probabilities straight from hidden states: logits are made a few rows at a time and never kept.

A batch's logits are its largest tensor by far (4,096 tokens of 4,096 ids: 64 MiB, and as much again for every step of
a softmax and of its gradient). Here forward keeps one number a row, and backward makes the logits a second time, which
costs one product more and saves several passes over memory. Numbers are in fp32 (or wider) whatever the network's type.
"""

# N = rows, M = hidden size, V = vocabulary

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from denken.model.kernels import softmax
from denken.model.kernels.call import covers
from denken.model.kernels.products import Packed, multiply

# So many logits at a time (2 MiB in fp32), that they stay in a processor's cache from one operation to the next.
AT_ONCE = 1 << 19


def head_logprobs(
    hidden_NM: Tensor, weight_VM: Tensor, ids_N: Tensor, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """log p of each row's id, natural logarithm, and the entropy of each row in nats (N,): of the softmax over
    `hidden @ weight.T / temperature`. Only the first has a gradient."""
    native = covers(hidden_NM, weight_VM)
    logprobs_N, entropy_N = (_NativeHeadLogprobs if native else _HeadLogprobs).apply(
        hidden_NM, weight_VM, ids_N, temperature
    )
    return logprobs_N, entropy_N


class _HeadLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_NM: Tensor, weight_VM: Tensor, ids_N: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        wide = _wide(hidden_NM)
        logprobs_N, entropy_N, total_N = (hidden_NM.new_empty(len(ids_N), dtype=wide) for _ in range(3))
        turned_MV = weight_VM.to(wide).t()
        for rows in _slices(len(ids_N), len(weight_VM)):
            logits_RV = torch.mm(hidden_NM[rows].to(wide), turned_MV).div_(temperature)
            highest_R1 = logits_RV.amax(dim=1, keepdim=True)
            shifted_RV = logits_RV.sub_(highest_R1)
            weights_RV = shifted_RV.exp()
            sum_R = weights_RV.sum(dim=1)
            log_sum_R = sum_R.log()
            # Near 0 where an id is all but certain: of the shifted logit, since the logit itself is large.
            logprobs_N[rows] = shifted_RV.gather(1, ids_N[rows, None])[:, 0] - log_sum_R
            # A shifted logit may be minus infinity, where its weight is 0: 0 times infinity is none of the sum.
            entropy_N[rows] = log_sum_R - weights_RV.mul_(shifted_RV).nan_to_num_(0.0).sum(dim=1) / sum_R
            total_N[rows] = log_sum_R + highest_R1[:, 0]
        ctx.save_for_backward(hidden_NM, weight_VM, ids_N, total_N)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Of log softmax: the one-hot of the id less the softmax, times what comes in."""
        hidden_NM, weight_VM, ids_N, total_N = ctx.saved_tensors
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        wide = _wide(hidden_NM)
        wide_VM = weight_VM.to(wide)
        grad_NM = torch.empty_like(hidden_NM) if wants_hidden else None
        grad_VM = torch.zeros_like(wide_VM) if wants_weight else None
        scaled_N1 = (grad_N.to(wide) / ctx.temperature)[:, None]
        for rows in _slices(len(ids_N), len(weight_VM)):
            rows_RM = hidden_NM[rows].to(wide)
            grad_RV = torch.mm(rows_RM, wide_VM.t()).div_(ctx.temperature).sub_(total_N[rows, None]).exp_()
            grad_RV.mul_(-scaled_N1[rows]).scatter_add_(1, ids_N[rows, None], scaled_N1[rows])
            if grad_NM is not None:
                grad_NM[rows] = torch.mm(grad_RV, wide_VM).to(grad_NM.dtype)
            if grad_VM is not None:
                grad_VM.addmm_(grad_RV.t(), rows_RM)
        return grad_NM, None if grad_VM is None else grad_VM.to(weight_VM.dtype), None, None


class _NativeHeadLogprobs(torch.autograd.Function):
    """The same with kernels, where a few rows of logits stay in the cache between products and softmax."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NM: Tensor, weight_VM: Tensor, ids_N: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        logprobs_N, entropy_N, total_N = (torch.empty(len(ids_N)) for _ in range(3))
        turned_MV = Packed(weight_VM.float().t())
        for rows in _slices(len(ids_N), len(weight_VM)):
            logits_RV = turned_MV(hidden_NM[rows].float())
            logprobs_N[rows], entropy_N[rows], total_N[rows] = softmax.logprobs(logits_RV, ids_N[rows], temperature)
        ctx.save_for_backward(hidden_NM, weight_VM, ids_N, total_N)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropy_N)
        return logprobs_N, entropy_N

    @staticmethod
    def backward(ctx: Any, grad_N: Tensor, _: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden_NM, weight_VM, ids_N, total_N = ctx.saved_tensors
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        wide_VM, grad_N = weight_VM.float(), grad_N.float().contiguous()
        turned_MV, straight_VM = Packed(wide_VM.t()), Packed(wide_VM)
        grad_NM = torch.empty(hidden_NM.shape, dtype=hidden_NM.dtype) if wants_hidden else None
        grad_VM = torch.zeros(wide_VM.shape) if wants_weight else None
        for rows in _slices(len(ids_N), len(weight_VM)):
            rows_RM = hidden_NM[rows].float()
            logits_RV = turned_MV(rows_RM)
            grad_RV = softmax.to_gradient(logits_RV, ids_N[rows], ctx.temperature, grad_N[rows], total_N[rows])
            if grad_NM is not None:
                grad_NM[rows] = straight_VM(grad_RV)
            if grad_VM is not None:
                multiply(grad_RV.t(), rows_RM, grad_VM, add=True)
        return grad_NM, None if grad_VM is None else grad_VM.to(weight_VM.dtype), None, None


def _wide(hidden_NM: Tensor) -> torch.dtype:
    return torch.promote_types(hidden_NM.dtype, torch.float32)


def _slices(rows: int, columns: int) -> Iterator[slice]:
    """Rows in stretches of at most AT_ONCE numbers."""
    many = max(1, AT_ONCE // columns)
    for start in range(0, rows, many):
        yield slice(start, min(start + many, rows))
