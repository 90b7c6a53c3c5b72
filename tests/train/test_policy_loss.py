"""Policy losses against numbers worked out by hand: two sequences, of two tokens and of one.

Sequence 1 has advantage 1 and the ratios 1.5 and 0.5; sequence 2 has advantage -1 and the ratio 2.
"""

from __future__ import annotations

from math import exp, log, sqrt

import pytest
import torch
from torch import Tensor

from denken.train import loss
from denken.train.loss import ALGORITHMS, Terms, policy_loss

NEW_ST = ((log(0.6), log(0.2)), (log(0.5), 0.0))
OLD_ST = ((log(0.4), log(0.4)), (log(0.25), 0.0))
ADVANTAGE_S = (1.0, -1.0)
MASK_ST = ((1.0, 1.0), (1.0, 0.0))
MAX_TOKENS = 4


def terms(algorithm: str, new_ST: Tensor | None = None, **options) -> Terms:
    clips = {"clip_low": 0.2, "clip_high": 0.2, "max_tokens": MAX_TOKENS}
    return policy_loss(
        algorithm,
        torch.tensor(NEW_ST) if new_ST is None else new_ST,
        torch.tensor(OLD_ST),
        torch.tensor(ADVANTAGE_S),
        torch.tensor(MASK_ST),
        **(clips | options),
    )


def value(algorithm: str, **options) -> float:
    return float(terms(algorithm, **options).mean())


def gradient(algorithm: str, **options) -> list[float]:
    new_ST = torch.tensor(NEW_ST, requires_grad=True)
    terms(algorithm, new_ST, **options).mean().backward()
    return new_ST.grad.flatten().tolist()


def test_grpo():
    # Sequence 1: min(1.5, 1.2) and min(0.5, 0.8), mean 0.85. Sequence 2: min(-2, -1.2). Loss: -(0.85 - 2) / 2.
    assert value("grpo") == pytest.approx(0.575)
    # Clipped: no gradient. Else -ratio * advantage / length / sequences.
    assert gradient("grpo") == pytest.approx([0.0, -0.5 / 2 / 2, 2 / 2, 0.0])


def test_dr_grpo():
    # The same values, summed: 1.2 + 0.5 - 2, by a constant of 4 tokens a sequence.
    assert value("dr_grpo") == pytest.approx(0.3 / 8)
    assert gradient("dr_grpo") == pytest.approx([0.0, -0.5 / 8, 2 / 8, 0.0])


def test_dapo():
    # Clip-higher: min(1.5, 1.28), 0.5, -2; the mean over the three tokens.
    assert value("dapo", clip_high=0.28) == pytest.approx(0.22 / 3)
    assert gradient("dapo", clip_high=0.28) == pytest.approx([0.0, -0.5 / 3, 2 / 3, 0.0])


def test_gspo():
    # Sequence ratios: the geometric mean sqrt(1.5 * 0.5), and 2. Neither is clipped on the side that counts.
    ratio = sqrt(0.75)
    assert value("gspo", clip_low=3e-4, clip_high=4e-4) == pytest.approx(-(ratio - 2) / 2)
    each = -ratio / 2 / 2  # every token moves the sequence's ratio by ratio / length
    assert gradient("gspo", clip_low=3e-4, clip_high=4e-4) == pytest.approx([each, each, 1.0, 0.0])


def test_gspo_clips_whole_sequences():
    higher = torch.tensor(((log(0.6), log(0.6)), (log(0.1), 0.0)), requires_grad=True)
    made = terms("gspo", higher, clip_low=3e-4, clip_high=4e-4)
    # 1.5 with advantage 1 stops at 1.0004; 0.4 with advantage -1 stops at 0.9997.
    assert made.mean().item() == pytest.approx(-(1.0004 - 0.9997) / 2, abs=1e-6)
    made.mean().backward()
    assert higher.grad.abs().max() == 0.0


def test_cispo():
    # Weights: 1.5 capped at 1.3, 0.5, 2 capped at 1.3; times advantage and log pi, over three tokens.
    options = {"clip_low": 1.0, "clip_high": 0.3}
    assert value("cispo", **options) == pytest.approx(-(1.3 * log(0.6) + 0.5 * log(0.2) - 1.3 * log(0.5)) / 3)
    # The weight has no gradient, and capping takes none away.
    assert gradient("cispo", **options) == pytest.approx([-1.3 / 3, -0.5 / 3, 1.3 / 3, 0.0])


def test_r1_clips_at_ten():
    # A clip ratio of 10: 1.5 counts in full.
    assert value("grpo", clip_low=10, clip_high=10) == pytest.approx(-(1.0 - 2) / 2)


