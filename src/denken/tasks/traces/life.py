"""Thoughts about boards that change: the Game of Life's next one, whether it will die out, and oranges that rot.

In the Game of Life a cell goes by its row's capital and its column's small letter, as in grids.py; the board has no
edge, so that before row A comes the last one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from denken.errors import ConfigError
from denken.tasks.base import Demonstration
from denken.tasks.traces.grids import Axis, letters, named, written
from denken.types import Problem

Board = list[list[int]]
_ROW = re.compile(r"\[([01][01, ]*)\]")


def _board(text: str) -> Board:
    """The rows of zeros and ones of a board as it is printed."""
    return [[int(cell) for cell in re.findall("[01]", row)] for row in _ROW.findall(text)]


def game_of_life(problem: Problem) -> Demonstration:
    """The board; each cell between the one above and the one below, with their sum; three such sums side by side.

        Aa0Ab1Ac0
        Ba0Bb1Bc0
        Ca0Cb0Cc0
        Aa0000Ab0112Ac0000     Ab: none above (in row C), itself, one below, together 2
        Ba0000Bb1102Bc0000
        Ca0000Cb1012Cc0000
        Aa020Ab120Ac020        Aa: itself 0, 0+0+2 to the left, in the middle and to the right: so it will not live
        Ba020Bb120Bc020
        Ca020Cb020Cc020

    With itself counted, a cell will live at 3, and at 4 if it lives. The last lines are the next board, and the sums of
    a step after it are taken from there.
    """
    _, _, shown = problem.prompt.rpartition("\n\n")
    board = _board(shown)
    rows, columns, _ = named(board)
    lines = written(*named(board))
    for _ in range(problem.metadata["simulation_steps"]):
        between = [
            [(board[i - 1][j], cell, board[i + 1 - len(board)][j]) for j, cell in enumerate(row)]
            for i, row in enumerate(board)
        ]
        sums = [[sum(cell) for cell in row] for row in between]
        around = [[row[j - 1] + row[j] + row[j + 1 - len(row)] for j in range(len(row))] for row in sums]
        lines += _lines(rows, columns, [[(*cell, sum(cell)) for cell in row] for row in between])
        after = [
            [(cell, around[i][j], int(around[i][j] == 3 or around[i][j] - cell == 3)) for j, cell in enumerate(row)]
            for i, row in enumerate(board)
        ]
        lines += _lines(rows, columns, after)
        board = [[cell[-1] for cell in row] for row in after]
    return Demonstration("\n".join(lines), json.dumps(board, separators=(",", ":")))


def _lines(rows: Axis, columns: Axis, cells: Sequence[Sequence[tuple[int, ...]]]) -> list[str]:
    """A line a row, each cell's numbers behind its letters."""
    return [
        "".join(f"{r}{c}{''.join(map(str, cell))}" for c, cell in zip(columns, row, strict=True))
        for r, row in zip(rows, cells, strict=True)
    ]


def game_of_life_halting(problem: Problem) -> Demonstration:
    """Cell by cell until a living one touches another at a side; without such a pair all die out.

        Aa0Ab0Ac0
        Ba0Bb100Bc0      Bb lives, and neither to its left nor above it does one
        Ca0Cb0Cc100      only corners touch: True
        ...
        Ba0Bb100Bc110    with a living one to its left: False

    So it is on the boards of this data set, at its easiest: a board has oscillators alone, each with cells side by
    side, or diagonals and hooks alone, which lose their ends at every step. Of larger boards the question shows the
    corners only.
    """
    _, _, shown = problem.prompt.rpartition("Initial board:\n")
    if "..." in shown:
        raise ConfigError(
            "The question shows only the corners of its board, so no thought can work it out. Set grid_size_x and "
            "grid_size_y to less than 32."
        )
    board = _board(shown)
    columns, lines = letters(len(board[0]), "a"), list[str]()
    for i, (r, row) in enumerate(zip(letters(len(board)), board, strict=True)):
        line = ""
        for j, (c, cell) in enumerate(zip(columns, row, strict=True)):
            beside = (row[j - 1] if j else 0, board[i - 1][j] if i else 0)
            line += f"{r}{c}{cell}{f'{beside[0]}{beside[1]}' if cell else ''}"
            if cell and any(beside):
                return Demonstration("\n".join([*lines, line]), "False")
        lines.append(line)
    return Demonstration("\n".join(lines), "True")


def rotten_oranges(problem: Problem) -> Demonstration:
    """Fresh oranges with none to the left or right, in order of reading: what is above each, and what below.

        12 01 0.
        =-1          the third is alone, for there is nothing above it, and below it is the edge: it never rots

    Where oranges never rot, one that is alone is the reason in nine problems of ten. Where none is, the answer is a
    guess: five to nine minutes in most of the easy ones. To let them rot minute by minute takes thousands of tokens.
    """
    board = problem.metadata["matrix"]
    edge = ["."] * (len(board) + 2)
    rows = [edge, *([".", *map(str, row), "."] for row in board), edge]
    found = list[str]()
    for above, row, below in zip(rows, rows[1:], rows[2:], strict=False):
        for j, cell in enumerate(row):
            if cell == "1" and row[j - 1] in "0." and row[j + 1] in "0.":
                found.append(above[j] + below[j])
                if set(found[-1]) <= set("0."):
                    return Demonstration(f"{' '.join(found)}\n=-1", "-1")
    return Demonstration(f"{' '.join(found)}\n={problem.answer}".strip(), problem.answer)
