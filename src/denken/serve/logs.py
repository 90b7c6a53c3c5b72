"""What is written down of every request, for whoever runs the server: one line each, on standard error.

    {"time": "2026-11-25T10:00:00.123Z", "level": "info", "request": "0f3c...", "method": "POST",
     "route": "/v1/chat/completions", "status": 200, "outcome": "done", "key": "anna", "model": "bundled",
     "tokens": {"prompt": 21, "cached": 16, "thought": 80, "answer": 12}, "first_token_seconds": 0.05, "seconds": 0.91}

No text of a prompt or a reply, no secret and no address ever gets into it: the route is the server's own name for the
path, the key is named and not shown, and of an exception only its kind and its place are written, since its text may
quote what was sent. `Logged` stands outside everything else, so that refused requests are counted as well.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from denken.serve.failure import Failure

if TYPE_CHECKING:
    from denken.serve.turn import Turn

Form = Literal["json", "text"]
FORMS: tuple[Form, ...] = ("json", "text")
# OpenAI's clients read the first, Anthropic's the second.
ID_HEADERS = ("x-request-id", "request-id")

log = logging.getLogger("denken.request")


@dataclass(slots=True)
class Entry:
    """What is known of one request so far. id: 32 hexadecimal digits, made here and taken from nobody.

    outcome: what became of the reply, where one was begun; otherwise the status says it.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    key: str = ""
    turn: Turn | None = None
    outcome: Literal["done", "aborted", "failed", "left"] | None = None

    def record(self, scope: Scope, status: int, seconds: float) -> dict[str, Any]:
        record: dict[str, Any] = {
            "request": self.id,
            "method": scope["method"][:20],
            "route": getattr(scope.get("route"), "path", None),
            "status": status,
            "outcome": self.outcome
            or ("done" if status < 400 else "refused" if status < 500 or status == 503 else "failed"),
        }
        if self.key:
            record["key"] = self.key
        if self.turn is not None:
            record["model"] = self.turn.speaker.name
            usage = self.turn.usage
            record["tokens"] = {
                "prompt": usage.prompt_tokens,
                "cached": usage.cached_tokens,
                "thought": usage.thought_tokens,
                "answer": usage.answer_tokens,
            }
            if self.turn.first is not None:
                record["first_token_seconds"] = round(self.turn.first - self.turn.began, 4)
        record["seconds"] = round(seconds, 4)
        return record


def entry(request: Request) -> Entry:
    """The request's own; one that nobody reads where the application runs without `Logged`."""
    found = request.scope.get("denken.log")
    return found if isinstance(found, Entry) else Entry()


class Logged:
    """ASGI middleware around the whole application: an id, a line, and a 500 for what nobody expected."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, own, status = time.monotonic(), Entry(), 0
        scope["denken.log"] = own

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name in ID_HEADERS:
                    headers[name] = own.id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            logging.getLogger("denken.serve").exception("Request %s failed.", own.id)
            own.outcome = "failed"
            if not status:
                failure = Failure(500, "The server failed at this request; its log says more.")
                await failure.response(scope["path"])(scope, receive, send_with_id)
        finally:
            # Status 0: cancelled before there was one.
            log.info("", extra={"record": own.record(scope, status or 499, time.monotonic() - began)})


class JsonLines(logging.Formatter):
    """One JSON object a line, whoever logs: this server or uvicorn."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {"time": _utc(record.created), "level": record.levelname.lower()}
        request = getattr(record, "record", None)
        if request is None:
            line |= {"logger": record.name, "message": record.getMessage()}
            if record.exc_info and record.exc_info[1] is not None:
                line["error"] = _where(record.exc_info[1])
        return json.dumps(line | (request or {}), ensure_ascii=False, separators=(",", ":"))


class TextLines(logging.Formatter):
    """The same for a person's eyes."""

    def format(self, record: logging.LogRecord) -> str:
        clock = _utc(record.created)[11:19]
        request = getattr(record, "record", None)
        if request is not None:
            return f"{clock} {_sentence(request)}"
        text = f"{clock} {record.levelname.lower()}: {record.getMessage()}"
        if record.exc_info and record.exc_info[1] is not None:
            text += "".join(f"\n    {line}" for line in _where(record.exc_info[1]))
        return text


def start(form: Form) -> None:
    """From now on everything that this server and uvicorn have to say goes to standard error in this form."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    for name in ("denken", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
    logging.getLogger("denken").setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


def _sentence(record: Mapping[str, Any]) -> str:
    parts = [record["method"], record["route"] or "(no route)", str(record["status"]), record["outcome"]]
    parts += [f"{name}={record[name]}" for name in ("key", "model") if name in record]
    if "tokens" in record:
        parts.append(" ".join(f"{name}={count}" for name, count in record["tokens"].items()))
    if "first_token_seconds" in record:
        parts.append(f"first={record['first_token_seconds']:.3f}s")
    return " ".join([*parts, f"{record['seconds']:.3f}s", record["request"]])


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _where(error: BaseException) -> list[str]:
    """The kinds of an exception and of those behind it, and the places that they came through; none of their texts."""
    lines: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        lines.append(type(current).__qualname__)
        frames = traceback.extract_tb(current.__traceback__)
        lines += [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in frames[-12:]]
        current = current.__cause__ or current.__context__
    return lines
