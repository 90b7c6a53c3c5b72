"""Thoughts in base sixteen: sums, products and shifts digit by digit, without a detour through base ten.

The numbers of a thought have no `0x` before them. A shift to the left is a product with 2, 4 or 8, a shift to the right
a short division from the left: two digits of sixteen by 2, 4 or 8 at a time.
"""

from __future__ import annotations

import re

from denken.tasks.base import Demonstration
from denken.tasks.traces.longhand import numeral as written_in
from denken.tasks.traces.longhand import product, times_digit
from denken.types import Problem

_ITEM = re.compile(r"0x[0-9a-f]+|<<|>>|[-+*()]")


def _h(value: int) -> str:
    return written_in(value, 16)


def add(a: int, b: int) -> tuple[str, int]:
    """The line of a + b for numbers of either sign, written as `digits.add` writes it: `a7b1+9afa[1+a=b,...]=142ab`."""
    head = f"{_h(a)}{'+' if b >= 0 else '-'}{_h(abs(b))}"
    x, y, value = abs(a), abs(b), a + b
    if (a < 0) == (b < 0):
        turned = f"=-({_h(x)}+{_h(y)})" if a < 0 else ""
        return f"{head}{turned}[{_columns_of_sum(x, y)}]={_h(value)}", value
    larger, smaller = max(x, y), min(x, y)
    turned = f"=-({_h(larger)}-{_h(smaller)})" if value < 0 else f"={_h(larger)}-{_h(smaller)}" if a < 0 else ""
    return f"{head}{turned}[{_columns_of_difference(larger, smaller)}]={_h(value)}", value


def _columns_of_sum(a: int, b: int) -> str:
    columns: list[str] = []
    carry = 0
    while a or b or not columns:
        total = a % 16 + b % 16 + carry
        columns.append(f"{_h(a % 16)}+{_h(b % 16)}{'+1' if carry else ''}={_h(total)}")
        a, b, carry = a // 16, b // 16, total // 16
    return ",".join(columns)


def _columns_of_difference(a: int, b: int) -> str:
    columns: list[str] = []
    borrow = 0
    while a or not columns:
        needs = a % 16 < b % 16 + borrow
        x = a % 16 + 16 * needs
        columns.append(f"{_h(x)}-{_h(b % 16)}{'-1' if borrow else ''}={_h(x - b % 16 - borrow)}")
        a, b, borrow = a // 16, b // 16, int(needs)
    return ",".join(columns)


def multiply(a: int, b: int) -> tuple[str, int]:
    """a * b, signs apart: `-a*b=-(a*b)` and the work on the unsigned numbers, which ends in the unsigned product."""
    work = product(abs(a), abs(b), 16).text
    if a < 0 or b < 0:
        return f"{_h(a)}*{_h(b)}={'-' if a * b < 0 else ''}({_h(abs(a))}*{_h(abs(b))})\n{work}", a * b
    return work, a * b


def shift_left(a: int, by: int) -> tuple[str, int]:
    """a << by, by = 1, 2 or 3: `b5<<3` is `b5*8[5*8=28,b*8=58+2=5a]=5a8`."""
    return f"{_h(a)}<<{by}\n{times_digit(abs(a), 2**by, 0, 16).text}", a << by


def shift_right(a: int, by: int) -> tuple[str, int]:
    """a >> by, by = 1, 2 or 3, as a division from the left, remainders going before the next digit.

    `1e04>>2` is `1e04/4[1/4=0r1,1e/4=7r2,20/4=8r0,4/4=1r0]=781r0`. Below 0 a remainder takes one more off:
    `-7>>1` is `7/2=3r1`, `-(3+1)=-4`.
    """
    whole, divisor = abs(a), 2**by
    quotient, remainder = divmod(whole, divisor)
    looks, left = [], 0
    for digit in _h(whole):
        left = left * 16 + int(digit, 16)
        looks.append(f"{_h(left)}/{divisor}={_h(left // divisor)}r{left % divisor}")
        left %= divisor
    work = looks[0] if len(looks) == 1 else f"{_h(whole)}/{divisor}[{','.join(looks)}]={_h(quotient)}r{remainder}"
    if a < 0 and remainder:
        work += f"\n-({_h(quotient)}+1)={_h(a >> by)}"
    return f"{_h(a)}>>{by}\n{work}", a >> by


def bitwise_arithmetic(problem: Problem) -> Demonstration:
    """The first innermost bracket, again and again; what is left is written after each operation.

    `((0x1e04 >> 0x2) + 0xff)`:
        1e04>>2
        1e04/4[1/4=0r1,1e/4=7r2,20/4=8r0,4/4=1r0]=781r0
        =(781+ff)
        781+ff[1+f=10,8+f+1=18,7+0+1=8]=880
        =880
    """
    items = [item.removeprefix("0x") for item in _ITEM.findall(problem.metadata["problem"])]
    lines = []
    while "(" in items:
        closing = items.index(")")
        _, a, operator, b, _ = items[closing - 4 : closing + 1]
        line, value = _operate(int(a, 16), operator, int(b, 16))
        items = [*items[: closing - 4], _h(value), *items[closing + 1 :]]
        lines += [*([line] if line else []), "=" + "".join(items)]
    sign = "-" if items[0].startswith("-") else ""
    return Demonstration("\n".join(lines or ["=" + items[0]]), f"{sign}0x{items[0].removeprefix('-')}")


def _operate(a: int, operator: str, b: int) -> tuple[str, int]:
    """The work on one operation, "" for a shift by 0, and its value."""
    if operator in "+-":
        line, value = add(a, b if operator == "+" else -b)
        return (f"{_h(a)}{operator}{_h(b)}={line}" if b < 0 else line), value
    if operator == "*":
        return multiply(a, b)
    if b == 0:
        return "", a
    return shift_left(a, b) if operator == "<<" else shift_right(a, b)
