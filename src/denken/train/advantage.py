"""How much better a rollout was than the others of its group: numbers in, numbers out.

Source: GRPO, "DeepSeekMath" (arXiv 2402.03300), section 4.1.2, and what later papers changed of it.
Departs from it: (1) where all rewards of a group are equal the advantage is exactly 0, and no epsilon is added to the
standard deviation elsewhere, so that a group is a yardstick of its own whatever the rewards' size; (2) the standard
deviation is the population's (divided by G, as numpy's), which the paper leaves open.
"""

from __future__ import annotations

import torch
from torch import Tensor

# P = problems, G = rollouts of each


def group_advantages(rewards_PG: Tensor, *, normalise_std: bool) -> Tensor:
    """A_i = (r_i - mean(r)) / std(r) within each group (P, G); without the division for Dr. GRPO.

    Dr. GRPO (arXiv 2503.20783, section 3.1) drops it because it weighs the easiest and hardest problems most.

    >>> group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5]]), normalise_std=True)
    tensor([[ 1., -1., -1.,  1.],
            [ 0.,  0.,  0.,  0.]])
    """
    centred_PG = rewards_PG - rewards_PG.mean(dim=1, keepdim=True)
    if normalise_std:
        std_P1 = rewards_PG.std(dim=1, correction=0, keepdim=True)
        centred_PG = centred_PG / torch.where(std_P1 > 0, std_P1, 1.0)
    return centred_PG.masked_fill(no_variance(rewards_PG)[:, None], 0.0)


def no_variance(rewards_PG: Tensor) -> Tensor:
    """Which groups say nothing because all their rewards are equal (P,)."""
    return rewards_PG.amax(dim=1) == rewards_PG.amin(dim=1)


def soft_overlong(length: int, *, limit: int, buffer: int) -> float:
    """What DAPO adds to the reward of a long completion: 0 up to limit - buffer, then falling to -1 at the limit.

    Source: DAPO (arXiv 2503.14476), equation 13, with L_max = limit and L_cache = buffer, both in tokens.
    A buffer of 0 switches it off.

    >>> [soft_overlong(n, limit=100, buffer=20) for n in (50, 80, 90, 100, 120)]
    [0.0, 0.0, -0.5, -1.0, -1.0]
    """
    if buffer == 0 or length <= limit - buffer:
        return 0.0
    return max(-1.0, (limit - buffer - length) / buffer)
