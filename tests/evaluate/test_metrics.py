"""The metrics against numbers worked out by hand, and against what they must not depend on."""

from __future__ import annotations

import itertools
import random

import pytest

from denken.evaluate.metrics import (
    clustered,
    consensus,
    consensus_at,
    mean_change,
    mean_pass_at_k,
    paired_change,
    pass_at_1,
    pass_at_k,
    spelling,
    student,
    wilson,
)


def test_wilson_against_the_textbook() -> None:
    low, high = wilson(8, 10)
    assert (low, high) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775328), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((0.7224672, 1.0), abs=1e-6)
    assert wilson(0, 0) == (0.0, 1.0)


def test_pass_at_1_by_hand() -> None:
    # means 1, .5, 0, 1: mean .625; squared distances .140625, .015625, .390625, .140625: sum .6875, / 3 / 4
    estimate = pass_at_1([[True, True], [True, False], [False, False], [True, True]])
    assert estimate.value == 0.625
    assert estimate.standard_error == pytest.approx((0.6875 / 12) ** 0.5)


def test_with_one_sample_a_problem_the_interval_is_wilsons() -> None:
    estimate = pass_at_1([[True]] * 8 + [[False]] * 2)
    assert (estimate.low, estimate.high) == pytest.approx(wilson(8, 10))


def test_samples_that_always_agree_are_no_evidence() -> None:
    once = pass_at_1([[True]] * 6 + [[False]] * 4)
    often = pass_at_1([[True] * 64] * 6 + [[False] * 64] * 4)
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_samples_that_do_not_depend_on_the_problem_are() -> None:
    alternating = pass_at_1([[True, False] * 8] * 10)
    assert (alternating.low, alternating.high) == pytest.approx(wilson(80, 160))


def test_8_and_64_samples_estimate_the_same() -> None:
    rng = random.Random(1)
    chances = [rng.random() for _ in range(40)]
    sixty_four = [[rng.random() < chance for _ in range(64)] for chance in chances]
    eights = [pass_at_1([row[at : at + 8] for row in sixty_four]).value for at in range(0, 64, 8)]
    all_of_them = pass_at_1(sixty_four)
    assert sum(eights) / 8 == pytest.approx(all_of_them.value)
    assert all(abs(eight - all_of_them.value) < 0.07 for eight in eights)
    four_of_eight = [mean_pass_at_k([row[at : at + 8] for row in sixty_four], 4) for at in range(0, 64, 8)]
    assert sum(four_of_eight) / 8 == pytest.approx(mean_pass_at_k(sixty_four, 4), abs=0.02)


def test_the_interval_covers_what_it_promises() -> None:
    rng, covered, runs = random.Random(2), 0, 300
    for _ in range(runs):  # chances of problems are drawn from a distribution with mean 2/3
        rows = [[rng.random() < chance for _ in range(4)] for chance in (rng.betavariate(2, 1) for _ in range(50))]
        estimate = pass_at_1(rows)
        covered += estimate.low <= 2 / 3 <= estimate.high
    assert 0.91 <= covered / runs <= 0.99


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (6, 1, 4), (6, 6, 2), (6, 0, 6), (7, 3, 7)])
def test_pass_at_k_is_the_mean_over_all_subsets(n: int, c: int, k: int) -> None:
    subsets = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


def test_pass_at_k_refuses_more_than_there_is() -> None:
    with pytest.raises(ValueError, match="take k <= n"):
        pass_at_k(4, 1, 5)


def test_consensus() -> None:
    assert consensus(["7", "8", "8"], [True, False, False]) == 0.0
    assert consensus(["7", "7", "8"], [True, True, False]) == 1.0
    assert consensus(["7", "8", "9"], [True, False, False]) == pytest.approx(1 / 3)
    assert consensus(["", "", "7"], [False, False, True]) == 1.0  # what was not answered does not vote
    assert consensus(["", ""], [False, False]) == 0.0
    assert consensus_at([["7"], ["8"]], [[True], [False]], 1).value == 0.5


def test_votes_are_counted_by_value_and_what_is_no_answer_has_none() -> None:
    assert consensus(["7", "7.0", " 07", "8", "8"], [True, True, True, False, False]) == 1.0
    assert consensus(["a  b", "a b", "c"], [True, True, False]) == 1.0
    assert [spelling(text) for text in ("-0", "+3", "1,000", "3.", ".5", "9" * 60 + ".10", "\n")] == [
        "0", "3", "1,000", "3", ".5", "9" * 60 + ".1", "",
    ]  # fmt: skip
    assert consensus_at([["", ""], ["1", ""]], [[False, False], [True, False]], 2).value == 0.5


