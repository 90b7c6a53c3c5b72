"""Thoughts about the Game of Life: the next board as counted cell by cell, and which boards are said to die out."""

import json
import re

import pytest

from denken.errors import ConfigError
from denken.tasks.traces import WRITERS
from denken.types import Problem
from worked import task_at, worked

SEEDS = range(2000, 2012)


def _next(board: list[list[int]]) -> list[list[int]]:
    """Each cell by its eight neighbours, on a board without an edge."""
    height, width = len(board), len(board[0])

    def lives(i: int, j: int) -> int:
        near = [board[(i + a) % height][(j + b) % width] for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b]
        return int(sum(near) == 3 or (sum(near) == 2 and board[i][j] == 1))

    return [[lives(i, j) for j in range(width)] for i in range(height)]


def test_the_next_board_is_what_the_last_lines_of_the_thought_come_to() -> None:
    for problem, shown in worked("game_of_life", "easy", SEEDS):
        board = json.loads(problem.prompt[problem.prompt.rindex("\n\n") : -1])
        lines = shown.thought.split("\n")
        assert [[int(cell) for cell in re.findall(r"\d", line)] for line in lines[:10]] == board
        assert [[int(cell) for cell in re.findall(r"\d(?=[A-Z]|$)", line)] for line in lines[-10:]] == _next(board)
        assert json.loads(shown.answer) == _next(board)
        assert task_at("game_of_life", "easy").score(problem, shown.answer).reward == 1.0


def test_two_steps_are_the_same_work_twice() -> None:
    prompt = "an empty grid: [[0,0,0],[0,0,0]])\n\n[[0,1,0],\n [0,1,0],\n [0,0,0]]."
    work = ["Aa0Ab1Ac0|Ba0Bb1Bc0|Ca0Cb0Cc0", "Aa0000Ab0112Ac0000|Ba0000Bb1102Bc0000|Ca0000Cb1012Cc0000"]
    work += ["Aa020Ab120Ac020|Ba020Bb120Bc020|Ca020Cb020Cc020"]
    work += ["Aa0000Ab0000Ac0000|Ba0000Bb0000Bc0000|Ca0000Cb0000Cc0000"]
    work += ["Aa000Ab000Ac000|Ba000Bb000Bc000|Ca000Cb000Cc000"]
    shown = WRITERS["game_of_life"](Problem("game_of_life", prompt, "", 0, {"simulation_steps": 2}))
    assert shown.thought == "|".join(work).replace("|", "\n")
    assert shown.answer == "[[0,0,0],[0,0,0],[0,0,0]]"


def test_a_board_is_said_to_live_on_where_its_cells_touch() -> None:
    for problem, shown in worked("game_of_life_halting", "easy", SEEDS):
        assert task_at("game_of_life_halting", "easy").score(problem, shown.answer).reward == 1.0
        last = re.findall(r"[A-Z][a-z]1(\d\d)", shown.thought)[-1]
        assert (last != "00") == (shown.answer == "False")
    problem = Problem("game_of_life_halting", "Initial board:\n[[1 0 0]\n [0 1 1]]", "False", 0)
    assert WRITERS[problem.task](problem).thought == "Aa100Ab0Ac0\nBa0Bb100Bc110"


def test_a_board_that_is_not_shown_is_refused() -> None:
    task = task_at("game_of_life_halting", "hard")
    with pytest.raises(ConfigError, match="corners"):
        task.demonstrate(task.problem(2000))


def test_an_orange_that_is_alone_never_rots() -> None:
    for level in ("easy", "hard"):
        shown = worked("rotten_oranges", level, range(2000, 2012))
        assert all(task_at("rotten_oranges", level).score(problem, it.answer).reward == 1.0 for problem, it in shown)
        assert any(it.answer == "-1" for _, it in shown)
    board = [[1, 2, 1, 0], [0, 2, 0, 1], [1, 1, 0, 0], [2, 0, 1, 0]]
    problem = Problem("rotten_oranges", "?", "-1", 0, {"matrix": board})
    assert WRITERS[problem.task](problem).thought == "00\n=-1"
    problem = Problem("rotten_oranges", "?", "2", 0, {"matrix": [[2, 0, 1], [1, 0, 1], [1, 0, 2]]})
    assert WRITERS[problem.task](problem).thought == ".1 21 12 1.\n=2"
