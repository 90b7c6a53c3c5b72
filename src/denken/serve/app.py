"""The HTTP server: its routes, its errors in OpenAI's shape, and the page.

    POST /v1/chat/completions, /chat/completions    GET /v1/models, /models    GET /health    GET /

What a request may say is in `schemas.py`, how it is answered in `completions.py`, who may send it in `guard.py`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Collection, Coroutine, Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from denken.errors import DenkenError, RequestError
from denken.serve import completions, sse
from denken.serve.completions import Record
from denken.serve.guard import LOOPBACK, Guard
from denken.serve.schemas import ChatRequest
from denken.serve.speaker import ContextFull, Speaker

log = logging.getLogger(__name__)

# More replies than this at once are answered with 503: each holds memory, and all would be slow.
MAX_REPLIES = 64
PAGE = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}


class HungUp(Exception):
    """The client went away before its answer was ready; there is nobody to tell."""


class Places:
    """How many replies are being made, and whether there is room for one more."""

    def __init__(self, most: int):
        self.most, self.taken = most, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


def create_app(
    speaker: Speaker, *, host: str = "127.0.0.1", allow_hosts: Collection[str] = (), max_replies: int = MAX_REPLIES
) -> FastAPI:
    """The application that serves `speaker`.

    host: the address that it is bound to; it and `allow_hosts` are the names it answers to, besides the loopback's.
    """
    # FastAPI's own documentation pages load scripts from elsewhere, which the page policy forbids.
    app = FastAPI(title="denken", docs_url=None, redoc_url=None)
    app.add_middleware(
        Guard,
        hosts=LOOPBACK | {_as_in_url(host), *allow_hosts},
        any_address=not is_loopback(host),
    )
    _add_errors(app)
    _add_page(app)
    places = Places(max_replies)

    async def chat_completions(request: Request, body: ChatRequest) -> Response:
        if body.model not in (None, speaker.name):
            return error_response(
                404,
                f"There is no model {body.model!r} here; this server has {speaker.name!r}.",
                param="model",
                code="model_not_found",
            )
        if places.taken >= places.most:
            response = error_response(503, f"{places.most} replies are being made; try again soon.", code="overloaded")
            response.headers["Retry-After"] = "2"
            return response
        with ExitStack() as place:
            place.enter_context(places.one())  # before anything is waited for, so that nobody else takes it meanwhile
            # A long conversation takes a while to encode; others are served meanwhile.
            reply = await run_in_threadpool(completions.open_reply, speaker, body)
            if body.stream:
                return sse.Stream(completions.chunks(speaker, body, reply), place.pop_all())
            return JSONResponse(await _unless_hung_up(request, completions.whole(speaker, body, reply)))

    async def models() -> dict[str, Any]:
        model = {"id": speaker.name, "object": "model", "created": speaker.created, "owned_by": "denken"}
        return {"object": "list", "data": [model]}

    async def health() -> dict[str, str]:
        return {"status": "ok", "model": speaker.name}

    for prefix in ("/v1", ""):
        app.add_api_route(f"{prefix}/chat/completions", chat_completions, methods=["POST"], response_model=None)
        app.add_api_route(f"{prefix}/models", models, methods=["GET"])
    app.add_api_route("/health", health, methods=["GET"])
    return app


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def error_response(status: int, message: str, *, param: str | None = None, code: str | None = None) -> JSONResponse:
    """An error in OpenAI's shape."""
    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def _as_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


async def _unless_hung_up(request: Request, answer: Coroutine[Any, Any, Record]) -> Record:
    """Waits for the answer and, meanwhile, for the client to hang up, which ends the answer."""
    making = asyncio.create_task(answer)
    leaving = asyncio.create_task(_disconnect(request))
    try:
        await asyncio.wait({making, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not making.done():
            raise HungUp
        return making.result()
    finally:
        for task in (making, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _add_page(app: FastAPI) -> None:
    folder = files("denken.serve") / "page"

    def add(path: str, name: str, media_type: str) -> None:
        content = (folder / name).read_bytes()

        async def part_of_page() -> Response:
            return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

        app.add_api_route(path, part_of_page, methods=["GET", "HEAD"], include_in_schema=False)

    for path, (name, media_type) in PAGE.items():
        add(path, name, media_type)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(DenkenError)
    async def refused(request: Request, error: DenkenError) -> Response:
        if not isinstance(error, RequestError):  # the engine is overloaded, failing or shutting down
            return error_response(503, str(error), code="unavailable")
        code = "context_length_exceeded" if isinstance(error, ContextFull) else None
        return error_response(400, str(error), param="messages" if code else None, code=code)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Where several kinds of value were possible, the one that was meant is the one that went furthest.
        first = max(error.errors(), key=lambda one: len(one["loc"]))
        # The names of the kinds themselves, such as list[...], are no part of what was sent.
        place = ".".join(str(part) for part in first["loc"][1:] if "[" not in str(part)) or None
        if first["type"] == "json_invalid":
            return error_response(400, "The body is not valid JSON.", code="json_invalid")
        if first["type"] in ("missing", "model_attributes_type") and place is None:
            return error_response(400, "Send a JSON object, with Content-Type: application/json.", code="no_body")
        message = first["msg"].removeprefix("Value error, ")
        return error_response(400, message if place is None else f"{place}: {message}", param=place)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        known = "POST /v1/chat/completions, GET /v1/models, GET /health and GET / are what there is."
        message = known if error.status_code in (404, 405) else str(error.detail)
        response = error_response(error.status_code, message)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(HungUp)
    async def hung_up(request: Request, error: HungUp) -> Response:
        return Response(status_code=499)

    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> Response:
        log.error("A request failed.", exc_info=error)
        return error_response(500, "The server failed at this request; its log says more.")
