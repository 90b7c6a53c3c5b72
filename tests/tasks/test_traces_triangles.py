"""Triangles: answers that the data set takes, lines that are true."""

import math
import re
from fractions import Fraction

import pytest

from denken.evaluate.suites import LEVELS
from denken.tasks.traces import WRITERS
from denken.tasks.traces.roots import longer_root, shortened_quotient
from denken.tasks.verify.arithmetic import evaluate
from denken.types import Problem
from worked import task_at, worked

EQUATION = re.compile(r"(?<![\w.*+/|(-])(\d[\d.]*(?:[-+*]\d[\d.]*)+)=(-?\d[\d.]*)(?![\w*+/(|-])")


@pytest.mark.parametrize("level", LEVELS)
def test_triangles_are_right_but_for_the_last_digit_of_a_few(level: str) -> None:
    task, checked, right = task_at("advanced_geometry", level), 0, []  # type: ignore[arg-type]
    for problem, shown in worked("advanced_geometry", level, range(2000, 2030)):  # type: ignore[arg-type]
        right.append(task.score(problem, shown.answer).reward == 1.0)
        for left, value in EQUATION.findall(shown.thought):
            assert evaluate(left) == Fraction(value), f"{left}={value}"
            checked += 1
    assert sum(right) >= 0.95 * len(right)
    assert checked > 1000


def test_a_right_angle_and_half_of_one() -> None:
    corners = {"A": ("0", "4"), "B": ("0", "0"), "C": ("4", "0")}
    asked = Problem("advanced_geometry", "", "", 0, {**corners, "task_type": "angle_measure"})
    assert WRITERS["advanced_geometry"](asked).answer == "90.00°"
    asked = Problem("advanced_geometry", "", "", 0, {**corners, "C": ("-3", "-3"), "task_type": "angle_measure"})
    assert WRITERS["advanced_geometry"](asked).answer == "135.00°"
    asked = Problem("advanced_geometry", "", "", 0, {**corners, "task_type": "orthocenter"})
    assert WRITERS["advanced_geometry"](asked).answer == "(0.000, 0.000)"
    asked = Problem("advanced_geometry", "", "", 0, {**corners, "C": ("3", "0"), "task_type": "incircle_radius"})
    assert WRITERS["advanced_geometry"](asked).answer == "1.000"


@pytest.mark.parametrize("whole", [2, 50, 97, 100, 377, 800, 9999, 10001, 77777])
def test_a_root_to_more_places_is_nearly_exact(whole: int) -> None:
    assert abs(float(str(longer_root(whole)[1])) - math.sqrt(whole)) < 0.0004
    assert longer_root(144)[1].units == 12 * 10**4


def test_a_shortened_quotient_by_hand() -> None:
    assert shortened_quotient(1000, 321, 3)[0].split("\n") == [
        "1000/321",
        "1000:100/32=3 321*3[1*3=3,2*3=6,3*3=9]=963 1000-963[10-3=7,10-6-1=3,10-9-1=0,1-0-1=0]=37",
        "37:37/32=1 37-32[7-2=5,3-3=0]=5",
        "5/3=1",
        "=311",
    ]
