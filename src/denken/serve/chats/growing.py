"""One reply as it grows: the pieces of a model become the fields of its message, and the records that the page reads.

Values in memory only; `writing.py` takes them to the store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from denken.errors import DenkenError
from denken.serve.chats import records
from denken.serve.chats.schemas import storable
from denken.serve.failure import Failure
from denken.serve.speaker import ContextFull, Piece, Usage

Record = dict[str, Any]
# How a reply ends that its server did not live to finish.
SERVER_ENDED = Failure(503, "The server ended before this reply did; ask again.", code="server_ended")
State = Literal["running", "done", "stopped", "failed", "cut"]


@dataclass(slots=True)
class Growing:
    """What there is of a reply so far.

    steps: its searches; each says how many characters of the thought came before it.
    """

    state: State = "running"
    thought: str = ""
    content: str = ""
    steps: list[Record] = field(default_factory=list)
    sources: list[Record] = field(default_factory=list)
    error: Record | None = None
    usage: Usage | None = None
    left_out: int = 0
    began: float = field(default_factory=time.monotonic)
    thought_seconds: float = 0.0
    seconds: float = 0.0

    def take(self, piece: Piece) -> Iterator[Record]:
        """Adds a piece; yields what is to be said of it, if anything."""
        if piece.kind == "think" and piece.text:
            self.thought += piece.text
            self.thought_seconds = time.monotonic() - self.began
            yield {"type": "think", "text": piece.text}
        elif piece.kind == "answer":
            # The line breaks between a thought and its answer are the format's.
            text = piece.text if self.content else piece.text.lstrip()
            if text:
                self.content += text
                yield {"type": "answer", "text": text}
        elif piece.kind == "search":
            step = {"query": piece.text, "at": len(self.thought), "seconds": 0.0, "problem": "", "sources": []}
            self.steps.append(step)
            yield {"type": "search", "query": piece.text}
        elif piece.kind == "found" and piece.found is not None:
            yield self._found(piece)

    def _found(self, piece: Piece) -> Record:
        found = piece.found
        assert found is not None
        shown = [records.source(source) for source in found.sources]
        self.sources += shown
        outcome = {"seconds": round(found.seconds, 3), "problem": found.problem}
        if self.steps:
            self.steps[-1] |= outcome | {"sources": [source["number"] for source in shown]}
        return {"type": "found", "query": found.query, "sources": shown, **outcome}

    def end(self, state: State, error: BaseException | None = None) -> None:
        """It is over, in this state; an error is told as far as it is meant for a person."""
        self.seconds = time.monotonic() - self.began
        self.state, self.error = state, None if error is None else told(error)

    def values(self) -> Record:
        """As the columns of its message."""
        seconds = time.monotonic() - self.began if self.state == "running" else self.seconds
        values: Record = {name: getattr(self, name) for name in ("state", "error", "left_out")}
        values |= {"thought": storable(self.thought), "content": storable(self.content)}
        values |= {"steps": _storable(self.steps), "sources": _storable(self.sources)}
        values |= {"thought_seconds": self.thought_seconds, "seconds": seconds}
        if self.usage is not None:
            values["usage"] = {name: getattr(self.usage, name) for name in records.TOKENS}
        return values


def told(error: BaseException) -> Record:
    """What a message says of the error that ended it."""
    if isinstance(error, Failure):
        return {"message": error.message, "code": error.code}
    if isinstance(error, ContextFull):
        return {"message": str(error), "code": "context_length_exceeded"}
    if isinstance(error, DenkenError):
        return {"message": str(error), "code": None}
    return {"message": "The reply broke off by an error in the server; its log says more.", "code": "server_error"}


def _storable(found: list[Record]) -> list[Record]:
    return [
        {name: storable(value) if isinstance(value, str) else value for name, value in one.items()} for one in found
    ]
