"""Keys, and a line for every request."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("public", sa.Text, nullable=False, unique=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in ("revoked", "expires")),
        *(sa.Column(name, sa.Integer) for name in ("rpm", "concurrency")),
        *(sa.Column(name, sa.BigInteger) for name in ("spending", "tokens_per_day")),
        _count("running", sa.Integer),
        _count("reserved"),
        _count("spent"),
        _count("day", sa.Integer),
        _count("day_tokens"),
    )
    live = sa.text("revoked IS NULL")
    op.create_index("keys_by_name", "keys", ["name"], unique=True, sqlite_where=live, postgresql_where=live)
    op.create_table(
        "requests",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("server", sa.BigInteger, nullable=False),
        sa.Column("key", sa.Integer, sa.ForeignKey("keys.id")),
        sa.Column("began", sa.BigInteger, nullable=False),
        sa.Column("route", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("replies", sa.Integer, nullable=False),
        sa.Column("kept", sa.BigInteger, nullable=False),
        sa.Column("kept_tokens", sa.BigInteger, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False, server_default="open"),
        *(_count(f"{kind}_tokens") for kind in ("prompt", "cached", "thought", "answer")),
        *(_count(name) for name in ("milliseconds", "cost", "charged", "o1", "r1")),
    )
    op.create_index("requests_of_key", "requests", ["key", "began"])
    op.create_index("requests_by_time", "requests", ["began"])
    op.create_index("requests_by_outcome", "requests", ["outcome", "server"])


def _count(name: str, kind: type[sa.Integer] = sa.BigInteger) -> sa.Column[int]:
    return sa.Column(name, kind, nullable=False, server_default="0")
