"""What was used, added up and shown: as JSON, as a table, and as figures for Prometheus."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, update
from starlette.testclient import TestClient

from denken import cli
from denken.serve import keys, tables, usage
from denken.serve.app import create_app
from denken.serve.keydesk import KeyDesk
from denken.serve.ledger import DAY_MS
from denken.serve.money import nano
from denken.serve.speaker import Piece
from denken.serve.store import open_store

PER_HOUR = nano("0.04")
BODY = {"messages": [{"role": "user", "content": "a canary of a prompt"}]}


def fill(store) -> None:
    """Two keys and no key, today and yesterday, two models."""
    with store.write() as connection:
        for name in ("anna", "bert"):
            keys.create(connection, name)
        for number, (key, days_ago, model) in enumerate([(1, 0, "m"), (1, 1, "m"), (2, 0, "n"), (None, 40, "m")]):
            line = {
                "id": f"r{number}",
                "server": 1,
                "key": key,
                "began": keys.now() - days_ago * DAY_MS,
                "route": "/v1/chat/completions",
                "model": model,
                "replies": 1,
                "kept": 0,
                "kept_tokens": 0,
                "outcome": "done",
                "prompt_tokens": 100,
                "cached_tokens": 40,
                "thought_tokens": 20,
                "answer_tokens": 5,
                "milliseconds": 1500,
                "cost": 2**40 + 1,
                "charged": 7,
                "o1": 10**9,
                "r1": 10**8,
            }
            connection.execute(insert(tables.requests).values(line))


def test_lines_are_added_up_exactly(store):
    fill(store)
    with store.read() as connection:
        by = {kind: usage.report(connection, days=30, by=kind) for kind in ("day", "key", "model")}
        longer = usage.report(connection, days=41, by="key")
        annas = usage.report(connection, days=30, by="day", key=1)
        today = usage.report(connection, days=1, by="day")
    shown = [datetime.fromtimestamp((keys.now() - ago * DAY_MS) / 1000, UTC).strftime("%Y-%m-%d") for ago in (1, 0)]
    assert [(row["day"], row["requests"]) for row in by["day"]["data"]] == [(shown[0], 1), (shown[1], 2)]
    assert [(row["key"].split()[0], row["requests"]) for row in by["key"]["data"]] == [("anna", 2), ("bert", 1)]
    assert [(row["model"], row["requests"]) for row in by["model"]["data"]] == [("m", 2), ("n", 1)]
    assert {row["key"] for row in longer["data"]} >= {"(no key)"}
    assert annas["totals"]["requests"] == 2
    assert today["totals"]["requests"] == 2
    totals = by["day"]["totals"]
    assert totals == by["key"]["totals"] == by["model"]["totals"]
    assert (totals["prompt_tokens"], totals["cached_tokens"], totals["thought_tokens"]) == (300, 120, 60)
    assert totals["seconds"] == 4.5
    assert totals["cost_usd"] == "3298.534883331"
    assert (totals["o1_usd"], totals["r1_usd"]) == ("3.00", "0.30")
    json.dumps(by)


def test_an_empty_ledger_adds_up_to_nothing(store):
    with store.read() as connection:
        reported = usage.report(connection, days=30, by="day")
    assert reported["data"] == []
    assert reported["totals"]["requests"] == 0
    assert reported["totals"]["cost_usd"] == "0.00"


@pytest.fixture
def served(speaker, sqlite_store):
    """Two clients of a server with keys on, and the desk: anna's and bert's."""
    with closing(KeyDesk(sqlite_store, keys_on=True, per_hour=PER_HOUR)) as desk:
        app = create_app(speaker, desk=desk)
        clients = []
        for name in ("anna", "bert"):
            with sqlite_store.write() as connection:
                headers = {"x-api-key": keys.create(connection, name)}
            clients.append(
                TestClient(app, base_url="http://localhost:8000", headers=headers, raise_server_exceptions=False)
            )
        yield (*clients, desk)


def test_a_key_sees_its_own_lines_alone(served):
    anna, bert, desk = served
    for _ in range(2):
        assert anna.post("/v1/chat/completions", json=BODY).status_code == 200
    assert anna.get("/v1/usage").json()["totals"]["requests"] == 2
    assert bert.get("/v1/usage?days=7&by=key").json()["totals"]["requests"] == 0
    desk.keys_on = False
    assert bert.get("/v1/usage").json()["totals"]["requests"] == 2


@pytest.mark.parametrize("query", ["days=0", "days=x", "days=99999", "by=secret", "days=-1", "days=1e9"])
def test_other_questions_get_a_sentence(served, query):
    response = served[0].get(f"/v1/usage?{query}")
    assert response.status_code == 400
    assert response.json()["error"]["param"] in ("days", "by")


def test_a_server_without_a_ledger_says_so(client):
    response = client.get("/v1/usage")
    assert response.status_code == 404
    assert "keeps no ledger" in response.json()["error"]["message"]


def test_the_balance_is_what_is_left(served, sqlite_store):
    anna = served[0]
    with sqlite_store.write() as connection:
        connection.execute(update(tables.keys).values(spending=nano("2.50"), spent=nano("1.25")))
    told = anna.get("/user/balance").json()
    assert told["is_available"]
    assert told["balance_infos"][0]["total_balance"] == "1.25"
    with sqlite_store.write() as connection:
        connection.execute(update(tables.keys).values(spent=nano("2.50")))
    assert not anna.get("/user/balance").json()["is_available"]


def test_usage_is_shown_on_the_command_line(monkeypatch, capsys, tmp_path):
    place = str(tmp_path / "denken.db")
    with open_store(place) as store:
        fill(store)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["denken", "usage", "--store", place, *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        return capsys.readouterr().out

    table = run("--by", "model")
    assert re.search(r"\bm .* 2 .* 200 .* 80 ", table)
    assert "3298.534883331" in table
    assert json.loads(run("--json", "--days", "1"))["totals"]["requests"] == 2


def figures(client) -> dict[str, float]:
    """Every sample by its name and its labels."""
    response = client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_prometheus_gets_its_figures(served, speaker):
    anna, _, _ = served
    anna.post("/v1/chat/completions", json=BODY)
    anna.post("/v1/chat/completions", json=BODY | {"stream": True})
    anna.post("/v1/chat/completions", json={})
    anna.get("/a/canary/of/a/path")
    anna.get("/health", headers={"host": "evil.example"})
    anna.request("CANARY", "/health")
    speaker.pieces = [Piece("answer", "BREAK")]
    anna.post("/v1/chat/completions", json=BODY)
    assert figures(anna)["denken_guessed_tokens_total"] == 0
    speaker.speculation = SimpleNamespace(guessed=7, accepted=5)
    told = figures(anna)
    assert (told["denken_guessed_tokens_total"], told["denken_accepted_tokens_total"]) == (7, 5)
    assert told["denken_requests_total POST /v1/chat/completions 200"] == 2
    assert told["denken_requests_total POST /v1/chat/completions 400"] == 1
    assert told["denken_requests_total POST /v1/chat/completions 500"] == 1
    assert told["denken_requests_total GET none 404"] == 1
    assert told["denken_requests_total GET none 403"] == 1
    assert told["denken_tokens_total cached"] == 8
    assert told["denken_tokens_total thought"] == 6
    assert told["denken_tokens_total answer"] == 4
    # Of the reply that broke off nothing but its prompt is known.
    assert told["denken_tokens_total prompt"] == 12 + 10
    assert told["denken_cache_hit_share"] == 8 / 30
    assert told["denken_first_token_seconds_count"] == 2
    assert told["denken_request_seconds_count /v1/chat/completions"] == 4
    assert told["denken_replies waiting"] == told["denken_replies running"] == 0
    assert told["denken_store_failures_total"] == 0


def test_replies_under_way_are_told_apart(speaker, run_server, wait_until):
    import httpx

    speaker.pieces = [Piece("answer", "one"), Piece("answer", "two")]
    speaker.pause = 0.5
    with run_server(create_app(speaker)) as (port, _), httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        with client.stream("POST", "/v1/chat/completions", json=BODY | {"stream": True, "n": 2}):
            seen = []
            with httpx.Client(base_url=f"http://127.0.0.1:{port}") as other:

                def look() -> dict[str, float]:
                    told = figures(other)
                    seen.append((told["denken_replies waiting"], told["denken_replies running"]))
                    return told

                wait_until(lambda: look()["denken_replies running"] == 2)
                assert (2, 0) in seen
        wait_until(lambda: figures(client)["denken_replies running"] == 0)


def test_no_text_and_no_secret_is_among_the_figures(served):
    anna, _, _ = served
    anna.post("/v1/chat/completions", json=BODY)
    anna.post("/v1/chat/completions", json=BODY | {"model": "a canary of a model"})
    anna.get("/a/canary/of/a/path?canary=1")
    anna.get("/v1/models/canary")
    text = anna.get("/metrics").text
    for secret in ("canary", "anna", "sk-denken", anna.headers["x-api-key"][10:22]):
        assert secret not in text


def test_failures_of_the_store_are_counted(served, sqlite_store):
    anna, _, desk = served
    with closing(sqlite3.connect(sqlite_store.file)) as connection:
        connection.execute("ALTER TABLE requests RENAME TO elsewhere")
    assert anna.post("/v1/chat/completions", json=BODY).status_code == 503
    assert figures(anna)["denken_store_failures_total"] == desk.failures == 1


def test_figures_need_a_key_where_the_rest_does(served):
    anna, _, desk = served
    del anna.headers["x-api-key"]
    assert anna.get("/metrics").status_code == 401
    desk.keys_on = False
    assert anna.get("/metrics").status_code == 200


def test_every_application_has_figures_of_its_own(speaker):
    clients = [TestClient(create_app(speaker), base_url="http://localhost") for _ in range(2)]
    clients[0].post("/v1/chat/completions", json=BODY)
    assert "denken_requests_total POST /v1/chat/completions 200" in figures(clients[0])
    assert "denken_requests_total POST /v1/chat/completions 200" not in figures(clients[1])
