"""A reply as server-sent events: what is written between the headers and `[DONE]`, and when the model is stopped.

The records come from `completions.py`; this file only knows how they travel.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractContextManager, aclosing
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from denken.errors import DenkenError

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 10.0
# A client that takes nothing for so long has gone, whatever its connection says.
SEND_SECONDS = 60.0


def event(record: Mapping[str, Any]) -> bytes:
    """One event. JSON has no line breaks of its own, so a record is one line."""
    return b"data: " + json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def events(records: AsyncGenerator[Mapping[str, Any], None]) -> AsyncIterator[bytes]:
    """The records, then `[DONE]`. An error on the way is sent as a last event, since the status has long gone out.

    However this ends, `records` is closed, and with it the generation.
    """
    async with aclosing(records):
        try:
            async for record in records:
                yield event(record)
        except DenkenError as error:
            yield event({"error": {"message": str(error), "type": "server_error", "param": None, "code": None}})
        except Exception:
            log.exception("A reply broke off.")
            message = "The reply broke off by an error in the server; its log says more."
            yield event({"error": {"message": message, "type": "server_error", "param": None, "code": None}})
    yield b"data: [DONE]\n\n"


class Stream(EventSourceResponse):
    """Streams the records; a client that hangs up closes them. Comments keep a quiet connection alive.

    held: left when the response is over, however it ends, even where nothing of it was ever sent.
    """

    def __init__(self, records: AsyncGenerator[Mapping[str, Any], None], held: AbstractContextManager[Any]):
        super().__init__(
            events(records),
            sep="\n",
            ping=KEEP_ALIVE_SECONDS,
            ping_message_factory=lambda: ServerSentEvent(comment="keep-alive", sep="\n"),
            send_timeout=SEND_SECONDS,
        )
        self._held = held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._held:
            await super().__call__(scope, receive, send)
