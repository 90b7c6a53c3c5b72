"""A web of two or three pages, a provider that names them, and how long either of them takes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from denken.search.convert import convert
from denken.search.fetch import Fetcher
from denken.search.provider import Hit, ProviderError
from wires import Internet, say, serving

PAGES = {
    "/harbour": "<html><title>Harbour of Norrau</title><body><h1>Harbour of Norrau</h1>"
    + "<p>Norrau lies on the northern coast, and its walls are made of red brick, as everybody knows who was there.</p>"
    * 9
    + "<p>The harbour of Norrau opens at six o'clock in the morning and closes at nine in the evening.</p>"
    + "<p>On Sundays the bells ring at noon, and the baker gives away what is left of Saturday's bread.</p>" * 9,
    "/tower": "<html><title>Tower</title><body><p>The tower of Ellmoor was built in 1412 by Ada Brenn.</p>",
    "/huge": "<html>" + "<p>filler and more of it</p>" * 200_000,
}


class FakeProvider:
    """Names the pages that a test says, after `pause` seconds, or fails as it says."""

    name = "Fake"

    def __init__(self, *paths: str):
        self.hits = [Hit(f"http://page.example{path}", f"Title {path}", f"Excerpt of {path}.") for path in paths]
        self.pause = 0.0
        self.fails: Exception | None = None
        self.queries: list[str] = []

    async def search(self, query: str, seconds: float) -> list[Hit]:
        self.queries.append(query)
        try:
            async with asyncio.timeout(seconds):
                await asyncio.sleep(self.pause)
        except TimeoutError:
            raise ProviderError(f"Fake took longer than {seconds:.1f} s.") from None
        if self.fails is not None:
            raise self.fails
        return self.hits


@pytest.fixture(scope="session")
def _pages() -> Iterator[int]:
    def answer(handler):
        body = PAGES.get(handler.path)
        say(handler, (body or "").encode(), 200 if body else 404)

    convert(b"<html><p>Ready.", "page.html", seconds=60)  # the parser's process takes a while to start
    with serving(answer) as port:
        yield port


@pytest.fixture
def internet(_pages: int) -> Internet:
    """page.example has the pages; silent.example answers nothing; private.example is this machine."""
    internet = Internet()
    internet.names = {"page.example": [["93.184.216.34"]], "private.example": [["127.0.0.1"]]}
    internet.servers["93.184.216.34"] = _pages
    return internet


@pytest.fixture
def fetcher(internet: Internet) -> Fetcher:
    return Fetcher(resolve=internet.resolve, network=internet)


@pytest.fixture
def new_provider() -> type[FakeProvider]:
    return FakeProvider
