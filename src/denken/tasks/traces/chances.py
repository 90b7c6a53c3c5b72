"""Thoughts about dice: outcomes are counted by taking away what each die cannot show, then the fraction is reduced."""

from __future__ import annotations

import re
from math import comb

from denken.tasks.base import Demonstration
from denken.tasks.traces import digits, longhand
from denken.types import Problem

_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23)


def dice(problem: Problem) -> Demonstration:
    """How many outcomes are below the target, or at least it, whichever are fewer; then their share of all.

    With n dice the ways to be `left` or less short of the highest sum (or above the lowest) would be "left + n over n"
    if dice had no end: those numbers (1, 5, 15, 35, 70, ... for four dice) are a table to know by heart. A die that
    would have to go past its end takes away as many as are left after its size, two such dice give back, and so on.
    `1d20, 1d18, 1d12, 1d2`, 23 or higher:
        20+18=38+12=50+2=52
        52-23=29 23-4-1=18
        18 below
        20>18
        0+18=18-
        0+12=12- 18+12=30>18
        0+2=2- 18+2=20>18 12+2=14+
        18-0=18:7315
        18-18=0:1 7315-1[5-1=4,1-0=1,3-0=3,7-0=7]=7314
        18-12=6:210 7314-210[...]=7104
        18-2=16:4845 7104-4845[...]=2259
        18-14=4:70 2259+70[...]=2329
        20*18...=360
        360*12...=4320
        4320*2...=8640
        8640-2329[...]=6311
        6311/2[...]=3155r1
        6311/3[...]=2103r2
        6311/5[...]=1262r1
        =6311/8640
    """
    puzzle = problem.metadata["puzzle"]
    sizes, target = [int(size) for size in re.findall(r"1d(\d+)", puzzle["dice_str"])], int(puzzle["target"])
    highest, count = sum(sizes), len(sizes)
    short, above = highest - target, target - count - 1
    left, below = (above, True) if above < short else (short, False)
    lines = [_chain(sizes), f"{highest}-{target}={short} {target}-{count}-1={above}"]
    lines.append(f"{left} {'below' if below else 'from'}")
    more, terms = _past_the_end(sizes, left)
    lines += more
    more, ways = _inclusion(terms, left, count)
    lines += more
    more, outcomes = _outcomes(sizes)
    lines += more
    if below:
        line, ways = digits.add(outcomes, -ways)
        lines.append(line)
    more, ways, outcomes = _reduced(ways, outcomes, sizes)
    return Demonstration("\n".join([*lines, *more, f"={ways}/{outcomes}"]), f"{ways}/{outcomes}")


def _chain(sizes: list[int]) -> str:
    """`20+18=38+12=50+2=52`"""
    total, written = sizes[0], str(sizes[0])
    for size in sizes[1:]:
        total += size
        written += f"+{size}={total}"
    return written


def _past_the_end(sizes: list[int], left: int) -> tuple[list[str], list[tuple[int, int]]]:
    """A line a die: its size added to each sum so far, the sign turned; what is more than `left` is dropped."""
    lines, terms = [], [(0, 1)]
    for size in sizes:
        if size > left:
            lines.append(f"{size}>{left}")
            continue
        marks, new = [], []
        for total, sign in terms:
            fits = total + size <= left
            marks.append(f"{total}+{size}={total + size}{('-' if sign > 0 else '+') if fits else f'>{left}'}")
            new += [(total + size, -sign)] if fits else []
        lines.append(" ".join(marks))
        terms += new
    return lines, terms


def _inclusion(terms: list[tuple[int, int]], left: int, count: int) -> tuple[list[str], int]:
    lines, ways = [], 0
    for total, sign in terms:
        known = comb(left - total + count, count)
        line = f"{left}-{total}={left - total}:{known}"
        if ways:
            line += f" {digits.add(ways, sign * known).text}"
        ways += sign * known
        lines.append(line)
    return lines, ways


def _outcomes(sizes: list[int]) -> tuple[list[str], int]:
    lines, product = [], sizes[0]
    for size in sizes[1:]:
        line, product = longhand.product(product, size)
        lines.append(line)
    return lines, product


def _reduced(above: int, below: int, sizes: list[int]) -> tuple[list[str], int, int]:
    """Both numbers over each prime of the dice, as often as it divides the first without rest, and the second."""
    lines: list[str] = []
    for prime in _PRIMES:
        while any(size % prime == 0 for size in sizes):
            line, quotient, remainder = digits.divide(above, prime)
            lines.append(line)
            if remainder:
                break
            line, other, remainder = digits.divide(below, prime)
            lines.append(line)
            if remainder:
                break
            above, below = quotient, other
    return lines, above, below
