"""Pages of strangers, fetched without lending them this machine's place in its network.

An address on a page, in a search result or in a model's words may mean this machine, its router, or a cloud's metadata,
by itself, by a redirect, or by a name that resolves to them at the second look. So every connection goes through
`_Pinned`: it resolves the name, refuses it if any of its addresses is not public, and connects to one of those it has
just checked; nobody resolves a second time. TLS still asks for the certificate of the name. A redirect is a new
request, through the same gate.

Bounded are the time, all together, the bytes that come and those that they unpack to, and the redirects. Nothing of
this machine's goes along: no cookies, no credentials, no proxies from the environment.

Not covered: what the page says (`convert.py`), robots.txt (a page is fetched because a person asked, not to collect
it), and a public address that is this machine's own.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import httpcore
import httpx

from denken.errors import DenkenError
from denken.search.addresses import is_public

SECONDS = 10.0
# A name may have several addresses, and the first of them lead nowhere from here.
CONNECT_SECONDS = 3.0
MAX_BYTES = 4 * 2**20
MAX_REDIRECTS = 5
PORTS = frozenset({80, 443})
PAGES = ("text/html", "application/xhtml+xml", "text/plain", "text/markdown")
FILES = (*PAGES, "application/pdf", "application/vnd.openxmlformats-officedocument.wordprocessingml.document")

_MAX_URL = 2000
_USER_AGENT = "denken/0.1 (reads a page for a person who asked)"
# Spaces, control characters and backslashes: what one parser takes for the end of a host, another does not.
_ODD = re.compile(r"[\x00-\x20\x7f-\x9f\\\u2028\u2029\u3000\ufeff]")
_AUTHORITY = re.compile(r"(?:[a-z][a-z0-9+.-]*:)?(?://)?([^/?#]*)", re.IGNORECASE)
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|\d+)", re.IGNORECASE)
_IPV4 = re.compile(r"(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})")

# A resolver may take its time, and nobody else is to wait for it meanwhile.
_threads = ThreadPoolExecutor(16, thread_name_prefix="resolve")

Resolve = Callable[[str, int], Awaitable[Collection[str]]]


class FetchError(DenkenError, OSError):
    """A page was not fetched; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """url: where it was in the end. media_type: as the server gave it, with its parameters."""

    url: str
    media_type: str
    body: bytes


