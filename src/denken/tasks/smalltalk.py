"""What a small model should say when it is not asked to work: greetings, who it is, thanks, and "I do not know".

A model of a few million parameters knows nothing of the world. Questions that lie outside its skills are therefore
taught as such, in English and German, with an answer that says so and what it can do instead. They are built from
patterns and topics, some are about numbers and out of reach all the same, and some are other data sets' questions: the
refusal is to be learnt as the answer to what is unfamiliar, not as the answer to a list. Lines and replies are in
`smalltalk.toml`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from denken.errors import UnknownNameError
from denken.tasks.base import Demonstration
from denken.tasks.words import ENGLISH, GERMAN
from denken.types import Problem, Score


@cache
def lines() -> dict[str, Any]:
    """The tables of `smalltalk.toml`."""
    return tomllib.loads((files("denken.tasks") / "smalltalk.toml").read_text(encoding="utf-8"))


class SmalltalkTask:
    """Lines that want a fixed reply: `talk` (greetings, courtesy, questions about the model) or `outside`."""

    def __init__(self, kind: str) -> None:
        if kind not in ("talk", "outside"):
            raise UnknownNameError(f"There is no small talk of kind {kind!r}; choose talk or outside.")
        self.kind = kind

    @property
    def name(self) -> str:
        return f"smalltalk:{self.kind}"

    def problem(self, seed: int) -> Problem:
        """The line of this seed."""
        rng = Random(f"{self.name}:{seed}")
        if self.kind == "talk":
            table = rng.choice(lines()["talk"])
            language, line = table["language"], rng.choice(table["lines"])
        else:
            language = rng.choice(("en", "de"))
            table = lines()["outside"][language]
            line = _outside(rng, language)
        remark = f"{table['remark']} ({language})"
        return Problem(self.name, line, table["reply"], seed, {"remark": remark, "language": language})

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for the expected reply."""
        correct = float(answer.strip() == problem.answer)
        return Score(correct, {"correct": correct})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """One short remark on what kind of line it is."""
        return Demonstration(problem.metadata["remark"], problem.answer)


def _outside(rng: Random, language: str) -> str:
    table, german = lines()["outside"][language], language == "de"
    if rng.random() < 0.15 and not german:
        return _other_data_set(rng)
    if rng.random() < 0.3:
        numbers = [rng.randint(0, 10 ** rng.randint(1, 3)) for _ in range(2)]
        near: str = rng.choice(lines()["near"][language])
        return near.format(a=numbers[0], b=numbers[1])
    if rng.random() < 0.35:
        topic = rng.choice(GERMAN if german else ENGLISH)
    elif rng.random() < 0.2:
        topic = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9))).capitalize()
    else:
        topic = rng.choice(table["topics"])
    line: str = rng.choice(table["patterns"]).format(topic)
    style = rng.random()
    if style < 0.1:
        return line.rstrip("?.")
    return line[0].lower() + line[1:] if style < 0.2 else line


def _other_data_set(rng: Random) -> str:
    from denken.tasks.gym import GymTask

    return GymTask(rng.choice(lines()["other"]["data_sets"])).problem(rng.randrange(1000, 800_000_000)).prompt
