"""Softmax over a vocabulary: log-probabilities with their gradient, and draws."""

# R = rows, V = vocabulary

from __future__ import annotations

import math
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


def manner(temperature: float, top_k: int, top_p: float, min_p: float) -> tuple[float, float, float, float]:
    """How a row is drawn, as `draw` takes it; the meaning is `SamplingParams`'s."""
    colder = 1 / max(temperature, 1e-30) if temperature else 0.0
    return colder, float(top_k), top_p, math.log(min_p) if min_p > 0 else -math.inf


def draw(
    logits_RV: Tensor, manners: Sequence[tuple[float, float, float, float]], noise: Sequence[float]
) -> tuple[list[int], list[float], list[int]]:
    """One id a row: the first whose cumulative share exceeds the row's noise; its log-probability; and how many ids
    could have been drawn, 0 where nothing is cut. A row of numbers that are not finite gives one that is not."""
    logits_RV = logits_RV.contiguous()
    rows, size = logits_RV.shape
    manner_R4, noise_R = (torch.tensor(x, dtype=torch.float64) for x in (manners, noise))
    ids_R, kept_R = (torch.empty(rows, dtype=torch.long) for _ in range(2))
    logprobs_R = torch.empty(rows, dtype=torch.float64)
    types = (POINTER, INTEGER, *[POINTER] * 5, INTEGER, INTEGER, INTEGER)
    kernel("denken_draw", types)(
        address(logits_RV),
        logits_RV.stride(0),
        address(manner_R4),
        address(noise_R),
        address(ids_R),
        address(logprobs_R),
        address(kept_R),
        rows,
        size,
        threads(logits_RV.numel()),
    )
    return ids_R.tolist(), logprobs_R.tolist(), kept_R.tolist()
