"""What every request passes before a route sees it: who it claims to be for, where it comes from, how large it is.

A server on one's own machine is reachable by every web page that is open in its browser. So the Host header must be
one of ours (a foreign name that resolves to this machine is DNS rebinding), a browser's Origin must be the page that
this server sent, and a body is read up to a limit before anything parses it. A file that is sent as a body is not read
here but by its route, once that has asked for the key, within a limit of its own. Not covered: keys and quotas.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from denken.serve.failure import Failure

MAX_BODY_BYTES = 4 * 2**20
# Of all bodies that are arriving: they are held in memory, and slow ones for long.
MAX_ARRIVING_BYTES = 64 * 2**20
BODY_SECONDS = 30.0
# POSTs whose body is a file, and how many bytes it may have.
FILES = {"/app/uploads": 16 * 2**20, "/app/library": 16 * 2**20, "/app/import": 64 * 2**20}
FILE_SECONDS = 300.0
# So many of them at a time; each is held in memory.
FILES_AT_ONCE = 8
# The rest of a body that was not read would be taken for the next request.
CLOSES = {"Connection": "close"}
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; font-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# Of the one script that computes with WebAssembly, in a worker of its own; the page itself may not.
WORKER_POLICY = POLICY.replace("script-src 'self'", "script-src 'self' 'wasm-unsafe-eval'")
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Guard:
    """ASGI middleware around the whole application.

    hosts: the names that this server answers to, without ports. any_address: also to any IP address literal, for a
    server that is open beyond this machine (an address cannot be rebound, a name can).
    """

    def __init__(
        self,
        app: ASGIApp,
        hosts: Collection[str] = LOOPBACK,
        any_address: bool = False,
        max_body_bytes: int = MAX_BODY_BYTES,
        body_seconds: float = BODY_SECONDS,
        file_seconds: float = FILE_SECONDS,
    ):
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._any_address = any_address
        self._max_body_bytes, self._body_seconds, self._file_seconds = max_body_bytes, body_seconds, file_seconds
        self._arriving = self._files = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        file: _File | None = None

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                policy = WORKER_POLICY if headers.get("Content-Security-Policy") == WORKER_POLICY else POLICY
                closes = CLOSES if file is not None and not file.whole else {}
                for name, value in (HEADERS | {"Content-Security-Policy": policy} | closes).items():
                    headers[name] = value
            await send(message)

        try:
            self._check_sender(scope)
            if scope["method"] == "POST" and scope["path"] in FILES:
                receive = file = self._file(scope, receive)
            else:
                receive = await self._read_body(scope, receive)
        except Failure as refusal:
            await refusal.response(scope["path"])(scope, receive, send_with_headers)
            return
        self._files += file is not None
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._files -= file is not None

    def _file(self, scope: Scope, receive: Receive) -> _File:
        if self._files >= FILES_AT_ONCE:
            raise Failure(
                503,
                "Too many files are arriving at once; try again soon.",
                code="overloaded",
                retry_after=5,
                headers=CLOSES,
            )
        most = FILES[scope["path"]]
        _check_length(scope, most, _too_large_file(most))
        return _File(receive, most, self._file_seconds)

    def _check_sender(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        given = headers.getlist("host")
        if len(given) != 1 or not self._is_ours(_without_port(given[0])):
            raise Failure(
                403,
                f"This server does not answer to the host {', '.join(given)[:100]!r}; use the address that it printed, "
                "or start it with --allow-host NAME.",
                code="host_not_allowed",
            )
        # Whatever the scheme in front of us is, a page of ours has our host in its origin.
        for origin in headers.getlist("origin"):
            if origin.lower() not in (f"{scheme}://{given[0].lower()}" for scheme in ("http", "https")):
                raise Failure(
                    403,
                    f"A page of {origin[:100]!r} may not use this server; only the page that it serves itself may.",
                    code="origin_not_allowed",
                )
        site = headers.get("sec-fetch-site", "none")
        followed_link = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET"
        if site not in ("none", "same-origin") and not followed_link:
            raise Failure(403, "Another site's page may not use this server.", code="origin_not_allowed")

    def _is_ours(self, host: str) -> bool:
        if host in self._hosts:
            return True
        if not self._any_address:
            return False
        try:
            ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True

    async def _read_body(self, scope: Scope, receive: Receive) -> Receive:
        """Takes in the whole body, within the limits, and returns a `receive` that hands it on in one piece."""
        too_large = Failure(
            413,
            f"The request is larger than {self._max_body_bytes} bytes; shorten the conversation.",
            code="body_too_large",
            headers=CLOSES,
        )
        _check_length(scope, self._max_body_bytes, too_large)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _incomplete()
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    self._arriving += len(parts[-1])
                    if size > self._max_body_bytes:
                        raise too_large
                    if self._arriving > MAX_ARRIVING_BYTES:
                        raise Failure(
                            503,
                            "Too many large requests are arriving at once; try again soon.",
                            code="overloaded",
                            retry_after=5,
                            headers=CLOSES,
                        )
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise _too_slow(self._body_seconds) from None
        finally:
            self._arriving -= size
        body: Message | None = {"type": "http.request", "body": b"".join(parts), "more_body": False}

        async def replay() -> Message:
            nonlocal body
            if body is not None:
                message, body = body, None
                return message
            return await receive()

        return replay


class _File:
    """A `receive` for the body of a file: it stops at a limit of bytes or of time. whole: the end of it was read."""

    def __init__(self, receive: Receive, most: int, seconds: float):
        self._receive, self._most, self._seconds = receive, most, seconds
        self._end = asyncio.get_running_loop().time() + seconds
        self._size = 0
        self.whole = False

    async def __call__(self) -> Message:
        """Raises Failure, which whoever reads the body lets pass."""
        if self.whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            raise _too_slow(self._seconds) from None
        if message["type"] == "http.disconnect":
            raise _incomplete()
        self._size += len(message.get("body", b""))
        if self._size > self._most:
            raise _too_large_file(self._most)
        self.whole = not message.get("more_body", False)
        return message


def _check_length(scope: Scope, most: int, too_large: Failure) -> None:
    """By what the client announces, if it does."""
    length = Headers(scope=scope).get("content-length", "0")
    if not (length.isascii() and length.isdigit()) or len(length) > 18 or int(length) > most:
        raise too_large


def _too_large_file(most: int) -> Failure:
    return Failure(
        413, f"The file is larger than {most // 2**20} MiB; split it.", code="body_too_large", headers=CLOSES
    )


def _too_slow(seconds: float) -> Failure:
    return Failure(
        408, f"The request took longer than {seconds:g} s to arrive.", code="request_timeout", headers=CLOSES
    )


def _incomplete() -> Failure:
    return Failure(400, "The client hung up before its request was complete.", code="incomplete")


def _without_port(host: str) -> str:
    """`localhost:8000` -> `localhost`, `[::1]:8000` -> `[::1]`; what is neither comes back as it is."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isascii() and port.isdigit() and not host.endswith("]") else host.lower()
