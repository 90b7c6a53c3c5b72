"""Written arithmetic on whole numbers, one line an operation, as a person does it on paper.

Each function returns a `Step`: the line to write and the value it ends in. A line names the operation, shows the work
digit by digit from the right in brackets, and ends in the result:

    484+229[4+9=13,8+2+1=11,4+2+1=7]=713
    60-93=-(93-60)[3-0=3,9-6=3]=-33
    775*6[5*6=30,7*6+3=45,7*6+4=46]=4650

Every number that a model must write is thus a small sum of digits that stand in sight.
What the lines are used for is left to the writers beside this file.
"""

from __future__ import annotations

from typing import NamedTuple


class Step(NamedTuple):
    """One or more lines of work, and the number that they come to.

    The last line ends in that number, but for its sign where a negative product or quotient takes more than one line:
    then the sign stands in the first line, before the work on the unsigned numbers.
    """

    text: str
    value: int


def _columns_of_sum(a: int, b: int) -> str:
    """Digit sums of a + b from the right, the carry as a third term: `4+9=13,8+2+1=11,...`."""
    left, right, carry, columns = str(a)[::-1], str(b)[::-1], 0, []
    for i in range(max(len(left), len(right))):
        x, y = int(left[i : i + 1] or 0), int(right[i : i + 1] or 0)
        columns.append(f"{x}+{y}{'+1' if carry else ''}={x + y + carry}")
        carry = (x + y + carry) // 10
    return ",".join(columns)


def _columns_of_difference(a: int, b: int) -> str:
    """Digit differences of a - b (a >= b) from the right; ten is borrowed in place: `13-7=6,8-1-1=6,...`."""
    left, right, borrow, columns = str(a)[::-1], str(b)[::-1], 0, []
    for i in range(len(left)):
        x, y = int(left[i]), int(right[i : i + 1] or 0)
        needs = x - y - borrow < 0
        x += 10 * needs
        columns.append(f"{x}-{y}{'-1' if borrow else ''}={x - y - borrow}")
        borrow = int(needs)
    return ",".join(columns)


def _unsigned_sum(a: int, b: int) -> str:
    """The bracket of a + b, empty where both are single digits."""
    return "" if a < 10 and b < 10 else f"[{_columns_of_sum(a, b)}]"


def _unsigned_difference(a: int, b: int) -> str:
    """The bracket of a - b with a >= b, empty where both are single digits."""
    return "" if a < 10 and b < 10 else f"[{_columns_of_difference(a, b)}]"


def _compared(a: int, b: int) -> str:
    """Which of two numbers with as many digits is the larger, digit by digit from the left: `{7=7,5>3}`; else empty."""
    left, right = str(a), str(b)
    if len(left) != len(right):
        return ""
    return f"{{{','.join(until_apart(left, right))}}}"


def until_apart(left: str, right: str) -> list[str]:
    """Two numbers with as many digits, digit by digit from the left, up to the first two that differ: `7=7`, `5>3`."""
    pairs = []
    for x, y in zip(left, right, strict=True):
        pairs.append(relation(int(x), int(y)))
        if x != y:
            break
    return pairs


def relation(one: int, other: int) -> str:
    """Two numbers with what they are to each other between them: `2<3`."""
    return f"{one}{'<' if one < other else '>' if one > other else '='}{other}"


def add(a: int, b: int, *, compared: bool = False) -> Step:
    """The line of a + b for numbers of either sign; a sum of mixed signs is first turned into a difference.

    compared: before a difference of numbers with as many digits, say digit by digit which is larger:
        751-763{7=7,5<6}=-(763-751)[3-1=2,6-5=1,7-7=0]=-12
    """
    head = f"{a}{'+' if b >= 0 else '-'}{abs(b)}"
    x, y, value = abs(a), abs(b), a + b
    if a >= 0 and b >= 0:
        return Step(f"{head}{_unsigned_sum(x, y)}={value}", value)
    if a < 0 and b < 0:
        return Step(f"{head}=-({x}+{y}){_unsigned_sum(x, y)}={value}", value)
    larger, smaller = max(x, y), min(x, y)
    head += _compared(x, y) if compared else ""
    turned = f"=-({larger}-{smaller})" if value < 0 else f"={larger}-{smaller}" if a < 0 else ""
    return Step(f"{head}{turned}{_unsigned_difference(larger, smaller)}={value}", value)


