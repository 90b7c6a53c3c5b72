"""Arithmetic and mathematical equality: what is a value, and which values are equal."""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denken.tasks.verify.arithmetic import NotArithmetic, evaluate
from denken.tasks.verify.math import equal, final, number, parse

NUMBERS = st.integers(0, 99).map(str) | st.decimals(0, 9, places=2).map(str)
EXPRESSIONS = st.recursive(
    NUMBERS,
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})")
        | inner.map(lambda text: f"-{text}")
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(EXPRESSIONS)
def test_arithmetic_agrees_with_pythons_on_fractions(text: str) -> None:
    exact = re.sub(r"[0-9.]+", lambda found: f"Fraction('{found[0]}')", text)
    try:
        expected = eval(exact, {"Fraction": Fraction})  # noqa: S307  the text is this test's own
    except ZeroDivisionError:
        with pytest.raises(NotArithmetic, match="zero"):
            evaluate(text)
        return
    assert evaluate(text) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="0123456789+-*/(). ,_eEx", max_size=30))
def test_any_text_is_a_value_or_refused(text: str) -> None:
    with contextlib.suppress(NotArithmetic):
        assert isinstance(evaluate(text), Fraction)
    equal(text, "1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3", 7),
        ("2 - 3 - 4", -5),
        ("8 / 4 / 2", 1),
        ("-(2 - 5)", 3),
        ("--2", 2),
        ("0.1 + 0.2", Fraction(3, 10)),
    ],
)
def test_precedence_and_exactness(text: str, value: Fraction | int) -> None:
    assert evaluate(text) == value


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("\\boxed{\\frac{1}{2}}", "0.5"),
        ("So it is \\boxed{1}, no: \\boxed{7}.", "7"),
        ("1 1/2", "3/2"),
        ("1\\frac12", "1.5"),
        ("-1 1/2", "-1.5"),
        ("1,234,567", "1234567"),
        ("\\dfrac{3}{4}", ".75"),
        ("50\\%", "0.5"),
        ("$-\\frac{7}{3}$", "-7/3"),
        ("3\\times10^{2}", "300"),
        ("x = 5", "5"),
        ("(5)", "5"),
        ("(1, 2)", "\\left(1,2\\right)"),
        ("\\{2, 1, 2\\}", "{1, 2}"),
        ("[1, [2, 3]]", "[1,[2,3]]"),
        ("\\sqrt{2}", "\\sqrt{ 2 }"),
        ("−3", "-3"),
        ("12.", "12"),
    ],
)
def test_equal(answer: str, expected: str) -> None:
    assert equal(answer, expected)
    assert equal(expected, answer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("1 2", "12"),
        ("1\n2", "12"),
        ("2+3", "5"),
        ("17*23", "391"),
        ("(1,2)", "[1,2]"),
        ("(2,1)", "(1,2)"),
        ("50", "50%"),
        ("0.33", "1/3"),
        ("\\boxed{1} \\boxed{2}", "1"),
        ("\\boxed{1", "1"),
        ("1/0", "1/0 "[:2]),
        ("", "5"),
        ("5", ""),
        ("١٢", "12"),
        ("1_000", "1000"),
        ("12,34", "1234"),
        ("\\sqrt{2}", "\\sqrt{3}"),
        ("5 or 6", "5"),
    ],
)
def test_not_equal(answer: str, expected: str) -> None:
    assert not equal(answer, expected)


def test_numbers_and_the_rest() -> None:
    assert number("\\boxed{3.50}") == Fraction(7, 2)
    assert number("(1, 2)") is None
    assert parse("") is None
    assert final("$$x$$") == "x"
