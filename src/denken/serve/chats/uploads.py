"""POST /app/uploads: a file becomes text that can be sent along with a question.

How a file is read is in `denken.search.convert`, in a process that can do nothing else; here it is taken in and kept.
The file itself is not kept. What nobody asks about within a day goes again (`rows.purge`).
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from sqlalchemy import Connection, delete, exists, insert, select

from denken.search.convert import ConvertError, converted
from denken.serve.chats import rows
from denken.serve.chats.chats import Chats, owner
from denken.serve.chats.records import Record
from denken.serve.chats.schemas import storable
from denken.serve.failure import Failure
from denken.serve.keys import now
from denken.serve.tables import attachments, uploads

# Longer files are cut, and say so.
MOST_CHARACTERS = 1_000_000
MOST_NAME = 200
# Of a caller's, those that no question has yet; the oldest go.
MOST_WAITING = 64


def add_routes(api: APIRouter, chats: Chats) -> None:
    async def upload(
        request: Request, name: Annotated[str, Query(min_length=1, max_length=MOST_NAME, description="Of the file.")]
    ) -> Record:
        """Takes a file's bytes as the body; text, Markdown, HTML, PDF and DOCX can be read."""
        own, shown = owner(request.state.caller), " ".join(storable(name).split()) or "file"
        try:
            read = await converted(await request.body(), shown, characters=MOST_CHARACTERS)
        except ConvertError as error:
            raise Failure(400, str(error), code="not_readable") from error
        text = storable(read.text)
        values = {"text": text, "characters": len(text), "pages": read.pages, "cut": read.cut}
        return await chats.write(lambda connection: _keep(connection, own, {"name": shown, **values}))

    # FastAPI sees no body where a route reads it by itself.
    body = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
    api.add_api_route("/app/uploads", upload, methods=["POST"], openapi_extra={"requestBody": body})


def _keep(connection: Connection, own: str, values: Record) -> Record:
    u = uploads.c
    row = {"id": rows.new_id(), "owner": own, "created": now(), **values}
    made = connection.execute(insert(uploads).values(row).returning(u.id, u.name, u.characters, u.pages, u.cut)).one()
    used = exists().where(attachments.c.upload == u.number)
    waiting = select(u.number).where(u.owner == own, ~used).order_by(u.number.desc()).offset(MOST_WAITING)
    connection.execute(delete(uploads).where(u.number.in_(list(connection.execute(waiting).scalars()))))
    return dict(made._mapping)
