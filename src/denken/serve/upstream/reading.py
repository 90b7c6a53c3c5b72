"""What comes back from upstream: bytes to events to deltas. Everything in it is hostile until it is read.

Limits: how long an event may be, how much may come in all, how many calls a reply may have. What is no event stream,
no JSON or no record of a completion ends the reply as broken. How long may pass between bytes is `speaker.py`'s.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from denken.remote import parse as parse
from denken.remote import whole_characters
from denken.serve.speaker import Piece, TokenLogprob
from denken.serve.upstream import refusal

EVENT_BYTES = 4 * 2**20
ALL_BYTES = 256 * 2**20
MOST_CALLS = 128
MOST_TOKENS = 10_000
DONE = b"[DONE]"


class Events:
    """Bytes of an event stream, cut anywhere, to the data of its events."""

    def __init__(self, event_bytes: int = EVENT_BYTES, all_bytes: int = ALL_BYTES):
        self._event_bytes, self._all_bytes = event_bytes, all_bytes
        self._line: list[bytes] = []  # parts of a line that is not over
        self._data: list[bytes] = []  # lines of an event that is not over
        self._size = self._held = 0

    def push(self, chunk: bytes) -> list[bytes]:
        """The events that are over. Raises Failure."""
        self._size += len(chunk)
        if self._size > self._all_bytes:
            raise refusal.broken(f"sent more than {self._all_bytes} bytes")
        events = []
        first, *others = chunk.split(b"\n")
        self._hold(first)
        for part in others:
            line = b"".join(self._line).removesuffix(b"\r")
            self._line = []
            if event := self._end_line(line):
                events.append(event)
            self._hold(part)
        return events

    def _hold(self, part: bytes) -> None:
        self._line.append(part)
        self._held += len(part)
        if self._held > self._event_bytes:
            raise refusal.broken(f"sent an event of more than {self._event_bytes} bytes")

    def _end_line(self, line: bytes) -> bytes | None:
        """The event that an empty line ends; of other lines, data and llama.cpp's errors are kept."""
        if line.startswith(b"data:"):
            self._data.append(line[5:].removeprefix(b" "))
            return None
        if line.startswith(b"error:"):
            return b'{"error":' + (line[6:].strip() or b"{}") + b"}"
        if line:
            self._held = sum(map(len, self._data))  # a comment, or the name of an event
            return None
        event, self._data, self._held = b"\n".join(self._data), [], 0
        return event


