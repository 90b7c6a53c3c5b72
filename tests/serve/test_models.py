"""What there is to ask, what may be spent, and what no model here does."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from starlette.testclient import TestClient

from denken.serve.app import create_app
from denken.serve.desk import Balance, OpenDesk


@contextmanager
def serving(speaker, **options):
    with TestClient(create_app(speaker, **options), base_url="http://localhost:8000") as client:
        yield client


@pytest.mark.parametrize("name", ["fake", "maker/model"])
def test_a_model_is_found_by_its_name(speaker, name):
    speaker.name = name
    with serving(speaker) as client:
        for base in ("/v1", ""):
            assert client.get(f"{base}/models/{name}").json() == client.get(f"{base}/models").json()["data"][0]
            assert client.get(f"{base}/models/{name.replace('/', '%2F')}").json()["id"] == name
            missing = client.get(f"{base}/models/gpt-4")
            assert missing.status_code == 404
            assert missing.json()["error"]["code"] == "model_not_found"


class Limited(OpenDesk):
    def __init__(self, spent: int, limit: int):
        self._balance = Balance(spent, limit)

    async def balance(self, caller) -> Balance:
        return self._balance


@pytest.mark.parametrize(
    ("desk", "available", "total"),
    [
        (OpenDesk(), True, "0.00"),
        (Limited(1_000_000_000, 3_459_999_999), True, "2.45"),
        (Limited(5, 5), False, "0.00"),
        (Limited(7, 5), False, "0.00"),
    ],
)
def test_the_balance_has_deepseeks_shape(speaker, desk, available, total):
    with serving(speaker, desk=desk) as client:
        assert client.get("/user/balance").json() == {
            "is_available": available,
            "balance_infos": [
                {"currency": "USD", "total_balance": total, "granted_balance": "0.00", "topped_up_balance": total}
            ],
        }


def test_embeddings_are_refused_with_a_sentence(client):
    for path in ("/v1/embeddings", "/embeddings"):
        refused = client.post(path, json={"model": "fake", "input": "x"})
        assert refused.status_code == 400
        assert "embeddings" in refused.json()["error"]["message"]
