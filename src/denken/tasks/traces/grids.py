"""Thoughts about matrices: every value gets its row's capital and its column's small letter, and is found by them.

    8 5        Aa8Ab5
    5 1        Ba5Bb1

What is done to a matrix as a whole is done to the letters alone: turned by 90 degrees the rows `AB` and the columns
`ab` are the rows `ab` and the columns `BA`, and only at the end are the values looked up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from denken.tasks.base import Demonstration
from denken.types import Problem

Axis = list[str]
Cells = dict[str, int]


def letters(count: int, first: str = "A") -> Axis:
    """Labels from A (or a) on; after 26 of them with a number, in matrices that no short thought holds."""
    return [chr(ord(first) + i % 26) + (str(i // 26) if i >= 26 else "") for i in range(count)]


def named(matrix: Sequence[Sequence[Any]]) -> tuple[Axis, Axis, dict[str, Any]]:
    """The letters of the rows, those of the columns, and each value by its two letters."""
    rows, columns = letters(len(matrix)), letters(len(matrix[0]), "a")
    cells = {r + c: value for r, line in zip(rows, matrix, strict=True) for c, value in zip(columns, line, strict=True)}
    return rows, columns, cells


def written(rows: Axis, columns: Axis, cells: Mapping[str, Any]) -> list[str]:
    """The matrix with its letters, a line a row: `Aa8Ab5`."""
    return ["".join(f"{r}{c}{cells[r + c]}" for c in columns) for r in rows]


def _key(r: str, c: str) -> str:
    """The letters of a value, the row's first, whichever way the matrix now lies."""
    return r + c if r[0] < "a" else c + r


def _looked_up(rows: Axis, columns: Axis, cells: Cells, becomes: Mapping[int, int] | None = None) -> list[str]:
    """Every value in its new place, behind its letters, and before what the value has become if any has."""

    def value(key: str) -> str:
        return f"{key}{cells[key]}{'' if becomes is None else becomes[cells[key]]}"

    return ["".join(value(_key(r, c)) for c in columns) for r in rows]


def _axes(rows: Axis, columns: Axis) -> str:
    return f"{''.join(rows)}|{''.join(columns)}"


def _turned(rows: Axis, columns: Axis, degrees: int) -> tuple[Axis, Axis]:
    """The letters after a turn clockwise."""
    return {
        0: (rows, columns),
        90: (columns, rows[::-1]),
        180: (rows[::-1], columns[::-1]),
        270: (columns[::-1], rows),
    }[degrees % 360]


def rotate_matrix(problem: Problem) -> Demonstration:
    """Whole turns are taken off first; then the letters are turned, and the values looked up.

    Aa8Ab5
    Ba5Bb1
    450-360=90
    AB|ab       rows and columns as they are
    ab|BA       and after a turn by 90 degrees
    Ba5Aa8
    Bb1Ab5
    """
    rows, columns, cells = named(problem.metadata["matrix"])
    degrees = problem.metadata["num_rotations"] * 90
    lines = written(rows, columns, cells)
    while degrees >= 360:
        lines.append(f"{degrees}-360={degrees - 360}")
        degrees -= 360
    new_rows, new_columns = _turned(rows, columns, degrees)
    lines += [_axes(rows, columns), _axes(new_rows, new_columns), *_looked_up(new_rows, new_columns, cells)]
    return Demonstration("\n".join(lines), problem.answer)


def spiral_matrix(problem: Problem) -> Demonstration:
    """Leg by leg, each with its row (or column) and where it begins and ends; an inner leg is one letter narrower.

    Aa1Ab2Ac3
    Ba4Bb5Bc6
    >Aac Aa1Ab2Ac3    to the right in row A from a to c
    vcBB Bc6          down in column c from B to B
    <Bba Bb5Ba4       to the left in row B from b to a; what would be nothing is left out
    """
    rows, columns, cells = named(problem.metadata["matrix"])
    lines = written(rows, columns, cells)
    for sign, at, leg in _legs(rows, columns):
        lines.append(f"{sign}{at}{leg[0]}{leg[-1]} {''.join(f'{_key(at, o)}{cells[_key(at, o)]}' for o in leg)}")
    return Demonstration("\n".join(lines), problem.answer)


