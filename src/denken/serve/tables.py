"""What the store holds: the keys with their limits and what they have spent, and one line for every request.

Tables of SQLAlchemy's Core, not mapped classes: everything here is a conditional UPDATE, one inserted row or a sum, and
an object that remembers what it read is what a race is made of. The tables come to be in `migrations/`; a test holds
the two together.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, Text

metadata = MetaData()

# Moments are milliseconds since 1970; amounts are billionths of a US dollar. What is NULL limits nothing.
# `running`, `reserved` and the kept part of `day_tokens` are those of the lines that are open.
keys = Table(
    "keys",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("public", Text, nullable=False, unique=True),  # the part of the secret that it is found by
    Column("digest", Text, nullable=False),  # SHA-256 of the whole secret, in hexadecimal
    Column("created", BigInteger, nullable=False),
    Column("revoked", BigInteger),
    Column("expires", BigInteger),
    Column("rpm", Integer),
    Column("concurrency", Integer),
    Column("spending", BigInteger),
    Column("tokens_per_day", BigInteger),
    Column("running", Integer, nullable=False, server_default="0"),
    Column("reserved", BigInteger, nullable=False, server_default="0"),
    Column("spent", BigInteger, nullable=False, server_default="0"),
    Column("day", Integer, nullable=False, server_default="0"),  # since 1970, in UTC, that day_tokens is of
    Column("day_tokens", BigInteger, nullable=False, server_default="0"),
)
# Whoever revokes a key that leaked makes the next one under the same name.
_LIVE = keys.c.revoked.is_(None)
Index("keys_by_name", keys.c.name, unique=True, sqlite_where=_LIVE, postgresql_where=_LIVE)

# A line is "open" from its reservation to its settlement; the columns behind `outcome` are filled in by the latter.
requests = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("server", BigInteger, nullable=False),  # the process that answers it; see alive.py
    Column("key", Integer, ForeignKey("keys.id")),  # NULL where keys are off
    Column("began", BigInteger, nullable=False),
    Column("route", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("replies", Integer, nullable=False),
    Column("kept", BigInteger, nullable=False),
    Column("kept_tokens", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False, server_default="open"),
    Column("prompt_tokens", BigInteger, nullable=False, server_default="0"),
    Column("cached_tokens", BigInteger, nullable=False, server_default="0"),
    Column("thought_tokens", BigInteger, nullable=False, server_default="0"),
    Column("answer_tokens", BigInteger, nullable=False, server_default="0"),
    Column("milliseconds", BigInteger, nullable=False, server_default="0"),
    Column("cost", BigInteger, nullable=False, server_default="0"),  # the share of the machine's time, as measured
    Column("charged", BigInteger, nullable=False, server_default="0"),  # the same, at most what was kept
    Column("o1", BigInteger, nullable=False, server_default="0"),
    Column("r1", BigInteger, nullable=False, server_default="0"),
    Index("requests_of_key", "key", "began"),
    Index("requests_by_time", "began"),
    Index("requests_by_outcome", "outcome", "server"),
)
