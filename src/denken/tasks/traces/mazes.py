"""Thoughts about mazes: every place of the grid has a sign of its own, and behind it what is known of it by now.

The signs stand for the same places whatever the size of the maze, so that what lies around a place can be learnt by
heart; and what a place was last written with is what is known of it. There are signs for mazes of up to 10 rows. What
is not covered: a search in larger ones, which no context holds; there one way is written as it is seen.
"""

from __future__ import annotations

import string
from collections.abc import Iterator

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add
from denken.types import Problem

Place = tuple[int, int]

_WIDTH = 8
_SIGNS = string.ascii_uppercase + string.ascii_lowercase + "!$%&+/;<>?@~"
_AROUND = {"^": (-1, 0), "<": (0, -1), ">": (0, 1), "v": (1, 0)}


def maze(problem: Problem) -> Demonstration:
    """From the start in all directions until the goal is met: each new place with its number and how far it is.

        A.B#C.D#         the grid without the wall above and to the left; # is a wall, * the goal
        I.J000K.L#       the start has number 00 and is 0 away
        Q#R#S*T#
        Y#Z#a#b#
        00J0:B#I011K021R#    from J up, left, right and down: I is new, number 01 and 1 away, K is number 02
        01I1:A032J-Q#        number 01 is I, 1 away; A is new, J has been met before
        02K1:C042J-L#S*      S is the goal
        1+1=2

    Of a place that is 10 away only the 0 is written: the goal is met before such a place has its turn.

    In a maze of more than 10 rows: start and goal by row and column, how far they are at least, and a shortest way,
    each place with the step from there and its number. That there is no shorter one is not shown.

        1217-1115
        12-11[2-1=1,1-1=0]=1
        17-15[7-5=2,1-1=0]=2
        1+2=3
        1217^1,1117<2,1116<3,1115
    """
    grid: list[str] = problem.metadata["grid"]
    if len(grid) > _WIDTH + 2:
        return Demonstration("\n".join(_seen(grid, problem)), problem.answer)
    becomes = {problem.metadata[kind]: sign for kind, sign in (("path", "."), ("wall", "#"), ("goal", "*"))}
    cells = {
        (r, c): becomes.get(sign, "000")
        for r, line in enumerate(grid[1 : _WIDTH + 1])
        for c, sign in enumerate(line[1 : _WIDTH + 1])
    }
    lines = [""] * min(len(grid) - 1, _WIDTH)
    for place, known in cells.items():
        lines[place[0]] += _sign(place) + known
    return Demonstration("\n".join([*lines, *_search(cells)]), problem.answer)


def _sign(place: Place) -> str:
    return _SIGNS[place[0] * _WIDTH + place[1]]


def _search(cells: dict[Place, str]) -> Iterator[str]:
    """A line for each place in the order of their numbers; what has been met is no `.` any more."""
    queue = [(place, 0) for place, known in cells.items() if known == "000"]
    for number, (place, away) in enumerate(queue):  # the queue grows while it is gone through
        line = f"{number:02}{_sign(place)}{away}:"
        for down, right in _AROUND.values():
            neighbour = place[0] + down, place[1] + right
            if neighbour not in cells:
                continue
            known = cells[neighbour]
            line += _sign(neighbour)
            if known == "*":
                yield f"{line}*"
                yield f"{away}+1={away + 1}"
                return
            if known == ".":
                line += f"{len(queue):02}{(away + 1) % 10}"
                cells[neighbour] = "-"
                queue.append((neighbour, away + 1))
            else:
                line += "#" if known == "#" else "-"
        yield line


def _seen(grid: list[str], problem: Problem) -> Iterator[str]:
    metadata = problem.metadata
    (start,), (goal,) = (
        [(r, line.index(metadata[kind])) for r, line in enumerate(grid) if metadata[kind] in line]
        for kind in ("start", "goal")
    )
    yield f"{_numbers(start)}-{_numbers(goal)}"
    apart = [add(max(a, b), -min(a, b)) for a, b in zip(start, goal, strict=True)]
    yield from (step.text for step in apart)
    yield add(apart[0].value, apart[1].value).text
    way, place = "", start
    for number, arrow in enumerate(_shortest(grid, start, goal, metadata["wall"]), 1):
        way += f"{_numbers(place)}{arrow}{number},"
        place = place[0] + _AROUND[arrow][0], place[1] + _AROUND[arrow][1]
    yield f"{way}{_numbers(goal)}"


def _numbers(place: Place) -> str:
    return f"{place[0]:02}{place[1]:02}"


def _shortest(grid: list[str], start: Place, goal: Place, wall: str) -> str:
    """The arrows of a shortest way: at every place the first of the four that comes nearer."""
    away, queue = {goal: 0}, [goal]
    for place in queue:
        for before in ((place[0] - down, place[1] - right) for down, right in _AROUND.values()):
            if before not in away and grid[before[0]][before[1]] != wall:
                away[before] = away[place] + 1
                queue.append(before)
        if start in away and away[place] >= away[start]:
            break
    arrows, place = "", start
    while place != goal:
        for arrow, (down, right) in _AROUND.items():
            onward = place[0] + down, place[1] + right
            if away.get(onward, away[place]) < away[place]:
                arrows, place = arrows + arrow, onward
                break
    return arrows
