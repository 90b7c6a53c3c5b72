"""Keys: made, found by what a request brings along, listed, revoked.

A secret is shown once, when it is made. The store has its SHA-256: of 256 random bits there is nothing to be guessed,
so that a slow hash would only slow the server down. What a key may spend is kept in `ledger.py`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from rich.table import Table
from sqlalchemy import Connection, RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from denken.errors import ConfigError, UnknownNameError
from denken.serve.money import usd
from denken.serve.tables import keys, requests

PREFIX = "sk-denken-"
PUBLIC_LENGTH = 12
# What a secret that cannot be one of ours is compared with, so that it takes as long as any other.
NOBODY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()
MOST_NAME, MOST_SECRET = 64, 200


@dataclass(frozen=True, slots=True)
class Limits:
    """What a key may do; None limits nothing.

    rpm: requests in any 60 s. concurrency: replies under way. spending: billionths of a US dollar, all in all.
    tokens_per_day: of prompts and replies, a day in UTC.
    """

    rpm: int | None = None
    concurrency: int | None = None
    spending: int | None = None
    tokens_per_day: int | None = None


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def create(connection: Connection, name: str, limits: Limits | None = None, expires: int | None = None) -> str:
    """A new key; returns its secret, which nobody can look up later. Raises ConfigError for a name that is taken."""
    if not (0 < len(name) <= MOST_NAME and name.isprintable() and name == name.strip()):
        raise ConfigError(f"{name[:80]!r} is no name for a key; give one of 1 to {MOST_NAME} printable characters.")
    limits = limits or Limits()
    public = secrets.token_hex(PUBLIC_LENGTH // 2)
    secret = f"{PREFIX}{public}-{secrets.token_urlsafe(32)}"
    values = {
        "name": name,
        "public": public,
        "digest": digest(secret),
        "created": now(),
        "expires": expires,
        "rpm": limits.rpm,
        "concurrency": limits.concurrency,
        "spending": limits.spending,
        "tokens_per_day": limits.tokens_per_day,
    }
    try:
        connection.execute(insert(keys).values(values))
    except IntegrityError:
        raise ConfigError(f"There is a key {name!r}; give another name, or revoke it: denken keys revoke") from None
    return secret


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def find(connection: Connection, secret: str) -> RowMapping | None:
    """The key of a secret; None for one that is malformed, unknown, revoked or expired.

    Every case takes the same steps: a look-up by the public part, a digest, a comparison in constant time.
    """
    public = secret[len(PREFIX) : len(PREFIX) + PUBLIC_LENGTH]
    row = connection.execute(select(keys).where(keys.c.public == public)).mappings().one_or_none()
    expected = NOBODY if row is None else str(row["digest"])
    is_it = hmac.compare_digest(digest(secret[:MOST_SECRET]), expected)
    if row is None or not is_it or row["revoked"] is not None:
        return None
    return None if row["expires"] is not None and row["expires"] <= now() else row


def revoke(connection: Connection, name: str) -> None:
    """From now on the key opens nothing. Raises UnknownNameError where there is none of that name in use."""
    live = (keys.c.name == name) & keys.c.revoked.is_(None)
    if connection.execute(update(keys).where(live).values(revoked=now())).rowcount == 0:
        known = [repr(row["name"]) for row in listing(connection) if row["revoked"] is None]
        hint = f"there are {', '.join(known)}." if known else "there is none at all."
        raise UnknownNameError(f"There is no key {name[:80]!r} in use; {hint}")


def any_live(connection: Connection) -> bool:
    """Whether some key opens the server."""
    live = keys.c.revoked.is_(None) & (keys.c.expires.is_(None) | (keys.c.expires > now()))
    return connection.execute(select(keys.c.id).where(live).limit(1)).first() is not None


def listing(connection: Connection) -> Sequence[RowMapping]:
    """Every key there was, oldest first, with `used`: when it was last asked with, or None."""
    used = select(func.max(requests.c.began)).where(requests.c.key == keys.c.id).scalar_subquery()
    return connection.execute(select(keys, used.label("used")).order_by(keys.c.id)).mappings().all()


def table(rows: Sequence[RowMapping]) -> Table:
    """A listing as it is printed."""
    shown = Table()
    for heading in ("name", "begins with", "created", "used", "state"):
        shown.add_column(heading)
    for heading in ("a minute", "at once", "tokens a day", "limit (USD)", "spent (USD)"):
        shown.add_column(heading, justify="right")
    for row in rows:
        shown.add_row(
            row["name"],
            f"{PREFIX}{row['public']}",
            _date(row["created"]),
            "never" if row["used"] is None else _date(row["used"]),
            _state(row),
            *("" if row[name] is None else str(row[name]) for name in ("rpm", "concurrency", "tokens_per_day")),
            "" if row["spending"] is None else usd(row["spending"]),
            usd(row["spent"]),
        )
    return shown


def _state(row: RowMapping) -> str:
    if row["revoked"] is not None:
        return f"revoked {_date(row['revoked'])}"
    if row["expires"] is None:
        return "in use"
    return f"{'expired' if row['expires'] <= now() else 'in use until'} {_date(row['expires'])}"


def _date(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d")
