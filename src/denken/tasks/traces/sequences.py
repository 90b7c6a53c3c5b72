"""Number sequences: a rule is guessed, and then applied to every number, so that a wrong one shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from zlib import crc32

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add, divide, multiply
from denken.types import Problem

Rule = tuple[str, ...]
"""What is done to a number, in order: `*3`, `/2`, `^2`, `+4`, `-4`, or `+P`, the number before it is added."""

_FACTORS = (1, 2, 3, -1, -2, 4, 5, -3, 6, -4, 7, 8, -5, 9, 10, -6, -7, -8, -9, -10, 12, 16, 20)


def number_sequence(problem: Problem) -> Demonstration:
    """A shape, the number that the first two terms then add, and the rule that follows applied to all terms.

        +
        11-8[11-8=3,1-0-1=0]=3
        +3
        11:11+3[1+3=4,1+0=1]=14!17    but 17 comes next: another shape
        *2
        8*2=16 11-16=-(16-11)[6-1=5,1-1=0]=-5
        *2-5
        11:11*2[1*2=2,1*2=2]=22 22-5[12-5=7,2-0-1=1]=17

    Where the last two numbers came one after the other before, what came then comes again: `0 0>0`. Rules that halve
    are guessed whole, `+P/2`. The data set's own rule is looked at only where none of these fits.
    """
    *terms, _ = problem.metadata["sequence"]
    again = _again(terms)
    if again is not None:
        return Demonstration(f"{terms[-2]} {terms[-1]}>{again}", str(again))
    rule = _found(terms) or _named(problem.metadata["rule"])
    lines = [*_a_wrong_guess(terms, rule), *_tried(terms, rule)]
    return Demonstration("\n".join(lines), str(applied(rule, terms, len(terms) - 1)))


def _again(terms: list[int]) -> int | None:
    """What followed the last two numbers where they stood before."""
    pair = terms[-2:]
    return next((terms[i + 2] for i in range(len(terms) - 2) if terms[i : i + 2] == pair), None)


def applied(rule: Rule, terms: list[int], at: int) -> int:
    """The number after terms[at]."""
    value = terms[at]
    for step in rule:
        sign, number = step[0], step[1:]
        if number == "P":
            value += terms[at - 1] if at else 0
        elif sign == "*":
            value *= int(number)
        elif sign == "/":
            value //= 2
        elif sign == "^":
            value *= value
        else:
            value += int(step)
    return value


def _fits(rule: Rule, terms: list[int]) -> bool:
    return all(applied(rule, terms, i) == terms[i + 1] for i in range(len(terms) - 1))


def _found(terms: list[int]) -> Rule | None:
    """The first rule that fits: sums and products first, then halves, then squares."""
    for shape in _shapes():
        rule = _with_constant(shape, terms)
        if applied(rule, terms, 1) == terms[2] and _fits(rule, terms):
            return rule
    return next((rule for rule in _halving() if applied(rule, terms, 0) == terms[1] and _fits(rule, terms)), None)


@cache
def _shapes() -> tuple[Rule, ...]:
    """A factor and how often the number before is added, common ones first."""
    pairs = sorted(product(range(len(_FACTORS)), range(5)), key=lambda pair: pair[0] + 3 * pair[1])
    return tuple((f"*{_FACTORS[i]}", *["+P"] * often) for i, often in pairs)


def _signed(number: int) -> Rule:
    return (f"{number:+d}",) if number else ()


def _with_constant(shape: Rule, terms: list[int]) -> Rule:
    """The shape with the constant that leads from the first term to the second, which has none before it."""
    return (*shape, *_signed(terms[1] - applied(shape, terms, 0)))


@cache
def _halving() -> tuple[Rule, ...]:
    """Rules with a half or a square: what may come before it and after it, the shortest first."""
    constants = sorted((_signed(c) for c in range(-10, 11)), key=lambda c: (len(c), abs(int(c[0])) if c else 0))
    parts = [(), ("+P",), *((f"*{m}",) for m in (3, -1, -2, 5, -3, 7, 9))]
    before = [(*part, *c) for part, c in product(parts, constants)]
    after = [(*part, *c) for part, c in product([(), ("+P",), ("*2",), ("*-1",)], constants)]
    middles = [("/2",), ("/2", "/2"), ("^2",), ("+P", "/2")]
    rules = [(*b, *m, *a) for b, m, a in product(before, middles, after) if len(b) + len(m) + len(a) <= 4]
    return tuple(sorted(rules, key=lambda rule: (len(rule), "^2" in rule)))


def _named(rule: str) -> Rule:
    """The rule of the data set in our signs."""
    steps: list[str] = []
    for part in rule.split(" then "):
        number = re.sub("[^-0-9]", "", part)
        if part == "add previous":
            steps.append("+P")
        elif part.startswith("add"):
            steps.append(f"{int(number):+d}")
        else:
            steps.append({"double": "*2", "halve": "/2", "square": "^2"}.get(part, f"*{number}"))
    return tuple(step for step in steps if step != "*")


def _tried(terms: list[int], rule: Rule) -> Iterator[str]:
    """The rule, how its constant is found if it is one of `_shapes`, and a line a term until one is not the next."""
    start = 0
    if rule[0][0] == "*" and not {"/2", "^2"} & set(rule):
        shape = tuple(step for step in rule if step[0] == "*" or step == "+P")
        if rule == _with_constant(shape, terms):
            start = 1
            steps, value = _worked(shape, terms, 0)
            yield _written(shape)
            yield " ".join([*steps, add(terms[1], -value).text])
    yield _written(rule)
    for at in range(start, len(terms)):
        steps, value = _worked(rule, terms, at)
        before = f"{terms[at - 1]},{terms[at]}:" if at and "+P" in rule else f"{terms[at]}:"
        wrong = at + 1 < len(terms) and terms[at + 1] != value
        yield before + " ".join(steps) + (f"!{terms[at + 1]}" if wrong else "")
        if wrong:
            return


def _written(rule: Rule) -> str:
    return "".join(step for step in rule if step != "*1") or "+"


def _worked(rule: Rule, terms: list[int], at: int) -> tuple[list[str], int]:
    """Each step of the rule in writing, and what comes out."""
    value, work = terms[at], list[str]()
    for step in rule:
        if step == "*1" or (step == "+P" and not at):
            continue
        if step == "+P":
            text = add(value, terms[at - 1]).text
        elif step == "/2":
            text = _half(value)
        elif step[0] in "*^":
            text = multiply(value, value if step[0] == "^" else int(step[1:])).text.replace("\n", " ")
        else:
            text = add(value, int(step)).text
        work.append(text)
        value = applied((step,), [terms[at - 1], value], 1)
    return work, value


def _half(value: int) -> str:
    """Half of a number, rounded down: `-17/2:17/2=8r1-(8+1)=-9`."""
    work, quotient, left = divide(abs(value), 2)
    if value >= 0:
        return f"{work}={quotient}"
    return f"{value}/2:{work}{f'-({quotient}+1)' if left else ''}={value // 2}"


def _a_wrong_guess(terms: list[int], rule: Rule) -> Iterator[str]:
    """Now and then, by the terms alone: a common rule that does not fit, up to where that shows."""
    chance = crc32(str(terms).encode())
    if chance % 5:
        return
    shapes, halving = _shapes()[:12], _halving()[:12]
    guess = (*(_with_constant(shape, terms) for shape in shapes), *halving)[chance // 5 % 24]
    if guess != rule and not _fits(guess, terms):
        yield from _tried(terms, guess)
