"""Questions from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from denken.errors import ConfigError
from denken.tasks import get
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
