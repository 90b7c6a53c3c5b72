"""Antiderivatives: the answer's slope, measured at a few places, is what was to be integrated."""

import math
import re

import pytest

from denken.evaluate.suites import LEVELS
from denken.tasks.base import Demonstration
from denken.tasks.traces import WRITERS
from denken.types import Problem
from worked import worked

SINGLE_TERMS = re.compile(r"(\d+)\*(\d+)(?:\[[^]]*\])?=(\d+)")
KINDS = [
    "-27*sin(9*x - 6)*cos(9*x - 6)**4",
    "sin(x + 9)*cos(x + 9)",
    "-18*sin(9*x + 9)**2*cos(9*x + 9)",
    "6*sin(2*x - 5)*cos(2*x - 5)**3",
    "3*sin(x)*cos(x)",
    "-2*exp(x)*sin(x)",
    "3*exp(x)*cos(x)",
    "x**3*cos(3*x)",
    "-3*x**2*sin(2*x)",
    "-2*x*exp(x)",
    "3*x**3*exp(x)",
    "3*log(x**3)",
    "-log(x)",
    "-2*atan(3*x)",
    "3*asin(2*x)",
    "asin(x)",
    "(12 - 36*x)*exp(6*x**2 - 4*x + 2)",
    "(-2*x - 1)*exp(-x**2 - x - 6)",
    "exp(10 - x)",
    "-27*exp(9*x + 4)",
    "-30*sqrt(5 - 10*x)",
    "-sqrt(1 - x)",
    "18*sqrt(9*x + 3)",
    "-3*(5*x - 4)**2",
    "(x - 5)**4",
]
NAMES = {name: getattr(math, name) for name in ("sin", "cos", "exp", "log", "asin", "atan", "sqrt")}


def _value(formula: str, variable: str, at: float) -> float:
    return float(eval(formula, {"__builtins__": {}}, {**NAMES, variable: at, "C": 0.0}))  # noqa: S307


def _has_slope(answer: str, integrand: str, variable: str = "x") -> bool:
    step = 1e-5
    slopes = [
        (_value(answer, variable, at + step) - _value(answer, variable, at - step)) / (2 * step)
        for at in (0.17, 0.31, 0.42)
    ]
    wanted = [_value(integrand, variable, at) for at in (0.17, 0.31, 0.42)]
    return all(math.isclose(a, b, rel_tol=1e-4, abs_tol=1e-5) for a, b in zip(slopes, wanted, strict=True))


@pytest.mark.parametrize("integrand", KINDS)
def test_every_kind_has_its_antiderivative(integrand: str) -> None:
    problem = Problem("intermediate_integration", "", "", 0, {"integrand": integrand, "variable": "x"})
    shown = WRITERS["intermediate_integration"](problem)
    assert _has_slope(shown.answer, integrand), shown


@pytest.mark.parametrize("level", LEVELS)
def test_polynomials_have_theirs(level: str) -> None:
    for problem, shown in worked("simple_integration", level, range(2000, 2020)):  # type: ignore[arg-type]
        integrand, variable = problem.metadata["integrand"], problem.metadata["variable"]
        assert _has_slope(shown.answer, integrand, variable), shown
        assert shown.answer.endswith(" + C")
        for a, b, product in SINGLE_TERMS.findall(shown.thought):
            assert int(a) * int(b) == int(product)


def test_integrals_by_hand() -> None:
    polynomial = {"integrand": "-72*X**7/5 - 65*X**9 - X/4 + 6", "variable": "X"}
    shown = WRITERS["simple_integration"](Problem("", "", "", 0, polynomial))
    assert shown.answer == "-9*X**8/5 - 65*X**10/10 - X**2/8 + 6*X + C"
    assert shown.thought.split("\n")[:2] == [
        "-72*X**7/5: 72 7 5,7+1=8,72/8=9r0,9 8 5: -9*X**8/5",
        "- 65*X**9: 65 9 1,9+1=10,65/10=6[60]r5,1*10=10,65 10 10: - 65*X**10/10",
    ]
    assert WRITERS["intermediate_integration"](
        Problem("", "", "", 0, {"integrand": "-27*sin(9*x - 6)*cos(9*x - 6)**4", "variable": "x"})
    ) == Demonstration("cos 4,-27/9=-3\ncos 3\n4+1=5\n3/5", "3*cos(9*x - 6)**5/5 + C")
