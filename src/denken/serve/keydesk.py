"""The desk of `denken serve`: asks for keys where they are on, keeps their limits, writes the ledger.

It puts `keys.py`, `ledger.py` and `money.py` behind the words of `desk.py`, and keeps the database off the event loop.
A settlement that cannot be written is tried again, reported in the log with its figures, and kept in mind until it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from denken.serve import keys, ledger, tables, usage
from denken.serve.alive import Alive
from denken.serve.desk import Balance, By, Caller, Outcome, Ticket, Wanted
from denken.serve.failure import Failure, store_failed
from denken.serve.ledger import Reservation, Spent
from denken.serve.money import Meter, of_time
from denken.serve.speaker import Usage
from denken.serve.store import Store

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# How long to wait before a settlement is tried again while its answer waits, and then behind its back.
RETRY_SECONDS = (0.1, 0.5)
LATER_SECONDS = 10.0
STORE_ERRORS = (SQLAlchemyError, OSError)


class KeyDesk:
    """Satisfies `desk.Desk`. Made before the server listens, closed after it has ended.

    keys_on: whether a key is asked for. per_hour: what the machine costs, in billionths of a US dollar.
    """

    def __init__(self, store: Store, keys_on: bool, per_hour: int):
        self.store, self.keys_on, self.per_hour = store, keys_on, per_hour
        self.failures = 0
        self._meter = Meter()
        self._alive = Alive(store)
        self._open: dict[str, _Ticket] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        ledger.settle_lost(store, self._alive)

    async def caller(self, request: Request) -> Caller:
        if not self.keys_on:
            return Caller()
        secret = given_key(request)

        def look() -> Caller | None:
            with self.store.read() as connection:
                row = keys.find(connection, secret)
                return None if row is None else Caller(str(row["id"]), str(row["name"]))

        caller = await self._run(look)
        if caller is None:
            raise Failure(
                401,
                "This server asks for a key, and there is none in this request that is in use; send one as "
                "'Authorization: Bearer sk-denken-...'. Its owner makes them with: denken keys create NAME",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return caller

    async def reserve(self, caller: Caller, wanted: Wanted) -> Ticket:
        def open_line() -> Reservation:
            self._alive.renew()
            with self.store.write() as connection:
                return ledger.reserve(connection, self._alive.number, _id(caller), wanted, self.per_hour)

        opening = self._spawn(self._run(open_line))
        try:
            # What the database's thread has begun it will end, whether or not anybody still waits for it.
            kept = await asyncio.shield(opening)
        except asyncio.CancelledError:
            self._spawn(self._abandon(opening))
            raise
        ticket = self._open[kept.request] = _Ticket(self, kept, self._meter.start(kept.replies))
        return ticket

    async def balance(self, caller: Caller) -> Balance:
        def look() -> Balance:
            with self.store.read() as connection:
                of_key = select(tables.keys.c.spent, tables.keys.c.spending).where(tables.keys.c.id == _id(caller))
                return Balance(*connection.execute(of_key).one())

        return Balance() if caller.key is None else await self._run(look)

    async def usage(self, caller: Caller, days: int, by: By) -> Mapping[str, Any]:
        def look() -> Mapping[str, Any]:
            with self.store.read() as connection:
                return usage.report(connection, days=days, by=by, key=_id(caller))

        return await self._run(look)

    async def settle(self, kept: Reservation, spent: Spent) -> None:
        """Writes a settlement down. Raises Failure where that cannot be done now; it is tried again until it can."""
        for seconds in (*RETRY_SECONDS, None):
            try:
                await self.store.run(lambda: self._write(kept, spent))
                return
            except STORE_ERRORS as error:
                self._failed(error)
            if seconds is not None:
                await asyncio.sleep(seconds)
        log.error("The ledger could not be written; kept in mind is: %s", _figures(kept, spent))
        self._spawn(self._try_later(kept, spent))
        raise Failure(
            503, "What this answer cost could not be written down; the server's log says why.", code="store_failed"
        )

    def first_key(self) -> str | None:
        """The secret of a new key where one is asked for and there is none in use; otherwise None."""
        if not self.keys_on:
            return None
        with self.store.write() as connection:
            return None if keys.any_live(connection) else keys.create(connection, time.strftime("first-%Y%m%d-%H%M%S"))

    def close(self) -> None:
        """Settles what is still open, when nothing runs any more, or says in the log that it could not."""
        for ticket in list(self._open.values()):
            spent = ticket.spent or ticket.spend((), 0.0, "aborted")
            try:
                self._write(ticket.kept, spent)
            except STORE_ERRORS as error:
                log.error("Never written to the ledger (%s): %s", error, _figures(ticket.kept, spent))
        self._alive.close()

    async def _try_later(self, kept: Reservation, spent: Spent) -> None:
        while True:
            await asyncio.sleep(LATER_SECONDS)
            try:
                await self.store.run(lambda: self._write(kept, spent))
            except STORE_ERRORS as error:
                self._failed(error)
                continue
            log.warning("Written to the ledger at last: request %s.", kept.request)
            return

    async def _abandon(self, opening: asyncio.Task[Reservation]) -> None:
        """Settles a reservation whose request went away while it was made."""
        try:
            kept = await opening
        except Failure:
            return
        await self.settle(kept, Spent(Usage(prompt_tokens=0), 0.0, 0, "aborted"))

    def _write(self, kept: Reservation, spent: Spent) -> None:
        with self.store.write() as connection:
            if not ledger.settle(connection, kept, spent):
                log.warning("Request %s was settled already.", kept.request)
        self._open.pop(kept.request, None)

    async def _run(self, work: Callable[[], Result]) -> Result:
        try:
            return await self.store.run(work)
        except STORE_ERRORS as error:
            self._failed(error)
            raise store_failed() from error

    def _failed(self, error: Exception) -> None:
        self.failures += 1
        log.error("The store %s failed: %s", self.store.shown, error)

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        """A task that is referred to until it has ended."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def cost(self, kept: Reservation, started: int) -> int:
        """Stops the meter of a request; what it has cost since that was started."""
        return of_time(self._meter.stop(kept.replies, started), self.per_hour)


