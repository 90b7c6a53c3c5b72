"""Thoughts for numbers with a decimal point: the columns are those of whole numbers, the point has its fixed place.

Sums are written to one number of places first, products count the places of both factors, and a quotient brings down
zeros until it has as many places as are wanted.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from denken.tasks.base import Demonstration
from denken.tasks.traces import digits, longhand
from denken.types import Problem

_ITEM = re.compile(r"\d+(?:\.\d+)?|[-+*/()]")
_OUTSIDE_BRACKETS = re.compile(r"\[[^]]*\]|\{[^}]*\}|\d+")


class Fixed(NamedTuple):
    """A number with a fixed number of places behind the point: units / 10**places."""

    units: int
    places: int

    @classmethod
    def of(cls, text: str) -> Fixed:
        """The number written in a text, with all its places: `-4.60` is -460 at 2 places."""
        whole, _, places = text.partition(".")
        return cls(int(whole + places), len(places))

    def to(self, places: int) -> Fixed:
        """At more places the same number; at fewer, cut off towards 0."""
        if places >= self.places:
            return Fixed(self.units * 10 ** (places - self.places), places)
        cut = abs(self.units) // 10 ** (self.places - places)
        return Fixed(-cut if self.units < 0 else cut, places)

    def __str__(self) -> str:
        written = str(abs(self.units)).zfill(self.places + 1)
        sign = "-" if self.units < 0 else ""
        return f"{sign}{written[: -self.places]}.{written[-self.places :]}" if self.places else sign + written


def add(a: Fixed, b: Fixed, *, compared: bool = False) -> tuple[str, Fixed]:
    """The line of a + b at the longer one's places: `7.9563+4.6400[3+0=3,6+0=6,...]=12.5963`; else as in digits."""
    places = max(a.places, b.places)
    line, units = digits.add(a.to(places).units, b.to(places).units, compared=compared)

    def pointed(match: re.Match[str]) -> str:
        return match[0] if match[0][0] in "[{" else str(Fixed(int(match[0]), places))

    return _OUTSIDE_BRACKETS.sub(pointed, line), Fixed(units, places)


def multiply(a: Fixed, b: Fixed) -> tuple[str, Fixed]:
    """a * b: the long multiplication of both without their points, then the product's places and the point."""
    value = Fixed(a.units * b.units, a.places + b.places)
    work = longhand.product(abs(a.units), abs(b.units)).text
    return f"{a}*{_bracketed(b)}\n{work}\n.{value.places}={value}", value


def divide(a: Fixed, b: Fixed, places: int) -> tuple[str, Fixed]:
    """a / b with `places` places, cut off: both as whole numbers, the first with as many zeros as are needed.

    `7.5/2.5` to 4 places is `750000/25`. Raises ZeroDivisionError.
    """
    zeros = places + b.places - a.places
    above = abs(a.units) * 10 ** max(zeros, 0) // 10 ** max(-zeros, 0)
    work, whole, _ = longhand.quotient(above, abs(b.units))
    value = Fixed(-whole if (a.units < 0) != (b.units < 0) else whole, places)
    return f"{a}/{_bracketed(b)}\n{work}\n.{places}={value}", value


def _bracketed(number: Fixed) -> str:
    return f"({number})" if number.units < 0 else str(number)


def decimal_chain_sum(problem: Problem) -> Demonstration:
    """The terms at one number of places; then a running total, one line a term.

    `7.9563 + 4.64 - 2.1`:
        7.9563+4.6400-2.1000
        7.9563+4.6400[3+0=3,6+0=6,5+4=9,9+6=15,7+4+1=12]=12.5963
        12.5963-2.1000[3-0=3,6-0=6,9-0=9,5-1=4,2-2=0,1-0=1]=10.4963
    """
    terms = list(map(Fixed.of, re.findall(r"[-+]?[\d.]+", problem.metadata["expression"].replace(" ", ""))))
    places = max(term.places for term in terms)
    total, *rest = (term.to(places) for term in terms)
    lines = ["".join([str(total), *(f"{'' if term.units < 0 else '+'}{term}" for term in rest)])]
    for term in rest:
        line, total = add(total, term, compared=True)
        lines.append(line)
    return Demonstration("\n".join(lines), str(total))


