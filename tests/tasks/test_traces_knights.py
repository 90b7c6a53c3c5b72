"""Thoughts about knights and knaves: full marks at both levels, and every value that is written is true."""

import re

import pytest
from reasoning_gym.logic.knights_knaves import KnightsKnavesDataset

from denken.evaluate.suites import LEVELS
from worked import task_at, worked

LINE = re.compile(r"^([A-C]):(.*)([A-C])([01])([yn])$")


@pytest.mark.parametrize("level", LEVELS)
def test_published_configurations_get_full_marks_and_every_value_is_true(level: str) -> None:
    task, checked = task_at("knights_knaves", level), 0  # type: ignore[arg-type]
    for problem, shown in worked("knights_knaves", level, range(2000, 2030)):  # type: ignore[arg-type]
        assert task.score(problem, shown.answer).reward == 1.0, (problem, shown)
        assert shown == task.demonstrate(problem)
        told = re.sub(r":[A-Ca-c](?![\w>=|&(])", "", shown.thought).split("\n")
        assert all(line in problem.prompt for line in told[1 : 2 * len(problem.metadata["names"]) : 2])
        values: dict[str, str] = {}
        for line in shown.thought.split("\n"):
            if re.fullmatch(r"([A-Ca-c][01])+", line):
                values = dict(re.findall(r"([A-Ca-c])([01])", line))
            if found := LINE.match(line):
                speaker, steps, same, told_value, fits = found.groups()
                assert (speaker, told_value) == (same, values[speaker])
                assert all(values[letter] == value for letter, value in re.findall(r"([A-Ca-c])([01])", steps))
                statement = problem.metadata["statements"][ord(speaker) - 65]
                holds = KnightsKnavesDataset.test_satisfiability(statement, [values[c] == "1" for c in sorted(values)])
                assert steps[-1] == "01"[bool(holds)]
                assert (fits == "y") == (steps[-1] == told_value)
                checked += 1
    assert checked > 60