def _legs(rows: Axis, columns: Axis) -> Iterator[tuple[str, str, Axis]]:
    """The legs of a spiral: the direction, the row or column, and the letters along it."""
    while rows and columns:
        yield ">", rows[0], columns
        rows = rows[1:]
        if rows:
            yield "v", columns[-1], rows
        columns = columns[:-1]
        if rows and columns:
            yield "<", rows[-1], columns[::-1]
            rows = rows[:-1]
        if rows and columns:
            yield "^", columns[0], rows[::-1]
        columns = columns[1:]


def manipulate_matrix(problem: Problem) -> Demonstration:
    """What is done to rows and columns is done to their letters, what is done to values to a table of ten digits.

        Aa5Ab3Ac7
        Ba7Bb8Bc7
        AB|abc
        v AB|cba                         mirrored vertically
        7>8 00 11 22 33 44 55 66 78 88 99    each 7 becomes 8
        2-2,1-2 1A2B|1c2b3a B|cb         cropped to row 2, columns 1 to 2
        Bc78Bb88                         row B: a 7 that is now 8, an 8 that still is

    `r90` turns, `h` mirrors horizontally, `d` and `c` along the diagonal and the counterdiagonal, `/3` sets what 3
    divides to zero, `r/2` and `c/2` remove every second row or column.
    """
    rows, columns, cells = named(problem.metadata["matrix"])
    becomes: dict[int, int] | None = None
    lines = [*written(rows, columns, cells), _axes(rows, columns)]
    for operation in problem.metadata["operations"]:
        if operation["transform"] in ("map", "zero_divisible"):
            name, changed = _value_change(operation)
            becomes = {digit: changed(value) for digit, value in (becomes or {d: d for d in range(10)}).items()}
            lines.append(f"{name} {' '.join(f'{a}{b}' for a, b in becomes.items())}")
            continue
        name, new_rows, new_columns = _rearranged(operation, rows, columns)
        lines.append(f"{name} {_axes(new_rows, new_columns)}")
        rows, columns = new_rows, new_columns
    return Demonstration("\n".join([*lines, *_looked_up(rows, columns, cells, becomes)]), problem.answer)


def _value_change(operation: Mapping[str, Any]) -> tuple[str, Callable[[int], int]]:
    if operation["transform"] == "map":
        old, new = operation["from"], operation["to"]
        return f"{old}>{new}", lambda value: new if value == old else value
    divisor = operation["k"]
    return f"/{divisor}", lambda value: 0 if value % divisor == 0 else value


def _rearranged(operation: Mapping[str, Any], rows: Axis, columns: Axis) -> tuple[str, Axis, Axis]:
    """How an operation on places is written, and the letters after it."""
    kind = operation["transform"]
    if kind == "rotate":
        return f"r{operation['degrees']}", *_turned(rows, columns, int(operation["degrees"]))
    mirrored = {
        "hmirror": (rows[::-1], columns),
        "vmirror": (rows, columns[::-1]),
        "dmirror": (columns, rows),
        "cmirror": (columns[::-1], rows[::-1]),
    }
    if kind in mirrored:
        return kind[0], *mirrored[kind]
    if kind == "crop":
        top, bottom, left, right = (operation[k] for k in ("row_start", "row_end", "col_start", "col_end"))
        name = f"{top}-{bottom},{left}-{right} {_counted(rows)}|{_counted(columns)}"
        return name, rows[top - 1 : bottom], columns[left - 1 : right]
    n = operation["n"]
    if kind == "remove_every_nth_row":
        return f"r/{n} {_counted(rows)}", [r for i, r in enumerate(rows, 1) if i % n], columns
    return f"c/{n} {_counted(columns)}", rows, [c for i, c in enumerate(columns, 1) if i % n]


def _counted(axis: Axis) -> str:
    return "".join(f"{i}{letter}" for i, letter in enumerate(axis, 1))