async def resolve(host: str, port: int) -> Collection[str]:
    """All addresses of a name, as this machine's resolver gives them."""
    asked = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(_threads, asked)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Fetcher:
    """resolve, network, ports and tls are for tests, which have their own names, wires, ports and certificates."""

    def __init__(
        self,
        *,
        resolve: Resolve = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
        ports: Collection[int] = PORTS,
        tls: ssl.SSLContext | None = None,
    ):
        self._pinned = _Pinned(resolve, network or httpcore.AnyIOBackend())
        self._ports = ports
        self._tls = tls

    async def get(
        self,
        url: str,
        *,
        media_types: Collection[str] = PAGES,
        max_bytes: int = MAX_BYTES,
        seconds: float = SECONDS,
    ) -> Fetched:
        """The page at an address. Raises FetchError."""
        try:
            async with asyncio.timeout(seconds):
                return await self._follow(self._checked(url), media_types, max_bytes)
        except TimeoutError:
            raise FetchError(f"{_shown(url)} took longer than {seconds:g} s.") from None
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
            if isinstance(error, FetchError):
                raise
            raise FetchError(f"{_shown(url)} could not be fetched ({_reason(error)}).") from error

    async def _follow(self, target: httpcore.URL, media_types: Collection[str], max_bytes: int) -> Fetched:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        first = target
        for _ in range(MAX_REDIRECTS + 1):
            # A new pool, so that no connection of one page is another's.
            async with (
                httpcore.AsyncConnectionPool(ssl_context=self._tls, network_backend=self._pinned) as pool,
                pool.stream("GET", target, headers=_headers(target, media_types)) as response,
            ):
                if response.status not in (301, 302, 303, 307, 308):
                    return await _read(_text(target), response, media_types, max_bytes)
                location = _header(response, b"location")
            target = self._checked(location, _text(target))
        raise FetchError(f"{_shown(_text(first))} redirects more than {MAX_REDIRECTS} times.")

    def _checked(self, given: str, base: str = "") -> httpcore.URL:
        """What may be asked for, taken apart by one parser, once. Raises FetchError for anything else."""
        shown = _shown(given)
        if not given or len(given) > _MAX_URL or _ODD.search(given):
            raise FetchError(f"{shown} is no address of a page.")
        if "@" in _AUTHORITY.match(given)[1]:  # type: ignore[index]  # it matches anything
            raise FetchError(f"{shown} holds a name or a password, which are not sent to anybody.")
        try:
            url = httpx.URL(base).join(given) if base else httpx.URL(given)
            port = url.port if url.port is not None else {"http": 80, "https": 443}.get(url.scheme)
            host = url.raw_host.decode("ascii").rstrip(".")
        except (httpx.InvalidURL, ValueError):
            raise FetchError(f"{shown} is no address of a page.") from None
        if url.scheme not in ("http", "https") or not host:
            raise FetchError(f"{shown} is no address that begins with http:// or https://.")
        if port not in self._ports:
            raise FetchError(f"{shown} names port {port}; pages are fetched from ports 80 and 443 alone.")
        if _NUMBER.fullmatch(host.rpartition(".")[2]) and not _IPV4.fullmatch(host):
            raise FetchError(f"{shown} writes an address in an unusual way; only four numbers with dots are taken.")
        return httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=port, target=url.raw_path)


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that it has checked, and to no other."""

    def __init__(self, resolve: Resolve, network: httpcore.AsyncNetworkBackend):
        self._resolve, self._network = resolve, network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise FetchError(f"There is no server called {host[:200]!r}.") from error
        if not addresses or not all(map(is_public, addresses)):
            raise FetchError(f"{host[:200]!r} is not on the public internet, and nothing else is fetched.")
        failure: Exception | None = None
        for address in list(addresses)[:3]:
            try:
                return await self._network.connect_tcp(address, port, timeout=CONNECT_SECONDS)
            except (httpcore.ConnectError, httpcore.ConnectTimeout, OSError) as error:
                failure = error
        raise failure or FetchError(f"{host[:200]!r} has no address.")

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        raise FetchError("Sockets of this machine are not fetched from.")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _text(target: httpcore.URL) -> str:
    """The address as it is written."""
    return f"{target.scheme.decode('ascii')}://{_host(target)}{target.target.decode('ascii')}"


def _host(target: httpcore.URL) -> str:
    """With the port where that does not go without saying."""
    name = target.host.decode("ascii")
    name = f"[{name}]" if ":" in name else name
    return name if target.port == {b"http": 80, b"https": 443}[target.scheme] else f"{name}:{target.port}"


def _headers(target: httpcore.URL, media_types: Collection[str]) -> list[tuple[str, str]]:
    return [
        ("Host", _host(target)),
        ("User-Agent", _USER_AGENT),
        ("Accept", ", ".join((*media_types, "*/*;q=0.1"))),  # some refuse to say anything else
        ("Accept-Encoding", "gzip, deflate"),
        ("Connection", "close"),
    ]


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in response.headers if key.lower() == name), "")


async def _read(url: str, response: httpcore.Response, media_types: Collection[str], max_bytes: int) -> Fetched:
    shown = _shown(url)
    if response.status != 200:
        raise FetchError(f"{shown} answered with status {response.status}.")
    media_type = _header(response, b"content-type")[:200]
    kind = media_type.partition(";")[0].strip().lower()
    if kind not in media_types:
        raise FetchError(f"{shown} is {kind[:60] or 'of no type'}, and no page that can be read.")
    too_large = FetchError(f"{shown} is larger than {max_bytes / 2**20:g} MiB.")
    length = _header(response, b"content-length")
    if length.isdigit() and int(length[:20]) > max_bytes:
        raise too_large
    unpack = _unpacker(_header(response, b"content-encoding"), shown)
    came, body = 0, bytearray()
    async for chunk in response.aiter_stream():
        came += len(chunk)
        try:
            body += unpack(chunk, max_bytes + 1 - len(body))
        except zlib.error as error:
            raise FetchError(f"{shown} is packed in a way that cannot be unpacked.") from error
        if came > max_bytes or len(body) > max_bytes:
            raise too_large
    return Fetched(url, media_type, bytes(body))


def _unpacker(encoding: str, shown: str) -> Callable[[bytes, int], bytes]:
    """Unpacks chunk by chunk, at most so many bytes of each: what would unpack to more is over the limit then."""
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return lambda chunk, most: chunk[:most]
    if name not in ("gzip", "x-gzip", "deflate"):
        raise FetchError(f"{shown} is packed as {name[:40]!r}, which was not asked for.")
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # gzip or zlib, by its first bytes
    return lambda chunk, most: unpacking.decompress(chunk, max(1, most))


def _shown(url: str) -> str:
    return repr(url[:200])


def _reason(error: BaseException) -> str:
    return (str(error) or type(error).__name__)[:200]
