"""One reply of a model in the making: ids from the engine become pieces of thought, answer and calls.

What was wanted is decided in `assistant.py`; here it is only carried out and counted. A call counts where the tool was
offered and its arguments are a JSON object; any other, and every call within a thought, is text.

A search within a thought is text, too, unless somebody looks things up for this reply (`Plan.look`). Then the engine's
request ends with the search, and another one goes on from what was generated and found. One reply is several requests
then, and is counted as one: what was found are tokens of the prompt, which nobody had computed before; what was
generated counts once; budget, `max_tokens` and the context are those of the whole. Only penalties begin anew with every
search.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Iterator, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, Protocol

from denken.chat.message import Message, ToolCall
from denken.chat.parser import DEEPSEEK, Bare, Dialect, Event, Parser
from denken.chat.searching import Searches, most_found, query_of
from denken.chat.template import END_SEARCH, END_THINK, SEARCH, THINK, end_of_thinking
from denken.engine.sequence import thought_limit
from denken.search.found import Found, Look
from denken.search.prompts import information
from denken.serve.speaker import Piece, TokenLogprob, Usage
from denken.tokenizer import Tokenizer
from denken.types import FinishReason, SamplingParams

if TYPE_CHECKING:
    from denken.engine.stream import Requests, Under


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
    bare: there are no thoughts and no calls, only text. dialect: the tags of thoughts and calls. tools: the names that
    may be called. one_call: the reply ends with its first call. then: told the whole reply once it was read to its end.
    look: how searches within the thought are looked up; None where they are only text. context: the ids that fit,
    prompt and reply together; asked for with `look` alone.
    """

    prompt: Sequence[int]
    params: SamplingParams
    most_tokens: int
    thinking: bool = False
    bare: bool = False
    dialect: Dialect = DEEPSEEK
    tools: Collection[str] = ()
    one_call: bool = False
    then: Callable[[Message], object] = field(default=lambda message: None)
    look: Look | None = None
    context: int = 0

    @property
    def most(self) -> int:
        """How many ids at the most, generated and found."""
        if self.look is None:
            return self.most_tokens
        prompt = len(self.prompt)
        return min(self.context - prompt, self.most_tokens + most_found(self.context, prompt))


