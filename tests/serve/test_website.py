"""The page's files over HTTP: found by name alone, kept by browsers as long as is right, plain where there is none."""

from __future__ import annotations

import gzip
import re

import pytest
from starlette.testclient import TestClient

from denken.serve import website
from denken.serve.app import create_app

needs_page = pytest.mark.skipif(not website.parts(), reason="the page is not built here; run: python hatch_build.py")


@pytest.fixture
def parts(monkeypatch):
    """A page of two files."""
    kept = {
        "index.html": website.Part(b"<p>index", "text/html; charset=utf-8", True, website.ASK_AGAIN),
        "sw.js": website.Part(b"worker", "text/javascript; charset=utf-8", True, website.ASK_AGAIN),
        "assets/a-1.js": website.Part(b"script " * 100, "text/javascript; charset=utf-8", True, website.FOR_GOOD),
        "assets/b-2.woff2": website.Part(b"font", "font/woff2", False, website.FOR_GOOD),
    }
    monkeypatch.setattr(website, "parts", lambda: kept)
    return kept


@pytest.fixture
def page(parts, speaker):
    with TestClient(create_app(speaker), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("path", ["/", "/c/abc", "/library", "/runs", "/runs/grpo", "/usage", "/shared/x", "/?a=b"])
def test_every_address_of_the_page_is_index_html(page, path):
    response = page.get(path)
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache"
    assert response.text == "<p>index"
    assert page.head(path).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/index.htm", "/index.html", "/assets/", "/assets/index.html", "/assets/sw.js", "/a-1.js", "/c/a/b",
        "/assets/..%2findex.html", "/assets/%2e%2e/sw.js", "/assets//a-1.js", "/assets/a-1.js%00", "/assets/A-1.JS",
        "/library/x", "/sources.sha256", "/page/index.html", "/assets/../../app.py",
    ],
)  # fmt: skip
def test_nothing_else_is_served(page, path):
    response = page.get(path)
    assert response.status_code == 404
    assert "error" in response.json()


def test_files_with_a_hash_are_kept_for_good_and_others_asked_for_again(page):
    assert page.get("/assets/a-1.js").headers["cache-control"] == "public, max-age=31536000, immutable"
    worker = page.get("/sw.js")
    assert worker.headers["cache-control"] == "no-cache"
    again = page.get("/sw.js", headers={"if-none-match": worker.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert page.get("/sw.js", headers={"if-none-match": 'W/"other"'}).status_code == 200


def test_text_is_compressed_for_those_who_take_it(page, parts):
    plain = page.get("/assets/a-1.js", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    with page.stream("GET", "/assets/a-1.js", headers={"accept-encoding": "gzip"}) as response:
        assert response.headers["content-encoding"] == "gzip"
        assert gzip.decompress(b"".join(response.iter_raw())) == parts["assets/a-1.js"].content == plain.content
    assert response.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
    assert "content-encoding" not in page.get("/assets/b-2.woff2").headers


def test_without_a_page_a_plain_one_says_what_to_do(speaker, monkeypatch):
    monkeypatch.setattr(website, "parts", dict)
    with TestClient(create_app(speaker), base_url="http://localhost") as client:
        response = client.get("/")
        assert response.status_code == 503
        assert "pip install -e ." in response.text
        assert client.get("/v1/models").status_code == 200
        assert client.get("/sw.js").status_code == 404


@needs_page
def test_the_page_as_built_refers_to_what_is_there_and_carries_nothing_inline(client):
    index = client.get("/").text
    named = re.findall(r'(?:src|href)="([^"]*)"', index)
    assert any(name.endswith(".js") for name in named)
    for name in named:
        assert name.startswith("/"), name
        assert client.get(name).status_code == 200, name
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", index)
    assert all(not path.endswith(".html") or path == "index.html" for path in website.parts())
