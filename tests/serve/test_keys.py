"""Keys: what is stored of them, who is let in, what their limits do, also when everything comes at once."""

from __future__ import annotations

import asyncio
import hmac
import multiprocessing
import re
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from types import SimpleNamespace

import httpx
import pytest
from sqlalchemy import func, select, update
from starlette.testclient import TestClient

from denken import cli
from denken.errors import ConfigError, UnknownNameError
from denken.serve import keys, ledger, tables, website
from denken.serve.alive import Alive
from denken.serve.app import create_app
from denken.serve.desk import Wanted
from denken.serve.failure import Failure
from denken.serve.keydesk import KeyDesk
from denken.serve.ledger import Spent
from denken.serve.money import nano, worst
from denken.serve.speaker import Piece, Usage
from denken.serve.store import Store, open_store

PER_HOUR = nano("0.04")
BODY = {"messages": [{"role": "user", "content": "Hi"}]}
# What one request of the fake speaker is reserved at: 10 tokens of prompt, 100 of reply.
KEPT = worst(110, PER_HOUR)


def make(store: Store, name: str = "anna", expires: int | None = None, **limits: int) -> str:
    with store.write() as connection:
        return keys.create(connection, name, keys.Limits(**limits), expires)


def row_of(store: Store, name: str = "anna"):
    with store.read() as connection:
        return next(row for row in keys.listing(connection) if row["name"] == name)


@pytest.fixture
def desk(sqlite_store):
    with closing(KeyDesk(sqlite_store, keys_on=True, per_hour=PER_HOUR)) as desk:
        yield desk


@pytest.fixture
def locked(speaker, desk):
    """A client of a server that asks for keys."""
    with TestClient(
        create_app(speaker, desk=desk), base_url="http://localhost:8000", raise_server_exceptions=False
    ) as client:
        yield client


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def test_a_key_is_found_until_it_is_revoked_or_expires(store):
    secret, late = make(store), make(store, "late", expires=keys.now() - 1)
    assert re.fullmatch(r"sk-denken-[0-9a-f]{12}-[\w-]{43}", secret)
    with store.read() as connection:
        assert keys.find(connection, secret)["name"] == "anna"
        for wrong in ("", late, secret[:-1], secret + "x", secret.upper(), "sk-denken-", "x" * 10_000, "ü"):
            assert keys.find(connection, wrong) is None
        assert keys.any_live(connection)
    with store.write() as connection:
        keys.revoke(connection, "anna")
    with store.read() as connection:
        assert keys.find(connection, secret) is None
        assert not keys.any_live(connection)


def test_names_are_taken_while_they_are_in_use(store):
    make(store)
    with pytest.raises(ConfigError, match="There is a key 'anna'"):
        make(store)
    with store.write() as connection:
        keys.revoke(connection, "anna")
    make(store)
    for name in ("", " x", "a\nb", "x" * 65):
        with pytest.raises(ConfigError, match="is no name for a key"):
            make(store, name)
    with pytest.raises(UnknownNameError, match="there are 'anna'"), store.write() as connection:
        keys.revoke(connection, "bert")


def test_only_digests_are_in_the_files(sqlite_store):
    secret = make(sqlite_store)
    with sqlite_store.read() as connection:
        assert keys.find(connection, secret)
    everything = b"".join(file.read_bytes() for file in sqlite_store.file.parent.iterdir() if file.is_file())
    assert secret[10:22].encode() in everything
    assert secret[22:].encode() not in everything
    assert keys.digest(secret).encode() in everything


def test_every_case_is_compared_in_constant_time(sqlite_store, monkeypatch):
    secret = make(sqlite_store)
    compared = []

    def compare(a: str, b: str) -> bool:
        compared.append((a, b))
        return hmac.compare_digest(a, b)

    monkeypatch.setattr(keys, "hmac", SimpleNamespace(compare_digest=compare))
    with sqlite_store.read() as connection:
        for given in (secret, secret[:-1] + "?", "", "sk-denken-000000000000-x"):
            keys.find(connection, given)
    assert len(compared) == 4
    assert all(len(a) == len(b) == 64 for a, b in compared)


