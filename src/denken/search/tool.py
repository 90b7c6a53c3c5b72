"""A query looked up in the library, and what is found as numbered sources.

A `Searcher` is made once, by whoever serves; a `look` once for each reply. It never raises and keeps its deadline:
whatever is down or slow is left out, and `Found.problem` says so.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import replace

from denken.search.found import Found, Look, Source
from denken.search.library import Library

log = logging.getLogger(__name__)

DEADLINE = 6.0
MOST_SOURCES = 6
MAX_QUERY_CHARACTERS = 400


class Searcher:
    """library: documents of one's own. deadline: seconds that a search takes at the most."""

    def __init__(self, *, library: Library | None = None, deadline: float = DEADLINE):
        self.library, self.deadline = library, deadline

    @property
    def web(self) -> str | None:
        """What searches the web, by name; None where nothing does."""
        return None

    def places(self, owner: str | None) -> list[str]:
        """Where can be searched: "web", "library"."""
        return ["library"] if self.library is not None else []

    def look(self, owner: str | None, places: Sequence[str]) -> Look:
        """The searches of one reply: their sources are numbered from 1, and none comes twice."""
        return _Look(self, owner, [place for place in places if place in self.places(owner)])


class _Look:
    def __init__(self, searcher: Searcher, owner: str | None, places: Sequence[str]):
        self._searcher, self._owner, self._places = searcher, owner, places
        self._seen: dict[tuple[str, str], int] = {}

    async def __call__(self, query: str) -> Found:
        began = time.monotonic()
        query = " ".join(query.split())[:MAX_QUERY_CHARACTERS]
        try:
            async with asyncio.timeout(self._searcher.deadline):
                found = await self._found(query)
        except TimeoutError:
            found = Found(query, problem=f"The search took longer than {self._searcher.deadline:g} s.")
        except Exception:
            log.exception("A search failed.")
            found = Found(query, problem="The search failed; the server's log says why.")
        return replace(found, seconds=time.monotonic() - began)

    async def _found(self, query: str) -> Found:
        library = self._searcher.library
        if not query or library is None or "library" not in self._places:
            return Found(query, problem="There is nothing to search." if query else "The query is empty.")
        try:
            hits = await asyncio.to_thread(library.search, query, self._owner, most=MOST_SOURCES)
        except sqlite3.Error as error:
            return Found(query, problem=f"The library could not be searched ({error}).")
        return self._numbered(query, [Source(0, h.title, f"library:{h.document}", h.text) for h in hits])

    def _numbered(self, query: str, sources: Sequence[Source]) -> Found:
        new: list[Source] = []
        again: list[Source] = []
        for key, source in {(source.url, source.excerpt): source for source in sources}.items():
            known = key in self._seen
            number = self._seen.setdefault(key, len(self._seen) + 1)
            (again if known else new).append(replace(source, number=number))
        return Found(query, tuple(new), again=tuple(again))
