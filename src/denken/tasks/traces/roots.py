"""Square roots by hand, and one real root of a cubic by steps of a digit, each of which corrects the last.

The square root takes two digits for each of the root's (`square_root`). A cubic is written around a point near its
root; a step moves the point by one digit at one place, and the quotient of the last two numbers of the cubic, the
value there over its slope, says the next digit (`cubic_root`). A digit that is not the best one costs a step, no more.
"""

from __future__ import annotations

from typing import NamedTuple

from denken.tasks.traces import decimals, digits, longhand
from denken.tasks.traces.decimals import Fixed

_PLACES = {1: ".1", 2: ".01", 3: ".001"}
_MOST_STEPS, _FURTHEST = 7, 8


def square_root(whole: int, places: int, hundredths: int = 0) -> tuple[str, Fixed]:
    """The square root of whole + hundredths/100, cut off after so many places.

    The digits stand in pairs first. A line brings a pair down and tries a digit behind the doubled root so far, which
    is then doubled too (only the two last digits change):
        2209.25:22 09 25
        22:4*4=16 4+4=8 22-16[12-6=6,2-1-1=0]=6
        609:60/8=7 87*7[7*7=49,8*7+4=60]=609 87+7=94 609-609[9-9=0,0-0=0,6-6=0]=0
        25:2/94=0 940
        .1=47.0
    """
    by_pairs = _by_pairs(whole, places, hundredths)
    value = Fixed(by_pairs.root, places)
    return "\n".join([*by_pairs.lines, f".{places}={value}"]), value


def longer_root(whole: int) -> tuple[str, Fixed]:
    """The square root to 4 places, 5 above 100: one by pairs of digits, two below 10, the others from the rest over the
    doubled root. What that leaves out is below a unit of the last, on average.
    """
    places, wanted = 2 if whole < 100 else 1, 5 if whole >= 100**2 else 4
    by_pairs, found = _by_pairs(whole, places, 0), 0
    if by_pairs.left:
        line, found = shortened_quotient(by_pairs.left * 10, by_pairs.doubled, wanted - places)
        by_pairs.lines.append(line)
    value = Fixed(by_pairs.root * 10 ** (wanted - places) + found, wanted)
    return "\n".join([*by_pairs.lines, f"={value}"]), value


