"""Servers and stores that the tests of serving share; the speaker that says what a test wants is in `speaking.py`."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import databases
import pytest
from fastapi.dependencies import models
from speaking import FakeSpeaker, running
from starlette.testclient import TestClient

import denken
from denken.serve.app import create_app
from denken.serve.server import Server
from denken.serve.store import Store, open_store

# FastAPI remembers what kind of function each route of 180 applications has, and so keeps them all.
_REMEMBERED = [each for each in vars(models).values() if hasattr(each, "cache_clear")]


@pytest.fixture(autouse=True)
def applications_end_with_their_tests() -> Iterator[None]:
    """Else the collector of garbage looks through two million objects every few hundred tests."""
    yield
    for remembered in _REMEMBERED:
        remembered.cache_clear()


@pytest.fixture
def speaker() -> FakeSpeaker:
    return FakeSpeaker()


@pytest.fixture
def client(speaker: FakeSpeaker) -> Iterator[TestClient]:
    with TestClient(create_app(speaker), base_url="http://localhost:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def ask(client: TestClient) -> Callable[..., object]:
    """POSTs a question with further fields; returns the response."""

    def post(question: object = "Hi", **fields: object) -> object:
        body = {"model": "fake", "messages": [{"role": "user", "content": question}], **fields}
        return client.post("/v1/chat/completions", json=body)

    return post


@pytest.fixture
def server(speaker: FakeSpeaker) -> Iterator[int]:
    """A real server on a free port of 127.0.0.1; the port."""
    with running(create_app(speaker)) as (port, _):
        yield port


@pytest.fixture(scope="session")
def new_speaker() -> type[FakeSpeaker]:
    """For what several tests share."""
    return FakeSpeaker


@pytest.fixture(scope="session")
def run_server() -> Callable[..., AbstractContextManager[tuple[int, Server]]]:
    """Runs an application of the test's own: see `running`."""
    return running


@pytest.fixture(scope="session")
def bundled() -> Iterator[denken.Assistant]:
    """The model in the box."""
    with denken.load("bundled") as assistant:
        yield assistant


@pytest.fixture(scope="session")
def bundled_server(bundled: denken.Assistant) -> Iterator[int]:
    """A real server with the model in the box; the port."""
    with running(create_app(bundled)) as (port, _):
        yield port


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Waits for something that another thread brings about."""

    def wait(condition: Callable[[], bool], seconds: float = 5.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.01)

    return wait


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL that runs while the tests do; see `databases.new_database`."""
    with databases.postgresql() as server:
        yield server


_numbers = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a store can be made, in each kind of database in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'denken.db'}"
    return databases.new_database(request.getfixturevalue("postgresql"), f"test{next(_numbers)}")


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    with open_store(store_url) as store:
        yield store


@pytest.fixture
def sqlite_store(tmp_path: Path) -> Iterator[Store]:
    """For what does not depend on the database."""
    with open_store(str(tmp_path / "denken.db")) as store:
        yield store