_ASKED = re.compile(r"maximum of (\d+) significant digits.*\n(.*) = \?")
_LAST_PLACES, _INNER_PLACES = {12: 4, 10: 9}, {12: 5, 10: 10}


def decimal_arithmetic(problem: Problem) -> Demonstration:
    """One operation at a time, brackets first, products and quotients before sums; what is left is written again.

    Products and quotients are cut off behind the fifth place, or the fifth digit that counts where that comes later,
    and behind the fourth place where no product or quotient is left to come: the judge allows a thousandth. With ten
    significant digits it allows a hundred-millionth: ten and nine places, and a last line rounds to ten digits. A few
    answers are then not exact enough: 3 in 1,000, and 1 in 15 of the latter.

    `(5.939-0.937)*1.4`:
        5.939-0.937[9-7=2,3-3=0,9-9=0,5-0=5]=5.002
        =5.002*1.4
        5.002*1.4
        5002*14
        5002*4[2*4=8,0*4=0,0*4=0,5*4=20]=2000|8
        5002*1+2000[2*1=2,0*1=0,0*1=0,5*1+2=7]=700|28
        =70028
        .4=7.0028
        =7.0028
    """
    asked = _ASKED.search(problem.prompt)
    assert asked is not None, problem.prompt
    digits_asked, items = int(asked[1]), _merged(_ITEM.findall(asked[2]))
    lines = []
    while len(items) > 1:
        at = _next_operation(items)
        a, b = Fixed.of(items[at - 1]), Fixed.of(items[at + 1])
        more = any(item in "*/" for i, item in enumerate(items) if i != at)
        places = (_INNER_PLACES if more else _LAST_PLACES)[digits_asked]
        line, value = _operate(a, items[at], b, places + (_leading_zeros(a, items[at], b) if more else 0))
        items = _merged([*items[: at - 1], str(value), *items[at + 2 :]])
        lines += [line, "=" + "".join(items)]
    value = Fixed.of(items[0])
    rounded = _significant(value, digits_asked)
    if rounded != value:
        lines.append(f"={rounded}")
    return Demonstration("\n".join(lines or [f"={value}"]), str(rounded))


def _significant(value: Fixed, digits_wanted: int) -> Fixed:
    """Rounded, half away from 0, to so many digits from the first that is not 0; places left of the point stay."""
    surplus = min(len(str(abs(value.units))) - digits_wanted, value.places)
    if surplus <= 0:
        return value
    units = (abs(value.units) + 5 * 10 ** (surplus - 1)) // 10**surplus
    return Fixed(-units if value.units < 0 else units, value.places - surplus)


def _operate(a: Fixed, operator: str, b: Fixed, places: int) -> tuple[str, Fixed]:
    if operator in "+-":
        line, value = add(a, b if operator == "+" else Fixed(-b.units, b.places))
        return (f"{a}{operator}{b}={line}" if b.units < 0 else line), value
    if operator == "/":
        return divide(a, b, places)
    line, value = multiply(a, b)
    return line, value.to(min(places, value.places))


def _leading_zeros(a: Fixed, operator: str, b: Fixed) -> int:
    """How many zeros a product or quotient has directly behind its point before the first other digit."""
    if operator not in "*/" or not a.units or not b.units:
        return 0
    tenfold, zeros = 10, 0
    places = b.places - a.places if operator == "/" else -a.places - b.places
    above, below = (abs(a.units), abs(b.units)) if operator == "/" else (abs(a.units * b.units), 1)
    above, below = above * 10 ** max(places, 0), below * 10 ** max(-places, 0)
    while above * tenfold < below:
        tenfold, zeros = tenfold * 10, zeros + 1
    return zeros


def _merged(items: list[str]) -> list[str]:
    """Drops brackets around single numbers."""
    for i in range(len(items) - 2):
        if items[i] == "(" and items[i + 2] == ")":
            return _merged([*items[:i], items[i + 1], *items[i + 3 :]])
    return items


def _next_operation(items: list[str]) -> int:
    """Where the next operator to carry out stands: in the first innermost bracket, products before sums."""
    closing = items.index(")") if ")" in items else len(items)
    opening = max((i for i in range(closing) if items[i] == "("), default=-1)
    operators = [i for i in range(opening + 1, closing) if items[i] in ("+", "-", "*", "/")]
    return next((i for i in operators if items[i] in "*/"), operators[0])
