"""Streams that outlive their connection: a page that is reloaded in mid-thought goes on where it stopped.

A request that streams and carries `X-Denken-Resumable: 1` gets events with an `id: STREAM-N` each. They are made by a
task of their own and kept; the response only listens, and so does everybody who comes later:

    GET    /v1/streams/STREAM    goes on behind `Last-Event-ID: STREAM-N` or `?after=N`; from the start without
    DELETE /v1/streams/STREAM    ends the generation at once and forgets the stream

Whoever asks must have the key that began the stream, and know its name, which cannot be guessed; to all others there
is no such stream. It is opt-in because a hang-up otherwise ends a generation, and should: nobody reads it.

What is kept is bounded: `GRACE_SECONDS` a stream runs without a listener, `KEPT_SECONDS` it can be read when it is
over, `STREAM_BYTES` of its last events, `PER_CALLER` streams a key, and `STREAMS` and `ALL_BYTES` in all, the oldest
that are over going first. All of it is in memory: a restart of the server ends it. A turn of a conversation is always
resumable, and runs to its end without a listener too: the conversation is where it will be read.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter, Header, Path, Query, Request
from starlette.responses import JSONResponse, Response

from denken.serve import logs, sse
from denken.serve.desk import Caller
from denken.serve.failure import Failure
from denken.serve.places import Places, end_all

HEADER = "x-denken-resumable"
NAME_HEADER = "x-denken-stream"
GRACE_SECONDS = 300.0
KEPT_SECONDS = 600.0
STREAM_BYTES = 16 * 2**20
ALL_BYTES = 256 * 2**20
STREAMS = 256
PER_CALLER = 64
LISTENERS = 16
# A listener that has much to catch up with gets so many events at a time.
AT_ONCE = 256


class Kept:
    """One stream: its events from number `first` on, who listens, and the task that makes it.

    owner: the key of whoever began it. path: of the request, which says in whose shape an error is written.
    patient: it is made to its end, whether or not anybody listens.
    """

    def __init__(self, owner: str | None, path: str, patient: bool = False):
        self.name = secrets.token_hex(16)
        self.owner, self.path, self.patient = owner, path, patient
        self.events: list[bytes] = []
        self.first, self.size, self.listeners = 1, 0, 0
        self.over = False
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._news = asyncio.Event()

    @property
    def last(self) -> int:
        """The number of the newest event; 0 before there is one."""
        return self.first + len(self.events) - 1

    def add(self, event: bytes) -> None:
        event = f"id: {self.name}-{self.last + 1}\n".encode() + event
        self.events.append(event)
        self.size += len(event)
        self._tell()

    def drop(self) -> None:
        """The oldest quarter is kept no longer: not event by event, for each time the whole list moves."""
        count = max(1, len(self.events) // 4)
        self.size -= sum(map(len, self.events[:count]))
        del self.events[:count]
        self.first += count

    def end(self) -> None:
        self.over = True
        self._tell()

    async def listen(self, after: int) -> AsyncGenerator[bytes, None]:
        """The events behind number `after`, and those to come, until the stream is over."""
        while True:
            news = self._news
            if after + 1 < self.first:
                yield sse.broken(_lost(), self.path)
                return
            place = after + 1 - self.first
            if events := self.events[place : place + AT_ONCE]:
                after += len(events)
                yield b"".join(events)
            elif self.over:
                return
            else:
                await news.wait()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Streams:
    """All that are kept. places: where the server says that it ends."""

    def __init__(self, places: Places):
        self._places = places
        self._kept: dict[str, Kept] = {}
        self._size = 0

    def begin(
        self,
        request: Request,
        chunks: AsyncGenerator[bytes, None],
        held: AsyncExitStack,
        path: str,
        *,
        patient: bool = False,
    ) -> Response:
        """Makes the stream from now on; the response is its first listener.

        chunks: whole events. held: what the generation holds; taken over from here. patient: see `Kept`.
        Raises Failure 429.
        """
        owner = _owner(request)
        self._make_room(owner)
        held = held.pop_all()
        kept = Kept(owner, path, patient)
        self._kept[kept.name] = kept
        kept.task = asyncio.create_task(self._make(kept, chunks, held))
        self._expect_listener(kept)
        return self._response(request, kept, 0)

    def find(self, request: Request, name: str) -> Kept:
        """Raises Failure 404 where there is none, or another's."""
        kept = self._kept.get(name)
        if kept is None or kept.owner != _owner(request):
            raise Failure(404, "There is no such stream, or not any more; send the request again.", code="no_stream")
        return kept

    def go_on(self, request: Request, name: str, last_event: str | None, after: int | None) -> Response:
        """The response to GET: everything behind the last event that the client has seen."""
        kept = self.find(request, name)
        seen = _number(kept, last_event) if last_event else after or 0
        if seen > kept.last:
            raise Failure(400, f"Event {seen} is not made yet; the newest is {kept.last}.", param="after")
        if seen + 1 < kept.first:
            raise _lost()
        if kept.over and seen == kept.last:
            # What tells an EventSource that it need not come again.
            return Response(status_code=204)
        if kept.listeners >= LISTENERS:
            raise Failure(429, f"{kept.listeners} listen to this stream already, which is the most.", retry_after=5)
        return self._response(request, kept, seen)

    async def stop(self, kept: Kept) -> None:
        """Ends the generation, tells who listens, and forgets the stream; its place is free when this returns."""
        self._forget(kept)
        if kept.task is not None and not kept.over:
            await end_all([kept.task])

    async def stop_if_there(self, request: Request, name: str) -> None:
        """The same for the caller's stream of that name; one that is not there, or not any more, is stopped already."""
        kept = self._kept.get(name)
        if kept is not None and kept.owner == _owner(request):
            await self.stop(kept)

    async def _make(self, kept: Kept, chunks: AsyncGenerator[bytes, None], held: AsyncExitStack) -> None:
        clearing = asyncio.create_task(self._places.until_cleared())
        pumping = asyncio.create_task(self._pump(kept, chunks))
        try:
            async with held, aclosing(chunks):
                try:
                    await asyncio.wait([clearing, pumping], return_when=asyncio.FIRST_COMPLETED)
                finally:
                    await end_all([clearing, pumping])
            if pumping.cancelled():
                self._add(kept, sse.broken(self._places.ending, kept.path))
        except asyncio.CancelledError:
            self._add(kept, sse.broken(Failure(410, "The stream was stopped.", code="stream_stopped"), kept.path))
        finally:
            kept.end()
            self._expect_end(kept)

    async def _pump(self, kept: Kept, chunks: AsyncGenerator[bytes, None]) -> None:
        async for chunk in chunks:
            self._add(kept, chunk)

    def _add(self, kept: Kept, event: bytes) -> None:
        before = kept.size
        kept.add(event)
        if kept.size > STREAM_BYTES:
            kept.drop()
        if kept.name not in self._kept:
            return
        self._size += kept.size - before
        while self._size > ALL_BYTES and (oldest := next(self._finished(), None)) is not None:
            self._forget(oldest)
        if self._size > ALL_BYTES:
            before = kept.size
            kept.drop()
            self._size += kept.size - before

    def _response(self, request: Request, kept: Kept, after: int) -> Response:
        held = self._listening(kept, logs.entry(request))
        return sse.Stream(kept.listen(after), held, kept.path, self._places, {NAME_HEADER: kept.name})

    @asynccontextmanager
    async def _listening(self, kept: Kept, entry: logs.Entry) -> AsyncIterator[None]:
        kept.listeners += 1
        if not kept.over:
            self._cancel_timer(kept)
        try:
            yield
        finally:
            kept.listeners -= 1
            if not kept.over:
                entry.outcome = "left"
                if not kept.listeners:
                    self._expect_listener(kept)

    def _expect_listener(self, kept: Kept) -> None:
        """A stream to which nobody listens goes on for a while."""
        self._cancel_timer(kept)
        if kept.task is not None and not kept.patient:
            kept.timer = asyncio.get_running_loop().call_later(GRACE_SECONDS, kept.task.cancel)

    def _expect_end(self, kept: Kept) -> None:
        """A stream that is over is kept for a while, whether anybody has read it or not."""
        self._cancel_timer(kept)
        if kept.name in self._kept:
            kept.timer = asyncio.get_running_loop().call_later(KEPT_SECONDS, self._forget, kept)

    def _cancel_timer(self, kept: Kept) -> None:
        if kept.timer is not None:
            kept.timer.cancel()
            kept.timer = None

    def _make_room(self, owner: str | None) -> None:
        own = [kept for kept in self._kept.values() if kept.owner == owner]
        if len(own) >= PER_CALLER:
            self._forget_one(iter(kept for kept in own if kept.over))
        if len(self._kept) >= STREAMS:
            self._forget_one(self._finished())

    def _forget_one(self, over: Iterator[Kept]) -> None:
        oldest = next(over, None)
        if oldest is None:
            raise Failure(429, "Too many resumable streams are under way; stop one of them first.", retry_after=5)
        self._forget(oldest)

    def _finished(self) -> Iterator[Kept]:
        """Those that are over, the oldest first."""
        return (kept for kept in self._kept.values() if kept.over)

    def _forget(self, kept: Kept) -> None:
        self._cancel_timer(kept)
        if self._kept.pop(kept.name, None) is not None:
            self._size -= kept.size


