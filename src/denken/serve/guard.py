"""What every request passes before a route sees it: who it claims to be for, where it comes from, how large it is.

A server on one's own machine is reachable by every web page that is open in its browser. So the Host header must be
one of ours (a foreign name that resolves to this machine is DNS rebinding), a browser's Origin must be the page that
this server sent, and a body is read up to a limit before anything parses it. Not covered: keys and quotas.
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
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; font-src 'self'; "
        "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
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
    ):
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._any_address = any_address
        self._max_body_bytes, self._body_seconds = max_body_bytes, body_seconds
        self._arriving = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            self._check_sender(scope)
            receive = await self._read_body(scope, receive)
        except Failure as refusal:
            await refusal.response(scope["path"])(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)

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
        # The rest of the body is still on its way, and would be read as the next request.
        ends = {"Connection": "close"}
        too_large = Failure(
            413,
            f"The request is larger than {self._max_body_bytes} bytes; shorten the conversation.",
            code="body_too_large",
            headers=ends,
        )
        length = Headers(scope=scope).get("content-length", "0")
        if not (length.isascii() and length.isdigit()) or len(length) > 18 or int(length) > self._max_body_bytes:
            raise too_large
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Failure(400, "The client hung up before its request was complete.", code="incomplete")
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
                            headers=ends,
                        )
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise Failure(
                408,
                f"The request took longer than {self._body_seconds:g} s to arrive.",
                code="request_timeout",
                headers=ends,
            ) from None
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


def _without_port(host: str) -> str:
    """`localhost:8000` -> `localhost`, `[::1]:8000` -> `[::1]`; what is neither comes back as it is."""
    name, colon, port = host.lower().rpartition(":")
    return name if colon and port.isascii() and port.isdigit() and not host.endswith("]") else host.lower()
