"""Thoughts about graphs, jugs and mazes: full marks at both levels, within bounds, and true line by line."""

import re

import pytest

from denken.evaluate.suites import LEVELS
from denken.tasks.base import Demonstration
from denken.tasks.traces import WRITERS
from denken.types import Problem
from worked import task_at, worked

# The most characters of question, thought and answer together, of which none is more than a token; easy and hard.
BOUNDS = {"graph_color": (800, 1500)}
SEEDS = range(2000, 2024)


def _shown(name: str, level: str = "easy") -> list[tuple[Problem, Demonstration]]:
    return worked(name, level, SEEDS)  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "level"), [(name, level) for name in BOUNDS for level in LEVELS])
def test_published_configurations_get_full_marks_within_the_bound(name: str, level: str) -> None:
    task = task_at(name, level)  # type: ignore[arg-type]
    for problem, shown in _shown(name, level):
        assert task.score(problem, shown.answer).reward == 1.0, (problem, shown)
        assert shown == task.demonstrate(problem)
        assert len(problem.prompt + shown.thought + shown.answer) <= BOUNDS[name][LEVELS.index(level)]  # type: ignore[arg-type]


HAND = [
    (
        "graph_color",
        {"puzzle": {"vertices": [0, 1, 2], "edges": [(0, 2), (1, 2)], "color_options": [1, 2, 3]}},
        "0A123 1B123 2C123|0,2A123C23|1,2B123C23|A1B1C2",
        '{"0": 1, "1": 1, "2": 2}',
    ),
]


@pytest.mark.parametrize(("name", "metadata", "thought", "answer"), HAND)
def test_demonstrations_worked_by_hand(name: str, metadata: dict[str, object], thought: str, answer: str) -> None:
    shown = WRITERS[name](Problem(name, "?", answer, 0, metadata))
    assert (shown.thought.replace("\n", "|"), shown.answer) == (thought, answer)


def test_a_vertex_keeps_the_colors_that_no_neighbour_has() -> None:
    for asked, shown in _shown("graph_color", "hard"):
        colors = dict(re.findall(r"([A-T])(\d)", shown.thought.split("\n")[-1]))
        for one, other in asked.metadata["puzzle"]["edges"]:
            assert colors[chr(65 + one)] != colors[chr(65 + other)]
        for _, _, one, first, other, left in re.findall(r"(\d+),(\d+)([A-T])(\d)\d*([A-T])(\d+)", shown.thought):
            assert colors[one] == first
            assert first not in left, (asked.seed, one, other)
