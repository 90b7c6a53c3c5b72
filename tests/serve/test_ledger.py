"""The ledger: every request a line, every line settled once, whatever dies or fails meanwhile."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from contextlib import closing
from random import Random

import httpx
import ledger_killing
import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from denken.errors import ConfigError
from denken.serve import keydesk, keys, ledger, store, tables
from denken.serve.alive import Alive
from denken.serve.app import create_app
from denken.serve.desk import Caller, Wanted
from denken.serve.failure import Failure
from denken.serve.keydesk import KeyDesk
from denken.serve.ledger import Spent
from denken.serve.money import MOST_NS_PER_TOKEN, NANO, O1, R1, Meter, nano, of_time, usd, worst
from denken.serve.speaker import Piece, Usage
from denken.serve.store import open_store

PER_HOUR = nano("0.04")
BODY = {"messages": [{"role": "user", "content": "Hi"}]}
WANTED = Wanted("r1", "/v1/chat/completions", "m", 10, 100)


def lines(opened):
    with opened.read() as connection:
        return connection.execute(select(tables.requests).order_by(tables.requests.c.began)).mappings().all()


def key_row(opened):
    with opened.read() as connection:
        return connection.execute(select(tables.keys)).mappings().one()


@pytest.fixture
def desk(sqlite_store):
    """Of a server without keys, which is what a person begins with."""
    with closing(KeyDesk(sqlite_store, keys_on=False, per_hour=PER_HOUR)) as desk:
        yield desk


@pytest.fixture
def asked(speaker, desk):
    with TestClient(
        create_app(speaker, desk=desk), base_url="http://localhost:8000", raise_server_exceptions=False
    ) as client:
        yield client


@pytest.mark.parametrize("stream", [True, False])
def test_every_request_is_a_line(asked, sqlite_store, stream):
    before = keys.now()
    response = asked.post("/v1/chat/completions", json=BODY | {"stream": stream, "n": 2})
    assert response.status_code == 200
    (line,) = lines(sqlite_store)
    assert line["id"] in response.text
    assert line["id"] == response.headers["x-request-id"]
    told = {name: line[name] for name in ("key", "route", "model", "replies", "outcome")}
    assert told == {"key": None, "route": "/v1/chat/completions", "model": "fake", "replies": 2, "outcome": "done"}
    assert before <= line["began"] <= keys.now()
    # The prompt is one and the same for both replies.
    tokens = [line[f"{kind}_tokens"] for kind in ("prompt", "cached", "thought", "answer")]
    assert tokens == [10, 4, 6, 4]
    assert line["o1"] == 6 * 15_000 + 4 * 7_500 + 10 * 60_000
    assert line["r1"] == 6 * 550 + 4 * 140 + 10 * 2_190
    assert 0 < line["cost"] == line["charged"] <= line["kept"] == worst(210, PER_HOUR)


def test_what_broke_off_and_what_was_refused(asked, speaker, sqlite_store):
    speaker.pieces = [Piece("answer", "so far"), Piece("answer", "BREAK")]
    asked.post("/v1/chat/completions", json=BODY)
    asked.post("/v1/chat/completions", json=BODY | {"stream": True})
    asked.post("/v1/chat/completions", json=BODY | {"messages": [{"role": "user", "content": " "}]})
    asked.post("/v1/chat/completions", json={})
    assert [line["outcome"] for line in lines(sqlite_store)] == ["failed", "failed"]


def test_a_hang_up_is_a_line_of_its_own_kind(speaker, desk, sqlite_store, run_server, wait_until):
    speaker.pause = 600.0
    with run_server(create_app(speaker, desk=desk)) as (port, _):
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=BODY, timeout=httpx.Timeout(20, read=0.5))
        wait_until(lambda: lines(sqlite_store)[0]["outcome"] == "aborted")
    assert lines(sqlite_store)[0]["cost"] > 0


def test_the_line_is_there_before_the_answer_ends(speaker, desk, sqlite_store):
    seen = []

    async def look() -> None:
        transport = httpx.ASGITransport(_peeking(create_app(speaker, desk=desk), sqlite_store, seen))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for stream in (False, True):
                await client.post("/v1/chat/completions", json=BODY | {"stream": stream})

    asyncio.run(look())
    assert [outcome for part, outcome in seen if b"[DONE]" in part or b'"usage"' in part] == ["done", "done"]


def _peeking(app, opened, seen):
    """The application, and of every part that it sends what the newest line says at that moment."""

    async def peeking(scope, receive, send):
        async def sending(message):
            if message.get("body"):
                seen.append((message["body"], lines(opened)[-1]["outcome"]))
            await send(message)

        await app(scope, receive, sending)

    return peeking


def test_a_line_is_settled_once(store):
    with store.write() as connection:
        keys.create(connection, "anna", keys.Limits(spending=NANO))
    with closing(Alive(store)) as alive, store.write() as connection:
        kept = ledger.reserve(connection, alive.number, 1, WANTED, PER_HOUR)
    spent = Spent(Usage(10, 4, 3, 2), 1.5, 700, "done")
    for first in (True, False, False):
        with store.write() as connection:
            assert ledger.settle(connection, kept, spent) is first
        row = key_row(store)
        assert (row["spent"], row["reserved"], row["running"], row["day_tokens"]) == (700, 0, 0, 15)
    (line,) = lines(store)
    assert (line["milliseconds"], line["cost"], line["charged"]) == (1500, 700, 700)


def test_more_than_was_kept_is_never_charged(store):
    with store.write() as connection:
        keys.create(connection, "anna")
        kept = ledger.reserve(connection, 1, 1, WANTED, PER_HOUR)
        ledger.settle(connection, kept, Spent(Usage(10, 0, 0, 100), 99.0, 10 * kept.amount, "done"))
    (line,) = lines(store)
    assert (line["cost"], line["charged"]) == (10 * kept.amount, kept.amount)
    assert key_row(store)["spent"] == kept.amount


def test_what_a_dead_server_left_is_lost_and_free_of_charge(store):
    with store.write() as connection:
        keys.create(connection, "anna", keys.Limits(concurrency=1, spending=NANO))
    alive, dead = Alive(store), Alive(store)
    with store.write() as connection:
        kept = ledger.reserve(connection, dead.number, 1, WANTED, PER_HOUR)
    assert ledger.settle_lost(store, alive) == 0
    dead.close()
    assert ledger.settle_lost(store, alive) == 1
    assert ledger.settle_lost(store, alive) == 0
    row = key_row(store)
    assert (row["spent"], row["reserved"], row["running"], row["day_tokens"]) == (0, 0, 0, 0)
    assert lines(store)[0]["outcome"] == "lost"
    # A server that was only taken for dead puts its line right.
    with store.write() as connection:
        assert ledger.settle(connection, kept, Spent(Usage(10, 0, 0, 5), 1.0, 300, "done"))
    row = key_row(store)
    assert (row["spent"], row["reserved"], row["running"], row["day_tokens"]) == (300, 0, 0, 15)
    assert lines(store)[0]["outcome"] == "done"
    alive.close()


def test_a_killed_server_loses_nothing_that_was_acknowledged(store_url):
    """kill -9 at random events; the long form is benchmarks/ledger_kill.py."""
    secret = ledger_killing.new_key(store_url)
    acknowledged = set()
    # A request is about 40 events long, and four run at a time.
    for point in Random(1).sample(range(40, 500), 5):
        new, _ = ledger_killing.kill(store_url, secret, point)
        acknowledged |= new
        assert ledger_killing.faults(store_url, acknowledged) == []
    assert acknowledged


@pytest.mark.parametrize("failing", ["locked", "full"])
def test_a_settlement_that_fails_is_logged_tried_again_and_kept(
    speaker, sqlite_store, desk, monkeypatch, caplog, failing
):
    monkeypatch.setattr(keydesk, "RETRY_SECONDS", (0.01,))
    monkeypatch.setattr(keydesk, "LATER_SECONDS", 0.05)
    broken = True
    settle = ledger.settle

    def failing_settle(connection, kept, spent):
        if broken and failing == "full":
            raise OperationalError("UPDATE", None, sqlite3.OperationalError("database or disk is full"))
        return settle(connection, kept, spent)

    monkeypatch.setattr(ledger, "settle", failing_settle)

    async def ask() -> httpx.Response:
        nonlocal broken
        app = create_app(speaker, desk=desk)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
            speaker.pause = 0.1
            asking = asyncio.create_task(client.post("/v1/chat/completions", json=BODY))
            while not speaker.begun:
                await asyncio.sleep(0.01)
            if failing == "full":
                response = await asking
            else:
                with closing(sqlite3.connect(sqlite_store.file)) as other:
                    other.execute("BEGIN IMMEDIATE")
                    response = await asking
                    other.rollback()
            assert lines(sqlite_store)[0]["outcome"] == "open"
            broken = False
            for _ in range(500):
                if lines(sqlite_store)[0]["outcome"] == "done":
                    break
                await asyncio.sleep(0.02)
            return response

    if failing == "locked":
        # Each attempt would wait for the lock as long as a busy server does.
        monkeypatch.setattr(store, "BUSY_SECONDS", 0.1)
        with open_store(str(sqlite_store.file)) as hasty:
            monkeypatch.setattr(desk, "store", hasty)
            response = asyncio.run(ask())
    else:
        response = asyncio.run(ask())
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "store_failed"
    assert desk.failures >= 2
    (line,) = lines(sqlite_store)
    assert (line["outcome"], line["answer_tokens"]) == ("done", 2)
    assert f"request {line['id']}" in caplog.text
    assert "Hi" not in caplog.text.replace("Hint", "")


def test_what_is_unwritten_at_the_end_is_written_then_or_logged(sqlite_store, caplog, monkeypatch):
    desk = KeyDesk(sqlite_store, keys_on=False, per_hour=PER_HOUR)
    ticket = asyncio.run(desk.reserve(Caller(), WANTED))
    assert lines(sqlite_store)[0]["outcome"] == "open"
    monkeypatch.setattr(ledger, "settle", _refuse)
    with caplog.at_level(logging.ERROR):
        desk.close()
    assert "Never written to the ledger" in caplog.text
    monkeypatch.undo()
    assert ticket.kept.request == "r1"
    other = KeyDesk(sqlite_store, keys_on=False, per_hour=PER_HOUR)
    assert lines(sqlite_store)[0]["outcome"] == "lost"
    asyncio.run(other.reserve(Caller(), Wanted("r2", "/", "m", 1, 1)))
    other.close()
    assert lines(sqlite_store)[1]["outcome"] == "aborted"


def _refuse(*_):
    raise OperationalError("UPDATE", None, sqlite3.OperationalError("disk I/O error"))


def test_a_request_that_goes_away_while_it_is_reserved_keeps_nothing(sqlite_store):
    with sqlite_store.write() as connection:
        keys.create(connection, "anna", keys.Limits(concurrency=1))

    async def leave(desk: KeyDesk) -> None:
        asking = asyncio.create_task(desk.reserve(Caller("1"), WANTED))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        # One look at one line: between two looks the reservation itself may be written.
        while [line["outcome"] for line in lines(sqlite_store)] in ([], ["open"]):
            await asyncio.sleep(0.01)

    with closing(KeyDesk(sqlite_store, keys_on=True, per_hour=PER_HOUR)) as desk:
        asyncio.run(asyncio.wait_for(leave(desk), 20))
    assert key_row(sqlite_store)["running"] == 0
    assert [line["outcome"] for line in lines(sqlite_store)] == ["aborted"]


def test_the_same_request_cannot_be_reserved_twice(desk):
    async def twice() -> None:
        await desk.reserve(Caller(), WANTED)
        with pytest.raises(Failure, match="store cannot be read or written"):
            await desk.reserve(Caller(), WANTED)

    asyncio.run(twice())


def test_the_event_loop_runs_on_while_the_store_is_busy(sqlite_store, desk):
    async def ticks() -> int:
        with closing(sqlite3.connect(sqlite_store.file)) as other:
            other.execute("BEGIN IMMEDIATE")
            reserving = asyncio.create_task(desk.reserve(Caller(), WANTED))
            count = 0
            while count < 20 and not reserving.done():
                await asyncio.sleep(0.01)
                count += 1
            other.rollback()
        await reserving
        return count

    assert asyncio.run(ticks()) == 20


def test_a_lost_line_of_yesterday_does_not_touch_the_tokens_of_today(store):
    with store.write() as connection:
        keys.create(connection, "anna", keys.Limits(tokens_per_day=1000))
        kept = ledger.reserve(connection, 1, 1, WANTED, PER_HOUR)
        connection.execute(update(tables.keys).values(day=kept.day + 1, day_tokens=7))
    with store.write() as connection:
        ledger.settle(connection, kept, Spent(Usage(10, 0, 0, 5), 1.0, 1, "done"))
    assert key_row(store)["day_tokens"] == 7


def test_machine_time_is_shared_by_those_who_run():
    moment = 0
    meter = Meter(lambda: moment)
    first = meter.start(1)
    moment = 2_000
    second = meter.start(1)
    moment = 4_000
    assert meter.stop(1, first) == 3_000
    moment = 5_000
    assert meter.stop(1, second) == 2_000
    moment = 9_000  # nobody runs, and nobody pays
    two = meter.start(2)
    moment = 10_000
    assert meter.stop(2, two) == 1_000


def test_money_is_whole_and_exact():
    assert nano("0.1") + nano("0.2") == nano("0.3")
    assert of_time(3600 * NANO, nano("0.04")) == nano("0.04")
    assert of_time(1, 1) == 1
    assert worst(36_000, PER_HOUR) == of_time(36_000 * MOST_NS_PER_TOKEN, PER_HOUR) == PER_HOUR
    assert usd(nano("15.00")) == usd(O1.of(10**6, 0, 0)) == "15.00"
    assert [usd(O1.of(10**6, 10**6, 0)), usd(O1.of(0, 0, 10**6))] == ["7.50", "60.00"]
    assert [usd(R1.of(10**6, 0, 0)), usd(R1.of(10**6, 10**6, 0)), usd(R1.of(0, 0, 10**6))] == ["0.55", "0.14", "2.19"]
    for wrong in ("", "x", "-1", "NaN", "Infinity", "1e30"):
        with pytest.raises(ConfigError, match="no amount in US dollars"):
            nano(wrong)
