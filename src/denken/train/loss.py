"""The pure part of training: logits and targets in, losses out; log-probabilities and advantages in, losses out.

The first half is next-token training's: which positions count was decided before (`denken.train.batch`), and every row
of `logits_NV` counts. The second half is reinforcement learning's, by the published names: GRPO, Dr. GRPO, DAPO, GSPO,
CISPO. What an advantage is stands in `advantage.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

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


def select_targets(
    hidden_BTD: Tensor, targets_BT: Tensor, index_N: Tensor | None = None, *, multiple: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Keep only the positions that have a target, so that the head is paid for nowhere else.

    Returns hidden_ND and targets_N, filled up with rows of zero and IGNORE to a multiple of `multiple`, and the flat
    index of each kept position, not filled up. A multiple of a few hundred keeps the number of different shapes small:
    oneDNN prepares, and keeps, a program for every shape it meets. index_N: that index, where it is known.
    """
    flat = targets_BT.reshape(-1)
    if index_N is None:
        index_N = (flat != IGNORE).nonzero().squeeze(1)
    filling = -len(index_N) % multiple
    hidden_ND = _Rows.apply(hidden_BTD.flatten(0, 1), index_N, filling)
    return hidden_ND, F.pad(flat[index_N], (0, filling), value=IGNORE), index_N


def rows_at(x_MD: Tensor, index_N: Tensor) -> Tensor:
    """`x_MD[index_N]` for an index without repeats, with a gradient that is a copy."""
    out_ND: Tensor = _Rows.apply(x_MD, index_N, 0)
    return out_ND


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
    wide_N = losses_N.double()
    if wide_N.device.type != "cpu":  # counting bins would wait for the GPU
        losses_S, targets_S = wide_N.new_zeros(2, count)
        return losses_S.index_add_(0, sources_N, wide_N), targets_S.index_add_(0, sources_N, torch.ones_like(wide_N))
    losses_S = torch.bincount(sources_N, weights=wide_N, minlength=count)
    return losses_S, torch.bincount(sources_N, minlength=count).double()


# S = sampled sequences, T = their tokens, padded to the longest; mask_ST is 1.0 on tokens that were sampled


@dataclass(frozen=True, slots=True)
class Terms:
    """A loss in two parts, so that micro-batches and processes can be added up before the division.

    The loss of a whole batch is `sum(loss_S) / sum(weight_S)` over all of its sequences.
    """

    loss_S: Tensor
    weight_S: Tensor

    def mean(self) -> Tensor:
        """The loss, where this is the whole batch."""
        return self.loss_S.sum() / self.weight_S.sum()


def clipped_surrogate(ratio: Tensor, advantage: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """min(r A, clip(r, 1 - clip_low, 1 + clip_high) A): PPO (arXiv 1707.06347), equation 7.

    Two bounds are DAPO's clip-higher (arXiv 2503.14476, equation 10); equal ones are PPO's and GRPO's.
    """
    return torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage)


