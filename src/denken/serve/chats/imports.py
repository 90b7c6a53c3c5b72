"""POST /app/import: ChatGPT's or DeepSeek's export, or our own, as .json or .zip, into the caller's conversations.

What is in one conversation is read by `foreign.py`. Here the file is taken apart, one conversation at a time, so that
its size is what bounds the memory that it takes; and what was imported before is not imported again.
"""

from __future__ import annotations

import asyncio
import codecs
import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from fastapi import APIRouter, Request
from sqlalchemy import Connection, insert, select

from denken.serve.chats import rows, titles
from denken.serve.chats.chats import Chats, owner
from denken.serve.chats.foreign import Carried, Foreign, NotReadable, read
from denken.serve.chats.records import Record
from denken.serve.failure import Failure
from denken.serve.keys import now
from denken.serve.tables import conversations, uploads

MOST_UNPACKED = 512 * 2**20
MOST_ENTRIES = 20_000
# Of one conversation, as it stands in the file.
MOST_CHARACTERS = 16 * 2**20
MOST_CONVERSATIONS = 20_000
MOST_PROBLEMS = 20
CHUNK = 2**18
# Of messages that come without.
NO_FIGURES: Record = {"usage": None, "thought_seconds": 0.0, "seconds": 0.0, "thinking": False, "search": []}

_NAME = re.compile(r"(?:^|/)conversations(?:[-_]\d{1,6})?\.json$", re.IGNORECASE)
_BETWEEN = re.compile(r"[\s,]*")


def add_routes(api: APIRouter, chats: Chats) -> None:
    # Each may hold hundreds of megabytes for a while.
    one_at_a_time = asyncio.Lock()

    async def import_(request: Request) -> Record:
        """Takes the file's bytes as the body."""
        own = owner(request.state.caller)
        if one_at_a_time.locked():
            raise Failure(503, "Another import is under way; try again soon.", code="overloaded", retry_after=5)
        async with one_at_a_time:
            data = await request.body()
            return await chats.run(lambda: imported(chats, own, data))

    body = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}
    api.add_api_route("/app/import", import_, methods=["POST"], openapi_extra={"requestBody": body})


def imported(chats: Chats, own: str, data: bytes) -> Record:
    """What became of a file. Raises Failure 400 where nothing in it can be read."""
    done: Record = {"imported": 0, "skipped": 0, "problems": []}
    try:
        for number, given in enumerate(_conversations(data), 1):
            if number > MOST_CONVERSATIONS:
                raise NotReadable(f"It has more than {MOST_CONVERSATIONS} conversations; the rest was left out.")
            try:
                foreign = read(given)
            except NotReadable as error:
                _complain(done, f"Conversation {number} was left out: {error}.")
                continue
            with chats.store.write() as connection:
                new = enter(connection, own, foreign)
            done["imported" if new else "skipped"] += 1
    except NotReadable as error:
        if not done["imported"] and not done["skipped"]:
            raise Failure(400, str(error), code="not_readable") from error
        _complain(done, str(error))
    return done


def _complain(done: Record, problem: str) -> None:
    if len(done["problems"]) < MOST_PROBLEMS:
        done["problems"].append(problem)


def enter(connection: Connection, own: str, foreign: Foreign) -> bool:
    """Makes the conversation, unless it is there already."""
    source = f"{own}/{foreign.source}"
    c = conversations.c
    there = (c.source == source) | ((c.id == foreign.source.removeprefix("denken:")) & (c.owner == own))
    found = connection.execute(select(c.number, c.deleted).where(there)).one_or_none()
    if found is not None:
        if found.deleted is None:
            return False
        rows.remove(connection, [found.number])
    moment = now()
    created = foreign.created or moment
    row = rows.create(
        connection,
        own,
        source=source,
        title=foreign.title or _title(foreign),
        titled=bool(foreign.title),
        pinned=foreign.pinned,
        created=created,
        updated=foreign.updated or created,
    )
    ids: dict[str | None, str | None] = {None: None}
    ids |= {carried.id: rows.new_id() for carried in foreign.messages}
    given = [_values(carried, ids[carried.id], ids[carried.parent], created) for carried in foreign.messages]
    for carried, number in zip(foreign.messages, rows.add_messages(connection, row["number"], given), strict=True):
        if carried.files:
            rows.attach(connection, number, [_keep(connection, own, *file) for file in carried.files])
    rows.change(connection, row, head=ids.get(foreign.head))
    return True


