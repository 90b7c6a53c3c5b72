"""Tasks by name: one place where a name that a person types becomes a task.

    countdown, gym:countdown    a data set of reasoning-gym (`denken.tasks.gym`)
    plain:sums                  questions in ordinary words, English and German (`denken.tasks.plain`)
    fields:sums                 the same, answered as a JSON object (`denken.tasks.plain.fields`)
    game:countdown              games with numbers (`denken.tasks.games`)
    search_qa                   questions that only pages answer, which must be searched (`denken.tasks.search_qa`)
    smalltalk:talk              greetings, and what lies outside (`denken.tasks.smalltalk`)
    jsonl:questions.jsonl       questions from a file, your own or a published benchmark's (`denken.tasks.dataset`); a
                                path that ends in .jsonl or .json works too
    clock.py, clock.py:Clock    a task of your own in Python (`denken.tasks.ownfile`)

A data set that `denken.tasks.traces` knows how to solve in writing comes back as a `Traced` task.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from denken.errors import ConfigError, UnknownNameError
from denken.tasks import ownfile
from denken.tasks.base import Task


def get(name: str, config: Mapping[str, Any] | None = None) -> Task:
    """The task of that name at that configuration (the data set's default where none is given).

    Raises UnknownNameError with the nearest name, ConfigError for a setting that the task does not have.
    """
    kind, colon, rest = name.partition(":")
    if (kind == "jsonl" and colon) or name.endswith((".jsonl", ".json")):
        from denken.tasks.dataset import load

        _check_settings(name, config, ("check", "name", "held_out"))
        return load(Path(rest if kind == "jsonl" and colon else name), **dict(config or {}))
    if ownfile.names_file(name):
        return ownfile.load(name, config)
    from denken.tasks.gym import GymTask, TracedGymTask
    from denken.tasks.traces import WRITERS

    if kind == "plain" and colon:
        from denken.tasks.plain import PlainTask

        _check_settings(name, config, ())
        return PlainTask(rest)
    if kind == "fields" and colon:
        from denken.tasks.plain.fields import FieldsTask

        _check_settings(name, config, ())
        return FieldsTask(rest)
    if name == "search_qa":
        from denken.tasks.search_qa import SearchTask

        _check_settings(name, config, list(inspect.signature(SearchTask).parameters))
        return SearchTask(**dict(config or {}))
    if kind == "smalltalk" and colon:
        from denken.tasks.smalltalk import SmalltalkTask

        _check_settings(name, config, ())
        return SmalltalkTask(rest)
    if kind == "game" and colon:
        from denken.tasks.games import GAMES

        if rest not in GAMES:
            raise unknown_name("game", rest, GAMES)
        game = GAMES[rest]
        _check_settings(name, config, list(inspect.signature(game).parameters))
        return game(**dict(config or {}))
    if colon and kind != "gym":
        raise ConfigError(
            f"{name!r} names no kind of task; write gym:NAME, game:NAME, plain:KIND, fields:KIND, smalltalk:KIND or "
            "jsonl:PATH."
        )
    plain = rest if colon else name
    return TracedGymTask(plain, WRITERS[plain], config) if plain in WRITERS else GymTask(plain, config)


def names() -> list[str]:
    """Every name that `get` takes, but for prefixes that may be left out and your own files."""
    from denken.tasks import games, gym, plain

    return [
        *gym.names(),
        *(f"game:{game}" for game in games.GAMES),
        *(f"plain:{kind}" for kind in plain.KINDS),
        *(f"fields:{kind}" for kind in plain.KINDS),
        "search_qa",
        "smalltalk:talk",
        "smalltalk:outside",
    ]


def unknown_name(what: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """An error that names the nearest match, or what there is, or where a long list of it is."""
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    listed = f"choose one of {', '.join(known)}." if len(known) <= 20 else "`denken tasks` lists them."
    return UnknownNameError(f"There is no {what} {name!r}; {f'did you mean {near[0]!r}?' if near else listed}")


def _check_settings(name: str, config: Mapping[str, Any] | None, known: Sequence[str]) -> None:
    """ConfigError for a setting that a task outside reasoning-gym does not have."""
    for setting in config or {}:
        if setting not in known:
            what = f"it has {' and '.join(known)}" if known else "it has none"
            raise ConfigError(f"{name} has no setting {setting!r}; {what}.")
