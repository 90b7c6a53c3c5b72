"""Thoughts for triangles by coordinates: where altitudes meet, the radius of the incircle, an angle.

All three begin with differences of coordinates, and take products of those. The angle is found by turning: a table has
the angles whose tangents are tenths and hundredths, and what is left is as good as its own tangent.
"""

from __future__ import annotations

import math

from denken.tasks.base import Demonstration
from denken.tasks.traces import decimals, digits, longhand
from denken.tasks.traces.decimals import Fixed
from denken.tasks.traces.roots import longer_root, rounded_quotient, shortened_quotient
from denken.types import Problem

Point = tuple[int, int]

_TENTHS = [round(math.degrees(math.atan(i / 10)) * 10**5) for i in range(11)]
_HUNDREDTHS = [round(math.degrees(math.atan(i / 100)) * 10**5) for i in range(10)]
_LEFT_DIGITS = 9  # of the number by which the last, small tangent is divided


def advanced_geometry(problem: Problem) -> Demonstration:
    """The three kinds of question; see the functions below."""
    a, b, c = ((int(problem.metadata[name][0]), int(problem.metadata[name][1])) for name in "ABC")
    work = _Work()
    answer = {"orthocenter": _orthocenter, "incircle_radius": _incircle_radius, "angle_measure": _angle}[
        problem.metadata["task_type"]
    ](work, a, b, c)
    return Demonstration("\n".join(work.lines), answer)


