"""Uvicorn as this house runs it: limits on what a connection may do before a request exists, and an end in order.

    1st signal   nothing new is begun (503, Retry-After); what runs is finished within the grace time, then ended
    2nd signal   everything ends at once

Both end with exit code 0. What a request may say and who may send it is seen to by the application.
"""

from __future__ import annotations

import asyncio
import logging
import time
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from denken.serve.places import Places
from denken.serve.tls import Certificate

log = logging.getLogger(__name__)

# A head, that is the request line and all headers, is no longer than this and takes no longer than this to arrive.
HEAD_BYTES = 32 * 2**10
HEAD_SECONDS = 10.0
IDLE_SECONDS = 15
# Connections, idle ones included; under the 1024 files that a process may usually open.
CONNECTIONS = 512
# So much of the requests that follow may lie here while one is being answered.
PIPELINED_BYTES = 64 * 2**10
# When all replies have ended, connections get so long to take the rest.
FLUSH_SECONDS = 5


class Protocol(H11Protocol):
    """One connection. Uvicorn itself waits for a head as long as the client likes."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.IDLE:
            self._expect_head()
        else:
            self._cancel_head_timer()
        if self.conn.their_state is h11.DONE and self.flow.read_paused:
            self._read_on()

    def _read_on(self) -> None:
        """Requests that follow are left unread while one is answered; but then nobody would notice a hang-up."""
        waiting, _ = self.conn.trailing_data
        if len(waiting) > PIPELINED_BYTES:
            self.transport.abort()
        else:
            self.flow.resume_reading()

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _cancel_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class Server(uvicorn.Server):
    """places: where the application counts its replies. grace: seconds that those under way get."""

    def __init__(self, config: uvicorn.Config, places: Places, grace: float):
        super().__init__(config)
        self._places, self._grace = places, grace
        self._deadline: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal has come, between any two instructions: no more than flags are set here."""
        if self._places.closed:
            self.config.timeout_graceful_shutdown = 0
            self.should_exit = self.force_exit = True
        self._places.close()

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second."""
        if self._places.closed and not self.should_exit:
            if self._deadline is None:
                self._deadline = time.monotonic() + self._grace
                if self._places.taken:
                    log.warning(
                        "Stopping: %d replies may take %g s yet; a second signal ends them at once.",
                        self._places.taken,
                        self._grace,
                    )
            if time.monotonic() >= self._deadline:
                self._places.clear()
            self.should_exit = not self._places.taken or self._places.cleared
        return await super().on_tick(counter)


def server(application: Any, places: Places, *, grace: float, certificate: Certificate | None = None) -> Server:
    config = uvicorn.Config(
        application,
        http=Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=HEAD_BYTES,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=FLUSH_SECONDS,
        limit_concurrency=CONNECTIONS,
        ssl_certfile=None if certificate is None else certificate.file,
        ssl_keyfile=None if certificate is None else certificate.key,
    )
    return Server(config, places, grace)