def test_whoever_has_no_key_gets_one_and_the_same_answer(locked, sqlite_store, speaker):
    good, revoked = make(sqlite_store), make(sqlite_store, "gone")
    expired = make(sqlite_store, "late", expires=keys.now() - 1)
    with sqlite_store.write() as connection:
        keys.revoke(connection, "gone")
    answers = []
    for given in (None, "", "nonsense", good[:-1], revoked, expired, "x" * 10_000):
        headers = {} if given is None else bearer(given)
        response = locked.post("/v1/chat/completions", json=BODY, headers=headers)
        assert response.status_code == 401
        answers.append(response.json())
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["error"]["code"] == "invalid_api_key"
    # Nor is anything that was sent looked at before.
    for content in (b"{", b"[" * 100_000, b""):
        assert locked.post("/v1/chat/completions", content=content, headers=bearer(revoked)).status_code == 401
    assert not speaker.asked
    for headers in (bearer(good), {"x-api-key": good}, {"authorization": f"bearer  {good} "}):
        assert locked.post("/v1/chat/completions", json=BODY, headers=headers).status_code == 200
    assert locked.post("/v1/chat/completions", json=BODY, headers={"x-api-key": revoked}).status_code == 401
    assert locked.get(f"/v1/models?api_key={good}").status_code == 401


def every_route(app):
    """(method, path) of every route, those of included routers too."""
    for route in app.routes:
        router = getattr(route, "original_router", None)
        for one in [route] if router is None else router.routes:
            for method in sorted(one.methods):
                yield method, re.sub(r"{[^}]*}", "fake", one.path)


# The page's addresses, as `every_route` fills them in, and its files: they hold no secret.
PAGE = {*website.ADDRESSES, *(f"/{name}" for name in website.top_level()), "/assets/{name}"}
OPEN = {"/health", *(re.sub(r"{[^}]*}", "fake", path) for path in PAGE)}


def test_no_route_answers_without_host_origin_and_key(locked, sqlite_store):
    good, revoked = make(sqlite_store), make(sqlite_store, "gone")
    with sqlite_store.write() as connection:
        keys.revoke(connection, "gone")
    routes = list(every_route(locked.app))
    assert {"/v1/chat/completions", "/v1/models", "/metrics", "/v1/usage", "/openapi.json"} <= {p for _, p in routes}
    own, answered = "http://localhost:8000", set()
    for method, path in routes:
        for key in (None, "sk-denken-wrong", revoked, good):
            for host in ("localhost:8000", "evil.example"):
                for origin in (None, own, "http://evil.example"):
                    headers = {"host": host} | (bearer(key) if key else {}) | ({"origin": origin} if origin else {})
                    content = {"json": {**BODY, "model": "fake"}} if method == "POST" else {}
                    status = locked.request(method, path, headers=headers, **content).status_code
                    case = (method, path, key, host, origin, status)
                    if host == "evil.example" or origin == "http://evil.example":
                        assert status == 403, case
                    elif path not in OPEN and key != good:
                        assert status == 401, case
                    else:
                        assert status != 401, case
                        answered |= {path} if status == 200 else set()
    assert answered >= {"/v1/chat/completions", "/v1/models", "/metrics", "/v1/usage", "/user/balance", "/health"}


def test_the_limits_of_a_key_are_told_and_kept(locked, sqlite_store):
    secret = make(sqlite_store, rpm=2, concurrency=1, tokens_per_day=1000)
    first = locked.post("/v1/chat/completions", json=BODY, headers=bearer(secret))
    assert first.headers["x-ratelimit-limit-requests"] == "2"
    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert first.headers["x-ratelimit-remaining-tokens"] == "890"
    streamed = locked.post("/v1/chat/completions", json=BODY | {"stream": True}, headers=bearer(secret))
    assert streamed.headers["x-ratelimit-remaining-requests"] == "0"
    third = locked.post("/v1/chat/completions", json=BODY, headers=bearer(secret))
    assert third.status_code == 429
    assert 50 <= int(third.headers["retry-after"]) <= 60
    assert third.headers["x-ratelimit-remaining-requests"] == "0"
    assert third.json()["error"]["code"] == "rate_limit_exceeded"
    assert "2 requests a minute" in third.json()["error"]["message"]
    anthropic = Failure(429, "x").record("/anthropic/v1/messages")
    assert anthropic["error"]["type"] == "rate_limit_error"
    # Reading is not limited, and what is over does not count as under way.
    assert locked.get("/v1/models", headers=bearer(secret)).status_code == 200
    assert row_of(sqlite_store)["running"] == row_of(sqlite_store)["reserved"] == 0


