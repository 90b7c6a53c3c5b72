"""What is drawn, how likely it was, and that rows do not see each other. Checked against a row-by-row definition."""

from __future__ import annotations

import math
import random

import pytest
import torch

from denken.engine import sampler
from denken.engine.sampler import Choice, sample, steer
from denken.errors import DenkenError
from denken.types import SamplingParams


def distribution(logits: list[float], params: SamplingParams) -> dict[int, float]:
    """The definition, one row at a time: id -> probability of what is left."""
    highest = max(logits)
    weights = {i: math.exp((logit - highest) / params.temperature) for i, logit in enumerate(logits)}
    ranked = sorted(weights, key=lambda i: -weights[i])
    kept = ranked[: params.top_k or len(ranked)]
    total, mass, nucleus = sum(weights[i] for i in kept), 0.0, []
    for i in kept:
        if params.top_p < 1 and mass >= params.top_p:
            break
        nucleus.append(i)
        mass += weights[i] / total
    nucleus = [i for i in nucleus if weights[i] >= params.min_p * weights[ranked[0]]]
    total = sum(weights[i] for i in nucleus)
    return {i: weights[i] / total for i in nucleus}


CUTS = [
    SamplingParams(temperature=1.0, top_p=1.0),
    SamplingParams(temperature=0.7, top_p=1.0, min_p=0.05),
    SamplingParams(temperature=1.3, top_p=0.8),
    SamplingParams(temperature=0.6, top_p=1.0, top_k=5),
    SamplingParams(temperature=2.0, top_p=0.9, top_k=40, min_p=0.02),
    SamplingParams(temperature=0.01, top_p=0.95),
    SamplingParams(temperature=1.0, top_p=1e-6),
    SamplingParams(temperature=1.0, top_p=1.0, top_k=1),
    SamplingParams(temperature=1.0, top_p=0.9999, top_k=1_000_000),
    SamplingParams(temperature=1.0, top_p=0.5, top_k=3000, min_p=1e-4),
]


@pytest.mark.parametrize("size", [7, 600, 6000])
@pytest.mark.parametrize("spread", [0.3, 4.0])
def test_each_choice_and_its_logprob_follow_the_definition(size: int, spread: float) -> None:
    logits = torch.randn(len(CUTS), size, generator=torch.Generator().manual_seed(size)) * spread
    noise = [random.Random(i).getrandbits(32) / 2**32 for i in range(len(CUTS))]
    for row, (params, choice) in enumerate(zip(CUTS, sample(logits, CUTS, noise), strict=True)):
        expected = distribution(logits[row].tolist(), params)
        assert choice.id in expected, params
        assert choice.logprob == pytest.approx(math.log(expected[choice.id]), abs=2e-4), params
        # Sums in another order may put the border of a nucleus one id further.
        assert choice.kept == (pytest.approx(len(expected), abs=1) if params.cuts else 0), params