def _title(foreign: Foreign) -> str:
    said = {"user": "", "assistant": ""}
    for carried in foreign.messages:
        said[carried.role] = said[carried.role] or carried.content
    return titles.title(said["assistant"], said["user"])


def _values(carried: Carried, id_: str | None, parent: str | None, created: int) -> Record:
    return {
        "id": id_,
        "parent": parent,
        "role": carried.role,
        "content": carried.content,
        "thought": carried.thought,
        "created": carried.created or created,
        "model": carried.model,
        "state": carried.state,
        "sources": carried.sources,
        "steps": carried.steps,
        **NO_FIGURES,
        **carried.figures,
    }


def _keep(connection: Connection, own: str, name: str, text: str) -> int:
    values = {"id": rows.new_id(), "owner": own, "name": name[:200], "text": text, "characters": len(text)}
    made = insert(uploads).values(values | {"created": now()}).returning(uploads.c.number)
    return int(connection.execute(made).scalar_one())


def _conversations(data: bytes) -> Iterator[Any]:
    """The conversations of a file, parsed one by one. Raises NotReadable."""
    if not data.startswith(b"PK\x03\x04"):
        yield from _parsed(io.BytesIO(data), "The file")
        return
    if data.count(b"PK\x01\x02") > MOST_ENTRIES:
        raise NotReadable(f"The archive has more than {MOST_ENTRIES} files; send its conversations.json alone.")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = sorted((entry for entry in archive.infolist() if _NAME.search(entry.filename)), key=_name)
            if not entries:
                raise NotReadable("There is no conversations.json in the archive; send the export as it came.")
            if sum(entry.file_size for entry in entries) > MOST_UNPACKED:
                raise NotReadable(f"The archive unpacks to more than {MOST_UNPACKED // 2**20} MiB; send it in parts.")
            for entry in entries:
                with archive.open(entry) as file:
                    yield from _parsed(file, entry.filename[-80:])
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise NotReadable(
            "The archive is damaged, encrypted or of an unknown kind; send its conversations.json."
        ) from error


def _name(entry: zipfile.ZipInfo) -> str:
    return entry.filename


def _parsed(file: Any, name: str) -> Iterator[Any]:
    """The members of the list in a JSON file, or the one object that it is."""
    text = _Text(file, name)
    first = text.skip()
    if first not in ("[", "{"):
        raise NotReadable(f"{name} is no JSON of conversations; send an export of ChatGPT, DeepSeek or denken.")
    if first == "{":
        yield text.value()
        return
    text.drop(1)
    while (first := text.skip()) != "]":
        if not first:
            raise NotReadable(f"{name} ends in the middle; download it once more.")
        yield text.value()


class _Text:
    """Text that is read as far as it is needed."""

    def __init__(self, file: Any, name: str):
        self._file, self._name = file, name
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._text, self._place, self._over = "", 0, False

    def skip(self) -> str:
        """The next character that is neither space nor comma; "" at the end."""
        while True:
            match = _BETWEEN.match(self._text, self._place)
            assert match is not None
            self._place = match.end()
            if self._place < len(self._text):
                return self._text[self._place]
            if not self._more(CHUNK):
                return ""

    def drop(self, count: int) -> None:
        self._place += count

    def value(self) -> Any:
        """The value that begins here. Twice as much is read each time that it is not whole yet."""
        size = CHUNK
        while True:
            try:
                value, self._place = json.JSONDecoder(parse_constant=_no_constant).raw_decode(self._text, self._place)
                return value
            except RecursionError:
                raise NotReadable(f"{self._name} is nested too deep.") from None
            except ValueError:
                if len(self._text) - self._place > MOST_CHARACTERS:
                    raise NotReadable(
                        f"{self._name} has a conversation of more than {MOST_CHARACTERS // 2**20} million characters, "
                        "or is damaged."
                    ) from None
                if not self._more(size):
                    raise NotReadable(f"{self._name} is damaged or no JSON; download it once more.") from None
            size *= 2

    def _more(self, size: int) -> bool:
        """Reads on; what was taken already goes."""
        if self._over:
            return False
        chunk = self._file.read(size)
        self._over = not chunk
        self._text = self._text[self._place :] + self._decoder.decode(chunk, self._over)
        self._place = 0
        return not self._over


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