def test_a_spent_key_gets_402_and_a_smaller_request_may_still_pass(locked, sqlite_store):
    secret = make(sqlite_store, spending=KEPT - 1)
    refused = locked.post("/v1/chat/completions", json=BODY, headers=bearer(secret))
    assert refused.status_code == 402
    assert refused.json()["error"]["code"] == "insufficient_balance"
    assert "lower max_tokens" in refused.json()["error"]["message"]
    assert locked.get("/user/balance", headers=bearer(secret)).status_code == 200
    with sqlite_store.write() as connection:
        connection.execute(update(tables.keys).values(spending=KEPT))
    assert locked.post("/v1/chat/completions", json=BODY, headers=bearer(secret)).status_code == 200


def test_tokens_of_a_day_are_counted_as_they_were_used(locked, sqlite_store):
    secret = make(sqlite_store, tokens_per_day=140)
    used = 15  # 10 of prompt, 5 of reply, of 110 that are reserved
    for count in range(1, 4):
        assert locked.post("/v1/chat/completions", json=BODY, headers=bearer(secret)).status_code == 200
        assert row_of(sqlite_store)["day_tokens"] == count * used
    refused = locked.post("/v1/chat/completions", json=BODY, headers=bearer(secret))
    assert refused.status_code == 429
    assert refused.headers["x-ratelimit-remaining-tokens"] == str(140 - 3 * used)
    with sqlite_store.write() as connection:
        connection.execute(update(tables.keys).values(day=tables.keys.c.day - 1))
    assert locked.post("/v1/chat/completions", json=BODY, headers=bearer(secret)).status_code == 200


def test_replies_at_once_are_limited(speaker, desk, sqlite_store):
    secret = make(sqlite_store, concurrency=2)
    speaker.pause = 0.1

    async def crowd() -> list[int]:
        transport = httpx.ASGITransport(create_app(speaker, desk=desk))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=bearer(secret)
        ) as client:
            many = [client.post("/v1/chat/completions", json=BODY) for _ in range(6)]
            statuses = sorted(response.status_code for response in await asyncio.gather(*many))
            too_many = await client.post("/v1/chat/completions", json=BODY | {"n": 3})
            return [*statuses, too_many.status_code]

    assert asyncio.run(crowd()) == [200, 200, 429, 429, 429, 429, 429]


def test_200_at_once_on_a_budget_for_50(speaker, desk, sqlite_store):
    """All of them are under way before the first is settled, so that exactly 50 fit."""
    secret = make(sqlite_store, spending=50 * KEPT)
    speaker.pieces = [Piece("answer", "word")]

    async def crowd() -> list[int]:
        speaker.gate = asyncio.Event()
        transport = httpx.ASGITransport(create_app(speaker, desk=desk, max_replies=200))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=bearer(secret), timeout=120
        ) as client:
            many = [asyncio.create_task(client.post("/v1/chat/completions", json=BODY)) for _ in range(200)]
            while sum(task.done() for task in many) < 150 or speaker.begun < 50:
                await asyncio.sleep(0.02)
            assert row_of(sqlite_store)["reserved"] == 50 * KEPT
            speaker.gate.set()
            return [response.status_code for response in await asyncio.gather(*many)]

    statuses = asyncio.run(crowd())
    assert statuses.count(200) == 50
    assert statuses.count(402) == 150
    row = row_of(sqlite_store)
    assert 0 < row["spent"] <= row["spending"]
    assert row["reserved"] == row["running"] == 0


