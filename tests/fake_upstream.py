"""A server upstream that says what a test wants, on a real socket, in the style of vLLM and its like."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from denken.serve.listen import listen

Record = dict[str, Any]
# What is sent of a reply, one after the other: bytes; seconds to wait; None, at which the connection breaks.
Script = Sequence[bytes | float | None]
USAGE = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
DONE = b"data: [DONE]\n\n"

OWNERS = {
    "vllm": {"owned_by": "vllm", "max_model_len": 4096},
    "sglang": {"owned_by": "sglang", "max_model_len": 4096},
    "llamacpp": {"owned_by": "llamacpp", "meta": {"n_ctx_train": 4096}},
    "ollama": {"owned_by": "library"},
    "deepseek": {"owned_by": "deepseek"},
    "openai": {"owned_by": "system"},
    "denken": {"owned_by": "denken", "context_length": 4096},
    "other": {"owned_by": "me"},
}


def event(record: object) -> bytes:
    return b"data: " + json.dumps(record).encode() + b"\n\n"


def chunk(finish: str | None = None, **delta: object) -> bytes:
    return event(
        {
            "id": "x",
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        }
    )


def usage(record: object = USAGE) -> bytes:
    return event({"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": record})


def told(*deltas: Record, finish: str = "stop", counted: object = USAGE) -> list[bytes]:
    """A whole reply of these deltas, with usage and the end."""
    parts = [chunk(role="assistant", content=""), *(chunk(**delta) for delta in deltas), chunk(finish)]
    return [*parts, *([usage(counted)] if counted else []), DONE]


class FakeUpstream:
    """script: what is sent for a request. status, headers, error: of a reply that is refused.

    prompt_end: what the template, where it can be seen, puts behind the conversation. running, broken_off: replies
    that are being sent, and that nobody wanted to the end. alive: whether the list of models is answered.
    """

    def __init__(self, style: str = "vllm", model: str = "theirs"):
        self.style, self.model = style, model
        self.script: Callable[[Record], Script] = lambda body: told({"content": "Hello."})
        self.refuse: Callable[[Record], Response | None] = lambda body: None
        self.prompt_end = ""
        self.whole: Record = {"content": "Hello."}
        self.requests: list[tuple[str, Record, dict[str, str]]] = []
        self.running = self.broken_off = 0
        self.alive = True
        self.content_type = "text/event-stream"
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def asked(self) -> list[Record]:
        """The bodies of requests for streamed replies."""
        return [body for path, body, _ in self.requests if path.endswith("/completions") and body.get("stream")]

    def app(self) -> Starlette:
        routes = [Route(f"{base}/models", self._models) for base in ("/v1", "")]
        for base in ("/v1", "/beta"):
            routes += [
                Route(f"{base}/chat/completions", self._complete, methods=["POST"]),
                Route(f"{base}/completions", self._complete, methods=["POST"]),
            ]
        if self.style == "vllm":
            routes += [
                Route("/tokenize", self._tokenize, methods=["POST"]),
                Route("/detokenize", self._detokenize, methods=["POST"]),
            ]
        if self.style == "llamacpp":
            routes += [
                Route("/props", self._props),
                Route("/apply-template", self._apply, methods=["POST"]),
                Route("/tokenize", self._tokens, methods=["POST"]),
            ]
        return Starlette(routes=routes)

    async def _models(self, request: Request) -> Response:
        if not self.alive:
            return JSONResponse({"error": {"message": "starting"}}, 503)
        record = {"id": self.model, "object": "model", "created": 1_700_000_123} | OWNERS[self.style]
        return JSONResponse({"object": "list", "data": [record]})

    async def _complete(self, request: Request) -> Response:
        body = await request.json()
        self.requests.append((request.url.path, body, dict(request.headers)))
        refusal = self.refuse(body)
        if refusal is not None:
            return refusal
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant"} | self.whole, "finish_reason": "stop"}
            return JSONResponse({"object": "chat.completion", "choices": [choice], "usage": USAGE})
        return StreamingResponse(self._send(self.script(body)), media_type=self.content_type)

    async def _send(self, script: Script) -> AsyncIterator[bytes]:
        self.running += 1
        over = False
        try:
            for part in script:
                if part is None:
                    raise ConnectionAbortedError
                if isinstance(part, bytes):
                    yield part
                else:
                    await asyncio.sleep(part)
            over = True
        finally:
            self.running -= 1
            self.broken_off += not over

    def _prompt(self, body: Record) -> str:
        self.requests.append(("/template", body, {}))
        return "".join(f"<{m['role']}>{m['content']}" for m in body["messages"]) + "<assistant>" + self.prompt_end

    async def _tokenize(self, request: Request) -> Response:
        prompt = self._prompt(await request.json())
        return JSONResponse({"count": len(prompt), "max_model_len": 4096, "tokens": [ord(one) for one in prompt]})

    async def _detokenize(self, request: Request) -> Response:
        return JSONResponse({"prompt": "".join(map(chr, (await request.json())["tokens"]))})

    async def _props(self, request: Request) -> Response:
        return JSONResponse({"default_generation_settings": {"n_ctx": 2048}, "total_slots": 2})

    async def _apply(self, request: Request) -> Response:
        return JSONResponse({"prompt": self._prompt(await request.json())})

    async def _tokens(self, request: Request) -> Response:
        return JSONResponse({"tokens": list(range(len((await request.json())["content"])))})


@contextmanager
def running(app: Any, port: int = 0) -> Iterator[int]:
    """Serves an ASGI application on a free port of 127.0.0.1; the port."""
    listener = listen("127.0.0.1", port)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
