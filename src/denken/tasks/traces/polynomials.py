"""Thoughts for polynomial equations up to the third degree: real roots to four places."""

from __future__ import annotations

import re

from denken.tasks.base import Demonstration
from denken.tasks.traces import decimals, digits, longhand
from denken.tasks.traces.decimals import Fixed
from denken.tasks.traces.roots import cubic_root, square_root
from denken.types import Problem

_TERM = re.compile(r"(?P<sign>[+-]?) ?(?P<number>\d+)?\*?(?P<power>[a-z](?:\*\*(?P<exponent>\d))?)?")
_LARGE = 20  # a divisor from which a square root to three places gives four


def polynomial_equations(problem: Problem) -> Demonstration:
    """The numbers by falling powers; x is taken out as often as it can be, then the rest is solved by its degree.

    `45*p**3 - 16*p**2 - 47*p = 0`, long lines shortened:
        x3 45,x2 -16,x1 -47,x0 0
        x=0
        x2 45,x1 -16,x0 -47
        bb 16*16...=256
        ac 45*47...=2115
        2115*4[...]=8460
        256+8460[...]=8716
        8716/4[...]=2179r0
        16/2[...]=8r0
        2179
        21:4*4=16 21-16[...]=5
        ...
        .3=46.679
        8.0-46.679 and 8.0+46.679, each over 45
        -0.8596,0.0,1.2151
    A factor of the highest power below 0 turns all signs first. See roots.py for cubics; the few that are not done in
    short are tabled, at a length that nothing can learn from.
    """
    numbers = _numbers(problem.metadata["polynomial_expr"])
    lines, roots = [_named(numbers)], []
    if numbers[-1] == 0:
        lines.append("x=0")
        roots.append("0.0")
        while len(numbers) > 1 and numbers[-1] == 0:
            numbers = numbers[:-1]
        lines.append(_named(numbers))
    if numbers[0] < 0 and len(numbers) > 1:
        numbers = [-number for number in numbers]
        lines.append(f"- {_named(numbers)}")
    work, found = _solve(numbers)
    lines += [work] if work else []
    roots += [_four_places(root) for root in found]
    roots.sort(key=float)
    if len(numbers) == 4 and len(roots) != len(problem.metadata["real_solutions"]):
        return Demonstration(_table(numbers), problem.answer)
    return Demonstration("\n".join([*lines, *([",".join(roots)])]), ", ".join(roots))


def _numbers(expression: str) -> list[int]:
    """The factors by falling powers: `58 - 84*l` is [-84, 58]."""
    found: dict[int, int] = {}
    for match in _TERM.finditer(expression):
        if match["number"] or match["power"]:
            exponent = int(match["exponent"] or 1) if match["power"] else 0
            found[exponent] = int(f"{match['sign']}{match['number'] or 1}")
    return [found.get(power, 0) for power in range(max(found, default=0), -1, -1)]


def _named(numbers: list[int]) -> str:
    return ",".join(f"x{len(numbers) - 1 - i} {number}" for i, number in enumerate(numbers))


Solved = tuple[str, list[Fixed]]


def _solve(numbers: list[int]) -> Solved:
    if len(numbers) == 1:
        return "", []
    if len(numbers) == 2:
        return _linear(*numbers)
    return _quadratic(*numbers) if len(numbers) == 3 else _cubic(*numbers)


def _linear(a: int, b: int) -> Solved:
    line, root = _over(Fixed(-b, 0), a)
    return line, [root]


def _over(number: Fixed, a: int) -> tuple[str, Fixed]:
    line, root = decimals.divide(number, Fixed(a, 0), 5)
    return f"{line} {_four_places(root)}", root


def _four_places(root: Fixed) -> str:
    """Rounded, half away from 0."""
    units = (abs(root.units) + 5) // 10
    return str(Fixed(-units if root.units < 0 else units, 4))


def _quadratic(a: int, b: int, c: int) -> Solved:
    """-b/2, less and plus the square root of bb/4 - ac, over a."""
    lines = [f"ac {longhand.product(a, abs(c)).text}"]
    if b == 0:
        if c > 0:
            return f"{a},{c} no root", []
        line, root = square_root(-a * c, 4 if a < _LARGE else 3)
        quotient, value = _over(root, a)
        return "\n".join([*lines, line, quotient]), [Fixed(-value.units, 5), value]
    lines.insert(0, f"bb {longhand.product(abs(b), abs(b)).text}")
    fourfold = longhand.times_digit(a * abs(c), 4)
    line, left = digits.add(b * b, -4 * a * c)
    lines += [fourfold.text, line]
    if left < 0:
        return "\n".join([*lines, "no root"]), []
    line, quarter, rest = digits.divide(left, 4)
    halved, half, odd = digits.divide(abs(b), 2)
    work, root = square_root(quarter, 4 if a < _LARGE else 3, 25 * rest)
    middle = Fixed((10 * half + 5 * odd) * (-1 if b > 0 else 1), 1)
    lines += [line, halved, work]
    found = []
    for units in (-root.units, root.units) if root.units else (0,):
        line, above = decimals.add(middle, Fixed(units, root.places))
        quotient, value = _over(above, a)
        lines += [line, quotient]
        found.append(value)
    return "\n".join(lines), found


def _cubic(a: int, b: int, c: int, d: int) -> Solved:
    """A root below 0 (where d is above it) is found as that of the cubic of -x."""
    lines = []
    if d > 0:
        b, d = -b, -d
        lines.append(f"-x {_named([a, b, c, d])}")
        work, found = _cubic(a, b, c, d)
        return "\n".join([*lines, work]), [Fixed(-root.units, root.places) for root in found]
    solved = cubic_root(a, b, c, d)
    return (solved[0], [solved[1]]) if solved else ("", [])


def _table(numbers: list[int]) -> str:
    """Values at every hundredth from -10 to 10: between the signs that differ are the roots."""
    a, b, c, d = numbers
    return "\n".join(f"{x / 100}:{((a * x + 100 * b) * x + 10**4 * c) * x + 10**6 * d}" for x in range(-1000, 1001))
