"""How fast a recipe would learn on this machine, for commands that are given a time and choose the steps."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from denken.config import Recipe
from denken.train.folder import complete, load_tokenizer, start_of
from denken.train.parallel import Mesh


def cores() -> int:
    """The processor's cores that this process may use."""
    count: Callable[[int], Any] | None = getattr(os, "sched_getaffinity", None)
    return len(count(0)) if count is not None else os.cpu_count() or 1


def seconds_a_step(recipe: dict[str, Any], folder: Path, make: Any) -> float:
    """How long a step takes in one process, from the second and third of a run that is thrown away.

    recipe: as its file has it. folder: the run's, from which it is read. make: `Trainer` or `GRPO`.
    """
    given = {**recipe, "train": {**recipe["train"], "processes": 1}}
    threads = torch.get_num_threads()
    torch.set_num_threads(given["train"].get("threads", cores()))
    parsed = complete(Recipe.model_validate(given), Path(), folder)
    learner = make(parsed, Mesh(), load_tokenizer(parsed, Path()), start_of(parsed, Path(), folder))
    learner.step()
    began = time.monotonic()
    for _ in range(2):
        learner.step()
    took = (time.monotonic() - began) / 2
    del learner
    gc.collect()
    torch.set_num_threads(threads)
    return took
