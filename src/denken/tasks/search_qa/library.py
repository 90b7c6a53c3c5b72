"""A few pages that can be searched as the served library is: the same passages, words, shortening and numbering.

One object serves one rollout: it numbers its sources from 1 and brings none twice. Ranking is BM25 over passages and
their titles, in memory; `search/library.py` does it in SQLite, which for twenty passages would be a file too many.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from denken.search.found import Found, Source
from denken.search.passages import cut
from denken.search.terms import terms

MOST = 6
EACH = 3
LEAST_SHARE = 0.3
K1, B = 1.2, 0.75


@dataclass(frozen=True, slots=True)
class Page:
    """A document: what it is called, and its text in Markdown."""

    title: str
    text: str


class PageLibrary:
    """Pages to be searched within one rollout. sources: all that were found so far, in the order of their numbers."""

    def __init__(self, pages: Sequence[Page], *, most: int = MOST, shuffled: Random | None = None):
        """shuffled: what is found comes in a random order, so that the best is not to be had by taking the first."""
        self.sources: list[Source] = []
        self._shuffled = shuffled
        self._most = most
        self._passages = [
            (
                Source(0, page.title, f"library:{at}", passage.text),
                Counter(terms(f"{page.title} {passage.heading} {passage.text}")),
            )
            for at, page in enumerate(pages, 1)
            for passage in cut(page.text)
        ]
        self._in = Counter(term for _, counts in self._passages for term in counts)
        self._mean = sum(c.total() for _, c in self._passages) / max(1, len(self._passages))

    def look(self, query: str) -> Found:
        """What fits the query best, what was found before behind the rest; of one page at most three passages."""
        wanted = dict.fromkeys(terms(query))
        scored = [(self._score(wanted, counts), -at) for at, (_, counts) in enumerate(self._passages)]
        scored = sorted((s for s in scored if s[0] > 0), reverse=True)
        known = {(source.url, source.excerpt): source for source in self.sources}
        found: list[Source] = []
        again: list[Source] = []
        for source in self._best(scored):
            if (before := known.get((source.url, source.excerpt))) is not None:
                again.append(before)
            else:
                found.append(replace(source, number=len(self.sources) + len(found) + 1))
        self.sources += found
        return Found(query, tuple(found), again=tuple(again))

    def _best(self, scored: Sequence[tuple[float, int]]) -> list[Source]:
        """The passages that score best, as many as are wanted."""
        best: list[Source] = []
        taken: Counter[str] = Counter()
        for score, at in scored:
            source = self._passages[-at][0]
            if score < LEAST_SHARE * scored[0][0] or len(best) == self._most:
                break
            if taken[source.url] < EACH:
                taken[source.url] += 1
                best.append(source)
        if self._shuffled is not None:
            self._shuffled.shuffle(best)
        return best

    def _score(self, wanted: dict[str, None], counts: Counter[str]) -> float:
        length, total = counts.total() / self._mean, 0.0
        for term in wanted:
            if times := counts[term]:
                rare = math.log(1 + (len(self._passages) - self._in[term] + 0.5) / (self._in[term] + 0.5))
                total += rare * times * (K1 + 1) / (times + K1 * (1 - B + B * length))
        return total