def test_kl_estimate():
    # pi_ref / pi = 2, 1/2, 1: 2 - log 2 - 1, 1/2 + log 2 - 1, 0.
    new_ST, reference_ST = torch.zeros(1, 3), torch.tensor([[log(2), -log(2), 0.0]])
    assert loss.kl_estimate(new_ST, reference_ST)[0].tolist() == pytest.approx(
        [1 - log(2), log(2) - 0.5, 0.0], abs=1e-6
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_kl_is_added_as_the_algorithm_averages(algorithm: str):
    reference_ST = torch.tensor(NEW_ST) + torch.tensor(((log(2), 0.0), (-log(2), 5.0)))
    first, second = 1 - log(2), log(2) - 0.5
    averaged = {"grpo": (first / 2 + second) / 2, "gspo": (first / 2 + second) / 2, "dr_grpo": (first + second) / 8}
    extra = value(algorithm, reference_ST=reference_ST, kl=0.1) - value(algorithm)
    assert extra == pytest.approx(0.1 * averaged.get(algorithm, (first + second) / 3), abs=1e-6)


def test_truncated_importance_weighs_tokens():
    trainer_ST, sampler_ST = torch.tensor([[log(0.6), log(0.2), 0.0]]), torch.tensor([[log(0.2), log(0.4), 0.0]])
    weight_ST = loss.truncated_importance(trainer_ST, sampler_ST, torch.tensor([[1.0, 1.0, 0.0]]), cap=2.0)
    assert weight_ST[0].tolist() == pytest.approx([2.0, 0.5, 1.0])
    # 2 * 1.2, 0.5 * 0.5, -1 * 2 as GRPO averages.
    importance_ST = torch.tensor(((2.0, 0.5), (1.0, 1.0)))
    assert value("grpo", importance_ST=importance_ST) == pytest.approx(-((2.4 + 0.25) / 2 - 2) / 2)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_parts_of_a_batch_add_up(algorithm: str):
    """Micro-batches and processes each see some sequences: sums of loss and of weight give the whole loss."""
    whole = terms(algorithm)
    parts = [
        policy_loss(
            algorithm,
            *(torch.tensor(x)[rows] for x in (NEW_ST, OLD_ST, ADVANTAGE_S, MASK_ST)),
            clip_low=0.2,
            clip_high=0.2,
            max_tokens=MAX_TOKENS,
        )
        for rows in (slice(0, 1), slice(1, 2))
    ]
    total = sum(part.loss_S.sum() for part in parts) / sum(part.weight_S.sum() for part in parts)
    assert float(total) == pytest.approx(float(whole.mean()))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_no_advantage_gives_no_gradient(algorithm: str):
    new_ST = torch.tensor(NEW_ST, requires_grad=True)
    policy_loss(
        algorithm,
        new_ST,
        torch.tensor(OLD_ST),
        torch.zeros(2),
        torch.tensor(MASK_ST),
        clip_low=0.2,
        clip_high=0.2,
        max_tokens=MAX_TOKENS,
    ).mean().backward()
    assert new_ST.grad.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_clipped_is_where_the_gradient_is_gone():
    ratio_ST = torch.tensor([[1.5, 0.5, 1.1], [1.5, 0.5, 0.9]])
    found = loss.clipped(ratio_ST, torch.tensor([1.0, -1.0]), 0.2, 0.2)
    assert found.tolist() == [[True, False, False], [False, True, False]]


def test_logprobs_are_those_of_the_distribution_that_was_sampled():
    logits_NV = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0], [0.0, 3.0, 1.0]])
    ids_N = torch.tensor([0, 2, 1])
    whole, ranks = loss.sampled_logprobs(logits_NV, ids_N)
    assert ranks is None
    assert whole.tolist() == pytest.approx(logits_NV.log_softmax(1)[range(3), ids_N].tolist())
    # Two ids were kept; the second row's id is one of them though these logits rank it last; one id was kept.
    cut, ranks = loss.sampled_logprobs(logits_NV, ids_N, kept_N=torch.tensor([2, 2, 1]))
    expected = [-log(1 + exp(-1)), -log(exp(2) + exp(1) + 1), 0.0]
    assert cut.tolist() == pytest.approx(expected, abs=1e-6)
    # Another policy's, over the same ids.
    other, _ = loss.sampled_logprobs(logits_NV.flip(1), ids_N, kept_N=torch.tensor([2, 2, 1]), ranks=ranks)
    assert other.tolist() == pytest.approx([-log(1 + exp(1)), 2 - log(1 + exp(1) + exp(2)), 0.0], abs=1e-6)


def test_temperature_divides_the_logits():
    logits_NV, ids_N = torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([1])
    hot, _ = loss.sampled_logprobs(logits_NV, ids_N, temperature=2.0)
    assert hot.tolist() == pytest.approx([-log(exp(0.5) + 1 + exp(-0.5))])
    assert loss.entropy(torch.zeros(1, 4)).tolist() == pytest.approx([log(4)])