def test_the_kernel_draws_what_pytorch_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same ids from the same noise, but where two sums in another order lie on both sides of it."""
    params = [*CUTS, SamplingParams(temperature=0)] * 20
    for size, spread in ((7, 1.0), (600, 4.0), (3000, 0.5)):
        logits = torch.randn(len(params), size, generator=torch.Generator().manual_seed(size)) * spread
        noise = [random.Random(i).getrandbits(32) / 2**32 for i in range(len(params))]
        found = sample(logits, params, noise)
        with monkeypatch.context() as patched:
            patched.setattr(sampler, "covers", lambda *tensors: False)
            expected = sample(logits, params, noise)
        same = [ours for ours, theirs in zip(found, expected, strict=True) if ours.id == theirs.id]
        assert len(same) >= len(params) - 2
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.kept == pytest.approx(theirs.kept, abs=1)
            if ours.id == theirs.id:
                assert ours.logprob == pytest.approx(theirs.logprob, abs=1e-4)


@pytest.mark.parametrize("params", CUTS, ids=repr)
def test_evenly_spread_noise_gives_the_distribution_itself(params: SamplingParams) -> None:
    logits = torch.randn(1, 200, generator=torch.Generator().manual_seed(5)) * 2
    expected = distribution(logits[0].tolist(), params)
    draws = 2000
    noise = [(i + 0.5) / draws for i in range(draws)]
    drawn = [choice.id for choice in sample(logits.expand(draws, -1), [params] * draws, noise)]
    for id_, probability in expected.items():
        assert drawn.count(id_) == pytest.approx(draws * probability, abs=1.5)
    assert set(drawn) <= set(expected)


@pytest.mark.parametrize("noise", [0.0, 1 - 2**-32])
def test_the_ends_of_the_noise_stay_within_what_was_left(noise: float) -> None:
    logits = torch.randn(len(CUTS), 300, generator=torch.Generator().manual_seed(1)) * 3
    for row, choice in enumerate(sample(logits, CUTS, [noise] * len(CUTS))):
        assert choice.id in distribution(logits[row].tolist(), CUTS[row])
        assert math.isfinite(choice.logprob)


def test_greedy_takes_the_largest_and_reports_log_softmax() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0]])
    (choice,) = sample(logits, [SamplingParams(temperature=0, top_p=0.1, top_logprobs=2)], [0.9])
    logprobs = logits.log_softmax(-1)[0].tolist()
    assert choice.id == 1
    assert choice.logprob == pytest.approx(logprobs[1])
    assert choice.top == ((1, pytest.approx(logprobs[1])), (2, pytest.approx(logprobs[2])))


def test_kept_counts_what_was_left_and_only_where_something_was_cut() -> None:
    logits = torch.tensor([[2.0, 4.0, 3.0, 0.0, -3.0]])
    left = {
        SamplingParams(temperature=1, top_p=1): 0,
        SamplingParams(temperature=0, top_p=0.5, top_k=2): 0,
        SamplingParams(temperature=1, top_p=1, top_k=3): 3,
        SamplingParams(temperature=1, top_p=1, top_k=50): 5,
        SamplingParams(temperature=1, top_p=0.7): 2,
        SamplingParams(temperature=1, top_p=1, min_p=0.1): 3,
        SamplingParams(temperature=1, top_p=0.7, top_k=1): 1,
    }
    choices = sample(logits.expand(len(left), -1), list(left), [0.1] * len(left))
    assert [choice.kept for choice in choices] == list(left.values())


def test_alternatives_that_were_cut_away_are_not_reported() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0, 0.0]])
    params = SamplingParams(temperature=1.0, top_p=1.0, top_k=2, top_logprobs=4)
    (choice,) = sample(logits, [params], [0.0])
    assert [id_ for id_, _ in choice.top] == [1, 2]
    assert sum(math.exp(logprob) for _, logprob in choice.top) == pytest.approx(1)
    (by_floor,) = sample(logits, [SamplingParams(temperature=1, top_p=1, min_p=0.5, top_logprobs=4)], [0.0])
    assert by_floor.top == ((1, 0.0),)


def test_a_row_does_not_see_the_rows_beside_it() -> None:
    draw = random.Random(3)
    logits = torch.randn(40, 3000, generator=torch.Generator().manual_seed(2))
    params = [draw.choice([*CUTS, SamplingParams(temperature=0)]) for _ in range(40)]
    noise = [draw.getrandbits(32) / 2**32 for _ in range(40)]
    together = sample(logits, params, noise)
    alone: list[Choice] = [sample(logits[i : i + 1], [params[i]], [noise[i]])[0] for i in range(40)]
    assert [choice.id for choice in together] == [choice.id for choice in alone]
    assert [c.logprob for c in together] == pytest.approx([c.logprob for c in alone], abs=1e-5)


def test_the_smallest_temperature_is_greedy_in_effect() -> None:
    logits = torch.tensor([[1.0, 1.5, -80.0]])
    (choice,) = sample(logits, [SamplingParams(temperature=1e-300)], [0.999])
    assert (choice.id, choice.logprob) == (1, 0.0)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_model_is_an_error_and_not_a_random_id(temperature: float, bad: float) -> None:
    logits = torch.zeros(2, 5)
    logits[1, 3] = bad
    with pytest.raises(DenkenError, match="not finite"):
        sample(logits, [SamplingParams(temperature=temperature, top_p=1.0)] * 2, [0.5, 0.5])


def test_no_rows_give_no_choices() -> None:
    assert sample(torch.empty(0, 5), [], []) == []


def steered(params: SamplingParams, counts: dict[int, int], mask: bytes | None = None) -> list[float]:
    logits = torch.tensor([1.0, 2.0, 3.0, 4.0])
    steer(logits, params, counts, mask)
    return logits.tolist()


def test_penalties_by_hand() -> None:
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, then the bias."""
    params = SamplingParams(frequency_penalty=0.5, presence_penalty=1.5, logit_bias=((0, 2.5), (2, -100.0)))
    assert steered(params, {1: 1, 2: 3}) == pytest.approx([3.5, 2 - 0.5 - 1.5, 3 - 3 * 0.5 - 1.5 - 100, 4.0])
    assert steered(SamplingParams(frequency_penalty=-2), {3: 2}) == [1.0, 2.0, 3.0, 8.0]
    assert steered(SamplingParams(logit_bias=((1, 1.0), (1, 1.0))), {}) == [1.0, 4.0, 3.0, 4.0]


def test_a_mask_leaves_what_it_allows_and_nothing_behind_it() -> None:
    assert steered(SamplingParams(), {}, bytes([0, 200, 1])) == [-math.inf, 2.0, 3.0, -math.inf]
    assert steered(SamplingParams(), {}, bytes([1, 0, 0, 0, 1, 1])) == [1.0, -math.inf, -math.inf, -math.inf]


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0, top_logprobs=3),
        SamplingParams(temperature=1, top_p=1),
        SamplingParams(temperature=0.5, top_p=1, top_logprobs=3),
        SamplingParams(temperature=1, top_p=0.9, top_k=3, top_logprobs=3),
    ],
)
def test_masked_ids_are_neither_drawn_nor_reported(params: SamplingParams) -> None:
    for noise in (0.0, 0.3, 1 - 2**-32):
        logits = torch.tensor([[9.0, 1.0, 9.0, 2.0]])
        steer(logits[0], params, {}, bytes([0, 1, 0, 0]))
        (choice,) = sample(logits, [params], [noise])
        assert (choice.id, choice.logprob) == (1, pytest.approx(0.0, abs=1e-6))
        assert [id_ for id_, _ in choice.top] == ([1] if params.top_logprobs else [])
