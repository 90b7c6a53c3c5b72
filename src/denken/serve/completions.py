"""POST /chat/completions as a dialect: a request becomes replies, and the replies become OpenAI's records.

The thought is sent as `reasoning_content` (DeepSeek) and as `reasoning` (newer clients), the answer as `content`.
How a request is admitted and settled is in `turn.py`, the wire in `sse.py`, what a request may say in `schemas.py`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import dropwhile

from denken.serve import sse
from denken.serve.fields import seeds
from denken.serve.schemas import ChatRequest
from denken.serve.speaker import Ask, Piece, Reply, Speaker, TokenLogprob, Usage
from denken.serve.turn import Record, Turn


@dataclass(slots=True)
class Told:
    """What one reply has said so far, by kind."""

    thought: str = ""
    answer: str = ""
    calls: list[Record] = field(default_factory=list)
    thought_tokens: list[TokenLogprob] = field(default_factory=list)
    answer_tokens: list[TokenLogprob] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Chat:
    """One request to /chat/completions."""

    request: ChatRequest

    def asks(self, speaker: Speaker) -> Sequence[Ask]:
        """`n` asks that differ in their seed."""
        ask = self.request.ask(speaker.defaults, speaker.context)
        every = seeds(ask.params, self.request.replies)
        return [replace(ask, params=params, repeats=number > 0) for number, params in enumerate(every)]

    async def whole(self, turn: Turn) -> Record:
        """One `chat.completion`."""
        told = [Told() for _ in turn.replies]
        async with aclosing(spoken(turn)) as pieces:
            async for number, piece in pieces:
                one = told[number]
                if piece.kind == "think":
                    one.thought += piece.text
                    one.thought_tokens += piece.tokens
                elif piece.kind == "answer":
                    one.answer += piece.text
                    one.answer_tokens += piece.tokens
                elif piece.kind == "tool":
                    one.calls.append(call_record(turn, number, len(one.calls), piece.name, piece.text))
        choices = [self._choice(i, reply, one) for i, (reply, one) in enumerate(zip(turn.replies, told, strict=True))]
        return envelope(turn, "chat.completion") | {"choices": choices, "usage": usage_record(turn.usage)}

    async def events(self, turn: Turn) -> AsyncGenerator[sse.Event, None]:
        """`chat.completion.chunk`s: the role first, then the thought, the answer, calls, the reason it ended."""
        start = envelope(turn, "chat.completion.chunk")
        if self.request.includes_usage:
            start["usage"] = None

        def chunk(index: int, delta: Record, logprobs: Record | None = None, reason: str | None = None) -> sse.Event:
            choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
            so_far = {"usage": usage_record(turn.usage)} if self.request.counts_along else {}
            return sse.Event(start | so_far | {"choices": [choice]})

        calls = [0] * len(turn.replies)
        for number in range(len(turn.replies)):
            yield chunk(number, {"role": "assistant", "content": ""})
        async with aclosing(spoken(turn)) as pieces:
            async for number, piece in pieces:
                if piece.kind == "tool":
                    call = call_record(turn, number, calls[number], piece.name, piece.text)
                    yield chunk(number, {"tool_calls": [{"index": calls[number], **call}]})
                    calls[number] += 1
                    continue
                name = "reasoning_content" if piece.kind == "think" else "content"
                delta = {name: piece.text}
                if piece.kind == "think":
                    delta["reasoning"] = piece.text
                tokens: Record = {"content": []} | {name: logprob_records(piece.tokens)}
                yield chunk(number, delta, tokens if self.request.logprobs else None)
        for number, reply in enumerate(turn.replies):
            yield chunk(number, {}, reason=finish(reply, calls[number]))
        if self.request.includes_usage:
            yield sse.Event(start | {"choices": [], "usage": usage_record(turn.usage)})
        yield sse.DONE

    def _choice(self, index: int, reply: Reply, told: Told) -> Record:
        thought = told.thought or None
        content = told.answer if told.answer or not told.calls else None
        message: Record = {"role": "assistant", "content": content}
        if self.request.thinks:
            message |= {"reasoning_content": thought, "reasoning": thought}
        if told.calls:
            message["tool_calls"] = told.calls
        logprobs = None
        if self.request.logprobs:
            logprobs = {
                "content": logprob_records(told.answer_tokens),
                "reasoning_content": logprob_records(told.thought_tokens),
            }
        reason = finish(reply, len(told.calls))
        return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": reason}


async def spoken(turn: Turn) -> AsyncGenerator[tuple[int, Piece], None]:
    """The pieces, without the tokens of the line breaks that stand between a thought and its answer as its format."""
    waiting: list[tuple[TokenLogprob, ...] | None] = [()] * len(turn.replies)
    async with aclosing(turn.pieces()) as pieces:
        async for number, piece in pieces:
            before = waiting[number]
            if piece.kind == "answer" and before is not None:
                if not piece.text:
                    waiting[number] = before + piece.tokens
                    continue
                waiting[number] = None
                tokens = before + piece.tokens
                if not piece.text.startswith("\n"):
                    tokens = tuple(dropwhile(lambda token: not token.token.strip(b"\n"), tokens))
                piece = replace(piece, tokens=tokens)
            yield number, piece


def finish(reply: Reply, calls: int) -> str:
    if reply.finish_reason == "length":
        return "length"
    return "tool_calls" if calls else "stop"


def call_record(turn: Turn, reply: int, number: int, name: str, arguments: str) -> Record:
    return {
        "id": f"call_{turn.id[:20]}{reply:02d}{number:02d}",
        "type": "function",
        "function": {"name": name, "arguments": arguments},
    }


def envelope(turn: Turn, kind: str, prefix: str = "chatcmpl") -> Record:
    speaker = turn.speaker
    return {
        "id": f"{prefix}-{turn.id}",
        "object": kind,
        "created": turn.created,
        "model": speaker.name,
        "system_fingerprint": f"{speaker.name}-{speaker.created}",
    }


def usage_record(usage: Usage) -> Record:
    """Tokens under the names of OpenAI's completions and of DeepSeek."""
    completion = usage.thought_tokens + usage.answer_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": usage.prompt_tokens + completion,
        "prompt_cache_hit_tokens": usage.cached_tokens,
        "prompt_cache_miss_tokens": usage.prompt_tokens - usage.cached_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.thought_tokens},
    }


def logprob_records(tokens: Sequence[TokenLogprob]) -> list[Record]:
    return [
        _logprob(token.token, token.logprob) | {"top_logprobs": [_logprob(text, value) for text, value in token.top]}
        for token in tokens
    ]


def _logprob(token: bytes, logprob: float) -> Record:
    # JSON knows no infinity; OpenAI writes -9999.0 for a token that is as good as impossible.
    return {"token": token.decode(errors="replace"), "logprob": max(logprob, -9999.0), "bytes": list(token)}
