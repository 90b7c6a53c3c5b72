"""A request on its way: admitted, answered, settled. The same for every API; what they write is in their own files.

    caller -> model -> place -> replies -> reservation -> pieces -> records -> settled -> the last record

A `Dialect` is one API: it says what is asked and how the pieces of the replies are written. What answers by events
alone, and to their end whether or not anybody listens, is no more than `Eventful`.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from denken.errors import ConfigError
from denken.serve import logs, sse, streams
from denken.serve.desk import Desk, Outcome, Ticket, Wanted
from denken.serve.failure import Failure
from denken.serve.places import Places, end_all
from denken.serve.speaker import Ask, Piece, Reply, Speaker, TextAsk, Usage
from denken.types import SamplingParams

log = logging.getLogger(__name__)

Record = dict[str, Any]
Answer = TypeVar("Answer")


class HungUp(Exception):
    """The client went away before its answer was ready; there is nobody to tell."""


@dataclass(slots=True)
class Turn:
    """Replies under way, one for each ask, and what a record has to say of them.

    id: 32 hexadecimal digits, those of the request. on_first: called when the first piece has come.
    first: when that was. stream: the name by which its events can be gone on with, or "".
    settle: writes down what it cost; what comes after it can say so. Otherwise that is done before the last event.
    """

    speaker: Speaker
    asks: Sequence[Ask | TextAsk | Opens]
    replies: Sequence[Reply]
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))
    began: float = field(default_factory=time.monotonic)
    on_first: Callable[[], None] | None = None
    first: float | None = None
    stream: str = ""
    settle: Callable[[], Awaitable[None]] = field(default=lambda: asyncio.sleep(0))

    async def pieces(self) -> AsyncGenerator[tuple[int, Piece], None]:
        """Every piece with the number of its reply, as they come. Closing it ends all replies."""
        if len(self.replies) == 1:
            async with aclosing(aiter(self.replies[0])) as pieces:
                async for piece in pieces:
                    self._has_begun()
                    yield 0, piece
            return
        async with aclosing(_merged(self.replies)) as numbered:
            async for item in numbered:
                self._has_begun()
                yield item

    def _has_begun(self) -> None:
        if self.first is None:
            self.first = time.monotonic()
            if self.on_first is not None:
                self.on_first()

    @property
    def usages(self) -> list[Usage]:
        """Of every reply; a prompt that several have in common counts for the first of them."""
        pairs = zip(self.asks, self.replies, strict=True)
        return [
            replace(reply.usage, prompt_tokens=0, cached_tokens=0) if ask.repeats else reply.usage
            for ask, reply in pairs
        ]

    @property
    def usage(self) -> Usage:
        """Of all replies together."""
        usages = self.usages
        return Usage(
            prompt_tokens=sum(usage.prompt_tokens for usage in usages),
            cached_tokens=sum(usage.cached_tokens for usage in usages),
            thought_tokens=sum(usage.thought_tokens for usage in usages),
            answer_tokens=sum(usage.answer_tokens for usage in usages),
        )


class Opens(Protocol):
    """An ask that takes more than one call to be opened. params, repeats: as in `Ask`."""

    @property
    def params(self) -> SamplingParams: ...

    @property
    def repeats(self) -> bool: ...

    def open(self, speaker: Speaker) -> Reply:
        """Raises as `Speaker.reply` does, in any thread."""
        ...


class Named(Protocol):
    """A request that may say which model it is for."""

    @property
    def model(self) -> str | None: ...


class Body(Named, Protocol):
    """What every API's request has: the model's name, and whether the answer is to come as events."""

    @property
    def stream(self) -> bool | None: ...


class Eventful(Protocol):
    """A request, already checked, that is answered by events: what it asks, and how what comes of it is written."""

    @property
    def request(self) -> Named: ...

    def asks(self, speaker: Speaker) -> Sequence[Ask | TextAsk | Opens]:
        """One for each reply that is wanted. Raises RequestError."""
        ...

    def events(self, turn: Turn) -> AsyncGenerator[sse.Event, None]:
        """The answer as events; consumes `turn.pieces()`."""
        ...


class Dialect(Eventful, Protocol):
    """One API's request, which may be answered by one record as well."""

    @property
    def request(self) -> Body: ...

    async def whole(self, turn: Turn) -> Record:
        """The answer as one record; consumes `turn.pieces()`."""
        ...


