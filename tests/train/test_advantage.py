"""Advantages against numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from denken.train.advantage import group_advantages, no_variance, soft_overlong


def test_a_group_by_hand():
    # mean 1/4; deviations 3/4 and -1/4 three times; variance (9 + 3) / 64 = 3 / 16
    rewards_PG = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    std = (3 / 16) ** 0.5
    assert group_advantages(rewards_PG, normalise_std=True)[0].tolist() == pytest.approx(
        [0.75 / std] + [-0.25 / std] * 3
    )
    assert group_advantages(rewards_PG, normalise_std=False)[0].tolist() == pytest.approx([0.75, -0.25, -0.25, -0.25])


def test_groups_do_not_see_one_another():
    rewards_PG = torch.tensor([[1.0, 0.0], [0.2, 0.6], [0.5, 0.5]])
    whole = group_advantages(rewards_PG, normalise_std=True)
    for row, alone in enumerate(rewards_PG):
        assert torch.equal(group_advantages(alone[None], normalise_std=True)[0], whole[row])


@pytest.mark.parametrize("reward", [0.0, 1.0, 0.1, 1 / 3, 0.9090909])
@pytest.mark.parametrize("size", [2, 3, 7, 16])
def test_equal_rewards_give_exactly_nothing(reward: float, size: int):
    """Seven times a third does not add up to seven thirds in fp32; the advantage must be 0.0 all the same."""
    rewards_PG = torch.full((1, size), reward)
    for normalise_std in (True, False):
        assert group_advantages(rewards_PG, normalise_std=normalise_std).tolist() == [[0.0] * size]
    assert no_variance(rewards_PG).tolist() == [True]


def test_a_small_difference_counts_as_much_as_a_large_one():
    rewards_PG = torch.tensor([[0.5, 0.50001], [0.0, 1.0]])
    small, large = group_advantages(rewards_PG, normalise_std=True).tolist()
    assert small == pytest.approx(large, rel=1e-2)
    assert no_variance(rewards_PG).tolist() == [False, False]


def test_the_soft_punishment_of_overlong_samples_by_hand():
    # DAPO's own numbers: 16384 expected, 4096 of buffer
    limits = {"limit": 20480, "buffer": 4096}
    assert [soft_overlong(n, **limits) for n in (1, 16384, 17408, 20480, 99999)] == [0.0, 0.0, -0.25, -1.0, -1.0]
    assert soft_overlong(100, limit=100, buffer=0) == 0.0
