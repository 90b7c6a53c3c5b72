"""All servers upstream: found at the start, watched in the background, the least loaded chosen for each reply.

A thread for each server reads its list of models every few seconds. One that fails twice in a row, or to which no
connection could be made, gets no new replies until it answers again; replies under way are left alone. The waiting
grows with every failure, up to a bound.
"""

from __future__ import annotations

import difflib
import logging
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

from denken.errors import ConfigError
from denken.serve.upstream import refusal
from denken.serve.upstream.server import NoAnswer, Offer, Server, read_key

log = logging.getLogger(__name__)

CHECK_SECONDS = 10.0
FIRST_RETRY_SECONDS = 1.0
MOST_RETRY_SECONDS = 15.0
FAILURES = 2
# Where no server says how much a model takes.
CONTEXT = 32_768


class Pool:
    """Servers, and the models that are served from them. Entering it begins to watch, leaving it ends that.

    names: the models that are served, whether a server lists them or not; those that are listed at first, if empty.
    context: what a model takes of which no server says so.
    """

    def __init__(self, servers: Sequence[Server], names: Sequence[str] = (), context: int = CONTEXT):
        self.servers, self.context = list(servers), context
        self.names = list(dict.fromkeys(names))
        self._ending = threading.Event()
        self._threads = [
            threading.Thread(target=self._watch, args=(server,), name=f"upstream-{server.number}", daemon=True)
            for server in self.servers
        ]

    def __enter__(self) -> Pool:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending.set()

    def look(self) -> None:
        """Asks every server once what it has, which says what is served. Raises ConfigError where nothing can be."""
        reasons = {}
        with ThreadPoolExecutor(len(self.servers)) as threads:
            looks = {server: threads.submit(server.look) for server in self.servers}
            for server, looked in looks.items():
                try:
                    looked.result()
                    server.answered()
                except NoAnswer as error:
                    reasons[server] = str(error)
                    server.failures = 1
                    log.warning("Upstream %d (%s) does not answer: %s", server.number, server.api, error)
        listed = list(dict.fromkeys(name for server in self.servers for name in server.offers))
        if not self.names and not listed:
            raise ConfigError(
                f"No upstream says which models it has ({'; '.join(f'{s.api}: {why}' for s, why in reasons.items())}). "
                "Start it, correct its address or key, or name the model: --upstream-model NAME."
            )
        for name in self.names:
            if listed and not reasons and name not in listed:
                near = difflib.get_close_matches(name, listed, 1) or listed
                raise ConfigError(f"No upstream has a model {name!r}; there is {near[0]!r}.")
        self.names = self.names or listed

    def offer(self, name: str) -> Offer:
        """What is known of a model: of several servers' contexts the smallest, so that any of them can answer."""
        offers = [offer for server in self.servers if (offer := server.offers.get(name)) is not None]
        contexts = [offer.context for offer in offers if offer.context is not None]
        created = max((offer.created for offer in offers), default=0)
        return Offer(name, min(contexts, default=self.context), created)

    def choose(self, name: str, besides: Collection[Server] = ()) -> Server:
        """The server with the model that has least to do, `besides` left out. Raises Failure 503."""
        fit = [server for server in self._with(name) if server.up and server not in besides]
        if not fit:
            raise refusal.unreachable(name)
        least = min(fit, key=lambda one: (one.running / one.weight, one.chosen / one.weight, one.number))
        least.chosen += 1
        return least

    def lost(self, server: Server) -> None:
        """No connection could be made: it is down until it answers its watcher."""
        if server.up:
            server.up, server.failures = False, max(server.failures, FAILURES)
            log.warning("Upstream %d (%s) is down.", server.number, server.api)

    def status(self) -> list[dict[str, Any]]:
        """For /health, which anybody may read: no addresses."""
        return [
            {
                "upstream": server.number,
                "up": server.up,
                "running": server.running,
                "models": [name for name in self.names if server in self._with(name)],
            }
            for server in self.servers
        ]

    def _with(self, name: str) -> list[Server]:
        """The servers that have the model: those that list it, or, where none does, all."""
        return [server for server in self.servers if name in server.offers] or self.servers

    def _watch(self, server: Server) -> None:
        while not self._ending.wait(_pause(server)):
            # Who is speaking is there, and some servers push a reply out at any other question.
            if server.up and time.monotonic() - server.heard < CHECK_SECONDS:
                continue
            try:
                server.look()
            except NoAnswer as error:
                server.failures += 1
                if server.failures >= FAILURES and server.up:
                    server.up = False
                    log.warning("Upstream %d (%s) is down: %s", server.number, server.api, error)
                continue
            if not server.up:
                log.warning("Upstream %d (%s) answers.", server.number, server.api)
            server.answered()


def connect(
    urls: Sequence[str], key_names: Sequence[str] = (), models: Sequence[str] = (), context: int | None = None
) -> Pool:
    """The pool of `--upstream` and its further options, with every server asked once.

    urls: `#weight=N` behind one says how many replies it bears compared with others.
    key_names: of environment variables; one for all servers, or one for each. Raises ConfigError.
    """
    if len(key_names) not in (0, 1, len(urls)):
        raise ConfigError(
            f"There are {len(urls)} upstreams and {len(key_names)} --upstream-key-env; give it once for all, "
            "or once for each, in their order."
        )
    keys = [read_key(name) for name in key_names] or [None]
    if len(keys) == 1:
        keys *= len(urls)
    servers = [
        Server(number, url.partition("#")[0], key, _weight(url))
        for number, (url, key) in enumerate(zip(urls, keys, strict=True), 1)
    ]
    pool = Pool(servers, models, context or CONTEXT)
    pool.look()
    return pool


def _pause(server: Server) -> float:
    if not server.failures:
        return CHECK_SECONDS
    return float(min(FIRST_RETRY_SECONDS * 2 ** min(server.failures - 1, 10), MOST_RETRY_SECONDS))


def _weight(url: str) -> float:
    """`http://big:8000#weight=4` -> 4.0. Raises ConfigError."""
    fragment = urlsplit(url).fragment
    if not fragment:
        return 1.0
    try:
        weight = float(parse_qs(fragment, strict_parsing=True)["weight"][-1])
    except (ValueError, KeyError):
        weight = 0.0
    if not 0.01 <= weight <= 1000:
        raise ConfigError(f"#{fragment[:40]} behind --upstream is no weight; write #weight=2, from 0.01 to 1000.")
    return weight
