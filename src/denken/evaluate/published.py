"""Scores of well-known models on reasoning-gym, as its authors published them.

Source: open-thought/reasoning-gym-eval (Apache-2.0), zero-shot runs of the paper (arXiv 2505.24760): 50 problems a
data set with seed 45, temperature 0.6, top-p 0.95, 32,768 tokens. `published.json` beside this file is a selection
of them, made from that repository's summaries; the commit stands in it.

"easy" and "hard" are the configurations of those runs, not the data sets' defaults. `mean` is the mean score of a
completion, partial marks included, and the one to compare with; `best` is the paper's figure, the best of three
completions on easy and of one on hard.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from denken.tasks.registry import unknown_name

Level = Literal["easy", "hard"]


@dataclass(frozen=True, slots=True)
class Published:
    """A published score, from 0 to 1."""

    best: float
    mean: float


def published(task: str, model: str, level: Level = "easy") -> Published | None:
    """What `model` scored on a data set; None where that was not published. UnknownNameError for an unknown model."""
    scores = _file()[level]
    if model not in scores:
        raise unknown_name("model with published scores", model, scores)
    pair = scores[model].get(task)
    return Published(*pair) if pair else None


def counting(task: str, model: str, level: Level) -> float | None:
    """The published score that ours is held against: the mean of three completions on easy; on hard, where one was
    drawn, that one. None where it was not published."""
    pair = published(task, model, level)
    return None if pair is None else pair.mean if level == "easy" else pair.best


def models(level: Level = "easy") -> list[str]:
    """The models whose scores are here, in alphabetical order."""
    return sorted(_file()[level])


@lru_cache(maxsize=1)
def _file() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((files("denken.evaluate") / "published.json").read_text(encoding="utf-8"))
    return loaded
