"""A reply as server-sent events: what is written between the headers and the end, and when the model is stopped.

The records come from the dialects; this file only knows how they travel. It is short enough to be our own: the usual
library for it (sse-starlette) ends every stream at the first SIGTERM, writes each chunk to the log where that is
verbose, and takes twenty times as long for an event.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from denken.errors import DenkenError
from denken.serve.failure import Failure, is_anthropic, is_page, is_responses
from denken.serve.places import Places, end_all

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 10.0
# A client that takes nothing for so long has gone, whatever its connection says.
SEND_SECONDS = 60.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class Event:
    """One event: a record, or the bare word that ends OpenAI's streams. name: its type, where the API has such."""

    data: Mapping[str, Any] | str
    name: str | None = None

    def encode(self) -> bytes:
        """JSON has no line breaks of its own, so a record is one line."""
        text = self.data if isinstance(self.data, str) else _json(self.data)
        head = f"event: {self.name}\ndata: " if self.name else "data: "
        return f"{head}{text}\n\n".encode()

    @property
    def is_last(self) -> bool:
        """Whether it says that the reply is over, in whatever API."""
        return self.data == DONE.data or self.name in LAST


DONE = Event("[DONE]")
# By their names, in the APIs whose events have such.
LAST = {"message_stop", "response.completed", "response.incomplete", "response.failed"}
_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


async def wire(events: AsyncGenerator[Event, None], path: str) -> AsyncGenerator[bytes, None]:
    """The events as bytes, one item each. An error on the way is sent as the last one: the status has long gone out."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event.encode()
    except Failure as failure:
        yield broken(failure, path)
    except DenkenError as error:
        yield broken(Failure(503, str(error)), path)
    except Exception:
        log.exception("A reply broke off.")
        yield broken(Failure(500, "The reply broke off by an error in the server; its log says more."), path)


def broken(failure: Failure, path: str) -> bytes:
    """How a stream ends by an error, in the shape of the API that the path belongs to."""
    if is_anthropic(path):
        return Event(failure.record(path), "error").encode()
    if is_page(path):
        error = failure.record(path)["error"]
        told = {"type": "error", "message": error["message"], "code": error["code"]}
        return Event(told).encode() + DONE.encode()
    if is_responses(path):
        # What the reference says stands beside what OpenAI's client raises at. Which number it has is not known here.
        error = failure.record(path)["error"]
        return Event({**error, "type": "error", "sequence_number": 0, "error": error}, "error").encode()
    return Event(failure.record(path)).encode() + DONE.encode()


class Stream(Response):
    """Streams chunks of whole events; a client that hangs up closes them. Comments keep a quiet connection alive.

    held: left when the response is over, however it ends, even where nothing of it was ever sent.
    path: of the request; it says in whose shape an error is written. places: where the server says that it ends.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        held: AbstractAsyncContextManager[Any],
        path: str,
        places: Places,
        headers: Mapping[str, str] | None = None,
    ):
        self.status_code, self.background = 200, None
        self.init_headers({**HEADERS, **(headers or {})})
        self._chunks, self._held, self._path, self._places = chunks, held, path, places
        # When the send under way began, or None; and whether anything was sent since the watch last looked.
        self._sending: float | None = None
        self._quiet = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held, aclosing(self._chunks):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            writing = asyncio.create_task(self._write(send))
            ending = asyncio.create_task(self._places.until_cleared())
            tasks = [writing, ending, asyncio.create_task(disconnect(receive)), asyncio.create_task(self._watch(send))]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if writing.done():
                    writing.result()
            finally:
                await end_all(tasks)
            if ending.done() and not ending.cancelled() and writing.cancelled():
                await send({"type": "http.response.body", "body": broken(self._places.ending, self._path)})

    async def _write(self, send: Send) -> None:
        async for chunk in self._chunks:
            self._sending, self._quiet = time.monotonic(), False
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            self._sending = None
        await send({"type": "http.response.body", "body": b""})

    async def _watch(self, send: Send) -> None:
        """Returns when the client takes nothing any more."""
        while True:
            await asyncio.sleep(KEEP_ALIVE_SECONDS)
            if self._sending is not None:
                if time.monotonic() - self._sending > SEND_SECONDS:
                    return
            elif self._quiet:
                try:
                    async with asyncio.timeout(SEND_SECONDS):
                        await send({"type": "http.response.body", "body": b": keep-alive\n\n", "more_body": True})
                except TimeoutError:
                    return
            self._quiet = True


async def disconnect(receive: Receive) -> None:
    """Returns when the client has hung up. The request must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
