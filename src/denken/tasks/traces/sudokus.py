"""Thoughts about sudokus: what is still missing from each row, column and box, and where only one number fits.

A square is named by its row's small letter and its column's capital. What a column still misses stands behind `J` for
column A, `K` for B, and so on; what a box misses behind `j`, `k`, ... (`s`, `t`, ... in a sudoku of four); what the row
at hand misses behind `#`. Each of these is written again whenever it changes, so that the latest one is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from denken.tasks.base import Demonstration
from denken.types import Problem

Square = tuple[int, int]
Kind = Literal["row", "column", "box"]


class _Board:
    """The numbers so far, and what is missing from each row, column and box."""

    def __init__(self, puzzle: Sequence[Sequence[int]]) -> None:
        self.size = len(puzzle)
        self.side = 2 if self.size == 4 else 3
        self.numbers = [list(row) for row in puzzle]
        self.missing: dict[tuple[Kind, int], str] = {}
        for number in range(self.size):
            for kind, squares in _units(self.size, self.side, number):
                present = {puzzle[r][c] for r, c in squares}
                missing = (str(value) for value in range(1, self.size + 1) if value not in present)
                self.missing[kind, number] = "".join(missing)

    def box(self, square: Square) -> int:
        return square[0] // self.side * self.side + square[1] // self.side

    def row(self, r: int) -> str:
        return f"#{self.missing['row', r] or '-'}"

    def column(self, c: int) -> str:
        return f"{chr(74 + c)}{self.missing['column', c] or '-'}"

    def boxed(self, square: Square) -> str:
        box = self.box(square)
        return f"{chr((106 if self.side == 3 else 115) + box)}{self.missing['box', box] or '-'}"

    def blanks(self, r: int) -> list[Square]:
        return [(r, c) for c in range(self.size) if not self.numbers[r][c]]

    def fits(self, square: Square) -> str:
        """What is missing from all three that a square belongs to."""
        column, box = self.missing["column", square[1]], self.missing["box", self.box(square)]
        return "".join(value for value in self.missing["row", square[0]] if value in column and value in box)

    def set(self, square: Square, value: str) -> str:
        """Puts a number into its square, and writes the square and what is then missing: `=aC7#1359L3j35`."""
        r, c = square
        self.numbers[r][c] = int(value)
        for key in (("row", r), ("column", c), ("box", self.box(square))):
            self.missing[key] = self.missing[key].replace(value, "")
        return f"={_name(square)}{value}{self.row(r)}{self.column(c)}{self.boxed(square)}"

    def state(self, r: int) -> str:
        """The row with the columns of its empty squares and what it misses: `a.CD#37`."""
        return f"{chr(97 + r)}.{''.join(chr(65 + c) for _, c in self.blanks(r))}{self.row(r)}"


def _units(size: int, side: int, number: int) -> list[tuple[Kind, list[Square]]]:
    """The squares of the row, the column and the box of this number."""
    top, left = number // side * side, number % side * side
    return [
        ("row", [(number, c) for c in range(size)]),
        ("column", [(r, number) for r in range(size)]),
        ("box", [(top + i // side, left + i % side) for i in range(size)]),
    ]


def _name(square: Square) -> str:
    return f"{chr(97 + square[0])}{chr(65 + square[1])}"


def sudoku(problem: Problem) -> Demonstration:
    """Row by row, what fits into each empty square; a number is set where nothing else fits, or it fits nowhere else.

        aA_aB4aC1aD_a.AD#23          the first row: empty in A and D; 2 and 3 are missing
        A:a_b_c_d_J1234              the first column
        a_4b__s123                   the first box
        b.ABD#123s13J134:13K3:3=bB3#12K-s1t2M24:2=bD2#1M4t-/1A=bA1#-J34s-;b.#-ny

    The last line is that of a row in a round: `s13` and `J134`, so of 1, 2 and 3 square A may be `13`; B can only be
    3, which is set. `/1A`: what is left to set, and where it may go; only A, so it is set. Then the row as it is now,
    whether any row down to here is not full yet, and whether any number was set in this round (y, n). Rounds go on
    until all is full. Where a round sets none, the first square with the fewest numbers is given one of them behind
    `?`: not worked out, and wrong as often as not (6 in 100 of the larger sudokus need it).
    """
    board = _Board(problem.metadata["puzzle"])
    rows, lines = range(board.size), _listed(board)
    while True:
        open_, progress = False, False
        for r in rows:
            line, placed = _row(board, r)
            open_, progress = open_ or bool(board.blanks(r)), progress or placed
            lines.append(f"{line}{'ny'[open_]}{'ny'[progress]}")
        if not open_:
            break
        if not progress:
            guess = min((s for r in rows for s in board.blanks(r)), key=lambda square: len(board.fits(square)))
            r, c = guess
            value = str(problem.metadata["solution"][r][c])
            lines.append(f"?{board.set(guess, value)[1:]};{board.state(r)}")
    lines += ["".join(f"{_name((r, c))}{board.numbers[r][c]}" for c in rows) for r in rows]
    return Demonstration("\n".join(lines), "\n".join(" ".join(map(str, row)) for row in board.numbers))


def _listed(board: _Board) -> list[str]:
    """The rows, the columns and the boxes, each with what is missing from it."""

    def number(square: Square) -> str:
        return str(board.numbers[square[0]][square[1]] or "_")

    units = [dict(_units(board.size, board.side, i)) for i in range(board.size)]
    rows = ["".join(_name(s) + number(s) for s in unit["row"]) + board.state(r) for r, unit in enumerate(units)]
    columns = ["".join(chr(97 + s[0]) + number(s) for s in unit["column"]) for unit in units]
    boxes = [_by_row(unit["box"], number) + board.boxed(unit["box"][0]) for unit in units]
    return [*rows, *(f"{chr(65 + c)}:{text}{board.column(c)}" for c, text in enumerate(columns)), *boxes]


def _by_row(squares: Sequence[Square], number: Callable[[Square], str]) -> str:
    """A box's numbers, each of its rows behind its letter: `a53_b6__c_98`."""
    lead = {r: chr(97 + r) for r, _ in squares}
    return "".join(lead.pop(square[0], "") + number(square) for square in squares)


def _row(board: _Board, r: int) -> tuple[str, bool]:
    """A row's line in a round, and whether it sets a number."""
    line, fits, box, placed = board.state(r), dict[Square, str](), -1, False
    for square in board.blanks(r):
        if board.box(square) != box:
            box, line = board.box(square), line + board.boxed(square)
        fits[square] = board.fits(square)
        line += f"{board.column(square[1])}:{fits[square]}"
        if len(fits[square]) == 1:
            line, placed = line + board.set(square, fits.pop(square)), True
    for value in board.missing["row", r]:
        places = [square for square in fits if value in fits[square]]
        line += f"/{value}{''.join(chr(65 + c) for _, c in places)}"
        if len(places) == 1:
            del fits[places[0]]
            line, placed = line + board.set(places[0], value), True
    if line != board.state(r):
        line += f";{board.state(r)}"
    return line, placed
