"""Tasks of one's own: written by `denken new task`, loaded from their files, and what is said where they are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from denken.errors import ConfigError, UnknownNameError
from denken.tasks import Traced, get
from denken.tasks.starter import new_task

GOOD = """
from denken.types import Problem, Score
class Halves:
    name = "halves"
    def __init__(self, most=9): self.most = most
    def problem(self, seed): return Problem(self.name, f"{2 * (seed % self.most)}?", str(seed % self.most), seed)
    def score(self, problem, answer): return Score(float(answer == problem.answer))
"""


def write(folder: Path, text: str, name: str = "mine.py") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


@pytest.mark.parametrize("name", ["clock", "größe_1", "_x2", "MYKIND", "NAME", "zwei_drei.py"])
def test_a_new_task_and_its_test_work_as_written(name: str, tmp_path: Path) -> None:
    task_file, test_file = new_task(name, tmp_path)
    task = get(str(task_file))
    assert isinstance(task, Traced)
    assert task.name == name.removesuffix(".py")
    assert type(task).__name__.isidentifier()
    problem = task.problem(3)
    assert task.score(problem, task.demonstrate(problem).answer).reward == 1.0
    for line in task_file.read_text(encoding="utf-8").splitlines():
        assert len(line) <= 120
    assert len(task_file.read_text(encoding="utf-8").splitlines()) <= 36
    done = subprocess.run([sys.executable, str(test_file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_new_tasks_test_passes_under_pytest_and_fails_where_the_task_is_wrong(tmp_path: Path) -> None:
    task_file, test_file = new_task("clock", tmp_path)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(test_file)]
    alone = os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # plugins of others take seconds
    assert subprocess.run(run, capture_output=True, check=False, cwd=tmp_path, env=alone).returncode == 0
    lenient = task_file.read_text(encoding="utf-8").replace(
        "answer.strip() == problem.answer", "problem.answer in answer"
    )
    task_file.write_text(lenient, encoding="utf-8")
    assert subprocess.run(run, capture_output=True, check=False, cwd=tmp_path, env=alone).returncode == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("1a", "begins with a letter"),
        ("my-task", "how about my_task"),
        ("", "cannot be the name"),
        ("../x", "how about x"),
        ("a b", "how about a_b"),
        ("class", "how about my_class"),
        ("random", "would hide"),
        ("denken", "would hide"),
        ("___", "cannot be the name"),
    ],
)
def test_names_that_cannot_be(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        new_task(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for name in ("clock.py", "test_clock.py"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ConfigError, match="stays as it is"):
            new_task("clock", tmp_path)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
        (tmp_path / name).unlink()
    with pytest.raises(ConfigError, match="go to another folder"):
        new_task("clock", tmp_path / "nowhere")


def test_settings_and_classes_are_chosen_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + GOOD.replace("Halves", "More"))
    assert get(f"{path}:More", {"most": 3}).problem(5).answer == "2"
    with pytest.raises(ConfigError, match=r"several tasks; name one of them, such as .*:Halves"):
        get(path)
    with pytest.raises(ConfigError, match="no setting 'least'; it has most"):
        get(f"{path}:More", {"least": 3})
    with pytest.raises(UnknownNameError, match="no class Less"):
        get(f"{path}:Less")


def test_what_is_imported_is_no_task_of_the_file(tmp_path: Path) -> None:
    assert get(write(tmp_path, "from denken.tasks.games.countdown import Countdown\n" + GOOD)).name == "halves"


def test_a_file_that_was_changed_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert get(path).name == "halves"
    assert get(write(tmp_path, GOOD.replace('"halves"', '"thirds"'))).name == "thirds"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "no class that is a task"),
        ("def f(:", r"mine.py, line 1: SyntaxError"),
        ("\n\n1/0", r"mine.py, line 3: ZeroDivisionError"),
        ("import not_there_at_all", r"line 1: ModuleNotFoundError"),
        (GOOD.replace('name = "halves"', "name = 7"), "needs a name"),
        (GOOD.replace('name = "halves"', ""), "needs a name"),
        (
            GOOD.replace("def problem(self, seed): return", "def problem(self, seed): return 7 #"),
            "fails on its problem",
        ),
        (GOOD.replace("seed % self.most)}?", "seed % self.most)}{__import__('random').random()}?"), "another problem"),
        (GOOD.replace("Score(float(answer == problem.answer))", "1.0"), "must return a denken.types.Score"),
        (GOOD.replace("float(answer", "7 * float(answer"), "reward from 0 to 1"),
        (GOOD.replace("self, most=9", "self, most"), "cannot be made"),
    ],
)
def test_errors_say_what_is_wrong_and_where(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        get(write(tmp_path, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="denken new task"):
        get(str(tmp_path / "none.py"))
