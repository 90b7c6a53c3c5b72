"""Choices: which of some written expressions makes the target? Nothing is searched for, only worked out and compared.

The thought works the expressions out one after another, in the moves of the other games, and stops at the one that
makes the target. A model that has learnt this can tell whether a result is the one asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from denken.tasks.base import Demonstration
from denken.tasks.games.countdown import NOT
from denken.tasks.games.expressions import blind
from denken.tasks.games.moves import check_settings, draw_language, draw_numbers, expression
from denken.types import Problem, Score

PROMPTS = {
    "en": "Which of these makes {target}: {choices}?",
    "de": "Was davon ergibt {target}: {choices}?",
}
COUNTS = (2, 3, 4, 5, 6, 7)


class Choices:
    """Expressions of which one alone makes the target. language: that of the question, "en", "de" or "both"."""

    name = "game:choices"

    def __init__(self, numbers: Sequence[int] = (2, 3, 3, 4), max_number: int = 99, language: str = "both") -> None:
        self.numbers = check_settings(self.name, numbers, max_number, language)
        self.max_number = max_number
        self.language = language

    def problem(self, seed: int) -> Problem:
        """The choice of this seed; the right expression may stand anywhere."""
        rng = Random(f"{self.name}:{seed}")
        language = draw_language(rng, self.language)
        numbers = draw_numbers(rng, self.numbers, self.max_number)
        right = blind(numbers, rng)
        target = right[-1].value
        others = []
        for _ in range(rng.choice(COUNTS) - 1):
            steps = blind(numbers, rng)
            if steps[-1].value != target:
                others.append(steps)
        at = rng.randint(0, len(others))
        worked = [*others[:at], right, *others[at:]]
        prompt = PROMPTS[language].format(target=target, choices=", ".join(map(expression, worked)))
        metadata = {"target": target, "worked": worked[: at + 1], "language": language}
        return Problem(self.name, prompt, expression(right), seed, metadata)

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for the right expression as it is written in the question, blanks aside."""
        right = float(len(answer) < 1000 and "".join(answer.split()) == problem.answer)
        return Score(right, {"correct": right})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """Each expression worked out, one a line, up to the right one."""
        no = NOT[problem.metadata["language"]]
        *failed, last = [" ".join(map(str, steps)) for steps in problem.metadata["worked"]]
        return Demonstration("\n".join([*(f"{line} {no}" for line in failed), last]), problem.answer)
