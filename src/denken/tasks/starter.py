"""`denken new task NAME`: a task of your own to begin with, and its test, which passes as it stands.

The task that is written asks what time it is some minutes later. It is short, and complete: a problem for every seed, a
score that no wrong answer gets, and a worked solution.
"""

from __future__ import annotations

import keyword
import re
import sys
import unicodedata
from pathlib import Path

from denken.errors import ConfigError

TASK = '''\
"""The task NAME: what time is it some minutes later? Make it yours, then: denken train --task NAME.py"""

from random import Random

from denken.tasks import Demonstration
from denken.types import Problem, Score


class KIND:
    name = "NAME"

    def __init__(self, longest: int = 59) -> None:
        self.longest = longest  # the most minutes that pass

    def problem(self, seed: int) -> Problem:
        """The same seed is always the same problem."""
        rng = Random(f"NAME:{seed}")
        hour, minute, later = rng.randint(1, 22), rng.randint(0, 59), rng.randint(1, self.longest)
        prompt = f"It is {hour}:{minute:02}. What time is it {later} minutes later?"
        answer = f"{hour + (minute + later) // 60}:{(minute + later) % 60:02}"
        return Problem(self.name, prompt, answer, seed, {"hour": hour, "minute": minute, "later": later})

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for a right answer. Anything may stand in it: compare it, never run it."""
        correct = float(answer.strip() == problem.answer)
        return Score(correct, {"correct": correct})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """How one gets there, step by step. Without this method a model learns by reward alone."""
        hour, minute, later = (problem.metadata[key] for key in ("hour", "minute", "later"))
        over = f"\\n{minute + later}-60={minute + later - 60}\\n{hour}+1={hour + 1}" if minute + later >= 60 else ""
        return Demonstration(f"{minute}+{later}={minute + later}{over}", problem.answer)
'''

TEST = '''\
"""Tests of the task NAME. Run them with `pytest test_NAME.py`, or with `python test_NAME.py`."""

from pathlib import Path

from denken import tasks

TASK = tasks.get(str(Path(__file__).with_name("NAME.py")))
SEEDS = range(100)


def test_a_seed_is_always_the_same_problem() -> None:
    assert [TASK.problem(seed) for seed in SEEDS] == [TASK.problem(seed) for seed in SEEDS]


def test_seeds_are_different_problems() -> None:
    assert len({TASK.problem(seed).prompt for seed in SEEDS}) > len(SEEDS) // 2


def test_the_right_answer_is_right_and_no_other() -> None:
    for seed in SEEDS:
        problem = TASK.problem(seed)
        assert TASK.score(problem, problem.answer).reward == 1.0
        for wrong in ("", " ", "None", problem.prompt, f"{problem.answer} or 7", problem.answer * 2, "9" * 100_000):
            assert TASK.score(problem, wrong).reward < 1.0, wrong[:40]


def test_worked_solutions_end_in_the_right_answer() -> None:
    for seed in SEEDS:
        problem = TASK.problem(seed)
        if hasattr(TASK, "demonstrate"):
            assert TASK.score(problem, TASK.demonstrate(problem).answer).reward == 1.0


if __name__ == "__main__":
    for name, check in list(globals().items()):
        if name.startswith("test_"):
            check()
    print("All is well.")
'''


def new_task(name: str, folder: Path) -> tuple[Path, Path]:
    """Write NAME.py and test_NAME.py into a folder; returns their paths.

    Raises ConfigError for a name that is no name of a module or hides one, and where a file is there already.
    """
    name = check_name(name)
    files = folder / f"{name}.py", folder / f"test_{name}.py"
    for file in files:
        if file.exists():
            raise ConfigError(f"{file} is there already and stays as it is; choose another name.")
    kind = "".join(part[:1].upper() + part[1:] for part in name.split("_")) or name
    try:
        for file, text in zip(files, (TASK, TEST), strict=True):
            with file.open("x", encoding="utf-8") as stream:
                stream.write(re.sub("NAME|KIND", lambda found: name if found[0] == "NAME" else kind, text))
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written to ({error.strerror}); go to another folder.") from error
    return files


def check_name(name: str) -> str:
    """The name as a file and a class can bear it. ConfigError says what is wrong with it."""
    name = unicodedata.normalize("NFKC", name.removesuffix(".py"))
    if not name.isidentifier() or not name.strip("_"):
        near = "".join(c if f"a{c}".isidentifier() else "_" for c in name).strip("_")
        near = f"; how about {near}?" if near.isidentifier() else "."
        raise ConfigError(
            f"{name!r} cannot be the name of a task: it is letters, digits and _, and begins with a letter{near}"
        )
    if keyword.iskeyword(name) or name in sys.stdlib_module_names or name in ("denken", "torch", "numpy", "test"):
        raise ConfigError(f"{name!r} is a name of Python's, which a file of that name would hide; how about my_{name}?")
    return name
