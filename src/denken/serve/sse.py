"""A reply as server-sent events: what is written between the headers and the end, and when the model is stopped.

The records come from the dialects; this file only knows how they travel.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from denken.errors import DenkenError
from denken.serve.failure import Failure, is_anthropic

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 10.0
# A client that takes nothing for so long has gone, whatever its connection says.
SEND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event: a record, or the bare word that ends OpenAI's streams. name: its type, where the API has such."""

    data: Mapping[str, Any] | str
    name: str | None = None

    def encode(self) -> bytes:
        """JSON has no line breaks of its own, so a record is one line."""
        text = (
            self.data
            if isinstance(self.data, str)
            else json.dumps(self.data, ensure_ascii=False, separators=(",", ":"))
        )
        return (f"event: {self.name}\n" if self.name else "").encode() + b"data: " + text.encode() + b"\n\n"


DONE = Event("[DONE]")


async def wire(events: AsyncIterator[Event], path: str) -> AsyncIterator[bytes]:
    """The events as bytes. An error on the way is sent as a last event, since the status has long gone out."""
    try:
        async for event in events:
            yield event.encode()
    except Failure as failure:
        yield _broken(failure, path)
    except DenkenError as error:
        yield _broken(Failure(503, str(error)), path)
    except Exception:
        log.exception("A reply broke off.")
        yield _broken(Failure(500, "The reply broke off by an error in the server; its log says more."), path)
    else:
        return
    if not is_anthropic(path):
        yield DONE.encode()


def _broken(failure: Failure, path: str) -> bytes:
    return Event(failure.record(path), "error" if is_anthropic(path) else None).encode()


class Stream(EventSourceResponse):
    """Streams the events; a client that hangs up closes them. Comments keep a quiet connection alive.

    held: left when the response is over, however it ends, even where nothing of it was ever sent.
    path: of the request; it says in whose shape an error is written.
    """

    def __init__(self, events: AsyncIterator[Event], held: AbstractAsyncContextManager[Any], path: str):
        super().__init__(
            wire(events, path),
            sep="\n",
            ping=KEEP_ALIVE_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
            send_timeout=SEND_SECONDS,
        )
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held:
            await super().__call__(scope, receive, send)
