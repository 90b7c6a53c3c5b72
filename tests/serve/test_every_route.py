"""What must hold of every route there is, also of those to come: they are read from the server's own description."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from denken.search.library import Library
from denken.search.tool import Searcher
from denken.serve import website
from denken.serve.app import create_app
from denken.serve.chats.chats import Chats
from denken.serve.desk import Caller, OpenDesk
from denken.serve.failure import Failure, is_anthropic
from denken.serve.store import open_store

ROOT = Path(__file__).parents[2]
PAGE = [*website.ADDRESSES, *(f"/{name}" for name in website.top_level()), "/assets/{name}"]
UNDESCRIBED = [(path, method) for path in PAGE for method in ("get", "head")] + [("/openapi.json", "get")]
WITHOUT_KEY = {"/health", "/app/shared/{id}", *PAGE}
WITHOUT_BODY = {"/v1/embeddings", "/embeddings", "/app/conversations"} | {
    f"/app/conversations/{{id}}/{what}" for what in ("share", "restore")
}
QUESTION = {"role": "user", "content": "Hi"}
# A body that is fit for any route, each of which takes what it knows.
BODY = {"model": "fake", "messages": [QUESTION], "prompt": "Hi", "input": "Hi", "content": "Hi", "max_tokens": 10}


class Locked(OpenDesk):
    async def caller(self, request):
        if request.headers.get("authorization") != "Bearer right":
            raise Failure(401, "Send a key.", code="invalid_api_key")
        return Caller("1", "anna")


@pytest.fixture(scope="module")
def chats(tmp_path_factory):
    with open_store(str(tmp_path_factory.mktemp("routes") / "denken.db")) as store, closing(Chats(store)) as chats:
        yield chats


@pytest.fixture(scope="module")
def app(new_speaker, chats, tmp_path_factory):
    searcher = Searcher(library=Library(tmp_path_factory.mktemp("library") / "library.db"))
    return create_app(new_speaker(), desk=Locked(), chats=chats, searcher=searcher)


@pytest.fixture(scope="module")
def client(app):
    return TestClient(app, base_url="http://localhost", follow_redirects=False)


@pytest.fixture(scope="module")
def routes(app):
    described = [(path, method) for path, operations in app.openapi()["paths"].items() for method in operations]
    assert len(described) > 15
    return described + UNDESCRIBED


def send(client, path, method, headers):
    place = path.replace("{stream}", "0" * 32).replace("{name}", "fake").replace("{id}", "0" * 20)
    body = {"json": BODY} if method in ("post", "patch") else {}
    return client.request(method.upper(), place, headers=headers, **body)


@pytest.mark.parametrize(
    ("headers", "statuses"),
    [
        ({"host": "evil.example"}, {403}),
        ({"host": "localhost.evil.example"}, {403}),
        ({"origin": "http://evil.example"}, {403}),
        ({"origin": "null"}, {403}),
        ({"sec-fetch-site": "cross-site"}, {403}),
        ({}, {401}),
        ({"authorization": "Bearer wrong"}, {401}),
        ({"authorization": "right"}, {401}),
        ({"authorization": ""}, {401}),
        ({"x-forwarded-for": "127.0.0.1", "x-forwarded-host": "localhost", "x-real-ip": "127.0.0.1"}, {401}),
    ],
)
@pytest.mark.parametrize("with_key", [True, False])
def test_host_origin_and_key_are_asked_for_everywhere(client, routes, headers, statuses, with_key):
    if with_key and statuses == {401}:
        pytest.skip("no key is what is tested")
    key = {"authorization": "Bearer right"} if with_key else {}
    for path, method in routes:
        if statuses == {401} and path in WITHOUT_KEY:
            continue
        response = send(client, path, method, key | headers)
        assert response.status_code in statuses, (path, method, response.status_code)
        assert response.headers["x-request-id"]
        if method != "head" and statuses == {401}:
            kind = "error" if is_anthropic(path) else None
            assert response.json().get("type") == kind, path


def test_with_all_three_every_route_answers(client, routes):
    for path, method in routes:
        response = send(client, path, method, {"authorization": "Bearer right"})
        expected = (404,) if "{stream}" in path or "{id}" in path else (200, 400, 404)
        if path in website.ADDRESSES and not website.parts():
            expected = (503,)
        assert response.status_code in expected, (path, method, response.text)


def test_other_methods_and_slashes_are_errors_in_shape(client, routes):
    for path, _ in routes:
        for method in {"PUT", "PATCH", "OPTIONS", "BREW"} - {known.upper() for place, known in routes if place == path}:
            response = send(client, path, method, {"authorization": "Bearer right"})
            assert response.status_code in (404, 405), (path, method)
            assert "error" in response.json()


def test_the_description_has_bodies_and_errors_as_they_are(app):
    document = app.openapi()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"]
            name = "AnthropicError" if is_anthropic(path) else "Error"
            (shown,) = operation["responses"]["4XX"]["content"].values()
            assert shown["schema"]["$ref"].endswith(f"/{name}")
            # Embeddings are refused whatever is sent; the others are asked for by their address alone.
            assert method != "post" or "requestBody" in operation or path in WITHOUT_BODY, path
    chat = document["paths"]["/v1/chat/completions"]["post"]
    assert set(chat["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert "messages" in document["components"]["schemas"]["ChatRequest"]["required"]


def test_generated_requests_right_and_wrong_get_what_is_described(speaker, chats, run_server, tmp_path):
    """A short form of `benchmarks/requests.py`: the edges of every field, a few random bodies, one path each."""
    options = ["--max-examples", "3", "--request-timeout", "20", "--seed", "1", "--no-color"]
    options += ["--include-path-regex", "^/(v1|user|health|metrics|app)"]
    with run_server(create_app(speaker, chats=chats)) as (port, _):
        done = subprocess.run(
            [sys.executable, str(ROOT / "benchmarks" / "requests.py"), f"http://127.0.0.1:{port}", *options],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
            timeout=300,
        )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