class Counter:
    """Where requests are answered: the models there are, the places, the desk that lets in and writes down."""

    def __init__(self, speakers: Sequence[Speaker], desk: Desk, places: Places):
        self.speakers = {speaker.name: speaker for speaker in speakers}
        if len(self.speakers) < len(speakers):
            names = [speaker.name for speaker in speakers]
            twice = next(name for name in names if names.count(name) > 1)
            raise ConfigError(f"Two models are called {twice!r}, and requests could not tell them apart; serve one.")
        self.default = speakers[0]
        self.desk, self.places = desk, places
        self.streams = streams.Streams(places)

    def speaker(self, name: str | None) -> Speaker:
        """Raises Failure 404."""
        if name is None:
            return self.default
        if name not in self.speakers:
            known = ", ".join(map(repr, self.speakers))
            raise Failure(
                404, f"There is no model {name!r} here; this server has {known}.", param="model", code="model_not_found"
            )
        return self.speakers[name]

    async def admit(self, request: Request) -> None:
        """Passed by every request but those for the page itself. Raises Failure 401."""
        request.state.caller = await self.desk.caller(request)
        logs.entry(request).key = request.state.caller.name

    async def answer(self, request: Request, dialect: Dialect) -> Response:
        """The response to a request that was admitted. Raises Failure and RequestError before anything is sent."""
        if dialect.request.stream:
            return await self._answer(request, dialect, None, resumable=streams.is_wanted(request))
        return await self._answer(request, dialect, dialect.whole)

    async def keep(self, request: Request, dialect: Eventful) -> Response:
        """Likewise; the events can be gone on with, and are made to their end whether or not anybody listens."""
        return await self._answer(request, dialect, None, resumable=True, patient=True)

    async def _answer(
        self,
        request: Request,
        dialect: Eventful,
        whole: Callable[[Turn], Coroutine[Any, Any, Record]] | None,
        *,
        resumable: bool = False,
        patient: bool = False,
    ) -> Response:
        speaker, entry, path = self.speaker(dialect.request.model), logs.entry(request), request.url.path
        async with AsyncExitStack() as held:
            asks = dialect.asks(speaker)
            # Before anything is waited for, so that nobody else takes the place meanwhile.
            held.enter_context(self.places.some(len(asks)))
            # A long conversation takes a while to encode; others are served meanwhile.
            replies = await run_in_threadpool(lambda: [_open(speaker, ask) for ask in asks])
            entry.turn = turn = Turn(speaker, asks, replies, entry.id)
            wanted = Wanted(
                turn.id,
                path,
                speaker.name,
                turn.usage.prompt_tokens,
                sum(reply.most_tokens for reply in replies),
                len(replies),
            )
            ticket = await self.desk.reserve(request.state.caller, wanted)
            turn.on_first = ticket.begun
            settlement = await held.enter_async_context(_settling(turn, ticket, entry))
            for reply in replies:
                held.push_async_callback(reply.aclose)
            await self._unless_ended(request, _begin(replies))
            if whole is not None:
                record = await self._unless_ended(request, whole(turn))
                await settlement.done()
                return JSONResponse(record, headers=dict(ticket.headers))
            turn.settle = settlement.done
            chunks = sse.wire(_settled(dialect.events(turn), settlement), path)
            if resumable:
                stream = self.streams.begin(request, chunks, held, path, patient=patient)
                turn.stream = stream.headers[streams.NAME_HEADER]
            else:
                stream = sse.Stream(chunks, held.pop_all(), path, self.places)
            stream.headers.update(ticket.headers)
            return stream

    async def _unless_ended(self, request: Request, answer: Coroutine[Any, Any, Answer]) -> Answer:
        """Waits for the answer and, meanwhile, for the client to hang up and for the server to end: both end it."""
        making = asyncio.create_task(answer)
        ends = sse.disconnect(request.receive), self.places.until_cleared()
        others = [asyncio.create_task(end) for end in ends]
        try:
            await asyncio.wait([making, *others], return_when=asyncio.FIRST_COMPLETED)
            if making.done():
                return making.result()
            raise self.places.ending if self.places.cleared else HungUp
        finally:
            await end_all([making, *others])


