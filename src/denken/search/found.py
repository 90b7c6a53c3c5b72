"""What a search finds: sources with a number, an excerpt and where it comes from. Values only.

A reply may search several times, and its sources are numbered through from 1: `[citation:3]` means the same one
wherever it stands.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that was found. What the model reads of it and what a click on its number shows is `excerpt`.

    url: where it can be opened; of a document in the library "library:ID". published: a date as the page gives it.
    """

    number: int
    title: str
    url: str
    excerpt: str
    published: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one search; `sources` are those that this search was the first to find.

    again: those that an earlier search of the same reply had found, too, under their old numbers: the model may be
        shown another part of them now.
    problem: why something is missing ("The web search took longer than 6 s."), a sentence for the person, or "".
    """

    query: str
    sources: tuple[Source, ...] = ()
    problem: str = ""
    seconds: float = 0.0
    again: tuple[Source, ...] = ()


class Look(Protocol):
    """The searches of one reply. Never raises: what went wrong stands in `Found.problem`."""

    def __call__(self, query: str) -> Awaitable[Found]: ...
