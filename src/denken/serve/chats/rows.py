"""What is asked of the store about conversations: each function is one question or one change, within a transaction.

Every function that takes an owner finds that owner's rows alone; what is another's is not there (`Failure` 404), as
what never was. What rows look like on the wire is in `records.py`.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, insert, or_, select, text, update

from denken.serve.alive import Alive
from denken.serve.chats import finding
from denken.serve.chats.growing import SERVER_ENDED, told
from denken.serve.failure import Failure
from denken.serve.keys import now
from denken.serve.tables import attachments, conversations, messages, requests, uploads

# So long what was deleted can be brought back; then it goes for good.
DELETED_MS = 24 * 3600 * 1000
# So long an upload waits for the question that it belongs to.
UNUSED_MS = 24 * 3600 * 1000

c, m = conversations.c, messages.c
Fields = Mapping[str, Any]
Row = dict[str, Any]


def new_id() -> str:
    return secrets.token_hex(10)


def create(connection: Connection, owner: str, **values: Any) -> Row:
    moment = now()
    row = {"id": new_id(), "owner": owner, "created": moment, "updated": moment, **values}
    made = connection.execute(insert(conversations).values(row).returning(conversations)).mappings().one()
    if made["title"]:
        finding.put(connection, -made["number"], made["number"], made["title"])
    return dict(made)


def conversation(connection: Connection, owner: str, id_: str, *, deleted: bool = False) -> Row:
    """Raises Failure 404. deleted: whether one is wanted that was deleted."""
    gone = c.deleted.is_not(None) if deleted else c.deleted.is_(None)
    where = (c.id == id_) & (c.owner == owner) & gone
    row = connection.execute(select(conversations).where(where)).mappings().one_or_none()
    if row is None:
        raise Failure(404, "There is no such conversation, or not any more.", code="no_conversation")
    return dict(row)


def listing(
    connection: Connection, owner: str, limit: int, before: str | None = None, query: str = ""
) -> tuple[list[Row], str | None]:
    """Conversations, the pinned first and then the newest, and the cursor to the next ones, if there are any.

    query: only those that have all its words; each then has a snippet. Raises Failure 400 for a cursor that is none.
    """
    running = exists().where((m.conversation == c.number) & (m.state == "running"))
    asked = select(conversations, running.label("running")).where(c.owner == owner, c.deleted.is_(None))
    wanted, values = finding.terms(query), dict[str, str]()
    if query.strip():
        if not wanted:
            return [], None
        having, values = finding.condition(connection, wanted)
        asked = asked.where(text(having))
    if before is not None:
        asked = asked.where(_behind(before))
    asked = asked.order_by(c.pinned.desc(), c.updated.desc(), c.number.desc()).limit(limit + 1)
    rows = [dict(row) for row in connection.execute(asked, values).mappings()]
    more, rows = len(rows) > limit, rows[:limit]
    if wanted:
        _add_snippets(connection, rows, wanted)
    return rows, _cursor(rows[-1]) if more else None


def _cursor(row: Fields) -> str:
    return f"{int(row['pinned'])}-{row['updated']}-{row['number']}"


def _behind(cursor: str) -> Any:
    match = re.fullmatch(r"([01])-([0-9]{1,15})-([0-9]{1,9})", cursor)
    if match is None:
        raise Failure(400, "before is a cursor that a list of conversations gave as next.", param="before")
    pinned, updated, number = match[1] == "1", int(match[2]), int(match[3])
    later = or_(c.updated < updated, and_(c.updated == updated, c.number < number))
    return or_(and_(c.pinned.is_(True), later), c.pinned.is_(False)) if pinned else and_(c.pinned.is_(False), later)


def _add_snippets(connection: Connection, rows: Sequence[Row], wanted: Sequence[str]) -> None:
    where = finding.hits(connection, [row["number"] for row in rows], wanted)
    asked = select(m.number, m.content).where(m.number.in_([rowid for rowid in where.values() if rowid > 0]))
    contents: dict[int, str] = {row.number: row.content for row in connection.execute(asked)}
    for row in rows:
        said = contents.get(where.get(row["number"], 0)) or str(row["title"])
        row["snippet"] = finding.snippet(said, wanted)


def change(connection: Connection, row: Fields, **values: Any) -> None:
    """Changes fields of a conversation."""
    connection.execute(update(conversations).where(c.number == row["number"]).values(values))
    if "title" in values:
        finding.put(connection, -row["number"], row["number"], values["title"])


def touch(connection: Connection, number: int) -> None:
    """Something of the conversation is new: it moves to the top of the list."""
    connection.execute(update(conversations).where(c.number == number).values(updated=now()))


def question(connection: Connection, reply: Fields) -> str:
    """What a reply answers."""
    asked = select(m.content).where(m.conversation == reply["conversation"], m.id == reply["parent"])
    return str(connection.execute(asked).scalar() or "")


def give_title(connection: Connection, number: int, title: str, instead_of: str = "") -> None:
    """For a conversation that has no title, or that one; any other stays, whoever gave it."""
    without = (c.number == number) & c.title.in_(["", instead_of]) & c.titled.is_(False)
    if title and connection.execute(update(conversations).where(without).values(title=title)).rowcount:
        finding.put(connection, -number, number, title)


def purge(connection: Connection, before: int | None = None) -> None:
    """What was deleted long ago goes for good, and uploads that nobody asked about."""
    moment = now()
    old = c.deleted <= (moment - DELETED_MS if before is None else before)
    remove(connection, list(connection.execute(select(c.number).where(old)).scalars()))
    used = exists().where(attachments.c.upload == uploads.c.number)
    connection.execute(delete(uploads).where(uploads.c.created <= moment - UNUSED_MS, ~used))


def remove(connection: Connection, numbers: Collection[int]) -> None:
    """Conversations with all that is in them; their uploads too, where no other conversation has them."""
    for number in numbers:
        inside = select(m.number).where(m.conversation == number)
        finding.drop(connection, [-number, *connection.execute(inside).scalars()])
        theirs = list(
            connection.execute(select(attachments.c.upload).where(attachments.c.message.in_(inside))).scalars()
        )
        connection.execute(delete(conversations).where(c.number == number))
        used = exists().where(attachments.c.upload == uploads.c.number)
        connection.execute(delete(uploads).where(uploads.c.number.in_(theirs), ~used))


def add_message(connection: Connection, conversation: int, **values: Any) -> Row:
    """A message of the conversation, entered in the index where it is at its end."""
    row = {"id": new_id(), "conversation": conversation, "created": now(), **values}
    made = connection.execute(insert(messages).values(row).returning(messages)).mappings().one()
    if made["state"] != "running" and made["content"]:
        finding.put(connection, made["number"], conversation, made["content"])
    return dict(made)


def add_messages(connection: Connection, conversation: int, values: Sequence[Fields]) -> list[int]:
    """Many messages that are at their end, all with the same fields; their numbers, in the same order."""
    if not values:
        return []
    made = insert(messages).returning(m.number, sort_by_parameter_order=True)
    given = [{"conversation": conversation, **one} for one in values]
    numbers = [int(number) for number in connection.execute(made, given).scalars()]
    finding.enter(connection, conversation, dict(zip(numbers, (one["content"] for one in values), strict=True)))
    return numbers


def write(connection: Connection, number: int, values: Fields) -> None:
    """What a reply has become so far. One that is at its end is entered in the index, and is written no more."""
    running = (m.number == number) & (m.state == "running")
    written = update(messages).where(running).values(values).returning(m.conversation, m.content)
    row = connection.execute(written).one_or_none()
    if row is not None and values.get("state", "running") != "running" and row.content:
        finding.put(connection, number, row.conversation, row.content)


def tree(connection: Connection, number: int) -> list[Row]:
    """All messages of a conversation in the order in which they were made, each with its line of the ledger."""
    spent = [requests.c.outcome, requests.c.cost, requests.c.o1]
    joined = messages.outerjoin(requests, requests.c.id == m.request)
    asked = select(messages, *spent).select_from(joined).where(m.conversation == number).order_by(m.number)
    return [dict(row) for row in connection.execute(asked).mappings()]


def message(connection: Connection, number: int) -> Row:
    """One message with its line of the ledger."""
    spent = [requests.c.outcome, requests.c.cost, requests.c.o1]
    joined = messages.outerjoin(requests, requests.c.id == m.request)
    asked = select(messages, *spent).select_from(joined).where(m.number == number)
    return dict(connection.execute(asked).mappings().one())


def attached(connection: Connection, number: int) -> Mapping[int, list[Row]]:
    """The uploads of a conversation's messages, by the number of the message."""
    u = uploads.c
    asked = (
        select(attachments.c.message, u.id, u.name, u.characters, u.number)
        .join(uploads, u.number == attachments.c.upload)
        .join(messages, m.number == attachments.c.message)
        .where(m.conversation == number)
        .order_by(attachments.c.message, attachments.c.place)
    )
    found: dict[int, list[Row]] = {}
    for row in connection.execute(asked).mappings():
        found.setdefault(row["message"], []).append(dict(row))
    return found


