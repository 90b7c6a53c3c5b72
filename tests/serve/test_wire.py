"""On a real connection: hang-ups stop the model, nobody gets another's text, quiet streams stay alive."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from denken.errors import ConfigError
from denken.serve import sse
from denken.serve.app import create_app
from denken.serve.listen import listen, url
from denken.serve.speaker import Piece


def request(port: int, stream: bool) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize("stream", [True, False])
def test_a_hang_up_ends_the_generation(server, speaker, wait_until, stream):
    speaker.pieces = [Piece("answer", "word ")] * 10_000
    speaker.pause = 0.01
    with socket.create_connection(("127.0.0.1", server)) as connection:
        connection.sendall(request(server, stream))
        wait_until(lambda: speaker.begun == 1)
        assert speaker.ended == 0
    wait_until(lambda: speaker.ended == 1)
    assert httpx.get(f"http://127.0.0.1:{server}/health").status_code == 200


def test_a_hang_up_during_a_silent_prefill_is_noticed(server, speaker, wait_until):
    speaker.pause = 600.0
    with socket.create_connection(("127.0.0.1", server)) as connection:
        connection.sendall(request(server, True))
        wait_until(lambda: speaker.begun == 1)
    wait_until(lambda: speaker.ended == 1)


def test_places_are_free_again_after_hang_ups(server, speaker, wait_until):
    speaker.pause = 600.0
    for stream in (True, False):
        connections = []
        for _ in range(32):
            connection = socket.create_connection(("127.0.0.1", server))
            connection.sendall(request(server, stream))
            connections.append(connection)
        wait_until(lambda: speaker.begun - speaker.ended == 32)
        for connection in connections:
            connection.close()
        wait_until(lambda: speaker.begun == speaker.ended)
    speaker.pause = 0.0
    answers = [httpx.post(f"http://127.0.0.1:{server}/v1/chat/completions", json=BODY).status_code for _ in range(3)]
    assert answers == [200] * 3


BODY = {"messages": [{"role": "user", "content": "Hi"}]}


def test_more_than_the_places_are_told_to_wait(server, speaker, wait_until):
    speaker.pause = 600.0
    connections = [socket.create_connection(("127.0.0.1", server)) for _ in range(64)]
    for connection in connections:
        connection.sendall(request(server, True))
    wait_until(lambda: speaker.begun == 64)
    response = httpx.post(f"http://127.0.0.1:{server}/v1/chat/completions", json=BODY)
    assert response.status_code == 503
    assert response.headers["retry-after"]
    for connection in connections:
        connection.close()


@pytest.mark.parametrize("stream", [True, False])
def test_requests_that_come_at_once_share_the_places(speaker, stream):
    speaker.pause = 0.02
    app = create_app(speaker, max_replies=2)

    async def ask(client: httpx.AsyncClient) -> int:
        return (await client.post("/v1/chat/completions", json=BODY | {"stream": stream})).status_code

    async def crowd() -> tuple[list[int], int]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return sorted(await asyncio.gather(*(ask(client) for _ in range(6)))), await ask(client)

    assert asyncio.run(crowd()) == ([200, 200, 503, 503, 503, 503], 200)


def test_everyone_gets_their_own_text(server, speaker):
    speaker.pause = 0.005
    barrier = threading.Barrier(16)

    def converse(number: int) -> bool:
        canary = f"canary-{number}-" + "x" * number
        barrier.wait()
        body = {"messages": [{"role": "user", "content": canary}], "stream": number % 2 == 0}
        response = httpx.post(f"http://127.0.0.1:{server}/v1/chat/completions", json=body, timeout=30)
        if number % 2:
            return response.json()["choices"][0]["message"]["content"] == canary
        lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: {")]
        return canary == "".join(json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines)

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(converse, range(16)))


def test_a_quiet_stream_sends_comments(server, speaker, monkeypatch):
    monkeypatch.setattr(sse, "KEEP_ALIVE_SECONDS", 0.05)
    speaker.pause = 0.2
    response = httpx.post(f"http://127.0.0.1:{server}/v1/chat/completions", json=BODY | {"stream": True})
    assert "\n: keep-alive\n" in response.text
    assert "data: [DONE]\n\n" in response.text


def test_a_taken_port_names_a_free_one():
    with listen("127.0.0.1", 0) as first:
        taken = first.getsockname()[1]
        with pytest.raises(ConfigError, match=f"Port {taken} .*taken.*--port 0"):
            listen("127.0.0.1", taken)
        assert url("127.0.0.1", first) == f"http://127.0.0.1:{taken}"
        assert url("0.0.0.0", first) == f"http://127.0.0.1:{taken}"


def test_names_that_are_none_are_refused():
    with listen("0.0.0.0", 0) as opened:
        assert opened.getsockname()[1] > 0
    for host in ("no.such.host.invalid", "..", "x" * 100):
        with pytest.raises(ConfigError, match="no address"):
            listen(host, 0)


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}]}),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/responses", {"input": "Hi"}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 50}),
    ],
)
def test_what_is_said_is_sent_at_once_and_not_with_the_next_word(server, speaker, wait_until, path, fields):
    def said():
        yield Piece("answer", "first ")
        yield Piece("answer", "second ")
        speaker.pause = 600.0
        yield Piece("answer", "never")

    speaker.pieces = said()
    body = {"model": "fake", "stream": True} | fields
    received = ""
    with httpx.stream("POST", f"http://127.0.0.1:{server}{path}", json=body, timeout=5) as response:
        for text in response.iter_text():
            received += text
            if "second " in received:
                break
    assert "never" not in received
    wait_until(lambda: speaker.ended == 1)
