"""Word problems: the letters' equations lead to the answers, each line is true, and no two stories are mixed up."""

import re
from fractions import Fraction

import pytest

from denken.assistant import BUNDLED
from denken.tasks.base import Demonstration
from denken.tasks.traces import WRITERS
from denken.tasks.traces.stories import _WAYS
from denken.tasks.verify.arithmetic import evaluate
from denken.tokenizer import Tokenizer
from denken.types import Problem
from worked import task_at, worked

SEEDS = range(2000, 2120)
EQUATION = re.compile(r"(?<![\w.*+/%|-])(\d[\d.]*(?:[-+*]\d[\d.]*)+)(?:\[[^]]*\])?=(-?\d[\d.]*)(?![\w.*+/%|(-])")
STEP = re.compile(r"^(\w+)([-+*/])(\w+)=(?:.*\n)*?(?P<letter>[a-z])=(?P<value>-?[\d.]+)$", re.MULTILINE)


def _value(number: str) -> Fraction:
    return Fraction(number.removesuffix("%")) / (100 if number.endswith("%") else 1)


def test_answers_are_right_and_short() -> None:
    task, right = task_at("gsm_symbolic", "hard"), []
    for problem, shown in worked("gsm_symbolic", "hard", SEEDS):
        right.append(task.score(problem, shown.answer).reward == 1.0)
        assert right[-1] or "vending machines" in problem.prompt or "after paying for" in problem.prompt, problem
        assert sum(words in problem.prompt for words in _WAYS) == 1, problem.prompt
    assert sum(right) >= 0.98 * len(right)
    longest = max((problem.prompt + shown.thought for problem, shown in worked("gsm_symbolic", "hard", SEEDS)), key=len)
    assert len(Tokenizer.load(BUNDLED).encode(longest)) < 1100


def test_every_equation_and_every_step_is_true() -> None:
    checked = 0
    for _, shown in worked("gsm_symbolic", "hard", SEEDS):
        values = {item[0]: _value(item[2:]) for item in shown.thought.split("\n")[0].split()}
        for left, right in EQUATION.findall(shown.thought):
            assert evaluate(left) == Fraction(right), f"{left}={right}"
        for letter, value in re.findall(r"^([a-z])=(-?[\d.]+)$", shown.thought, re.MULTILINE):
            values[letter] = Fraction(value)
        for step in STEP.finditer(shown.thought):
            x, y = (values[item] if item in values else Fraction(item) for item in (step[1], step[3]))
            exact = {"+": x + y, "-": x - y, "*": x * y}.get(step[2]) if step[2] != "/" else Fraction(x // y)
            assert abs(Fraction(step["value"]) - exact) < 1, step[0]  # type: ignore[operator]
            checked += 1
        assert Fraction(shown.answer) == values[shown.thought.split("\n")[-1][0]]
    assert checked > 300


@pytest.mark.parametrize(
    ("asked", "thought"),
    [
        (
            "a 230 piece puzzle ... 6 ...",
            "a=230 b=6|a/2=230/2[2/2=1r0,3/2=1r1,10/2=5r0]=115r0|c=115|c+b=115+6[5+6=11,1+0+1=2,1+0=1]=121|d=121",
        ),
        (
            "required to submit a 80-page thesis ... 0.25",
            "a=80 b=1/4|a*b=80*1/4=80/4[8/4=2r0,0/4=0r0]=20r0|c=20|a-c=80-20[0-0=0,8-2=6]=60|d=60",
        ),
        (
            "€1,009.20 ... 5 ... €0.92 ... after paying for",
            "a=1009.2 b=5 c=0.92|b*c=5*0.92|92*5[2*5=10,9*5+1=46]=460|.2=4.60|d=4.6|"
            "a-d=1009.2-4.6[12-6=6,9-4-1=4,0-0=0,0-0=0,1-0=1]=1004.6|e=1004.6",
        ),
    ],
)
def test_a_story_in_letters(asked: str, thought: str) -> None:
    shown = WRITERS["gsm_symbolic"](Problem("gsm_symbolic", asked, "", 0, {}))
    assert shown == Demonstration(thought.replace("|", "\n"), thought.rpartition("=")[2])
