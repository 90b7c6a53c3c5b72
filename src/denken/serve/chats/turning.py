"""A turn of a conversation: its rows, the model's reply, and the events that the page reads.

    begin {user, reply, stream} -> think | search | found | answer ... -> end {reply} -> [DONE]

It goes the way of every request (`denken.serve.turn.Counter.keep`), and runs to its end whether or not anybody listens.
The reply is in the store from `begin` on, and at its end in every case: done, cut, stopped or failed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from denken.errors import RequestError
from denken.search.found import Look
from denken.serve import sse
from denken.serve.chats import branch, records, rows
from denken.serve.chats.chats import Chats, Writing
from denken.serve.chats.fitting import Fitted, Question
from denken.serve.chats.growing import SERVER_ENDED, Growing, told
from denken.serve.chats.schemas import TurnRequest
from denken.serve.failure import Failure
from denken.serve.fields import changed
from denken.serve.places import Places
from denken.serve.schemas import EFFORT_SHARE
from denken.serve.speaker import Speaker
from denken.serve.turn import Turn


@dataclass(frozen=True, slots=True)
class Asked:
    """What a turn needs of the store, read before it begins.

    history, question: what the model reads. question_id: the message that is answered, where it is there already.
    left_out: of the history, what the reply before it has left out. uploads: those that a new question brings.
    """

    conversation: rows.Row
    history: Sequence[branch.Exchange]
    question: str
    question_id: str | None
    left_out: int
    uploads: Sequence[rows.Row]


def asked(connection: Connection, owner: str, id_: str, request: TurnRequest) -> Asked:
    """Raises Failure 400, 404 and 409 for a turn that cannot be."""
    conversation = rows.conversation(connection, owner, id_)
    tree = rows.tree(connection, conversation["number"])
    parent = next((row for row in tree if row["id"] == request.parent), None)
    _check_parent(request, parent)
    way = branch.path(tree, request.parent)
    files = _files(connection, conversation["number"], {row["number"] for row in way})
    uploads = rows.own_uploads(connection, owner, request.attachments)
    if request.content is not None:
        new: rows.Row = {"number": 0, "role": "user", "content": request.content}
        files[0] = [(upload["name"], upload["text"]) for upload in uploads]
        way = [*way, new]
    history, question = branch.exchanges(way, files)
    before = [row["left_out"] for row in way if row["role"] == "assistant" and "left_out" in row]
    question_id = request.parent if request.content is None else None
    return Asked(conversation, history, question, question_id, before[-1] if before else 0, uploads)


def _files(connection: Connection, conversation: int, numbers: Collection[int]) -> dict[int, branch.Files]:
    """The files that were sent along with these messages."""
    attached = {number: few for number, few in rows.attached(connection, conversation).items() if number in numbers}
    texts = rows.texts_of(connection, {upload["number"] for few in attached.values() for upload in few})
    return {number: [texts[upload["number"]] for upload in few] for number, few in attached.items()}


def _check_parent(request: TurnRequest, parent: rows.Row | None) -> None:
    if request.parent is not None and parent is None:
        raise Failure(404, "There is no such message in this conversation.", param="parent", code="no_message")
    if parent is None:
        return
    if request.content is None and parent["role"] != "user":
        raise Failure(400, "parent is an answer; to answer again, name the question.", param="parent")
    if request.content is not None and parent["role"] != "assistant":
        raise Failure(400, "parent is a question; a new one follows an answer, or null.", param="parent")
    if parent["state"] == "running":
        raise Failure(
            409, "The answer before this question is still being written; wait for it, or stop it.", code="running"
        )


@dataclass(frozen=True, slots=True)
class Turning:
    """One turn as `denken.serve.turn.Counter.keep` runs it."""

    request: TurnRequest
    chats: Chats
    places: Places
    asked: Asked
    look: Look | None

    def asks(self, speaker: Speaker) -> Sequence[Question]:
        budget = None
        if self.request.effort in EFFORT_SHARE:
            budget = int(speaker.context * EFFORT_SHARE[self.request.effort])
        return [
            Question(
                self.asked.history,
                self.asked.question,
                changed(speaker.defaults, {"thinking_budget": budget}),
                self._thinks(speaker),
                self.asked.left_out,
                self.look,
            )
        ]

    def _thinks(self, speaker: Speaker) -> bool:
        return self.request.thinking or speaker.about.thinks == "always"

    async def events(self, turn: Turn) -> AsyncGenerator[sse.Event, None]:
        growing = Growing()
        writing = self.chats.begin(growing, lambda connection: self._insert(connection, turn))
        try:
            made = await writing.begun()
            user = records.message(made[0], made[0]["uploads"]) if len(made) > 1 else None
            reply = records.message(made[-1])
            yield sse.Event({"type": "begin", "user": user, "reply": reply, "stream": turn.stream})
            async with aclosing(self._grow(turn, growing)) as said:
                async for record in said:
                    yield sse.Event(record)
            growing.end("cut" if turn.replies[0].finish_reason == "length" else "done")
        except (asyncio.CancelledError, GeneratorExit):
            if self.places.cleared:
                growing.end("failed", SERVER_ENDED)
            else:
                growing.end("stopped")
            raise
        except RequestError as error:
            growing.end("failed", error)
            raise Failure(400, str(error), code=told(error)["code"]) from error
        except BaseException as error:
            growing.end("failed", error)
            raise
        finally:
            writing.end()
        await writing.written()
        await turn.settle()
        yield sse.Event({"type": "end", "reply": await self._record(writing)})
        yield sse.DONE

    async def _grow(self, turn: Turn, growing: Growing) -> AsyncGenerator[dict[str, Any], None]:
        (reply,) = turn.replies
        try:
            async with aclosing(turn.pieces()) as pieces:
                async for _, piece in pieces:
                    for record in growing.take(piece):
                        yield record
                    growing.usage = reply.usage
        finally:
            growing.usage = reply.usage
            growing.left_out = reply.left_out if isinstance(reply, Fitted) else 0

    async def _record(self, writing: Writing) -> dict[str, Any]:
        assert writing.row is not None
        number = writing.row["number"]
        return records.message(await self.chats.read(lambda connection: rows.message(connection, number)))

    def _insert(self, connection: Connection, turn: Turn) -> list[rows.Row]:
        """The question's row, where it is new, and the reply's."""
        conversation = rows.conversation(connection, self.asked.conversation["owner"], self.asked.conversation["id"])
        number: int = conversation["number"]
        made: list[rows.Row] = []
        question_id = self.asked.question_id
        if question_id is None:
            user = rows.add_message(
                connection, number, parent=self.request.parent, role="user", content=self.request.content
            )
            rows.attach(connection, user["number"], [upload["number"] for upload in self.asked.uploads])
            made.append(user | {"uploads": rows.attached(connection, number).get(user["number"], [])})
            question_id = user["id"]
        reply = rows.add_message(
            connection,
            number,
            parent=question_id,
            role="assistant",
            content="",
            state="running",
            model=turn.speaker.name,
            thinking=self._thinks(turn.speaker),
            search=list(dict.fromkeys(self.request.search)),
            request=turn.id,
            stream=turn.stream,
            server=self.chats.alive.number,
        )
        rows.change(connection, conversation, head=reply["id"], updated=reply["created"])
        return [*made, reply]
