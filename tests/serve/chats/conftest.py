"""An application that keeps conversations, and a hand to talk to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from conversing import Hand, Named
from starlette.testclient import TestClient

from denken.serve.app import create_app
from denken.serve.chats.chats import Chats
from denken.serve.store import Store


@pytest.fixture
def chats(sqlite_store: Store) -> Iterator[Chats]:
    with closing(Chats(sqlite_store)) as chats:
        yield chats


@pytest.fixture
def app(speaker: Any, chats: Chats) -> Any:
    return create_app(speaker, desk=Named(), chats=chats)


@pytest.fixture
def client(app: Any) -> Iterator[TestClient]:
    with TestClient(app, base_url="http://localhost:8000", raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def hand(client: TestClient) -> Hand:
    return Hand(client)


@pytest.fixture
def hand_of(client: TestClient) -> Callable[[str], Hand]:
    """The hand of whoever has a key."""
    return lambda key: Hand(client, key)
