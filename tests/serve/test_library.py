"""One's own documents over HTTP, whose they are, and that nothing leaves the machine where nobody asked for it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing

import pytest
from conversing import Hand, Named
from starlette.testclient import TestClient

from denken.search.fetch import Fetcher
from denken.search.library import Library
from denken.search.provider import Ddgs, Hit
from denken.search.tool import Searcher
from denken.serve.app import create_app
from denken.serve.chats.chats import Chats
from wires import Internet, say, serving

TEXT = "Der Hafen von Norrau öffnet um sechs Uhr."
PAGE = "<html><title>Norrau</title><body><h1>Norrau</h1><p>The harbour opens at six.</p></body></html>"


class FakeProvider:
    name = "Fake"

    async def search(self, query: str, seconds: float) -> list[Hit]:
        return [Hit("http://page.example/", "Norrau", "The harbour.")]


@pytest.fixture
def internet() -> Iterator[Internet]:
    internet = Internet()
    internet.names = {"page.example": [["93.184.216.34"]], "private.example": [["192.168.1.1"]]}
    with serving(lambda handler: say(handler, PAGE.encode())) as port:
        internet.servers["93.184.216.34"] = port
        yield internet


@pytest.fixture
def library(tmp_path) -> Library:
    return Library(tmp_path / "library.db")


@pytest.fixture
def searcher(internet, library) -> Searcher:
    fetcher = Fetcher(resolve=internet.resolve, network=internet)
    return Searcher(FakeProvider(), library, fetcher=fetcher)


@pytest.fixture
def app(speaker, searcher, sqlite_store):
    with closing(Chats(sqlite_store, searcher)) as chats:
        yield create_app(speaker, desk=Named(), chats=chats, searcher=searcher)


@pytest.fixture(autouse=True)
def roomy(speaker) -> None:
    """So that the results fit."""
    speaker.context = 100_000


@pytest.fixture
def client(app) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def hand(client) -> Hand:
    return Hand(client)


def add(hand: Hand, content: bytes, name: str = "norrau.txt", status: int = 200):
    return hand.call("POST", "/app/library", status, params={"name": name}, content=content)


def test_a_document_is_added_listed_found_shown_and_taken_away(hand):
    added = add(hand, TEXT.encode())
    assert added == added | {"title": "norrau", "source": "norrau.txt", "characters": len(TEXT), "passages": 1}
    assert added["own"] is True
    assert hand.call("GET", "/app/library") == {"documents": [added]}
    (hit,) = hand.call("GET", "/app/library/search", params={"q": "Wann ist der Hafen geöffnet?"})["hits"]
    assert hit == {"document": added["id"], "title": "norrau", "heading": "", "text": TEXT}
    assert hand.call("GET", f"/app/library/{added['id']}") == added | {"text": TEXT}
    hand.call("DELETE", f"/app/library/{added['id']}")
    hand.call("DELETE", f"/app/library/{added['id']}", 404)
    hand.call("GET", f"/app/library/{added['id']}", 404)
    assert hand.call("GET", "/app/library") == {"documents": []}


def test_the_same_file_again_replaces_it(hand):
    add(hand, b"one")
    assert add(hand, b"two")["id"] == hand.call("GET", "/app/library")["documents"][0]["id"]
    assert len(hand.call("GET", "/app/library")["documents"]) == 1


def test_a_page_is_added_by_its_address(hand):
    added = hand.call("POST", "/app/library", json={"url": "http://page.example/"})
    assert added == added | {"title": "Norrau", "source": "http://page.example/"}
    (hit,) = hand.call("GET", "/app/library/search", params={"q": "harbour opens"})["hits"]
    assert hit["text"] == "The harbour opens at six."


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"json": {"url": "http://private.example/"}}, "not_fetched"),
        ({"json": {"url": "http://169.254.169.254/"}}, "not_fetched"),
        ({"json": {"url": "file:///etc/passwd"}}, "not_fetched"),
        ({"json": {"url": ""}}, "no_file"),
        ({"json": {"url": 5}}, "no_file"),
        ({"json": []}, "no_file"),
        ({"content": b""}, "no_file"),
        ({"content": b"{"}, "no_file"),
        ({"params": {"name": "a.txt"}, "content": b""}, "not_readable"),
        ({"params": {"name": "a.pdf"}, "content": b"no pdf"}, "not_readable"),
        ({"params": {"name": "a.bin"}, "content": b"\0\1\2"}, "not_readable"),
        ({"params": {"name": ""}, "content": b"text"}, None),
        ({"params": {"name": "x" * 201}, "content": b"text"}, None),
    ],
)
def test_what_cannot_be_added_is_a_sentence(hand, internet, sent, code):
    error = hand.call("POST", "/app/library", 400, **sent)["error"]
    assert code is None or (error["code"] == code and error["message"].endswith("."))
    assert internet.dialled == []


def test_strange_names_are_kept_as_text(hand):
    for name in ("../../etc/passwd", "a\nb\0.txt", "<b>.txt", "\u202etxt.exe", "文書.txt"):
        assert add(hand, b"strange text", name)["passages"] == 1
    assert len(hand.call("GET", "/app/library")["documents"]) == 5


@pytest.mark.parametrize("id_", ["0", "-1", "1.0", "١", "x", "9" * 18, "9" * 60, "1 OR 1=1", "%00"])
def test_ids_that_no_document_has(hand, id_):
    add(hand, TEXT.encode())
    for method in ("GET", "DELETE"):
        hand.call(method, f"/app/library/{id_}", 404)


@pytest.mark.parametrize(
    "query", ["", '"', "NEAR(", "\ud800".encode("utf-8", "surrogatepass"), "x" * 1000, "*", "a AND"]
)
def test_no_query_fails(hand, query):
    add(hand, TEXT.encode())
    assert hand.call("GET", "/app/library/search", params={"q": query})["hits"] == []
    hand.call("GET", "/app/library/search", 400)
    hand.call("GET", "/app/library/search", 400, params={"q": "x" * 1001})


def test_a_key_sees_its_own_and_everybodys_and_takes_away_its_own(client, library):
    everybodys = str(library.add("Everybody's", "The tower is tall.", "tower.txt").id)
    anna, berta = Hand(client, "anna"), Hand(client, "berta")
    own = add(anna, b"The tower frightens me.", "diary.txt")
    assert [(one["title"], one["own"]) for one in anna.call("GET", "/app/library")["documents"]] == [
        ("diary", True),
        ("Everybody's", False),
    ]
    assert [one["title"] for one in berta.call("GET", "/app/library")["documents"]] == ["Everybody's"]
    assert len(anna.call("GET", "/app/library/search", params={"q": "tower"})["hits"]) == 2
    assert len(berta.call("GET", "/app/library/search", params={"q": "tower"})["hits"]) == 1
    for method in ("GET", "DELETE"):
        berta.call(method, f"/app/library/{own['id']}", 404)
    assert anna.call("DELETE", f"/app/library/{everybodys}", 403)["error"]["code"] == "not_yours"
    anna.call("DELETE", f"/app/library/{own['id']}")
    Hand(client).call("DELETE", f"/app/library/{everybodys}")


def test_a_library_that_cannot_be_used_is_a_503(hand, library):
    library.file.write_bytes(b"no database" * 1000)
    error = hand.call("GET", "/app/library", 503)["error"]
    assert error["code"] == "store_failed"


def test_the_page_is_told_what_can_be_searched(hand):
    state = hand.call("GET", "/app/state")
    assert (state["search"], state["web_search"]) == (["web", "library"], "Fake")


def test_a_turn_with_search_finds_and_cites_the_document(hand):
    add(hand, TEXT.encode())
    reply = hand.ask(hand.new(), "Wann öffnet der Hafen?", search=["library"])
    assert [source["excerpt"] for source in reply["sources"]] == [TEXT]
    assert [step["sources"] for step in reply["steps"]] == [[1]]


@pytest.fixture
def sockets(monkeypatch) -> list[object]:
    """Whom anything of this process has tried to reach; nobody is."""
    tried: list[object] = []

    def refuse(*arguments, **_):
        tried.append(arguments[1:] or arguments)
        raise OSError("Nothing may leave this machine.")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("getaddrinfo", "create_connection", "gethostbyname"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(Ddgs, "_ask", refuse)  # it does not go through Python's sockets
    return tried


@pytest.mark.parametrize("search", [[], ["library"]])
@pytest.mark.parametrize("web", [None, Ddgs()])
def test_with_search_off_nothing_leaves_the_machine(speaker, sqlite_store, library, sockets, search, web):
    """Nor with the library alone: whatever provider the server was started with."""
    searcher = Searcher(web, library)
    with closing(Chats(sqlite_store, searcher)) as chats:
        app = create_app(speaker, desk=Named(), chats=chats, searcher=searcher)
        with TestClient(app, base_url="http://localhost:8000") as client:
            hand = Hand(client)
            add(hand, PAGE.encode(), "norrau.html")
            reply = hand.ask(hand.new(), "When does http://page.example/ say the harbour opens?", search=search)
            assert bool(reply["sources"]) == bool(search)
            hand.call("GET", "/app/library/search", params={"q": "harbour"})
            hand.call("GET", "/app/state")
            if web is None:
                error = hand.call("POST", "/app/library", 400, json={"url": "http://page.example/"})["error"]
                assert error["code"] == "no_web"
    assert sockets == []


def test_with_the_web_switched_on_it_would_be_seen(speaker, sqlite_store, library, sockets):
    """So that the test before this one could fail."""
    searcher = Searcher(Ddgs(), library)
    with closing(Chats(sqlite_store, searcher)) as chats:
        app = create_app(speaker, desk=Named(), chats=chats, searcher=searcher)
        with TestClient(app, base_url="http://localhost:8000") as client:
            hand = Hand(client)
            reply = hand.ask(hand.new(), "When?", search=["web"])
            assert "could not search" in reply["steps"][0]["problem"]
            hand.call("POST", "/app/library", 400, json={"url": "http://page.example/"})
    assert len(sockets) == 2
