"""Is what is examined among what was learnt? Questions of suites and tasks against the documents of recipes and sets.

Two signs are counted for each task: a question that stands in the training data word by word, and one that shares a
stretch of 13 words with it (GPT-3's measure, Brown et al. 2020, appendix C), where the stretch is the question's own:
one that other questions of the same task have too is its wording, and says nothing. Words are compared in lower case
and without punctuation; numbers are words.

Seeds of evaluation are never drawn for training (`tasks.base`), so a question that returns here was made twice: where a
task has few questions, that is bound to happen, and the share says how often. Not covered: paraphrases.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from rich.table import Table

from denken.config import Recipe
from denken.errors import ConfigError
from denken.evaluate.suites import Part
from denken.tasks import get
from denken.tasks.base import Task
from denken.train.data import Drawer, mixture_of, training_seed
from denken.train.folder import data_of
from denken.train.jsonl import JsonlSet

STRETCH = 13
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """questions: how many were looked for. same: how many stand in the training data word by word. shared: how many
    share a stretch of their own with it, the same ones included."""

    task: str
    questions: int
    same: int
    shared: int


class Examined:
    """The questions of an examination, as `overlap` looks for them."""

    def __init__(self, questions: Iterable[tuple[str, str]]) -> None:
        """questions: the task and the text of each."""
        self._tasks = Counter[str]()
        self._whole: dict[int, set[tuple[str, int]]] = {}
        self._stretches: dict[int, set[tuple[str, int]]] = {}
        usual: Counter[tuple[str, int]] = Counter()
        pieces: list[tuple[str, int, set[int]]] = []
        for task, text in questions:
            words = _words(text)
            number = self._tasks[task]
            self._tasks[task] += 1
            self._whole.setdefault(_hash(words), set()).add((task, number))
            own = set(_stretches(words))
            usual.update((task, piece) for piece in own)
            pieces.append((task, number, own))
        for task, number, own in pieces:
            for piece in own:
                if usual[task, piece] == 1:
                    self._stretches.setdefault(piece, set()).add((task, number))

    def overlap(self, texts: Iterable[str]) -> list[Overlap]:
        """One a task, in the order of their first question."""
        same: set[tuple[str, int]] = set()
        shared: set[tuple[str, int]] = set()
        for text in texts:
            words = _words(text)
            same |= self._whole.get(_hash(words), set())
            for piece in _stretches(words):
                shared |= self._stretches.get(piece, set())
        whole = Counter(task for task, _ in same)
        partly = Counter(task for task, _ in same | shared)
        return [Overlap(task, count, whole[task], partly[task]) for task, count in self._tasks.items()]


def questions(parts: Sequence[Part]) -> Iterator[tuple[str, str]]:
    """What `denken eval` asks. A task that makes no problem of a seed is passed over."""
    for part in parts:
        for task in part.tasks():
            name = task.name if part.level is None else f"{task.name}, {part.level}"
            for seed in range(part.seed_from, part.seed_from + part.problems):
                try:
                    yield name, task.problem(seed).prompt
                except ConfigError:
                    break


def learnt(place: Path, documents: int) -> Iterator[str]:
    """What is learnt from: every message of the first so many documents of a recipe, or of a set in JSONL.

    Of reinforcement learning it is the questions. Raises ConfigError at once for what is neither, UnknownNameError for
    what is not there.
    """
    if place.suffix == ".jsonl":
        held = JsonlSet(place)
        return (message.content for at in range(min(documents, len(held))) for message in held.messages(at))
    path = place / "recipe.toml" if place.is_dir() else place
    recipe = Recipe.load(path)
    if recipe.rl is not None:
        tasks = [(get(each.task, each.config), each.weight) for each in recipe.rl.tasks]
        return _asked(tasks, Random(recipe.seed), documents)
    data = data_of(recipe, path.parent, Path("runs") / path.parent.name)
    drawer = Drawer(mixture_of(data.sources), recipe.seed)
    return (message.content for number in range(documents) for message in drawer.conversation(number).messages)


def _asked(tasks: Sequence[tuple[Task, float]], rng: Random, count: int) -> Iterator[str]:
    for _ in range(count):
        (task,) = rng.choices([task for task, _ in tasks], [weight for _, weight in tasks])
        yield task.problem(training_seed(rng)).prompt


def table(found: Sequence[Overlap]) -> Table:
    """Tasks with any overlap, the most affected first; a last line for all."""
    drawn = Table("task", "questions", "word by word", f"share {STRETCH} words")
    for column in drawn.columns[1:]:
        column.justify = "right"
    for one in sorted(found, key=lambda one: (-one.same / one.questions, -one.shared / one.questions, one.task)):
        if one.shared:
            drawn.add_row(one.task, str(one.questions), _share(one.same, one), _share(one.shared, one))
    whole = Overlap("all", *(sum(getattr(one, name) for one in found) for name in ("questions", "same", "shared")))
    drawn.add_row("all", str(whole.questions), _share(whole.same, whole), _share(whole.shared, whole))
    return drawn


def _share(count: int, of: Overlap) -> str:
    return f"{count} ({count / max(1, of.questions):.1%})"


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.lower()))


def _stretches(words: Sequence[str]) -> Iterator[int]:
    for at in range(len(words) - STRETCH + 1):
        yield _hash(tuple(islice(words, at, at + STRETCH)))


def _hash(words: Sequence[str]) -> int:
    return hash(tuple(words))
