"""Thoughts for sums, products and bracketed expressions: the expression is reduced one operation at a time."""

from __future__ import annotations

import re

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import Step, add, divide, multiply
from denken.types import Problem

_TOKEN = re.compile(r"\d+|[-+*/()]")


def chain_sum(problem: Problem) -> Demonstration:
    """A running total: one line a term."""
    first, *rest = re.findall(r"[-+]?\d+", problem.metadata["expression"].replace(" ", ""))
    total, lines = int(first), []
    for term in map(int, rest):
        line, total = add(total, term, compared=True)
        lines.append(line)
    return Demonstration("\n".join(lines), problem.answer)


def products(problem: Problem) -> Demonstration:
    """Long multiplication, a factor at a time."""
    first, *rest = map(int, problem.metadata["expression"].split("*"))
    total, lines = first, []
    for factor in rest:
        line, total = multiply(total, factor)
        lines.append(line)
    return Demonstration("\n".join(lines), problem.answer)


def basic_arithmetic(problem: Problem) -> Demonstration:
    """Brackets first, then products and quotients, then sums; after each operation what is left is written again.

    The lines that begin with `=` are the expression as it then stands, first as it is asked; the others are the work
    on one operation.
    """
    asked = _TOKEN.findall(problem.metadata["expression"])
    items = _merge_signs(asked)
    lines = list(dict.fromkeys("=" + "".join(each) for each in (asked, items)))
    while len(items) > 1:
        at = _next_operation(items)
        step = _operate(int(items[at - 1]), items[at], int(items[at + 1]))
        items = _merge_signs([*items[: at - 1], str(step.value), *items[at + 2 :]])
        lines += [step.text, "=" + "".join(items)]
    return Demonstration("\n".join(lines), problem.answer)


def _merge_signs(items: list[str]) -> list[str]:
    """Drops brackets around single numbers and joins a sign that is no operation to its number."""
    changed = True
    while changed:
        changed = False
        for i, item in enumerate(items):
            before = items[i - 1] if i else "("
            if item == "(" and items[i + 2 : i + 3] == [")"]:
                items, changed = [*items[:i], items[i + 1], *items[i + 3 :]], True
                break
            if item == "-" and before in "(+-*/" and _is_number(items[i + 1]):
                items, changed = [*items[:i], str(-int(items[i + 1])), *items[i + 2 :]], True
                break
    return items


def _is_number(item: str) -> bool:
    return item.lstrip("-").isdigit()


def _next_operation(items: list[str]) -> int:
    """Where the next operator to carry out stands: in the first innermost bracket, products before sums."""
    closing = items.index(")") if ")" in items else len(items)
    opening = max((i for i in range(closing) if items[i] == "("), default=-1)
    inside = range(opening + 1, closing)
    operators = [i for i in inside if items[i] in "+-*/"]
    return next((i for i in operators if items[i] in "*/"), operators[0])


def _operate(a: int, operator: str, b: int) -> Step:
    if operator in "+-":
        step = add(a, b if operator == "+" else -b, compared=True)
        return Step(f"{a}{operator}{b}={step.text}", step.value) if b < 0 else step
    if operator == "*":
        return multiply(a, b)
    return quotient(a, b)


def quotient(a: int, b: int) -> Step:
    """An exact quotient of numbers of either sign."""
    x, y, value = abs(a), abs(b), a // b
    line, _, _ = divide(x, y)
    if a < 0 or b < 0:
        return Step(f"{a}/{b}={'-' if value < 0 else ''}({x}/{y}){line.removeprefix(f'{x}/{y}')}", value)
    return Step(line, value)


def division(problem: Problem) -> Demonstration:
    """One division with a remainder, as ordinary questions ask it."""
    line, _, _ = divide(problem.metadata["dividend"], problem.metadata["divisor"])
    return Demonstration(line, problem.answer)
