"""Rows as the page reads them: conversations, messages, uploads. The fields are listed in docs/chats.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from denken.search.found import Source
from denken.serve.money import NANO

Record = dict[str, Any]
TOKENS = ("prompt_tokens", "cached_tokens", "thought_tokens", "answer_tokens")


def line(row: Mapping[str, Any], *, running: bool | None = None) -> Record:
    """A conversation in a list."""
    record = {name: row[name] for name in ("id", "title", "pinned", "created", "updated")}
    record["pinned"] = bool(record["pinned"])
    record["running"] = bool(row.get("running") if running is None else running)
    if "snippet" in row:
        record["snippet"] = row["snippet"]
    return record


def whole(row: Mapping[str, Any], shown: Sequence[Record]) -> Record:
    """A conversation with all its messages."""
    running = any(message["state"] == "running" for message in shown)
    return line(row, running=running) | {"head": row["head"], "share": row["share"], "messages": list(shown)}


def message(row: Mapping[str, Any], uploads: Sequence[Mapping[str, Any]] = ()) -> Record:
    """One message. What it cost is known once its line in the ledger is closed."""
    settled = row.get("outcome") not in (None, "open", "lost")
    return {
        "id": row["id"],
        "parent": row["parent"],
        "role": row["role"],
        "content": row["content"],
        "thought": row["thought"],
        "created": row["created"],
        "model": row["model"] or None,
        "state": row["state"],
        "error": row["error"],
        "steps": row["steps"] or [],
        "sources": row["sources"] or [],
        "attachments": [{name: one[name] for name in ("id", "name", "characters")} for one in uploads],
        "thinking": bool(row["thinking"]),
        "search": row["search"] or [],
        "left_out": row["left_out"],
        "usage": row["usage"],
        "thought_seconds": round(row["thought_seconds"] or 0.0, 3),
        "seconds": round(row["seconds"] or 0.0, 3),
        "cost_usd": row["cost"] / NANO if settled else None,
        "o1_usd": row["o1"] / NANO if settled else None,
        "stream": row["stream"] if row["state"] == "running" else None,
    }


def source(found: Source) -> Record:
    return {name: getattr(found, name) for name in ("number", "title", "url", "excerpt", "published")}
