"""From logits to the next id of each row, and how likely it was. Pure: tensors, parameters and noise in, choices out.

A row's distribution is cut in this order: temperature, top-k, top-p (of what top-k left), min-p; what is left is
made to sum to one again, and the id is found by one number in [0, 1) on the cumulative distribution. A row's result
depends on its own logits, parameters and noise alone, never on the rows beside it.
Reported log-probabilities are natural logarithms under the distribution the id was drawn from; greedy rows, which
draw nothing, report log-softmax at temperature 1. What penalties, biases and grammars do comes before all of this, by
`steer`: it changes the logits, and with them the distribution that is drawn from and reported.
"""

# R = rows, V = vocabulary, W = the likeliest ids of a row, in falling order

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from denken.errors import DenkenError
from denken.model.kernels.call import covers
from denken.model.kernels.softmax import draw, manner
from denken.types import SamplingParams

# How many of a row's likeliest ids are ranked at first, and then, before the whole vocabulary is sorted, which costs
# twenty times as much. The first is nearly always enough for a trained model.
WIDTHS = (64, 1024)


@dataclass(frozen=True, slots=True)
class Choice:
    """The id drawn for a row, its log-probability, and as many of the likeliest alternatives as were asked for.

    kept: how many ids could have been drawn; 0 where the parameters cut none.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    kept: int = 0


def sample(logits_RV: Tensor, params: Sequence[SamplingParams], noise: Sequence[float]) -> list[Choice]:
    """One choice a row. noise: a number in [0, 1) a row, with at most 32 bits; greedy rows ignore it."""
    logits_RV = logits_RV.float()
    choices: dict[int, Choice] = {}
    rows_of: dict[Callable[[Tensor, list[SamplingParams], list[float]], list[Choice]], list[int]] = {}
    kernels = bool(params) and covers(logits_RV)
    for row, p in enumerate(params):
        rows_of.setdefault(_native if kernels and not p.top_logprobs else _kind(p), []).append(row)
    for kind, rows in rows_of.items():
        if len(rows) == len(params):
            choices.update(enumerate(kind(logits_RV, list(params), list(noise))))
        else:
            drawn = kind(logits_RV[rows], [params[r] for r in rows], [noise[r] for r in rows])
            choices.update(zip(rows, drawn, strict=True))
    if not all(math.isfinite(choice.logprob) for choice in choices.values()):
        raise not_finite()
    return [choices[row] for row in range(len(params))]


def not_finite() -> DenkenError:
    """What is said of logits that nothing can be drawn from."""
    return DenkenError("The model's logits are not finite numbers: its weights are damaged, or overflow their type.")


def steer(logits_V: Tensor, params: SamplingParams, counts: Mapping[int, int], mask: bytes | None) -> None:
    """Changes one row's logits in place, as OpenAI's reference says: `frequency_penalty` times its count is taken from
    the logit of each id that was generated already, and `presence_penalty` once; then biases are added.

    counts: how often each id was generated. mask: a byte an id; where it is 0, and beyond it, nothing can be drawn.
    """
    if counts:
        penalties = [n * params.frequency_penalty + params.presence_penalty for n in counts.values()]
        logits_V[list(counts)] -= torch.tensor(penalties, dtype=logits_V.dtype, device=logits_V.device)
    if params.logit_bias:
        ids, biases = zip(*params.logit_bias, strict=True)
        bias_B = torch.tensor(biases, dtype=logits_V.dtype, device=logits_V.device)
        logits_V.index_add_(0, torch.tensor(ids, device=logits_V.device), bias_B)
    if mask is not None:
        allowed = torch.frombuffer(bytearray(mask), dtype=torch.uint8)[: len(logits_V)] > 0
        logits_V[len(allowed) :] = -torch.inf
        logits_V[: len(allowed)].masked_fill_(~allowed.to(logits_V.device), -torch.inf)


def _native(logits_RV: Tensor, params: list[SamplingParams], noise: list[float]) -> list[Choice]:
    """Rows without alternatives to report, in one kernel: what the functions below make of them, up to rounding."""
    drawn = draw(logits_RV, [manner_of(p) for p in params], noise)
    return [Choice(id, logprob, (), kept) for id, logprob, kept in zip(*drawn, strict=True)]


def manner_of(params: SamplingParams) -> tuple[float, float, float, float]:
    """How these parameters draw, for kernels."""
    return manner(params.temperature, params.top_k, params.top_p, params.min_p)


def _greedy(logits_RV: Tensor, params: list[SamplingParams], noise: list[float]) -> list[Choice]:
    best_R, ids_R = logits_RV.max(dim=-1)
    total_R = logits_RV.logsumexp(dim=-1)
    logprobs_RV = logits_RV - total_R[:, None] if _most(params) else logits_RV
    return _choices(ids_R, best_R - total_R, *_top(logprobs_RV, _most(params)), None, params)


def _plain(logits_RV: Tensor, params: list[SamplingParams], noise: list[float]) -> list[Choice]:
    """Rows with nothing but a temperature: one exponential and one sum an id, no second look at the vocabulary."""
    shifted_RV = logits_RV - logits_RV.amax(dim=-1, keepdim=True)
    if any(p.temperature != 1.0 for p in params):
        shifted_RV /= _column([max(p.temperature, 1e-30) for p in params], logits_RV)
    cumulative_RV = shifted_RV.exp().cumsum(dim=-1, dtype=torch.float64)
    ids_R = _find(cumulative_RV, noise)
    logprobs_R = _at(shifted_RV, ids_R) - cumulative_RV[:, -1].log()
    return [Choice(*row) for row in zip(ids_R.tolist(), logprobs_R.tolist(), strict=True)]


def _whole(logits_RV: Tensor, params: list[SamplingParams], noise: list[float]) -> list[Choice]:
    """Rows without top-k and top-p, but with min-p or alternatives to report: nothing needs to be sorted."""
    logprobs_RV, kept_R = _at_temperature(logits_RV, params), None
    floor_R1 = _column([math.log(p.min_p) if p.min_p > 0 else -math.inf for p in params], logits_RV)
    if any(p.min_p > 0 for p in params):
        logprobs_RV = logprobs_RV.masked_fill(logprobs_RV < logprobs_RV.amax(-1, keepdim=True) + floor_R1, -math.inf)
        logprobs_RV, kept_R = logprobs_RV.log_softmax(dim=-1), _left(logprobs_RV)
    ids_R = _draw(logprobs_RV, noise)
    return _choices(ids_R, _at(logprobs_RV, ids_R), *_top(logprobs_RV, _most(params)), kept_R, params)


def _cut(logits_RV: Tensor, params: list[SamplingParams], noise: list[float]) -> list[Choice]:
    """Rows with top-k or top-p. Only as many of the likeliest ids are ranked as provably hold all that is left."""
    logprobs_RV = _at_temperature(logits_RV, params)
    size = logprobs_RV.shape[1]
    choices: dict[int, Choice] = {}
    left = list(range(len(params)))
    for width in (*(width for width in WIDTHS if 2 * width < size), size):
        own_RV = logprobs_RV if len(left) == len(params) else logprobs_RV[left]
        if width < size:
            values_RW, ids_RW = own_RV.topk(width, dim=-1)
        else:
            values_RW, ids_RW = own_RV.sort(dim=-1, descending=True, stable=True)
        mass_R = values_RW.exp().sum(dim=-1).tolist()
        enough = [_suffices(width, mass, size, params[row]) for row, mass in zip(left, mass_R, strict=True)]
        here = [i for i, is_enough in enumerate(enough) if is_enough]
        rows = [left[i] for i in here]
        if rows:
            some = slice(None) if len(rows) == len(left) else here
            drawn = _cut_sorted(values_RW[some], ids_RW[some], [params[r] for r in rows], [noise[r] for r in rows])
            choices.update(zip(rows, drawn, strict=True))
        left = [row for row, is_enough in zip(left, enough, strict=True) if not is_enough]
        if not left:
            break
    return [choices[row] for row in range(len(params))]


def _suffices(width: int, mass: float, size: int, params: SamplingParams) -> bool:
    """Whether the `width` likeliest ids, of probability `mass`, hold all that top-k and top-p leave."""
    return width == size or (params.top_k <= width if params.top_k else mass > params.top_p)


def _cut_sorted(logprobs_RW: Tensor, ids_RW: Tensor, params: list[SamplingParams], noise: list[float]) -> list[Choice]:
    """logprobs_RW: under the whole distribution at its temperature, in falling order; ids_RW: whose they are."""
    rank_W = torch.arange(logprobs_RW.shape[1], device=logprobs_RW.device)
    if any(p.top_k for p in params):
        top_k_R1 = _column([float(p.top_k or math.inf) for p in params], logprobs_RW)
        logprobs_RW = logprobs_RW.masked_fill(rank_W >= top_k_R1, -math.inf)
        # Only rows with top-k are made to sum to one again: a narrow row without it does not hold the whole mass.
        total_R1 = logprobs_RW.logsumexp(dim=-1, keepdim=True)
        logprobs_RW = logprobs_RW - total_R1.where(torch.isfinite(top_k_R1), torch.zeros_like(total_R1))
    probs_RW = logprobs_RW.double().exp()
    before_RW = probs_RW.cumsum(dim=-1) - probs_RW
    top_p_R1 = _column([p.top_p if p.top_p < 1 else math.inf for p in params], before_RW)
    floor_R1 = _column([math.log(p.min_p) if p.min_p > 0 else -math.inf for p in params], logprobs_RW)
    out_RW = (before_RW >= top_p_R1) | (logprobs_RW < logprobs_RW[:, :1] + floor_R1)
    # The likeliest id always stays: rounding of a small top-p must not empty a row.
    out_RW[:, 0] = False
    logprobs_RW = logprobs_RW.masked_fill(out_RW, -math.inf).log_softmax(dim=-1)
    ranks_R = _draw(logprobs_RW, noise)
    most = _most(params)
    ids_R = _at(ids_RW, ranks_R)
    top_logprobs, top_ids = logprobs_RW[:, :most], ids_RW[:, :most]
    return _choices(ids_R, _at(logprobs_RW, ranks_R), top_logprobs, top_ids, _left(logprobs_RW), params)


def _kind(params: SamplingParams) -> Callable[[Tensor, list[SamplingParams], list[float]], list[Choice]]:
    if params.temperature == 0:
        return _greedy
    if params.top_k > 0 or params.top_p < 1:
        return _cut
    return _whole if params.min_p > 0 or params.top_logprobs else _plain


def _at_temperature(logits_RV: Tensor, params: list[SamplingParams]) -> Tensor:
    # Subtracting the largest logit first keeps tiny temperatures from overflowing.
    shifted_RV = logits_RV - logits_RV.amax(dim=-1, keepdim=True)
    return (shifted_RV / _column([max(p.temperature, 1e-30) for p in params], logits_RV)).log_softmax(dim=-1)


def _draw(logprobs_RV: Tensor, noise: list[float]) -> Tensor:
    """The first column whose cumulative probability exceeds the row's noise (R,)."""
    return _find(logprobs_RV.exp().cumsum(dim=-1, dtype=torch.float64), noise)


