"""The tree of a conversation, and the branch of it that a model reads: pure functions on rows.

A model reads questions and answers, never thoughts that are over. What has no answer, because it was stopped or failed
before there was one, stays as a question: it is joined to the next, for roles take turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from denken.chat.message import Message
from denken.search.prompts import with_files

Row = Mapping[str, Any]
# A file's name and its text.
Files = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question, with the files that were sent along, and its answer."""

    question: str
    answer: str

    @property
    def messages(self) -> list[Message]:
        return [Message("user", self.question), Message("assistant", self.answer, reasoning_content="")]


def path(rows: Sequence[Row], leaf: str | None) -> list[Row]:
    """The messages from the first question to the leaf; empty for None.

    Whatever a store may hold, no message is in it twice.
    """
    by_id = {row["id"]: row for row in rows}
    found: dict[str, Row] = {}
    while leaf is not None and leaf in by_id and leaf not in found:
        found[leaf] = by_id[leaf]
        leaf = by_id[leaf]["parent"]
    return list(reversed(found.values()))


def exchanges(branch: Sequence[Row], files: Mapping[int, Files]) -> tuple[list[Exchange], str]:
    """A branch as what was answered, and the question that is open at its end. files: by the number of the message.

    >>> asked = {"number": 1, "role": "user", "content": "2+2?"}
    >>> exchanges([asked, {"number": 2, "role": "assistant", "content": "4"}, {**asked, "content": "And 3?"}], {})
    ([Exchange(question='2+2?', answer='4')], 'And 3?')
    """
    found: list[Exchange] = []
    waiting = ""
    for row in branch:
        if row["role"] == "user":
            asked = with_files(row["content"], files.get(row["number"], ()))
            waiting = f"{waiting}\n\n{asked}" if waiting else asked
        elif row["content"].strip() and waiting:
            found.append(Exchange(waiting, row["content"]))
            waiting = ""
        elif row["content"].strip() and found:
            found[-1] = replace(found[-1], answer=f"{found[-1].answer}\n\n{row['content']}")
    return found, waiting
