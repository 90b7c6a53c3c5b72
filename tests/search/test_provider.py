"""Providers against servers of this machine: good ones, slow ones, throttling ones, garbage and far too much."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
import types
from urllib.parse import parse_qs, urlsplit

import pytest

from denken.errors import ConfigError
from denken.search import provider as module
from denken.search.provider import Brave, Ddgs, Hit, Patient, ProviderError, SearXNG, Tavily, provider
from wires import say, serving

PLACE, DATE = "https://a.example/", "2024-05-01"
RESULTS = {
    "searxng": {
        "results": [{"url": PLACE, "title": "A &amp; <b>B</b>", "content": "One\n two", "publishedDate": DATE}]
    },
    "brave": {
        "web": {"results": [{"url": PLACE, "title": "A & <i>B</i>", "description": "One two", "page_age": DATE}]}
    },
    "tavily": {"results": [{"url": PLACE, "title": "A & B", "content": "One two", "published_date": DATE}]},
}
HIT = Hit(PLACE, "A & B", "One two", DATE)


def made(name: str, port: int):
    url = f"http://127.0.0.1:{port}"
    return {"searxng": SearXNG(url), "brave": Brave("secret", url), "tavily": Tavily("secret", url)}[name]


def search(provider, seconds: float = 30.0, query: str = "when? & <why>"):
    return asyncio.run(provider.search(query, seconds))


@pytest.mark.parametrize("name", RESULTS)
def test_hits_are_read_and_cleaned(name):
    asked = []

    def answer(handler):
        length = int(handler.headers.get("content-length") or 0)
        asked.append((handler.command, handler.path, dict(handler.headers), handler.rfile.read(length)))
        say(handler, json.dumps(RESULTS[name]).encode(), content_type="application/json")

    with serving(answer) as port:
        assert search(made(name, port)) == [HIT]
    ((method, path, headers, body),) = asked
    if name == "tavily":
        assert (method, json.loads(body)["query"]) == ("POST", "when? & <why>")
    else:
        assert (method, parse_qs(urlsplit(path).query)["q"]) == ("GET", ["when? & <why>"])
    keys = {"searxng": None, "brave": headers.get("X-Subscription-Token"), "tavily": headers.get("Authorization")}
    assert keys[name] in (None, "secret", "Bearer secret")
    assert (keys[name] is None) == (name == "searxng")


def test_searxng_is_asked_for_json_under_its_search_path():
    paths = []
    with serving(lambda handler: (paths.append(handler.path), say(handler, b'{"results": []}'))) as port:
        for url in (f"http://127.0.0.1:{port}/sx/", f"http://127.0.0.1:{port}/sx/search"):
            assert search(SearXNG(url)) == []
    assert all(path.startswith("/sx/search?") and "format=json" in path for path in paths)


@pytest.mark.parametrize(
    "result",
    [
        None,
        5,
        [],
        {},
        {"url": 5},
        {"url": "javascript:alert(1)"},
        {"url": "file:///etc/passwd"},
        {"title": "A"},
        {"url": ""},
    ],
)
def test_results_that_are_none_are_passed_over(result):
    said = {"results": [result, *RESULTS["searxng"]["results"], RESULTS["searxng"]["results"][0]]}
    with serving(lambda handler: say(handler, json.dumps(said).encode())) as port:
        assert search(made("searxng", port)) == [HIT]


def test_what_a_provider_says_is_bounded():
    long = [{"url": f"https://a.example/{n}", "title": "x" * 9999, "content": "y" * 9999} for n in range(100)]
    with serving(lambda handler: say(handler, json.dumps({"results": long}).encode())) as port:
        hits = search(made("searxng", port))
    assert len(hits) == module.MOST_HITS
    assert (len(hits[0].title), len(hits[0].excerpt)) == (300, 1000)


def too_much(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda handler: say(handler, b"slow down", 429), "asked too often"),
        (lambda handler: say(handler, b"", 403), "settings.yml must list json"),
        (lambda handler: say(handler, b"", 500), "status 500"),
        (lambda handler: say(handler, b"", 302, location="http://127.0.0.1:1/"), "status 302"),
        (lambda handler: say(handler, b"<html>"), "no JSON object"),
        (lambda handler: say(handler, b"[1]"), "no JSON object"),
        (lambda handler: say(handler, b"[" * 100_000), "no JSON object"),
        (lambda handler: say(handler, b"\xff\xfe"), "no JSON object"),
        (
            lambda handler: say(handler, b'{"results": [], "unresponsive_engines": [["a", "b"]]}'),
            "engines do not answer",
        ),
        (lambda handler: handler.wfile.write(b"garbage\r\n\r\n"), "cannot be reached"),
        (lambda handler: handler.connection.shutdown(socket.SHUT_RDWR), "cannot be reached"),
        (too_much, "more than 2 MiB"),
    ],
)
def test_failures_are_sentences(answer, problem):
    with serving(answer) as port, pytest.raises(ProviderError, match=problem) as raised:
        search(made("searxng", port), 30)
    assert str(raised.value).startswith("SearXNG ")


def drip(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


@pytest.mark.parametrize("answer", [lambda handler: time.sleep(3), drip])
def test_a_slow_one_is_left_in_time(answer):
    began = time.monotonic()
    with serving(answer) as port, pytest.raises(ProviderError, match=r"longer than 0\.5 s"):
        search(made("searxng", port), 0.5)
    assert time.monotonic() - began < 30


def test_nobody_there_is_a_sentence():
    with serving(lambda handler: None) as port:
        pass
    with pytest.raises(ProviderError, match="Brave cannot be reached"):
        search(made("brave", port))


def test_no_proxy_of_the_environment_hears_of_it(monkeypatch):
    heard = []
    with serving(lambda handler: (heard.append(handler.path), say(handler, b"{}"))) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        with serving(lambda handler: say(handler, b'{"results": []}')) as port:
            assert search(made("searxng", port)) == []
    assert heard == []


class Flaky:
    name = "Flaky"

    def __init__(self, *errors: ProviderError | None):
        self.errors, self.asked = list(errors), 0

    async def search(self, query: str, seconds: float) -> list[Hit]:
        self.asked += 1
        if error := self.errors.pop(0) if self.errors else None:
            raise error
        return [HIT]


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(time=1000.0)
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now.time))
    return now


def test_a_provider_that_failed_is_left_alone_for_a_while(clock):
    flaky = Flaky(ProviderError("Flaky is down."), ProviderError("Flaky is down."), None)
    patient = Patient(flaky)
    with pytest.raises(ProviderError, match="is down"):
        search(patient)
    for seconds in (0, 10, 9):
        clock.time += seconds
        with pytest.raises(ProviderError, match=r"left alone for \d+ s"):
            search(patient)
    assert flaky.asked == 1
    clock.time += 2
    with pytest.raises(ProviderError, match="is down"):
        search(patient)
    clock.time += 30
    with pytest.raises(ProviderError, match="left alone for 10 s"):
        search(patient)
    clock.time += 11
    assert search(patient) == [HIT]
    assert search(patient) == [HIT]
    assert flaky.asked == 4


def test_what_retry_after_says_holds(clock):
    with serving(lambda handler: say(handler, b"", 429, retry_after="120")) as port:
        patient = Patient(made("brave", port))
        with pytest.raises(ProviderError, match="too often"):
            search(patient)
    clock.time += 100
    with pytest.raises(ProviderError, match="left alone for 20 s"):
        search(patient)
    forever = Patient(Flaky(ProviderError("Flaky refuses.", rest=1e9)))
    with pytest.raises(ProviderError):
        search(forever)
    clock.time += module.MOST_REST_SECONDS + 1
    assert search(forever) == [HIT]


@pytest.fixture
def fake_ddgs(monkeypatch):
    """The library ddgs with a `text` of the test's own."""
    from ddgs.exceptions import DDGSException

    def put(text):
        class Fake:
            def __init__(self, timeout):
                self.timeout = timeout

            def text(self, query, **options):
                return text(query, **options)

        fake = types.ModuleType("ddgs")
        fake.DDGS = Fake
        monkeypatch.setitem(sys.modules, "ddgs", fake)

    return types.SimpleNamespace(put=put, error=DDGSException)


