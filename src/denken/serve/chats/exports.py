"""GET /app/conversations/{id}/export: a conversation as Markdown to read, or as JSON to take elsewhere.

Markdown has the branch that is shown, with the sources that it cites as footnotes. JSON has the whole tree, thoughts
and the texts of uploads included; `imports.py` reads it back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from fastapi import APIRouter, Request
from sqlalchemy import Connection
from starlette.responses import Response

from denken.search.citations import parts, resolved
from denken.search.found import Source
from denken.serve.chats import branch, records, rows
from denken.serve.chats.chats import Chats, owner
from denken.serve.chats.records import Record
from denken.serve.chats.routes import Id
from denken.serve.chats.schemas import storable

FORMAT, VERSION = "denken-conversation", 1
# By the first language of the browser that this server knows.
WORDS = {
    "en": {"you": "You", "answer": "Answer", "thought": "Thought", "files": "Files", "untitled": "Conversation"},
    "de": {"you": "Du", "answer": "Antwort", "thought": "Gedanke", "files": "Dateien", "untitled": "Gespräch"},
}


def add_routes(api: APIRouter, chats: Chats) -> None:
    async def export(request: Request, id: Id, format: Literal["markdown", "json"] = "markdown") -> Response:
        own, id_ = owner(request.state.caller), storable(id)
        words = WORDS[_language(request.headers.get("accept-language", ""))]

        def work(connection: Connection) -> tuple[Mapping[str, Any], str]:
            row = rows.conversation(connection, own, id_)
            if format == "json":
                return row, json.dumps(whole(connection, row), ensure_ascii=False, indent=1)
            return row, markdown(connection, row, words)

        row, text = await chats.read(work)
        name = _file_name(row["title"] or words["untitled"]) + (".json" if format == "json" else ".md")
        headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
        media_type = "application/json" if format == "json" else "text/markdown; charset=utf-8"
        return Response(text, media_type=media_type, headers=headers)

    text_type: Record = {"content": {"text/markdown": {"schema": {"type": "string"}}}}
    api.add_api_route(
        "/app/conversations/{id}/export", export, methods=["GET"], response_model=None, responses={200: text_type}
    )


def whole(connection: Connection, row: Mapping[str, Any]) -> Record:
    """All of a conversation; times are milliseconds since 1970."""
    attached = rows.attached(connection, row["number"])
    texts = rows.texts_of(connection, {upload["number"] for few in attached.values() for upload in few})
    messages = []
    for message in rows.tree(connection, row["number"]):
        record = records.message(message)
        record["attachments"] = [
            {"name": name, "text": text}
            for name, text in (texts[upload["number"]] for upload in attached.get(message["number"], ()))
        ]
        messages.append({name: value for name, value in record.items() if name != "stream"})
    head = {name: row[name] for name in ("id", "title", "pinned", "created", "updated", "head")}
    return {"format": FORMAT, "version": VERSION, **head, "messages": messages}


def markdown(connection: Connection, row: Mapping[str, Any], words: Mapping[str, str]) -> str:
    """The branch that is shown, for people."""
    attached = rows.attached(connection, row["number"])
    made = datetime.fromtimestamp(row["created"] / 1000, UTC).strftime("%Y-%m-%d")
    parts = [f"# {row['title'] or words['untitled']}", made]
    for place, message in enumerate(branch.path(rows.tree(connection, row["number"]), row["head"]), 1):
        if message["role"] == "user":
            parts += [f"## {words['you']}", message["content"].strip()]
            if files := attached.get(message["number"]):
                parts.append(f"{words['files']}: {', '.join(file['name'] for file in files)}")
            continue
        heading = words["answer"]
        parts.append(f"## {heading} ({message['model']})" if message["model"] else f"## {heading}")
        if message["thought"].strip():
            parts.append(
                f"<details><summary>{words['thought']}</summary>\n\n{message['thought'].strip()}\n\n</details>"
            )
        parts += with_footnotes(message["content"].strip(), message["sources"] or (), place)
    return "\n\n".join(part for part in parts if part) + "\n"


def with_footnotes(content: str, sources: Sequence[Record], place: int) -> list[str]:
    """An answer with its citations as footnotes, and these. A citation that does not resolve is left out.

    >>> source = {"number": 1, "title": "Kiel", "url": "https://a.example/", "excerpt": "", "published": ""}
    >>> with_footnotes("It opens at six [citation:1][citation:9].", [source], 2)
    ['It opens at six [^2-1].', '[^2-1]: Kiel (https://a.example/)']
    """
    known = [Source(**source) for source in sources]
    cited = {part.number: part for part in parts(content, known) if isinstance(part, Source)}
    text = resolved(content, known, lambda source: f"[^{place}-{source.number}]")
    notes = [f"[^{place}-{number}]: {_one_line(source)}" for number, source in cited.items()]
    return [text, "\n".join(notes)] if notes else [text]


def _one_line(source: Source) -> str:
    """A source's title, and where it is, unless that is in somebody's library."""
    title = " ".join(source.title.split())
    return title if source.url.startswith("library:") else f"{title} ({source.url})"


def _language(accepted: str) -> str:
    """
    >>> _language("de-AT,de;q=0.9,en;q=0.8"), _language("fr, en"), _language("")
    ('de', 'en', 'en')
    """
    given = [part.strip()[:2].lower() for part in accepted[:200].split(",")]
    return next((language for language in given if language in WORDS), "en")


def _file_name(title: str) -> str:
    """For a header: percent-encoded, without what file systems do not like."""
    plain = re.sub(r'[\\/:*?"<>|.\s]+', " ", title).strip()[:60].strip()
    return (
        "".join(chr(byte) if chr(byte).isascii() and chr(byte).isalnum() else f"%{byte:02X}" for byte in plain.encode())
        or "conversation"
    )
