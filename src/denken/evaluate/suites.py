"""Suites: several data sets examined together, as somebody else's benchmark defines them.

    gym-easy, gym-hard    Reasoning Gym's published runs (arXiv 2505.24760): their configurations, 50 items of seed 45
    gym-fresh             the same configurations, both levels, at seeds that no training has drawn
    gym-fresh-easy, gym-fresh-hard    one level of it

The configurations are the published ones (`gym.json`). Items are made by reasoning-gym 0.1.25, which makes most data
sets item for item as the published runs had them; `REMADE` names those where it does not. Asking and judging is
`runner.py`'s, tables are `report.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from denken import tasks as task_names
from denken.errors import ConfigError
from denken.evaluate.published import Level
from denken.tasks.base import BENCHMARK_ITEMS, BENCHMARK_SEED, EVALUATION_SEEDS_FROM, Task

LEVELS: tuple[Level, ...] = ("easy", "hard")
FRESH_ITEMS = 500
# Data sets whose published items the pinned release makes otherwise, so that gym-easy and gym-hard ask others of the
# same kind: found by making all of them and comparing.
_REMADE = ["codeio", "figlet_font", "isomorphic_strings", "knight_swap", "list_functions", "polynomial_multiplication"]
_REMADE += ["ransom_note", "shortest_path", "spiral_matrix"]
REMADE: Mapping[Level, frozenset[str]] = {
    "easy": frozenset(_REMADE),
    "hard": frozenset([*_REMADE, "decimal_chain_sum", "rubiks_cube"]),
}
PROBLEMS = 100


@dataclass(frozen=True, slots=True)
class Part:
    """Tasks that are examined alike. level: of the published configurations, None for tasks named one by one.
    named: their names and configurations. problems: of each task. seed_from: the seed of the first."""

    level: Level | None
    named: Sequence[tuple[str, Mapping[str, Any]]]
    problems: int
    seed_from: int

    def tasks(self) -> list[Task]:
        """Made anew, which takes some seconds for a whole suite."""
        return [task_names.get(name, config) for name, config in self.named]


NAMES: Mapping[str, tuple[tuple[Level, ...], int, int]] = {
    "gym-easy": (("easy",), BENCHMARK_ITEMS, BENCHMARK_SEED),
    "gym-hard": (("hard",), BENCHMARK_ITEMS, BENCHMARK_SEED),
    "gym-fresh": (LEVELS, FRESH_ITEMS, EVALUATION_SEEDS_FROM),
    "gym-fresh-easy": (("easy",), FRESH_ITEMS, EVALUATION_SEEDS_FROM),
    "gym-fresh-hard": (("hard",), FRESH_ITEMS, EVALUATION_SEEDS_FROM),
}


def parts(names: Sequence[str], problems: int | None = None) -> list[Part]:
    """What the names of suites and tasks stand for. problems: of each task; None: a suite's own number, else 100.

    A suite stands first, alone or with those of its data sets behind it that shall be asked.

    Raises UnknownNameError and ConfigError as `denken.tasks.get` does, and ConfigError for two suites or one that
    stands elsewhere, since a table is about one thing.
    """
    suite, *chosen = names if names and names[0] in NAMES else ["", *names]
    strange = next((name for name in chosen if name in NAMES), None)
    if strange:
        raise ConfigError(
            f"{strange} is a suite of its own; measure it alone, or name it first and those of its data sets behind "
            "it that shall be asked."
        )
    for name in chosen:
        task_names.get(name)  # what does not exist is said before a model is loaded
    if not suite:
        return [Part(None, [(name, {}) for name in chosen], problems or PROBLEMS, EVALUATION_SEEDS_FROM)]
    levels, usual, seed_from = NAMES[suite]
    of_level = {level: data_sets(level) for level in levels}
    absent = set(chosen) - {name for named in of_level.values() for name, _ in named}
    if absent:
        raise ConfigError(f"{suite} has no data set {min(absent)!r}; its names are those of the published runs.")
    return [
        Part(level, [pair for pair in named if not chosen or pair[0] in chosen], problems or usual, seed_from)
        for level, named in of_level.items()
        if not chosen or any(name in chosen for name, _ in named)
    ]


def remade(part: Part) -> str:
    """Which of a part's items are not the published ones; "" where all are, or none should be."""
    if part.level is None or part.seed_from != BENCHMARK_SEED:
        return ""
    return f"Items made otherwise than in the published runs ({part.level}): {', '.join(sorted(REMADE[part.level]))}."


def data_sets(level: Level) -> list[tuple[str, Mapping[str, Any]]]:
    """Every data set of a published run with its configuration there, in the order of its categories."""
    return [(name, config) for name, (_, config) in _configurations(level).items()]


def category(task: str, level: Level) -> str:
    """What kind of data set the published runs count it as; "" for one that is not among them."""
    found = _configurations(level).get(task)
    return found[0] if found else ""


@lru_cache(maxsize=2)
def _configurations(level: Level) -> dict[str, tuple[str, dict[str, Any]]]:
    loaded = json.loads((files("denken.evaluate") / "gym.json").read_text(encoding="utf-8"))
    return {name: (kind, config) for name, (kind, config) in loaded[level].items()}
