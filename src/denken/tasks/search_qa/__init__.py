"""Questions that only the pages of a small, made-up world answer: what a model learns to search on.

    search_qa                                   all kinds, English and German, some without an answer
    config = { hops = 2, language = "de" }      two searches, the second for what the first one found
    config = { kind = "words" }                 sentences without sense, found by the words they share

A question is answered by quoting the line that says it, with `[citation:2]` for the source that it stands in; one
that no page answers, by saying so. `library(problem)` is what a rollout searches. Made-up worlds are drawn from the
seed (`worlds.py`), so they never end and none of them is a real person's or place's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random
from typing import Literal

from denken.errors import ConfigError
from denken.search.found import Source
from denken.tasks.base import Demonstration, Lookup
from denken.tasks.search_qa.library import Page, PageLibrary
from denken.tasks.search_qa.searching import NOT_SAID, as_query, read, searching
from denken.tasks.search_qa.worlds import KINDS, world
from denken.types import Problem, Score

CITATION = re.compile(r"\[citation:(\d{1,4})\]")


class SearchTask:
    """kind, language, hops: only problems of that one. absent: the share of questions that no page answers.

    characters: the most that one search gives back to read; shorter makes shorter thoughts. shuffled: the share of
    problems whose searches find the best not first, but in any order.
    """

    name = "search_qa"

    def __init__(
        self,
        kind: Literal["facts", "made_up", "words"] | None = None,
        language: Literal["en", "de"] | None = None,
        hops: Literal[1, 2] | None = None,
        absent: float = 0.1,
        characters: int = 600,
        shuffled: float = 0.2,
    ) -> None:
        for setting, value, allowed in (
            ("kind", kind, (None, *KINDS)),
            ("language", language, (None, "en", "de")),
            ("hops", hops, (None, 1, 2)),
        ):
            if value not in allowed:
                known = ", ".join(repr(one) for one in allowed if one is not None)
                raise ConfigError(f"search_qa has no {setting} {value!r}; give one of {known}, or leave it out.")
        if not 0 <= absent <= 1 or not 0 <= shuffled <= 1 or not 100 <= characters <= 4000:
            raise ConfigError(
                f"absent is {absent}, shuffled {shuffled} and characters {characters}; "
                "give shares from 0 to 1, and 100 to 4000 characters."
            )
        self._kind, self._language, self._hops = kind, language, hops
        self._absent, self._characters, self._shuffled = absent, characters, shuffled

    def problem(self, seed: int) -> Problem:
        """The question of this seed, and in its metadata the pages, the way to the answer and what it must hold."""
        rng = Random(f"{self.name}:{seed}")
        language: str = self._language or rng.choice(("en", "de"))
        hops = self._hops or (2 if self._kind is None and rng.random() < 0.15 else 1)
        kind = self._kind or rng.choices(list(KINDS), list(KINDS.values()))[0]
        made = world(rng, language=language, kind=kind, hops=hops, answered=hops == 2 or rng.random() >= self._absent)
        answer = " ".join(made.steps) if made.steps else NOT_SAID[language]
        metadata = {
            "language": language,
            "kind": kind if hops == 1 else "two_hops",
            "pages": [{"title": page.title, "text": page.text} for page in made.pages],
            "steps": list(made.steps),
            "value": made.value,
            "ask_next": made.ask_next,
            "characters": rng.choice((1.0, 0.75, 0.5, 0.5)) * self._characters,
            "snippet": rng.choice((160, 160, 200, 110)),
            "shuffled": rng.random() < self._shuffled,
            "most": rng.choice((6, 6, 5, 4, 3)),
        }
        return Problem(self.name, made.question, answer, seed, metadata)

    def library(self, problem: Problem) -> PageLibrary:
        """The problem's pages, to be searched in one rollout."""
        pages = [Page(page["title"], page["text"]) for page in problem.metadata["pages"]]
        shuffled = Random(problem.seed) if problem.metadata["shuffled"] else None
        return PageLibrary(pages, most=problem.metadata["most"], shuffled=shuffled)

    def lookup(self, problem: Problem) -> Lookup:
        """A search of the problem's pages, for one rollout."""
        library = self.library(problem)
        return lambda query: read(problem, library.look(query))

    def score(self, problem: Problem, answer: str) -> Score:
        """As `score_cited`, by the sources that searching for the question finds, and for what its answer leads to.

        Whoever searched in other words, and found in another order, may have cited rightly and not be paid for it.
        """
        library = self.library(problem)
        for query in (problem.prompt, problem.metadata["ask_next"]):
            library.look(as_query(query))
        return self.score_cited(problem, answer, library.sources)

    def score_cited(self, problem: Problem, answer: str, sources: Sequence[Source]) -> Score:
        """Half for the fact, or for saying that there is none, and half for citing it: every citation resolves to one
        of `sources`, and one of them says it."""
        right = _holds(problem, answer)
        cited = right and _cited(problem, answer, sources)
        return Score((right + cited) / 2, {"correct": float(right), "cited": float(cited)})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """A search for the question as it is, the line that says it, the same in the answer."""
        return searching(problem, self.library(problem))


def _holds(problem: Problem, answer: str) -> bool:
    """Whether the answer says what it must, and of what no page says only that."""
    if len(answer) > 20_000:
        return False
    said = _plain(CITATION.sub(" ", answer))
    if not problem.metadata["steps"]:
        return said == _plain(problem.answer)
    return _plain(problem.metadata["value"]) in said


def _cited(problem: Problem, answer: str, sources: Sequence[Source]) -> bool:
    numbers = {int(number) for number in CITATION.findall(answer)}
    if not problem.metadata["steps"]:
        return not numbers
    by_number = {source.number: source for source in sources}
    value = _plain(problem.metadata["value"])
    return numbers <= by_number.keys() and any(value in _plain(by_number[number].excerpt) for number in numbers)


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
