"""A model of a server upstream as a `Speaker`: a reply is opened by `begin`, read as it comes, closed when it is over.

Closing a reply closes its connection at once, which is how the server notices that nobody wants it any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, aclosing
from typing import Any

import httpx

from denken import remote
from denken.about import About
from denken.errors import RequestError
from denken.serve.failure import Failure
from denken.serve.speaker import Ask, Piece, Speaker, TextAsk, Usage
from denken.serve.upstream import asking, reading, refusal, tally
from denken.serve.upstream.pool import Pool
from denken.serve.upstream.reading import Calls, Delta, Echo, Events
from denken.serve.upstream.server import Server
from denken.serve.upstream.stop import Stops
from denken.serve.upstream.tally import Tally
from denken.serve.upstream.thought import Opened, Thoughts
from denken.types import FinishReason, SamplingParams

log = logging.getLogger(__name__)

# A long prompt is read, and a full queue waited for, without a word.
QUIET_SECONDS = 600.0
# Behind the last word of a reply only its usage follows.
END_SECONDS = 10.0
ERROR_BYTES = 2**16
# How many servers a reply is tried at, if the first cannot be reached.
CONNECTS = 2
_CUT = ("length", "content_filter")
_STOPPED = ("stop", "tool_calls", "function_call", "eos", "eos_token")


class Upstream:
    """One model of the pool; safe to use from several threads, as every `Speaker`."""

    parent: str | None = None

    def __init__(self, name: str, pool: Pool):
        self.name, self.pool = name, pool
        self.defaults: SamplingParams = asking.DEFAULTS
        self.about = About()

    @property
    def created(self) -> int:
        return self.pool.offer(self.name).created

    @property
    def context(self) -> int:
        return self.pool.offer(self.name).context or self.pool.context

    def reply(self, ask: Ask) -> UpstreamReply:
        """What is wrong with it is known to the server alone, but for this."""
        if not ask.messages:
            raise RequestError("There is no message to answer; send at least one from the user.")
        return self._reply(ask)

    def complete(self, ask: TextAsk) -> UpstreamReply:
        return self._reply(ask)

    def count(self, ask: Ask) -> int:
        """As the server counts, where it does; about, where it does not, and where tools belong to the prompt."""
        if not ask.tools:
            for server in self.pool.servers:
                if server.up and self.name in server.offers:
                    counted = server.count(ask.messages, self.name, ask.thinking)
                    if counted is not None:
                        return counted
        return tally.prompt_tokens(ask)

    def _reply(self, ask: Ask | TextAsk) -> UpstreamReply:
        return UpstreamReply(ask, self.name, self.pool, self.context)


def speakers(pool: Pool) -> list[Upstream]:
    """One for each model that is served."""
    return [Upstream(name, pool) for name in pool.names]


def is_upstream(speaker: Speaker) -> bool:
    return isinstance(speaker, Upstream)


def report(speakers: Iterable[Speaker]) -> list[dict[str, Any]]:
    """For /health: every server that answers for any of the speakers."""
    pools = dict.fromkeys(speaker.pool for speaker in speakers if isinstance(speaker, Upstream))
    return [server for pool in pools for server in pool.status()]


class UpstreamReply:
    """One reply; see `denken.serve.speaker.Reply`."""

    def __init__(self, ask: Ask | TextAsk, model: str, pool: Pool, context: int):
        self._ask, self._model, self._pool, self._context = ask, model, pool, context
        prompt = tally.prompt_tokens(ask)
        self._tally = Tally(prompt)
        self.most_tokens = ask.params.max_tokens or max(1, context - prompt)
        self.finish_reason: FinishReason = "abort"
        self._finish: str | None = None
        self._held = AsyncExitStack()
        self._server: Server | None = None
        self._response: httpx.Response | None = None
        self._calls = Calls()
        self._thoughts: Thoughts | None = None
        self._stops = Stops(())
        self._echo = Echo("")

    @property
    def usage(self) -> Usage:
        return self._tally.usage(self._thoughts.held if self._thoughts is not None else "")

    @property
    def stop_string(self) -> str | None:
        """Servers do not say which one it was; it is known where it was looked for here."""
        return self._stops.hit

    async def begin(self) -> None:
        """Sends the request and waits for the status. Where no connection could be made, another server is tried."""
        try:
            await self._begin()
        except Exception:
            self._tally = Tally(0)  # what was refused cost nothing
            raise

    async def _begin(self) -> None:
        tried: list[Server] = []
        for _ in range(CONNECTS):
            server = self._pool.choose(self._model, besides=tried)
            try:
                return await self._open(server)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                log.warning("Upstream %d cannot be reached: %s", server.number, error)
                self._pool.lost(server)
                tried.append(server)
        raise refusal.unreachable(self._model)

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        assert self._response is not None, "begin comes first"
        try:
            async with aclosing(self._deltas(self._response.aiter_raw())) as deltas:
                async for delta in deltas:
                    for piece in self._stops.cut(self._read(delta)):
                        yield piece
                    if self._stops.hit is not None:
                        self.finish_reason = "stop"
                        return
            for piece in self._end():
                yield piece
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Closes the connection, if there is one."""
        held, self._held = self._held, AsyncExitStack()
        await held.aclose()

    async def _open(self, server: Server) -> None:
        """Raises Failure, and httpx's errors where no connection could be made."""
        if isinstance(self._ask, Ask):
            self._thoughts = Thoughts(await self._opened(server, self._ask), [tool.name for tool in self._ask.tools])
        self._stops = Stops(asking.stops_here(self._ask, server.kind))
        self._echo = Echo(asking.echo(self._ask, server.kind))
        body = asking.body(self._ask, self._model, server.kind, self._context)
        # A wish of the asker's is not dropped without a word.
        wished = isinstance(self._ask, Ask) and not self._ask.thinking
        extras = body.extras if wished else server.accepted(self._model, body.extras)
        try:
            failure = await self._send(server, body.path, body.fields | extras)
            blamed = set() if failure is None or wished else _blamed(failure, extras)
            if blamed:
                extras = {name: value for name, value in extras.items() if name not in blamed}
                failure = await self._send(server, body.path, body.fields | extras)
                if failure is None:  # only then it was these, and not something that the asker wrote
                    server.refused.setdefault(self._model, set()).update(blamed)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise
        except (httpx.TimeoutException, TimeoutError):
            raise refusal.too_slow("did not answer") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("Upstream %d: %s: %s", server.number, type(error).__name__, error)
            raise refusal.broken("broke off before it answered") from None
        if failure is not None:
            raise failure
        if isinstance(self._ask, Ask) and server.opened(self._model, self._ask.thinking) == "unknown":
            server.try_out(self._model, self._ask.thinking)

    async def _send(self, server: Server, path: str, body: asking.Record) -> Failure | None:
        """Opens the stream of the reply, or says why there is none."""
        async with AsyncExitStack() as held:
            held.enter_context(server.busy())
            client = await held.enter_async_context(server.client(QUIET_SECONDS))
            async with asyncio.timeout(QUIET_SECONDS):
                response = await held.enter_async_context(client.stream("POST", server.address(path), json=body))
            if response.status_code != 200:
                return await _failure(response, server)
            kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "text/event-stream" or response.headers.get("content-encoding", "identity") != "identity":
                return refusal.broken("answered with something that is no stream of events")
            self._server, self._response, self._held = server, response, held.pop_all()
        return None

    async def _opened(self, server: Server, ask: Ask) -> Opened:
        """How thoughts are told in this server's text; found out, if that is not known."""
        opened = server.opened(self._model, ask.thinking)
        if opened == "unknown":
            await asyncio.to_thread(server.read_template, self._model, ask.thinking)
            opened = server.opened(self._model, ask.thinking)
        # Behind a begun answer no thought is opened.
        return opened if opened == "apart" or not ask.continues else "closed"

    async def _deltas(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[Delta, None]:
        """Everything that comes, until the server says that it is over. Raises Failure where it does not."""
        assert self._server is not None
        events = Events()
        while True:
            try:
                async with asyncio.timeout(QUIET_SECONDS if self._finish is None else END_SECONDS):
                    chunk = await anext(chunks, None)
            except (TimeoutError, httpx.TimeoutException):
                if self._finish is not None:
                    return
                raise refusal.too_slow("did not go on") from None
            except httpx.HTTPError as error:
                log.warning("Upstream %d broke off: %s: %s", self._server.number, type(error).__name__, error)
                chunk = None
            if chunk is None:
                if self._finish is None:
                    raise refusal.broken("broke off in the middle of the reply")
                return
            self._server.heard = time.monotonic()
            for data in events.push(chunk):
                if data == reading.DONE:
                    if self._finish is None:
                        # So says llama-cpp-python's server where another request pushed this one out.
                        raise refusal.broken("ended the reply without saying why")
                    return
                yield reading.delta(data, self._server.secrets)

    def _read(self, delta: Delta) -> list[Piece]:
        if delta.usage is not None:
            self._tally.told(delta.usage)
        if delta.finish is not None:
            self._finish = delta.finish
        for call in delta.calls:
            self._tally.add("answer", self._calls.push(call))
        if self._thoughts is not None:
            text = self._echo.drop(delta.text)
            pushed = self._thoughts.push(delta.thought, text, delta.tokens, delta.thought_tokens)
            return self._counted(pushed)
        return self._counted([Piece("answer", delta.text, delta.tokens)] if delta.text or delta.tokens else [])

    def _end(self) -> list[Piece]:
        """The last pieces, and the reason."""
        if self._finish not in (*_STOPPED, *_CUT):
            raise refusal.broken(f"gave up the reply ({refusal.clean(str(self._finish), ())[:40]})")
        # OpenAI's filter cuts an answer, for which the other APIs have no word of their own.
        self.finish_reason = "length" if self._finish in _CUT else "stop"
        if self._tally.estimated:
            log.info("Upstream %d counts no tokens; they are estimated.", self._server.number if self._server else 0)
        calls = self._calls.pieces()
        if self._thoughts is None:
            return calls
        pieces = self._thoughts.push("", self._echo.finish()) + self._thoughts.finish()
        pieces = self._stops.cut(self._counted(pieces)) + self._stops.finish()
        if self._stops.hit is not None:
            self.finish_reason = "stop"
            return pieces
        return pieces + self._thoughts.instead(self.finish_reason == "stop", bool(calls)) + calls

    def _counted(self, pieces: list[Piece]) -> list[Piece]:
        for piece in pieces:
            if piece.kind in ("think", "answer"):
                self._tally.add(piece.kind, piece.text)
        return pieces


def _blamed(failure: Failure, extras: Mapping[str, Any]) -> set[str]:
    """Those of the fields that we added that a server seems to refuse."""
    return remote.blamed(failure.message, extras) if failure.status in (400, 422) else set()


async def _failure(response: httpx.Response, server: Server) -> Failure:
    """What a response says that is none of success."""
    parts = bytearray()
    try:
        async with asyncio.timeout(END_SECONDS):
            async for chunk in response.aiter_raw():
                parts += chunk
                if len(parts) > ERROR_BYTES:
                    break
        body = reading.parse(bytes(parts))
    except (ValueError, TimeoutError):
        body = None
    return refusal.of_status(response.status_code, body, response.headers.get("retry-after"), server.secrets)