def _find(cumulative_RV: Tensor, noise: list[float]) -> Tensor:
    """The first column whose share of the row's sum exceeds the row's noise (R,)."""
    target_R1 = _column(noise, cumulative_RV) * cumulative_RV[:, -1:]
    return torch.searchsorted(cumulative_RV, target_R1, right=True)[:, 0].clamp(max=cumulative_RV.shape[1] - 1)


def _top(logprobs_RV: Tensor, count: int) -> tuple[Tensor, Tensor]:
    values, ids = logprobs_RV.topk(min(count, logprobs_RV.shape[1]), dim=-1)
    return values, ids


def _choices(
    ids_R: Tensor,
    logprobs_R: Tensor,
    top_logprobs: Tensor,
    top_ids: Tensor,
    kept_R: Tensor | None,
    params: list[SamplingParams],
) -> list[Choice]:
    """Tensors to plain numbers; alternatives that were cut away are not reported."""
    kept = [0] * len(params)
    if kept_R is not None:
        kept = [count if p.cuts else 0 for count, p in zip(kept_R.tolist(), params, strict=True)]
    tops: list[tuple[tuple[int, float], ...]] = [()] * len(params)
    if top_ids.shape[1]:
        tops = [
            tuple((i, v) for i, v in zip(ids[: p.top_logprobs or 0], values, strict=False) if v > -math.inf)
            for ids, values, p in zip(top_ids.tolist(), top_logprobs.tolist(), params, strict=True)
        ]
    return [Choice(*row) for row in zip(ids_R.tolist(), logprobs_R.tolist(), tops, kept, strict=True)]


def _left(logprobs_RV: Tensor) -> Tensor:
    """How many columns of each row have not been cut away (R,)."""
    return (logprobs_RV > -math.inf).sum(dim=-1)


def _most(params: list[SamplingParams]) -> int:
    return max(p.top_logprobs or 0 for p in params)


def _at(values_RV: Tensor, columns_R: Tensor) -> Tensor:
    return values_RV.gather(-1, columns_R[:, None])[:, 0]


def _column(values: list[float], like: Tensor) -> Tensor:
    """(R, 1), in the type and on the device of `like`."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None]
