"""A query looked up in the library and on the web at once, and what is found as numbered sources.

A `Searcher` is made once, by whoever serves; a `look` once for each reply. It never raises and keeps its deadline:
whatever is down, slow or throttled is left out, and `Found.problem` says so. Documents of one's own come first.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from denken.search.fetch import Fetcher
from denken.search.found import Found, Look, Source
from denken.search.library import Library
from denken.search.provider import Provider
from denken.search.web import Web

log = logging.getLogger(__name__)

DEADLINE = 6.0
MOST_SOURCES = 6
# Of the library, where the web is asked as well.
MOST_OF_LIBRARY = 3
MAX_QUERY_CHARACTERS = 400

_threads = ThreadPoolExecutor(4, thread_name_prefix="library")


class Searcher:
    """provider: who searches the web; None leaves it alone. library: documents of one's own. fetcher: for the pages.

    deadline: seconds that a search takes at the most.
    """

    def __init__(
        self,
        provider: Provider | None = None,
        library: Library | None = None,
        *,
        fetcher: Fetcher | None = None,
        deadline: float = DEADLINE,
    ):
        self.library, self.deadline = library, deadline
        # Pages are fetched where the web is searched, and where one is added to the library by its address.
        self.fetcher = fetcher or Fetcher()
        self._web = None if provider is None else Web(provider, self.fetcher)

    @property
    def web(self) -> str | None:
        """What searches the web, by name; None where nothing does."""
        return None if self._web is None else self._web.name

    def places(self, owner: str | None) -> list[str]:
        """Where can be searched: "web", "library"."""
        return ["web"] * (self._web is not None) + ["library"] * (self.library is not None)

    def look(self, owner: str | None, places: Sequence[str]) -> Look:
        """The searches of one reply: their sources are numbered from 1, and none comes twice.

        owner: whose documents are searched besides everybody's. places: some of `places`; others are passed over.
        """
        return _Look(self, owner, [place for place in self.places(owner) if place in places])

    async def search(
        self, query: str, owner: str | None, places: Sequence[str], end: float
    ) -> tuple[list[Source], str]:
        """What all places have found by `end`, not numbered yet, and what is missing, or "".

        end: by `time.monotonic`.
        """
        asking = {place: asyncio.create_task(self._in(place, query, owner, places, end)) for place in places}
        try:
            await asyncio.wait(asking.values(), timeout=max(0.0, end - time.monotonic()))
            said = {place: task.result() for place, task in asking.items() if task.done()}
        finally:
            for task in asking.values():
                task.cancel()
        sources: list[Source] = []
        problems: list[str] = []
        for place in sorted(places):  # documents of one's own first
            found, problem = said.get(place, ([], f"The search of the {place} took longer than {self.deadline:g} s."))
            sources += found
            problems += [problem] * bool(problem)
        return sources[:MOST_SOURCES], " ".join(problems)

    async def _in(
        self, place: str, query: str, owner: str | None, places: Sequence[str], end: float
    ) -> tuple[list[Source], str]:
        try:
            if place == "library" and self.library is not None:
                alone = len(places) == 1
                asked = partial(_in_library, self.library, query, owner, alone)
                return await asyncio.get_running_loop().run_in_executor(_threads, asked)
            if self._web is not None:
                return await self._web.search(query, end, MOST_SOURCES)
        except Exception:  # a reply is not to fail because a search did
            log.exception("A search of the %s failed.", place)
        return [], f"The search of the {place} failed; the server's log says why."


def _in_library(library: Library, query: str, owner: str | None, alone: bool) -> tuple[list[Source], str]:
    try:
        hits = library.search(query, owner, most=MOST_SOURCES if alone else MOST_OF_LIBRARY, each=3 if alone else 2)
        empty = alone and not hits and library.is_empty(owner)
    except sqlite3.Error as error:
        log.warning("The library could not be searched: %s", error)
        return [], "The library could not be searched just now."
    sources = [Source(0, hit.title, f"library:{hit.document}", hit.text) for hit in hits]
    return sources, "The library is empty; add a document to it first." if empty else ""


class _Look:
    def __init__(self, searcher: Searcher, owner: str | None, places: Sequence[str]):
        self._searcher, self._owner, self._places = searcher, owner, places
        self._seen: dict[tuple[str, str], int] = {}

    async def __call__(self, query: str) -> Found:
        began = time.monotonic()
        query = " ".join(query.split())[:MAX_QUERY_CHARACTERS]
        if not query or not self._places:
            return Found(query, problem="There is nothing here to search." if query else "The query is empty.")
        end = began + self._searcher.deadline
        sources, problem = await self._searcher.search(query, self._owner, self._places, end)
        return replace(self._numbered(query, sources), problem=problem, seconds=time.monotonic() - began)

    def _numbered(self, query: str, sources: Sequence[Source]) -> Found:
        new: list[Source] = []
        again: list[Source] = []
        for key, source in {(source.url, source.excerpt): source for source in sources}.items():
            known = key in self._seen
            number = self._seen.setdefault(key, len(self._seen) + 1)
            (again if known else new).append(replace(source, number=number))
        return Found(query, tuple(new), again=tuple(again))
