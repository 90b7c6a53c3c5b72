"""What a reply from upstream cost: as its server counted, and until it says so, or where it never does, estimated.

An estimate is the larger of two: pieces that came, and a token for every four bytes. A server that counts the whole but
not the thought has its count divided by the length of the two texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from denken.serve.speaker import Ask, TextAsk, Usage

BYTES_PER_TOKEN = 4
# Roles and marks around a message.
MESSAGE_TOKENS = 8
MOST = 10**9


class Tally:
    """Counts along. prompt_tokens: the estimate to begin with. estimated: the server has counted nothing yet."""

    def __init__(self, prompt_tokens: int):
        self.estimated = True
        self._prompt, self._cached = prompt_tokens, 0
        self._pieces = {"think": 0, "answer": 0}
        self._bytes = {"think": 0, "answer": 0}
        self._completion: int | None = None
        self._reasoning: int | None = None

    def add(self, kind: Literal["think", "answer"], text: str) -> None:
        """A stretch that came in one piece."""
        if text:
            self._pieces[kind] += 1
            self._bytes[kind] += len(text.encode("utf-8", "replace"))

    def told(self, record: Mapping[str, Any]) -> None:
        """What the server counted, under the names of OpenAI's, DeepSeek's or SGLang's."""
        prompt, completion = _whole(record.get("prompt_tokens")), _whole(record.get("completion_tokens"))
        if prompt is None or completion is None:
            return
        self.estimated = False
        self._prompt, self._completion = prompt, completion
        cached = _inner(record, "prompt_tokens_details", "cached_tokens")
        self._cached = min(prompt, cached if cached is not None else _whole(record.get("prompt_cache_hit_tokens")) or 0)
        reasoning = _inner(record, "completion_tokens_details", "reasoning_tokens")
        reasoning = reasoning if reasoning is not None else _whole(record.get("reasoning_tokens"))
        # Servers that leave the thought in the text report none of it, and so do some that find it.
        self._reasoning = min(completion, reasoning) if reasoning else None

    def usage(self, held: str = "") -> Usage:
        """held: text that has come and was not passed on yet."""
        thought, answer = self._estimate("think"), self._estimate("answer") + _tokens(len(held.encode()))
        if self._completion is not None:
            letters = self._bytes["think"] + self._bytes["answer"]
            share = self._bytes["think"] / letters if letters else 0.0
            thought = self._reasoning if self._reasoning is not None else round(self._completion * share)
            answer = self._completion - thought
        return Usage(self._prompt, self._cached, thought, answer)

    def _estimate(self, kind: Literal["think", "answer"]) -> int:
        return max(self._pieces[kind], _tokens(self._bytes[kind]))


def prompt_tokens(ask: Ask | TextAsk) -> int:
    """About how many tokens a prompt has. Rather too many than too few: it is what a key's limit is held against."""
    if isinstance(ask, TextAsk):
        if isinstance(ask.prompt, tuple):
            return len(ask.prompt)
        return _about(ask.prompt + (ask.suffix or ""))
    texts = [message.content + (message.reasoning_content or "") for message in ask.messages]
    texts += [call.name + call.arguments for message in ask.messages for call in message.tool_calls]
    texts += [tool.name + tool.description + json.dumps(tool.parameters) for tool in ask.tools]
    return sum(map(_about, texts)) + MESSAGE_TOKENS * len(texts)


def _tokens(count: int) -> int:
    return -(-count // BYTES_PER_TOKEN)


def _about(text: str) -> int:
    return -(-len(text.encode("utf-8", "replace")) // 3)


def _inner(record: Mapping[str, Any], outer: str, name: str) -> int | None:
    inner = record.get(outer)
    return _whole(inner.get(name)) if isinstance(inner, dict) else None


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST else None
