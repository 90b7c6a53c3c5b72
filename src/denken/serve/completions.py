"""POST /chat/completions: a request becomes a reply, and the reply becomes OpenAI's records, whole or in chunks.

The thought is sent as `reasoning_content` (DeepSeek) and as `reasoning` (newer clients), the answer as `content`.
HTTP is left to `app.py`, the wire to `sse.py`, the model to whoever is the `Speaker`.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from denken.serve.schemas import ChatRequest
from denken.serve.speaker import Reply, Speaker, TokenLogprob, Usage

Record = dict[str, Any]


def open_reply(speaker: Speaker, request: ChatRequest) -> Reply:
    """Raises RequestError where the conversation cannot be answered."""
    params = request.sampling(speaker.defaults, speaker.context)
    return speaker.reply(request.conversation(), params, thinking=request.thinks)


async def whole(speaker: Speaker, request: ChatRequest, reply: Reply) -> Record:
    """The reply as one `chat.completion`."""
    texts = {"think": "", "answer": "", "tool": ""}
    tokens: dict[str, list[TokenLogprob]] = {"think": [], "answer": [], "tool": []}
    async with aclosing(aiter(reply)) as pieces:
        async for piece in pieces:
            texts[piece.kind] += piece.text
            tokens[piece.kind] += piece.tokens
    thought = texts["think"].strip() or None
    message: Record = {"role": "assistant", "content": texts["answer"].strip()}
    if request.thinks:
        message |= {"reasoning_content": thought, "reasoning": thought}
    logprobs = None
    if request.logprobs:
        logprobs = {"content": _logprobs(tokens["answer"]), "reasoning_content": _logprobs(tokens["think"])}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": _finish(reply)}
    return _envelope(speaker, "chat.completion") | {"choices": [choice], "usage": usage_record(reply.usage)}


async def chunks(speaker: Speaker, request: ChatRequest, reply: Reply) -> AsyncGenerator[Record, None]:
    """The reply as `chat.completion.chunk`s: the role first, then the thought, the answer, the reason it ended."""
    envelope = _envelope(speaker, "chat.completion.chunk")
    if request.includes_usage:
        envelope["usage"] = None

    def chunk(delta: Record, logprobs: Record | None = None, finish_reason: str | None = None) -> Record:
        choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish_reason}
        return envelope | {"choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    async with aclosing(aiter(reply)) as pieces:
        async for piece in pieces:
            if piece.kind == "tool":  # nobody offered a tool, so there is no call to report
                continue
            name = "reasoning_content" if piece.kind == "think" else "content"
            delta = {name: piece.text}
            if piece.kind == "think":
                delta["reasoning"] = piece.text
            yield chunk(delta, {name: _logprobs(piece.tokens)} if request.logprobs else None)
    yield chunk({}, finish_reason=_finish(reply))
    if request.includes_usage:
        yield envelope | {"choices": [], "usage": usage_record(reply.usage)}


def usage_record(usage: Usage) -> Record:
    """Tokens under the names of OpenAI and of DeepSeek."""
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


def _finish(reply: Reply) -> str:
    return "length" if reply.finish_reason == "length" else "stop"


def _envelope(speaker: Speaker, kind: str) -> Record:
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": speaker.name,
        "system_fingerprint": f"{speaker.name}-{speaker.created}",
    }


def _logprobs(tokens: Sequence[TokenLogprob]) -> list[Record]:
    return [
        _logprob(token.token, token.logprob) | {"top_logprobs": [_logprob(text, value) for text, value in token.top]}
        for token in tokens
    ]


def _logprob(token: bytes, logprob: float) -> Record:
    # JSON knows no infinity; OpenAI writes -9999.0 for a token that is as good as impossible.
    return {"token": token.decode(errors="replace"), "logprob": max(logprob, -9999.0), "bytes": list(token)}