@dataclass(frozen=True, slots=True)
class Delta:
    """What one event says. calls: fragments of tool calls. finish: the reason, in the server's word.

    tokens: those of the text; thought_tokens: those that are said to be the thought's.
    """

    thought: str = ""
    text: str = ""
    tokens: tuple[TokenLogprob, ...] = ()
    thought_tokens: tuple[TokenLogprob, ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()
    usage: Mapping[str, Any] | None = None
    finish: str | None = None


def delta(data: bytes, secrets: Collection[str] = ()) -> Delta:
    """The delta of an event of /chat/completions or /completions. Raises Failure for an error and for what is none."""
    try:
        record = parse(data)
    except ValueError:
        raise refusal.broken("sent an event that is not JSON") from None
    if not isinstance(record, dict):
        raise refusal.broken("sent an event that is no record")
    if record.get("error"):
        raise refusal.in_stream(record["error"], secrets)
    if record.get("object") == "error":
        raise refusal.in_stream(record, secrets)
    usage = record.get("usage") if isinstance(record.get("usage"), dict) else None
    choice = _first(record.get("choices"))
    inner = choice.get("delta")
    said = inner if isinstance(inner, dict) else {}
    finish = choice.get("finish_reason")
    return Delta(
        thought=_text(said.get("reasoning_content")) or _text(said.get("reasoning")),
        text=(_text(said.get("content")) or _text(said.get("refusal"))) + _text(choice.get("text")),
        tokens=_tokens(choice.get("logprobs"), "content"),
        thought_tokens=_tokens(choice.get("logprobs"), "reasoning_content"),
        calls=tuple(call for call in _list(said.get("tool_calls")) if isinstance(call, dict)),
        usage=usage,
        finish=finish if isinstance(finish, str) else None,
    )


class Echo:
    """Drops what a server repeats of a begun answer before it goes on, as llama.cpp does since lately."""

    def __init__(self, begun: str):
        self._begun, self._held = begun, ""

    def drop(self, text: str) -> str:
        """What is new in the text; nothing as long as it could be the beginning."""
        self._held += text
        if len(self._held) < len(self._begun) and self._begun.startswith(self._held):
            return ""
        new, self._begun, self._held = self._held.removeprefix(self._begun), "", ""
        return new

    def finish(self) -> str:
        """Text that looked like the beginning and was not all of it."""
        held, self._held = self._held, ""
        return held


class Calls:
    """Fragments of tool calls, put together. Servers number them, and those that do not begin each with its id."""

    def __init__(self) -> None:
        self._calls: dict[int, tuple[list[str], list[str]]] = {}
        self._last = -1

    def push(self, fragment: Mapping[str, Any]) -> str:
        """What it adds to the arguments. Raises Failure for more calls than a reply may have."""
        index = fragment.get("index")
        if not isinstance(index, int) or isinstance(index, bool):
            index = self._last + 1 if fragment.get("id") or self._last < 0 else self._last
        self._last = index
        if index not in self._calls and len(self._calls) >= MOST_CALLS:
            raise refusal.broken(f"sent more than {MOST_CALLS} tool calls in one reply")
        names, arguments = self._calls.setdefault(index, ([], []))
        function = fragment.get("function")
        if not isinstance(function, dict):
            return ""
        if not names and (name := _text(function.get("name"))):
            names.append(name)
        given = function.get("arguments")
        # Ollama once sent the object itself.
        arguments.append(json.dumps(given) if isinstance(given, dict) else _text(given))
        return arguments[-1]

    def pieces(self) -> list[Piece]:
        """Whole calls, in the order of their numbers. Raises Failure for one without a name."""
        pieces = []
        for index in sorted(self._calls):
            names, arguments = self._calls[index]
            if not names:
                raise refusal.broken("sent a tool call without a name")
            pieces.append(Piece("tool", "".join(arguments) or "{}", name=names[0]))
        return pieces


def _first(choices: Any) -> Mapping[str, Any]:
    """One reply is asked for; what is not of it is passed over."""
    for choice in _list(choices):
        if isinstance(choice, dict) and choice.get("index", 0) == 0:
            return choice
    return {}


def _tokens(logprobs: Any, name: str) -> tuple[TokenLogprob, ...]:
    if not isinstance(logprobs, dict):
        return ()
    if isinstance(logprobs.get("tokens"), list):
        return _legacy_tokens(logprobs) if name == "content" else ()
    listed = _list(logprobs.get(name))[:MOST_TOKENS]
    return tuple(
        TokenLogprob(
            *_token(one), tuple(_token(other) for other in _list(one.get("top_logprobs"))[:20] if _is_token(other))
        )
        for one in listed
        if _is_token(one)
    )


def _legacy_tokens(logprobs: Mapping[str, Any]) -> tuple[TokenLogprob, ...]:
    """The shape of /completions: lists side by side."""
    names, values, tops = (_list(logprobs.get(key)) for key in ("tokens", "token_logprobs", "top_logprobs"))
    found = []
    for place, name in enumerate(names[:MOST_TOKENS]):
        value = values[place] if place < len(values) else None
        top = tops[place] if place < len(tops) and isinstance(tops[place], dict) else {}
        others = tuple((_bytes(other), _number(logprob)) for other, logprob in list(top.items())[:20])
        found.append(TokenLogprob(_bytes(_text(name)), _number(value), others))
    return tuple(found)


def _is_token(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("token"), str)


def _token(record: Mapping[str, Any]) -> tuple[bytes, float]:
    given = record.get("bytes")
    if isinstance(given, list) and len(given) <= 1024 and all(type(one) is int and 0 <= one < 256 for one in given):
        return bytes(given), _number(record.get("logprob"))
    return _bytes(record["token"]), _number(record.get("logprob"))


def _bytes(text: str) -> bytes:
    return whole_characters(text).encode()


def _number(value: Any) -> float:
    """A log-probability; what is none is as good as impossible."""
    if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        return min(float(max(value, -9999.0)), 0.0)
    return -9999.0


def _text(value: Any) -> str:
    return whole_characters(value) if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
