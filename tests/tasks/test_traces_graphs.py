"""Thoughts about graphs, jugs and mazes: full marks at both levels, within bounds, and true line by line."""

import json
import re
from itertools import pairwise

import pytest

from denken.evaluate.suites import LEVELS
from denken.tasks.base import Demonstration
from denken.tasks.traces import WRITERS
from denken.types import Problem
from worked import task_at, worked

# The most characters of question, thought and answer together, of which none is more than a token; easy and hard.
BOUNDS = {"graph_color": (800, 1500), "jugs": (1600, 1700), "maze": (1150, 3300)}
SIGNS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!$%&+/;<>?@~"
SEEDS = range(2000, 2024)
FEW_SEEDS = range(2000, 2004)  # of four jugs, whose problems take long until most sets of capacities have come up


def _shown(name: str, level: str = "easy") -> list[tuple[Problem, Demonstration]]:
    return worked(name, level, FEW_SEEDS if (name, level) == ("jugs", "hard") else SEEDS)  # type: ignore[arg-type]


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
        "0A123 1B123 2C123|0,2A1C23|1,2B1C23|A1B1C2",
        '{"0": 1, "1": 1, "2": 2}',
    ),
    (
        "jugs",
        {"puzzle": {"jug_capacities": [4, 13, 4], "target": 6}},
        "A4 B13 C4-|A4B13/1 6y|a 0+4=4 0+13=13|b 4+4=8 13-4=9|c 8+4=12 9-4=5|d 12+4=16 5-4=1|e 16-13=3 1+13=14"
        '|f 3+4=7 14-4=10|g 7+4=11 10-4=6|B>A 6>4|a"fill B", "pour B->A"b"empty A", "pour B->A"c"empty A", "pour B->A"'
        'd"empty A", "pour B->A"e"fill B", "pour B->A"f"empty A", "pour B->A"g"empty A"',
        '["fill B", "pour B->A", "empty A", "pour B->A", "empty A", "pour B->A", "empty A", "pour B->A", "fill B", '
        '"pour B->A", "empty A", "pour B->A", "empty A"]',
    ),
    (
        "jugs",
        {"puzzle": {"jug_capacities": [4, 12, 3], "target": 2}},
        'A4 B12 C3|A4B12/4 2n|A4C3/1 2y|a 0+4=4 0+3=3|b 4-3=1 3+3=6|c 1+4=5 6-4=2|C>A 2<4|a"fill C", "pour C->A"'
        'b"fill C", "pour C->A"c"empty A", "pour C->A"',
        '["fill C", "pour C->A", "fill C", "pour C->A", "empty A", "pour C->A"]',
    ),
    (
        "maze",
        {"grid": ["wwwww", "wpwpw", "wpspw", "wwwgw", "wwwww"], "path": "p", "wall": "w", "start": "s", "goal": "g"},
        "A.B#C.D#|I.J000K.L#|Q#R#S*T#|Y#Z#a#b#|00J0:B#I011K021R#|01I1:A032J-Q#|02K1:C042J-L#S*|1+1=2",
        "2",
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
        for _, _, one, first, other, left in re.findall(r"(\d+),(\d+)([A-T])(\d)([A-T])(\d+)", shown.thought):
            assert colors[one] == first
            assert first not in left, (asked.seed, one, other)


@pytest.mark.parametrize("level", LEVELS)
def test_two_jugs_hold_together_what_the_rounds_say(level: str) -> None:
    for asked, shown in _shown("jugs", level):
        names = re.findall(r"\n([A-D])>([A-D]) ", shown.thought)[0]
        size = {name: int(capacity) for name, capacity in re.findall(r"([A-D]):(\d+)", asked.prompt)}
        held, rounds = dict.fromkeys(size, 0), list[int]()
        for move in json.loads(shown.answer):
            verb, jug, *into = re.findall(r"fill|empty|pour|[A-D]", move)
            if verb == "pour":
                rounds.append(held[jug] + held[into[0]])
                poured = min(held[jug], size[into[0]] - held[into[0]])
                held[jug], held[into[0]] = held[jug] - poured, held[into[0]] + poured
            else:
                held[jug] = size[jug] if verb == "fill" else 0
        column = int(names[0] > names[1])
        said = [int(line[column]) for line in re.findall(r"\n[a-m] \S+=(\d+)(?: \S+=(\d+))?", shown.thought)]
        assert rounds == said[: len(rounds)]
        assert asked.metadata["puzzle"]["target"] in held.values()


def test_a_place_of_a_maze_is_as_far_as_its_number_of_steps() -> None:
    """The signs of two places that lie side by side, and how far the search says both to be."""
    for _, shown in _shown("maze"):
        away = {sign: int(steps) for sign, steps in re.findall(r"(\D)\d\d(\d)", shown.thought)}
        for place, steps, around in re.findall(r"\n\d\d(.)(\d):(.*)", shown.thought):
            assert away[place] == int(steps)
            for sign, new in re.findall(r"(\D)(?:\d\d(\d)|[-#*])", around):
                assert abs(SIGNS.index(sign) - SIGNS.index(place)) in (1, 8)
                assert new in ("", str((int(steps) + 1) % 10))


def test_a_way_through_a_large_maze_is_free_and_as_long_as_the_answer() -> None:
    for asked, shown in _shown("maze", "hard"):
        grid, steps = asked.metadata["grid"], shown.thought.split("\n")[-1].split(",")
        places = [(int(step[:2]), int(step[2:4])) for step in steps]
        assert grid[places[0][0]][places[0][1]] == asked.metadata["start"]
        assert grid[places[-1][0]][places[-1][1]] == asked.metadata["goal"]
        assert [step[5:] for step in steps[:-1]] == [str(n + 1) for n in range(int(shown.answer))]
        for (r, c), (row, column) in pairwise(places):
            assert abs(row - r) + abs(column - c) == 1
            assert grid[row][column] != asked.metadata["wall"]
