"""Whom the server answers: its own names, its own page, bodies of a bearable size."""

from __future__ import annotations

import asyncio
import socket

import pytest
from starlette.testclient import TestClient

from denken.serve import guard
from denken.serve.app import create_app, is_loopback


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:1", "[::1]"])
def test_the_loopback_names_are_answered(client, host):
    assert client.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8000", "", "[::1", "10.0.0.1", "::1"]
)
@pytest.mark.parametrize("path", ["/", "/assets/page.js", "/health", "/v1/models", "/nothing"])
def test_other_names_are_refused_everywhere(client, host, path):
    response = client.get(path, headers={"host": host})
    assert response.status_code == 403
    assert response.json()["error"]["code"] == "host_not_allowed"


def test_a_missing_host_is_refused(server):
    with socket.create_connection(("127.0.0.1", server)) as connection:
        connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 403")


def test_names_can_be_added_and_addresses_count_where_the_server_is_open(speaker):
    named = TestClient(create_app(speaker, allow_hosts=["box.home"]), base_url="http://box.home")
    assert named.get("/health").status_code == 200
    assert named.get("/health", headers={"host": "192.168.1.5"}).status_code == 403
    opened = TestClient(create_app(speaker, host="0.0.0.0"), base_url="http://192.168.1.5:8000")
    assert opened.get("/health").status_code == 200
    assert opened.get("/health", headers={"host": "[fe80::1]:80"}).status_code == 200
    assert opened.get("/health", headers={"host": "evil.example"}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:3000"},
        {"origin": "http://localhost:8000.evil.example"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"},
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
    ],
)
def test_pages_of_others_are_refused(client, speaker, headers):
    assert client.get("/v1/models", headers=headers).status_code == 403
    body = {"messages": [{"role": "user", "content": "x"}]}
    assert client.post("/v1/chat/completions", json=body, headers=headers).status_code == 403
    assert not speaker.asked


def test_its_own_page_and_a_followed_link_are_answered(client):
    for headers in (
        {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"},
    ):
        assert client.get("/", headers=headers).status_code == 200
    posted = client.post("/v1/chat/completions", json={}, headers={"sec-fetch-mode": "navigate"} | {"origin": "null"})
    assert posted.status_code == 403


def test_large_bodies_are_refused_before_they_are_parsed(client, speaker):
    huge = b"x" * (guard.MAX_BODY_BYTES + 1)
    headers = {"content-type": "application/json"}
    for content in (huge, iter([huge[: len(huge) // 2]] * 3)):
        response = client.post("/v1/chat/completions", content=content, headers=headers)
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "body_too_large"
    assert not speaker.asked


def test_large_chunked_bodies_are_refused_on_the_wire(server, speaker):
    """Chunked, so that no length is announced; the refusal comes while the client is still sending."""
    with socket.create_connection(("127.0.0.1", server), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        block = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        for _ in range(5):
            connection.sendall(block)
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    assert not speaker.asked


def test_a_body_that_does_not_come_is_given_up(speaker):
    app = guard.Guard(create_app(speaker), body_seconds=0.1)
    sent = []

    async def receive():
        await asyncio.sleep(5)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": [(b"host", b"localhost")]}
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408


def test_every_answer_forbids_foreign_scripts_and_frames(client):
    for path in ("/", "/assets/page.js", "/v1/models", "/nothing"):
        headers = client.get(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers
    assert "content-security-policy" in client.get("/", headers={"host": "evil.example"}).headers


def test_websockets_are_not_spoken(client):
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/"):
        pass


def test_what_counts_as_this_machine():
    assert all(map(is_loopback, ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"]))
    assert not any(map(is_loopback, ["0.0.0.0", "::", "192.168.0.2", "", "example.org"]))
