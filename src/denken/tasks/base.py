"""What a task is: a seeded source of problems, and a judge of answers.

A task is a pure function of its configuration and a seed; it knows nothing of models, tokens or templates. Traced
tasks can also show how an answer is found, which is what a model learns from before it explores on its own.

Seeds are divided once, here, so that training and evaluation can never meet:

- reasoning-gym draws item `index` of a data set from `Random(seed + index)`, and its published benchmark uses seed 45
  with indices 0 to 49. Its items are therefore the problems of seeds 45 to 94, all of which training leaves alone.
- Seeds from 900,000,000 up are for evaluation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from denken.types import Problem, Score

BENCHMARK_SEED = 45
BENCHMARK_ITEMS = 50
EVALUATION_SEEDS_FROM = 900_000_000


def training_seed_allowed(seed: int) -> bool:
    """Whether a problem of this seed may be learnt from: not one of the benchmark's, not one kept for evaluation.

    >>> [training_seed_allowed(seed) for seed in (0, 44, 45, 94, 95, 899_999_999, 900_000_000)]
    [True, True, False, False, True, True, False]
    """
    in_benchmark = BENCHMARK_SEED <= seed < BENCHMARK_SEED + BENCHMARK_ITEMS
    return 0 <= seed < EVALUATION_SEEDS_FROM and not in_benchmark


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A worked solution: `thought` is what goes between the thinking tags, `answer` what follows them."""

    thought: str
    answer: str


@runtime_checkable
class Task(Protocol):
    """Problems by seed, and a score for any answer."""

    @property
    def name(self) -> str: ...

    def problem(self, seed: int) -> Problem:
        """The problem of this seed: the same configuration and seed always give the same problem."""
        ...

    def score(self, problem: Problem, answer: str) -> Score:
        """Judges the answer alone, never the thought; hostile text scores 0 and does nothing else.

        The reward is 1.0 only for a correct answer. `parts["correct"]` is 1.0 for one and 0.0 for any other.
        """
        ...


@runtime_checkable
class Traced(Task, Protocol):
    """A task that can also write out how its answer is found."""

    def demonstrate(self, problem: Problem) -> Demonstration: ...


# One search: words to what the model reads of what was found, as `denken.search.prompts.information` writes it.
Lookup = Callable[[str], str]


@runtime_checkable
class Retrieves(Task, Protocol):
    """A task whose problems are asked with a search at hand, which the model uses in its thought.

    Its demonstrations search as `denken.chat.template` reads it: `<search>words</search>`, then
    `\\n<information>\\n...\\n</information>\\n`, and the thought goes on.
    """

    def lookup(self, problem: Problem) -> Lookup | None:
        """A search of this problem's world, for one sample: sources are numbered through, and none comes twice.

        The same problem and queries always find the same. None: this problem is asked without a search.
        """
        ...
