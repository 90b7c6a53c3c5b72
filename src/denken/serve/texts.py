"""POST /completions as a dialect: texts that go on as they stand, in the shape that OpenAI's API had before chats.

DeepSeek's form for filling a gap (`suffix`) is the same request. A prompt may be text or ids, or several of either;
every one gets `n` replies. Not covered: log-probabilities of the prompt itself, and choosing the best of several.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, StrictInt, field_validator, model_validator

from denken.serve import sse
from denken.serve.completions import envelope, usage_record
from denken.serve.fields import MAX_REPLIES, Sampled, Text, seeds
from denken.serve.speaker import Speaker, TextAsk, TokenLogprob
from denken.serve.turn import Record, Turn
from denken.types import SamplingParams

MAX_TOKENS = 16  # OpenAI's default here
MAX_IDS = 1_000_000
IDS = Annotated[list[Annotated[StrictInt, Field(ge=0, lt=2**31)]], Field(min_length=1, max_length=MAX_IDS)]


class TextRequest(Sampled):
    """The body of POST /completions."""

    model: Text | None = Field(default=None, max_length=256)
    prompt: Text | IDS | Annotated[list[Text] | list[IDS], Field(min_length=1, max_length=MAX_REPLIES)]
    suffix: Text | None = None
    echo: bool | None = None
    logprobs: int | None = Field(default=None, ge=0, le=5)
    max_tokens: int | None = Field(default=MAX_TOKENS, ge=1, le=10_000_000)
    best_of: int | None = Field(default=None, ge=1, le=MAX_REPLIES)

    @field_validator("max_tokens", mode="before")
    @classmethod
    def _null_is_absent(cls, value: object) -> object:
        return MAX_TOKENS if value is None else value

    @model_validator(mode="after")
    def _check_together(self) -> TextRequest:
        if self.best_of not in (None, self.replies):
            raise ValueError("best_of is supported only where it is n; ask for n replies and choose")
        if self.echo and self.logprobs is not None:
            raise ValueError("echo with logprobs is not supported, for prompts get no logprobs; leave one of them out")
        if self.echo and not all(isinstance(prompt, str) for prompt in self.prompts):
            raise ValueError("echo needs the prompt as text, not as ids")
        return self

    @property
    def prompts(self) -> list[str | tuple[int, ...]]:
        given = self.prompt
        if isinstance(given, str):
            return [given]
        if isinstance(given[0], int):
            return [tuple(id_ for id_ in given if isinstance(id_, int))]
        return [prompt if isinstance(prompt, str) else tuple(prompt) for prompt in given if not isinstance(prompt, int)]

    def sampling(self, defaults: SamplingParams) -> SamplingParams:
        return self.sampled(defaults, {"max_tokens": self.max_tokens, "top_logprobs": self.logprobs})


@dataclass(slots=True)
class Tokens:
    """The tokens of one reply in the legacy shape, where a token is named by text and found by its offset."""

    top: int
    offset: int = 0
    _decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")("replace")
    )

    def record(self, tokens: Iterable[TokenLogprob]) -> Record:
        """What is said of the next tokens."""
        told: Record = {"tokens": [], "token_logprobs": [], "top_logprobs": [] if self.top else None, "text_offset": []}
        for token in tokens:
            told["tokens"].append(_name(token.token))
            told["token_logprobs"].append(max(token.logprob, -9999.0))
            told["text_offset"].append(self.offset)
            if self.top:
                others = {_name(other): max(value, -9999.0) for other, value in token.top}
                told["top_logprobs"].append({_name(token.token): max(token.logprob, -9999.0)} | others)
            self.offset += len(self._decoder.decode(token.token))
        return told


@dataclass(frozen=True, slots=True)
class Texts:
    """One request to /completions."""

    request: TextRequest

    def asks(self, speaker: Speaker) -> Sequence[TextAsk]:
        """All replies to the first prompt, then those to the next."""
        every = seeds(self.request.sampling(speaker.defaults), self.request.replies)
        return [
            TextAsk(prompt, params, self.request.suffix, repeats=number > 0)
            for prompt in self.request.prompts
            for number, params in enumerate(every)
        ]

    async def whole(self, turn: Turn) -> Record:
        """One `text_completion`."""
        told = self._echoes(turn)
        tokens: list[list[TokenLogprob]] = [[] for _ in turn.replies]
        async with aclosing(turn.pieces()) as pieces:
            async for number, piece in pieces:
                told[number] += piece.text
                tokens[number] += piece.tokens
        choices = [
            self._choice(number, text, self._tokens().record(tokens[number]), reply.finish_reason)
            for number, (text, reply) in enumerate(zip(told, turn.replies, strict=True))
        ]
        return envelope(turn, "text_completion", "cmpl") | {"choices": choices, "usage": usage_record(turn.usage)}

    async def events(self, turn: Turn) -> AsyncGenerator[sse.Event, None]:
        """`text_completion`s with a piece of text each, then one with the reason it ended for every reply."""
        start = envelope(turn, "text_completion", "cmpl")
        if self.request.includes_usage:
            start["usage"] = None

        def chunk(number: int, text: str, tokens: Iterable[TokenLogprob] = (), reason: str | None = None) -> sse.Event:
            so_far = {"usage": usage_record(turn.usage)} if self.request.counts_along else {}
            choice = self._choice(number, text, counted[number].record(tokens), reason)
            return sse.Event(start | so_far | {"choices": [choice]})

        counted = [self._tokens() for _ in turn.replies]
        for number, echo in enumerate(self._echoes(turn)):
            if echo:
                yield chunk(number, echo)
        async with aclosing(turn.pieces()) as pieces:
            async for number, piece in pieces:
                yield chunk(number, piece.text, piece.tokens)
        for number, reply in enumerate(turn.replies):
            yield chunk(number, "", reason=_reason(reply.finish_reason))
        if self.request.includes_usage:
            yield sse.Event(start | {"choices": [], "usage": usage_record(turn.usage)})
        yield sse.DONE

    def _echoes(self, turn: Turn) -> list[str]:
        """What every reply begins with: its prompt where it is to be repeated, or nothing."""
        return [str(ask.prompt) if self.request.echo and isinstance(ask, TextAsk) else "" for ask in turn.asks]

    def _tokens(self) -> Tokens:
        return Tokens(self.request.logprobs or 0)

    def _choice(self, number: int, text: str, logprobs: Record, reason: str | None) -> Record:
        return {
            "text": text,
            "index": number,
            "logprobs": logprobs if self.request.logprobs is not None else None,
            "finish_reason": reason if reason is None else _reason(reason),
        }


def _reason(reason: str) -> str:
    return "length" if reason == "length" else "stop"


def _name(token: bytes) -> str:
    """A token's text, or its bytes where it is no whole character, as OpenAI writes them."""
    try:
        return token.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in token)
