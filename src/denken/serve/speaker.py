"""What serving needs of a model, and nothing of how it computes.

`denken.Assistant` is a `Speaker`; so is the fake in the tests, and so is a server elsewhere (`upstream/`).
Whatever is known to be wrong with a request is raised by `reply` and `complete` themselves, before a byte has been
sent; what only the other side can tell is raised by `begin`, which is awaited before anything is sent.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from denken.about import About
from denken.chat.message import Message
from denken.chat.message import Tool as Tool
from denken.errors import RequestError
from denken.search.found import Found, Look
from denken.types import FinishReason, SamplingParams


class ContextFull(RequestError):
    """The conversation is longer than the model's context; clients know this error by a code of its own."""


class Unsupported(RequestError):
    """The model cannot do what was asked, whatever the values; the text says what it lacks."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One reply that is wanted to a conversation, whatever API it was asked through.

    continues: the last message is the assistant's beginning, and the reply goes on from there.
    tool_choice: "auto", "none", "required" (any of `tools`), or ("named", NAME). parallel_tools: several calls at once.
    schema: the JSON Schema that the answer must match; {} is any JSON object; None asks for text.
    repeats: an ask before it, of the same request, has the same prompt, which is counted once.
    look: how the model may look things up within its thought; only for one whose `about.searches` is "inside".
    """

    messages: Sequence[Message]
    params: SamplingParams
    thinking: bool = True
    continues: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: Literal["auto", "none", "required"] | tuple[Literal["named"], str] = "auto"
    parallel_tools: bool = True
    schema: Mapping[str, Any] | None = None
    repeats: bool = False
    look: Look | None = None


@dataclass(frozen=True, slots=True)
class TextAsk:
    """A text that is to be continued as it stands, without roles. suffix: what comes after the gap, or nothing.

    repeats: as in `Ask`.
    """

    prompt: str | tuple[int, ...]
    params: SamplingParams
    suffix: str | None = None
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One generated token: its bytes, its natural logarithm, and the likeliest tokens at its place."""

    token: bytes
    logprob: float
    top: tuple[tuple[bytes, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one reply, as it arrives. `tokens` is empty unless `top_logprobs` was asked for.

    The text may be empty where a token has not yet made up a whole character. A "tool" piece is one whole call: `name`
    is the function and `text` its arguments as JSON. A "search" piece is a query (`text`) that is being looked up, and
    the "found" piece that follows it what came of it; both come only where `Ask.look` was given.
    """

    kind: Literal["think", "answer", "tool", "search", "found"]
    text: str
    tokens: tuple[TokenLogprob, ...] = ()
    name: str = ""
    found: Found | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What a reply cost, in tokens.

    prompt_tokens: with what searches within the thought have found, each token once.
    thought_tokens: up to and with the tag that closes the thought. answer_tokens: the rest, the end mark included.
    cached_tokens: those of the prompt that were not computed again.
    """

    prompt_tokens: int
    cached_tokens: int = 0
    thought_tokens: int = 0
    answer_tokens: int = 0


class Reply(Protocol):
    """One answer in the making: await `begin`, then iterate over it once; `usage` and `finish_reason` grow with it.

    Closing the iterator early ends the generation, and so does `aclose`, at any time and as often as one likes.
    most_tokens: how many it may generate at the most.
    stop_string: the one that ended it; None where none did, or where the other side does not say.
    """

    @property
    def usage(self) -> Usage: ...

    @property
    def most_tokens(self) -> int: ...

    @property
    def finish_reason(self) -> FinishReason: ...

    @property
    def stop_string(self) -> str | None: ...

    async def begin(self) -> None:
        """Returns once the reply is sure to come. Raises what `Speaker.reply` raises."""
        ...

    def __aiter__(self) -> AsyncGenerator[Piece, None]: ...

    async def aclose(self) -> None:
        """Gives up what `begin` has opened, for replies that nobody came to iterate over."""
        ...


class Speaker(Protocol):
    """Whatever can answer a conversation.

    name: what clients call the model. created: seconds since 1970. context: tokens, prompt and reply together.
    defaults: how it is sampled unless the request says otherwise. about: what it says of itself.
    parent: the model that this one is an adapter over; None where it is a whole one.
    """

    @property
    def about(self) -> About: ...

    @property
    def name(self) -> str: ...

    @property
    def parent(self) -> str | None: ...

    @property
    def created(self) -> int: ...

    @property
    def context(self) -> int: ...

    @property
    def defaults(self) -> SamplingParams: ...

    def reply(self, ask: Ask) -> Reply:
        """Raises at once, in any thread: RequestError for a conversation that cannot be answered, ContextFull for one
        too long, Unsupported for what the model cannot do."""
        ...

    def complete(self, ask: TextAsk) -> Reply:
        """Likewise; everything generated is "answer"."""
        ...

    def count(self, ask: Ask) -> int:
        """How many tokens the conversation has, up to where the reply would begin."""
        ...
