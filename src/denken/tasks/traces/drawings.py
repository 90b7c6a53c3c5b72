"""Thoughts about what is drawn with signs: circuits of gates, patterns with a hole, rectangles.

A drawing is gone through in order of reading. What is copied from it stands beside what it means, and everything found
gets a number or a letter, so that the place in the drawing is not lost.
"""

from __future__ import annotations

import re

from denken.tasks.base import Demonstration
from denken.types import Problem

_EDGE = re.compile("[#█]{3,}")


def circuit_logic(problem: Problem) -> Demonstration:
    """Gate by gate, and in it wire by wire: what is drawn from where it branches off, whose it is, and its value.

        NOR                         the last gate, from the legend
        1↑↑a──────B1:1b─>oA10:0=1:1
        =0

    Gate 1, wire a: six dashes to the gate belong to B, which is 1. Wire b is negated (one dash to the sign: A), A is
    1 and so the wire 0. Behind each colon is what the wires so far come to: whether all are 1, or for ⊕⊕ whether an odd
    number is; a NAND turns it round, `=1`, and what the gates so far come to follows, `:1`. A gate more is not looked
    at where the last gate is decided: by a 1 for OR and NOR, by a 0 for AND.

    A has four dashes to a gate, or one to the sign, and each input after it two more, for the wires lie side by side.
    """
    given, last = problem.metadata["assignments"], problem.metadata["final_gate"]
    order = {name: i for i, name in enumerate(problem.metadata["inputs"])}
    lines, result = [last], int(last == "AND")
    for number, term in enumerate(problem.metadata["term_strings"], 1):
        sign = next(sign for sign in "&↑⊕" if sign in term)
        line, value = f"{number}{sign * 2}", int(sign != "⊕")
        for i, wire in enumerate(term.split(sign)):
            name, negated = wire.rstrip("'"), wire.endswith("'")
            level = given[name] ^ negated
            value = value ^ level if sign == "⊕" else value & level
            drawn = "─" * (2 * order[name] + 1) + ">o" if negated else "─" * (2 * order[name] + 4)
            line += f"{chr(ord('a') + i)}{drawn}{name}{given[name]}{level if negated else ''}:{value}"
        value ^= sign == "↑"
        result = {"AND": result & value, "XOR": result ^ value}.get(last, result | value)
        lines.append(f"{line}={value}:{result}")
        if last != "XOR" and result == (last != "AND"):
            break
    lines.append(f"={result ^ (last == 'NOR')}")
    return Demonstration("\n".join(lines), lines[-1][1:])


def modulo_grid(problem: Problem) -> Demonstration:
    """What stands around each hole where the pattern repeats it, the hole's row, and so what stands in the hole.

        /✅✅\\❌❌=✅
        ❌✅❌❌❌❔❌❌❌✅
        ✅

    The cells to the right above and to the left below are the same where the pattern is a sum, x + y; those to the
    left above and to the right below where it is a difference; and all patterns but powers are the same when x and y
    change places, `=`. A dash is a place beyond the edge, or a hole. In its row a pattern has a period. Of powers with
    nothing to be seen there most cells are ❌: that is a guess.
    """
    grid = _cells(problem.prompt.rpartition("\n\n")[2])
    whole = _cells(problem.answer)

    def at(y: int, x: int) -> str:
        inside = 0 <= y < len(grid) and 0 <= x < len(grid[0]) and grid[y][x] != "❔"
        return grid[y][x] if inside else "-"

    lines = []
    for y, row in enumerate(grid):
        for x, cell in enumerate(row):
            if cell == "❔":
                rising, falling = at(y - 1, x + 1) + at(y + 1, x - 1), at(y - 1, x - 1) + at(y + 1, x + 1)
                lines += [f"/{rising}\\{falling}={at(x, y)}", row, whole[y][x]]
    return Demonstration("\n".join(lines), problem.answer)


def _cells(text: str) -> list[str]:
    return text.strip().split("\n")


def rectangle_count(problem: Problem) -> Demonstration:
    """Upper and lower edges in order of reading, counted; half as many are the rectangles.

        1 ######
        2 ##█###
        3 ##█#█
        5 ██████#
        5/2=3         rounded up: one edge is hidden

    An edge is three signs or more that do not stand right above as well, nor, where they are less than five, right
    below: such are sides that lie close together. Four or more overlapping signs, `████`, are of two edges. Edges that
    hide each other in other ways, in 4 problems of 100 of the easy ones and 12 of the hard ones, are made up for in the
    end, `7/2=4-1=3`: that is a guess.
    """
    lines, count = list[str](), 0
    rows = ["", *problem.metadata["puzzle"].split("\n"), ""]
    for above, row, below in zip(rows, rows[1:], rows[2:], strict=False):
        for edge in _EDGE.finditer(row):
            signs, place = edge[0], slice(*edge.span())
            if above[place] != signs and (len(signs) > 4 or below[place] != signs):
                count += 2 if "████" in signs else 1
                lines.append(f"{count} {signs}")
    half, whole = (count + 1) // 2, int(problem.answer)
    lines.append(f"{count}/2={half}{'' if half == whole else f'{whole - half:+d}={whole}'}")
    return Demonstration("\n".join(lines), problem.answer)
