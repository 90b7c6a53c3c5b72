"""Who may ask, what they may still spend, and what was spent: the words in which routes speak of it.

`OpenDesk` lets everybody in and writes nothing down; `keydesk.py` asks for keys, keeps limits and writes the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from starlette.requests import Request

from denken.serve.failure import Failure
from denken.serve.speaker import Usage

Outcome = Literal["done", "aborted", "failed"]
By = Literal["day", "key", "model"]


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


@dataclass(frozen=True, slots=True)
class Balance:
    """What a caller may still spend, in billionths of a US dollar. limit: None where nothing limits them."""

    spent: int = 0
    limit: int | None = None

    @property
    def left(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.spent)


class Ticket(Protocol):
    """A place and an amount that are kept for one request until it is settled.

    headers: what the response says of the limits of its key.
    """

    @property
    def headers(self) -> Mapping[str, str]: ...

    def begun(self) -> None:
        """The first piece of the replies has come. Called once, or never where none comes."""
        ...

    async def settle(self, usages: Sequence[Usage], seconds: float, outcome: Outcome) -> None:
        """Writes down, durably, what each reply cost, and gives back what was kept too much. Once."""
        ...


class Desk(Protocol):
    """Every route asks `caller`; every route that computes asks `reserve` and settles what it got.

    failures: how often what it keeps could not be read or written.
    """

    @property
    def failures(self) -> int: ...

    async def caller(self, request: Request) -> Caller:
        """Raises Failure 401 for a key that is missing, unknown or revoked."""
        ...

    async def reserve(self, caller: Caller, wanted: Wanted) -> Ticket:
        """Raises Failure 402 or 429 where a limit of the key would be passed."""
        ...

    async def balance(self, caller: Caller) -> Balance: ...

    async def usage(self, caller: Caller, days: int, by: By) -> Mapping[str, Any]:
        """What the caller has used, where keys are off what everybody has, as `usage.report` puts it.

        Raises Failure 404 where nothing is written down.
        """
        ...


class OpenDesk:
    """No keys, no limits, no ledger: for a server of one's own."""

    failures = 0

    async def caller(self, request: Request) -> Caller:
        return Caller()

    async def reserve(self, caller: Caller, wanted: Wanted) -> Ticket:
        return _Nothing()

    async def balance(self, caller: Caller) -> Balance:
        return Balance()

    async def usage(self, caller: Caller, days: int, by: By) -> Mapping[str, Any]:
        raise Failure(404, "This server keeps no ledger; `denken serve` does.", code="no_ledger")


class _Nothing:
    headers: Mapping[str, str] = {}

    def begun(self) -> None:
        pass

    async def settle(self, usages: Sequence[Usage], seconds: float, outcome: Outcome) -> None:
        pass
