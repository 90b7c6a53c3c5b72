"""Every data set of reasoning-gym: the same problem for a seed, full marks for its own answer, none for others."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys

import pytest
from reasoning_gym.factory import DATASETS, create_dataset

from denken.errors import ConfigError, UnknownNameError
from denken.tasks import BENCHMARK_SEED, EVALUATION_SEEDS_FROM, get, gym, training_seed_allowed
from denken.tasks.base import Task, Traced
from denken.tasks.gym import EXCLUDED, GymTask, names
from denken.tasks.traces import WRITERS
from denken.types import Problem

SLOW = {"knight_swap"}  # one to three seconds an item
WITHOUT_ANSWER = {"boxnet", "rush_hour"}  # the library knows no solution of these
SEED = EVALUATION_SEEDS_FROM + 11


def test_every_data_set_is_a_task_or_left_out_with_a_reason() -> None:
    assert set(names()) | set(EXCLUDED) == set(DATASETS)
    assert len(names()) >= 100
    with pytest.raises(ConfigError, match="only mixes other data sets"):
        get("composite")


@pytest.mark.parametrize("name", sorted(set(names()) - SLOW))
def test_problems_and_their_answers(name: str) -> None:
    task = GymTask(name)
    problem = task.problem(SEED)
    random.seed(0)
    assert GymTask(name).problem(SEED) == problem
    assert problem.task == task.name == name
    assert problem.prompt.strip()
    if name in WITHOUT_ANSWER:
        assert problem.answer == ""
    else:
        assert task.score(problem, f" {problem.answer}\n").reward == 1.0
    for wrong in ("", " \n", "zzz", "\x00", "9" * 30_000):
        assert task.score(problem, wrong).parts["correct"] == 0.0
    assert isinstance(task, Task)


@pytest.mark.parametrize("name", ["countdown", "gsm_symbolic", "acre", "list_functions", "letter_counting", "survo"])
@pytest.mark.parametrize("seed", [3, 2_000_003, SEED])
def test_a_seed_is_the_librarys_seed(name: str, seed: int) -> None:
    item = create_dataset(name, seed=seed, size=1)[0]
    problem = GymTask(name).problem(seed)
    assert (problem.prompt, problem.answer) == (item["question"], str(item["answer"]))


def test_the_benchmarks_items_are_seeds_that_training_avoids() -> None:
    benchmark = create_dataset("chain_sum", seed=BENCHMARK_SEED, size=50)
    task = GymTask("chain_sum")
    for index in (0, 49):
        assert task.problem(BENCHMARK_SEED + index).prompt == benchmark[index]["question"]
        assert not training_seed_allowed(BENCHMARK_SEED + index)
    assert training_seed_allowed(44)
    assert training_seed_allowed(95)
    assert not training_seed_allowed(EVALUATION_SEEDS_FROM)
    assert not training_seed_allowed(-1)


def test_one_data_sets_precision_is_not_anothers() -> None:
    long_numbers = get("decimal_chain_sum", {"min_digits": 8, "max_digits": 8, "max_decimal_places": 6})
    before = long_numbers.problem(7)
    get("decimal_arithmetic", {"precision": 10}).problem(7)
    assert long_numbers.problem(7) == before


def test_a_seed_is_the_same_problem_whatever_pythons_hashes_are() -> None:
    sets = ("isomorphic_strings", "ransom_note", "polynomial_multiplication", "word_ladder")
    code = (
        "import json; from denken.tasks.gym import GymTask\n"
        f"print(json.dumps([[p.prompt, p.answer] for n in {sets} for p in [GymTask(n).problem(7)]]))"
    )
    elsewhere = os.environ | {"PYTHONHASHSEED": "1"}
    said = subprocess.run([sys.executable, "-c", code], env=elsewhere, capture_output=True, check=True).stdout
    here = [GymTask(name).problem(7) for name in sets]
    assert json.loads(said) == [[problem.prompt, problem.answer] for problem in here]


def test_problems_leave_the_callers_random_numbers_alone() -> None:
    random.seed(5)
    expected = random.random()
    random.seed(5)
    GymTask("pool_matrix").problem(3)
    assert random.random() == expected


def test_problems_are_made_in_silence(capfd: pytest.CaptureFixture[str]) -> None:
    assert get("bf").problem(17).prompt
    assert capfd.readouterr().out == ""


def test_configurations() -> None:
    task = get("chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
    assert all(re.fullmatch(r"[^\d]*\d [+-] \d =", task.problem(seed).prompt) for seed in range(5))
    assert task.problem(1).prompt != get("chain_sum").problem(1).prompt
    with pytest.raises(ConfigError, match="did you mean 'min_terms'"):
        get("chain_sum", {"min_term": 2})
    with pytest.raises(ConfigError, match="does not hold"):
        get("chain_sum", {"min_terms": 5, "max_terms": 2})
    with pytest.raises(ConfigError, match="takes the seed"):
        get("chain_sum", {"seed": 1})
    with pytest.raises(ConfigError, match="plain values"):
        get("chain_sum", {"min_terms": {1, 2}})
    with pytest.raises(ConfigError, match="out of range"):
        task.problem(-1)


def test_names() -> None:
    assert get("gym:countdown").name == get("countdown").name == "countdown"
    with pytest.raises(UnknownNameError, match="did you mean 'countdown'"):
        get("countdwn")
    with pytest.raises(ConfigError, match="write gym:NAME"):
        get("hub:countdown")


def test_a_task_is_traced_where_there_is_a_writer() -> None:
    written = set(WRITERS) & set(names())
    assert written
    for name in written:
        assert isinstance(get(name), Traced)
    assert not isinstance(get("rush_hour"), Traced)


def problem(name: str, answer: str, **metadata: object) -> Problem:
    return Problem(name, "?", answer, 0, metadata)


@pytest.mark.parametrize(
    ("judged", "right", "wrong"),
    [
        (problem("chain_sum", "1234"), ["1234", "1,234", "+1234", "01234.00"], ["1235", "12,34", "1234 or 5", "1_234"]),
        (problem("gsm_symbolic", "20"), ["20", "20.0"], ["-20", "20, 31", "20 20", "$20"]),
        (
            problem("countdown", "", numbers=[3, 4, 5], target=35),
            ["(3 + 4) * 5"],
            ["35", "3*4*5", "5*7", "(4+3)*5*5/5"],
        ),
        (problem("puzzle24", "", numbers=[5, 1, 2, 8]), ["8*(5*1 - 2)"], ["6*4*1*1", "24", "8*3", "5*1*2*8"]),
        (
            problem("number_sorting", "", sorted_numbers=["-1.50", "2.0", "3.25"]),
            ["['-1.50', '2.0', '3.25']", "[-1.5, 2, 3.25]", '["-1.50","2.0","3.25"]'],
            ["['-1.0', '2.0', '3.0']", "[-1.5, 2]", "[3.25, 2, -1.5]", "-1.5, 2, 3.25", "['-1.50\", 2, 3.25]", "[]"],
        ),
        (problem("word_sorting", "", sorted_words=["a", "b"]), ["a, b", "a,b"], ["b, a", "a b", "a, b, b"]),
        (problem("spell_backward", "nus"), ["nus", "NUS"], ["sun", "nu", "nuss"]),
        (
            problem("palindrome_generation", "", letters=["a", "b", "a"]),
            ["aba", "ABA"],
            ["aab", "abba", "a b a", "bab"],
        ),
        (problem("prime_factorization", "", factors=[2, 3, 3]), ["2 × 3 × 3", "3×2×3"], ["2 × 9", "2 * 3 * 3", "18"]),
        (problem("game_of_life_halting", "True"), ["True", "true"], ["False", "yes", "True True", "Tr"]),
        (problem("coin_flip", "0.0078125"), ["0.0078125", "1/128", "7.8125e-3"], ["0", "0.0", "0.0079", "1/0"]),
        (
            problem("fraction_simplification", "", simplified_numerator=2, simplified_denominator=7),
            ["2/7", "$2/7$", "$\\frac{2}{7}$", "\\dfrac{2}{7}"],
            ["4/14", "2/7 3/7", "\\frac{2}{8}", "2"],
        ),
    ],
    ids=lambda value: value.task if isinstance(value, Problem) else "",
)
def test_our_own_judges(judged: Problem, right: list[str], wrong: list[str]) -> None:
    task = GymTask(judged.task)
    for answer in right:
        assert task.score(judged, answer).reward == 1.0, answer
    for answer in wrong:
        assert task.score(judged, answer).reward == 0.0, answer


def test_partial_marks_are_the_librarys() -> None:
    task = GymTask("gcd")
    judged = task.problem(4)
    hedged = task.score(judged, f"{judged.answer} or so")
    assert 0 < hedged.reward < 1
    assert hedged.parts == {"correct": 0.0, "library": hedged.reward}


def test_a_problem_of_another_configuration_is_not_judged() -> None:
    task = GymTask("dice")
    foreign = GymTask("dice", {"num_dice": 6}).problem(1)
    with pytest.raises(ConfigError, match="score it with its own task"):
        task.score(foreign, foreign.answer)


def test_copying_the_integral_is_no_integration() -> None:
    task = GymTask("intermediate_integration")
    judged = task.problem(3)
    score = task.score(judged, f"Integral({judged.metadata['integrand']}, {judged.metadata['variable']})")
    assert score.parts == {"correct": 0.0, "refused": 1.0}


def test_a_seed_that_divides_by_zero_means_its_neighbours_item(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = gym.GymTask("basic_arithmetic").problem(6001)
    draw = gym._library_item

    def failing(name: str, key: str, seed: int) -> dict[str, object]:
        if seed == 6000:
            raise ZeroDivisionError
        return draw(name, key, seed)

    monkeypatch.setattr(gym, "_library_item", failing)
    gym._remembered_item.cache_clear()
    problem = gym.GymTask("basic_arithmetic").problem(6000)
    assert (problem.prompt, problem.answer, problem.seed) == (expected.prompt, expected.answer, 6000)
    gym._remembered_item.cache_clear()


def test_boards_of_the_game_of_life_are_the_librarys_without_its_counting() -> None:
    task = GymTask("game_of_life", {"grid_size_x": 7, "grid_size_y": 12, "filled_cells": 30, "simulation_steps": 3})
    items = [task.problem(seed) for seed in range(20)]
    whole = "".join(item.prompt + item.answer for item in items)
    # Of the items as the library makes them by itself (0.1.25).
    assert hashlib.sha256(whole.encode()).hexdigest()[:16] == "25c023250adc3a29"


def test_sudokus_are_the_librarys_without_its_search() -> None:
    items = [GymTask("sudoku", {}).problem(seed) for seed in range(20)]
    whole = "".join(item.prompt + item.answer for item in items)
    # Of the items as the library makes them by itself (0.1.25).
    assert hashlib.sha256(whole.encode()).hexdigest()[:16] == "a9004b6d6c0bf4bd"


HARD_ARITHMETIC = {"min_terms": 5, "max_terms": 10, "min_digits": 2, "max_digits": 5}


def test_rows_are_the_librarys_and_none_takes_for_ever() -> None:
    task = GymTask("arc_1d", {"min_size": 25, "max_size": 50})
    assert task.problem(30237).answer  # by the library itself, never: it looks for a tenth colour among nine
    whole = "".join(item.prompt + item.answer for item in map(task.problem, range(100)))
    # Of the items as the library makes them by itself (0.1.25).
    assert hashlib.sha256(whole.encode()).hexdigest()[:16] == "46266bf70529c35d"


def test_divisors_are_the_librarys_in_its_order_without_trying_each() -> None:
    for number in (*range(-300, 300), 360_360, 99_999_999):
        size = abs(number)
        tried = [i for i in range(1, math.isqrt(size) + 1) if size % i == 0]
        pairs = [[i] if i * i == size else [i, size // i] for i in tried]
        assert gym.divisors(number, 0) == list(itertools.chain(*pairs))
    task = GymTask("basic_arithmetic", HARD_ARITHMETIC)
    items = [task.problem(seed) for seed in range(100)]
    whole = "".join(item.prompt + item.answer for item in items)
    # Of the items as the library makes them by itself (0.1.25).
    assert hashlib.sha256(whole.encode()).hexdigest()[:16] == "b7315512a597c533"
    assert task.problem(1144).answer  # by trial, some minutes


def test_jugs_that_look_up_what_was_found_before_ask_what_the_library_asks() -> None:
    task = GymTask("jugs", {"num_jugs": 3, "difficulty": 6})
    whole = "".join(item.prompt + item.answer for item in map(task.problem, range(40)))
    # Of the items as the library makes them by itself (0.1.25).
    assert hashlib.sha256(whole.encode()).hexdigest()[:16] == "e017a1a6bb09e5f3"
    assert gym.fewest_moves([13, 4, 4], 6) == 11
