"""What all routes of conversations hold on to: the store, the search, and the replies that are being written down.

A reply is written when it begins, every `EVERY_SECONDS` while it grows, and at its end, by a task of its own: nobody
who reads along waits for a disk, and what ends a reply does not end its writing. Whoever reads the store first waits
for the replies that are over and not written yet, so that nothing is read that is older than what was said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from denken.search.found import Look
from denken.serve.alive import Alive
from denken.serve.chats import rows, titles
from denken.serve.chats.growing import SERVER_ENDED, Growing
from denken.serve.desk import Caller
from denken.serve.failure import Failure, store_failed
from denken.serve.store import Store

log = logging.getLogger(__name__)

Result = TypeVar("Result")
EVERY_SECONDS = 1.0
# How long to wait before the end of a reply is written once more.
RETRY_SECONDS = (0.2, 1.0, 5.0)
STORE_ERRORS = (SQLAlchemyError, OSError)


class Searches(Protocol):
    """What is searched, as `denken.search.tool.Searcher` does it."""

    @property
    def web(self) -> str | None: ...

    def places(self, owner: str | None) -> list[str]: ...

    def look(self, owner: str | None, places: Sequence[str]) -> Look: ...


class Chats:
    """Made before the server listens, closed after it has ended.

    searcher: None where nothing can be searched. sharing: whether links may be made and opened.
    """

    def __init__(self, store: Store, searcher: Searches | None = None, *, sharing: bool = True):
        self.store, self.searcher, self.sharing = store, searcher, sharing
        self.alive = Alive(store)
        self.live: set[Writing] = set()
        with store.write() as connection:
            self._settle_lost(connection, rows.dead(connection, self.alive))
            rows.purge(connection)

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Raises Failure 503 where the store cannot be read."""
        await self._catch_up()

        def reading() -> Result:
            with self.store.read() as connection:
                return work(connection)

        return await self.run(reading)

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """One transaction. Raises Failure 503 where the store cannot be written."""
        await self._catch_up()
        return await self.run(lambda: self.transact(work))

    def transact(self, work: Callable[[Connection], Result]) -> Result:
        with self.store.write() as connection:
            return work(connection)

    async def run(self, work: Callable[[], Result]) -> Result:
        try:
            return await self.store.run(work)
        except STORE_ERRORS as error:
            log.error("The store %s failed: %s", self.store.shown, error)
            raise store_failed() from error

    async def settle_lost(self) -> bool:
        """Ends what other servers were writing that have died since; whether there was anything."""
        dead = await self.read(lambda connection: rows.dead(connection, self.alive))
        if dead:
            await self.write(lambda connection: self._settle_lost(connection, dead))
        return bool(dead)

    def _settle_lost(self, connection: Connection, dead: Sequence[int]) -> None:
        if count := rows.settle_lost(connection, dead):
            log.warning("%d replies were not finished when their server ended; what there was is kept.", count)

    def begin(self, growing: Growing, insert: Callable[[Connection], list[rows.Row]]) -> Writing:
        """Writes a reply from now on. insert: makes its rows, of which the last is the reply's."""
        return Writing(self, growing, insert)

    async def _catch_up(self) -> None:
        ending = [writing.task for writing in self.live if writing.over]
        if ending:
            await asyncio.wait(ending)

    def close(self) -> None:
        """Writes what is not written yet, when nothing runs any more."""
        for writing in [writing for writing in self.live if writing.row is not None]:
            if writing.growing.state == "running":
                writing.growing.end("failed", SERVER_ENDED)
            try:
                self.transact(writing.finish)
            except STORE_ERRORS as error:
                log.error("The end of a reply could not be written: %s", error)
        self.alive.close()


class Writing:
    """One reply on its way into the store."""

    def __init__(self, chats: Chats, growing: Growing, insert: Callable[[Connection], list[rows.Row]]):
        self._chats, self._insert, self.growing = chats, insert, growing
        self.row: rows.Row | None = None
        self.over = False
        self._news = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._inserted: asyncio.Future[list[rows.Row]] = loop.create_future()
        self.task = loop.create_task(self._write())
        chats.live.add(self)

    async def begun(self) -> list[rows.Row]:
        """The rows that were made. Raises Failure where they could not be."""
        return await asyncio.shield(self._inserted)

    def end(self) -> None:
        """The reply grows no more; what it has become will be written, whether or not anybody waits for it."""
        self.over = True
        self._news.set()

    async def written(self) -> None:
        await asyncio.shield(self.task)

    def finish(self, connection: Connection) -> None:
        """Writes the end of the reply, and the conversation's title, if it has none."""
        assert self.row is not None
        rows.write(connection, self.row["number"], self.growing.values() | {"stream": None})
        rows.touch(connection, self.row["conversation"])
        question = rows.question(connection, self.row)
        if title := titles.title(self.growing.content, question):
            # A try that came to no answer has left the question as the title.
            rows.give_title(connection, self.row["conversation"], title, instead_of=titles.title("", question))

    async def _write(self) -> None:
        try:
            made = await self._chats.run(lambda: self._chats.transact(self._insert))
        except BaseException as error:
            self._chats.live.discard(self)
            self._inserted.set_exception(error)
            self._inserted.exception()  # asked for, as nobody may wait for it any more
            return
        self.row = made[-1]
        number = self.row["number"]
        self._inserted.set_result(made)
        while not self.over:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), EVERY_SECONDS)
            if not self.over:
                values = self.growing.values()
                with contextlib.suppress(Failure):  # the next second may be better
                    await self._chats.run(lambda values=values: self._write_down(number, values))  # type: ignore[misc]
        await self._write_end(number)
        self._chats.live.discard(self)

    def _write_down(self, number: int, values: dict[str, Any]) -> None:
        self._chats.transact(lambda connection: rows.write(connection, number, values))

    async def _write_end(self, number: int) -> None:
        for seconds in (*RETRY_SECONDS, None):
            try:
                await self._chats.run(lambda: self._chats.transact(self.finish))
                return
            except Failure:
                if seconds is not None:
                    await asyncio.sleep(seconds)
        log.error("The end of reply %d was never written.", number)


def owner(caller: Caller) -> str:
    """Whose the caller's rows are; "" where keys are off."""
    return caller.key or ""
