"""Written arithmetic on long numbers, in any base up to sixteen: products and quotients that stay short.

Where `digits.py` writes a row for each digit and adds the rows afterwards, a row here takes in what the rows before it
carried over, and its last digit is done:

    775*46
    775*6[5*6=30,7*6+3=45,7*6+4=46]=465|0
    775*4+465[5*4+5=25,7*4+2+6=36,7*4+3+4=35]=356|50
    =35650

A column is a product of two digits, plus the carry, plus the digit of the number taken in, each only where there is
one. Digits of a quotient are tried from the two leading digits of the divisor, so that no look is longer than that.
"""

from __future__ import annotations

from denken.tasks.traces.digits import Step, add, divide

NUMERALS = "0123456789abcdef"
_SHORT_DIVISOR = 100


def numeral(value: int, base: int = 10) -> str:
    """The digits of a number in a base up to 16, small letters above 9; a minus sign before a negative one.

    >>> numeral(-46424, 16)
    '-b558'
    """
    if base == 10:
        return str(value)
    left, out = abs(value), ""
    while left:
        out = NUMERALS[left % base] + out
        left //= base
    return ("-" if value < 0 else "") + (out or "0")


def times_digit(a: int, digit: int, taken_in: int = 0, base: int = 10) -> Step:
    """The line of a * digit + taken_in, a column for each digit of a from the right.

    In base ten a column is one sum, `7*6+3+4=49`; above it the product comes first, `b*c=84+7+3=8e`, for it is a
    table of its own. A product of two digits alone has no columns, and neither has a factor 0.
    """
    value = a * digit + taken_in
    head = f"{numeral(a, base)}*{numeral(digit, base)}{f'+{numeral(taken_in, base)}' if taken_in else ''}"
    if digit == 0 or (a < base and not taken_in):
        return Step(f"{head}={numeral(value, base)}", value)
    columns, carry, more = [], 0, taken_in
    for x in (NUMERALS.index(c) for c in reversed(numeral(a, base))):
        terms = [term for term in (carry, more % base) if term]
        total = x * digit + sum(terms)
        product = f"={numeral(x * digit, base)}" if base > 10 and terms else ""
        terms_written = "".join(f"+{numeral(term, base)}" for term in terms)
        columns.append(f"{NUMERALS[x]}*{NUMERALS[digit]}{product}{terms_written}={numeral(total, base)}")
        carry, more = total // base, more // base
    if more:  # what was taken in is longer than a
        columns.append(f"{numeral(carry, base)}+{numeral(more, base)}={numeral(carry + more, base)}")
    return Step(f"{head}[{','.join(columns)}]={numeral(value, base)}", value)


def product(a: int, b: int, base: int = 10) -> Step:
    """a * b for a, b >= 0: a row for each digit of the shorter factor from the right; see the head of this file."""
    long, short = (a, b) if a >= b else (b, a)
    if short < base:
        return times_digit(long, short, 0, base)
    lines = [f"{numeral(long, base)}*{numeral(short, base)}"]
    carried, done = 0, ""
    for digit in reversed(numeral(short, base)):
        line, total = times_digit(long, NUMERALS.index(digit), carried, base)
        carried, done = total // base, NUMERALS[total % base] + done
        lines.append(f"{line[: line.rindex('=')]}={numeral(carried, base)}|{done}")
    return Step("\n".join([*lines, f"={numeral(a * b, base)}"]), a * b)


def quotient(a: int, b: int) -> tuple[str, int, int]:
    """Long division of a >= 0 by b > 0 in base ten: the work, the quotient and the remainder.

    By one or two digits as `digits.divide` writes it. By more, each digit is tried by the two leading digits of the
    divisor against what stands above them; a try whose product is too large is followed by the next lower digit:

        28357/3382
        28357:283/33=8 3382*8[...]=27056 28357-27056[...]=1301
        =8r1301

    Digits are brought down one a line; a remainder whose leading digits do not hold the divisor's gives a 0.
    """
    if b < _SHORT_DIVISOR:
        return divide(a, b)
    lines, left, digits = [f"{a}/{b}"], 0, ""
    for i, digit in enumerate(str(a)):
        left = left * 10 + int(digit)
        if left < b and not digits and i < len(str(a)) - 1:
            continue
        line, taken = quotient_digit(left, b)
        lines.append(line)
        left -= taken * b
        digits += str(taken)
    return "\n".join([*lines, f"={a // b}r{a % b}"]), a // b, a % b


def quotient_digit(left: int, divisor: int) -> tuple[str, int]:
    """The line that finds how often a divisor of three or more digits goes into less than ten times itself."""
    cut: int = 10 ** (len(str(divisor)) - 2)
    head, by = left // cut, divisor // cut
    digit = min(head // by, 9)
    line = f"{left}:{head}/{by}={digit}"
    while digit:
        work, taken = times_digit(divisor, digit) if digit > 1 else ("", divisor)
        line += f" {work}" if work else ""
        if taken <= left:
            return f"{line} {add(left, -taken).text}", digit
        digit -= 1
        line += f"{'' if work else f' {divisor}'}>{left} {digit}"
    return line, 0
