"""What the ordinary questions are made of: the record, and how a list of things is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Question(NamedTuple):
    """A question before it becomes a problem: `skill` names the trace writer, `metadata` is what that writer reads."""

    skill: str
    prompt: str
    answer: str
    metadata: Mapping[str, Any]


def listed(items: Sequence[object]) -> str:
    """Items with commas between."""
    return ", ".join(map(str, items))