class _Ticket:
    """One request's reservation, with the meter running."""

    def __init__(self, desk: KeyDesk, kept: Reservation, started: int):
        self._desk, self._started = desk, started
        self.kept, self.headers = kept, kept.headers
        self.spent: Spent | None = None

    def begun(self) -> None:
        pass

    async def settle(self, usages: Sequence[Usage], seconds: float, outcome: Outcome) -> None:
        await self._desk.settle(self.kept, self.spend(usages, seconds, outcome))

    def spend(self, usages: Sequence[Usage], seconds: float, outcome: Outcome) -> Spent:
        """What it comes to, now that it is over."""
        names = ("prompt_tokens", "cached_tokens", "thought_tokens", "answer_tokens")
        total = Usage(*(sum(getattr(usage, name) for usage in usages) for name in names))
        self.spent = Spent(total, seconds, self._desk.cost(self.kept, self._started), outcome)
        return self.spent


def given_key(request: Request) -> str:
    """The key that a request brings along: OpenAI's header, or Anthropic's; empty where there is none."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip()
    return request.headers.get("x-api-key", "").strip()


def _id(caller: Caller) -> int | None:
    return None if caller.key is None else int(caller.key)


def _figures(kept: Reservation, spent: Spent) -> str:
    used = spent.usage
    return (
        f"request {kept.request}, key {kept.key}, {spent.outcome}, {spent.seconds:.3f} s, cost {spent.cost} nano-USD, "
        f"prompt {used.prompt_tokens} (cached {used.cached_tokens}), thought {used.thought_tokens}, "
        f"answer {used.answer_tokens}"
    )
