"""Looks over a run's shoulder: what goes wrong in reinforcement learning is said once, with what to try.

A `Watch` is called with every step's metrics and returns sentences; saying each only once is the log's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Averages over about this many steps are compared.
MEMORY = 10
WELL_ABOVE, NEAR_ZERO = 0.1, 0.2
FLAT = 0.005


class Watch:
    """Running averages of reward and entropy: as they are, and the best there was."""

    def __init__(self) -> None:
        self.steps = 0
        self.reward = self.best_reward = 0.0
        self.entropy = self.first_entropy = 0.0

    def __call__(self, metrics: Mapping[str, Any]) -> list[str]:
        """What there is to say of a step; the same again while it lasts."""
        self.steps += 1
        share = 1 / min(self.steps, MEMORY)
        self.reward += share * (metrics["reward"] - self.reward)
        self.entropy += share * (metrics["entropy"] - self.entropy)
        if self.steps <= MEMORY:
            self.first_entropy = self.entropy
        if self.steps >= MEMORY:
            self.best_reward = max(self.best_reward, self.reward)
        said = []
        if self.best_reward >= WELL_ABOVE and self.reward < NEAR_ZERO * self.best_reward:
            said.append(
                f"The reward has collapsed: {self.reward:.3f} now, {self.best_reward:.3f} before. Read rollouts.jsonl; "
                "then go back to an earlier checkpoint with a lower lr, or with kl above 0."
            )
        if self.steps > MEMORY and self.entropy < min(FLAT, 0.2 * self.first_entropy):
            said.append(
                f"The entropy has collapsed: {self.entropy:.4f} nats a token, {self.first_entropy:.4f} at first. The "
                "samples of a group are nearly the same; try clip_high = 0.28, a higher temperature or a lower lr."
            )
        if metrics["no_variance"] == 1.0:
            said.append(
                "All groups of a step had equal rewards, so there was nothing to learn. If that goes on: easier or "
                "harder problems, a larger group, or dynamic_sampling = true."
            )
        return said

    def state(self) -> dict[str, float]:
        return dict(vars(self))

    def restore(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