def raising(error: Exception):
    def text(query, **options):
        raise error

    return text


def test_ddgs_is_asked_off_the_event_loop(fake_ddgs):
    asked = []

    def text(query, **options):
        asked.append((query, options))
        time.sleep(0.8)
        return [{"href": "https://a.example/", "title": "A & B", "body": "One two"}]

    fake_ddgs.put(text)

    async def run():
        searching = asyncio.create_task(Ddgs().search("when", 30.0))
        turns = 0
        while not searching.done():
            await asyncio.sleep(0.01)
            turns += 1
        return turns, await searching

    turns, hits = asyncio.run(run())
    assert turns > 3
    assert hits == [Hit("https://a.example/", "A & B", "One two")]
    assert asked == [("when", {"max_results": 8, "backend": Ddgs.engines})]


def test_the_failures_of_ddgs_are_sentences(fake_ddgs):
    from ddgs.exceptions import RatelimitException, TimeoutException

    fake_ddgs.put(raising(fake_ddgs.error("No results found.")))
    assert search(Ddgs()) == []
    for error, problem in (
        (RatelimitException("202"), "asked too often"),
        (TimeoutException("slow"), "took longer"),
        (fake_ddgs.error("odd"), r"could not search \(odd\)"),
        (fake_ddgs.error("odd https://a.example/?q=secret"), r"could not search \(odd \)"),
        (fake_ddgs.error("DNSError('sending request for url (https://a.example/?q=secret)"), "cannot reach the web"),
        (KeyError("x"), r"could not search \(KeyError\)"),
    ):
        fake_ddgs.put(raising(error))
        with pytest.raises(ProviderError, match=problem):
            search(Ddgs())


def test_ddgs_that_hangs_is_left_in_time(fake_ddgs):
    fake_ddgs.put(lambda query, **options: time.sleep(1.5))
    one, began = Ddgs(), time.monotonic()

    async def run():
        return await asyncio.gather(*(one.search("when", 0.3) for _ in range(6)), return_exceptions=True)

    said = asyncio.run(run())
    assert all(isinstance(error, ProviderError) and "took longer" in str(error) for error in said)
    assert time.monotonic() - began < 30


def test_the_engines_that_are_named_are_there():
    from ddgs.engines import ENGINES

    assert set(Ddgs.engines.split(",")) <= set(ENGINES["text"])


def test_a_provider_is_made_by_its_name(monkeypatch):
    for variable in ("BRAVE_API_KEY", "TAVILY_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    assert provider("off") is None
    assert provider("ddgs").name == "ddgs"
    assert provider("searxng", "http://127.0.0.1:8888").name == "SearXNG"
    for name, variable in (("brave", "BRAVE_API_KEY"), ("tavily", "TAVILY_API_KEY")):
        with pytest.raises(ConfigError, match=variable):
            provider(name)
        monkeypatch.setenv(variable, "secret")
        assert provider(name).name.lower() == name
    for wrong in (("searxng", None), ("searxng", "127.0.0.1:8888"), ("ddgs", "http://127.0.0.1:8888")):
        with pytest.raises(ConfigError, match="--web searxng"):
            provider(*wrong)
