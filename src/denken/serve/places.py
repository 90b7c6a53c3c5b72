"""How many replies are being made, whether there is room for more, and how they end when the server does.

A server ends in two steps: `close`, after which nothing new is begun, and `clear`, at which what still runs is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from denken.serve.failure import Failure

# When those who are told to wait may try again: a reply takes seconds, another start of the server a few more.
FULL_RETRY_SECONDS = 2
ENDING_RETRY_SECONDS = 10


class Places:
    """most: how many replies may be made at a time. closed: nothing new is begun. cleared: what runs is to end."""

    def __init__(self, most: int):
        self.most, self.taken = most, 0
        self.closed = self.cleared = False
        self._waiting: set[asyncio.Future[None]] = set()

    @contextmanager
    def some(self, count: int) -> Iterator[None]:
        """Raises Failure 503 where there is no room, or no more, and 400 where there never is."""
        if self.closed:
            raise self.ending
        if count > self.most:
            raise Failure(
                400, f"{count} replies were asked for, and this server makes {self.most} at the most at once."
            )
        if self.taken + count > self.most:
            raise Failure(
                503,
                f"{self.taken} replies are being made, and {self.most} are the most; try again soon.",
                code="overloaded",
                retry_after=FULL_RETRY_SECONDS,
            )
        self.taken += count
        try:
            yield
        finally:
            self.taken -= count

    def close(self) -> None:
        self.closed = True

    def clear(self) -> None:
        self.closed = self.cleared = True
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def until_cleared(self) -> None:
        """Not an `asyncio.Event`, which belongs to the first loop that waits for it: an application may see several."""
        if not self.cleared:
            future = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)

    @property
    def ending(self) -> Failure:
        """What is said to those who come too late or stay too long."""
        return Failure(
            503,
            "The server is stopping; send the request again when it is back.",
            code="shutting_down",
            retry_after=ENDING_RETRY_SECONDS,
        )


async def end_all(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancels the tasks and waits until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # asked for, so that asyncio does not complain that nobody did
