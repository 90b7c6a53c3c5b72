"""Bytes that are no proper HTTP, or only just: nothing hangs, nothing is a 500, and the next client is answered."""

from __future__ import annotations

import re
import socket
import time
from contextlib import suppress

import httpx
import pytest

from denken.serve import guard, server
from denken.serve.app import create_app

# Longer than any answer takes on a busy machine, shorter than a person waits.
PATIENCE = 20
CHUNKED = b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"messages": [{"role": "user", "content": "Hi"}]}'
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
JSON = b"Content-Type: application/json\r\n"


@pytest.fixture
def port(speaker, run_server):
    with run_server(create_app(speaker)) as (port, _):
        yield port


@pytest.fixture(scope="module")
def one_speaker(new_speaker):
    return new_speaker()


@pytest.fixture(scope="module")
def one_port(one_speaker, run_server):
    """One server that goes through all of it."""
    with run_server(create_app(one_speaker)) as (port, _):
        yield port


def is_whole(answer: bytes) -> bool:
    """Whether one response has come with all of the body that it announced."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return length is not None and len(body) >= int(length[1])


def exchange(port: int, data: bytes, *, slices: int = 1, responses: int = 1) -> bytes:
    """What comes back until the server closes, the last response is whole, or nothing comes for a while."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        answer = b""
        try:
            step = max(1, len(data) // slices)
            for start in range(0, len(data), step):
                connection.sendall(data[start : start + step])
            while part := connection.recv(65536):
                answer += part
                if responses == 1:
                    if is_whole(answer):
                        break
                    connection.settimeout(0.3)
        except (TimeoutError, ConnectionError):
            pass
        return answer


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def still_answers(port: int) -> None:
    assert httpx.get(f"http://127.0.0.1:{port}/health", timeout=PATIENCE).status_code == 200


MALFORMED = {
    "nonsense": b"nonsense\r\n\r\n",
    "nothing but line breaks": b"\r\n" * 50 + b"x\r\n\r\n",
    "HTTP/0.9": b"GET /health\r\n\r\n",
    "a version of two digits": b"GET /health HTTP/1.11\r\nHost: localhost\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200,
    "null bytes": b"\x00" * 100 + b"\r\n\r\n",
    "a null byte in the path": b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a null byte in a header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
    "a space in the path": b"GET /he alth HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space before the colon": b"GET /health HTTP/1.1\r\nHost : localhost\r\n\r\n",
    "a header without a colon": b"GET /health HTTP/1.1\r\nHost: localhost\r\nnonsense\r\n\r\n",
    "a folded header at the start": b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "bytes over 127 in the path": b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "two equal hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "two lengths": POST + JSON + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + BODY,
    "a length that is none": POST + JSON + b"Content-Length: five\r\n\r\n" + BODY,
    "a negative length": POST + JSON + b"Content-Length: -5\r\n\r\n" + BODY,
    "a length with a sign": POST + JSON + b"Content-Length: +5\r\n\r\n" + BODY,
    "an endless length": POST + JSON + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n" + BODY,
    "a huge length": POST + JSON + b"Content-Length: 99999999999\r\n\r\n" + BODY,
    "an unknown transfer coding": POST + JSON + b"Transfer-Encoding: gzip\r\n\r\n" + BODY,
    "a huge chunk size": POST + CHUNKED + b"\r\n" + b"F" * 40 + b"\r\n" + BODY,
    "a chunk size that is none": POST + CHUNKED + b"\r\nxyz\r\n" + BODY,
    "a negative chunk size": POST + CHUNKED + b"\r\n-5\r\n" + BODY,
    "a chunk that is longer than it says": POST + CHUNKED + b"\r\n5\r\n" + BODY + b"\r\n0\r\n\r\n",
    "an endless chunk extension": POST + CHUNKED + b"\r\n5;" + b"x" * 200_000,
    "an endless line": b"GET /" + b"a" * 200_000,
    "an endless header": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200_000,
    "a flood of headers": b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 50_000,
    "a coded body": POST + JSON + LENGTH + b"Content-Encoding: gzip\r\n\r\n" + BODY[::-1],
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_requests_are_refused(one_port, one_speaker, data):
    asked = len(one_speaker.asked)
    answer = exchange(one_port, data)
    assert all(400 <= status < 500 for status in statuses(answer)), answer[:300]
    assert answer == b"" or statuses(answer), answer[:300]
    assert len(one_speaker.asked) == asked
    still_answers(one_port)


ODD = {
    "an unknown version": b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "a range": b"GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-0\r\n\r\n",
    "a million ranges": b"GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=" + b"0-0," * 5000 + b"\r\n\r\n",
    "a whole address": b"GET http://evil.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an unknown method": b"BREW /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT": b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "websocket": b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "expectation": POST + JSON + LENGTH + b"Expect: 100-continue\r\n\r\n" + BODY,
    "another expectation": POST + JSON + LENGTH + b"Expect: a miracle\r\n\r\n" + BODY,
    "a body on GET": b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + LENGTH + b"\r\n" + BODY,
    "HEAD": b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "length and chunks": POST + CHUNKED + LENGTH + b"\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
    "a trailer": POST + CHUNKED + b"\r\n%x\r\n" % len(BODY) + BODY + b"\r\n0\r\nX: y\r\n\r\n",
    "chunks of one byte": POST + CHUNKED + b"\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
    "HTTP/1.0": b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n",
    "bare line feeds": b"GET /health HTTP/1.1\nHost: localhost\n\n",
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("slices", [1, 7])
def test_odd_requests_get_an_answer_that_is_no_500(one_port, data, slices):
    found = statuses(exchange(one_port, data, slices=slices))
    assert found, "no answer"
    assert all(status < 500 for status in found)
    still_answers(one_port)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/", "//v1/models", "/V1/models", "/v1%2fmodels", "/v1/%6dodels", "/v1/models%00", "/v1/./models",
        "/v1/../v1/models", "/%2e%2e/%2e%2e/etc/passwd", "/v1/models;x=y", "/assets/../../../etc/passwd",
        "/assets/..%2f..%2fapp.py", "/assets/%2e%2e/index.html",
        "/v1/models%", "/v1/models%zz", "/%ff%fe", "/" + "a" * 8000, "/v1/models?" + "&" * 8000, "/v1/models#x",
        "/v1/streams/", "/v1/streams/..", "/v1/streams/%2e%2e%2fhealth", "/v1/streams/" + "a" * 5000, "/%f0%9f%92%a9",
    ],
)  # fmt: skip
def test_paths_that_are_written_oddly_lead_nowhere_else(one_port, path):
    answer = exchange(one_port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    (status,) = statuses(answer)
    assert status in (200, 307, 400, 404), answer[:300]
    assert b"root:" not in answer
    if status == 307:  # to the same path without its last slash, here and nowhere else
        assert b"location: http://localhost/v1" in answer.lower()
    still_answers(one_port)


def test_requests_that_follow_at_once_are_answered_in_order(port):
    get = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    post = POST + JSON + LENGTH + b"\r\n" + BODY
    lost = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = exchange(port, get + post + get + lost + last, responses=5)
    assert statuses(answer) == [200, 200, 200, 404, 200]


@pytest.mark.parametrize("stream", [b"true", b"false"])
def test_who_sends_the_next_request_and_hangs_up_is_noticed(port, speaker, wait_until, stream):
    speaker.pause = 600.0
    body = BODY[:-1] + b', "stream": ' + stream + b"}"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(POST + JSON + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: speaker.begun == 1)
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(0.1)
    wait_until(lambda: speaker.ended == 1)


def test_a_flood_of_requests_behind_a_slow_one_is_cut_off(port, speaker, wait_until):
    speaker.pause = 600.0
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(POST + JSON + LENGTH + b"\r\n" + BODY)
        wait_until(lambda: speaker.begun == 1)
        flood = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100_000
        with suppress(ConnectionError):
            connection.sendall(flood)
    wait_until(lambda: speaker.ended == 1)
    still_answers(port)


@pytest.mark.parametrize("begun", [b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: local"])
def test_a_head_that_does_not_come_is_given_up(speaker, run_server, monkeypatch, begun):
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    with (
        run_server(create_app(speaker)) as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection,
    ):
        began = time.monotonic()
        connection.sendall(begun)
        assert closed_while_dripping(connection, b"x")
        assert time.monotonic() - began < PATIENCE
        still_answers(port)


def test_a_body_that_drips_is_given_up(port, monkeypatch, speaker, run_server):
    monkeypatch.setattr(guard.Guard.__init__, "__defaults__", (guard.LOOPBACK, False, guard.MAX_BODY_BYTES, 0.5))
    with (
        run_server(create_app(speaker)) as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection,
    ):
        connection.sendall(POST + JSON + b"Content-Length: 100000\r\n\r\n{")
        assert closed_while_dripping(connection, b" ")
        still_answers(port)


def closed_while_dripping(connection: socket.socket, drop: bytes) -> bool:
    """Sends a byte now and then until the server has closed the connection; False if it never does."""
    deadline = time.monotonic() + PATIENCE
    connection.settimeout(0.1)
    while time.monotonic() < deadline:
        try:
            if connection.recv(65536) == b"":
                return True
        except TimeoutError:
            pass
        except ConnectionError:
            return True
        try:
            connection.sendall(drop)
        except ConnectionError:
            return True
    return False


def test_an_idle_connection_is_closed(speaker, run_server, monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 0.3)
    with (
        run_server(create_app(speaker)) as (port, _),
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection,
    ):
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while connection.recv(65536):
            pass


def test_slow_clients_keep_nobody_else_waiting(port):
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    for number, connection in enumerate(slow):
        connection.sendall(POST[: number % len(POST)] if number % 2 else POST + JSON + b"Content-Length: 999\r\n\r\n{")
    began = time.monotonic()
    still_answers(port)
    assert time.monotonic() - began < 5
    for connection in slow:
        connection.close()


def test_more_connections_than_there_may_be_are_told_so(speaker, run_server, monkeypatch):
    monkeypatch.setattr(server, "CONNECTIONS", 5)
    with run_server(create_app(speaker)) as (port, _):
        many = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        time.sleep(0.2)
        assert statuses(exchange(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")) == [503]
        for connection in many:
            connection.close()
        deadline = time.monotonic() + PATIENCE
        while httpx.get(f"http://127.0.0.1:{port}/health").status_code != 200:
            assert time.monotonic() < deadline


def test_bodies_that_arrive_at_once_are_bounded_together(one_port, monkeypatch):
    monkeypatch.setattr(guard, "MAX_ARRIVING_BYTES", 5000)
    head = POST + JSON + b"Content-Length: 9000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", one_port)) as first:
        first.sendall(head + b" " * 4000)
        time.sleep(0.2)
        answer = exchange(one_port, head + b" " * 4000)
        assert statuses(answer) == [503]
        assert b"retry-after" in answer.lower()
    time.sleep(0.2)
    assert statuses(exchange(one_port, POST + JSON + LENGTH + b"\r\n" + BODY)) == [200]
