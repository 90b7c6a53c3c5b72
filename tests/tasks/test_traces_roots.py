"""Square roots and roots of polynomials: every line is true, and what is found is a root."""

import math
import re
from fractions import Fraction

import pytest

from denken.evaluate.suites import LEVELS
from denken.tasks.base import Demonstration
from denken.tasks.traces import WRITERS
from denken.tasks.traces.roots import cubic_root, square_root
from denken.tasks.verify.arithmetic import evaluate
from denken.types import Problem
from worked import task_at, worked

EQUATION = re.compile(r"(?<![\w.*+/|(-])(\d[\d.]*(?:[-+*]\d[\d.]*)+)=(-?\d[\d.]*)(?![\w*+/(|-])")


@pytest.mark.parametrize("level", LEVELS)
def test_equations_have_their_real_roots(level: str) -> None:
    task, checked = task_at("polynomial_equations", level), 0  # type: ignore[arg-type]
    for problem, shown in worked("polynomial_equations", level, range(2000, 2020)):  # type: ignore[arg-type]
        assert task.score(problem, shown.answer).reward > 0.999, (problem.metadata, shown)
        for left, right in EQUATION.findall(shown.thought):
            assert evaluate(left) == Fraction(right), f"{left}={right}"
            checked += 1
    assert checked > 300


@pytest.mark.parametrize(
    ("whole", "hundredths"), [(2209, 25), (0, 25), (5, 0), (99, 0), (9513, 25), (10000, 0), (1, 0)]
)
def test_square_roots_are_cut_off(whole: int, hundredths: int) -> None:
    work, root = square_root(whole, 3, hundredths)
    assert root.units == math.isqrt((100 * whole + hundredths) * 10**4)
    assert work.endswith(f".3={root}")


@pytest.mark.parametrize(
    "cubic", [(2, 0, 0, -9), (84, 0, 0, -66), (79, -76, 0, -91), (23, -10, 25, -64), (1, 1, 1, -3)]
)
def test_cubics_change_their_sign_at_the_root(cubic: tuple[int, int, int, int]) -> None:
    solved = cubic_root(*cubic)
    assert solved is not None
    a, b, c, d = cubic
    root = Fraction(solved[1].units, 10**5)
    below, above = (((a * x + b) * x + c) * x + d for x in (root - Fraction(1, 10**4), root + Fraction(1, 10**4)))
    assert below < 0 < above


def test_a_square_root_and_an_equation_by_hand() -> None:
    assert square_root(2209, 1, 25)[0].split("\n") == [
        "2209.25:22 09 25",
        "22:4*4=16 4+4=8 22-16[12-6=6,2-1-1=0]=6",
        "609:60/8=7 87*7[7*7=49,8*7+4=60]=609 87+7=94 609-609[9-9=0,0-0=0,6-6=0]=0",
        "25:2/94=0 940",
        ".1=47.0",
    ]
    asked = {"polynomial_expr": "-2*x**3 + 9*x**2", "real_solutions": [0.0, 4.5]}
    assert WRITERS["polynomial_equations"](Problem("", "", "", 0, asked)) == Demonstration(
        "x3 -2,x2 9,x1 0,x0 0\nx=0\nx1 -2,x0 9\n- x1 2,x0 -9\n9/2\n"
        "900000/2[9/2=4r1,10/2=5r0,0/2=0r0,0/2=0r0,0/2=0r0,0/2=0r0]=450000r0\n.5=4.50000 4.5000\n0.0,4.5000",
        "0.0, 4.5000",
    )
