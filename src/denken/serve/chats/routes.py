"""The routes of conversations: list, make, show, change, delete, bring back, and ask.

What a turn does is in `turning.py`; files in and out have routes of their own (`uploads.py`, `exports.py`,
`imports.py`, `sharing.py`).
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from sqlalchemy import Connection
from starlette.responses import Response

from denken.search.found import Look
from denken.serve.chats import records, rows, turning
from denken.serve.chats.chats import Chats, owner
from denken.serve.chats.records import Record
from denken.serve.chats.schemas import MOST_TITLE, Changes, TurnRequest, storable
from denken.serve.failure import Failure
from denken.serve.keys import now
from denken.serve.turn import Counter

Id = Annotated[str, Path(max_length=64)]


def add_routes(api: APIRouter, counter: Counter, chats: Chats) -> None:
    async def conversations(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=200)] = 50,
        before: Annotated[str | None, Query(max_length=40)] = None,
        q: Annotated[str, Query(max_length=1000, description="Words that all stand in it.")] = "",
    ) -> Record:
        """The caller's conversations, the pinned first, then the newest."""
        own, query = _owner(request), storable(q)
        found, following = await chats.read(lambda connection: rows.listing(connection, own, limit, before, query))
        return {"conversations": [records.line(row) for row in found], "next": following}

    async def create(request: Request) -> Record:
        own = _owner(request)
        return records.whole(await chats.write(lambda connection: rows.create(connection, own)), [])

    async def show(request: Request, id: Id) -> Record:
        """The whole tree of a conversation."""
        own, id_ = _owner(request), storable(id)

        def work(connection: Connection) -> Record:
            return shown(chats, connection, rows.conversation(connection, own, id_))

        found = await chats.read(work)
        if found["running"] and await chats.settle_lost():
            found = await chats.read(work)
        return found

    async def change(request: Request, id: Id, changes: Changes) -> Record:
        own, id_ = _owner(request), storable(id)

        def work(connection: Connection) -> Record:
            row = rows.conversation(connection, own, id_)
            _change(connection, row, changes)
            return shown(chats, connection, rows.conversation(connection, own, id_))

        return await chats.write(work)

    async def remove(request: Request, id: Id) -> Record:
        """Deletes a conversation; it can be brought back for a day. A reply under way is stopped."""
        own, id_ = _owner(request), storable(id)

        def work(connection: Connection) -> list[str]:
            rows.purge(connection)
            row = rows.conversation(connection, own, id_)
            rows.change(connection, row, deleted=now())
            return [message["stream"] for message in rows.tree(connection, row["number"]) if message["stream"]]

        for stream in await chats.write(work):
            await counter.streams.stop_if_there(request, stream)
        return {"id": id_, "object": "conversation", "deleted": True}

    async def restore(request: Request, id: Id) -> Record:
        own, id_ = _owner(request), storable(id)

        def work(connection: Connection) -> Record:
            row = rows.conversation(connection, own, id_, deleted=True)
            rows.change(connection, row, deleted=None)
            return shown(chats, connection, rows.conversation(connection, own, id_))

        return await chats.write(work)

    async def ask(request: Request, id: Id, turn: TurnRequest) -> Response:
        """One turn, as events; they can be gone on with, and are made to their end whether or not anybody listens."""
        own, id_ = _owner(request), storable(id)
        counter.speaker(turn.model)
        asked = await chats.read(lambda connection: turning.asked(connection, own, id_, turn))
        look = _look(chats, request, turn)
        return await counter.keep(request, turning.Turning(turn, chats, counter.places, asked, look))

    api.add_api_route("/app/conversations", conversations, methods=["GET"])
    api.add_api_route("/app/conversations", create, methods=["POST"])
    api.add_api_route("/app/conversations/{id}", show, methods=["GET"])
    api.add_api_route("/app/conversations/{id}", change, methods=["PATCH"])
    api.add_api_route("/app/conversations/{id}", remove, methods=["DELETE"])
    api.add_api_route("/app/conversations/{id}/restore", restore, methods=["POST"])
    api.add_api_route("/app/conversations/{id}/turns", ask, methods=["POST"], response_model=None)


def shown(chats: Chats, connection: Connection, row: rows.Row) -> Record:
    """A conversation with all its messages, those that are being written as far as they are now."""
    growing = {writing.row["number"]: writing.growing for writing in chats.live if writing.row is not None}
    attached = rows.attached(connection, row["number"])
    found = []
    for message in rows.tree(connection, row["number"]):
        fields: dict[str, Any] = dict(message)
        if message["number"] in growing:
            fields |= growing[message["number"]].values()
        found.append(records.message(fields, attached.get(message["number"], ())))
    return records.whole(row, found)


def _change(connection: Connection, row: rows.Row, changes: Changes) -> None:
    values: dict[str, Any] = {}
    if changes.title is not None:
        title = " ".join(changes.title.split())
        if not title:
            raise Failure(400, f"A title has 1 to {MOST_TITLE} characters that can be seen.", param="title")
        values |= {"title": title, "titled": True}
    if changes.pinned is not None:
        values["pinned"] = changes.pinned
    if changes.head is not None:
        if all(message["id"] != changes.head for message in rows.tree(connection, row["number"])):
            raise Failure(404, "There is no such message in this conversation.", param="head", code="no_message")
        values["head"] = changes.head
    if values:
        rows.change(connection, row, **values)


def _look(chats: Chats, request: Request, turn: TurnRequest) -> Look | None:
    if not turn.search:
        return None
    if chats.searcher is None:
        raise Failure(400, "This server cannot search; leave search out.", param="search", code="no_search")
    return chats.searcher.look(request.state.caller.key, list(dict.fromkeys(turn.search)))


def _owner(request: Request) -> str:
    return owner(request.state.caller)
