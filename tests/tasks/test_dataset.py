"""Questions from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from denken.errors import ConfigError
from denken.tasks import EVALUATION_SEEDS_FROM, Demonstration, Traced, get
from denken.tasks.dataset import JsonlTask


def write(folder: Path, *lines: str) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_seeds_count_through_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, '{"prompt": "2+2?", "answer": 4}', "", '{"prompt": "Hälfte?", "answer": "1/2"}')
    task = get(f"jsonl:{path}")
    assert isinstance(task, JsonlTask)
    assert (task.name, len(task)) == ("mine", 2)
    assert [task.problem(seed).prompt for seed in (0, 1, 2)] == ["2+2?", "Hälfte?", "2+2?"]
    assert task.score(task.problem(1), " \\frac{1}{2} ").reward == 1.0
    assert task.score(task.problem(1), "").reward == 0.0


@pytest.mark.parametrize(
    ("check", "right", "wrong"),
    [
        ("numeric", ["12", "12.0", "\\boxed{12}"], ["twelve", "12 or 13", ""]),
        ("exact", ["12"], ["12.0", "12 "[:2] + "!"]),
        ("math", ["12", "24/2", "1.2e1"], ["6*2", "(12, 12)"]),
    ],
)
def test_checks(tmp_path: Path, check: str, right: list[str], wrong: list[str]) -> None:
    task = get(str(write(tmp_path, '{"prompt": "?", "answer": "12"}')), {"check": check})
    for answer in right:
        assert task.score(task.problem(0), answer).reward == 1.0, answer
    for answer in wrong:
        assert task.score(task.problem(0), answer).reward == 0.0, answer


@pytest.mark.parametrize(
    ("lines", "check", "message"),
    [
        (['{"prompt": "?", "answer": "1"}', "{"], "math", "line 2: this is not JSON"),
        (['["?", "1"]'], "math", "line 1: a question is an object"),
        (['{"prompt": "?"}'], "math", 'line 1: a question is an object with "prompt" and "answer"'),
        (['{"prompt": "", "answer": "1"}'], "math", "text that is not empty"),
        (['{"prompt": "?", "answer": true}'], "math", "text that is not empty"),
        (['{"prompt": "?", "answer": "one"}'], "numeric", "line 1: the answer 'one' is no number"),
        ([""], "math", "holds no questions"),
        (['{"prompt": "?", "answer": "1"}'], "sympy", "give one of numeric, exact, math"),
        (["[" * 100_000], "math", "line 1: this is not JSON"),
    ],
)
def test_errors_say_where(tmp_path: Path, lines: list[str], check: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JsonlTask(write(tmp_path, *lines), check)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        get(str(tmp_path / "none.jsonl"))


def test_held_out_questions_are_those_of_evaluation_seeds(tmp_path: Path) -> None:
    path = write(tmp_path, *(f'{{"prompt": "{i}?", "answer": {i}}}' for i in range(10)))
    task = get(str(path), {"held_out": 0.2})
    assert {task.problem(seed).prompt for seed in range(100)} == {f"{i}?" for i in range(8)}
    assert [task.problem(EVALUATION_SEEDS_FROM + i).prompt for i in range(3)] == ["8?", "9?", "8?"]
    assert len(task) == 2
    assert len(get(str(path))) == 10
    for share in (1.0, -0.1, "0.2", True):
        with pytest.raises(ConfigError, match="held_out"):
            get(str(path), {"held_out": share})
    with pytest.raises(ConfigError, match="too short"):
        get(str(write(tmp_path, '{"prompt": "?", "answer": 1}')), {"held_out": 0.2})


def test_thoughts_make_a_traced_task_and_held_out_ones_are_not_shown(tmp_path: Path) -> None:
    lines = [f'{{"prompt": "{i}?", "answer": {i}, "thought": "it is {i}", "language": "en"}}' for i in range(5)]
    task = get(str(write(tmp_path, *lines)), {"held_out": 0.2})
    assert isinstance(task, Traced)
    assert task.demonstrate(task.problem(3)) == Demonstration("it is 3", "3")
    assert task.problem(3).metadata == {"language": "en"}
    assert [problem.prompt for problem, _ in task.worked()] == ["0?", "1?", "2?", "3?"]
    some = get(str(write(tmp_path, *lines, '{"prompt": "5?", "answer": 5}')))
    assert not isinstance(some, Traced)
    assert len(some.worked()) == 5


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"prompt": "?", "tests": 1}', "Python as text"),
        ('{"prompt": "?", "tests": "assert f(1) =="}', "line 1: the tests are no Python"),
        ('{"prompt": "?", "tests": "x = 1"}', "line 1: the tests assert nothing"),
        ('{"prompt": "?", "answer": "1", "thought": 7}', '"thought" is text'),
        ('{"prompt": "?", "answer": "1", "language": "fr"}', '"language" is "de" or "en"'),
        ('{"prompt": "?", "answer": ' + "9" * 5_000 + "}", "this is not JSON"),
    ],
)
def test_errors_of_what_else_a_line_may_hold(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        JsonlTask(write(tmp_path, line))
