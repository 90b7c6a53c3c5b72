"""A link to a conversation as it was when it was shared: made and withdrawn by its owner, opened by whoever has it.

What is shown is the branch that was shown then, and no more: what is said afterwards is not, nor are other branches,
thoughts, searches, costs and the names and texts of uploads. Of the sources those that an answer cites are shown; of a
document in the library the title, not the excerpt.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from sqlalchemy import Connection, select

from denken.search.citations import parts
from denken.search.found import Source
from denken.serve.chats import branch, records, rows
from denken.serve.chats.chats import Chats, owner
from denken.serve.chats.records import Record
from denken.serve.chats.routes import Id
from denken.serve.chats.schemas import storable
from denken.serve.failure import Failure
from denken.serve.keys import now
from denken.serve.tables import conversations


def add_routes(api: APIRouter, app: FastAPI, chats: Chats) -> None:
    """`app` takes the one route that needs no key."""

    async def share(request: Request, id: Id) -> Record:
        """Makes the link; where there is one, it shows the conversation as it is now."""
        _check(chats, 403)
        own, id_ = owner(request.state.caller), storable(id)

        def work(connection: Connection) -> Record:
            row = rows.conversation(connection, own, id_)
            if row["head"] is None:
                raise Failure(400, "There is nothing in this conversation yet; ask something first.")
            token = row["share"] or secrets.token_urlsafe(24)
            rows.change(connection, row, share=token, shared_head=row["head"], shared=now())
            return {"token": token, "path": f"/shared/{token}"}

        return await chats.write(work)

    async def withdraw(request: Request, id: Id) -> Record:
        own, id_ = owner(request.state.caller), storable(id)

        def work(connection: Connection) -> None:
            row = rows.conversation(connection, own, id_)
            rows.change(connection, row, share=None, shared_head=None, shared=None)

        await chats.write(work)
        return {"id": id_, "object": "share", "deleted": True}

    api.add_api_route("/app/conversations/{id}/share", share, methods=["POST"])
    api.add_api_route("/app/conversations/{id}/share", withdraw, methods=["DELETE"])
    app.add_api_route("/app/shared/{id}", _opening(chats), methods=["GET"])


def _opening(chats: Chats) -> Callable[..., Coroutine[Any, Any, Record]]:
    async def shared(id: Id) -> Record:
        """A conversation that was shared, for everybody who has the link."""
        _check(chats, 404)
        token = storable(id)
        return await chats.read(lambda connection: _shown(connection, token))

    return shared


def _check(chats: Chats, status: int) -> None:
    if not chats.sharing:
        raise Failure(status, "The owner of this server has switched sharing off.", code="sharing_off")


def _shown(connection: Connection, token: str) -> Record:
    c = conversations.c
    found = select(conversations).where(c.share == token, c.deleted.is_(None))
    row = connection.execute(found).mappings().one_or_none()
    if row is None:
        raise Failure(404, "Nothing is shared under this link, or not any more.", code="not_shared")
    way = branch.path(rows.tree(connection, row["number"]), row["shared_head"])
    messages = [_public(message) for message in way]
    return {"title": row["title"], "created": row["created"], "messages": messages}


def _public(row: Mapping[str, Any]) -> Record:
    hidden: Record = {
        "thought": "",
        "steps": [],
        "usage": None,
        "search": [],
        "outcome": None,
        "stream": None,
        "error": None,
    }
    known = [Source(**source) for source in row["sources"] or ()]
    cited = {part.number for part in parts(row["content"], known) if isinstance(part, Source)}
    sources = [_public_source(source) for source in known if source.number in cited]
    return records.message({**row, **hidden, "sources": sources})


def _public_source(source: Source) -> Record:
    of_web = source.url.startswith(("http://", "https://"))
    return records.source(source if of_web else replace(source, url="", excerpt=""))
