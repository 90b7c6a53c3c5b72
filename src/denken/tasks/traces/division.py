"""Thoughts that go by division: common divisors and multiples, changes of base, prime factors."""

from __future__ import annotations

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import divide, multiply, remainder
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
    """Horner's rule into decimal, then repeated division by the target base; the remainders are read upwards."""
    source, target = problem.metadata["source_base"], problem.metadata["target_base"]
    # The library writes 0 in most bases as nothing at all.
    digits = [DIGITS.index(c) for c in problem.metadata["source_repr"].lower()] or [0]
    lines, value = [], digits[0]
    if source != 10:
        for digit in digits[1:]:
            lines.append(_horner(value, source, digit))
            value = value * source + digit
        lines.append(f"={value}")
    else:
        value = int(problem.metadata["source_repr"] or 0)
    if target != 10:
        left = value
        while left:
            line = f"{left}/{target}={left // target}r{left % target}"
            lines.append(divide(left, target)[0] if target > 10 else line)
            left //= target
    return Demonstration("\n".join(lines or [str(value)]), problem.answer)


def _horner(value: int, base: int, digit: int) -> str:
    """One step of Horner's rule; above ten the base is taken as ten and the rest: `47*13=470+141=611+11=622`."""
    if base < 10:
        return f"{value}*{base}+{digit}={value * base + digit}"
    parts = f"{value * 10}+{value * (base - 10)}={value * base}"
    return f"{value}*{base}={parts}+{digit}={value * base + digit}"


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
