"""Thoughts about futoshiki: what may stand in each empty square of a row, row after row, until all is full.

A square is named by its row's small letter and its column's capital. What a column still misses stands behind `J` for
column A, `K` for B, and so on, what the row at hand misses behind `#`; both are written again whenever they change,
and so is what may stand in a square, `aC25`: the latest one is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from denken.tasks.base import Demonstration
from denken.types import Problem

Square = tuple[int, int]
_SIDES = ((0, -1, "l"), (0, 1, "r"), (-1, 0, "u"), (1, 0, "d"))


class _Board:
    """What may stand in each square, what rows and columns miss, and which rows are worth another look."""

    def __init__(self, puzzle: Sequence[Sequence[int]], signs: dict[tuple[Square, Square], str]) -> None:
        self.size = len(puzzle)
        self.rows = range(self.size)
        self.all = "".join(str(value) for value in range(1, self.size + 1))
        self.may = {(r, c): str(puzzle[r][c] or self.all) for r in self.rows for c in self.rows}
        self.blanks = {r: [c for c in self.rows if not puzzle[r][c]] for r in self.rows}
        self.misses = {r: self._missing(puzzle[r]) for r in self.rows}
        self.lacks = {c: self._missing([row[c] for row in puzzle]) for c in self.rows}
        self.signs = signs
        self.fresh = {r for r in self.rows if self.blanks[r]}

    def _missing(self, values: Sequence[int]) -> str:
        return "".join(value for value in self.all if int(value) not in values)

    def beside(self, square: Square) -> list[tuple[Square, str, str]]:
        """The neighbours that a sign compares this square with: each with the sign and its side, in a fixed order."""
        around = (((square[0] + down, square[1] + right), side) for down, right, side in _SIDES)
        return [(other, self.signs[square, other], side) for other, side in around if (square, other) in self.signs]

    def known(self, square: Square) -> str:
        """What may stand there: `5`, `25`, or `_` where it is anything."""
        return "_" if self.may[square] == self.all else self.may[square]

    def fits(self, square: Square) -> str:
        left = "".join(value for value in self.misses[square[0]] if value in self.lacks[square[1]])
        for other, sign, _ in self.beside(square):
            may = self.may[other]
            left = "".join(value for value in left if (value < may[-1] if sign == "<" else value > may[0]))
        return left

    def narrow(self, square: Square, values: str) -> None:
        """Notes what may stand in a square; rows that a sign compares it with are worth a look if that is less."""
        if self.may[square] != values:
            self.may[square] = values
            self.fresh |= {r for (r, c), _, _ in self.beside(square) if r != square[0] and c in self.blanks[r]}

    def set(self, square: Square, value: str) -> str:
        """Puts a number into its square, and writes what row and column then miss: `aC7#1359L3`."""
        r, c = square
        self.narrow(square, value)
        self.blanks[r].remove(c)
        self.misses[r] = self.misses[r].replace(value, "")
        self.lacks[c] = self.lacks[c].replace(value, "")
        self.fresh |= {other for other in self.rows if c in self.blanks[other] or other == r}
        return f"{_name(square)}{value}#{self.misses[r] or '-'}{self.column(c)}"

    def column(self, c: int) -> str:
        return f"{chr(74 + c)}{self.lacks[c] or '-'}"

    def state(self, r: int) -> str:
        """The row with the columns of its empty squares and what it misses: `a.CD#37`."""
        return f"{chr(97 + r)}.{''.join(chr(65 + c) for c in self.blanks[r])}#{self.misses[r] or '-'}"

    def gain(self, r: int) -> float:
        """The share of the row's empty squares that a look at it would set."""
        fits = [self.fits((r, c)) for c in self.blanks[r]]
        values = "".join(fits)
        single = {value for value in self.misses[r] if values.count(value) == 1}
        return sum(len(each) == 1 or not single.isdisjoint(each) for each in fits) / len(fits)


def _name(square: Square) -> str:
    return f"{chr(97 + square[0])}{chr(65 + square[1])}"


