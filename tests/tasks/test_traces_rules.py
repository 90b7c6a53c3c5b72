"""Thoughts that find a rule in examples: full marks at both levels, within bounds, and true line by line."""

import re

import pytest

from denken.assistant import BUNDLED
from denken.evaluate.suites import LEVELS
from denken.tasks.traces import WRITERS
from denken.tasks.verify.arithmetic import evaluate
from denken.tokenizer import Tokenizer
from denken.types import Problem
from worked import task_at, worked

# The most tokens of question, thought and answer together, easy and hard.
BOUNDS: dict[str, tuple[int, int]] = {"list_functions": (1200, 1200)}
SEEDS = range(2000, 2060)
EQUATION = re.compile(r"(?<![\d*+/r-])(\d+(?:[-+*]\d+)+)(?:\[[^\]]*\])?=(-?\d+)(?![-\d*+/(])")


@pytest.mark.parametrize("name", sorted(BOUNDS))
@pytest.mark.parametrize("level", LEVELS)
def test_both_published_configurations_get_full_marks_within_the_bound(name: str, level: str) -> None:
    task, tokenizer = task_at(name, level), Tokenizer.load(BUNDLED)  # type: ignore[arg-type]
    bound = BOUNDS[name][LEVELS.index(level)]  # type: ignore[arg-type]
    for problem, shown in worked(name, level, SEEDS):  # type: ignore[arg-type]
        assert task.score(problem, shown.answer).reward == 1.0, (problem, shown)
        assert shown == task.demonstrate(problem)
        assert len(tokenizer.encode(problem.prompt + shown.thought + shown.answer)) <= bound, problem.seed


def lists(asked: str, answer: str, **examples: str) -> Problem:
    """A problem of these examples, of inputs and outputs without brackets: `a="1, 2: 2, 3"`."""
    shown = [example.split(": ") for example in examples.values()]
    lines = [f"Input {i}: [{given}]\nOutput {i}: [{made}]\n" for i, (given, made) in enumerate(shown, 1)]
    return Problem("list_functions", f"Examples:\n{''.join(lines)}\n\nInput: [{asked}]\nOutput:\n", f"[{answer}]", 0)


HAND = [
    (
        lists("99, 5", "99, 6", a="3, 7: 3, 8", b="4, 4: 4, 5"),
        "0:3 1:7|>0:3 1:8|0:4 1:4|>0:4 1:5|add position|0:99 1:5|99+0[9+0=9,9+0=9]=99|5+1=6",
    ),
    (
        lists("31, 12, 30, 12, 9", "21", a="8, 50: 8", b="40, 40, 60: 0"),
        "0:8 1:50|>0:8|0:40 1:40 2:60|>0:0|sum below 30|0:31 1:12 2:30 3:12 4:9|0|31>30|12<30:0+12[0+2=2,0+1=1]=12|"
        "30=30|12<30=|9<30:12+9[2+9=11,1+0+1=2]=21|21",
    ),
]


@pytest.mark.parametrize(("asked", "thought"), HAND)
def test_thoughts_worked_by_hand(asked: Problem, thought: str) -> None:
    assert WRITERS[asked.task](asked).thought.split("\n") == thought.split("|")


def test_every_equation_holds_and_the_last_one_of_a_sum_is_the_answer() -> None:
    for _, shown in worked("list_functions", "easy", SEEDS):
        equations = EQUATION.findall(shown.thought)
        assert all(evaluate(left) == int(right) for left, right in equations), shown
        if "\nsum\n" in shown.thought:
            assert f"[{equations[-1][1]}]" == shown.answer
