"""Thoughts about sudokus: what is still missing from each row, column and box, and where only one number fits.

A square is named by its row's small letter and its column's capital. What a column still misses stands behind `J` for
column A, `K` for B, and so on; what a box misses behind `j`, `k`, ... (`s`, `t`, ... in a sudoku of four); what the row
at hand misses behind `#`. Each of these is written again whenever it changes, so that the latest one is what counts.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        self.fresh = {r for r in range(self.size) if self.blanks(r)}

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
        """Puts a number into its square, and writes the square and what is then missing: `aC7#1359L3j35`."""
        r, c = square
        self.numbers[r][c] = int(value)
        for key in (("row", r), ("column", c), ("box", self.box(square))):
            self.missing[key] = self.missing[key].replace(value, "")
        seen = ((i, j) for i in range(self.size) for j in range(self.size) if not self.numbers[i][j])
        self.fresh |= {i for i, j in seen if i == r or j == c or self.box((i, j)) == self.box(square)}
        return f"{_name(square)}{value}{self.row(r)}{self.column(c)}{self.boxed(square)}"

    def gain(self, r: int) -> float:
        """The share of the row's empty squares that a look at it would set."""
        fits = [self.fits(square) for square in self.blanks(r)]
        values = "".join(fits)
        single = {value for value in self.missing["row", r] if values.count(value) == 1}
        return sum(len(each) == 1 or not single.isdisjoint(each) for each in fits) / len(fits)

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
    """What fits into each empty square of a row; a number is set where nothing else fits, or it fits nowhere else.

        aA_aB4aC1aD_a.AD#23          the first row: empty in A and D; 2 and 3 are missing
        B:a4b_c1d2K3                 the second column
        a_4b__s123                   the first box, row by row
        bcd                          the rows that are not full
        b.ABD#123s13J134:13K3:3=bB3#12K-s1t2M24:2=bD2#1M4t-/1A=bA1#-J34s-;b.#-

    The last line is a look at a row. `s13` and `J134`: of 1, 2 and 3 square A may be `13`; B can only be 3, which is
    set. `/1A`: what is left to set, and where it may go; only A, so it is set. Then the row as it now is.

    The row is looked at of whose empty squares the greatest share can be set, which a model has to guess at and may
    miss without harm; every ninth time, and where nothing can be set, the one with the fewest empty squares of those
    for which something has changed. Where nothing has, the first square with the fewest numbers is given one of them
    behind `?`: not worked out, and wrong as often as not (7 in 100 of the larger sudokus need it).
    """
    board = _Board(problem.metadata["puzzle"])
    rows, lines, looks = range(board.size), _listed(board), sum(map(sum, board.numbers))
    while opens := [r for r in rows if board.blanks(r)]:
        lines.append("".join(chr(97 + r) for r in opens))
        looks += 1
        gains = {r: board.gain(r) for r in opens}
        if looks % 9 and max(gains.values()):
            lines.append(_row(board, max(opens, key=gains.__getitem__)))
            continue
        if changed := sorted(board.fresh.intersection(opens)):
            lines.append(_row(board, min(changed, key=lambda r: len(board.blanks(r)))))
            continue
        squares = (square for r in opens for square in board.blanks(r))
        r, c = min(squares, key=lambda square: len(board.fits(square)))
        value = str(problem.metadata["solution"][r][c])
        lines.append(f"?{board.set((r, c), value)};{board.state(r)}")
    lines += ["".join(f"{_name((r, c))}{board.numbers[r][c]}" for c in rows) for r in rows]
    return Demonstration("\n".join(lines), "\n".join(" ".join(map(str, row)) for row in board.numbers))


def _listed(board: _Board) -> list[str]:
    """The rows, with their empty squares; the numbers in the columns and boxes, row by row. All with what they miss."""

    def number(square: Square) -> str:
        return str(board.numbers[square[0]][square[1]] or "_")

    lines, rows, side = list[str](), range(board.size), board.side
    for r in rows:
        lines.append("".join(_name((r, c)) + number((r, c)) for c in rows) + board.state(r))
    for c in rows:
        lines.append(f"{chr(65 + c)}:{''.join(chr(97 + r) + number((r, c)) for r in rows)}{board.column(c)}")
    for top in range(0, board.size, side):
        for left in range(0, board.size, side):
            parts = ["".join(number((r, c)) for c in range(left, left + side)) for r in range(top, top + side)]
            there = "".join(chr(97 + top + i) + part for i, part in enumerate(parts))
            lines.append(f"{there}{board.boxed((top, left))}")
    return lines


def _row(board: _Board, r: int) -> str:
    """A look at a row: its empty squares, what is left to set, and the row as it then is."""
    board.fresh.discard(r)
    line, fits, box = board.state(r), dict[Square, str](), -1
    for square in board.blanks(r):
        if board.box(square) != box:
            box, line = board.box(square), line + board.boxed(square)
        fits[square] = board.fits(square)
        line += f"{board.column(square[1])}:{fits[square]}"
        if len(fits[square]) == 1:
            line += f"={board.set(square, fits.pop(square))}"
    for value in board.missing["row", r]:
        places = [square for square in fits if value in fits[square]]
        line += f"/{value}{''.join(chr(65 + c) for _, c in places)}"
        if len(places) == 1:
            del fits[places[0]]
            line += f"={board.set(places[0], value)}"
    return f"{line};{board.state(r)}"
