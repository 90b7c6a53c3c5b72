"""Expressions: make any number with a named property from the numbers, each used exactly once.

Looser than Countdown: "above 50", "between 30 and 45", "ending in 7" have many solutions, so a few blind attempts
suffice, and that is what `demonstrate` writes: attempts, each worked out move by move, until one has the property.
Nothing here aims at an exact number. A model that has learnt this game knows moves, expressions and when to stop, and
has never seen a Countdown.

The language of a thought is drawn apart from that of its question, as on the web: languages are mixed until something
teaches otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from denken.tasks.base import Demonstration
from denken.tasks.games.countdown import LARGEST_PRODUCT, NOT
from denken.tasks.games.moves import (
    LANGUAGES,
    Move,
    check_settings,
    draw_language,
    draw_numbers,
    expression,
    first_moves,
)
from denken.tasks.verify.arithmetic import NotArithmetic, evaluate, uses_each_once
from denken.tasks.verify.process import MAX_ANSWER_CHARACTERS
from denken.types import Problem, Score

PROMPTS = {
    "en": "Write a number {wish} using the numbers {numbers}, each exactly one time, with + - * / and brackets.",
    "de": "Schreibe eine Zahl {wish} aus den Zahlen {numbers}, jede genau ein mal, mit + - * / und Klammern.",
}
WISHES: dict[str, dict[str, str]] = {
    "above": {"en": "above {0}", "de": "über {0}"},
    "below": {"en": "below {0}", "de": "unter {0}"},
    "between": {"en": "between {0} and {1}", "de": "zwischen {0} und {1}"},
    "ending": {"en": "ending in {0}", "de": "mit der letzten Ziffer {0}"},
    "multiple": {"en": "that is a multiple of {0}", "de": "die ein Vielfaches von {0} ist"},
}
HOLDS: dict[str, Callable[..., bool]] = {
    "above": lambda value, low: value > low,
    "below": lambda value, high: value < high,
    "between": lambda value, low, high: low <= value <= high,
    "ending": lambda value, digit: value % 10 == digit,
    "multiple": lambda value, factor: value % factor == 0,
}
ATTEMPTS = 12  # a game that takes more blind attempts is not posed
NARROWEST = 4  # "between": how many whole numbers the range holds at least


class Expressions:
    """Games that blind attempts solve. language: that of the question, "en", "de" or "both"."""

    name = "game:expressions"

    def __init__(self, numbers: Sequence[int] = (2, 3, 3, 4), max_number: int = 99, language: str = "both") -> None:
        self.numbers = check_settings(self.name, numbers, max_number, language)
        self.max_number = max_number
        self.language = language

    def problem(self, seed: int) -> Problem:
        """The game of this seed, and as its answer the first blind attempt that has the property."""
        rng = Random(f"{self.name}:{seed}")
        language = draw_language(rng, self.language)
        while True:
            numbers = draw_numbers(rng, self.numbers, self.max_number)
            wish, bounds = _draw_wish(rng)
            attempts = _attempts(numbers, wish, bounds, rng)
            if attempts:
                break
        asked = WISHES[wish][language].format(*bounds)
        prompt = PROMPTS[language].format(wish=asked, numbers=", ".join(map(str, numbers)))
        metadata = {"numbers": numbers, "wish": wish, "bounds": bounds, "attempts": attempts, "language": language}
        return Problem(self.name, prompt, expression(attempts[-1]), seed, metadata)

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for an expression that uses each number exactly once and has the property."""
        right = 0.0
        try:
            if len(answer) <= MAX_ANSWER_CHARACTERS and uses_each_once(answer, problem.metadata["numbers"]):
                value = evaluate(answer)
                whole = value.denominator == 1
                right = float(whole and HOLDS[problem.metadata["wish"]](int(value), *problem.metadata["bounds"]))
        except NotArithmetic:
            pass
        return Score(right, {"correct": right})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """The attempts, one a line, each but the last with the word for no behind it."""
        no = NOT[Random(f"language:{problem.seed}").choice(LANGUAGES)]
        *failed, last = [" ".join(map(str, steps)) for steps in problem.metadata["attempts"]]
        return Demonstration("\n".join([*(f"{line} {no}" for line in failed), last]), problem.answer)


def _draw_wish(rng: Random) -> tuple[str, tuple[int, ...]]:
    wish = rng.choices(list(WISHES), [1, 1, 4, 4, 1])[0]
    if wish == "multiple":
        return wish, (rng.randint(2, 9),)
    if wish == "ending":
        return wish, (rng.randint(0, 9),)
    first = rng.randint(5, 120)
    return wish, (first, first + NARROWEST - 1 + rng.randint(0, 25)) if wish == "between" else (first,)


def _attempts(numbers: Sequence[int], wish: str, bounds: tuple[int, ...], rng: Random) -> list[list[Move]]:
    """Blind attempts, all different, the last one good; empty if none of them was."""
    tried: list[list[Move]] = []
    for _ in range(ATTEMPTS):
        steps = blind(numbers, rng)
        if steps in tried:
            continue
        tried.append(steps)
        if HOLDS[wish](steps[-1].value, *bounds):
            return tried
    return []


def blind(numbers: Sequence[int], rng: Random) -> list[Move]:
    """Moves by chance until one number is left."""
    table, steps = tuple(numbers), []
    while len(table) > 1:
        possible = [(move, after) for move, after in first_moves(table) if move.value <= LARGEST_PRODUCT]
        move, table = rng.choice(possible)
        steps.append(move)
    return steps