def _times_digit(a: int, digit: int, zeros: int = 0) -> Step:
    """The line of a * digit * 10**zeros, one digit of a at a time from the right, with carries."""
    value = a * digit * 10**zeros
    head = f"{a}*{digit * 10**zeros}"
    if a < 10 or digit <= 1:
        return Step(f"{head}={value}", value)
    carry, columns = 0, []
    for x in map(int, reversed(str(a))):
        total = x * digit + carry
        columns.append(f"{x}*{digit}{f'+{carry}' if carry else ''}={total}")
        carry = total // 10
    return Step(f"{head}[{','.join(columns)}]={value}", value)


def multiply(a: int, b: int) -> Step:
    """Long multiplication: a row for every digit of the shorter factor that is not 0, rows added as they come."""
    x, y, value = abs(a), abs(b), a * b
    if (a < 0 or b < 0) and value != 0:
        work = multiply(x, y).text.removeprefix(f"{x}*{y}")
        if "\n" not in work:
            work = work.removesuffix(str(abs(value))) + str(value)
        return Step(f"{a}*{b}={'-' if value < 0 else ''}({x}*{y}){work}", value)
    if value == 0:
        return Step(f"{a}*{b}=0", 0)
    if len(str(x)) < len(str(y)):
        inner = multiply(y, x)
        return Step(f"{x}*{y}={inner.text}", value)
    rows = [_times_digit(x, int(digit), zeros) for zeros, digit in enumerate(reversed(str(y))) if digit != "0"]
    if len(str(y)) == 1:
        return rows[0]
    lines, total = [f"{x}*{y}"], 0
    for row in rows:
        lines.append(row.text)
        if total:
            lines.append(add(total, row.value).text)
        total += row.value
    return Step("\n".join(lines), value)


def divide(a: int, b: int) -> tuple[str, int, int]:
    """Long division of a >= 0 by b > 0: the line, the quotient and the remainder.

    One digit of quotient needs one look: `841/250=3[750]r91` (the product in brackets where it is not obvious);
    more digits are brought down from the left: `841/37[84/37=2[74]r10,101/37=2[74]r27]=22r27`.
    """
    quotient, remainder = divmod(a, b)
    if quotient < 10:
        return f"{a}/{b}={_look(a, b)}", quotient, remainder
    left = 0
    looks: list[str] = []
    for digit in str(a):
        left = left * 10 + int(digit)
        if left >= b or looks:
            looks.append(f"{left}/{b}={_look(left, b)}")
            left %= b
    return f"{a}/{b}[{','.join(looks)}]={quotient}r{remainder}", quotient, remainder


def remainder(a: int, b: int) -> tuple[str, int]:
    """What is left of a after taking b as often as it goes, a >= b > 0: the work, and the remainder.

    Below a hundred, and where the quotient has more than one digit, as `divide` writes it; else the quotient, its
    product and the difference each have a line: `958/873=1`, `958-873[8-3=5,15-7=8,9-8-1=0]=85`.
    """
    quotient, left = divmod(a, b)
    if a < 100 or b < 10 or quotient > 9:
        return divide(a, b)[0], left
    lines = [f"{a}/{b}={quotient}", *([_times_digit(b, quotient).text] if quotient > 1 else []), add(a, left - a).text]
    return "\n".join(lines), left


def _look(a: int, b: int) -> str:
    quotient, remainder = divmod(a, b)
    return f"{quotient}[{quotient * b}]r{remainder}" if quotient > 1 and b > 9 else f"{quotient}r{remainder}"
