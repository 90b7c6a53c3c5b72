"""The ledger: one line for every request, and with it what its key may still do.

A request is reserved before it runs, at the most that it can come to, and settled at what it took. Either is one
transaction: the key's limits are the condition of an UPDATE, so that requests that come at once, to one server or to
several, cannot pass a limit together; and a line changes from "open" to its outcome once, whoever tries how often.

    reserve: the key's row is changed if its limits allow it -> an open line
    settle:  open -> done | aborted | failed; the key's row gets back what was kept, and is charged
    settle_lost: open -> lost, where the server that had opened the line has died

A lost line is charged nothing. What a key pays is machine time that was measured; of a server that died nobody knows
how much that was, and its caller did not get the end of the answer. A key cannot make use of that without crashing the
server again and again, which no spending limit is for.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection, RowMapping, case, func, insert, select, update

from denken.serve.alive import Alive
from denken.serve.desk import Outcome, Wanted
from denken.serve.failure import Failure
from denken.serve.keys import now
from denken.serve.money import O1, R1, usd, worst
from denken.serve.speaker import Usage
from denken.serve.store import Store
from denken.serve.tables import keys, requests

log = logging.getLogger(__name__)

DAY_MS = 86_400_000
MINUTE_MS = 60_000


@dataclass(frozen=True, slots=True)
class Reservation:
    """What is kept for a request until it is settled. amount: billionths of a US dollar. day: since 1970, in UTC.

    headers: what the response says of the key's limits.
    """

    request: str
    key: int | None
    replies: int
    amount: int
    tokens: int
    day: int
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spent:
    """What a request took. cost: the share of the machine's time, in billionths of a US dollar."""

    usage: Usage
    seconds: float
    cost: int
    outcome: Outcome


def reserve(connection: Connection, server: int, key: int | None, wanted: Wanted, per_hour: int) -> Reservation:
    """Opens the line of a request. Raises Failure 402 or 429 where a limit of its key would be passed."""
    moment = now()
    tokens = wanted.prompt_tokens + wanted.most_tokens
    amount, day = worst(tokens, per_hour), moment // DAY_MS
    headers: dict[str, str] = {}
    if key is not None:
        row = _take(connection, key, wanted.replies, amount, tokens, moment)
        headers = _headers(row, moment, _count_request(connection, row, moment))
    values = {
        "id": wanted.request,
        "server": server,
        "key": key,
        "began": moment,
        "route": wanted.route,
        "model": wanted.model,
        "replies": wanted.replies,
        "kept": amount,
        "kept_tokens": tokens,
    }
    connection.execute(insert(requests).values(values))
    return Reservation(wanted.request, key, wanted.replies, amount, tokens, day, headers)


def settle(connection: Connection, kept: Reservation, spent: Spent) -> bool:
    """Closes the line of a request; False where it was closed before, which changes nothing.

    What is charged is what was measured, and never more than was kept. Where another server has taken this one for
    dead, because PostgreSQL had lost its connection, the line says "lost" and is put right.
    """
    usage = spent.usage
    completion = usage.thought_tokens + usage.answer_tokens
    charged = min(spent.cost, kept.amount)
    values = {
        "outcome": spent.outcome,
        "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens,
        "thought_tokens": usage.thought_tokens,
        "answer_tokens": usage.answer_tokens,
        "milliseconds": round(spent.seconds * 1000),
        "cost": spent.cost,
        "charged": charged,
        "o1": O1.of(usage.prompt_tokens, usage.cached_tokens, completion),
        "r1": R1.of(usage.prompt_tokens, usage.cached_tokens, completion),
    }
    for before in ("open", "lost"):
        line = (requests.c.id == kept.request) & (requests.c.outcome == before)
        if connection.execute(update(requests).where(line).values(values)).rowcount:
            if before == "open":
                _release(connection, kept)
            _charge(connection, kept, charged, usage.prompt_tokens + completion)
            return True
    return False


def settle_lost(store: Store, alive: Alive) -> int:
    """Closes the lines that dead servers have left open; returns how many."""
    with store.read() as connection:
        opened = select(requests.c.server).where(requests.c.outcome == "open").distinct()
        servers = connection.execute(opened).scalars().all()
    count = 0
    for server in filter(alive.is_dead, servers):
        with store.write() as connection:
            left = (requests.c.server == server) & (requests.c.outcome == "open")
            lost = connection.execute(update(requests).where(left).values(outcome="lost").returning(requests))
            lines = lost.mappings().all()
            for line in lines:
                _release(
                    connection,
                    Reservation(
                        line["id"],
                        line["key"],
                        line["replies"],
                        line["kept"],
                        line["kept_tokens"],
                        line["began"] // DAY_MS,
                    ),
                )
        count += len(lines)
    if count:
        log.warning("%d requests were not finished when their server ended; they are charged nothing.", count)
    return count


