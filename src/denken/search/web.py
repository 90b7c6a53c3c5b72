"""A query looked up on the web: a provider's hits, the best pages read all at once, their best passages.

Everything has to be done by one moment. Pages that are not read by then are told by the provider's own excerpts, and so
are pages that cannot be read at all.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from denken.search import passages
from denken.search.convert import ConvertError, converted, prepare
from denken.search.fetch import Fetcher, FetchError
from denken.search.found import Source
from denken.search.provider import Hit, Provider, ProviderError
from denken.search.ranking import scores

MOST_PAGES = 5
PAGE_BYTES = 2 * 2**20
PAGE_CHARACTERS = 60_000
# Whoever waits for a page waits less; this ends what nobody waits for any more.
PAGE_SECONDS = 8.0
# Of the time that is left, what the provider may take; pages want the rest.
PROVIDER_SHARE = 0.6
# Before that moment: for ranking what was read, and for saying so where even that took too long.
SPARE_SECONDS, LAST_SECONDS = 0.6, 0.1
EACH = 2
# Per place in the provider's order, which knows more than words do.
RANK_SHARE = 0.1


# Not the threads that others wait in, of which a slow resolver may hold all.
_threads = ThreadPoolExecutor(2, thread_name_prefix="ranking")


@dataclass(frozen=True, slots=True)
class _Passage:
    source: Source
    rank: int
    text: str


class Web:
    """provider: who names the pages. fetcher: who brings them."""

    def __init__(self, provider: Provider, fetcher: Fetcher | None = None):
        self.provider, self.fetcher = provider, fetcher or Fetcher()

    @property
    def name(self) -> str:
        return self.provider.name

    async def search(self, query: str, end: float, most: int) -> tuple[list[Source], str]:
        """At most so many sources, not numbered yet, best first; and what is missing, or "".

        end: when it has to be done, by `time.monotonic`.
        """
        prepare()
        left = end - time.monotonic()
        try:
            hits = await self.provider.search(query, max(0.1, PROVIDER_SHARE * left))
        except ProviderError as error:
            return [], f"The web search failed: {error}"
        if not hits:
            return [], ""
        reading = [asyncio.create_task(self._read(hit)) for hit in hits[:MOST_PAGES]]
        try:
            await asyncio.wait(reading, timeout=max(0.0, end - SPARE_SECONDS - time.monotonic()))
            pages = [task.result() if task.done() else None for task in reading]
        finally:
            for task in reading:
                task.cancel()
        if any(pages):
            # Hundreds of thousands of characters keep a processor busy, and others are being answered.
            ranking = asyncio.get_running_loop().run_in_executor(_threads, _best, query, hits, pages, most)
            try:
                async with asyncio.timeout(end - LAST_SECONDS - time.monotonic()):
                    return await ranking, ""
            except TimeoutError:
                pass
        return _best(query, hits, (), most), f"No page could be read in time; shown is what {self.name} says of them."

    async def _read(self, hit: Hit) -> Source | None:
        """The page as one source, whose excerpt is its whole text; None where it cannot be read."""
        try:
            fetched = await self.fetcher.get(hit.url, max_bytes=PAGE_BYTES, seconds=PAGE_SECONDS)
            kind = {"media_type": fetched.media_type, "url": fetched.url}
            page = await converted(fetched.body, hit.url, **kind, characters=PAGE_CHARACTERS, seconds=PAGE_SECONDS)
        except (FetchError, ConvertError):
            return None
        return Source(0, hit.title, hit.url, page.text, page.published or hit.published)


def _best(query: str, hits: Sequence[Hit], pages: Sequence[Source | None], most: int) -> list[Source]:
    """The passages that fit best, of each page a few; where none shares a word, the first of each page."""
    read = dict(enumerate(pages))
    candidates = [passage for rank, hit in enumerate(hits) for passage in _passages(hit, rank, read.get(rank))]
    scored = scores(query, [passage.text for passage in candidates])
    weighed = [(score / (1 + RANK_SHARE * one.rank), one) for score, one in zip(scored, candidates, strict=True)]
    weighed.sort(key=lambda pair: -pair[0])
    any_fits = bool(weighed) and weighed[0][0] > 0
    chosen: list[Source] = []
    for score, passage in weighed:
        of_page = sum(source.url == passage.source.url for source in chosen)
        if len(chosen) < most and of_page < (EACH if score else not any_fits):
            chosen.append(passage.source)
    return chosen


def _passages(hit: Hit, rank: int, page: Source | None) -> Iterator[_Passage]:
    """Of a page that was read, else the one that the provider gives."""
    if page is not None:
        for passage in passages.cut(page.excerpt):
            text = f"{hit.title} {passage.heading} {passage.text}"
            yield _Passage(replace(page, excerpt=passage.text), rank, text)
    elif hit.excerpt:
        source = Source(0, hit.title, hit.url, hit.excerpt[: passages.CHARACTERS], hit.published)
        yield _Passage(source, rank, f"{hit.title} {source.excerpt}")
