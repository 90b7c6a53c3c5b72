"""Thoughts that find a rule in examples: full marks at both levels, within bounds, and true line by line."""

import re

import pytest

from denken.assistant import BUNDLED
from denken.evaluate.suites import LEVELS
from denken.tasks.traces import WRITERS
from denken.tasks.verify.arithmetic import evaluate
from denken.tokenizer import Tokenizer
from denken.types import Problem
from worked import task_at, worked

# The most tokens of question, thought and answer together, easy and hard.
BOUNDS: dict[str, tuple[int, int]] = {"arc_1d": (1700, 2500), "list_functions": (1200, 1200)}
SEEDS = range(2000, 2060)
EQUATION = re.compile(r"(?<![\d*+/r-])(\d+(?:[-+*]\d+)+)(?:\[[^\]]*\])?=(-?\d+)(?![-\d*+/(])")


@pytest.mark.parametrize("name", sorted(BOUNDS))
@pytest.mark.parametrize("level", LEVELS)
def test_both_published_configurations_get_full_marks_within_the_bound(name: str, level: str) -> None:
    task, tokenizer = task_at(name, level), Tokenizer.load(BUNDLED)  # type: ignore[arg-type]
    bound = BOUNDS[name][LEVELS.index(level)]  # type: ignore[arg-type]
    for problem, shown in worked(name, level, SEEDS):  # type: ignore[arg-type]
        assert task.score(problem, shown.answer).reward == 1.0, (problem, shown)
        assert shown == task.demonstrate(problem)
        assert len(tokenizer.encode(problem.prompt + shown.thought + shown.answer)) <= bound, problem.seed


def lists(asked: str, answer: str, **examples: str) -> Problem:
    """A problem of these examples, of inputs and outputs without brackets: `a="1, 2: 2, 3"`."""
    shown = [example.split(": ") for example in examples.values()]
    lines = [f"Input {i}: [{given}]\nOutput {i}: [{made}]\n" for i, (given, made) in enumerate(shown, 1)]
    return Problem("list_functions", f"Examples:\n{''.join(lines)}\n\nInput: [{asked}]\nOutput:\n", f"[{answer}]", 0)


def row(task: str, before: str, after: str, asked: str) -> Problem:
    """A problem of one example, its rows without blanks."""
    example = {"input": [int(cell) for cell in before], "output": [int(cell) for cell in after]}
    test = {"input": [int(cell) for cell in asked]}
    return Problem("arc_1d", "?", "", 0, {"task_name": task, "train_examples": [example], "test_example": test})


HAND = [
    (
        row("move_2pix_solid_wrapped_right", "000880", "800008", "077000"),
        "a08b00c00d80g80h08:dg>aahh|right 2|a0b7c7d0g0h0|ga0hb0ac0bd7cg7dh0",
    ),
    (
        row("gravity_left", "0502", "0052", "3040"),
        "a00b50c05d22:bbdd>cd|all right|a3b0c4d0|cd4ac3|a0b0c3d4",
    ),
    (
        row("block_touch_dot", "0100330", "0133000", "0044001"),
        "a00b11c03d03g30h30i00:bbgh>bd|to dot|a0b0c4d4g0h0i1|cd4,ii1|dh,cg|gh4,ii1|a0b0c0d0g4h4i1",
    ),
    (
        row("color_left_half_blocks", "22202222", "82208822", "02222022"),
        "a28b22c22d00g28h28i22j22:acgj>acgj|left half 8|a0b2c2d2g2h0i2j2|bg2,ij2|bg,cd;ij|"
        "bc8,dg2,ii8,jj2|a0b8c8d2g2h0i8j2",
    ),
    (
        row("fill_until_collision", "50403", "54433", "500220"),
        "a55b04c44d03g33:aaccgg>ag|fill from 5|a5b0c0d2g2h0|aa5,dg2|aa5,bg2|a5b2c2d2g2h0",
    ),
    (
        row("duplicate_block_from_seeds", "003011", "033011", "01101000"),
        "a00b03c33d00g11h11:ccgh>bcgh|copy from dots|a0b1c1d0g1h0i0j0|bc1,gg1|b1c2|g1h2,j1|"
        "bc1,gh1,jj1|a0b1c1d0g1h1i0j1",
    ),
    (
        lists("99, 5", "99, 6", a="3, 7: 3, 8", b="4, 4: 4, 5"),
        "0:3 1:7|>0:3 1:8|0:4 1:4|>0:4 1:5|add position|0:99 1:5|99+0[9+0=9,9+0=9]=99|5+1=6",
    ),
    (
        lists("31, 12, 30, 12, 9", "21", a="8, 50: 8", b="40, 40, 60: 0"),
        "0:8 1:50|>0:8|0:40 1:40 2:60|>0:0|sum below 30|0:31 1:12 2:30 3:12 4:9|0|31>30|12<30:0+12[0+2=2,0+1=1]=12|"
        "30=30|12<30=|9<30:12+9[2+9=11,1+0+1=2]=21|21",
    ),
]


@pytest.mark.parametrize(("asked", "thought"), HAND)
def test_thoughts_worked_by_hand(asked: Problem, thought: str) -> None:
    assert WRITERS[asked.task](asked).thought.split("\n") == thought.split("|")


def test_every_equation_holds_and_the_last_one_of_a_sum_is_the_answer() -> None:
    for _, shown in worked("list_functions", "easy", SEEDS):
        equations = EQUATION.findall(shown.thought)
        assert all(evaluate(left) == int(right) for left, right in equations), shown
        if "\nsum\n" in shown.thought:
            assert f"[{equations[-1][1]}]" == shown.answer


@pytest.mark.parametrize("level", LEVELS)
def test_the_letters_and_cells_of_a_rows_last_lines_are_the_answer(level: str) -> None:
    for problem, shown in worked("arc_1d", level, SEEDS):  # type: ignore[arg-type]
        name, _, *work = shown.thought.split("\n")[3:]
        lines = {"all left": 2, "count left": 2, "first 2 left": 3}.get(name, 1)  # zeros have a line of their own
        cells = re.findall(r"([A-Za-z])(\d)", "".join(work[-lines:]))
        assert [cell for _, cell in cells] == problem.answer.split(), shown
        assert len({letter for letter, _ in cells}) == len(cells)