def test_a_vote_of_8_is_the_same_figure_from_8_and_from_64_samples() -> None:
    rng = random.Random(4)
    chances = [rng.random() for _ in range(40)]
    right = [[rng.random() < chance for _ in range(64)] for chance in chances]
    said = [["1" if yes else str(rng.randint(2, 4)) for yes in row] for row in right]
    eights = [
        consensus_at([row[at : at + 8] for row in said], [row[at : at + 8] for row in right], 8)
        for at in range(0, 64, 8)
    ]
    all_of_them = consensus_at(said, right, 8)
    assert sum(eight.value for eight in eights) / 8 == pytest.approx(all_of_them.value)
    # Eight votes a problem say more than one, but problems differ whatever is asked: far from a root of 8 narrower.
    widths = [eight.high - eight.low for eight in eights]
    assert 0.6 * sum(widths) / 8 < all_of_them.high - all_of_them.low < sum(widths) / 8
    with pytest.raises(ValueError, match="cons@65"):
        consensus_at(said, right, 65)


def test_one_problem_is_one_trial_however_often_it_is_asked() -> None:
    once, often = pass_at_1([[True]]), pass_at_1([[True, False] * 32])
    assert (once.low, once.high) == pytest.approx(wilson(1, 1))
    assert (often.low, often.high) == pytest.approx(wilson(0.5, 1))


def test_few_problems_are_judged_by_students_t() -> None:
    assert [student(n) for n in (4, 9, 29)] == pytest.approx([2.776, 2.262, 2.045], abs=0.01)
    rng, covered = random.Random(5), 0
    for _ in range(300):
        rows = [[rng.random() < chance for _ in range(64)] for chance in (rng.betavariate(2, 1) for _ in range(6))]
        estimate = clustered(rows)
        covered += estimate.low <= 2 / 3 <= estimate.high
    assert covered / 300 >= 0.92  # by the normal distribution's 1.96: 0.88


def test_nothing_is_known_from_nothing() -> None:
    assert (pass_at_1([]).low, pass_at_1([]).high) == (0.0, 1.0)


def test_what_changed_is_newcombes_example() -> None:
    """His table of 36 right both times, 12 the first time only, 2 the second time only, none neither: 0.0569 to 0.3404,
    turned round, because a change is after minus before."""
    change = paired_change([True] * 48 + [False] * 2, [True] * 36 + [False] * 12 + [True] * 2)
    assert (change.value, change.low, change.high) == pytest.approx((-0.2, -0.3404, -0.0569), abs=5e-5)


def test_problems_that_agree_narrow_a_change() -> None:
    before = [True] * 80 + [False] * 20
    same, shuffled = paired_change(before, before), paired_change(before, before[::-1])
    assert same.value == shuffled.value == 0
    assert same.high - same.low < 0.5 * (shuffled.high - shuffled.low)
    assert (paired_change([], []).low, paired_change([], []).high) == (-1, 1)


def test_the_interval_of_a_change_covers_what_it_promises() -> None:
    rng, covered, runs = random.Random(3), 0, 300
    for _ in range(runs):  # nine in ten are right before, one in ten changes from right to wrong, one in twenty back
        before = [rng.random() < 0.9 for _ in range(150)]
        after = [rng.random() < 0.9 if was else rng.random() < 0.5 for was in before]
        change = paired_change(before, after)
        covered += change.low <= 0.9 * -0.1 + 0.1 * 0.5 <= change.high
    assert covered / runs >= 0.92


def test_a_change_of_means_by_hand() -> None:
    # per text 2, 1 and 0 more over 2, 1 and 1 numbers: 3 / 4; what is left over 0.5, 0.25, -0.75, squares sum 0.875
    change = mean_change([4.0, 1.0, 1.0], [6.0, 2.0, 1.0], [2, 1, 1])
    assert change.value == 0.75
    assert change.high - change.value == pytest.approx(1.959964 * (0.875 * 3 / 2) ** 0.5 / 4)
    assert change.value - change.low == pytest.approx(change.high - change.value)
