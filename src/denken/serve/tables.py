"""What the store holds: keys with their limits and what they have spent, a line for every request, conversations.

Tables of SQLAlchemy's Core, not mapped classes: everything here is a conditional UPDATE, one inserted row or a sum, and
an object that remembers what it read is what a race is made of. The tables come to be in `migrations/`; a test holds
the two together. The index of words, `said`, is not here: it is another kind of table in either kind of database, and
`chats/finding.py` alone knows it.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
)

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

# Whose a conversation or an upload is: the id of a key as text, or "" where keys are off.
conversations = Table(
    "conversations",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("title", Text, nullable=False, server_default=""),
    Column("titled", Boolean, nullable=False, server_default=false()),  # by the person, so nobody else changes it
    Column("pinned", Boolean, nullable=False, server_default=false()),
    Column("created", BigInteger, nullable=False),
    Column("updated", BigInteger, nullable=False),
    Column("head", Text),  # the message that the branch which is shown ends with
    Column("share", Text, unique=True),  # what makes the link
    Column("shared_head", Text),  # the branch as it was when it was shared
    Column("shared", BigInteger),
    Column("deleted", BigInteger),
    Column("source", Text, unique=True),  # where it was imported from
    Index("conversations_of_owner", "owner", "pinned", "updated"),
)

# A tree: `parent` is the id of another message of the conversation, NULL for a first question.
messages = Table(
    "messages",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("conversation", Integer, ForeignKey("conversations.number", ondelete="CASCADE"), nullable=False),
    Column("parent", Text),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("thought", Text, nullable=False, server_default=""),
    Column("created", BigInteger, nullable=False),
    Column("model", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False, server_default="done"),
    Column("error", JSON),
    Column("steps", JSON),
    Column("sources", JSON),
    Column("thinking", Boolean, nullable=False, server_default=false()),
    Column("search", JSON),
    Column("left_out", Integer, nullable=False, server_default="0"),  # the oldest exchanges that the model did not read
    Column("usage", JSON),
    Column("thought_seconds", Float),
    Column("seconds", Float),
    Column("request", Text),  # its line in the ledger
    Column("stream", Text),
    Column("server", BigInteger),  # the process that writes it; see alive.py
    Index("messages_of_conversation", "conversation"),
    Index("messages_by_state", "state"),
)

uploads = Table(
    "uploads",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("owner", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("characters", Integer, nullable=False),
    Column("pages", Integer),
    Column("cut", Boolean, nullable=False, server_default=false()),
    Column("created", BigInteger, nullable=False),
    Index("uploads_of_owner", "owner", "created"),
)

attachments = Table(
    "attachments",
    metadata,
    Column("message", Integer, ForeignKey("messages.number", ondelete="CASCADE"), nullable=False),
    Column("upload", Integer, ForeignKey("uploads.number"), nullable=False),
    Column("place", Integer, nullable=False),
    UniqueConstraint("message", "place", name="attachments_of_message"),
    Index("attachments_of_upload", "upload"),
)
