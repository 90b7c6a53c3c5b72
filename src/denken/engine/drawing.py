"""The next id of each row with tensors alone: nothing is looked at by Python, so that a CUDA graph can hold it.

What is drawn, and in which order ids are cut, is `sampler.py`'s definition, up to rounding: a row gets the same id from
the same noise. Not covered: alternatives to report, penalties, biases and grammars; those rows are `sampler.py`'s.
"""

# R = rows, V = vocabulary

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

# Rows that are all greedy; rows that keep every id, or what min-p leaves; rows of which some have to be sorted.
Kind = Literal["greedy", "open", "sorted"]
# As `sampler.manner_of` says it: one over the temperature (0: greedy), top-k, top-p, the logarithm of min-p.
Manner = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Manners:
    """How each row draws: one over the temperature (0: greedy), top-k (infinite: none), top-p (infinite: none), and the
    logarithm of min-p; (R, 1) each, in float32."""

    colder_R1: Tensor
    top_k_R1: Tensor
    top_p_R1: Tensor
    floor_R1: Tensor

    @staticmethod
    def blank(rows: int, device: torch.device) -> Manners:
        return Manners(*torch.zeros(4, rows, 1, device=device).unbind())

    def rows(self, count: int) -> Manners:
        return Manners(*(part[:count] for part in self._parts))

    def take(self, manners: Sequence[Manner]) -> None:
        """The first rows are these."""
        columns = [(colder, k or math.inf, p if p < 1 else math.inf, floor) for colder, k, p, floor in manners]
        columns_R4 = torch.tensor(columns, device=self.colder_R1.device)
        for i, part in enumerate(self._parts):
            part[: len(manners), 0] = columns_R4[:, i]

    @property
    def _parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.colder_R1, self.top_k_R1, self.top_p_R1, self.floor_R1


def kind_of(manners: Sequence[Manner]) -> Kind:
    if all(colder == 0 for colder, *_ in manners):
        return "greedy"
    return "sorted" if any(colder and (k > 0 or p < 1) for colder, k, p, _ in manners) else "open"


def draw(logits_RV: Tensor, manners: Manners, noise_R: Tensor, kind: Kind) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, their log-probabilities, and how many could have been drawn (0: none was cut), (R,) each.

    noise_R: in [0, 1), float64; greedy rows ignore it.
    """
    best_R1, likeliest_R1 = logits_RV.max(dim=-1, keepdim=True)
    shifted_RV = logits_RV - best_R1
    sure_R = -shifted_RV.exp().sum(dim=-1).log()
    nothing_R = torch.zeros_like(likeliest_R1[:, 0])
    if kind == "greedy":
        return likeliest_R1[:, 0], sure_R, nothing_R
    greedy_R1 = manners.colder_R1 == 0
    cooled_RV = shifted_RV * manners.colder_R1
    ids_R, logprobs_R, kept_R = _open(cooled_RV, manners, noise_R)
    if kind == "sorted":
        cut_R = ((manners.top_k_R1 < math.inf) | (manners.top_p_R1 < math.inf))[:, 0]
        of_sorted = _sorted(cooled_RV, manners, noise_R)
        ids_R, logprobs_R, kept_R = (
            torch.where(cut_R, one, other) for one, other in zip(of_sorted, (ids_R, logprobs_R, kept_R), strict=True)
        )
    greedy_R = greedy_R1[:, 0]
    return (
        torch.where(greedy_R, likeliest_R1[:, 0], ids_R),
        torch.where(greedy_R, sure_R, logprobs_R),
        torch.where(greedy_R, nothing_R, kept_R),
    )


def _open(cooled_RV: Tensor, manners: Manners, noise_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ids in the vocabulary's order, without those that min-p cuts."""
    cooled_RV = cooled_RV.masked_fill(cooled_RV < manners.floor_R1, -math.inf)
    cumulative_RV = cooled_RV.exp().cumsum(dim=-1, dtype=torch.float64)
    at_R1 = _find(cumulative_RV, noise_R)
    logprobs_R1 = cooled_RV.gather(-1, at_R1) - cumulative_RV[:, -1:].log().float()
    kept_R1 = (cooled_RV > -math.inf).sum(dim=-1, keepdim=True).masked_fill(manners.floor_R1 == -math.inf, 0)
    return at_R1[:, 0], logprobs_R1[:, 0], kept_R1[:, 0]


def _sorted(cooled_RV: Tensor, manners: Manners, noise_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ids from the likeliest down: top-k, then top-p of what that left, then min-p."""
    logprobs_RV, ids_RV = cooled_RV.log_softmax(dim=-1).sort(dim=-1, descending=True, stable=True)
    rank_V = torch.arange(logprobs_RV.shape[1], device=logprobs_RV.device)
    logprobs_RV = logprobs_RV.masked_fill(rank_V >= manners.top_k_R1, -math.inf).log_softmax(dim=-1)
    probs_RV = logprobs_RV.double().exp()
    before_RV = probs_RV.cumsum(dim=-1) - probs_RV
    out_RV = (before_RV >= manners.top_p_R1) | (logprobs_RV < logprobs_RV[:, :1] + manners.floor_R1)
    # The likeliest id always stays: rounding of a small top-p must not empty a row.
    logprobs_RV = logprobs_RV.masked_fill(out_RV & (rank_V > 0), -math.inf).log_softmax(dim=-1)
    at_R1 = _find(logprobs_RV.exp().cumsum(dim=-1, dtype=torch.float64), noise_R)
    kept_R = (logprobs_RV > -math.inf).sum(dim=-1)
    return ids_RV.gather(-1, at_R1)[:, 0], logprobs_RV.gather(-1, at_R1)[:, 0], kept_R


def _find(cumulative_RV: Tensor, noise_R: Tensor) -> Tensor:
    """The first column whose share of the row's sum exceeds the row's noise (R, 1)."""
    target_R1 = noise_R[:, None] * cumulative_RV[:, -1:]
    return torch.searchsorted(cumulative_RV, target_R1, right=True).clamp_(max=cumulative_RV.shape[1] - 1)