class Reply:
    """One answer in the making. Iterate over it once, with `for` or `async for`; `usage` and the rest grow with it."""

    def __init__(self, stream: Requests | Under, tokenizer: Tokenizer, plan: Plan):
        self.most_tokens = plan.most
        self.usage = Usage(prompt_tokens=len(plan.prompt))
        self.finish_reason: FinishReason = "abort"
        self.stop_string: str | None = None
        self._stream, self._tokenizer, self._plan = stream, tokenizer, plan
        self._parser = Bare(tokenizer) if plan.bare else self._parsing(plan.thinking)
        self._opener, self._closer = (
            tokenizer.control(name) if tokenizer.has_control(name) and not plan.bare else None
            for name in (THINK, END_THINK)
        )
        self._controls = frozenset(tokenizer.control_ids.values())
        self._inside_thought = plan.thinking
        self._untold: list[TokenLogprob] = []
        self._said: list[str] = []
        self._calls: list[ToolCall] = []
        # The request under way: its ids, how it is sampled, and what was generated for it.
        self._prompt, self._params = plan.prompt, plan.params
        self._generated: list[int] = []
        self._query: str | None = None
        self._searches: Searches | None = None
        if plan.look is not None:
            self._searches = Searches(tokenizer, plan.context)
            self._params = replace(plan.params, searches=True)

    async def begin(self) -> None:
        """Whatever could be wrong was found when it was made."""

    async def aclose(self) -> None:
        """Nothing is open before it is iterated over, and the iterator closes what it opens."""

    def __iter__(self) -> Generator[Piece, None, None]:
        """For threads without an event loop; searches get one that lives as long as the reply."""
        with closing(asyncio.Runner()) as loop:
            while self.finish_reason == "abort":
                thinking = self._inside_thought
                with closing(self._stream.generate_sync(self._prompt, self._params, thinking=thinking)) as chunks:
                    for chunk in chunks:
                        yield from self._read(chunk)
                        if self._has_stopped:
                            break
                if self._query is None:
                    break
                query, told = self._asked()
                if told is None:
                    yield Piece("search", query)
                    found = loop.run(self._look(query))
                    yield Piece("found", "", found=found)
                    told = information(found)
                self._go_on(told)
        self._end()

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        while self.finish_reason == "abort":
            thinking = self._inside_thought
            async with aclosing(self._stream.generate(self._prompt, self._params, thinking=thinking)) as chunks:
                async for chunk in chunks:
                    for piece in self._read(chunk):
                        yield piece
                    if self._has_stopped:
                        break
            if self._query is None:
                break
            query, told = self._asked()
            if told is None:
                yield Piece("search", query)
                found = await self._look(query)
                yield Piece("found", "", found=found)
                told = information(found)
            self._go_on(told)
        self._end()

    @property
    def _has_stopped(self) -> bool:
        return self.finish_reason != "abort" or self._query is not None

    async def _look(self, query: str) -> Found:
        assert self._plan.look is not None
        return await self._plan.look(query)

    def _asked(self) -> tuple[str, str | None]:
        """The search that the model has written, and what it is told where nothing is looked up."""
        assert self._query is not None
        assert self._searches is not None
        return self._query, self._searches.instead(self._query, (*self._prompt, *self._generated))

    def _go_on(self, told: str) -> None:
        """Prepares the request that goes on from the search; where the thought is over, it is closed at once."""
        assert self._searches is not None
        plan, usage = self._plan, self.usage
        begun, found = self._searches.go_on((*self._prompt, *self._generated), told)
        self._prompt, self._generated, self._query = (*begun, *found), [], None
        self.usage = replace(usage, prompt_tokens=usage.prompt_tokens + len(found))
        generated = usage.thought_tokens + usage.answer_tokens
        left = min(plan.most_tokens - generated, plan.context - len(self._prompt))
        if left <= 0:
            self.finish_reason = "length"
            return
        # The room of the whole reply says how long its thought may be, not that of its last request.
        closing_ids = len(end_of_thinking(self._tokenizer))
        limit = thought_limit(generated + left, closing_ids, plan.params.thinking_budget) or 0
        budget = max(0, limit - usage.thought_tokens) if found else 0
        self._params = replace(self._params, max_tokens=left, thinking_budget=budget)
        self._parser = self._parsing(thinking=True)

    def _parsing(self, thinking: bool) -> Parser:
        plan = self._plan
        return Parser(self._tokenizer, thinking=thinking, dialect=plan.dialect, calls=bool(plan.tools))

    def _end(self) -> None:
        if self.finish_reason != "abort":
            said, calls = "".join(self._said), tuple(self._calls)
            self._plan.then(Message("assistant", said, reasoning_content="", tool_calls=calls))

    def _read(self, chunk: Chunk) -> list[Piece]:
        """The pieces that a chunk completes; `usage` and `finish_reason` are those after it."""
        pieces: list[Piece] = []
        # One by one where a single id may end it, or is told of; elsewhere all at once, which is sooner done.
        told = self._plan.params.top_logprobs is not None
        alone = told or self._plan.one_call or self._searches is not None
        thought = answer = 0
        stretches = [[id] for id in chunk.ids] if alone else [chunk.ids]
        for index, ids in enumerate(stretches):
            self._generated += ids
            kind: Literal["think", "answer"] = "answer"
            for id in ids:
                self._inside_thought = self._inside_thought or id == self._opener
                kind = "think" if self._inside_thought else "answer"
                thought, answer = (thought + 1, answer) if self._inside_thought else (thought, answer + 1)
                if id == self._closer:
                    self._inside_thought = False
            if told and ids[0] not in self._controls:
                self._untold.append(self._logprob(chunk, index))
            pieces += self._pieces(self._parser.push(ids), kind)
            if self._plan.one_call and self._calls:
                self.finish_reason = "stop"
            if self._has_stopped:
                break
        # What a later request of this reply takes over was counted when it was generated.
        first, before = self._searches is None or not self._searches.made, self.usage
        cached = chunk.cached_tokens if first else before.cached_tokens
        thought, answer = before.thought_tokens + thought, before.answer_tokens + answer
        self.usage = Usage(before.prompt_tokens, cached, thought, answer)
        if self._has_stopped:
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
        """The events as pieces; what is to be told of tokens goes along with the first, or alone.

        What stands behind a search that is to be looked up is dropped.
        """
        tokens, self._untold = tuple(self._untold), []
        for event in events:
            if self._searches is not None and event.kind == "tool" and self._parser.unclosed:
                self._query = query_of(event.text)
                break
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
        return Piece("answer", event.written or f"{event.name}\n{event.text}".strip())

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
        if joined and piece.kind in ("think", "answer") and piece.kind == joined[-1].kind:
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
