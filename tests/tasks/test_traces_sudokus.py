"""Thoughts about sudokus: full marks at both levels, and what is set without a guess is forced."""

import re

import pytest

from denken.evaluate.suites import LEVELS
from denken.tasks.traces.sudokus import sudoku
from denken.types import Problem
from worked import task_at, worked

SEEDS = {"mini_sudoku": range(2000, 2024), "sudoku": range(2000, 2004)}
SET = re.compile(r"([=?])([a-i])([A-I])(\d)")


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", SEEDS)
def test_published_configurations_get_full_marks(name: str, level: str) -> None:
    task = task_at(name, level)  # type: ignore[arg-type]
    for problem, shown in worked(name, level, SEEDS[name]):  # type: ignore[arg-type]
        assert task.score(problem, shown.answer).reward == 1.0, (problem, shown)
        assert shown == task.demonstrate(problem)
        _follow(problem.metadata["puzzle"], shown.thought)


def _follow(puzzle: list[list[int]], thought: str) -> None:
    board, size = [row[:] for row in puzzle], len(puzzle)
    for sign, row, column, value in SET.findall(thought):
        r, c = ord(row) - 97, ord(column) - 65
        places = [other for other in range(size) if int(value) in _fitting(board, r, other)]
        assert int(value) in _fitting(board, r, c)
        assert sign == "?" or _fitting(board, r, c) == {int(value)} or places == [c]
        board[r][c] = int(value)
    assert thought.split("\n")[-size:] == [
        "".join(f"{chr(97 + r)}{chr(65 + c)}{board[r][c]}" for c in range(size)) for r in range(size)
    ]


def _fitting(board: list[list[int]], r: int, c: int) -> set[int]:
    size, side = len(board), 2 if len(board) == 4 else 3
    if board[r][c]:
        return set()
    around = {board[i][j] for i in range(size) for j in range(size) if i == r or j == c}
    box = {board[i][j] for i in range(size) for j in range(size) if i // side == r // side and j // side == c // side}
    return set(range(1, size + 1)) - around - box


def test_a_sudoku_without_a_forced_number_is_guessed_on() -> None:
    solution = [[1, 2, 3, 4], [3, 4, 1, 2], [2, 1, 4, 3], [4, 3, 2, 1]]
    puzzle = [[0, 0, 3, 4], [3, 4, 1, 2], [0, 0, 4, 3], [4, 3, 2, 1]]
    shown = sudoku(Problem("mini_sudoku", "?", "", 0, {"puzzle": puzzle, "solution": solution}))
    assert "?aA1#2J2s2;a.B#2" in shown.thought
    assert shown.answer == "1 2 3 4\n3 4 1 2\n2 1 4 3\n4 3 2 1"
