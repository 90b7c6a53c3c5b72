"""A search of the library and the web: what is found first, what is left out, and never later than was said."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from denken.search import web
from denken.search.library import Library
from denken.search.provider import Hit, ProviderError
from denken.search.tool import Searcher
from wires import serving

DOCUMENT = "The harbour of Norrau is closed for repairs until May."


@pytest.fixture
def library(tmp_path: Path) -> Library:
    library = Library(tmp_path / "library.db")
    library.add("My notes", DOCUMENT, "notes.txt")
    return library


PATIENT = 60.0  # for what is to be found on a machine that has much to do


def searches(searcher: Searcher, *queries: str, places=("web", "library"), owner=None):
    look = searcher.look(owner, places)

    async def run():
        return [await look(query) for query in queries]

    return asyncio.run(run())


def test_documents_of_ones_own_come_first_and_then_the_passage_of_the_page(new_provider, fetcher, library):
    provider = new_provider("/harbour", "/tower")
    (found,) = searches(
        Searcher(provider, library, fetcher=fetcher, deadline=PATIENT), "When does the  harbour of Norrau open?"
    )
    assert provider.queries == ["When does the harbour of Norrau open?"]
    assert [source.number for source in found.sources] == list(range(1, len(found.sources) + 1))
    assert (found.sources[0].title, found.sources[0].excerpt) == ("My notes", DOCUMENT)
    assert found.sources[1].url == "http://page.example/harbour"
    assert "opens at six o'clock" in found.sources[1].excerpt
    assert len(found.sources[1].excerpt) <= 500
    assert not found.problem
    assert 0 < found.seconds < PATIENT


def test_only_the_places_that_were_asked_for_are_searched(new_provider, fetcher, library, internet):
    provider = new_provider("/harbour")
    searcher = Searcher(provider, library, fetcher=fetcher)
    assert searcher.places(None) == ["web", "library"]
    (found,) = searches(searcher, "harbour", places=["library"])
    assert [source.title for source in found.sources] == ["My notes"]
    assert provider.queries == []
    assert internet.dialled == []
    (found,) = searches(searcher, "harbour", places=["web"])
    assert "My notes" not in [source.title for source in found.sources]
    assert Searcher(None, library).places(None) == ["library"]
    (found,) = searches(Searcher(None, library), "harbour", places=["web"])
    assert found.problem == "There is nothing here to search."


def test_a_source_keeps_its_number_through_a_reply(new_provider, fetcher, library):
    searcher = Searcher(new_provider("/harbour", "/tower"), library, fetcher=fetcher, deadline=PATIENT)
    first, second = searches(searcher, "harbour Norrau", "tower of Ellmoor harbour Norrau repairs")
    numbers = {(source.url, source.excerpt): source.number for source in first.sources}
    assert [source.number for source in second.sources] == list(
        range(len(numbers) + 1, len(numbers) + 1 + len(second.sources))
    )
    assert "tower" in second.sources[0].excerpt
    assert second.again
    for source in second.again:
        assert source.number == numbers[source.url, source.excerpt]


@pytest.mark.parametrize("failure", [ProviderError("Fake is asked too often."), RuntimeError("secret detail")])
def test_a_web_that_fails_leaves_the_library(new_provider, library, failure):
    provider = new_provider()
    provider.fails = failure
    (found,) = searches(Searcher(provider, library), "harbour")
    assert [source.title for source in found.sources] == ["My notes"]
    assert "web" in found.problem
    assert "secret" not in found.problem
    assert "asked too often" in found.problem or "log says why" in found.problem


def test_a_provider_that_hangs_leaves_the_library_within_the_deadline(new_provider, library):
    provider = new_provider()
    provider.pause = 60
    (found,) = searches(Searcher(provider, library, deadline=3), "harbour")
    assert [source.title for source in found.sources] == ["My notes"]
    assert "Fake took longer than" in found.problem
    assert found.seconds < 30


def test_a_provider_that_ignores_its_time_is_left_all_the_same(library):
    class Stubborn:
        name = "Stubborn"

        async def search(self, query, seconds):
            await asyncio.sleep(60)

    (found,) = searches(Searcher(Stubborn(), library, deadline=3), "harbour")
    assert found.problem == "The search of the web took longer than 3 s."
    assert [source.title for source in found.sources] == ["My notes"]
    assert found.seconds < 30


def test_pages_that_hang_fail_or_lie_are_told_by_the_provider(new_provider, internet, fetcher):
    provider = new_provider("/harbour", "/missing", "/huge")
    provider.hits += [
        Hit("http://private.example/admin", "Private", "What the harbour provider says."),
        Hit("http://silent.example/", "Silent", "Silence about the harbour."),
        Hit("http://six.example/", "Sixth", "The harbour, too: only the first pages are read."),
    ]
    internet.names["silent.example"] = [["1.1.1.1"]]
    with serving(lambda handler: time.sleep(5)) as port:
        internet.servers["1.1.1.1"] = port
        (found,) = searches(Searcher(provider, fetcher=fetcher, deadline=2.5), "harbour of Norrau", places=["web"])
    by_url = {source.url: source.excerpt for source in found.sources}
    assert "http://page.example/harbour" in by_url
    assert by_url["http://private.example/admin"] == "What the harbour provider says."
    assert by_url["http://silent.example/"] == "Silence about the harbour."
    assert by_url["http://six.example/"].startswith("The harbour, too")
    assert "127.0.0.1" not in internet.dialled
    assert found.seconds < 30


def test_where_no_page_can_be_read_that_is_said(new_provider, fetcher):
    (found,) = searches(Searcher(new_provider("/missing", "/gone"), fetcher=fetcher), "an excerpt", places=["web"])
    assert [source.excerpt for source in found.sources] == ["Excerpt of /missing.", "Excerpt of /gone."]
    assert found.problem == "No page could be read in time; shown is what Fake says of them."


def test_pages_that_cannot_be_ranked_in_time_are_told_by_the_provider(new_provider, fetcher, monkeypatch):
    real = web._best

    def slow(query, hits, pages, most):
        time.sleep(6 * any(pages))
        return real(query, hits, pages, most)

    monkeypatch.setattr(web, "_best", slow)
    searcher = Searcher(new_provider("/tower"), fetcher=fetcher, deadline=4)
    (found,) = searches(searcher, "an excerpt", places=["web"])
    assert [source.excerpt for source in found.sources] == ["Excerpt of /tower."]
    assert "read in time" in found.problem
    assert found.seconds < 30


def test_nothing_found_is_no_problem(new_provider, tmp_path, library):
    (found,) = searches(Searcher(new_provider(), library), "zeppelin")
    assert (found.sources, found.problem) == ((), "")
    (found,) = searches(Searcher(None, Library(tmp_path / "empty.db")), "zeppelin")
    assert found.problem == "The library is empty; add a document to it first."


@pytest.mark.parametrize("query", ["", "  \n", "\0", "?" * 10_000, "\ud800", "x " * 5000, "NEAR(", '"'])
def test_no_query_makes_it_raise(new_provider, fetcher, library, query):
    provider = new_provider("/tower")
    (found,) = searches(Searcher(provider, library, fetcher=fetcher), query)
    assert len(found.query) <= 400
    assert not query.strip() or len(provider.queries) == 1


def test_a_broken_library_is_said(library, new_provider, fetcher):
    library.file.write_bytes(b"no database" * 1000)
    for suffix in ("-wal", "-shm"):
        Path(f"{library.file}{suffix}").unlink(missing_ok=True)
    (found,) = searches(
        Searcher(new_provider("/tower"), library, fetcher=fetcher, deadline=PATIENT), "tower of Ellmoor"
    )
    assert found.problem == "The library could not be searched just now."
    assert "1412" in found.sources[0].excerpt


def test_who_waits_no_more_ends_the_search(new_provider, fetcher):
    provider = new_provider("/tower")
    provider.pause = 60

    async def run():
        look = Searcher(provider, fetcher=fetcher).look(None, ["web"])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await look("tower")
        await asyncio.sleep(0.05)
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    assert asyncio.run(run()) == []


def test_many_replies_search_at_once(new_provider, fetcher, library):
    searcher = Searcher(new_provider("/tower"), library, fetcher=fetcher, deadline=PATIENT)

    async def run():
        return await asyncio.gather(*(searcher.look(None, ["web", "library"])("tower harbour") for _ in range(8)))

    for found in asyncio.run(run()):
        assert [source.number for source in found.sources] == [1, 2]
