"""Tasks by name: one place where a name that a person types becomes a task.

    countdown, gym:countdown    a data set of reasoning-gym (`denken.tasks.gym`)
    plain:sums                  questions in ordinary words, English and German (`denken.tasks.plain`)
    smalltalk:talk              greetings, and what lies outside (`denken.tasks.smalltalk`)
    jsonl:questions.jsonl       your own questions (`denken.tasks.dataset`); a path that ends in .jsonl works too

A data set that `denken.tasks.traces` knows how to solve in writing comes back as a `Traced` task.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from denken.errors import ConfigError, UnknownNameError
from denken.tasks.base import Task


def get(name: str, config: Mapping[str, Any] | None = None) -> Task:
    """The task of that name at that configuration (the data set's default where none is given).

    Raises UnknownNameError with the nearest name, ConfigError for a setting that the task does not have.
    """
    kind, colon, rest = name.partition(":")
    if (kind == "jsonl" and colon) or name.endswith(".jsonl"):
        from denken.tasks.dataset import JsonlTask

        return JsonlTask(Path(rest if colon else name), **dict(config or {}))
    from denken.tasks.gym import GymTask, TracedGymTask
    from denken.tasks.traces import WRITERS

    if kind == "plain" and colon:
        from denken.tasks.plain import PlainTask

        return PlainTask(rest)
    if kind == "smalltalk" and colon:
        from denken.tasks.smalltalk import SmalltalkTask

        return SmalltalkTask(rest)
    if colon and kind != "gym":
        raise ConfigError(f"{name!r} names no kind of task; write gym:NAME, plain:KIND, smalltalk:KIND or jsonl:PATH.")
    plain = rest if colon else name
    return TracedGymTask(plain, WRITERS[plain], config) if plain in WRITERS else GymTask(plain, config)


def names() -> list[str]:
    """Every name that `get` takes without a path."""
    from denken.tasks import gym

    return gym.names()


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error that names the nearest match, or where to find the list."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "`denken.tasks.names()` lists them."
    return UnknownNameError(f"There is no {what} {name!r}; {hint}")
