"""What serving needs of a model, and nothing of how it computes.

`denken.Assistant` is a `Speaker`; so is the fake in the tests, and so can be a server elsewhere.
Whatever is wrong with a request is raised by `reply` itself, before a byte has been sent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from denken.chat.message import Message
from denken.errors import RequestError
from denken.types import FinishReason, SamplingParams


class ContextFull(RequestError):
    """The conversation is longer than the model's context; clients know this error by a code of its own."""


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token: its bytes, its natural logarithm, and the likeliest tokens at its place."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one reply, as it arrives. `tokens` is empty unless `top_logprobs` was asked for.

    The text may be empty where a token has not yet made up a whole character.
    """

    kind: Literal["think", "answer", "tool"]
    text: str
    tokens: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply cost, in tokens.

    thought_tokens: up to and with the tag that closes the thought. answer_tokens: the rest, the end mark included.
    cached_tokens: those of the prompt that were not computed again.
    """

    prompt_tokens: int
    cached_tokens: int = 0
    thought_tokens: int = 0
    answer_tokens: int = 0


class Reply(Protocol):
    """One answer in the making: iterate over it once; `usage` and `finish_reason` grow with it.

    Closing the iterator early ends the generation.
    """

    @property
    def usage(self) -> Usage: ...

    @property
    def finish_reason(self) -> FinishReason: ...

    def __aiter__(self) -> AsyncGenerator[Piece, None]: ...


class Speaker(Protocol):
    """Whatever can answer a conversation.

    name: what clients call the model. created: seconds since 1970. context: tokens, prompt and reply together.
    defaults: how it is sampled unless the request says otherwise.
    """

    @property
    def name(self) -> str: ...

    @property
    def created(self) -> int: ...

    @property
    def context(self) -> int: ...

    @property
    def defaults(self) -> SamplingParams: ...

    def reply(self, messages: Sequence[Message], params: SamplingParams, *, thinking: bool) -> Reply:
        """Raises RequestError at once for a conversation that cannot be answered, ContextFull for one too long."""
        ...
