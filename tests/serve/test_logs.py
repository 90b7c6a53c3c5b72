"""One line for every request, whatever became of it; no text of what was said, and no secret."""

from __future__ import annotations

import json
import logging
import re

import httpx
import pytest
from starlette.testclient import TestClient

from denken.serve import logs
from denken.serve.app import create_app
from denken.serve.desk import Caller, OpenDesk
from denken.serve.failure import Failure
from denken.serve.speaker import Piece

SECRET = "sk-a-secret-that-must-not-be-seen"
PROMPT = "a question that is nobody else's business"
BODY = {"messages": [{"role": "user", "content": PROMPT}]}


class OneKey(OpenDesk):
    async def caller(self, request):
        if request.headers.get("authorization") != f"Bearer {SECRET}":
            raise Failure(401, "No.", code="invalid_api_key")
        return Caller("1", "anna")


@pytest.fixture
def lines(monkeypatch):
    """What is written, record by record, in either form."""
    written: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record):
            written.append(self.format(record))

    handler = Kept()
    handler.setFormatter(logs.JsonLines())
    names = ("denken", "uvicorn")
    before = [(logging.getLogger(name).handlers, logging.getLogger(name).level) for name in names]
    for name in names:
        logging.getLogger(name).handlers = [handler]
    logging.getLogger("denken").setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in written]
    for name, (handlers, level) in zip(names, before, strict=True):
        logging.getLogger(name).handlers = handlers
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def keyed(speaker):
    app = create_app(speaker, desk=OneKey())
    with TestClient(app, base_url="http://localhost", headers={"authorization": f"Bearer {SECRET}"}) as client:
        yield client


@pytest.mark.parametrize("stream", [True, False])
def test_a_line_says_what_a_request_was_and_cost(keyed, lines, stream):
    response = keyed.post("/v1/chat/completions", json=BODY | {"stream": stream}, headers={"x-request-id": "mine"})
    (line,) = lines()
    assert re.fullmatch(r"[0-9a-f]{32}", line["request"])
    assert response.headers["x-request-id"] == line["request"]
    assert line["request"] in response.text  # the reply's id is the request's
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    wanted = {
        "method": "POST",
        "route": "/v1/chat/completions",
        "status": 200,
        "outcome": "done",
        "key": "anna",
        "model": "fake",
        "tokens": {"prompt": 10, "cached": 4, "thought": 3, "answer": 2},
    }
    assert {name: line[name] for name in wanted} == wanted
    assert 0 <= line["first_token_seconds"] <= line["seconds"] < 10


def test_refused_requests_have_their_line_too(keyed, lines):
    for path, headers, status in (
        ("/v1/models", {"authorization": "Bearer wrong"}, 401),
        ("/v1/models", {"host": "evil.example"}, 403),
        (f"/{SECRET}", {}, 404),
        (f"/v1/streams/{SECRET}?after=1", {}, 404),
    ):
        response = keyed.get(path, headers=headers)
        assert response.status_code == status
        line = lines()[-1]
        assert (line["status"], line["outcome"], line["request"]) == (
            status,
            "refused",
            response.headers["x-request-id"],
        )
    assert lines()[-2]["route"] is None
    assert lines()[-1]["route"] == "/v1/streams/{stream}"


def test_no_text_and_no_secret_is_written(keyed, lines, speaker):
    speaker.pieces = [Piece("answer", "BREAK")]
    for stream in (True, False):
        keyed.post("/v1/chat/completions", json=BODY | {"stream": stream})
    speaker.refuses = ValueError(f"{PROMPT} {SECRET}")
    failed = keyed.post("/v1/chat/completions", json=BODY)
    assert failed.status_code == 500
    keyed.post("/v1/chat/completions", json=BODY | {"temperature": PROMPT})
    keyed.get("/v1/models", params={"q": PROMPT}, headers={"authorization": f"Bearer {SECRET}x", "user-agent": PROMPT})
    everything = json.dumps(lines())
    assert "ValueError" in everything
    assert "speaking.py" in everything  # where it came from
    for word in (PROMPT, SECRET, "secret detail"):
        assert word not in everything
    assert [line["outcome"] for line in lines() if "outcome" in line] == ["failed"] * 3 + ["refused"] * 2


def test_a_hang_up_is_written_down(server, speaker, lines, wait_until):
    speaker.pieces, speaker.pause = [Piece("answer", "word ")] * 1000, 0.01
    for resumable, outcome in (("0", "aborted"), ("1", "left")):
        url = f"http://127.0.0.1:{server}/v1/chat/completions"
        with httpx.stream("POST", url, json=BODY | {"stream": True}, headers={"x-denken-resumable": resumable}) as got:
            next(got.iter_text())
        wait_until(lambda outcome=outcome: lines() and lines()[-1].get("outcome") == outcome)


def test_what_uvicorn_says_has_the_same_form(server, lines, wait_until):
    import socket

    with socket.create_connection(("127.0.0.1", server)) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    wait_until(lambda: bool(lines()))
    assert lines()[0]["logger"] == "uvicorn.error"
    assert set(lines()[0]) == {"time", "level", "logger", "message"}


def test_text_lines_are_for_people(keyed, lines):
    keyed.post("/v1/chat/completions", json=BODY)
    record = logging.makeLogRecord({"record": {k: v for k, v in lines()[0].items() if k not in ("time", "level")}})
    text = logs.TextLines().format(record)
    assert "\n" not in text
    for part in ("POST /v1/chat/completions 200 done", "key=anna", "prompt=10", lines()[0]["request"]):
        assert part in text
