"""`denken draft`: what a model says again and again is counted, so that its engine guesses it and answers come sooner.

The model answers problems of its tasks, or a file of the user's holds what it is going to say: then the table of
`engine/ngrams.py` is written beside its weights, where `denken.load` finds it. It changes how long an answer takes,
never what it says. Seeds are training's side of the line that `tasks/base.py` draws.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from denken.config import Recipe
from denken.engine import ngrams
from denken.engine.counting import LEAST, counted
from denken.engine.ngrams import Ngrams
from denken.errors import ConfigError
from denken.quantize.calibration import Text, pieces_of, said
from denken.quantize.folder import TASKS
from denken.rollout import Model
from denken.tasks.base import Task
from denken.tasks.registry import get
from denken.tokenizer import Tokenizer
from denken.train.data import mixture_of

# Apart from those that quantising calibrates and measures with.
SEEDS_FROM = 750_000_000
# Problems that are answered at a time.
AT_A_TIME = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """tasks: what the model is asked, `answers` times in all, as often of each. texts: files that are read instead."""

    tasks: Sequence[Task] = ()
    answers: int = 20_000
    texts: Sequence[Path] = ()


def planned(names: Sequence[str], recipe: Path | None, texts: Sequence[Path], answers: int) -> Plan:
    """What was asked for: tasks by name, all of a recipe's, or files; what quantising asks where nothing is named.

    Raises UnknownNameError or ConfigError as `tasks.registry.get` and `Recipe.load` do, and where both are named.
    """
    if texts and (names or recipe):
        raise ConfigError("Give texts, or tasks to be asked; not both.")
    asked = [get(name) for name in names]
    if recipe is not None:
        sources = mixture_of(Recipe.load(recipe).data.sources).sources
        asked += [get(source.task, source.config) for source in sources if source.task is not None]
    return Plan(asked or ([] if texts else [get(name) for name in TASKS]), answers, texts)


def draft(model: Model, plan: Plan, out: Path, *, progress: bool = True) -> tuple[Ngrams, int]:
    """Counts what the plan says, and writes the table. Returns it, and how many ids were counted.

    Ctrl-C ends the asking: what was answered until then is counted. Raises ConfigError, at once, where `out` cannot be
    written.
    """
    if not os.access(out.parent, os.W_OK) or out.is_dir():
        raise ConfigError(f"{out} cannot be written; name another file with --out.")
    texts = [text for file in plan.texts for text in pieces_of(file, model.tokenizer)]
    if plan.tasks:
        texts += _answers(model, plan, progress)
    table = counted(((text.ids, text.start) for text in texts), classes_of(model.tokenizer))
    if not len(table.ids_N):
        raise ConfigError(f"Nothing was said {LEAST} times in {len(texts)} texts; give more of them.")
    ngrams.write(out, table)
    return table, sum(len(text.ids) - text.start for text in texts)


def classes_of(tokenizer: Tokenizer) -> list[int]:
    """Of each id one that stands for all that shapes do not tell from it: digits are alike, and so are single letters;
    what has a space before it is apart."""
    first: dict[tuple[str, str], int] = {}
    classes = []
    for id in range(tokenizer.vocab_size):
        text = tokenizer.decode([id])
        letter = text.removeprefix(" ")
        kind = "digit" if letter.isdecimal() else "letter"
        alike = len(letter) == 1 and (letter.isdecimal() or letter.isalpha())
        classes.append(first.setdefault((kind, text[:-1]), id) if alike else id)
    return classes


def _answers(model: Model, plan: Plan, progress: bool) -> list[Text]:
    each = -(-plan.answers // len(plan.tasks))
    texts: list[Text] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress) as shown:
        bar = shown.add_task("answers", total=each * len(plan.tasks))
        try:
            for task in plan.tasks:
                for first in range(0, each, AT_A_TIME):
                    seeds = range(SEEDS_FROM + first, SEEDS_FROM + min(first + AT_A_TIME, each))
                    texts += said(model.engine, model.tokenizer, task, seeds)
                    shown.update(bar, description=task.name, advance=len(seeds))
        except KeyboardInterrupt:
            shown.console.print(f"Stopped: {len(texts):,} answers are counted.")
    return texts
