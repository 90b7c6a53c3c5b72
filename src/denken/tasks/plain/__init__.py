"""Questions in ordinary words, English and German, over the skills that the data sets train.

A data set asks in one fixed wording; people do not. `PlainTask(kind)` asks the same thing as they would ("Was ist 17
mal 23?", "How many r are in strawberry?") and is answered by the same trace writers. Answers are as short as the
question allows: the number, the word, the list.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random

from denken.errors import UnknownNameError
from denken.tasks.base import Demonstration
from denken.tasks.plain import arithmetic, numbers, words
from denken.tasks.plain.question import Question
from denken.tasks.traces import WRITERS
from denken.types import Problem, Score

KINDS: dict[str, Callable[[Random, bool], Question]] = {
    "sums": arithmetic.sums,
    "products": arithmetic.products,
    "division": arithmetic.division,
    "expressions": arithmetic.expressions,
    "divisors": numbers.divisors,
    "bases": numbers.bases,
    "primes": numbers.primes,
    "primality": numbers.primality,
    "order_numbers": numbers.order_numbers,
    "compare": numbers.compare,
    "legs": numbers.legs,
    "letters": words.letters,
    "length": words.length,
    "backward": words.backward,
    "order_words": words.order_words,
    "reverse_words": words.reverse_words,
}


class PlainTask:
    """Ordinary questions of one kind; half of them in German."""

    def __init__(self, kind: str) -> None:
        if kind not in KINDS:
            raise UnknownNameError(f"There are no plain questions of kind {kind!r}; choose one of {', '.join(KINDS)}.")
        self.kind = kind

    @property
    def name(self) -> str:
        return f"plain:{self.kind}"

    def problem(self, seed: int) -> Problem:
        """The question of this seed."""
        rng = Random(f"{self.name}:{seed}")
        question = KINDS[self.kind](rng, rng.random() < 0.5)
        metadata = {**question.metadata, "skill": question.skill}
        return Problem(self.name, question.prompt, question.answer, seed, metadata)

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for the expected words and numbers; blanks and a full stop do not count, order and digits do."""
        correct = float(_plain(answer) == _plain(problem.answer))
        return Score(correct, {"correct": correct})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """The thought of the data set whose skill the question needs."""
        return WRITERS[problem.metadata["skill"]](problem)


def _plain(text: str) -> str:
    """Without blanks, except one between digits, where it makes another number of them."""
    text = _BETWEEN_DIGITS.sub("_", text) if len(text) < 10_000 else ""
    return "".join(text.split()).rstrip(".")


_BETWEEN_DIGITS = re.compile(r"(?<=\d)\s+(?=\d)")