def shortened_quotient(left: int, divisor: int, wanted: int) -> tuple[str, int]:
    """So many digits of left / divisor, the first at the place of ones: for each next one the divisor loses its last
    digit, and nothing is brought down.
    """
    lines, found = [f"{left}/{divisor}"], 0
    for _ in range(wanted):
        if divisor < 10:
            digit = min(left // divisor, 9) if divisor else 0
            lines.append(f"{left}/{divisor}={digit}")
        else:
            line, digit = longhand.quotient_digit(left, divisor)
            lines.append(line)
        left -= digit * divisor
        found = found * 10 + digit
        divisor //= 10
    return "\n".join([*lines, f"={found}"]), found


class _ByPairs(NamedTuple):
    """The lines, the root without its point, twice that, and what is left."""

    lines: list[str]
    root: int
    doubled: int
    left: int


def _by_pairs(whole: int, places: int, hundredths: int) -> _ByPairs:
    written = str(whole)
    written = ("0" * (len(written) % 2) + written) + (f"{hundredths:02d}".ljust(2 * places, "0") if places else "")
    pairs = [int(written[i : i + 2]) for i in range(0, len(written), 2)]
    root = next(e for e in range(9, -1, -1) if e * e <= pairs[0])
    doubled, left = 2 * root, pairs[0] - root * root
    lines = [f"{whole}{f'.{hundredths:02d}' if hundredths else ''}:{pairs[0]}{''.join(f' {p:02d}' for p in pairs[1:])}"]
    less = digits.add(pairs[0], -root * root).text
    lines.append(f"{pairs[0]}:{root}*{root}={root * root} {root}+{root}={doubled} {less}")
    for pair in pairs[1:]:
        line, digit, left = _next_digit(doubled, left * 100 + pair)
        lines.append(line)
        root, doubled = root * 10 + digit, doubled * 10 + 2 * digit
    return _ByPairs(lines, root, doubled, left)


def _next_digit(doubled: int, left: int) -> tuple[str, int, int]:
    """The line of the next digit of a root: tried by the two leading digits of the doubled root."""
    cut = 10 ** max(len(str(doubled)) - 2, 0)
    head, by = left // 10 // cut, doubled // cut
    digit = min(head // by, 9) if by else 9
    line = f"{left}:{head}/{by}={digit}"
    while digit:
        behind = doubled * 10 + digit
        work, taken = longhand.times_digit(behind, digit)
        line += f" {work}"
        if taken <= left:
            return f"{line} {behind}+{digit}={behind + digit} {digits.add(left, -taken).text}", digit, left - taken
        digit -= 1
        line += f">{left} {digit}"
    return f"{line} {doubled}0", 0, left


def cubic_root(a: int, b: int, c: int, d: int) -> tuple[str, Fixed] | None:
    """A root of ax^3 + bx^2 + cx + d to 5 places, where a > 0 > d; None where this way does not reach it in short.

    Steps of 1, by sums alone, as long as the value stays below 0; then eight times the value at a half, and the digit
    of tenths that a straight line gives on the half with the change of sign. b, c and d are written 10, 100 and 10,000
    times as large, and each step carries the products down:
        2,0,0,-9        is 2x^3 - 9
        2+0=2
        2+0=2
        2-9=-(9-2)=-7   below 0: a step of 1
        2+2=4
        4+2=6
        2+4=6
        2,6,6,-7 1
        ...
    """
    work = _Cubic(a, b, c, d)
    return work.result() if work.ones() else None


class _Cubic:
    """The cubic around a point x: its four numbers, the lines written so far."""

    def __init__(self, a: int, b: int, c: int, d: int) -> None:
        self.a, self.b, self.c, self.d = a, b, c, d
        self.x, self.lines = Fixed(0, 0), [f"{a},{b},{c},{d}"]

    def ones(self) -> bool:
        """Steps of 1; the last sum is a value that is not below 0. False where that is too far."""
        for _ in range(_FURTHEST):
            b = self._add(self.a, self.b)
            c = self._add(b, self.c)
            self.above = self._add(c, self.d)
            if self.above >= 0:
                return True
            b2 = self._add(self.a, b)
            self.b, self.c, self.d = self._add(self.a, b2), self._add(b2, c), self.above
            self._move(Fixed(1, 0))
        return False

    def result(self) -> tuple[str, Fixed] | None:
        """All further digits."""
        if not self.above:
            self._move(Fixed(1, 0))
            return "\n".join(self.lines), self.x.to(5)
        digit, place = self._straight(), 1
        self.b, self.c, self.d = self.b * 10, self.c * 100, self.d * 10000
        self.lines.append(f"{self.a},{self.b},{self.c},{self.d}")
        for _ in range(_MOST_STEPS):
            self._step(digit, place)
            if self.c <= 0:
                return None
            if place == 3 or not self.d:
                return self._last()
            digit, place = self._next()
            if not digit:
                return self._last()
        return None

    def _straight(self) -> int:
        """Tenths by a straight line from 0 to a half, or from there to 1."""
        eightfold = self._times(self.d, 8, 0)
        half = self._add(self.a, self._times(self.b, 2, 0))
        half = self._add(self._add(half, self._times(self.c, 4, 0)), eightfold)
        first, left, right = (5, -half, self._times(self.above, 8, 0)) if half < 0 else (0, -eightfold, half)
        whole = self._add(left, right)
        line, digit = rounded_quotient(self._times(left, 5, 0), whole)
        self.lines.append(f"{first} {line}")
        return first + (min(digit, 4) if first else max(1, min(digit, 5)))

    def _next(self) -> tuple[int, int]:
        """The first place at which value over slope has a digit, rounded; 0 where it has none at the three.

        A digit that is 1 only by rounding is left to the next place: two such steps would undo one another.
        """
        for place, mark in _PLACES.items():
            line, digit = rounded_quotient(abs(self.d) * 10**place // 100, self.c, from_zero=False)
            self.lines.append(f"{mark} {line}")
            if digit:
                return (min(digit, 9) if self.d < 0 else -min(digit, 9)), place
        return 0, 3

    def _step(self, digit: int, place: int) -> None:
        """Moves x by the digit: products cut off where they stand behind the last place kept.

        A step of thousandths leaves b as it is, and the slope where it was for the last step: little is to come.
        """
        self.lines.append(f"{digit}*{_PLACES[place]}")
        if place < 3:
            risen = self._times(self.a, digit, place - 1)
            self.b = self._add(self.b, risen)
        self.c = self._add(self.c, self._times(self.b, digit, place - 1))
        self.d = self._add(self.d, self._times(self.c, digit, place - 2))
        if place < 3:
            self.b = self._add(self.b, risen)
            self.c = self._add(self.c, self._times(self.b, digit, place - 1))
            self.b = self._add(self.b, risen)
        self._move(Fixed(digit, place))

    def _last(self) -> tuple[str, Fixed] | None:
        """Two more digits, hardly ever three, by the value over the slope."""
        above, cut = abs(self.d) * 1000, 10 ** max(len(str(self.c)) - 2, 0)
        line, quotient, _ = digits.divide(above // cut, self.c // cut)
        if quotient > 199:
            return None
        self.lines.append(f"{self.d}:{line}")
        line, value = decimals.add(self.x.to(5), Fixed(quotient if self.d < 0 else -quotient, 5))
        return "\n".join([*self.lines, line]), value

    def _move(self, by: Fixed) -> None:
        line, self.x = decimals.add(self.x, by)
        self.lines += [line, f"{self.a},{self.b},{self.c},{self.d}"]

    def _add(self, x: int, y: int) -> int:
        line, value = digits.add(x, y)
        self.lines.append(line if x and y else f"{x}{'-' if y < 0 else '+'}{abs(y)}={value}")
        return value

    def _times(self, x: int, digit: int, fewer: int) -> int:
        """x times a digit, without so many of its last digits, or with zeros for a number below 0."""
        line, value = digits.multiply(x, digit)
        tens: int = 10 ** abs(fewer)
        kept = abs(value) * tens if fewer < 0 else abs(value) // tens
        kept = -kept if value < 0 else kept
        self.lines.append(line if not fewer else f"{line} {kept}")
        return kept


def rounded_quotient(above: int, below: int, from_zero: bool = True) -> tuple[str, int]:
    """A digit by two leading digits, one more where twice the rest is not less than the divisor; from 0 where wanted.

    `25430/3701:254/37=6r32,64>37 7`
    """
    cut = 10 ** max(len(str(below)) - 2, 0)
    head, by = above // cut, below // cut
    digit, rest = divmod(head, by)
    line = f"{above}/{below}:{head}/{by}={digit}"
    if not digit and not from_zero:
        return line, 0
    up = 2 * rest >= by
    return f"{line}r{rest},{2 * rest}{'>' if up else '<'}{by} {digit + up}", digit + up
