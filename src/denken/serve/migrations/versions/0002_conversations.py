"""Conversations with their messages, uploads, and an index of the words in them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "conversations",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False, server_default=""),
        _flag("titled"),
        _flag("pinned"),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("updated", sa.BigInteger, nullable=False),
        sa.Column("head", sa.Text),
        sa.Column("share", sa.Text, unique=True),
        sa.Column("shared_head", sa.Text),
        *(sa.Column(name, sa.BigInteger) for name in ("shared", "deleted")),
        sa.Column("source", sa.Text, unique=True),
    )
    op.create_index("conversations_of_owner", "conversations", ["owner", "pinned", "updated"])
    op.create_table(
        "messages",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column(
            "conversation", sa.Integer, sa.ForeignKey("conversations.number", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("parent", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("thought", sa.Text, nullable=False, server_default=""),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("model", sa.Text, nullable=False, server_default=""),
        sa.Column("state", sa.Text, nullable=False, server_default="done"),
        *(sa.Column(name, sa.JSON) for name in ("error", "steps", "sources")),
        _flag("thinking"),
        sa.Column("search", sa.JSON),
        sa.Column("left_out", sa.Integer, nullable=False, server_default="0"),
        sa.Column("usage", sa.JSON),
        *(sa.Column(name, sa.Float) for name in ("thought_seconds", "seconds")),
        *(sa.Column(name, sa.Text) for name in ("request", "stream")),
        sa.Column("server", sa.BigInteger),
    )
    op.create_index("messages_of_conversation", "messages", ["conversation"])
    op.create_index("messages_by_state", "messages", ["state"])
    op.create_table(
        "uploads",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("owner", "name", "text")),
        sa.Column("characters", sa.Integer, nullable=False),
        sa.Column("pages", sa.Integer),
        _flag("cut"),
        sa.Column("created", sa.BigInteger, nullable=False),
    )
    op.create_index("uploads_of_owner", "uploads", ["owner", "created"])
    op.create_table(
        "attachments",
        sa.Column("message", sa.Integer, sa.ForeignKey("messages.number", ondelete="CASCADE"), nullable=False),
        sa.Column("upload", sa.Integer, sa.ForeignKey("uploads.number"), nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.UniqueConstraint("message", "place", name="attachments_of_message"),
    )
    op.create_index("attachments_of_upload", "attachments", ["upload"])
    for statement in SAID[op.get_bind().dialect.name]:
        op.execute(statement)


# One row for every message (by its number) and every title (by the conversation's number, negative).
SAID = {
    "sqlite": ["CREATE VIRTUAL TABLE said USING fts5(words, conversation UNINDEXED)"],
    "postgresql": [
        "CREATE TABLE said (rowid BIGINT PRIMARY KEY, words TSVECTOR NOT NULL, conversation INTEGER NOT NULL)",
        "CREATE INDEX said_words ON said USING gin (words)",
    ],
}


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false())
