"""A server that is told to end finishes what it has begun, begins nothing new, and says so."""

from __future__ import annotations

import json
import signal
import threading
import time

import httpx
import pytest

from denken.serve.app import create_app
from denken.serve.speaker import Piece

BODY = {"messages": [{"role": "user", "content": "Hi"}]}


def ask(address: str, into: list, **fields) -> threading.Thread:
    def post() -> None:
        into.append(httpx.post(f"{address}/v1/chat/completions", json=BODY | fields, timeout=30))

    thread = threading.Thread(target=post)
    thread.start()
    return thread


@pytest.mark.parametrize("stream", [True, False])
def test_what_runs_is_finished_and_nothing_new_is_begun(speaker, run_server, wait_until, stream):
    speaker.pieces, speaker.pause = [Piece("answer", "word ")] * 50, 0.02
    with run_server(create_app(speaker), grace=20) as (port, server):
        address, answers = f"http://127.0.0.1:{port}", []
        asking = ask(address, answers, stream=stream)
        wait_until(lambda: speaker.begun == 1)
        server.handle_exit(signal.SIGTERM, None)
        refused = httpx.post(f"{address}/v1/chat/completions", json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "shutting_down")
        assert refused.headers["retry-after"]
        health = httpx.get(f"{address}/health")
        assert (health.status_code, health.json()["status"]) == (503, "stopping")
        asking.join(20)
        assert answers[0].status_code == 200
        assert answers[0].text.count("word ") >= 50 or "word " * 49 in answers[0].text
        wait_until(lambda: server.should_exit)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("resumable", ["0", "1"])
def test_after_the_grace_time_replies_end_with_an_error(speaker, run_server, wait_until, stream, resumable):
    speaker.pieces, speaker.pause = [Piece("answer", "word ")] * 10_000, 0.02
    with run_server(create_app(speaker), grace=0.3) as (port, server):
        answers = []
        client = httpx.Client(headers={"x-denken-resumable": resumable}, timeout=30)
        asking = threading.Thread(
            target=lambda: answers.append(
                client.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=BODY | {"stream": stream})
            )
        )
        asking.start()
        wait_until(lambda: speaker.begun == 1)
        server.handle_exit(signal.SIGTERM, None)
        asking.join(20)
        wait_until(lambda: speaker.ended == 1)
        if stream:
            assert answers[0].status_code == 200
            *_, last, done = answers[0].text.strip().split("\n\n")
            assert done.endswith("data: [DONE]")
            error = json.loads(last[last.index("data: ") + 6 :])["error"]
        else:
            assert answers[0].status_code == 503
            error = answers[0].json()["error"]
        assert error["code"] == "shutting_down"


def test_a_second_signal_ends_at_once(speaker, run_server, wait_until):
    speaker.pieces, speaker.pause = [Piece("answer", "word ")] * 10_000, 0.02
    with (
        run_server(create_app(speaker), grace=600) as (port, server),
        httpx.stream("POST", f"http://127.0.0.1:{port}/v1/chat/completions", json=BODY | {"stream": True}),
    ):
        wait_until(lambda: speaker.begun == 1)
        server.handle_exit(signal.SIGTERM, None)
        time.sleep(0.3)
        assert speaker.ended == 0
        server.handle_exit(signal.SIGTERM, None)
        wait_until(lambda: speaker.ended == 1)


def test_an_idle_server_ends_at_the_first_signal(speaker, run_server, wait_until):
    with run_server(create_app(speaker), grace=600) as (port, server):
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
        server.handle_exit(signal.SIGINT, None)
        wait_until(lambda: server.should_exit)
