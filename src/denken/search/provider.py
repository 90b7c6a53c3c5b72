"""Who is asked for pages of the web: SearXNG, ddgs, Brave or Tavily. A query becomes hits; what failed, a sentence.

SearXNG is a search engine of one's own and the dependable one. ddgs needs no key: it reads the result pages of
DuckDuckGo and others, which throttle and change. Brave and Tavily are services with a key, read from the environment.

A provider that fails is left alone for a while (`Patient`), longer each time, so that a search that is down costs the
first question its time and not all that follow. Where it says itself how long (429 or 503, Retry-After), that holds.

Not covered: the pages themselves (`fetch.py`), what of them fits the query (`tool.py`).
"""

from __future__ import annotations

import asyncio
import functools
import html
import json
import os
import re
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from denken.errors import ConfigError, DenkenError

MOST_HITS = 8
MAX_BYTES = 2 * 2**20
REST_SECONDS = 20.0
MOST_REST_SECONDS = 600.0
_ADDRESS = re.compile(r"https?://\S+")
_TAG = re.compile(r"<[^<>]{1,200}>")


class ProviderError(DenkenError):
    """A provider gave no hits; the sentence says why. rest: seconds that it asked to be left alone."""

    def __init__(self, message: str, rest: float | None = None):
        super().__init__(message)
        self.rest = rest


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that a provider names. excerpt: its own few sentences of it. published: a date, as given."""

    url: str
    title: str
    excerpt: str
    published: str = ""


@functools.cache
def _tls() -> ssl.SSLContext:
    """Made once: reading the certificates takes as long as a search."""
    return ssl.create_default_context()


class Provider(Protocol):
    """name: as people know it."""

    @property
    def name(self) -> str: ...

    async def search(self, query: str, seconds: float) -> list[Hit]:
        """At most `MOST_HITS`, best first; none where nothing fits. Raises ProviderError, within the time."""
        ...


class _OverHttp:
    """What providers with an API have in common: one request, bounded, and what its failures mean."""

    name = ""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None):
        self._url, self._headers = (
            url,
            {"Accept": "application/json", "Accept-Encoding": "identity"} | dict(headers or {}),
        )

    async def _asked(self, seconds: float, method: str = "GET", **request: Any) -> Mapping[str, Any]:
        """The JSON object that comes back. Raises ProviderError."""
        body = bytearray()
        try:
            async with (
                asyncio.timeout(seconds),
                # Nothing of the environment's goes along: no proxy, no .netrc.
                httpx.AsyncClient(headers=self._headers, trust_env=False, verify=_tls(), timeout=None) as client,
                client.stream(method, self._url, **request) as came,
            ):
                if came.status_code != 200:
                    raise self._refusal(came)
                async for chunk in came.aiter_raw():
                    body += chunk
                    if len(body) > MAX_BYTES:
                        raise ProviderError(f"{self.name} sent more than {MAX_BYTES // 2**20} MiB.")
        except TimeoutError:
            raise ProviderError(f"{self.name} took longer than {seconds:.1f} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise ProviderError(
                f"{self.name} cannot be reached ({str(error)[:200] or type(error).__name__})."
            ) from error
        try:
            said = json.loads(body)
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise ProviderError(f"{self.name} sent something that is no JSON object.")
        return said

    def _refusal(self, came: httpx.Response) -> ProviderError:
        rest = _seconds(came.headers.get("retry-after", ""))
        if came.status_code == 429:
            return ProviderError(f"{self.name} is asked too often and refuses for now.", rest or 60.0)
        if came.status_code in (401, 402, 403):
            return ProviderError(f"{self.name} refuses ({came.status_code}); {self._what_it_needs}", rest)
        return ProviderError(f"{self.name} answered with status {came.status_code}.", rest)

    _what_it_needs = "check its key and its plan."


class SearXNG(_OverHttp):
    """A SearXNG of one's own. url: its address, such as http://127.0.0.1:8888."""

    name = "SearXNG"
    _what_it_needs = "its settings.yml must list json under search.formats, and its limiter must let this machine in."

    def __init__(self, url: str):
        super().__init__(url.rstrip("/") + ("" if url.rstrip("/").endswith("/search") else "/search"))

    async def search(self, query: str, seconds: float) -> list[Hit]:
        said = await self._asked(seconds, params={"q": query, "format": "json", "safesearch": "1"})
        hits = _hits(said.get("results"), url="url", title="title", excerpt="content", published="publishedDate")
        if not hits and said.get("unresponsive_engines"):
            raise ProviderError(f"{self.name} has nothing, for its engines do not answer it.")
        return hits


class Brave(_OverHttp):
    """Brave's search API. key: of api-dashboard.search.brave.com."""

    name = "Brave"

    def __init__(self, key: str, url: str = "https://api.search.brave.com/res/v1/web/search"):
        super().__init__(url, {"X-Subscription-Token": key})

    async def search(self, query: str, seconds: float) -> list[Hit]:
        said = await self._asked(seconds, params={"q": query, "count": str(MOST_HITS), "text_decorations": "false"})
        web = said.get("web")
        results = web.get("results") if isinstance(web, dict) else None
        return _hits(results, url="url", title="title", excerpt="description", published="page_age")