class _Settlement:
    """Settles a ticket once: as done, or, where nobody said so before it was left, as aborted or failed."""

    def __init__(self, turn: Turn, ticket: Ticket, entry: logs.Entry):
        self._turn, self._ticket, self._entry = turn, ticket, entry
        self._task: asyncio.Task[None] | None = None

    async def done(self) -> None:
        await asyncio.shield(self.settle("done"))

    async def failed(self) -> None:
        """Returns when it is written down, or will be behind the back of an answer that has failed in any case."""
        with suppress(Failure):
            await asyncio.shield(self.settle("failed"))

    def settle(self, outcome: Outcome) -> asyncio.Task[None]:
        if self._task is None:
            self._entry.outcome = outcome
            seconds = time.monotonic() - self._turn.began
            self._task = asyncio.get_running_loop().create_task(
                self._ticket.settle(self._turn.usages, seconds, outcome)
            )
            _running.add(self._task)
            self._task.add_done_callback(_running.discard)
        return self._task


# Settlements under way: a task that nobody refers to may be collected before it has run.
_running: set[asyncio.Task[None]] = set()


@asynccontextmanager
async def _settling(turn: Turn, ticket: Ticket, entry: logs.Entry) -> AsyncIterator[_Settlement]:
    settlement = _Settlement(turn, ticket, entry)
    try:
        yield settlement
    except (HungUp, asyncio.CancelledError, GeneratorExit):
        settlement.settle("aborted")
        raise
    except BaseException:
        await settlement.failed()
        raise
    finally:
        settlement.settle("aborted")


async def _settled(events: AsyncGenerator[sse.Event, None], settlement: _Settlement) -> AsyncGenerator[sse.Event, None]:
    """The events; the last one is held back until what they cost is written down."""
    held: sse.Event | None = None
    try:
        async with aclosing(events):
            async for event in events:
                if event.is_last:
                    held = event
                else:
                    yield event
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException:
        await settlement.failed()
        if held is not None:
            yield held
        raise
    await settlement.done()
    if held is not None:
        yield held


def _open(speaker: Speaker, ask: Ask | TextAsk | Opens) -> Reply:
    if isinstance(ask, Ask):
        return speaker.reply(ask)
    return speaker.complete(ask) if isinstance(ask, TextAsk) else ask.open(speaker)


async def _begin(replies: Sequence[Reply]) -> None:
    """All at once; the first that fails ends the others."""
    tasks = [asyncio.create_task(reply.begin()) for reply in replies]
    try:
        for task in tasks:
            await task
    finally:
        await end_all(tasks)


async def _merged(replies: Sequence[Reply]) -> AsyncGenerator[tuple[int, Piece], None]:
    """Pieces of several replies as they come. The first failure ends them all."""
    queue: asyncio.Queue[tuple[int, Piece | BaseException | None]] = asyncio.Queue()

    async def listen(number: int, reply: Reply) -> None:
        try:
            async with aclosing(aiter(reply)) as pieces:
                async for piece in pieces:
                    queue.put_nowait((number, piece))
            queue.put_nowait((number, None))
        except Exception as error:
            queue.put_nowait((number, error))

    tasks = [asyncio.create_task(listen(number, reply)) for number, reply in enumerate(replies)]
    try:
        left = len(tasks)
        while left:
            number, item = await queue.get()
            if item is None:
                left -= 1
            elif isinstance(item, BaseException):
                raise item
            else:
                yield number, item
    finally:
        await end_all(tasks)
