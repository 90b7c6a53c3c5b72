"""Thoughts that count primes: a table known by heart, and what follows from it."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from functools import cache
from math import isqrt
from string import ascii_lowercase

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add
from denken.types import Problem

_MOST = 50_000  # how far the published configurations go


def count_primes(problem: Problem) -> Demonstration:
    """How many there are up to the end, less how many come before the start, each from its hundred.

    A line has the hundred, how many primes come before it, and those in it as far as they count: their last two digits
    and a letter that counts them. Both are known rather than worked out: 12 primes or so in each hundred.

    Between 2210 and 6817:
        22:327;03a07b
        327+2[7+2=9,2+0=2,3+0=3]=329
        68:875;03a
        875+1[5+1=6,7+0=7,8+0=8]=876
        876-329[16-9=7,6-2=4,8-3=5]=547
    """
    start, end = problem.metadata["start"], problem.metadata["end"]
    first, before = _up_to(start - 1)
    second, through = _up_to(end)
    difference = add(through, -before)
    return Demonstration("\n".join([*first, *second, difference.text]), problem.answer)


def _up_to(number: int) -> tuple[list[str], int]:
    """The lines that count the primes up to `number`, and their count."""
    primes = _primes(max(_MOST, number))
    hundred = number // 100
    known, count = bisect_left(primes, 100 * hundred), bisect_right(primes, number)
    counted = "".join(f"{p % 100:02d}{letter}" for p, letter in zip(primes[known:count], ascii_lowercase, strict=False))
    sum_of_both = add(known, count - known)
    return [f"{hundred}:{known};{counted}", *([sum_of_both.text] if counted else [])], count


@cache
def _primes(most: int) -> list[int]:
    """All primes up to `most`, by Eratosthenes' sieve."""
    sieve = bytearray([0, 0]) + bytearray([1]) * (most - 1)
    for p in range(2, isqrt(most) + 1):
        if sieve[p]:
            sieve[p * p :: p] = bytes(len(range(p * p, most + 1, p)))
    return [number for number in range(most + 1) if sieve[number]]