def futoshiki(problem: Problem) -> Demonstration:
    """What is known of each empty square in a row; a number is set where nothing else fits, or it fits nowhere else.

        aD<dA<                           the signs between rows, each behind the square above it
        bA3bB.bC.<rbD.>l>ubE.;b.BCDE#1245  the second row: D is more than the square to the left and the one above
        A:a5b3c_d_e_J124                 the first column
        bce                              the rows that are not full
        b.DE#24bD.>lbC1>uaD1M234bD24bE.N12bE2=bE2#4N1/4D=bD4#-M23;b.#-

    The last line is a look at a row. `bD.`: more than `bC1` and than `aD1`; of 2 and 4, which the row misses, and the
    column's `M234` it may be `bD24`. Nothing but 2 fits bE, so it is set. `/4D`: what is left to set, and where it may
    go; only there, so it is set. Then the row as it now is.

    The row is looked at of whose empty squares the greatest share can be set, which a model has to guess at and may
    miss without harm; every ninth time, and where nothing can be set, the one with the fewest empty squares of those
    for which something has changed. Where nothing has, the first square with the fewest numbers is given one of them
    behind `?`: not worked out, and wrong as often as not (1 problem in 8 needs it).
    """
    metadata = problem.metadata
    signs: dict[tuple[Square, Square], str] = {}
    for r1, c1, r2, c2, sign in metadata["constraints"]:
        signs[(r1, c1), (r2, c2)], signs[(r2, c2), (r1, c1)] = sign, "<>"[sign == "<"]
    board = _Board(metadata["puzzle"], signs)
    lines, looks = _listed(board), sum(map(sum, metadata["puzzle"]))
    while opens := [r for r in board.rows if board.blanks[r]]:
        lines.append("".join(chr(97 + r) for r in opens))
        looks += 1
        gains = {r: board.gain(r) for r in opens}
        if looks % 9 and max(gains.values()):
            lines.append(_row(board, max(opens, key=gains.__getitem__)))
            continue
        if changed := sorted(board.fresh.intersection(opens)):
            lines.append(_row(board, min(changed, key=lambda r: len(board.blanks[r]))))
            continue
        squares = [(r, c) for r in opens for c in board.blanks[r]]
        r, c = min(squares, key=lambda square: len(board.may[square]))
        lines.append(f"?{board.set((r, c), str(metadata['solution'][r][c]))};{board.state(r)}")
    rows = [_signed(board, r, lambda square: _name(square) + board.may[square]) for r in board.rows]
    between = [_between(board, r) for r in board.rows]
    lines += [line for pair in zip(rows, between, strict=True) for line in pair if line]
    return Demonstration("\n".join(lines), _answer(board))


def _listed(board: _Board) -> list[str]:
    """The signs between rows; the rows with what each square is compared with; the columns. All with what they miss."""
    above = "".join(_name((r, c)) + board.signs[(r, c), (r + 1, c)] for r, c in board.may if _below(board, r, c))
    lines = [above or "-"]
    for r in board.rows:
        line = ""
        for c in board.rows:
            compared = "".join(sign + side for _, sign, side in board.beside((r, c)))
            line += f"{_name((r, c))}.{compared}" if c in board.blanks[r] else _name((r, c)) + board.may[r, c]
        lines.append(f"{line};{board.state(r)}")
    for c in board.rows:
        there = "".join(chr(97 + r) + ("_" if c in board.blanks[r] else board.may[r, c]) for r in board.rows)
        lines.append(f"{chr(65 + c)}:{there}{board.column(c)}")
    return lines


def _below(board: _Board, r: int, c: int) -> bool:
    return ((r, c), (r + 1, c)) in board.signs


def _between(board: _Board, r: int) -> str:
    """The signs below a row: `A<C>`."""
    return "".join(chr(65 + c) + board.signs[(r, c), (r + 1, c)] for c in board.rows if _below(board, r, c))


def _signed(board: _Board, r: int, written: Callable[[Square], str], none: str = "") -> str:
    """A row with the signs between its squares."""
    signs = [board.signs.get(((r, c), (r, c + 1)), none) for c in board.rows]
    return "".join(written((r, c)) + sign for c, sign in zip(board.rows, signs, strict=True)).rstrip()


def _answer(board: _Board) -> str:
    """The layout of the question, full; blanks at the end of a line are left out."""
    lines = []
    for r in board.rows:
        signs = [board.signs.get(((r, c), (r, c + 1)), " ") for c in board.rows[:-1]]
        lines.append(" ".join(board.may[r, c] + f" {sign}" for c, sign in enumerate([*signs, ""])).rstrip())
        below = [" ∧∨"[" <>".index(board.signs.get(((r, c), (r + 1, c)), " "))] for c in board.rows]
        lines.append("   ".join(below).rstrip())
    return "\n".join(lines[:-1])


def _row(board: _Board, r: int) -> str:
    """A row's line: its empty squares, what is left to set, and the row as it then is."""
    board.fresh.discard(r)
    line, fits = board.state(r), dict[Square, str]()
    for square in [(r, c) for c in board.blanks[r]]:
        line += f"{_name(square)}."
        line += "".join(f"{sign}{side}{_name(other)}{board.known(other)}" for other, sign, side in board.beside(square))
        fits[square] = board.fits(square)
        board.narrow(square, fits[square])
        line += f"{board.column(square[1])}{_name(square)}{fits[square]}"
        if len(fits[square]) == 1:
            line += f"={board.set(square, fits.pop(square))}"
    for value in board.misses[r]:
        places = [square for square in fits if value in fits[square]]
        line += f"/{value}{''.join(chr(65 + c) for _, c in places)}"
        if len(places) == 1:
            del fits[places[0]]
            line += f"={board.set(places[0], value)}"
    return f"{line};{board.state(r)}"
