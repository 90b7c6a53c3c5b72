"""Softmax over a vocabulary: log-probabilities with their gradient, and draws."""

# R = rows, V = vocabulary

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, NUMBER, POINTER, address, kernel, threads


def logprobs(logits_RV: Tensor, ids_R: Tensor, temperature: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row of fp32 logits: log p of its id, entropy in nats, and the logarithm of the softmax's sum."""
    rows, size = logits_RV.shape
    logprobs_R, entropy_R, total_R = (torch.empty(rows) for _ in range(3))
    types = (POINTER, POINTER, NUMBER, POINTER, POINTER, POINTER, INTEGER, INTEGER, INTEGER)
    kernel("denken_logprobs", types)(
        address(logits_RV),
        address(ids_R),
        1 / temperature,
        address(logprobs_R),
        address(entropy_R),
        address(total_R),
        rows,
        size,
        threads(logits_RV.numel()),
    )
    return logprobs_R, entropy_R, total_R


def to_gradient(logits_RV: Tensor, ids_R: Tensor, temperature: float, grad_R: Tensor, total_R: Tensor) -> Tensor:
    """In place, from logits to the gradient that log p has in them, times `grad_R`."""
    types = (POINTER, POINTER, NUMBER, POINTER, POINTER, INTEGER, INTEGER, INTEGER)
    kernel("denken_logprobs_backward", types)(
        address(logits_RV),
        address(ids_R),
        1 / temperature,
        address(grad_R),
        address(total_R),
        *logits_RV.shape,
        threads(logits_RV.numel()),
    )
    return logits_RV


def draw(logits_RV: Tensor, temperatures: Sequence[float], noise: Sequence[float]) -> tuple[list[int], list[float]]:
    """One id a row of the softmax at its temperature: the first whose cumulative share exceeds the row's noise; and
    its log-probability. A row of numbers that are not finite gives one that is not."""
    logits_RV = logits_RV.contiguous()
    rows, size = logits_RV.shape
    colder_R = torch.tensor([1 / max(t, 1e-30) for t in temperatures])
    noise_R = torch.tensor(noise, dtype=torch.float64)
    ids_R, logprobs_R = torch.empty(rows, dtype=torch.long), torch.empty(rows, dtype=torch.float64)
    types = (POINTER, INTEGER, POINTER, POINTER, POINTER, POINTER, INTEGER, INTEGER, INTEGER)
    kernel("denken_draw", types)(
        address(logits_RV),
        logits_RV.stride(0),
        address(colder_R),
        address(noise_R),
        address(ids_R),
        address(logprobs_R),
        rows,
        size,
        threads(logits_RV.numel()),
    )
    return ids_R.tolist(), logprobs_R.tolist()
