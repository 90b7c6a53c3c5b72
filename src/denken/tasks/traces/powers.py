"""Thoughts for powers to three significant figures: six leading digits are carried, and no more.

A number is its six leading digits and the power of ten of the first: `103086 e2` is 103.086. A product of two such is
a short multiplication from the left: for every further digit of the second factor the first loses its last digit, so
that all rows stand under one another. What is cut off comes to 11 units on average, with which the first row begins.
"""

from __future__ import annotations

from typing import NamedTuple

from denken.tasks.base import Demonstration
from denken.tasks.traces.longhand import quotient_digit, times_digit
from denken.types import Problem

_DIGITS = 6
_CUT_OFF = 11
_WANTED = 3


class Leading(NamedTuple):
    """A positive number by its leading digits: `digits` is `_DIGITS` long, `exponent` the first one's power of ten."""

    digits: int
    exponent: int

    def __str__(self) -> str:
        return f"{self.digits} e{self.exponent}"


def power_function(problem: Problem) -> Demonstration:
    """Squares, and products with the base, by the exponent's binary digits; then one over it where it is negative.

    One answer in a hundred is not exact enough. `-5.2^-3`, long lines shortened:
        520000 e0
        3=11
        ^2
        520000*5+11[0*5+1=1,0*5+1=1,0*5=0,0*5=0,2*5=10,5*5+1=26]=2600011
        52000*2+2600011[0*2+1=1,0*2+1=1,0*2=0,2*2=4,5*2=10,1+26=27]=2704011
        0+0+1=1
        =270401 e1
        *520000 e0
        270401*5+11[...]=1352016
        27040*2+1352016[...]=1406096
        1+0+1=2
        =140609 e2
        1/140609
        1000000:100/14=7 140609*7[...]=984263 1000000-984263[...]=15737
        15737:15/14=1 15737-14060[...]=1677
        1677:16/14=1 1677-1406[...]=271
        271:27/14=1 271-140[...]=131
        -2-1=-3
        =711100 e-3
        711|1
    """
    base, exponent = float(problem.metadata["base"]), int(problem.metadata["exponent"])
    if exponent == 0:
        return Demonstration("^0=1", "1.00e+0")
    sign = "-" if base < 0 and exponent % 2 else ""
    value = start = _leading(base)
    lines = [str(start)]
    if abs(exponent) > 1:
        lines.append(f"{abs(exponent)}={abs(exponent):b}")
    for bit in f"{abs(exponent):b}"[1:]:
        line, value = _product(value, value)
        lines += ["^2", line]
        if bit == "1":
            line, value = _product(value, start)
            lines += [f"*{start}", line]
    if exponent < 0:
        line, value = _reciprocal(value)
        lines.append(line)
    line, answer = _rounded(value)
    return Demonstration("\n".join([*lines, line]), sign + answer)


def _leading(number: float) -> Leading:
    written = f"{abs(number):.4f}".replace(".", "").lstrip("0")
    return Leading(int(written.ljust(_DIGITS, "0")[:_DIGITS]), len(written) - 5)


def _product(a: Leading, b: Leading) -> tuple[str, Leading]:
    """The rows of a * b, the sum of the exponents, one more where a seventh digit came, and the six leading digits."""
    rows, total, shortened = [], _CUT_OFF, a.digits
    for digit in str(b.digits):
        if digit != "0":
            line, total = times_digit(shortened, int(digit), total)
            rows.append(line)
        shortened //= 10
    longer = len(str(total)) - _DIGITS
    value = Leading(total // 10**longer, a.exponent + b.exponent + longer)
    exponents = f"{a.exponent}+{b.exponent}{f'+{longer}' if longer else ''}={value.exponent}"
    return "\n".join([*rows, exponents, f"={value}"]), value


def _reciprocal(a: Leading) -> tuple[str, Leading]:
    """Four digits of 1/a: instead of bringing down zeros, the divisor loses its last digit for each further one."""
    if a.digits == 10 ** (_DIGITS - 1):
        return f"1/{a.digits}\n={a.digits} e{-a.exponent}", Leading(a.digits, -a.exponent)
    lines, left, found = [f"1/{a.digits}"], 10**_DIGITS, ""
    for divisor in (a.digits // 10**i for i in range(_WANTED + 1)):
        line, digit = quotient_digit(left, divisor)
        lines.append(line)
        found += str(digit)
        left -= digit * divisor
    value = Leading(int(found) * 10 ** (_DIGITS - len(found)), -a.exponent - 1)
    return "\n".join([*lines, f"-{a.exponent}-1={value.exponent}", f"={value}"]), value


def _rounded(value: Leading) -> tuple[str, str]:
    """Three digits, the fourth beside them, and the number in scientific notation: `298|8`, `2.99e+10`."""
    kept, following = divmod(value.digits // 10 ** (_DIGITS - _WANTED - 1), 10)
    line, exponent = f"{kept}|{following}", value.exponent
    kept += following >= 5
    if kept == 10**_WANTED:
        kept, exponent = kept // 10, exponent + 1
    return line, f"{str(kept)[0]}.{str(kept)[1:]}e{'+' if exponent >= 0 else '-'}{abs(exponent)}"
