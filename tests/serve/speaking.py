"""A speaker that says what a test wants, and a server that it really listens on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import closing, contextmanager

from fastapi import FastAPI

from denken.about import About
from denken.chat.message import Message
from denken.errors import RequestError
from denken.serve.listen import listen
from denken.serve.server import Server
from denken.serve.server import server as server_of
from denken.serve.speaker import Ask, ContextFull, Piece, TextAsk, TokenLogprob, Usage
from denken.serve.tls import Certificate
from denken.types import FinishReason, SamplingParams


class FakeReply:
    """Echoes the question as an answer after a thought; `pause` seconds between pieces."""

    def __init__(self, speaker: FakeSpeaker, pieces: Sequence[Piece], usage: Usage, reason: FinishReason):
        self._speaker, self._pieces, self._final = speaker, pieces, usage
        self.usage, self.finish_reason = Usage(usage.prompt_tokens), reason
        self.most_tokens = 100
        self.stop_string = speaker.stop_string

    async def begin(self) -> None:
        if self._speaker.refuses is not None:
            raise self._speaker.refuses

    async def aclose(self) -> None:
        self._speaker.closed += 1

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        self._speaker.begun += 1
        try:
            for piece in self._pieces:
                await asyncio.sleep(self._speaker.pause)
                if self._speaker.gate is not None:
                    await self._speaker.gate.wait()
                if piece.text == "BREAK":
                    raise RuntimeError("secret detail")
                yield piece
            self.usage = self._final
        finally:
            self._speaker.ended += 1


class FakeSpeaker:
    """Remembers what it was asked in `asks` and, of conversations, in `asked`; counts replies begun, ended and closed.

    gate: what each piece waits for, besides `pause`. refuses: what `begin` raises. pieces: what is said, no echo then.
    """

    name, created, context, parent = "fake", 1_700_000_000, 1000, None

    def __init__(self) -> None:
        self.defaults = SamplingParams(temperature=0.3, seed=None)
        self.about = About()
        self.asked: list[tuple[Sequence[Message], SamplingParams, bool]] = []
        self.asks: list[Ask | TextAsk] = []
        self.refuses: Exception | None = None
        self.pause = 0.0
        self.gate: asyncio.Event | None = None
        self.reason: FinishReason = "stop"
        self.stop_string: str | None = None
        self.pieces: list[Piece] | None = None
        self.begun = self.ended = self.closed = 0

    def reply(self, ask: Ask) -> FakeReply:
        self.asks.append(ask)
        params, thinking = ask.params, ask.thinking
        self.asked.append((ask.messages, params, thinking))
        question = ask.messages[-1].content
        if not question.strip():
            raise RequestError("The question is empty; write what you want to know.")
        if len(question) > self.context:
            raise ContextFull("The conversation has 2000 tokens, and fake takes 1000.")
        return self.echo(question, params, thinking)

    def complete(self, ask: TextAsk) -> FakeReply:
        self.asks.append(ask)
        return self.echo(str(ask.prompt), ask.params, thinking=False)

    def count(self, ask: Ask) -> int:
        return 10

    def echo(self, question: str, params: SamplingParams, thinking: bool) -> FakeReply:
        logprobs = (TokenLogprob(b"x", -0.5, ((b"x", -0.5), (b"y", float("-inf")))),) if params.top_logprobs else ()
        thought = [Piece("think", "I echo ", logprobs), Piece("think", "it.")] if thinking else []
        pieces = [*thought, Piece("answer", question[:1], logprobs), Piece("answer", question[1:])]
        usage = Usage(prompt_tokens=10, cached_tokens=4, thought_tokens=3 * thinking, answer_tokens=2)
        return FakeReply(self, pieces if self.pieces is None else self.pieces, usage, self.reason)


@contextmanager
def running(app: FastAPI, grace: float = 1.0, certificate: Certificate | None = None) -> Iterator[tuple[int, Server]]:
    """The application on a free port of 127.0.0.1, as `denken serve` runs it, in a thread; the port and the server."""
    with closing(listen("127.0.0.1", 0)) as listener:
        running = server_of(app, app.state.places, grace=grace, certificate=certificate)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield listener.getsockname()[1], running
        running.should_exit = running.force_exit = True
        thread.join(10)
