"""The arithmetic of merging against examples worked by hand."""

from __future__ import annotations

import math

import pytest
import torch

from denken.errors import ConfigError
from denken.export.blend import Plan, dropped, linear, merged, slerp, ties, trim

BASE = torch.tensor([1.0, 1.0, 1.0, 1.0])
ONE = torch.tensor([5.0, 0.0, 1.5, 1.0])  # changed by  4, -1, 0.5, 0
TWO = torch.tensor([3.0, 4.0, 0.0, 1.0])  # changed by  2,  3, -1,  0


def blended(plan: Plan, *models: torch.Tensor) -> list[float]:
    return merged("a.weight", models or (ONE, TWO), BASE, plan).tolist()


def test_linear_is_the_weighted_sum() -> None:
    assert blended(Plan("linear", (0.25, 0.75))) == [3.5, 3.0, 0.375, 1.0]


def test_slerp_goes_along_the_arc() -> None:
    a, b = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])
    third = slerp(a, b, 1 / 3)
    assert torch.allclose(third, torch.tensor([2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]))
    # Lengths that differ go over into one another as the weights say: at 60 degrees, sin(30) / sin(60) of each.
    c = torch.tensor([1.0, math.sqrt(3)])
    assert torch.allclose(slerp(torch.tensor([1.0, 0.0]), c, 0.5), torch.tensor([2.0, math.sqrt(3)]) / math.sqrt(3))
    assert torch.equal(slerp(a, b, 0.0), a)
    assert torch.allclose(slerp(a, b, 1.0), b, atol=1e-6)
    # Without an angle between them there is no arc.
    assert torch.allclose(slerp(a, 3 * a, 0.5), 2 * a)
    assert torch.allclose(slerp(torch.zeros(2), a, 0.5), a / 2)
    assert blended(Plan("slerp", (1.0, 0.0))) == ONE.tolist()


def test_task_arithmetic_adds_changes() -> None:
    assert blended(Plan("task", (0.5, 0.5))) == [4.0, 2.0, 0.75, 1.0]
    assert blended(Plan("task", (1.0, 1.0), scale=2.0)) == [13.0, 5.0, 0.0, 1.0]
    # A negative weight forgets (Ilharco et al., section 3).
    assert blended(Plan("task", (-1.0,)), ONE) == [-3.0, 2.0, 0.5, 1.0]


def test_ties_trims_elects_and_merges_what_agrees() -> None:
    assert trim(torch.tensor([[4.0, -1.0], [0.5, 0.0]]), 0.5).tolist() == [[4.0, -1.0], [0.0, 0.0]]
    # Half of each change: (4, -1, 0, 0) and (2, 3, 0, 0). Signs +, +: the -1 is left out of the mean.
    assert blended(Plan("ties", (0.5, 0.5), density=0.5)) == [4.0, 4.0, 1.0, 1.0]
    # The first weighs ten times as much: it decides the second sign.
    assert blended(Plan("ties", (10.0, 1.0), density=0.5)) == pytest.approx([1 + 42 / 11, 0.0, 1.0, 1.0])
    assert ties([torch.tensor([1.0]), torch.tensor([-1.0])], [1.0, 1.0], 1.0).tolist() == [0.0]


def test_dare_drops_and_scales_up() -> None:
    change = torch.ones(100_000)
    found = dropped(change, 0.2, torch.Generator().manual_seed(0))
    assert set(found.tolist()) == {0.0, 5.0}
    assert abs(found.mean() - 1) < 0.02  # five standard errors are 0.03
    plan = Plan("dare", (1.0, 1.0), density=0.5, seed=3)
    first, again = (merged("a", (ONE, TWO), BASE, plan) for _ in range(2))
    assert torch.equal(first, again)
    many = [torch.ones(1000) + step for step in range(2)]
    other = [merged(name, many, torch.zeros(1000), plan) for name in ("a", "b")]
    assert not torch.equal(*other)
    assert blended(Plan("dare", (0.5, 0.5), density=1.0)) == blended(Plan("task", (0.5, 0.5)))


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    for words, settings in {
        "not known": {"method": "sum", "weights": (1.0,)},
        "add up to 1.5": {"method": "linear", "weights": (1.0, 0.5)},
        "between two": {"method": "slerp", "weights": (0.5, 0.25, 0.25)},
        "from 0 up": {"method": "ties", "weights": (1.0, -1.0)},
        "density is 0": {"method": "dare", "weights": (1.0,), "density": 0.0},
        "finite": {"method": "task", "weights": (math.nan,)},
    }.items():
        with pytest.raises(ConfigError, match=words):
            Plan(**settings)


def test_linear_takes_no_numbers_from_its_arguments() -> None:
    tensors = [ONE.clone(), TWO.clone()]
    linear(tensors, (0.5, 0.5))
    assert torch.equal(tensors[0], ONE)
