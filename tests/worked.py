"""Worked solutions of data sets at the configurations of Reasoning Gym's published runs."""

from __future__ import annotations

from functools import cache

from denken.evaluate.published import Level
from denken.evaluate.suites import data_sets
from denken.tasks import get
from denken.tasks.base import Demonstration, Traced
from denken.types import Problem


@cache
def task_at(name: str, level: Level) -> Traced:
    """The data set at its published configuration of that level."""
    task = get(name, dict(data_sets(level))[name])
    assert isinstance(task, Traced)
    return task


@cache
def worked(name: str, level: Level, seeds: range) -> list[tuple[Problem, Demonstration]]:
    """Its problems of these seeds, each with its solution."""
    task = task_at(name, level)
    return [(problem, task.demonstrate(problem)) for problem in map(task.problem, seeds)]
