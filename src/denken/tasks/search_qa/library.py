"""A few pages that can be searched as the served library is: the same passages, words, shortening and numbering.

One object serves one rollout: it numbers its sources from 1 and brings none twice. Passages are ranked in memory;
`search/library.py` does it in SQLite, which for twenty passages would be a file too many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from denken.search.found import Found, Source
from denken.search.passages import cut
from denken.search.ranking import scores

MOST = 6
EACH = 3
LEAST_SHARE = 0.3


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
        cuts = [(page, at, passage) for at, page in enumerate(pages, 1) for passage in cut(page.text)]
        self._passages = [Source(0, page.title, f"library:{at}", passage.text) for page, at, passage in cuts]
        self._searched = [f"{page.title} {passage.heading} {passage.text}" for page, _, passage in cuts]

    def look(self, query: str) -> Found:
        """What fits the query best, what was found before behind the rest; of one page at most three passages."""
        known = {(source.url, source.excerpt): source for source in self.sources}
        found: list[Source] = []
        again: list[Source] = []
        for source in self._best(query):
            if (before := known.get((source.url, source.excerpt))) is not None:
                again.append(before)
            else:
                found.append(replace(source, number=len(self.sources) + len(found) + 1))
        self.sources += found
        return Found(query, tuple(found), again=tuple(again))

    def _best(self, query: str) -> list[Source]:
        """The passages that score best, as many as are wanted."""
        scored = zip(scores(query, self._searched), self._passages, strict=True)
        ranked = sorted(((score, source) for score, source in scored if score > 0), key=lambda pair: -pair[0])
        best: list[Source] = []
        taken: Counter[str] = Counter()
        for score, source in ranked:
            if score < LEAST_SHARE * ranked[0][0] or len(best) == self._most:
                break
            if taken[source.url] < EACH:
                taken[source.url] += 1
                best.append(source)
        if self._shuffled is not None:
            self._shuffled.shuffle(best)
        return best
