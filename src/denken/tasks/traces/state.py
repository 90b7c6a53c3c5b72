"""Thoughts that go from state to state: a program's cell, queens on a board, the buttons of a lock.

What a state holds is written again wherever it changes; a search writes its dead ends, too."""

from __future__ import annotations

import re

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


_BEYOND = 4


def quantum_lock(problem: Problem) -> Demonstration:
    """Backwards from the target under either light: every number met keeps the button that leads on from it.

        A+3 B+2g C*2r               the buttons; B only when green, C only when red
        8r 8g 8+4=12                nothing above 12, or below -4
        8r:A5gB6g 8g:A5rC4r         before 8 (red): 5 (green) with A, and so on
        5g:A2rC! 6g:A3rC3r- ...     a line for each press, each new number of the line before in turn
        2r:A-1gB0g ... 3g:A0r*
        0rA3gB5rA8g                 the way: from the start each number's button

    `C3r-` has been met before, `C!` would be too large, too small or no whole number; the search ends where the start
    is met, `A0r*`. A shortest way that goes further than 4 beyond 0 and the target was not found in 1,200 problems.
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