def _take(connection: Connection, key: int, replies: int, amount: int, tokens: int, moment: int) -> RowMapping:
    """Adds to what the key has under way, if all of its limits allow that; returns its row as it is then."""
    c, day = keys.c, moment // DAY_MS
    tokens_today = case((c.day == day, c.day_tokens), else_=0) + tokens
    allowed = [
        c.id == key,
        c.revoked.is_(None),
        c.expires.is_(None) | (c.expires > moment),
        c.concurrency.is_(None) | (c.running + replies <= c.concurrency),
        c.spending.is_(None) | (c.spent + c.reserved + amount <= c.spending),
        c.tokens_per_day.is_(None) | (tokens_today <= c.tokens_per_day),
    ]
    changed = {
        c.running: c.running + replies,
        c.reserved: c.reserved + amount,
        c.day_tokens: tokens_today,
        c.day: day,
    }
    taken = connection.execute(update(keys).where(*allowed).values(changed).returning(keys)).mappings().one_or_none()
    if taken is None:
        row = connection.execute(select(keys).where(c.id == key)).mappings().one()
        raise _refusal(row, replies, amount, tokens, moment)
    return taken


def _count_request(connection: Connection, row: RowMapping, moment: int) -> tuple[int, int]:
    """How many requests the key has sent in the last 60 s, this one included, and when the first of them is past that.

    The key's row is locked since `_take`, so that nobody else of this key counts at the same time.
    """
    if row["rpm"] is None:
        return 0, moment
    recent = (requests.c.key == row["id"]) & (requests.c.began > moment - MINUTE_MS)
    count, first = connection.execute(select(func.count(), func.min(requests.c.began)).where(recent)).one()
    free_at = (moment if first is None else first) + MINUTE_MS
    if count >= row["rpm"]:
        # With a limit that was lowered it takes longer; then the next attempt will say so.
        raise Failure(
            429,
            f"This key may send {row['rpm']} requests a minute; wait {_seconds(free_at - moment)}.",
            code="rate_limit_exceeded",
            retry_after=max(1, -(-(free_at - moment) // 1000)),
            headers=_headers(row, moment, (count, free_at)),
        )
    return count + 1, free_at


def _refusal(row: RowMapping, replies: int, amount: int, tokens: int, moment: int) -> Failure:
    """Why a key's row could not be changed."""
    headers = _headers(row, moment, None)
    if row["spending"] is not None and row["spent"] + row["reserved"] + amount > row["spending"]:
        left = max(0, row["spending"] - row["spent"] - row["reserved"])
        return Failure(
            402,
            f"This request may cost up to {usd(amount)} USD, and of this key's {usd(row['spending'])} USD there are "
            f"{usd(left)} left; lower max_tokens, or ask for a higher limit.",
            code="insufficient_balance",
            headers=headers,
        )
    if row["concurrency"] is not None and row["running"] + replies > row["concurrency"]:
        return Failure(
            429,
            f"This key may have {row['concurrency']} replies made at once, and {row['running']} are; wait for one.",
            code="rate_limit_exceeded",
            retry_after=1,
            headers=headers,
        )
    if row["tokens_per_day"] is not None:
        until = (moment // DAY_MS + 1) * DAY_MS - moment
        return Failure(
            429,
            f"This request may take {tokens} tokens, and this key has {_tokens_left(row, moment)} of its "
            f"{row['tokens_per_day']} a day left; lower max_tokens, or wait {_seconds(until)}.",
            code="rate_limit_exceeded",
            retry_after=until / 1000,
            headers=headers,
        )
    return Failure(429, "This key was revoked or has expired just now; ask for another.", code="rate_limit_exceeded")


def _headers(row: RowMapping, moment: int, sent: tuple[int, int] | None) -> dict[str, str]:
    """The key's limits under OpenAI's names, and those that OpenAI does not have under names alike."""
    headers: dict[str, str] = {}
    if row["rpm"] is not None:
        headers["x-ratelimit-limit-requests"] = str(row["rpm"])
        if sent is not None:
            headers["x-ratelimit-remaining-requests"] = str(max(0, row["rpm"] - sent[0]))
            headers["x-ratelimit-reset-requests"] = _seconds(sent[1] - moment)
    if row["tokens_per_day"] is not None:
        headers["x-ratelimit-limit-tokens"] = str(row["tokens_per_day"])
        headers["x-ratelimit-remaining-tokens"] = str(_tokens_left(row, moment))
        headers["x-ratelimit-reset-tokens"] = _seconds((moment // DAY_MS + 1) * DAY_MS - moment)
    if row["concurrency"] is not None:
        headers["x-ratelimit-limit-concurrency"] = str(row["concurrency"])
        headers["x-ratelimit-remaining-concurrency"] = str(max(0, row["concurrency"] - row["running"]))
    return headers


def _tokens_left(row: RowMapping, moment: int) -> int:
    used = row["day_tokens"] if row["day"] == moment // DAY_MS else 0
    return max(0, int(row["tokens_per_day"]) - int(used))


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / 1000:.1f}s"


def _release(connection: Connection, kept: Reservation) -> None:
    """Gives back what a reservation had taken."""
    if kept.key is None:
        return
    c = keys.c
    changed = {
        c.running: c.running - kept.replies,
        c.reserved: c.reserved - kept.amount,
        c.day_tokens: case((c.day == kept.day, c.day_tokens - kept.tokens), else_=c.day_tokens),
    }
    connection.execute(update(keys).where(c.id == kept.key).values(changed))


def _charge(connection: Connection, kept: Reservation, amount: int, tokens: int) -> None:
    if kept.key is None:
        return
    c = keys.c
    changed = {
        c.spent: c.spent + amount,
        c.day_tokens: case((c.day == kept.day, c.day_tokens + tokens), else_=c.day_tokens),
    }
    connection.execute(update(keys).where(c.id == kept.key).values(changed))
