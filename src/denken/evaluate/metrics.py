"""What a number of right and wrong answers says about a model, and how surely. Pure: numbers in, numbers out.

N problems with K samples each. Samples of one problem resemble each other, so N·K samples are not N·K independent
trials: intervals count problems, as far as their samples agree. All of these estimate the same pass@1 whatever K is:
more samples make it surer, not higher. (Reading one sample's correctness and calling it pass@1, or a problem's best
of K, does not; `pass_at_k` is the name of the latter.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054
_NUMBER = re.compile(r"(?P<sign>[+-]?)(?=\d)0*(?P<whole>\d*)(?:\.(?P<part>\d*))?", re.ASCII)


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


def student(freedom: int) -> float:
    """The 97.5 % point of Student's t for so many degrees of freedom, by Abramowitz and Stegun's series (26.7.5): too
    low by a quarter for 1, by 3 % for 2, right to a hundredth from 4 on.

    >>> round(student(9), 3), round(student(29), 3)
    (2.262, 2.045)
    """
    z, n = Z_95, freedom
    series = (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    return z + series + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)


def clustered(rows: Sequence[Sequence[float]]) -> Estimate:
    """The mean over problems of the mean over what was seen of each: values from 0 to 1, such as right and wrong.

    rows: a problem each (K may differ from problem to problem; empty ones do not count).

    The standard error is that of the problems' means. The interval is Wilson's, with as many trials as independent ones
    would give that standard error, widened by Student's t as few problems say little of how much problems differ: N
    where the values of a problem always agree (or all are the same), up to N·K where they are independent. With K = 1
    it is Wilson's own, and so it is with one problem however often that was asked.
    """
    means = [sum(values) / len(values) for values in rows if values]
    problems, total = len(means), sum(map(len, rows))
    if not problems:
        return Estimate(0.0, 0.0, 1.0, 0.0)
    value = sum(means) / problems
    variance = sum((mean - value) ** 2 for mean in means) / max(1, problems - 1) / problems
    trials = float(problems)
    if 0 < value < 1 and problems > 1:
        wide = variance * (student(problems - 1) / Z_95) ** 2
        trials = min(float(total), max(float(problems), value * (1 - value) / wide if wide > 0 else float(total)))
    return Estimate(value, *wilson(value * trials, trials), math.sqrt(variance))


def pass_at_1(correct: Sequence[Sequence[bool]]) -> Estimate:
    """The chance that one sample of one problem is right, as `clustered` has it.

    correct: for each problem, whether each of its samples was right.

    >>> pass_at_1([[True, True], [True, False], [False, False], [True, True]]).value
    0.625
    """
    return clustered(correct)


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


def spelling(answer: str) -> str:
    """What makes two answers one vote: a number's value, else the text with single blanks; "" does not vote.

    >>> spelling(" 7.0"), spelling("-007"), spelling("0.50"), spelling("1e400"), spelling("a  b")
    ('7', '-7', '0.5', '1e400', 'a b')
    """
    text = " ".join(answer.split())
    if not (number := _NUMBER.fullmatch(text)):
        return text
    sign, whole, part = number["sign"], number["whole"] or "0", (number["part"] or "").rstrip("0")
    return ("-" if sign == "-" and whole + part != "0" else "") + whole + (f".{part}" if part else "")


def consensus(answers: Sequence[str], correct: Sequence[bool]) -> float:
    """cons@K of one problem: whether the commonest answer is right (R1's cons@64; self-consistency, arXiv 2203.11171).

    Answers count as the same by their `spelling`, so that two right formulas are two answers. A sample without an
    answer (cut off in its thought, or empty) does not vote, and a problem without a vote is not solved. Among answers
    that are equally common one is drawn in thought: the result is the share of right ones among them. Should a task
    judge one spelling in two ways, the share of right ones stands for it.

    >>> consensus(["7", "8", "7", ""], [True, False, True, False]), consensus(["7", "8"], [True, False])
    (1.0, 0.5)
    """
    votes: dict[str, list[bool]] = {}
    for answer, is_right in zip(answers, correct, strict=True):
        if spelt := spelling(answer):
            votes.setdefault(spelt, []).append(is_right)
    most = max(map(len, votes.values()), default=0)
    leading = [sum(each) / most for each in votes.values() if len(each) == most]
    return sum(leading) / len(leading) if leading else 0.0


def consensus_at(answers: Sequence[Sequence[str]], correct: Sequence[Sequence[bool]], k: int) -> Estimate:
    """cons@k over problems, from k samples a problem or more.

    Of more, each k that follow each other vote by themselves (what is left over does not), so cons@8 of 64 samples
    estimates what cons@8 of 8 does, only surer; cons@64 is another figure. Raises ValueError for fewer than k samples.

    >>> consensus_at([["7", "7", "8", "8"]], [[True, True, False, False]], 2).value
    0.5
    """
    rows = []
    for said, right in zip(answers, correct, strict=True):
        if not 1 <= k <= len(said):
            raise ValueError(f"cons@{k} cannot be had from {len(said)} samples; take k <= n.")
        starts = range(0, len(said) - k + 1, k)
        rows.append([consensus(said[at : at + k], right[at : at + k]) for at in starts])
    return clustered(rows)
