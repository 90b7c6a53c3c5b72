"""POST /v1/responses as a dialect: OpenAI's newer API, whole and as events, without a memory of earlier responses.

A response is a list of items: the thought (`reasoning`), what is said (`message`), what is called (`function_call`).
`Writer` makes them from the pieces of a reply and says, at each, which events tell a client of it. What a request may
say is in `responses_schemas.py`, how it is admitted and settled in `turn.py`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from denken.serve import sse
from denken.serve.completions import logprob_records, spoken
from denken.serve.responses_schemas import ResponsesRequest
from denken.serve.speaker import Ask, Piece, Speaker, TokenLogprob
from denken.serve.turn import Record, Turn

BROKE_OFF = {"code": "server_error", "message": "The reply broke off by an error in the server; send it again."}


@dataclass(frozen=True, slots=True)
class Responses:
    """One request to /v1/responses."""

    request: ResponsesRequest

    def asks(self, speaker: Speaker) -> Sequence[Ask]:
        return [self.request.ask(speaker.defaults, speaker.context)]

    async def whole(self, turn: Turn) -> Record:
        """One `response`."""
        writer = Writer(turn.id, self.request.logprobs)
        async with aclosing(spoken(turn)) as pieces:
            async for _, piece in pieces:
                writer.take(piece)
        return self._ended(turn, writer)[1]

    async def events(self, turn: Turn) -> AsyncGenerator[sse.Event, None]:
        """Every event has its number; the last one holds the whole response."""
        number = 0

        def numbered(records: Sequence[Record]) -> list[sse.Event]:
            nonlocal number
            events = [
                sse.Event(record | {"sequence_number": number + place}, record["type"])
                for place, record in enumerate(records)
            ]
            number += len(events)
            return events

        writer = Writer(turn.id, self.request.logprobs)
        begun = self._response(turn, "in_progress", [])
        for event in numbered([{"type": f"response.{name}", "response": begun} for name in ("created", "in_progress")]):
            yield event
        try:
            async with aclosing(spoken(turn)) as pieces:
                async for _, piece in pieces:
                    for event in numbered(writer.take(piece)):
                        yield event
        except Exception:
            records = writer.end("incomplete")
            broken = self._response(turn, "failed", writer.items) | {"error": BROKE_OFF}
            for event in numbered([*records, {"type": "response.failed", "response": broken}]):
                yield event
            raise
        records, response = self._ended(turn, writer)
        for event in numbered([*records, {"type": f"response.{response['status']}", "response": response}]):
            yield event

    def _ended(self, turn: Turn, writer: Writer) -> tuple[list[Record], Record]:
        """The last events before the response is over, and the response."""
        status = "incomplete" if turn.replies[0].finish_reason == "length" else "completed"
        records = writer.end(status)
        response = self._response(turn, status, writer.items) | {"usage": usage_record(turn)}
        if status == "incomplete":
            response["incomplete_details"] = {"reason": "max_output_tokens"}
        else:
            response["completed_at"] = int(time.time())
        return records, response

    def _response(self, turn: Turn, status: str, items: Sequence[Record]) -> Record:
        """What the request asked for, as it was understood, and what has come of it."""
        request, params = self.request, turn.asks[0].params
        reasoning, text = request.reasoning, request.text
        about_text: Record = {"format": text.format.record() if text and text.format else {"type": "text"}}
        if text is not None and text.verbosity is not None:
            about_text["verbosity"] = text.verbosity
        return {
            "id": f"resp_{turn.id}",
            "object": "response",
            "created_at": turn.created,
            "completed_at": None,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "metadata": request.metadata or {},
            "model": turn.speaker.name,
            "output": list(items),
            "parallel_tool_calls": request.parallel_tool_calls is not False,
            "previous_response_id": None,
            "reasoning": {
                "effort": reasoning.effort if reasoning else None,
                "summary": reasoning.summary if reasoning else None,
            },
            "service_tier": "default",
            "store": False,
            "temperature": params.temperature,
            "text": about_text,
            "tool_choice": _as_sent(request.tool_choice),
            "tools": [tool.record() for tool in request.tools or ()],
            "top_logprobs": params.top_logprobs or 0,
            "top_p": params.top_p,
            "truncation": "disabled",
            "usage": None,
        }


@dataclass(slots=True)
class Writer:
    """Items in the making. One at a time is open: it grows with its kind of piece and is done when another begins.

    id: of the turn, from which those of the items are made. logprobs: whether those of what is said are wanted.
    """

    id: str
    logprobs: bool
    items: list[Record] = field(default_factory=list)
    _open: bool = False
    _tokens: list[TokenLogprob] = field(default_factory=list)

    def take(self, piece: Piece) -> list[Record]:
        """The events that a piece brings about."""
        if piece.kind == "tool":
            return [*self.end("completed"), *self._call(piece)]
        kind = "reasoning" if piece.kind == "think" else "message"
        if not piece.text and not (self.logprobs and piece.kind == "answer" and piece.tokens):
            return []
        records = []
        if not self._open or self.items[-1]["type"] != kind:
            records = [*self.end("completed"), *self._begin(kind)]
        if kind == "message":
            self._tokens += piece.tokens if self.logprobs else ()
        self._part["text"] += piece.text
        delta = {"type": f"response.{self._part['type']}.delta", **self._place, "content_index": 0, "delta": piece.text}
        if kind == "message":
            delta["logprobs"] = logprob_records(piece.tokens) if self.logprobs else []
        return [*records, delta]

    def end(self, status: str) -> list[Record]:
        """The events that end the open item, if there is one."""
        if not self._open:
            return []
        self._open = False
        item, part = self.items[-1], self._part
        item["status"] = status
        place = {**self._place, "content_index": 0}
        done: Record = {"type": f"response.{part['type']}.done", **place, "text": part["text"]}
        if item["type"] == "message":
            part["logprobs"] = done["logprobs"] = logprob_records(self._tokens)
            self._tokens = []
        return [done, {"type": "response.content_part.done", **place, "part": dict(part)}, self._item_done()]

    @property
    def _part(self) -> Record:
        part: Record = self.items[-1]["content"][0]
        return part

    @property
    def _place(self) -> Record:
        return {"item_id": self.items[-1]["id"], "output_index": len(self.items) - 1}

    def _begin(self, kind: str) -> list[Record]:
        """Opens an item and its only part."""
        if kind == "reasoning":
            part: Record = {"type": "reasoning_text", "text": ""}
            item: Record = {"type": kind, "id": self._name("rs"), "summary": [], "content": []}
        else:
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            item = {"type": kind, "id": self._name("msg"), "role": "assistant", "content": []}
        item["status"] = "in_progress"
        self.items.append(item | {"content": [part]})
        self._open = True
        return [
            {"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": item},
            {"type": "response.content_part.added", **self._place, "content_index": 0, "part": dict(part)},
        ]

    def _call(self, piece: Piece) -> list[Record]:
        """A call comes as a whole; its arguments are one delta."""
        item = {
            "type": "function_call",
            "id": self._name("fc"),
            "call_id": self._name("call"),
            "name": piece.name,
            "arguments": piece.text,
            "status": "completed",
        }
        self.items.append(item)
        begun = item | {"arguments": "", "status": "in_progress"}
        kind = "response.function_call_arguments"
        return [
            {"type": "response.output_item.added", "output_index": len(self.items) - 1, "item": begun},
            {"type": f"{kind}.delta", **self._place, "delta": piece.text},
            {"type": f"{kind}.done", **self._place, "name": piece.name, "arguments": piece.text},
            self._item_done(),
        ]

    def _item_done(self) -> Record:
        item = dict(self.items[-1])
        return {"type": "response.output_item.done", "output_index": len(self.items) - 1, "item": item}

    def _name(self, prefix: str) -> str:
        return f"{prefix}_{self.id}{len(self.items):02d}"


def usage_record(turn: Turn) -> Record:
    usage = turn.usage
    output = usage.thought_tokens + usage.answer_tokens
    return {
        "input_tokens": usage.prompt_tokens,
        # Every prompt is kept in the cache, and keeping it costs nothing.
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.thought_tokens},
        "total_tokens": usage.prompt_tokens + output,
    }


def _as_sent(choice: Any) -> Any:
    if choice is None or isinstance(choice, str):
        return choice or "auto"
    return choice.model_dump()
