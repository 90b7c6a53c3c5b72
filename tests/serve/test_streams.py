"""A stream that is to outlive its connection goes on exactly where it stopped, for whoever began it alone."""

from __future__ import annotations

import json
import socket
import time

import httpx
import pytest

from denken.serve import streams
from denken.serve.app import create_app
from denken.serve.desk import Caller, OpenDesk
from denken.serve.speaker import Piece

RESUMABLE = {"x-denken-resumable": "1"}
BODY = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
WORDS = [f"word{number} " for number in range(40)]


class Named(OpenDesk):
    """A key is whatever the request says."""

    async def caller(self, request):
        return Caller(request.headers.get("authorization"), "someone")


def events(text: str) -> list[tuple[str, str]]:
    """(id, data) of each event; comments are skipped."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("id", ""), fields["data"]))
    return found


def said(found: list[tuple[str, str]]) -> str:
    records = [json.loads(data) for _, data in found if data != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for record in records for choice in record.get("choices", ()))


@pytest.fixture
def words(speaker):
    speaker.pieces = [Piece("answer", word) for word in WORDS]
    speaker.pause = 0.01
    return "".join(WORDS)


@pytest.fixture
def base(speaker, run_server):
    with run_server(create_app(speaker, desk=Named())) as (port, _):
        yield f"http://127.0.0.1:{port}"


def begin(base: str, count: int, headers=None) -> tuple[str, list[tuple[str, str]]]:
    """Begins a stream and hangs up after some events; its name, and what was read of it."""
    read = ""
    with httpx.stream(
        "POST", f"{base}/v1/chat/completions", json=BODY, headers=RESUMABLE | (headers or {})
    ) as response:
        assert response.status_code == 200, response.read()
        for chunk in response.iter_text():
            read += chunk
            if len(events(read)) >= count:
                break
    return response.headers["x-denken-stream"], events(read[: read.rindex("\n\n") + 2])


def test_a_stream_goes_on_where_it_stopped_not_a_token_lost_or_doubled(base, words):
    name, first = begin(base, 7)
    assert [id for id, _ in first] == [f"{name}-{number}" for number in range(1, len(first) + 1)]
    rest = httpx.get(f"{base}/v1/streams/{name}", headers={"last-event-id": first[-1][0]})
    both = first + events(rest.text)
    assert [id for id, _ in both] == [f"{name}-{number}" for number in range(1, len(both) + 1)]
    assert said(both) == words
    assert both[-1][1] == "[DONE]"
    by_number = httpx.get(f"{base}/v1/streams/{name}", params={"after": len(first)})
    assert events(by_number.text) == events(rest.text)
    assert events(httpx.get(f"{base}/v1/streams/{name}").text) == both


def test_several_listen_at_once_and_get_the_same(base, speaker, words):
    from concurrent.futures import ThreadPoolExecutor

    name, _ = begin(base, 3)
    with ThreadPoolExecutor(5) as pool:
        texts = list(pool.map(lambda _: httpx.get(f"{base}/v1/streams/{name}").text, range(5)))
    assert {said(events(text)) for text in texts} == {words}
    assert speaker.begun == speaker.ended == 1


def test_who_reads_to_the_end_need_not_come_again(base, words):
    name, _ = begin(base, 10_000)
    whole = events(httpx.get(f"{base}/v1/streams/{name}").text)
    assert httpx.get(f"{base}/v1/streams/{name}", headers={"last-event-id": whole[-1][0]}).status_code == 204


def test_without_the_header_a_hang_up_ends_the_generation(base, speaker, words, wait_until):
    with httpx.stream("POST", f"{base}/v1/chat/completions", json=BODY) as response:
        assert "x-denken-stream" not in response.headers
        next(response.iter_text())
    wait_until(lambda: speaker.ended == 1)
    refused = httpx.post(f"{base}/v1/chat/completions", json=BODY, headers={"x-denken-resumable": "perhaps"})
    assert refused.status_code == 400


def test_only_who_began_it_may_read_or_stop_it(base, speaker, words):
    name, _ = begin(base, 3, {"authorization": "mine"})
    for headers in ({}, {"authorization": "other"}):
        for method in ("GET", "DELETE"):
            response = httpx.request(method, f"{base}/v1/streams/{name}", headers=headers)
            assert response.status_code == 404
            assert response.json()["error"]["code"] == "no_stream"
    assert httpx.get(f"{base}/v1/streams/{'0' * 32}", headers={"authorization": "mine"}).status_code == 404
    assert said(events(httpx.get(f"{base}/v1/streams/{name}", headers={"authorization": "mine"}).text)) == words


def test_stopping_ends_the_generation_at_once(base, speaker, wait_until):
    speaker.pieces = [Piece("answer", "word ")] * 10_000
    speaker.pause = 0.02
    name, _ = begin(base, 3)
    with httpx.stream("GET", f"{base}/v1/streams/{name}") as listening:
        heard = listening.iter_text()
        next(heard)
        began = time.monotonic()
        answer = httpx.delete(f"{base}/v1/streams/{name}")
        assert answer.json() == {"id": name, "object": "stream", "deleted": True}
        assert speaker.ended == 1
        assert time.monotonic() - began < 2
        rest = "".join(heard)
    assert "stream_stopped" in rest
    assert httpx.get(f"{base}/v1/streams/{name}").status_code == 404


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({"last-event-id": "nonsense"}, {}),
        ({"last-event-id": f"{'0' * 32}-1"}, {}),
        ({"last-event-id": "{name}--1"}, {}),
        ({"last-event-id": "{name}-" + "9" * 40}, {}),
        ({"last-event-id": "{name}-999"}, {}),
        ({}, {"after": "-1"}),
        ({}, {"after": "x"}),
        ({}, {"after": "99999"}),
    ],
)
def test_places_that_are_none_are_refused(base, words, headers, params):
    name, _ = begin(base, 10_000)
    headers = {key: value.replace("{name}", name) for key, value in headers.items()}
    assert httpx.get(f"{base}/v1/streams/{name}", headers=headers, params=params).status_code == 400


def test_a_stream_that_nobody_reads_ends_after_a_while(base, speaker, monkeypatch, wait_until):
    monkeypatch.setattr(streams, "GRACE_SECONDS", 0.2)
    speaker.pieces = [Piece("answer", "word ")] * 10_000
    speaker.pause = 0.02
    begin(base, 3)
    wait_until(lambda: speaker.ended == 1)


def test_a_stream_that_is_over_is_forgotten_after_a_while(base, words, monkeypatch):
    monkeypatch.setattr(streams, "KEPT_SECONDS", 0.3)
    name, _ = begin(base, 10_000)
    time.sleep(0.5)
    assert httpx.get(f"{base}/v1/streams/{name}").status_code == 404


def test_what_is_kept_is_bounded(base, speaker, words, monkeypatch):
    monkeypatch.setattr(streams, "STREAM_BYTES", 4000)
    name, first = begin(base, 10_000)
    assert said(first) == words  # who listens from the start loses nothing
    lost = httpx.get(f"{base}/v1/streams/{name}")
    assert lost.status_code == 410
    assert lost.json()["error"]["code"] == "events_dropped"
    tail = events(httpx.get(f"{base}/v1/streams/{name}", params={"after": len(first) - 2}).text)
    assert tail == first[-2:]


def test_streams_a_caller_are_bounded_and_the_oldest_that_is_over_goes(base, speaker, words, monkeypatch, wait_until):
    monkeypatch.setattr(streams, "PER_CALLER", 2)
    speaker.pause = 0.0
    names = [begin(base, 10_000)[0] for _ in range(3)]
    assert [httpx.get(f"{base}/v1/streams/{name}").status_code for name in names] == [404, 200, 200]
    speaker.pieces, speaker.pause = [Piece("answer", "x")] * 1000, 0.05
    for _ in range(2):
        begin(base, 1)
    refused = httpx.post(f"{base}/v1/chat/completions", json=BODY, headers=RESUMABLE)
    assert refused.status_code == 429
    assert refused.headers["retry-after"]
    other = begin(base, 1, {"authorization": "other"})
    assert other[1]


def test_a_hang_up_before_the_first_byte_leaves_the_stream_in_the_making(base, speaker, wait_until):
    """The client hangs up before a byte of the response; the stream is made to its end all the same."""
    speaker.pieces, speaker.pause = [Piece("answer", "x")] * 20, 0.02
    port = int(base.rsplit(":", 1)[1])
    body = json.dumps(BODY).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{head}X-Denken-Resumable: 1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    wait_until(lambda: speaker.begun == speaker.ended)


@pytest.mark.parametrize(
    ("path", "body", "last"),
    [
        ("/v1/completions", {"prompt": "Hi", "stream": True}, "[DONE]"),
        ("/v1/responses", {"input": "Hi", "stream": True}, "response.completed"),
        ("/v1/messages", {"messages": BODY["messages"], "max_tokens": 50, "stream": True}, "message_stop"),
    ],
)
def test_every_api_can_go_on(base, words, path, body, last):
    with httpx.stream("POST", base + path, json={"model": "fake", **body}, headers=RESUMABLE) as response:
        assert response.status_code == 200, response.read()
        name = response.headers["x-denken-stream"]
        read = ""
        for chunk in response.iter_text():
            read += chunk
            if read.count("\n\n") > 8:
                break
    first = read[: read.rindex("\n\n") + 2]
    seen = events(first)[-1][0]
    rest = httpx.get(f"{base}/v1/streams/{name}", headers={"last-event-id": seen}).text
    assert first + rest == httpx.get(f"{base}/v1/streams/{name}").text
    assert last in rest.rstrip().rpartition("\n\n")[2]
    for word in WORDS:
        assert word.strip() in first + rest


def test_an_error_of_the_stream_has_the_shape_of_its_api(base, words, speaker):
    speaker.pieces = [Piece("answer", "word ")] * 10_000
    body = {"model": "fake", "messages": BODY["messages"], "max_tokens": 50, "stream": True}
    with httpx.stream("POST", f"{base}/v1/messages", json=body, headers=RESUMABLE) as response:
        read = response.iter_text()
        next(read)
        httpx.delete(f"{base}/v1/streams/{response.headers['x-denken-stream']}")
        rest = "".join(read)
    id_, event, data = rest.strip().rpartition("\n\n")[2].split("\n")
    assert id_.startswith("id: ")
    assert event == "event: error"
    assert json.loads(data.removeprefix("data: "))["type"] == "error"