def own_uploads(connection: Connection, owner: str, ids: Sequence[str]) -> list[Row]:
    """In the order of the ids. Raises Failure 404 where one is missing."""
    asked = select(uploads).where(uploads.c.owner == owner, uploads.c.id.in_(ids))
    found = {row["id"]: dict(row) for row in connection.execute(asked).mappings()}
    if missing := [id_ for id_ in ids if id_ not in found]:
        raise Failure(404, f"There is no upload {missing[0][:40]!r}; add the file again.", param="attachments")
    return [found[id_] for id_ in ids]


def attach(connection: Connection, message: int, upload_numbers: Sequence[int]) -> None:
    for place, number in enumerate(upload_numbers):
        connection.execute(insert(attachments).values(message=message, upload=number, place=place))


def texts_of(connection: Connection, upload_numbers: Collection[int]) -> Mapping[int, tuple[str, str]]:
    """Names and texts of uploads."""
    asked = select(uploads.c.number, uploads.c.name, uploads.c.text).where(uploads.c.number.in_(list(upload_numbers)))
    return {row.number: (row.name, row.text) for row in connection.execute(asked)}


def dead(connection: Connection, living: Alive) -> list[int]:
    """The servers that have died while they were writing replies."""
    servers = connection.execute(select(m.server).where(m.state == "running").distinct()).scalars()
    return [server for server in servers.all() if server is not None and living.is_dead(server)]


def settle_lost(connection: Connection, servers: Collection[int]) -> int:
    """What dead servers were writing ends as failed, with what there was; returns how many replies that were."""
    left = (m.state == "running") & m.server.in_(servers)
    numbers = list(connection.execute(select(m.number).where(left)).scalars())
    for number in numbers:
        write(connection, number, {"state": "failed", "error": told(SERVER_ENDED), "stream": None})
    return len(numbers)