class _Work:
    """The lines so far, and ways to write the next ones."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def less(self, x: int, y: int) -> int:
        line, value = digits.add(x, -y)
        self.lines.append(f"{x}--{-y}={line}" if y < 0 else line)
        return value

    def plus(self, x: int, y: int) -> int:
        line, value = digits.add(x, y)
        self.lines.append(line)
        return value

    def side(self, name: str, start: Point, end: Point) -> Point:
        """The way from one corner to another: both differences, then the name and both numbers."""
        x, y = self.less(end[0], start[0]), self.less(end[1], start[1])
        self.lines.append(f"{name} {x} {y}")
        return x, y

    def times(self, x: int, y: int) -> int:
        """The product of the numbers without signs, then with its sign where that is a minus."""
        value = x * y
        if not value:
            self.lines.append(f"{x}*{y}=0")
            return 0
        text = longhand.product(abs(x), abs(y)).text
        signed = f"{x}*{y}:" if x < 0 or y < 0 else ""
        self.lines.append(f"{signed}{text}{f' {value}' if value < 0 else ''}")
        return value

    def dot(self, u: Point, v: Point) -> int:
        self.lines.append("dot")
        return self.plus(self.times(u[0], v[0]), self.times(u[1], v[1]))

    def cross(self, u: Point, v: Point) -> int:
        self.lines.append("cross")
        return self.less(self.times(u[0], v[1]), self.times(u[1], v[0]))

    def add(self, a: Fixed, b: Fixed) -> Fixed:
        line, value = decimals.add(a, b)
        self.lines.append(line)
        return value


def _orthocenter(work: _Work, a: Point, b: Point, c: Point) -> str:
    """From C: with the ways u to A and v to B, dot(u, v) / cross(u, v) times (vy - uy, ux - vx).

    `A=(3, 4), B=(-3, 6), C=(4, 1)`, each line short of its columns:
        CA -1 3
        CB -7 5
        dot 7+15=22
        cross -5+21=16
        5-3=2
        22*2=44
        44/16 = 2.7500 2.750, 4+2.750=6.750
        ...
    """
    u, v = work.side("CA", c, a), work.side("CB", c, b)
    dot, cross = work.dot(u, v), work.cross(u, v)
    found = []
    for start, first, second in ((c[0], v[1], u[1]), (c[1], u[0], v[0])):
        above = work.times(dot, work.less(first, second))
        line, value = decimals.divide(Fixed(above, 0), Fixed(cross, 0), 4)
        exact = above * 10**4 % cross == 0
        value = _rounded(value, 3, exact)
        work.lines.append(f"{line} {value}")
        found.append(work.add(Fixed(start, 0), value))
    return f"({found[0]}, {found[1]})"


def _rounded(value: Fixed, places: int, exact: bool = False) -> Fixed:
    """Half away from 0; a half that is exact goes to the even digit."""
    unit = 10 ** (value.places - places)
    kept, rest = divmod(abs(value.units), unit)
    up = 2 * rest > unit or (2 * rest == unit and (not exact or kept % 2 == 1))
    kept += up
    return Fixed(-kept if value.units < 0 else kept, places)


def _incircle_radius(work: _Work, a: Point, b: Point, c: Point) -> str:
    """Twice the area, which is the cross product of two sides, over the sum of the three lengths."""
    sides = work.side("AB", a, b), work.side("BC", b, c), work.side("CA", c, a)
    area = abs(work.cross(sides[0], sides[1]))
    total = Fixed(0, 5)
    for number, (x, y) in enumerate(sides):
        line, length = longer_root(work.plus(work.times(x, x), work.times(y, y)))
        work.lines.append(line)
        total = work.add(total, length) if number else length
    divisor, wanted, above = total.to(5).units, 5, area * 10**5
    if above >= 10 * divisor:
        divisor, wanted = 10 * divisor, 6
    work.lines.append(f"{area}/{total}")
    line, found = shortened_quotient(above, divisor, wanted)
    radius = _rounded(Fixed(found, 4), 3)
    work.lines.append(f"{line} {Fixed(found, 4)} {radius}")
    return str(radius)


def _angle(work: _Work, a: Point, b: Point, c: Point) -> str:
    """The tangent is cross over dot, or for the angle that is missing from a right one the other way round.

    The smaller number y over the larger x is the tangent of some tenths, and a little: turned back by the table's
    angle it is (10y - tenths * x) / (10x + tenths * y); the same again with hundredths. Six places of what is left,
    times 57.3 degrees, are added to both angles, each with its sign.
    """
    u, v = work.side("BA", b, a), work.side("BC", b, c)
    dot, cross = work.dot(u, v), abs(work.cross(u, v))
    y, x = sorted((abs(dot), cross))
    work.lines.append(f"{y}/{x}")
    angle = _arctangent(work, y, x)
    steep = cross > abs(dot)
    if steep:
        angle = work.add(Fixed(9000000, 5), Fixed(angle.units if dot < 0 else -angle.units, 5))
    elif dot < 0:
        angle = work.add(Fixed(18000000, 5), Fixed(-angle.units, 5))
    rounded = _rounded(angle, 2)
    work.lines.append(f"{angle} {rounded}")
    return f"{rounded}°"


def _arctangent(work: _Work, y: int, x: int) -> Fixed:
    """Of y/x from 0 to 1, in degrees with five places."""
    if not y:
        return Fixed(0, 5)
    y, x, first = _turned(work, y, x, 10, _TENTHS)
    if not y:
        return first
    sign = 1 if y > 0 else -1
    y, x, second = _turned(work, abs(y), x, 100, _HUNDREDTHS)
    if y:
        tens = 10 ** max(_LEFT_DIGITS - len(str(x)), 0)
        line, tangent = shortened_quotient(abs(y) * tens, x * tens // 1000, 4)
        work.lines += [line, longhand.product(tangent, 573).text]
        rest = tangent * 573 // 100
        work.lines.append(str(Fixed(rest, 5)))
        second = work.add(second, Fixed(rest if y > 0 else -rest, 5))
    return work.add(first, Fixed(sign * second.units, 5))


def _turned(work: _Work, y: int, x: int, parts: int, table: list[int]) -> tuple[int, int, Fixed]:
    """y and x after turning back by the angle whose tangent is so many tenths or hundredths, and that angle."""
    line, count = rounded_quotient(y * parts, x)
    count = min(count, len(table) - 1)
    angle = Fixed(table[count], 5)
    work.lines.append(f"{line}\n{Fixed(count, 1 if parts == 10 else 2)} {angle}")
    if not count:
        return y * parts, x * parts, angle
    return work.less(y * parts, work.times(x, count)), work.plus(x * parts, work.times(y, count)), angle