def _lost() -> Failure:
    return Failure(410, "These events of the stream are no longer kept; send the request again.", code="events_dropped")


def is_wanted(request: Request) -> bool:
    """Raises Failure 400 for a value that means nothing."""
    given = request.headers.get(HEADER)
    if given not in (None, "0", "1"):
        raise Failure(400, f"{HEADER} is {given[:20]!r}; send 1 for a stream that can be resumed.", param=HEADER)
    return given == "1"


def add_routes(api: APIRouter, streams: Streams) -> None:
    name = Path(description="The `X-Denken-Stream` header of the response that began it.", max_length=64)

    async def go_on(
        request: Request,
        stream: str = name,
        after: int | None = Query(default=None, ge=0, le=2**53, description="The number of the last event seen."),
        last_event_id: str | None = Header(default=None, max_length=100),
    ) -> Response:
        return streams.go_on(request, stream, last_event_id, after)

    async def stop(request: Request, stream: str = name) -> Response:
        kept = streams.find(request, stream)
        await streams.stop(kept)
        return JSONResponse({"id": kept.name, "object": "stream", "deleted": True})

    api.add_api_route("/v1/streams/{stream}", go_on, methods=["GET"], response_model=None)
    api.add_api_route("/v1/streams/{stream}", stop, methods=["DELETE"], response_model=None)


def _owner(request: Request) -> str | None:
    caller: Any = request.state.caller
    assert isinstance(caller, Caller)
    return caller.key


def _number(kept: Kept, event: str) -> int:
    """`STREAM-N` -> N."""
    name, _, number = event.rpartition("-")
    if name != kept.name or not (number.isascii() and number.isdigit()) or len(number) > 15:
        raise Failure(400, f"Last-Event-ID must be {kept.name}-N, an id that this stream sent.", param="last-event-id")
    return int(number)
