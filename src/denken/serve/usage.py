"""What was used and what it cost, added up: by day, by key or by model. For the page, for programs, for a terminal.

Amounts leave this file as US dollars in decimal text, exact; o1_usd and r1_usd are what the same tokens would have cost
at the list prices of o1 and DeepSeek-R1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from rich.table import Table
from sqlalchemy import ColumnElement, Connection, RowMapping, case, func, literal, select

from denken.serve.desk import By
from denken.serve.keys import now
from denken.serve.ledger import DAY_MS
from denken.serve.money import usd
from denken.serve.tables import keys, requests
from denken.serve.turn import Counter

MOST_DAYS = 3660
TOKENS = ("prompt_tokens", "cached_tokens", "thought_tokens", "answer_tokens")
AMOUNTS = {"cost_usd": "cost", "charged_usd": "charged", "o1_usd": "o1", "r1_usd": "r1"}


def add_routes(api: APIRouter, counter: Counter) -> None:
    async def usage(
        request: Request, days: Annotated[int, Query(ge=1, le=MOST_DAYS)] = 30, by: By = "day"
    ) -> Mapping[str, Any]:
        """What the key has used; where keys are off, what everybody has."""
        return await counter.desk.usage(request.state.caller, days, by)

    api.add_api_route("/v1/usage", usage, methods=["GET"])


def report(connection: Connection, *, days: int, by: By, key: int | None = None) -> dict[str, Any]:
    """The lines of the last so many days, today included, in UTC. key: only those of one key."""
    first = now() // DAY_MS - days + 1
    lines = requests.c.began >= first * DAY_MS
    if key is not None:
        lines &= requests.c.key == key
    group: ColumnElement[Any] = {
        "day": requests.c.began // DAY_MS,
        "key": requests.c.key,
        "model": requests.c.model,
    }[by]
    grouped = select(group.label("group"), *_sums()).where(lines).group_by(group).order_by(group)
    named = _names(connection) if by == "key" else {}
    data = [
        {by: _shown(by, row["group"], named)} | _record(row) for row in connection.execute(grouped).mappings().all()
    ]
    totals = connection.execute(select(literal(0), *_sums()).where(lines)).mappings().one()
    return {"object": "usage", "days": days, "by": by, "totals": _record(totals), "data": data}


def table(reported: Mapping[str, Any]) -> Table:
    """The report as it is printed, with the totals below."""
    by = reported["by"]
    shown = Table(title=f"Usage of {reported['days']} days, by {by}", show_footer=True)
    total = reported["totals"]
    shown.add_column(by, "all")
    headings = {"requests": "requests", "lost": "lost", "prompt_tokens": "prompt", "cached_tokens": "cached"}
    headings |= {"thought_tokens": "thought", "answer_tokens": "answer", "seconds": "seconds"}
    headings |= {"cost_usd": "cost (USD)", "r1_usd": "R1 (USD)", "o1_usd": "o1 (USD)"}
    for name, heading in headings.items():
        shown.add_column(heading, str(total[name]), justify="right")
    for row in reported["data"]:
        shown.add_row(row[by], *(str(row[name]) for name in headings))
    return shown


def _sums() -> Sequence[ColumnElement[Any]]:
    columns = requests.c
    summed = [columns[name] for name in (*TOKENS, "milliseconds", *AMOUNTS.values())]
    counts = [
        func.count().label("requests"),
        *(
            func.coalesce(func.sum(case((columns.outcome == outcome, 1), else_=0)), 0).label(outcome)
            for outcome in ("open", "failed", "aborted", "lost")
        ),
    ]
    return [*counts, *(func.coalesce(func.sum(column), 0).label(column.name) for column in summed)]


def _record(row: RowMapping) -> dict[str, Any]:
    # PostgreSQL adds whole numbers up to a decimal.
    record: dict[str, Any] = {name: int(row[name]) for name in ("requests", "open", "failed", "aborted", "lost")}
    record |= {name: int(row[name]) for name in TOKENS}
    record["seconds"] = int(row["milliseconds"]) / 1000
    return record | {name: usd(int(row[column])) for name, column in AMOUNTS.items()}


def _names(connection: Connection) -> dict[int | None, str]:
    rows = connection.execute(select(keys.c.id, keys.c.name, keys.c.public)).all()
    return {None: "(no key)"} | {row.id: f"{row.name} ({row.public})" for row in rows}


def _shown(by: By, group: Any, names: Mapping[int | None, str]) -> str:
    if by == "day":
        return datetime.fromtimestamp(int(group) * DAY_MS / 1000, UTC).strftime("%Y-%m-%d")
    return names[group] if by == "key" else str(group)
