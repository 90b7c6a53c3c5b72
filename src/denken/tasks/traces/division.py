"""Thoughts that go by division: common divisors and multiples, changes of base, prime factors."""

from __future__ import annotations

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add, divide, multiply, remainder
from denken.tasks.traces.longhand import times_digit
from denken.types import Problem

DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def euclid(a: int, b: int) -> tuple[list[str], int]:
    """The lines of Euclid's algorithm, larger number first, and the common divisor; it stops at 0 or 1."""
    a, b = max(a, b), min(a, b)
    lines = []
    while b > 1:
        line, left = remainder(a, b)
        lines.append(line)
        a, b = b, left
    return lines, (a if b == 0 else 1)


def gcd(problem: Problem) -> Demonstration:
    """Euclid's algorithm over the numbers from the left."""
    value, *rest = problem.metadata["numbers"]
    lines: list[str] = []
    for number in rest:
        more, value = euclid(value, number)
        lines += more
    return Demonstration("\n".join([*lines, f"gcd {value}"]), problem.answer)


def lcm(problem: Problem) -> Demonstration:
    """The first number over the common divisor, times the second."""
    value, *rest = problem.metadata["numbers"]
    lines: list[str] = []
    for number in rest:
        more, divisor = euclid(value, number)
        line, share, _ = divide(value, divisor)
        product = multiply(share, number)
        lines += [*more, f"gcd {divisor}", line, product.text]
        value = product.value
    return Demonstration("\n".join(lines), problem.answer)


def base_conversion(problem: Problem) -> Demonstration:
    """Horner's rule into decimal, then repeated division by the target base; the remainders are read upwards.

    4135 from base 6 to base 5 begins with `4*6+1=25`, `25*6+3[5*6+3=33,2*6+3=15]=153`, and after `=923` come
    `923/5[9/5=1r4,42/5=8r2,23/5=4r3]=184r3`, `184/5[18/5=3r3,34/5=6r4]=36r4` and so on.
    """
    source, target = problem.metadata["source_base"], problem.metadata["target_base"]
    # The library writes 0 in most bases as nothing at all.
    digits = [DIGITS.index(c) for c in problem.metadata["source_repr"].lower()] or [0]
    lines, value = [], digits[0]
    if source != 10:
        for digit in digits[1:]:
            lines += _horner(value, source, digit)
            value = value * source + digit
        lines.append(f"={value}")
    else:
        value = int(problem.metadata["source_repr"] or 0)
    if target != 10:
        left = value
        while left:
            lines.append(divide(left, target)[0])
            left //= target
    return Demonstration("\n".join(lines or [str(value)]), problem.answer)


def _horner(value: int, base: int, digit: int) -> list[str]:
    """The lines of one step of Horner's rule; above ten the base is taken as ten and the rest, and what comes is added.

    47*13+11 is `47*3[7*3=21,4*3+2=14]=141`, `470+141[...]=611`, `611+11[...]=622`.
    """
    if base < 10:
        glance = f"{value}*{base}+{digit}={value * base + digit}"
        return [glance if value < 10 else times_digit(value, base, digit).text]
    rest = multiply(value, base - 10)
    return [rest.text, add(value * 10, rest.value).text, add(value * base, digit).text]


def prime_factorization(problem: Problem) -> Demonstration:
    """Trial division by 2, 3, 5, 7, 11, ...; it stops once the square of the next prime is larger than what is left."""
    left, prime, lines = problem.metadata["number"], 2, []
    while prime * prime <= left:
        lines.append(f"{left}/{prime}={left // prime}r{left % prime}")
        if left % prime:
            prime = _next_prime(prime)
        else:
            left //= prime
    lines.append(f"{left}<{prime}*{prime}")
    return Demonstration("\n".join(lines), problem.answer)


def primality(problem: Problem) -> Demonstration:
    """Trial division up to the first divisor, or until the square of the next prime is larger than the number."""
    number, prime, lines = problem.metadata["number"], 2, []
    while prime * prime <= number:
        lines.append(f"{number}/{prime}={number // prime}r{number % prime}")
        if number % prime == 0:
            return Demonstration("\n".join(lines), problem.answer)
        prime = _next_prime(prime)
    return Demonstration("\n".join([*lines, f"{number}<{prime}*{prime}"]), problem.answer)


def _next_prime(prime: int) -> int:
    candidate = prime + 1
    while any(candidate % d == 0 for d in range(2, candidate)):
        candidate += 1
    return candidate
