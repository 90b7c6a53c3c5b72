"""POST /v1/messages as a dialect: Anthropic's API, whole and as events; and how many tokens a conversation has.

A message is a list of blocks: the thought (`thinking`), what is said (`text`), what is called (`tool_use`). `Writer`
makes them from the pieces of a reply and says, at each, which events tell a client of it.

Anthropic's models do not think unless they are asked to, and a client that did not ask may not know what to do with a
thought. Models here were trained to think, and answer badly without. So they think unless that is switched off, and
the thought is sent only to those who asked for it; it counts among the tokens in any case.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool

from denken.serve import sse
from denken.serve.messages_schemas import CountRequest, MessagesRequest
from denken.serve.speaker import Ask, Piece, Reply, Speaker
from denken.serve.turn import Counter, Record, Turn

BASES = ("/v1/messages", "/anthropic/v1/messages")
Shown = Literal["whole", "empty", "hidden"]


@dataclass(frozen=True, slots=True)
class Messages:
    """One request to /v1/messages."""

    request: MessagesRequest

    def asks(self, speaker: Speaker) -> Sequence[Ask]:
        return [self.request.ask(speaker.defaults, speaker.context)]

    async def whole(self, turn: Turn) -> Record:
        """One `message`."""
        writer = Writer(turn.id, self._shown)
        async with aclosing(turn.pieces()) as pieces:
            async for _, piece in pieces:
                writer.take(piece)
        writer.finish()
        return _message(turn) | {"content": writer.blocks} | self._ending(turn.replies[0], writer)

    async def events(self, turn: Turn) -> AsyncGenerator[sse.Event, None]:
        """Nothing is sent before the first piece: only then is it known how much of the prompt was cached."""
        writer = Writer(turn.id, self._shown)
        begun = False
        async with aclosing(turn.pieces()) as pieces:
            async for _, piece in pieces:
                records = writer.take(piece)
                if not begun:
                    begun, records = True, [*_start(turn), *records]
                for record in records:
                    yield _event(record)
        ending = {"delta": self._ending(turn.replies[0], writer), "usage": usage_record(turn)}
        rest = [*writer.finish(), {"type": "message_delta", **ending}, {"type": "message_stop"}]
        for record in rest if begun else [*_start(turn), *rest]:
            yield _event(record)

    @property
    def _shown(self) -> Shown:
        thinking = self.request.thinking
        if thinking is None or thinking.type == "disabled":
            return "hidden"
        return "empty" if thinking.display == "omitted" else "whole"

    def _ending(self, reply: Reply, writer: Writer) -> Record:
        """Why it ended: cut by the request's limit or the model's, at a stop string, with calls, or by itself."""
        stop = None
        if reply.finish_reason == "length":
            tokens = reply.usage.thought_tokens + reply.usage.answer_tokens
            reason = "max_tokens" if tokens >= self.request.max_tokens else "model_context_window_exceeded"
        elif reply.stop_string is not None:
            reason, stop = "stop_sequence", reply.stop_string
        else:
            reason = "tool_use" if writer.called else "end_turn"
        return {"stop_reason": reason, "stop_sequence": stop}


@dataclass(slots=True)
class Writer:
    """Blocks in the making. One at a time is open: it grows with its kind of piece and stops when another begins.

    id: of the turn, from which those of calls are made. shown: what is sent of a thought.
    """

    id: str
    shown: Shown
    blocks: list[Record] = field(default_factory=list)
    _open: bool = False

    def take(self, piece: Piece) -> list[Record]:
        """The events that a piece brings about."""
        if piece.kind == "tool":
            return [*self._stop(), *self._call(piece)]
        if not piece.text or (piece.kind == "think" and self.shown == "hidden"):
            return []
        kind = "thinking" if piece.kind == "think" else "text"
        records = []
        if not self._open or self.blocks[-1]["type"] != kind:
            empty = {"thinking": "", "signature": ""} if kind == "thinking" else {"text": ""}
            records = [*self._stop(), *self._begin({"type": kind, **empty})]
        if kind == "thinking" and self.shown == "empty":
            return records
        self.blocks[-1][kind] += piece.text
        return [*records, self._delta({"type": f"{kind}_delta", kind: piece.text})]

    def finish(self) -> list[Record]:
        """The events at the end. Where nothing was said or called, that is said in an empty text."""
        records = self._stop()
        if not any(block["type"] in ("text", "tool_use") for block in self.blocks):
            records += [*self._begin({"type": "text", "text": ""}), *self._stop()]
        return records

    @property
    def called(self) -> bool:
        return any(block["type"] == "tool_use" for block in self.blocks)

    def _begin(self, block: Record) -> list[Record]:
        self.blocks.append(block)
        self._open = True
        return [{"type": "content_block_start", "index": len(self.blocks) - 1, "content_block": dict(block)}]

    def _delta(self, delta: Record) -> Record:
        return {"type": "content_block_delta", "index": len(self.blocks) - 1, "delta": delta}

    def _stop(self) -> list[Record]:
        if not self._open:
            return []
        self._open = False
        records = [{"type": "content_block_stop", "index": len(self.blocks) - 1}]
        if self.blocks[-1]["type"] == "thinking":
            signature = self.blocks[-1]["signature"] = self._signature()
            records.insert(0, self._delta({"type": "signature_delta", "signature": signature}))
        return records

    def _call(self, piece: Piece) -> list[Record]:
        """A call comes as a whole; its input is one delta."""
        call = {"type": "tool_use", "id": f"toolu_{self.id}{len(self.blocks):02d}", "name": piece.name, "input": {}}
        records = self._begin(call)
        given = _object(piece.text)
        self.blocks[-1]["input"] = given
        text = json.dumps(given, ensure_ascii=False)
        return [*records, self._delta({"type": "input_json_delta", "partial_json": text}), *self._stop()]

    def _signature(self) -> str:
        """Clients want one and send it back. It vouches for nothing here, since it is not looked at then."""
        return base64.b64encode(f"denken:{self.id}:{len(self.blocks):02d}".encode()).decode()


def add_routes(api: APIRouter, counter: Counter) -> None:
    """Counting tokens, at which nothing is generated."""

    async def count(body: CountRequest) -> Record:
        speaker = counter.speaker(body.model)
        ask = body.ask(speaker.defaults, speaker.context)
        return {"input_tokens": await run_in_threadpool(speaker.count, ask)}

    for base in BASES:
        api.add_api_route(f"{base}/count_tokens", count, methods=["POST"])


def usage_record(turn: Turn) -> Record:
    """What was cached is no part of `input_tokens`; the three kinds of input add up to the prompt."""
    usage = turn.usage
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.thought_tokens + usage.answer_tokens,
        "output_tokens_details": {"thinking_tokens": usage.thought_tokens},
    }


def _message(turn: Turn) -> Record:
    return {
        "id": f"msg_{turn.id}",
        "type": "message",
        "role": "assistant",
        "model": turn.speaker.name,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_record(turn),
    }


def _start(turn: Turn) -> list[Record]:
    return [{"type": "message_start", "message": _message(turn)}, {"type": "ping"}]


def _event(record: Record) -> sse.Event:
    return sse.Event(record, record["type"])


def _object(arguments: str) -> dict[str, Any]:
    """Arguments as an object, which they have to be here. What is none is handed on as Anthropic advises."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        value = None
    return value if isinstance(value, dict) else {"INVALID_JSON": arguments}
