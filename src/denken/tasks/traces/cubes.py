"""A turned cube, move by move back to one colour a side."""

from __future__ import annotations

import re
from functools import cache
from itertools import product

from denken.errors import ConfigError
from denken.tasks.base import Demonstration
from denken.types import Problem

Vector = tuple[int, int, int]

_SOLVED = "".join(colour * 9 for colour in "YRGOBW")
_MOVES = [f"{side}{turn}" for side in "ULFRBD" for turn in ("", "'")]
_NEAR = 4  # moves from the solved cube: so far the way is the shortest one
# Which way a side looks, and how its rows and columns run: the vectors to the next row and to the next column.
_SIDES: dict[str, tuple[Vector, Vector, Vector]] = {
    "U": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "L": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),
    "F": ((0, 0, 1), (0, -1, 0), (1, 0, 0)),
    "R": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
    "B": ((0, 0, -1), (0, -1, 0), (-1, 0, 0)),
    "D": ((0, -1, 0), (0, 0, -1), (1, 0, 0)),
}


def rubiks_cube(problem: Problem) -> Demonstration:
    """The six sides row by row, a move, the sides after it, until each is of one colour.

        U:YYY,YYY,RRR
        L:RRW,RRW,RRW
        F:GGG,GGG,GGG
        R:YOO,YOO,YOO
        B:BBB,BBB,BBB
        D:OOO,WWW,WWW
        F'
        U:YYY,YYY,YYY ...

    Within four moves of the end the way is the shortest one, the first in the order U L F R B D. Farther away, what
    was turned last is turned back: such a cube can hardly be solved at a glance, but in part. Cubes of size 3 only.
    """
    if problem.metadata["cube_size"] != 3:
        raise ConfigError("rubiks_cube: only cubes of size 3 have worked solutions; set cube_size = 3.")
    cube = _read(problem.prompt)
    turned: list[str] = problem.metadata["scramble_moves"].split()
    lines, moves = [_written(cube)], list[str]()
    while cube != _SOLVED:
        move = _way().get(cube) or _back(turned.pop())
        cube = _after(cube, move)
        moves.append(move)
        lines += [move, _written(cube)]
    return Demonstration("\n".join(lines), " ".join(moves) or "U U'")


def _read(prompt: str) -> str:
    """The 54 colours side by side, U L F R B D, from the unfolded cube."""
    rows = [re.findall("[A-Z]", line) for line in prompt.split("\n") if re.fullmatch(r" *(?:[A-Z] *)+", line)]
    middle = ["".join("".join(row[i : i + 3]) for row in rows[3:6]) for i in range(0, 12, 3)]
    return "".join(["".join(map("".join, rows[:3])), *middle, *map("".join, rows[6:9])])


def _written(cube: str) -> str:
    sides = (cube[i : i + 9] for i in range(0, 54, 9))
    return "\n".join(f"{name}:{s[:3]},{s[3:6]},{s[6:]}" for name, s in zip("ULFRBD", sides, strict=True))


def _back(move: str) -> str:
    return move[0] if move.endswith("'") else f"{move}'"


def _after(cube: str, move: str) -> str:
    return "".join(map(cube.__getitem__, _sources()[move]))


@cache
def _sources() -> dict[str, list[int]]:
    """For each move, from where each of the 54 colours comes."""
    places = [(_place(side, i, j), side[0]) for side in _SIDES.values() for i, j in product((-1, 0, 1), repeat=2)]
    index = {place: i for i, place in enumerate(places)}
    sources = {}
    for side, (axis, _, _) in _SIDES.items():
        there = list(range(54))
        for i, (at, normal) in enumerate(places):
            if _dot(at, axis) == 1:
                there[index[_quarter(at, axis), _quarter(normal, axis)]] = i
        sources[side] = there
        sources[f"{side}'"] = [there[there[i]] for i in there]
    return sources


def _place(side: tuple[Vector, Vector, Vector], row: int, column: int) -> Vector:
    """Where a sticker sits, from -1 to 1 on each axis."""
    (x, y, z), (a, b, c), (d, e, f) = side
    return x + row * a + column * d, y + row * b + column * e, z + row * c + column * f


def _dot(a: Vector, b: Vector) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _quarter(v: Vector, axis: Vector) -> Vector:
    """v after a quarter turn about the axis, clockwise for who looks at that side from outside."""
    (x, y, z), (a, b, c), along = v, axis, _dot(v, axis)
    return y * c - z * b + a * along, z * a - x * c + b * along, x * b - y * a + c * along


@cache
def _way() -> dict[str, str]:
    """The move to make from each cube that is near the solved one, along a shortest way."""
    way, layer = {_SOLVED: ""}, [_SOLVED]
    for _ in range(_NEAR):
        following = []
        for cube in layer:
            for move in _MOVES:
                before = _after(cube, _back(move))
                if before not in way:
                    way[before] = move
                    following.append(before)
        layer = following
    return way
