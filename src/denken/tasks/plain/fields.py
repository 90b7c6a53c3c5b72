"""The ordinary questions once more, answered as a program wants it: a JSON object with the field that it names.

Structured output holds a model to a schema; what stands in the field is up to the model, which has to have seen one.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from random import Random
from typing import Any

from denken.tasks.base import Demonstration
from denken.tasks.plain import KINDS, PlainTask
from denken.types import Problem, Score

NAMES = {
    False: ("result", "answer", "value", "number", "output", "solution", "total", "x", "res", "text"),
    True: ("ergebnis", "antwort", "wert", "zahl", "ausgabe", "lösung", "summe", "x", "result", "text"),
}
WISHES = {
    False: (
        'Answer as JSON with the field "{}".',
        'Reply with a JSON object that has one field, "{}".',
        'Return JSON: {{"{}": ...}}.',
        'Please answer in JSON, field "{}".',
    ),
    True: (
        'Antworte als JSON mit dem Feld "{}".',
        'Gib ein JSON-Objekt mit dem Feld "{}" zurück.',
        'Bitte als JSON: {{"{}": ...}}.',
        'Schreibe die Antwort als JSON, Feld "{}".',
    ),
}


class FieldsTask(PlainTask):
    """Ordinary questions of one kind that want a JSON object; half of them in German."""

    @property
    def name(self) -> str:
        return f"fields:{self.kind}"

    def problem(self, seed: int) -> Problem:
        """The question of this seed, and the wish behind it."""
        rng = Random(f"{self.name}:{seed}")
        german = rng.random() < 0.5
        question = KINDS[self.kind](rng, german)
        field = rng.choice(NAMES[german])
        value: int | str = int(question.answer) if _WHOLE.fullmatch(question.answer) else question.answer
        compact = rng.random() < 0.3
        answer = json.dumps({field: value}, ensure_ascii=False, separators=(",", ":") if compact else None)
        asked = question.prompt if question.prompt[-1] in ".?!" else f"{question.prompt}."
        prompt = f"{asked} {rng.choice(WISHES[german]).format(field)}"
        metadata = {**question.metadata, "skill": question.skill, "bare": question.answer}
        return Problem(self.name, prompt, answer, seed, metadata)

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for the expected object, however it is set."""
        correct = float(_read(answer) == json.loads(problem.answer))
        return Score(correct, {"correct": correct})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """The thought as for the question alone, then the object."""
        bare = replace(problem, answer=problem.metadata["bare"])
        return Demonstration(super().demonstrate(bare).thought, problem.answer)


def _read(answer: str) -> Any:
    try:
        return json.loads(answer) if len(answer) < 10_000 else None
    except (ValueError, RecursionError):
        return None


_WHOLE = re.compile(r"-?(0|[1-9]\d{0,17})")
