"""Figures for Prometheus at GET /metrics, of this process since it began: requests, tokens, times, replies, the cache.

Labels are routes, methods, statuses and kinds of tokens, all of them words of this program: no text of a prompt, no key
and no model name that somebody sent. Each application has a registry of its own.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from denken.serve.desk import Balance, By, Caller, Desk, Outcome, Ticket, Wanted
from denken.serve.speaker import Speaker, Usage

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """The registry of one application, and what is counted in it."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "denken_requests", "Requests by route, method and status.", ["route", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "denken_request_seconds", "From a request to its last byte.", ["route"], buckets=SECONDS, registry=registry
        )
        self.first_token = Histogram(
            "denken_first_token_seconds", "From the reservation to the first piece.", buckets=SECONDS, registry=registry
        )
        self.tokens = Counter(
            "denken_tokens", "Tokens: prompt (computed or cached), thought, answer.", ["kind"], registry=registry
        )
        self.replies = Gauge(
            "denken_replies", "Replies under way: before and after their first piece.", ["state"], registry=registry
        )
        share = Gauge("denken_cache_hit_share", "Of all prompt tokens, those from the cache.", registry=registry)
        self._prompt, self._cached = 0, 0
        share.set_function(lambda: self._cached / max(1, self._prompt))
        for state in ("waiting", "running"):
            self.replies.labels(state)

    def watch(self, desk: Desk) -> Desk:
        """The same desk, with what passes over it counted."""
        self.registry.register(_Failures(desk))
        return _Watched(desk, self)

    def watch_guesses(self, speakers: Sequence[Speaker]) -> None:
        """What the engines of these speakers guess is read when it is asked for."""
        self.registry.register(_Guesses(speakers))

    def count_tokens(self, usages: Sequence[Usage]) -> None:
        for usage in usages:
            self._prompt += usage.prompt_tokens
            self._cached += usage.cached_tokens
            self.tokens.labels("prompt").inc(usage.prompt_tokens - usage.cached_tokens)
            self.tokens.labels("cached").inc(usage.cached_tokens)
            self.tokens.labels("thought").inc(usage.thought_tokens)
            self.tokens.labels("answer").inc(usage.answer_tokens)

    def add_routes(self, api: APIRouter) -> None:
        def metrics() -> Response:
            return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_LATEST)

        api.add_api_route("/metrics", metrics, methods=["GET"], response_model=None)


class Measured:
    """ASGI middleware around the whole application: counts requests, those too that it refuses."""

    def __init__(self, app: ASGIApp, metrics: Metrics):
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 499  # nobody was there any more to get another one

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_look)
        finally:
            # The path as it was sent would make a label of whatever people think of.
            route = getattr(scope.get("route"), "path", None) or "none"
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - began)


class _Failures(Collector):
    """How often the desk's store has failed, read from it when it is asked for."""

    def __init__(self, desk: Desk):
        self._desk = desk

    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "denken_store_failures", "Failed attempts to read or write the store.", value=self._desk.failures
        )


class _Guesses(Collector):
    """How many tokens engines guessed, and how many of them were right; adapters over one network share its engine."""

    def __init__(self, speakers: Sequence[Speaker]):
        self._speakers = speakers

    def collect(self) -> Iterator[CounterMetricFamily]:
        every = [getattr(speaker, "speculation", None) for speaker in self._speakers]
        apart = {id(own): own for own in every if own is not None}.values()
        guessed, accepted = (sum(getattr(own, name) for own in apart) for name in ("guessed", "accepted"))
        yield CounterMetricFamily("denken_guessed_tokens", "Tokens that were guessed and checked.", value=guessed)
        yield CounterMetricFamily("denken_accepted_tokens", "Of these, tokens that were right.", value=accepted)


class _Watched:
    """Satisfies `Desk`: another one, and every ticket counted."""

    def __init__(self, desk: Desk, metrics: Metrics):
        self._desk, self._metrics = desk, metrics

    @property
    def failures(self) -> int:
        return self._desk.failures

    async def caller(self, request: Request) -> Caller:
        return await self._desk.caller(request)

    async def reserve(self, caller: Caller, wanted: Wanted) -> Ticket:
        return _WatchedTicket(await self._desk.reserve(caller, wanted), wanted.replies, self._metrics)

    async def balance(self, caller: Caller) -> Balance:
        return await self._desk.balance(caller)

    async def usage(self, caller: Caller, days: int, by: By) -> Mapping[str, Any]:
        return await self._desk.usage(caller, days, by)


class _WatchedTicket:
    """A ticket whose replies are waiting, then running, then settled."""

    def __init__(self, ticket: Ticket, replies: int, metrics: Metrics):
        self._ticket, self._replies, self._metrics = ticket, replies, metrics
        self._began, self._state = time.monotonic(), "waiting"
        metrics.replies.labels("waiting").inc(replies)

    @property
    def headers(self) -> Mapping[str, str]:
        return self._ticket.headers

    def begun(self) -> None:
        self._ticket.begun()
        self._metrics.first_token.observe(time.monotonic() - self._began)
        self._metrics.replies.labels("waiting").dec(self._replies)
        self._metrics.replies.labels("running").inc(self._replies)
        self._state = "running"

    async def settle(self, usages: Sequence[Usage], seconds: float, outcome: Outcome) -> None:
        self._metrics.replies.labels(self._state).dec(self._replies)
        self._metrics.count_tokens(usages)
        await self._ticket.settle(usages, seconds, outcome)
