"""Arithmetic that a model wrote, evaluated exactly and without running anything.

The grammar is our own and small; what it does not name is refused:

    sum     = product { ("+" | "-") product }
    product = factor { ("*" | "/") factor }
    factor  = "-" factor | "(" sum ")" | number
    number  = digits [ "." digits ]           ASCII digits, no leading zero before another digit

So there is no `**`, no `//`, no name, call, comparison, underscore, exponent or digit from another alphabet, and a
caller that counts numbers (`uses_each_once`) sees every number that takes part. Values are exact fractions. Caps on
length, digits, nesting and size of the value bound the time to well under a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fractions import Fraction

MAX_CHARACTERS = 2_000
MAX_DIGITS = 30
MAX_DEPTH = 50
MAX_BITS = 4_096

_TOKEN = re.compile(r"[ \t\r\n]*(?:((?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?![0-9.]))|([-+*/()]))")


class NotArithmetic(ValueError):
    """The text is not a sum, difference, product or quotient of numbers, or it is too large to be one."""


def evaluate(text: str) -> Fraction:
    """The exact value of an expression.

    Raises NotArithmetic for anything outside the grammar and its caps, and for a division by zero.

    >>> evaluate("49*(85 - 1)/14 - 42 - 73")
    Fraction(179, 1)
    """
    return _Reader(_tokens(text)).value()


def uses_each_once(text: str, numbers: Iterable[int]) -> bool:
    """Whether the numbers in an expression are exactly these, each as often as it is listed.

    >>> uses_each_once("(3 + 4) * 3", [3, 3, 4]), uses_each_once("3 + 4", [3, 3, 4])
    (True, False)
    """
    written = [token for token in _tokens(text) if token[0].isdigit()]
    return all("." not in number for number in written) and sorted(map(int, written)) == sorted(numbers)


def _tokens(text: str) -> list[str]:
    text = text.strip(" \t\r\n")
    if len(text) > MAX_CHARACTERS:
        raise NotArithmetic(f"The expression has more than {MAX_CHARACTERS} characters.")
    tokens: list[str] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise NotArithmetic(f"{text[at : at + 10]!r} is not part of arithmetic with + - * / and parentheses.")
        token = match[1] or match[2]
        if len(token) > MAX_DIGITS:
            raise NotArithmetic(f"A number has more than {MAX_DIGITS} digits.")
        tokens.append(token)
        at = match.end()
    return tokens


class _Reader:
    """Reads tokens by recursive descent and computes on the way."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def value(self) -> Fraction:
        value = self._sum()
        if self._at < len(self._tokens):
            raise NotArithmetic(f"{self._next!r} is not expected here.")
        return value

    @property
    def _next(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._next
        self._at += 1
        return token

    def _sum(self) -> Fraction:
        value = self._product()
        while self._next in ("+", "-"):
            sign = 1 if self._take() == "+" else -1
            value = _bounded(value + sign * self._product())
        return value

    def _product(self) -> Fraction:
        value = self._factor()
        while self._next in ("*", "/"):
            divide = self._take() == "/"
            factor = self._factor()
            if divide and factor == 0:
                raise NotArithmetic("A division by zero has no value.")
            value = _bounded(value / factor if divide else value * factor)
        return value

    def _factor(self) -> Fraction:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotArithmetic(f"The expression is nested more than {MAX_DEPTH} deep.")
        token = self._take()
        if token == "-":
            value = -self._factor()
        elif token == "(":
            value = self._sum()
            if self._take() != ")":
                raise NotArithmetic("A parenthesis is not closed.")
        elif token and token[0].isdigit():
            value = Fraction(token)
        else:
            raise NotArithmetic(
                f"A number is missing before {token!r}." if token else "A number is missing at the end."
            )
        self._depth -= 1
        return value


def _bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() > MAX_BITS or value.denominator.bit_length() > MAX_BITS:
        raise NotArithmetic("The value is too large.")
    return value