def token_ratio(new_ST: Tensor, old_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """pi_new / pi_old of every token; 1 where nothing was sampled."""
    return ((new_ST - old_ST) * mask_ST).exp()


def sequence_ratio(new_ST: Tensor, old_ST: Tensor, mask_ST: Tensor) -> Tensor:
    """The geometric mean of a sequence's token ratios (S, 1): GSPO (arXiv 2507.18071), equation 7."""
    lengths_S1 = mask_ST.sum(dim=1, keepdim=True).clamp(min=1)
    return (((new_ST - old_ST) * mask_ST).sum(dim=1, keepdim=True) / lengths_S1).exp()


def token_surrogate(
    new_ST: Tensor, old_ST: Tensor, advantage_S: Tensor, mask_ST: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """What GRPO, Dr. GRPO and DAPO maximise at each token (S, T)."""
    return clipped_surrogate(token_ratio(new_ST, old_ST, mask_ST), advantage_S[:, None], clip_low, clip_high)


def sequence_surrogate(
    new_ST: Tensor, old_ST: Tensor, advantage_S: Tensor, mask_ST: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """What GSPO maximises (arXiv 2507.18071, equation 5), the sequence's value at each of its tokens (S, T)."""
    surrogate_S1 = clipped_surrogate(sequence_ratio(new_ST, old_ST, mask_ST), advantage_S[:, None], clip_low, clip_high)
    return surrogate_S1.expand_as(new_ST)


def weighted_likelihood(
    new_ST: Tensor, old_ST: Tensor, advantage_S: Tensor, mask_ST: Tensor, *, clip_low: float, clip_high: float
) -> Tensor:
    """What CISPO maximises: sg(clip(r)) A log pi (MiniMax-M1, arXiv 2506.13585, equations 4 and 5) (S, T).

    The clipped ratio is a weight without gradient, so that no token's gradient is dropped. The paper leaves the lower
    bound open; clip_low = 1 does so here.
    """
    weight_ST = token_ratio(new_ST, old_ST, mask_ST).clamp(1 - clip_low, 1 + clip_high).detach()
    return weight_ST * advantage_S[:, None] * new_ST


def kl_estimate(new_ST: Tensor, reference_ST: Tensor) -> Tensor:
    """pi_ref / pi - log(pi_ref / pi) - 1 at each token (S, T): GRPO (arXiv 2402.03300), equation 4.

    Unbiased where the tokens were sampled from pi, and never negative (Schulman's k3).
    """
    log_ratio_ST = reference_ST - new_ST
    return log_ratio_ST.exp() - log_ratio_ST - 1


def truncated_importance(trainer_ST: Tensor, sampler_ST: Tensor, mask_ST: Tensor, *, cap: float) -> Tensor:
    """min(pi_trainer / pi_sampler, cap), without gradient (S, T): truncated importance sampling, for a sampler whose
    log-probabilities differ from the trainer's (Yao et al. 2025, "Your efficient RL framework secretly brings you
    off-policy RL training")."""
    return token_ratio(trainer_ST, sampler_ST, mask_ST).clamp(max=cap).detach()


def per_sequence(value_ST: Tensor, mask_ST: Tensor, max_tokens: int) -> Terms:
    """Each sequence's mean, then the mean over sequences: GRPO (arXiv 2402.03300, equation 3), GSPO."""
    lengths_S = mask_ST.sum(dim=1)
    return Terms(-(value_ST * mask_ST).sum(dim=1) / lengths_S.clamp(min=1), torch.ones_like(lengths_S))


def per_token(value_ST: Tensor, mask_ST: Tensor, max_tokens: int) -> Terms:
    """The mean over all tokens of the batch: DAPO (arXiv 2503.14476, equation 12), CISPO."""
    return Terms(-(value_ST * mask_ST).sum(dim=1), mask_ST.sum(dim=1))


def per_budget(value_ST: Tensor, mask_ST: Tensor, max_tokens: int) -> Terms:
    """The sum over tokens by a constant, max_tokens a sequence: Dr. GRPO (arXiv 2503.20783, section 3.1)."""
    lengths_S = mask_ST.sum(dim=1)
    return Terms(-(value_ST * mask_ST).sum(dim=1), torch.full_like(lengths_S, max_tokens))


# What an algorithm maximises at each token, and how tokens are averaged. Dr. GRPO's other half is the advantage
# (`advantage.group_advantages` without the division), DAPO's are two clip bounds, dynamic sampling and
# `advantage.soft_overlong`.
ALGORITHMS = {
    "grpo": (token_surrogate, per_sequence),
    "dr_grpo": (token_surrogate, per_budget),
    "dapo": (token_surrogate, per_token),
    "gspo": (sequence_surrogate, per_sequence),
    "cispo": (weighted_likelihood, per_token),
}


def policy_loss(
    algorithm: str,
    new_ST: Tensor,
    old_ST: Tensor,
    advantage_S: Tensor,
    mask_ST: Tensor,
    *,
    clip_low: float,
    clip_high: float,
    max_tokens: int,
    reference_ST: Tensor | None = None,
    kl: float = 0.0,
    importance_ST: Tensor | None = None,
) -> Terms:
    """The loss of sampled sequences under an algorithm of ALGORITHMS, to be minimised.

    new, old, reference: log-probabilities of the sampled ids under today's weights (with gradient), the weights that
    sampled, and the reference policy. kl: the weight of `kl_estimate`, averaged as the algorithm averages.
    importance: a factor on every token's surrogate, such as `truncated_importance`.
    """
    surrogate, average = ALGORITHMS[algorithm]
    value_ST = surrogate(new_ST, old_ST, advantage_S, mask_ST, clip_low=clip_low, clip_high=clip_high)
    if importance_ST is not None:
        value_ST = value_ST * importance_ST
    if reference_ST is not None and kl:
        value_ST = value_ST - kl * kl_estimate(new_ST, reference_ST)
    return average(value_ST, mask_ST, max_tokens)


def clipped(ratio_ST: Tensor, advantage_S: Tensor, clip_low: float, clip_high: float) -> Tensor:
    """Where clipping takes the gradient away, or caps the weight: beyond the bound on the side the advantage pulls."""
    above_ST = (ratio_ST > 1 + clip_high) & (advantage_S[:, None] > 0)
    return above_ST | ((ratio_ST < 1 - clip_low) & (advantage_S[:, None] < 0))


def sampled_logprobs(
    logits_NV: Tensor,
    ids_N: Tensor,
    *,
    temperature: float = 1.0,
    kept_N: Tensor | None = None,
    ranks: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """log p of each id under the distribution it was drawn from, in fp32, natural logarithm (N,).

    kept_N: how many of the likeliest ids could have been drawn, after top-k, top-p and min-p; None where all could.
        The sampled id counts as one of them, even where these logits rank it lower.
    ranks: ids in falling order (N, W), to normalise over another policy's choice; by default these logits' own.
    Returns the ranks beside, None where nothing was cut.
    """
    logits_NV = logits_NV.float()
    if temperature != 1.0:
        logits_NV = logits_NV / temperature
    if kept_N is None:
        return -F.cross_entropy(logits_NV, ids_N, reduction="none"), None
    if ranks is None:
        ranks = logits_NV.detach().topk(int(kept_N.max()), dim=1).indices
    outside_NW = torch.arange(ranks.shape[1], device=ranks.device) >= kept_N[:, None]
    chosen_N = logits_NV.gather(1, ids_N[:, None])[:, 0]
    total_N = logits_NV.gather(1, ranks).masked_fill(outside_NW, -torch.inf).logsumexp(dim=1)
    absent_N = ~((ranks == ids_N[:, None]) & ~outside_NW).any(dim=1)
    total_N = torch.where(absent_N, torch.logaddexp(total_N, chosen_N), total_N)
    return chosen_N - total_N, ranks


def entropy(logits_NV: Tensor, temperature: float = 1.0) -> Tensor:
    """The entropy of each row's distribution before any cut, in nats (N,); without gradient."""
    logprobs_NV = (logits_NV.detach().float() / temperature).log_softmax(dim=1)
    return -(logprobs_NV.exp() * logprobs_NV).sum(dim=1)
