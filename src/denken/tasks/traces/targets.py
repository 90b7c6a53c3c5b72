"""Thoughts that make a number out of others: from both ends, until they meet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from denken.tasks.base import Demonstration
from denken.types import Problem

_MAX = 100


class Chain(NamedTuple):
    """An expression that is worked from the left, and whether its last sign is a sum's.

    >>> Chain("3+8", True).then("*", 5)
    Chain(text='(3+8)*5', sum=False)
    """

    text: str
    sum: bool = False

    def then(self, sign: str, number: int) -> Chain:
        """One sign and one number more."""
        if sign in "+-":
            return Chain(f"{self.text}{sign}{number}", True)
        return Chain(f"({self.text}){sign}{number}" if self.sum else f"{self.text}{sign}{number}")


def _results(a: int, b: int) -> Iterator[tuple[str, int]]:
    """What a makes with b behind it, whole numbers only."""
    yield "+", a + b
    yield "-", a - b
    yield "*", a * b
    if b and a % b == 0:
        yield "/", a // b


def _before(target: int, b: int) -> Iterator[tuple[str, int]]:
    """From which number b leads to the target, by which sign."""
    yield "+", target - b
    yield "-", target + b
    if target % b == 0:
        yield "*", target // b
    yield "/", target * b


def puzzle24(problem: Problem) -> Demonstration:
    """The numbers in their order: what the first two make, what has to stand before the last, and before the third.

        3 8 5 8
        3+8=11 3-8=-5 3*8=24
        16+8 32-8 3*8 192/8      each is 24
        11+5!                    is 16, and 11 is there
        3+8+5+8

    A line for each number in turn, `7+5 17-5 60/5`: none of these is there. What is above 100, or below -9, no two
    numbers make; it is left out.
    """
    a, b, c, d = problem.metadata["numbers"]
    made = dict[int, str]()
    written = []
    for sign, value in _results(a, b):
        made.setdefault(value, sign)
        written.append(f"{a}{sign}{b}={value}")
    wanted = list(_before(24, d))
    lines = [f"{a} {b} {c} {d}", " ".join(written), " ".join(f"{value}{sign}{d}" for sign, value in wanted)]
    for last, target in wanted:
        line = []
        for sign, value in _before(target, c):
            if not -9 <= value <= _MAX:
                continue
            line.append(f"{value}{sign}{c}")
            if value in made:
                answer = Chain(str(a)).then(made[value], b).then(sign, c).then(last, d).text
                return Demonstration("\n".join([*lines, f"{' '.join(line)}!", answer]), answer)
        lines.append(f"{target}: {' '.join(line)}")
    return Demonstration("\n".join(lines), problem.answer)
