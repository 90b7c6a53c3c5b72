"""The same question in other words: what a model reads around the numbers and letters that matter is said otherwise.

Only what stands before the problem itself, or behind everything, is touched: a question keeps its meaning and its
answer. `OPENINGS` has those of reasoning-gym's data sets that can be said otherwise with nothing else changed; a
question that begins with none of them is introduced by a sentence that says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from denken.tasks.base import Task
from denken.types import Problem, Score

# What a question begins with: the same in other words, and in German; None where German cannot go on in English.
OPENINGS: Mapping[str, tuple[str, str | None]] = {
    "State the final answer to the following arithmetic problem:": (
        "What is the result of this calculation?",
        "Was ist das Ergebnis dieser Rechnung?",
    ),
    "Solve the following multiplication:": ("Multiply these numbers:", "Multipliziere diese Zahlen:"),
    "Find the Greatest Common Divisor (GCD) of these numbers:": (
        "What is the greatest common divisor of the following numbers?",
        "Was ist der größte gemeinsame Teiler dieser Zahlen?",
    ),
    "Find the Least Common Multiple (LCM) of these numbers:": (
        "What is the least common multiple of the following numbers?",
        "Was ist das kleinste gemeinsame Vielfache dieser Zahlen?",
    ),
    "Find the prime factorization of": ("Give the prime factors of", "Zerlege in Primfaktoren:"),
    "Simplify the fraction": ("Reduce the fraction", "Kürze den Bruch"),
    "Calculate the time difference between": ("How much time lies between", "Wie viel Zeit liegt zwischen"),
    "Calculate": ("Work out", "Berechne"),
    "Count how many prime numbers there are between": (
        "How many primes lie between",
        "Wie viele Primzahlen sind zwischen",
    ),
    "How many 1 bits are there in the binary representation of the number": (
        "Written in binary, how many ones has the number",
        "Wie viele Einsen hat in binärer Schreibweise die Zahl",
    ),
    "How many times does the letter": ("How often does the letter", None),
    "Spell this word backward": ("Write this word from its end to its beginning", "Schreibe dieses Wort rückwärts"),
    "Sort these numbers in": ("Put these numbers into", "Sortiere diese Zahlen in"),
    "Restore the correct order of words in the following sentence:": (
        "These words make a sentence in another order; which?",
        "Bringe die Wörter dieses Satzes in die richtige Reihenfolge:",
    ),
    "Add the complex numbers:": ("What is the sum of these complex numbers?", "Addiere diese komplexen Zahlen:"),
    "Find the indefinite integral:": ("Integrate:", "Bestimme das unbestimmte Integral:"),
    "Simplify this expression:": ("Multiply out:", "Multipliziere aus:"),
    "Solve this Sudoku puzzle:": ("Fill in this Sudoku:", "Löse dieses Sudoku:"),
    "Solve this cryptarithm:": (
        "Which digits do these letters stand for?",
        "Für welche Ziffern stehen die Buchstaben?",
    ),
    "Your task is to": ("You are asked to", "Deine Aufgabe:"),
    "Your job is to": ("You are asked to", "Deine Aufgabe:"),
}
_PREFIXES = ("Here is something to solve.", "Hier ist eine Aufgabe.")
# Words up to the first mark, digit or quote. What is to be worked on comes behind; names in a story may be among them.
_INTRODUCTION = re.compile(r"[^:.?\n\"'`0-9(\[{]*")


def introduced(prompt: str, language: int) -> str:
    """With another introduction: 0 for English, 1 for German.

    >>> introduced("Calculate 3 + 4.", 0), introduced("Make 24 using 2, 2, 8, 2.", 1)
    ('Work out 3 + 4.', 'Hier ist eine Aufgabe.\\nMake 24 using 2, 2, 8, 2.')
    """
    for opening, others in OPENINGS.items():
        if prompt.startswith(opening) and (other := others[language]) is not None:
            return other + prompt.removeprefix(opening)
    return f"{_PREFIXES[language]}\n{prompt}"


def lowered(prompt: str) -> str:
    """With its introduction in small letters, but for single ones, which may be names.

    >>> lowered("State the GCD of A and B: X Y")
    'state the gcd of A and B: X Y'
    """
    opening = _INTRODUCTION.match(prompt)
    end = opening.end() if opening else 0
    return re.sub(r"[^\W\d_]{2,}", lambda word: word[0].lower(), prompt[:end]) + prompt[end:]


REWORDINGS: Mapping[str, Callable[[str], str]] = {
    "another introduction": lambda prompt: introduced(prompt, 0),
    "introduction in small letters": lowered,
    "German introduction": lambda prompt: introduced(prompt, 1),
    '"Please." at the end': lambda prompt: f"{prompt.rstrip()}\nPlease.",
}


@dataclass(frozen=True, slots=True)
class Varied:
    """A task that is asked in another way, and judged as if it were not.

    how: which way, for records. word: what becomes of a question.
    """

    task: Task
    how: str
    word: Callable[[str], str] = str
    _asked: dict[int, Problem] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def config(self) -> dict[str, Any]:
        return {**getattr(self.task, "config", {}), "asked": self.how}

    def problem(self, seed: int) -> Problem:
        self._asked[seed] = self.task.problem(seed)
        return replace(self._asked[seed], prompt=self.word(self._asked[seed].prompt))

    def score(self, problem: Problem, answer: str) -> Score:
        return self.task.score(self._asked.get(problem.seed) or self.task.problem(problem.seed), answer)
