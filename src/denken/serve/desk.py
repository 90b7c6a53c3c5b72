"""Who may ask, what they may still spend, and what was spent: the words in which routes speak of it.

`OpenDesk` lets everybody in and writes nothing down; keys, limits and the ledger are in `keys.py` and `ledger.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from starlette.requests import Request

from denken.serve.speaker import Usage

Outcome = Literal["done", "aborted", "failed"]


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is; key is None where keys are off."""

    key: str | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request may come to at the most, before it runs.

    request: its id. replies: how many are made. most_tokens: of all replies together.
    """

    request: str
    route: str
    model: str
    prompt_tokens: int
    most_tokens: int
    replies: int = 1


class Ticket(Protocol):
    """A place and an amount that are kept for one request until it is settled."""

    async def settle(self, usages: Sequence[Usage], seconds: float, outcome: Outcome) -> None:
        """Writes down, durably, what each reply cost, and gives back what was kept too much. Once."""
        ...


class Desk(Protocol):
    """Every route asks `caller`; every route that computes asks `reserve` and settles what it got."""

    async def caller(self, request: Request) -> Caller:
        """Raises Failure 401 for a key that is missing, unknown or revoked."""
        ...

    async def reserve(self, caller: Caller, wanted: Wanted) -> Ticket:
        """Raises Failure 402 or 429 where a limit of the key would be passed."""
        ...


class OpenDesk:
    """No keys, no limits, no ledger: for a server of one's own."""

    async def caller(self, request: Request) -> Caller:
        return Caller()

    async def reserve(self, caller: Caller, wanted: Wanted) -> Ticket:
        return _Nothing()


class _Nothing:
    async def settle(self, usages: Sequence[Usage], seconds: float, outcome: Outcome) -> None:
        pass
