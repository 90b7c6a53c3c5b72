"""What the page may send about conversations: each field with its limit."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from denken.serve.fields import Lenient, whole_characters

MOST_CONTENT = 1_000_000
MOST_ATTACHMENTS = 16
MOST_TITLE = 200

Place = Literal["web", "library"]


def storable(text: str) -> str:
    """PostgreSQL holds no NUL, and nobody can see one."""
    return whole_characters(text).replace("\x00", "\ufffd")


Said = Annotated[str, AfterValidator(storable)]
Id = Annotated[Said, Field(min_length=1, max_length=64)]


class TurnRequest(Lenient):
    """One turn: a question under an answer, a question again in other words, or another answer to a question.

    parent: what it follows; null begins the conversation. content: null answers the user's message `parent` once more.
    thinking, effort, search: the switches of the composer.
    """

    parent: Id | None = None
    content: Annotated[Said, Field(max_length=MOST_CONTENT)] | None = None
    attachments: list[Id] = Field(default_factory=list, max_length=MOST_ATTACHMENTS)
    model: Annotated[Said, Field(max_length=256)] | None = None
    thinking: bool = True
    effort: Literal["low", "medium", "high"] | None = None
    search: list[Place] = Field(default_factory=list, max_length=8)

    @model_validator(mode="after")
    def _check(self) -> TurnRequest:
        if self.content is None and self.parent is None:
            raise ValueError("content is missing; send a question, or the parent that is to be answered again")
        if self.content is None and self.attachments:
            raise ValueError("a question that is answered again keeps its own attachments; leave attachments out")
        if self.content is not None and not self.content.strip():
            raise ValueError("content is empty; write what you want to know")
        if len(set(self.attachments)) < len(self.attachments):
            raise ValueError("an attachment is named twice")
        return self


class Changes(Lenient):
    """What is to be changed of a conversation; what is null or absent stays."""

    title: Annotated[Said, Field(max_length=MOST_TITLE)] | None = None
    pinned: bool | None = None
    head: Id | None = None