def pool_matrix(problem: Problem) -> Demonstration:
    """The rows in pieces as wide as the kernel, with their letters; after as many rows as it is high, each block.

        Aa50b22             row A: 5 0 in block a, 2 2 in block b
        Ba79b48
        a 5+0=5+7=12+9=21/4=5r1=5.25
        b 2+2=4+4=8+8=16/4=4r0=4

    The two decimals of a remainder are a small table to be known. Of a maximum the digits are written, `a 5079=9`.
    """
    matrix, size = problem.metadata["matrix"], problem.metadata["pool_size"]
    average = problem.metadata["pool_type"] == "average"
    if size == 1:
        return Demonstration("1", "\n".join(" ".join(map(str, row)) for row in matrix))
    names, starts = letters(len(matrix)), range(0, len(matrix[0]), size)
    blocks = letters(len(starts), "a")
    lines, answer = [], []
    for top in range(0, len(matrix), size):
        height = range(top, min(top + size, len(matrix)))
        pieces = [[matrix[r][c : c + size] for c in starts] for r in height]
        for r, row in zip(height, pieces, strict=True):
            lines.append(names[r] + "".join(b + "".join(map(str, p)) for b, p in zip(blocks, row, strict=True)))
        results = []
        for i, block in enumerate(blocks):
            values = [value for row in pieces for value in row[i]]
            work, result = _mean(values) if average else _maximum(values)
            lines.append(f"{block} {work}")
            results.append(result)
        answer.append(" ".join(results))
    return Demonstration("\n".join(lines), "\n".join(answer))


def _maximum(values: Sequence[int]) -> tuple[str, str]:
    return f"{''.join(map(str, values))}={max(values)}", str(max(values))


def _mean(values: Sequence[int]) -> tuple[str, str]:
    """A running sum, then the division: to two decimals, rounded, where something remains."""
    total, work = values[0], str(values[0])
    for value in values[1:]:
        total += value
        work += f"+{value}={total}"
    if len(values) == 1:
        return work, str(total)
    whole, left = divmod(total, len(values))
    result = f"{whole + left / len(values):.2f}".rstrip("0").rstrip(".")
    return f"{work}/{len(values)}={whole}r{left}={result}", result


def binary_matrix(problem: Problem) -> Demonstration:
    """Three times over the matrix: distances to zeros above and to the left, then from the end all four ways, in order.

    Aa1xAb00     each value, then 0 for a zero, else 1 more than the lesser of the one above and the one before;
    Ba1xBb11     x where there is no zero that way
    Bb11Bax2     backwards: that distance, then the least of it and 1 more than below and to the right
    Ab00Aax1
    Aa1Ab0       forwards again
    Ba2Bb1
    """
    rows, columns, cells = named(problem.metadata["matrix"])
    lines, distance = [], dict[str, int | str]()

    def least(key: str, *beside: str) -> int | str:
        found = [distance.get(key, "x"), *(_more(distance.get(other, "x")) for other in beside)]
        return min((d for d in found if isinstance(d, int)), default="x")

    above = dict(zip(rows, ["", *rows], strict=False))
    before = dict(zip(columns, ["", *columns], strict=False))
    for r in rows:
        line = ""
        for c in columns:
            distance[r + c] = 0 if cells[r + c] == 0 else least("", above[r] + c, r + before[c])
            line += f"{r}{c}{cells[r + c]}{distance[r + c]}"
        lines.append(line)
    below = {upper: lower for lower, upper in above.items()}
    after = {left: right for right, left in before.items()}
    for r in reversed(rows):
        line = ""
        for c in reversed(columns):
            forward = distance[r + c]
            distance[r + c] = least(r + c, below.get(r, "") + c, r + after.get(c, ""))
            line += f"{r}{c}{forward}{distance[r + c]}"
        lines.append(line)
    return Demonstration("\n".join([*lines, *written(rows, columns, distance)]), problem.answer)


def _more(distance: int | str) -> int | str:
    return distance + 1 if isinstance(distance, int) else distance
