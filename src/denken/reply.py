"""One reply of a model in the making: ids from the engine become pieces of thought, answer and calls.

What was wanted is decided in `assistant.py`; here it is only carried out and counted. A call counts where the tool was
offered and its arguments are a JSON object; any other, and every call or search within a thought, is text.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from denken.chat.message import Message, ToolCall
from denken.chat.parser import END_SEARCH, SEARCH, Bare, Event, Parser
from denken.chat.template import END_THINK, THINK
from denken.serve.speaker import Piece, TokenLogprob, Usage
from denken.tokenizer import Tokenizer
from denken.types import FinishReason, SamplingParams

if TYPE_CHECKING:
    from denken.engine.stream import Stream


class Chunk(Protocol):
    """What the engine's stream hands over; the fields are those of `denken.engine.sequence.Output`."""

    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def logprobs(self) -> Sequence[float]: ...
    @property
    def top_logprobs(self) -> Sequence[Sequence[tuple[int, float]]]: ...
    @property
    def finish_reason(self) -> FinishReason | None: ...
    @property
    def cached_tokens(self) -> int: ...
    @property
    def surplus(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be generated, and what may come of it.

    most_tokens: how many ids at the most. thinking: whether the prompt ends inside a thought.
    bare: there are no thoughts and no calls, only text. tools: the names that may be called. one_call: the reply ends
    with its first call. then: told the whole reply once it was read to its end.
    """

    prompt: Sequence[int]
    params: SamplingParams
    most_tokens: int
    thinking: bool = False
    bare: bool = False
    tools: Collection[str] = ()
    one_call: bool = False
    then: Callable[[Message], object] = field(default=lambda message: None)


class Reply:
    """One answer in the making. Iterate over it once, with `for` or `async for`; `usage` and the rest grow with it."""

    def __init__(self, stream: Stream, tokenizer: Tokenizer, plan: Plan):
        self.most_tokens = plan.most_tokens
        self.usage = Usage(prompt_tokens=len(plan.prompt))
        self.finish_reason: FinishReason = "abort"
        self.stop_string: str | None = None
        self._stream, self._tokenizer, self._plan = stream, tokenizer, plan
        self._parser = Bare(tokenizer) if plan.bare else Parser(tokenizer, thinking=plan.thinking)
        self._opener, self._closer = (
            tokenizer.control(name) if tokenizer.has_control(name) and not plan.bare else None
            for name in (THINK, END_THINK)
        )
        self._controls = frozenset(tokenizer.control_ids.values())
        self._inside_thought = plan.thinking
        self._untold: list[TokenLogprob] = []
        self._said: list[str] = []
        self._calls: list[ToolCall] = []

    async def begin(self) -> None:
        """Whatever could be wrong was found when it was made."""

    async def aclose(self) -> None:
        """Nothing is open before it is iterated over, and the iterator closes what it opens."""

    def __iter__(self) -> Generator[Piece, None, None]:
        plan = self._plan
        with closing(self._stream.generate_sync(plan.prompt, plan.params, thinking=plan.thinking)) as chunks:
            for chunk in chunks:
                yield from self._read(chunk)
                if self.finish_reason != "abort":
                    break
        self._end()

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        plan = self._plan
        async with aclosing(self._stream.generate(plan.prompt, plan.params, thinking=plan.thinking)) as chunks:
            async for chunk in chunks:
                for piece in self._read(chunk):
                    yield piece
                if self.finish_reason != "abort":
                    break
        self._end()

    def _end(self) -> None:
        if self.finish_reason != "abort":
            said, calls = "".join(self._said), tuple(self._calls)
            self._plan.then(Message("assistant", said, reasoning_content="", tool_calls=calls))

    def _read(self, chunk: Chunk) -> list[Piece]:
        """The pieces that a chunk completes; `usage` and `finish_reason` are those after it."""
        pieces: list[Piece] = []
        thought, answer = self.usage.thought_tokens, self.usage.answer_tokens
        for index, token in enumerate(chunk.ids):
            self._inside_thought = self._inside_thought or token == self._opener
            kind: Literal["think", "answer"] = "think" if self._inside_thought else "answer"
            thought, answer = (thought + 1, answer) if self._inside_thought else (thought, answer + 1)
            if token == self._closer:
                self._inside_thought = False
            if self._plan.params.top_logprobs is not None and token not in self._controls:
                self._untold.append(self._logprob(chunk, index))
            pieces += self._pieces(self._parser.push([token]), kind)
            if self._plan.one_call and self._calls:
                self.finish_reason = "stop"
                break
        self.usage = Usage(self.usage.prompt_tokens, chunk.cached_tokens, thought, answer)
        if self.finish_reason == "stop":
            return self._told(pieces)
        if chunk.finish_reason is not None:
            self.finish_reason = chunk.finish_reason
            pieces += self._pieces(self._parser.finish(), "answer")
        if chunk.surplus:
            ending = "".join(piece.text for piece in pieces)[-chunk.surplus :]
            self.stop_string = next((stop for stop in self._plan.params.stop if ending.startswith(stop)), None)
        return self._told(_cut(pieces, chunk.surplus))

    def _told(self, pieces: list[Piece]) -> list[Piece]:
        self._said += [piece.text for piece in pieces if piece.kind == "answer"]
        return _joined(pieces)

    def _pieces(self, events: Sequence[Event], kind: Literal["think", "answer"]) -> Iterator[Piece]:
        """The events as pieces; what is to be told of tokens goes along with the first, or alone."""
        tokens, self._untold = tuple(self._untold), []
        for event in events:
            piece = self._piece(event)
            yield replace(piece, tokens=tokens) if tokens else piece
            tokens = ()
        if tokens:
            yield Piece(kind, "", tokens)

    def _piece(self, event: Event) -> Piece:
        if event.kind != "tool":
            return Piece(event.kind, event.text)
        if self._parser.unclosed:
            return Piece("think", f"{SEARCH}{event.text}{END_SEARCH}")
        if event.name in self._plan.tools and _is_object(event.text):
            self._calls.append(ToolCall(event.name, event.text))
            return Piece("tool", event.text, name=event.name)
        return Piece("answer", f"{event.name}\n{event.text}".strip())

    def _logprob(self, chunk: Chunk, index: int) -> TokenLogprob:
        top = chunk.top_logprobs[index] if chunk.top_logprobs else ()
        return TokenLogprob(
            self._tokenizer.token_bytes(chunk.ids[index]),
            chunk.logprobs[index],
            tuple((self._tokenizer.token_bytes(other), value) for other, value in top),
        )


def _joined(pieces: list[Piece]) -> list[Piece]:
    """Stretches of thought, or of answer, that follow each other are one: several tokens may come at a time."""
    joined: list[Piece] = []
    for piece in pieces:
        if joined and piece.kind != "tool" and piece.kind == joined[-1].kind:
            last = joined.pop()
            piece = Piece(piece.kind, last.text + piece.text, last.tokens + piece.tokens)
        joined.append(piece)
    return joined


def _cut(pieces: list[Piece], surplus: int) -> list[Piece]:
    """The pieces without the last `surplus` characters: a stop string and what came with it."""
    kept = list(pieces)
    while surplus and kept:
        last = kept.pop()
        if len(last.text) > surplus:
            kept.append(replace(last, text=last.text[:-surplus]))
        surplus -= min(surplus, len(last.text))
    return kept


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text, parse_constant=_no_number), dict)
    except (ValueError, RecursionError):
        return False


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