def spend(url: str, number: int, count: int) -> int:
    """Requests one after another, each settled at all that was kept; how many got through."""
    done = 0
    with open_store(url) as store, closing(Alive(store)) as alive:
        for index in range(count):
            wanted = Wanted(f"{number}-{index}", "/v1/chat/completions", "m", 10, 100)
            try:
                with store.write() as connection:
                    kept = ledger.reserve(connection, alive.number, 1, wanted, PER_HOUR)
            except Failure as failure:
                if failure.status != 402:
                    raise
                continue
            with store.write() as connection:
                assert ledger.settle(connection, kept, Spent(Usage(10, 0, 50, 50), 1.0, 2 * kept.amount, "done"))
            done += 1
    return done


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_servers_on_one_store_never_overspend_together(store_url, kind):
    with open_store(store_url) as store:
        make(store, spending=50 * KEPT)
        if kind == "threads":
            with ThreadPoolExecutor(8) as pool:
                done = sum(pool.map(lambda number: spend(store_url, number, 10), range(8)))
        else:
            with multiprocessing.get_context("spawn").Pool(2) as pool:
                done = sum(pool.starmap(spend, [(store_url, number, 30) for number in range(2)]))
        assert done == 50
        row = row_of(store)
        assert (row["spent"], row["reserved"], row["running"]) == (50 * KEPT, 0, 0)
        with store.read() as connection:
            assert connection.execute(select(func.sum(tables.requests.c.charged))).scalar() == row["spent"]


def test_requests_of_a_minute_are_counted_together(store_url):
    """From several threads, each with a store of its own: exactly as many as the key may send."""
    with open_store(store_url) as store:
        make(store, rpm=10)

        def send(number: int) -> int:
            try:
                with open_store(store_url) as own, own.write() as connection:
                    ledger.reserve(connection, 1, 1, Wanted(str(number), "/", "m", 1, 1), PER_HOUR)
            except Failure as failure:
                return failure.status
            return 200

        with ThreadPoolExecutor(6) as pool:
            statuses = list(pool.map(send, range(30)))
        assert (statuses.count(200), statuses.count(429)) == (10, 20)
        with store.write() as connection:
            connection.execute(update(tables.requests).values(began=tables.requests.c.began - ledger.MINUTE_MS))
        assert send(99) == 200


def test_a_store_that_fails_lets_nobody_in(locked, sqlite_store, desk):
    secret = make(sqlite_store)
    with closing(sqlite3.connect(sqlite_store.file)) as connection:
        connection.execute("ALTER TABLE keys RENAME TO elsewhere")
    response = locked.post("/v1/chat/completions", json=BODY, headers=bearer(secret))
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "store_failed"
    assert desk.failures == 1


@pytest.mark.parametrize(
    ("arguments", "on"),
    [
        (("--host", "0.0.0.0"), True),
        (("--host", "0.0.0.0", "--without-keys"), False),
        (("--keys",), True),
        ((), False),
    ],
)
def test_beyond_this_machine_a_key_is_asked_for(monkeypatch, capsys, tmp_path, arguments, on):
    """The first key is made and shown once, where there is none yet."""
    served = []
    monkeypatch.setattr("denken.assistant.load", lambda *_, **__: nullcontext())
    monkeypatch.setattr("denken.serve.listen.serve_forever", lambda *_, desk, **__: served.append(desk.keys_on))
    place = str(tmp_path / "denken.db")
    monkeypatch.setattr(sys, "argv", ["denken", "serve", "--port", "0", "--store", place, *arguments])
    shown = []
    for _ in range(2):
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        shown += re.findall(r"sk-denken-\S+", capsys.readouterr().out)
    assert served == [on, on]
    assert len(shown) == int(on)
    if on:
        with open_store(place) as store, store.read() as connection:
            assert keys.find(connection, shown[0])


def test_keys_are_managed_on_the_command_line(monkeypatch, capsys, tmp_path):
    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["denken", *arguments, "--store", str(tmp_path / "denken.db")])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        return capsys.readouterr().out

    made = run("keys", "create", "anna", "--rpm", "60", "--usd", "2.50", "--expires", "30").strip()
    with open_store(str(tmp_path / "denken.db")) as store, store.read() as connection:
        row = keys.find(connection, made)
        assert (row["rpm"], row["spending"], row["concurrency"]) == (60, 2_500_000_000, None)
        assert 29 < (row["expires"] - keys.now()) / ledger.DAY_MS <= 30
    listed = run("keys", "list")
    assert "anna" in listed
    assert "2.50" in listed
    assert made not in listed
    assert made[:22] in listed
    assert "revoked" in run("keys", "revoke", "anna")
    assert "revoked" in run("keys", "list")
