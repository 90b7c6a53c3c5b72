"""A server with OpenAI's API, on a real socket, that answers, fails, hangs up and lies as a test wants."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Record = dict[str, Any]
# What a request gets: a record or bytes with status 200; a status, headers and a record; None: the connection breaks.
Given = Record | bytes | tuple[int, dict[str, str], Record] | None

TASK = """
from denken.types import Problem, Score
class More:
    name = "more"
    def problem(self, seed): return Problem(self.name, f"One more than {seed % 5000}?", str(seed % 5000 + 1), seed)
    def score(self, problem, answer): return Score(float(answer == problem.answer))
"""


def said(answer: str, thought: str | None = None, finish: str = "stop", **message: Any) -> Record:
    """A whole answer, of 10 tokens for a prompt of 20."""
    message = {"role": "assistant", "content": answer, **message}
    if thought is not None:
        message["reasoning_content"] = thought
    usage = {"prompt_tokens": 20, "completion_tokens": 10}
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": usage}


def right(body: Record) -> Record:
    """What a good teacher says to a question of `TASK`."""
    found = re.search(r"than (\d+)", body["messages"][0]["content"])
    assert found is not None
    number = int(found[1])
    return said(str(number + 1), f"{number}+1={number + 1}")


class FakeTeacher:
    """say: the answer to a request's body, of which it is number so many. models: what is listed."""

    def __init__(self) -> None:
        self.say: Callable[[Record, int], Given] = lambda body, number: right(body)
        self.models: list[Record] = [{"id": "wise", "owned_by": "vllm", "max_model_len": 4096}]
        self.asked: list[Record] = []
        self.headers: list[dict[str, str]] = []
        self.listing: Given | None = None
        self.port = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        teacher = self.server.teacher
        self._send(teacher.listing or {"object": "list", "data": teacher.models})

    def do_POST(self) -> None:
        teacher: FakeTeacher = self.server.teacher
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with teacher.lock:
            teacher.asked.append(body)
            teacher.headers.append({name.lower(): value for name, value in self.headers.items()})
            number = len(teacher.asked)
        self._send(teacher.say(body, number))

    def _send(self, given: Given) -> None:
        status, headers, body = given if isinstance(given, tuple) else (200, {}, given)
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data) if body is not None else 1000))
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # whoever asked has gone
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        """Tests say what they saw themselves."""


@contextmanager
def teaching() -> Iterator[FakeTeacher]:
    teacher = FakeTeacher()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.teacher = teacher  # type: ignore[attr-defined]
    teacher.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield teacher
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def slowly(seconds: float, given: Given) -> Given:
    time.sleep(seconds)
    return given