class Tavily(_OverHttp):
    """Tavily's search API. key: of app.tavily.com."""

    name = "Tavily"

    def __init__(self, key: str, url: str = "https://api.tavily.com/search"):
        super().__init__(url, {"Authorization": f"Bearer {key}"})

    async def search(self, query: str, seconds: float) -> list[Hit]:
        said = await self._asked(seconds, "POST", json={"query": query, "max_results": MOST_HITS})
        return _hits(said.get("results"), url="url", title="title", excerpt="content", published="published_date")


class Ddgs:
    """The library ddgs, in threads of its own: it waits where it is called.

    engines: whose result pages are read; the first two at once, the others where those give little.
    """

    name = "ddgs"
    engines = "duckduckgo,wikipedia,brave,mojeek"
    # Calls that outlive their time hold a thread until they end; those that find none are too late and not begun.
    _THREADS = 4

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(self._THREADS, thread_name_prefix="ddgs")

    async def search(self, query: str, seconds: float) -> list[Hit]:
        from ddgs.exceptions import DDGSException, RatelimitException, TimeoutException

        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                found = await loop.run_in_executor(self._threads, self._ask, query, max(1, int(seconds)))
        except (TimeoutError, TimeoutException):
            raise ProviderError(f"{self.name} took longer than {seconds:.1f} s.") from None
        except RatelimitException:
            raise ProviderError(f"{self.name} is asked too often and refuses for now.", 60.0) from None
        except DDGSException as error:
            if "No results" in str(error):
                return []
            raise ProviderError(self._why(str(error))) from error
        except Exception as error:  # it reads pages that change, and fails in ways of its own
            raise ProviderError(f"{self.name} could not search ({type(error).__name__}).") from error
        return _hits(found, url="href", title="title", excerpt="body", published="date")

    def _why(self, said: str) -> str:
        """What it says of an engine that it cannot reach has the whole address in it, and with that the query."""
        if any(word in said.lower() for word in ("dns", "connect", "sending request")):
            return f"{self.name} cannot reach the web."
        return f"{self.name} could not search ({_ADDRESS.sub('', said)[:100]})."

    def _ask(self, query: str, seconds: int) -> Any:
        from ddgs import DDGS

        return DDGS(timeout=seconds).text(query, max_results=MOST_HITS, backend=self.engines)


class Patient:
    """A provider that is left alone for a while after it has failed."""

    def __init__(self, provider: Provider):
        self.provider, self.name = provider, provider.name
        self._until, self._failures = 0.0, 0

    async def search(self, query: str, seconds: float) -> list[Hit]:
        if (left := self._until - time.monotonic()) > 0:
            raise ProviderError(f"{self.name} has failed just now and is left alone for {left:.0f} s.")
        try:
            hits = await self.provider.search(query, seconds)
        except ProviderError as error:
            rest = error.rest or REST_SECONDS * 2**self._failures
            self._until = time.monotonic() + min(rest, MOST_REST_SECONDS)
            self._failures = min(self._failures + 1, 10)
            raise
        self._failures = 0
        return hits


def provider(name: str, searxng: str | None = None) -> Provider | None:
    """The provider of a name that `--web` takes; None for "off". Raises ConfigError where its key or address lacks."""
    if searxng is not None and name != "searxng":
        raise ConfigError("--searxng is the address of a SearXNG; give --web searxng, too.")
    if name == "off":
        return None
    if name == "searxng":
        if not searxng or not searxng.startswith(("http://", "https://")):
            raise ConfigError("--web searxng needs its address, as in --searxng http://127.0.0.1:8888")
        return Patient(SearXNG(searxng))
    if name == "brave":
        return Patient(Brave(_key("BRAVE_API_KEY", name)))
    if name == "tavily":
        return Patient(Tavily(_key("TAVILY_API_KEY", name)))
    return Patient(Ddgs())


def _key(variable: str, name: str) -> str:
    if key := os.environ.get(variable, "").strip():
        return key
    raise ConfigError(f"--web {name} needs a key in the variable {variable}.")


def _hits(results: Any, **fields: str) -> list[Hit]:
    """The entries that name a page, cleaned; whatever else a provider sent is passed over."""
    hits: dict[str, Hit] = {}
    for result in results if isinstance(results, list) else ():
        if not isinstance(result, dict):
            continue
        said = {name: _plain(result.get(field)) for name, field in fields.items()}
        url = said["url"][:2000]
        if url.startswith(("http://", "https://")) and url not in hits:
            hits[url] = Hit(url, said["title"][:300] or url, said["excerpt"][:1000], said["published"][:40])
    return list(hits.values())[:MOST_HITS]


def _plain(value: Any) -> str:
    """In one line, without tags and entities."""
    return " ".join(html.unescape(_TAG.sub("", value[:10_000])).split()) if isinstance(value, str) else ""


def _seconds(retry_after: str) -> float | None:
    """Of the header Retry-After; its other form, a date, is left to the caller's own patience."""
    return float(retry_after[:9]) if retry_after.isascii() and retry_after.isdigit() else None
