"""Thoughts that go from state to state: a program's cell, a turned cube, queens on a board, the buttons of a lock.

What a state holds is written again wherever it changes; a search writes its dead ends, too."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from denken.errors import ConfigError
from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add, multiply
from denken.types import Problem

_CLEARED = ">[-]>[-]<>"
_PART = re.compile(r">(\++)\[<(\++|-+)>-\]<|(\++|-+)|(\.)|<$")


def bf(problem: Problem) -> Demonstration:
    """Part by part of the program: its signs counted, what the cell then holds, and behind a dot the letter of that.

        +1+2+3+4+5+6+7+8+9+10[+1+2+3+4+5+6+7+8+9+10]    a loop: so many times so many
        10*10[0*10=0,1*10=10]=100
        d
        +1+2+3+4+5
        100+5[0+5=5,0+0=0,1+0=1]=105
        i

    Only programs that print a word (difficulty 1). Raises ConfigError for the longer ones, which no thought holds.
    """
    program: str = problem.metadata["bf_program"]
    at, cell, lines, out = len(_CLEARED) - 1, 0, list[str](), ""
    while at < len(program):
        found = _PART.match(program, at)
        if found is None:
            raise ConfigError(
                f"bf: only programs that print a word have worked solutions, not {program[:20]!r}; set difficulty = 1."
            )
        at = found.end()
        times, loop, run, dot = found.groups()
        if dot:
            out += chr(cell)
            lines.append(chr(cell))
            continue
        signs = loop or run
        if not signs:
            continue
        change = len(signs) if signs[0] == "+" else -len(signs)
        lines.append(f"{_counted(times)}[{_counted(loop)}]" if times else _counted(run))
        if times:
            lines.append(multiply(len(times), len(loop)).text)
            change *= len(times)
        if cell:
            lines.append(add(cell, change).text)
        cell += change
    return Demonstration("\n".join(lines), out)


def _counted(signs: str) -> str:
    return "".join(f"{sign}{i}" for i, sign in enumerate(signs, 1))


_SIDES = ("top", "right", "front", "left", "back", "bottom")
# For each side that comes to the top: what then stands at each of `_SIDES` stood before at these.
_TURNED = {
    "front": ("front", "right", "bottom", "left", "top", "back"),
    "right": ("right", "bottom", "front", "top", "back", "left"),
    "back": ("back", "right", "top", "left", "bottom", "front"),
    "left": ("left", "top", "front", "bottom", "back", "right"),
    "bottom": ("bottom", "right", "back", "left", "front", "top"),
}


_TURN = re.compile(r"^(\w+)\b.* (?:rotated|turned) ", re.MULTILINE)


def color_cube_rotation(problem: Problem) -> Demonstration:
    """The six colours in the order of the question (top, right, front, left, back, bottom), and again at every turn.

    A turn is named by its sentence's first word as well: five sides alone come again too soon in a long story to tell
    how far the thought has come.

        cube red blue green white black pink
        Then back black blue red white pink green
        right black
    """
    metadata = problem.metadata
    cube: dict[str, str] = {side: metadata["initial_state"][side] for side in _SIDES}
    lines = [f"cube {' '.join(cube.values())}"]
    for opening, turn in zip(_TURN.findall(problem.prompt), metadata["rotations"], strict=True):
        cube = dict(zip(_SIDES, (cube[side] for side in _TURNED[turn]), strict=True))
        lines.append(f"{opening} {turn} {' '.join(cube.values())}")
    asked = metadata["target_side"]
    return Demonstration("\n".join([*lines, f"{asked} {cube[asked]}"]), problem.answer)


def n_queens(problem: Problem) -> Demonstration:
    """Each square by its column and the letters of its two diagonals, so that queens attack where a sign is shared.

        2:4Ef 4:3Fc              the queens that are there
        1:1Ad2Be3Cf-4Dg-         row 1: column 1, diagonals A and d, is free; column 3 shares f with a queen; and so on
        3:1Cb2Dc-3Ed-4Fe-
        0 1:1Ad2Be=2 3:1Cb=1     no queen set yet: what is free in each row without one, and how much that is
        0>3:1Cb                  where least is free, the first square
        1 1:2Be=1                one queen set: what is left of the line 0
        1>1:2Be
        1:2 2:4 3:1 4:3          every row's column

    A row where nothing is free, `4:=0`, ends its line; then comes the next square of the latest row that has one.
    """
    puzzle: list[list[str]] = problem.metadata["puzzle"]
    size = len(puzzle)
    squares = [[f"{c + 1}{chr(65 + r + c)}{chr(97 + size - 1 + c - r)}" for c in range(size)] for r in range(size)]
    columns = {r: row.index("Q") for r, row in enumerate(puzzle) if "Q" in row}
    given = [squares[r][c] for r, c in columns.items()]
    lines, free = [" ".join(f"{r + 1}:{squares[r][c]}" for r, c in columns.items())], dict[int, list[str]]()
    for r, row in enumerate(squares):
        if r in columns:
            continue
        free[r] = [square for square in row if not _shared(square, given)]
        lines.append(f"{r + 1}:{''.join(square + ('' if square in free[r] else '-') for square in row)}")

    def search(free: dict[int, list[str]], level: int) -> bool:
        left = []
        for r, row in free.items():
            left.append(f"{r + 1}:{''.join(row)}={len(row)}")
            if not row:
                break
        lines.append(" ".join([str(level), *left]))
        if not all(free.values()):
            return False
        least = min(free, key=lambda r: len(free[r]))
        for square in free[least]:
            lines.append(f"{level}>{least + 1}:{square}")
            columns[least] = int(square[0]) - 1
            rest = {r: [s for s in row if not _shared(s, [square])] for r, row in free.items() if r != least}
            if not rest or search(rest, level + 1):
                return True
        return False

    if free:
        search(free, 0)
    lines.append(" ".join(f"{r + 1}:{columns[r] + 1}" for r in range(size)))
    board = [" ".join("Q" if c == columns[r] else "_" for c in range(size)) for r in range(size)]
    return Demonstration("\n".join(lines), "\n".join(board))


def _shared(square: str, others: list[str]) -> bool:
    return any(set(square) & set(other) for other in others)


_BEYOND = 6


def quantum_lock(problem: Problem) -> Demonstration:
    """Backwards from the target under either light: every number met keeps the button that leads on from it.

        A+3 B+2g C*2r               the buttons; B only when green, C only when red
        8r 8g 8+6=14                nothing above 14, or below -6
        8r:A5gB6g 8g:A5rC4r         before 8 (red): 5 (green) with A, and so on
        5g:A2rC! 6g:A3rC3r- ...     a line for each press, each new number of the line before in turn
        2r:A-1gB0g ... 3g:A0r*
        0rA3gB5rA8g                 the way: from the start each number's button

    `C3r-` has been met before, `C!` would be too large, too small or no whole number; the search ends where the start
    is met, `A0r*`. In 2,600 problems no shortest way had to go further than 6 beyond 0 and the target.
    """
    buttons = problem.metadata["buttons"]
    target: int = problem.metadata["target_value"]
    signs = {"add": "+", "subtract": "-", "multiply": "*"}
    lights = {"red": "r", "green": "g", "any": ""}
    written = [f"{b['name']}{signs[b['type']]}{b['value']}{lights[b['active_state']]}" for b in buttons]
    layer = [(target, "r"), (target, "g")]
    onward: dict[tuple[int, str], tuple[str, tuple[int, str]] | None] = dict.fromkeys(layer)
    start = (problem.metadata["initial_value"], lights[problem.metadata["initial_state"]])
    lines = [" ".join(written), f"{target}r {target}g {add(target, _BEYOND).text}"]
    while start not in onward:
        items, following = list[str](), list[tuple[int, str]]()
        for state in layer:
            light, item = "rg"[state[1] == "r"], f"{state[0]}{state[1]}:"
            for button in buttons:
                if lights[button["active_state"]] not in (light, "") or start in onward:
                    continue
                value = _undone(state[0], button["type"], button["value"])
                if value is None or not -_BEYOND <= value <= target + _BEYOND:
                    item += f"{button['name']}!"
                    continue
                before = value, light
                met = before in onward
                if not met:
                    onward[before] = button["name"], state
                    following.append(before)
                item += f"{button['name']}{value}{light}{'-' if met else '*' if before == start else ''}"
            items.append(item)
            if start in onward:
                break
        lines.append(" ".join(items))
        layer = following
    way, presses, state = f"{start[0]}{start[1]}", list[str](), start
    while step := onward[state]:
        name, state = step
        presses.append(name)
        way += f"{name}{state[0]}{state[1]}"
    return Demonstration("\n".join([*lines, way]), " → ".join(presses))


def _undone(value: int, operation: str, by: int) -> int | None:
    """The number before an operation; None where no whole number was."""
    if operation == "multiply":
        return None if value % by else value // by
    return value - by if operation == "add" else value + by


class _Tower(NamedTuple):
    """Disks that are to be moved together, from the first to the last, and the pegs that may be used on the way."""

    first: int
    last: int
    source: int
    target: int
    free: tuple[int, ...]

    def __str__(self) -> str:
        if self.first == self.last:
            return f"{self.first}{self.source}{self.target}"
        return f"{self.first}{self.last}:{self.source}{self.target}{''.join(map(str, self.free))}"

    def parts(self) -> list[_Tower]:
        """The upper disks out of the way, the lower ones with a peg less, the upper ones after them."""
        if self.first == self.last:
            return [self]
        aside, *others = self.free
        cut = self.first + _out_of_the_way(self.last - self.first + 1, len(self.free)) - 1
        return [
            _Tower(self.first, cut, self.source, aside, (*others, self.target)),
            _Tower(cut + 1, self.last, self.source, self.target, tuple(others)),
            _Tower(self.first, cut, aside, self.target, (*others, self.source)),
        ]


@cache
def _moves_needed(disks: int, free: int) -> int:
    if disks == 1:
        return 1
    upper = _out_of_the_way(disks, free)
    return 2 * _moves_needed(upper, free) + _moves_needed(disks - upper, free - 1)


@cache
def _out_of_the_way(disks: int, free: int) -> int:
    """How many upper disks to move aside first: all but one with one free peg, else as many as is best."""
    if free == 1:
        return disks - 1
    return min(range(1, disks), key=lambda n: 2 * _moves_needed(n, free) + _moves_needed(disks - n, free - 1))


def tower_of_hanoi(problem: Problem) -> Demonstration:
    """All disks as one tower, then line by line each tower in three parts, until every part is one disk.

        13:132               disks 1 to 3 from peg 1 to peg 3, with peg 2 free
        12:123 313 12:231    the upper ones to peg 2, disk 3 from peg 1 to peg 3, the upper ones after it
        113 212 132 313 121 223 113

    With two free pegs there may be several disks in the middle, `13:1243 46:134 13:2341`; how many is a small table
    to be known (Frame and Stewart's). Ten disks on three pegs take more moves than an answer may be long.
    """
    asked = problem.metadata
    free = tuple(asked["auxiliary_pegs"])
    parts = [_Tower(1, asked["num_disks"], asked["start_peg"], asked["target_peg"], free)]
    lines = [str(parts[0])]
    while any(part.first != part.last for part in parts):
        parts = [smaller for part in parts for smaller in part.parts()]
        lines.append(" ".join(map(str, parts)))
    moves = [f"Move disk {part.first} from Peg {part.source} to Peg {part.target}" for part in parts]
    return Demonstration("\n".join(lines), "\n".join(moves))
