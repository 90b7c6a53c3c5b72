"""What a number of right and wrong answers says about a model, and how surely. Pure: numbers in, numbers out.

N problems with K samples each. Samples of one problem resemble each other, so N·K samples are not N·K independent
trials: intervals count problems, as far as their samples agree. All of these estimate the same pass@1 whatever K is:
more samples make it surer, not higher. (Reading one sample's correctness and calling it pass@1, or a problem's best
of K, does not; `pass_at_k` is the name of the latter.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share between 0 and 1 with its 95 % interval and the standard error that the interval comes from."""

    value: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Change:
    """A difference, after minus before, with its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(successes: float, trials: float, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval (1927, JASA 22:209) of a proportion; unlike ±1.96 SE it is right near 0 and 1.

    Fractional counts are allowed, for an effective number of trials. Without trials nothing is known: (0, 1).

    >>> [round(bound, 4) for bound in wilson(8, 10)]
    [0.4902, 0.9433]
    """
    if trials <= 0:
        return 0.0, 1.0
    share, z2 = successes / trials, z * z
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials * trials))
    return max(0.0, middle - half) if share > 0 else 0.0, min(1.0, middle + half) if share < 1 else 1.0


def pass_at_1(correct: Sequence[Sequence[bool]]) -> Estimate:
    """The chance that one sample of one problem is right: the mean over problems of the mean over samples.

    correct: for each problem, whether each of its samples was right (K may differ from problem to problem).

    The standard error is that of the problems' means (clustered by problem). The interval is Wilson's, with as many
    trials as independent ones would give that standard error: N where a problem's samples always agree, up to N·K
    where they are independent; with K = 1 it is Wilson's own.

    >>> pass_at_1([[True, True], [True, False], [False, False], [True, True]]).value
    0.625
    """
    means = [sum(samples) / len(samples) for samples in correct if samples]
    problems, total = len(means), sum(len(samples) for samples in correct)
    if not problems:
        return Estimate(0.0, 0.0, 1.0, 0.0)
    value = sum(means) / problems
    variance = sum((mean - value) ** 2 for mean in means) / max(1, problems - 1) / problems
    trials = float(problems)
    if 0 < value < 1:
        independent = value * (1 - value) / variance if variance > 0 else float(total)
        trials = min(float(total), max(float(problems), independent))
    return Estimate(value, *wilson(value * trials, trials), math.sqrt(variance))


def paired_change(before: Sequence[bool], after: Sequence[bool]) -> Change:
    """How the share of right answers changed where both times the same problems were asked.

    Newcombe's interval for paired proportions (1998, Statistics in Medicine 17:2635, method 10): Wilson's two intervals
    put together, the narrower the more the answers agree. Without problems nothing is known: (-1, 1).

    >>> change = paired_change([True] * 38 + [False] * 12, [True] * 36 + [False] * 2 + [True] * 12)
    >>> round(change.value, 3), round(change.low, 4), round(change.high, 4)
    (0.2, 0.0569, 0.3404)
    """
    count = len(before)
    if not count:
        return Change(0.0, -1.0, 1.0)
    pairs = [(bool(was), bool(is_)) for was, is_ in zip(before, after, strict=True)]
    both, lost, won, neither = (
        pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False,) * 2)
    )
    old, new = (both + lost) / count, (both + won) / count
    (old_low, old_high), (new_low, new_high) = wilson(both + lost, count), wilson(both + won, count)
    margins = math.sqrt((both + lost) * (won + neither) * (both + won) * (lost + neither))
    agreement = float(both * neither - lost * won)
    agreement = max(agreement - count / 2, 0.0) if agreement > 0 else agreement
    phi = agreement / margins if margins else 0.0

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    change = new - old
    return Change(change, change - reach(new - new_low, old_high - old), change + reach(new_high - new, old - old_low))


def mean_change(before: Sequence[float], after: Sequence[float], counts: Sequence[int]) -> Change:
    """How the mean of something changed over all that was counted, such as -log p over the tokens of all texts.

    before, after: a text's sum each. counts: how many there are in it. The texts are what is independent, so the
    interval is that of a ratio of their sums (Cochran 1977, "Sampling techniques", section 6.4).

    >>> mean_change([4.0, 1.0], [6.0, 2.0], [2, 1]).value
    1.0
    """
    differences = [new - old for old, new in zip(before, after, strict=True)]
    total, texts = sum(counts), len(counts)
    value = sum(differences) / total
    if texts < 2:
        return Change(value, -math.inf, math.inf)
    spread = sum((each - value * count) ** 2 for each, count in zip(differences, counts, strict=True))
    half = Z_95 * math.sqrt(spread * texts / (texts - 1)) / total
    return Change(value, value - half, value + half)


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """The chance that at least one of k samples of a problem is right, estimated without bias from `samples` of them.

    1 - C(n - c, k) / C(n, k): Chen et al. 2021 (arXiv 2107.03374), equation 1. Raises ValueError unless 1 <= k <= n.

    >>> pass_at_k(4, 1, 2)
    0.5
    """
    if not 1 <= k <= samples or not 0 <= correct <= samples:
        raise ValueError(f"pass@{k} of {correct} right ones among {samples} samples cannot be estimated; take k <= n.")
    return 1.0 - math.comb(samples - correct, k) / math.comb(samples, k)


def mean_pass_at_k(correct: Sequence[Sequence[bool]], k: int) -> float:
    """`pass_at_k` averaged over problems."""
    return sum(pass_at_k(len(samples), sum(samples), k) for samples in correct) / len(correct)


def consensus(answers: Sequence[str], correct: Sequence[bool]) -> float:
    """cons@K of one problem: whether the commonest answer is right (R1's cons@64).

    Answers count as the same when they are spelt the same. Empty ones do not vote. Among answers that are equally
    common one is drawn in thought: the result is the share of right ones among them.

    >>> consensus(["7", "8", "7", ""], [True, False, True, False]), consensus(["7", "8"], [True, False])
    (1.0, 0.5)
    """
    votes: dict[str, int] = {}
    right: dict[str, bool] = {}
    for answer, is_right in zip(answers, correct, strict=True):
        if answer:
            votes[answer] = votes.get(answer, 0) + 1
            right[answer] = is_right
    most = max(votes.values(), default=0)
    leading = [right[answer] for answer, count in votes.items() if count == most]
    return sum(leading) / len(leading) if leading else 0.0


def mean_consensus(answers: Sequence[Sequence[str]], correct: Sequence[Sequence[bool]]) -> float:
    """`consensus` averaged over problems."""
    return sum(consensus(*problem) for problem in zip(answers, correct, strict=True)) / len(correct)
