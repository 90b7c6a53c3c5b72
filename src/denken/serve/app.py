"""The HTTP server: its routes, and its errors in OpenAI's shape.

What a request may say is in `schemas.py` and its like, how it is answered in `turn.py`, in which words in
`completions.py` and its like, who may send it in `guard.py` and `desk.py`, which files
the page is made of in `website.py`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from denken.errors import DenkenError, RequestError
from denken.search.tool import Searcher
from denken.serve import device as devices
from denken.serve import library, messages, models, openapi, state, streams, usage, website
from denken.serve import runs as training
from denken.serve.chats import exports, imports, routes, sharing, uploads
from denken.serve.chats.chats import Chats
from denken.serve.completions import Chat
from denken.serve.desk import Desk, OpenDesk
from denken.serve.device import Device
from denken.serve.failure import Failure
from denken.serve.guard import LOOPBACK, Guard
from denken.serve.logs import Logged
from denken.serve.messages import BASES, Messages
from denken.serve.messages_schemas import MessagesRequest
from denken.serve.metrics import Measured, Metrics
from denken.serve.places import Places
from denken.serve.responses import Responses
from denken.serve.responses_schemas import ResponsesRequest
from denken.serve.runs import Runs
from denken.serve.schemas import ChatRequest
from denken.serve.speaker import ContextFull, Speaker, Unsupported
from denken.serve.texts import TextRequest, Texts
from denken.serve.turn import Counter, Dialect, HungUp, Record
from denken.serve.upstream.speaker import is_upstream, report

# More replies than this at once are answered with 503: each holds memory, and all would be slow.
MAX_REPLIES = 64


def create_app(
    speaker: Speaker | Sequence[Speaker],
    *,
    host: str = "127.0.0.1",
    allow_hosts: Collection[str] = (),
    max_replies: int = MAX_REPLIES,
    desk: Desk | None = None,
    chats: Chats | None = None,
    runs: Runs | None = None,
    searcher: Searcher | None = None,
    device: Device | None = None,
) -> FastAPI:
    """The application that serves one speaker or several; the first answers where a request names no model.

    host: the address that it is bound to; it and `allow_hosts` are the names it answers to, besides the loopback's.
    desk: who lets in and writes down; nobody, if absent. chats: where conversations are kept; nowhere, if absent.
    runs: the training that is shown; none, if absent. searcher: whose library is shown; `chats` searches by its own.
    device: the model that browsers may take along; none, if absent.
    """
    # FastAPI's own documentation pages load scripts from elsewhere, which the page policy forbids; and its description
    # of the API would need no key.
    app = FastAPI(title="denken", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(
        Guard,
        hosts=LOOPBACK | {_as_in_url(host), *allow_hosts},
        any_address=not is_loopback(host),
    )
    # The last that is added is the outermost.
    app.add_middleware(Logged)
    metrics = Metrics()
    app.add_middleware(Measured, metrics=metrics)
    _add_errors(app)
    website.add_routes(app)
    speakers = list(speaker) if isinstance(speaker, Sequence) else [speaker]
    metrics.watch_guesses(speakers)
    counter = Counter(speakers, metrics.watch(desk or OpenDesk()), Places(max_replies))
    api = APIRouter(route_class=_admitting(counter))
    _add_dialects(api, counter)
    models.add_routes(api, counter)
    messages.add_routes(api, counter)
    streams.add_routes(api, counter.streams)
    usage.add_routes(api, counter)
    api.add_api_route("/openapi.json", lambda: app.openapi(), methods=["GET"], include_in_schema=False)
    metrics.add_routes(api)
    training.add_routes(api, runs)
    devices.add_routes(api, device)
    if searcher is not None:
        library.add_routes(api, searcher)
    # The last: without a store it answers for all that is left under /app.
    _add_chats(api, app, counter, chats, runs, device)
    app.include_router(api)

    app.state.places = counter.places
    openapi.describe(app, counter.speakers)

    async def health(response: Response) -> Record:
        upstreams = report(speakers)
        status = "stopping" if counter.places.closed else "ok"
        if all(getattr(speaker, "down", False) for speaker in speakers):
            status = "no engine runs"
        if upstreams and not any(server["up"] for server in upstreams) and all(map(is_upstream, speakers)):
            status = "no upstream answers"
        if status != "ok":  # a proxy is to send new requests elsewhere
            response.status_code = 503
        return {"status": status, "model": counter.default.name} | ({"upstreams": upstreams} if upstreams else {})

    app.add_api_route("/health", health, methods=["GET"])
    return app


def _admitting(counter: Counter) -> type[APIRoute]:
    """Routes that ask for the key before they read what was sent: a dependency would only come after the JSON."""

    class Admitting(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def admitted(request: Request) -> Response:
                await counter.admit(request)
                return await answer(request)

            return admitted

    return Admitting


def _add_dialects(api: APIRouter, counter: Counter) -> None:
    """A route for every way to ask: its paths, what its body is read as, and who answers."""

    def add(paths: Sequence[str], body_type: type[BaseModel], dialect: Callable[[Any], Dialect]) -> None:
        async def ask(request: Request, body: Any) -> Response:
            return await counter.answer(request, dialect(body))

        ask.__annotations__["body"] = body_type
        for path in paths:
            api.add_api_route(path, ask, methods=["POST"], response_model=None)

    bases = ("/v1", "", "/beta")
    add([f"{base}/chat/completions" for base in bases], ChatRequest, Chat)
    add([f"{base}/completions" for base in bases], TextRequest, Texts)
    add(["/v1/responses", "/responses"], ResponsesRequest, Responses)
    add(BASES, MessagesRequest, Messages)


def _add_chats(
    api: APIRouter, app: FastAPI, counter: Counter, chats: Chats | None, runs: Runs | None, device: Device | None
) -> None:
    if chats is not None:
        state.add_routes(api, counter, chats, runs=runs is not None, device=device)
        routes.add_routes(api, counter, chats)
        exports.add_routes(api, chats)
        imports.add_routes(api, chats)
        uploads.add_routes(api, chats)
        sharing.add_routes(api, app, chats)
        return

    async def nothing_kept() -> Response:
        raise Failure(404, "This server keeps no conversations; `denken serve` does.", code="no_store")

    api.add_api_route(
        "/app/{path:path}", nothing_kept, methods=["GET", "POST", "PATCH", "DELETE"], include_in_schema=False
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _as_in_url(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


def _prompt_field(path: str) -> str:
    """What the field is called that holds what the model reads."""
    if path.endswith("/completions"):
        return "messages" if "/chat/" in path else "prompt"
    return "input" if path.endswith("/responses") else "messages"


def _why_no_route(app: FastAPI, error: HTTPException) -> str:
    """What an error of the routing says: what there is, where a path or a method is unknown."""
    if error.status_code not in (404, 405):
        return str(error.detail)
    known = [
        f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in sorted(methods)
    ]
    wrong = "path" if error.status_code == 404 else "method for this path"
    return f"There is no such {wrong}. There is {', '.join(known)}, and the page at GET /."


def _add_errors(app: FastAPI) -> None:
    def respond(request: Request, failure: Failure) -> Response:
        return failure.response(request.url.path)

    @app.exception_handler(Failure)
    async def ended(request: Request, failure: Failure) -> Response:
        return respond(request, failure)

    @app.exception_handler(DenkenError)
    async def refused(request: Request, error: DenkenError) -> Response:
        if not isinstance(error, RequestError):  # the engine is overloaded, failing or shutting down
            return respond(request, Failure(503, str(error), code="unavailable", retry_after=2))
        if isinstance(error, ContextFull):
            param = _prompt_field(request.url.path)
            return respond(request, Failure(400, str(error), param=param, code="context_length_exceeded"))
        return respond(
            request, Failure(400, str(error), code="unsupported" if isinstance(error, Unsupported) else None)
        )

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # Where several kinds of value were possible, the one that was meant is the one that went furthest.
        first = max(error.errors(), key=lambda one: len(one["loc"]))
        # The names of the kinds themselves, such as list[...] and NamedChoice, are no part of what was sent.
        parts = [str(part) for part in first["loc"][1:]]
        place = ".".join(part for part in parts if "[" not in part and not part[:1].isupper()) or None
        if first["type"] == "json_invalid":
            return respond(request, Failure(400, "The body is not valid JSON.", code="json_invalid"))
        if first["type"] in ("missing", "model_attributes_type") and place is None:
            message = "Send a JSON object, with Content-Type: application/json."
            return respond(request, Failure(400, message, code="no_body"))
        message = first["msg"].removeprefix("Value error, ")
        return respond(request, Failure(400, message if place is None else f"{place}: {message}", param=place))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        response = respond(request, Failure(error.status_code, _why_no_route(app, error)))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(HungUp)
    async def hung_up(request: Request, error: HungUp) -> Response:
        return Response(status_code=499)
