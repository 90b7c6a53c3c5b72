"""Thoughts about futoshiki: the layout of the question filled in, and what is set without a guess is forced."""

import re

import pytest

from denken.tasks.traces.futoshiki import futoshiki
from denken.types import Problem
from worked import task_at, worked

SET = re.compile(r"([=?])([a-i])([A-I])(\d)")
SOLUTION = [[5, 2, 4, 1, 3], [3, 5, 1, 4, 2], [2, 4, 5, 3, 1], [1, 3, 2, 5, 4], [4, 1, 3, 2, 5]]
PUZZLE = [[5, 0, 0, 0, 3], [3, 0, 0, 0, 0], [0, 4, 0, 0, 0], [0, 0, 2, 0, 0], [0, 1, 0, 0, 5]]
SIGNS = [(0, 3, 1, 3, "<"), (1, 2, 1, 3, "<"), (3, 0, 3, 1, "<"), (3, 0, 4, 0, "<")]
FULL = """5   2   4   1   3
            ∧
3   5   1 < 4   2

2   4   5   3   1

1 < 3   2   5   4
∧
4   1   3   2   5"""


def test_a_puzzle_is_filled_in_as_it_was_laid_out() -> None:
    metadata = {"puzzle": PUZZLE, "constraints": SIGNS, "solution": SOLUTION}
    shown = futoshiki(Problem("futoshiki", "?", "", 0, metadata))
    assert shown.answer == FULL
    assert "\nb.DE#24bD.>lbC1>uaD1M234bD24bE.N12bE2=bE2#4N1/4D=bD4#-M23;b.#-\n" in shown.thought
    _follow(PUZZLE, shown.thought)


@pytest.mark.parametrize(("level", "seeds"), [("easy", range(2007, 2009)), ("hard", range(2000, 2001))])
def test_published_configurations_get_full_marks(level: str, seeds: range) -> None:
    task = task_at("futoshiki", level)  # type: ignore[arg-type]
    for problem, shown in worked("futoshiki", level, seeds):  # type: ignore[arg-type]
        assert task.score(problem, shown.answer).reward == 1.0, (problem, shown)
        assert shown == task.demonstrate(problem)
        _follow(problem.metadata["puzzle"], shown.thought)


def _follow(puzzle: list[list[int]], thought: str) -> None:
    """Every number that is set without a guess must be one that no other square of its row may have, or the only one.

    The thought's own `bD24` says what a square may have: it must hold what is set there in the end.
    """
    board, size = [row[:] for row in puzzle], len(puzzle)
    for _, row, column, value in SET.findall(thought):
        r, c = ord(row) - 97, ord(column) - 65
        assert not board[r][c]
        assert int(value) not in board[r] + [line[c] for line in board]
        board[r][c] = int(value)
    assert all(sorted(row) == list(range(1, size + 1)) for row in board)
    for row, column, may in re.findall(r"([a-i])([A-I])(\d+)(?=[=/;a-i])", thought):
        assert str(board[ord(row) - 97][ord(column) - 65]) in may
