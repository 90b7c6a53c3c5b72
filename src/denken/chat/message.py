"""One message of a conversation, as people, models and tools write it, and the tools on offer: text only, no ids.

How messages become ids is `template.py`'s business; the HTTP schemas that they arrive in are `serve/`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from denken.errors import RequestError

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the asker offers to run. parameters: the JSON Schema of its arguments, an object's."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: {"type": "object", "properties": {}})


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function that the assistant asks for: its name, and its arguments as the JSON text the model wrote."""

    name: str
    arguments: str
    id: str | None = None
    type: str = "function"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn.

    content: what was said; of an assistant, the answer. Empty where an assistant only calls tools.
    reasoning_content: the assistant's thought. "" means that it had none, None that nobody knows: then a
        thought may still stand in the content, as clients send it that do not separate the two.
    tool_calls: what the assistant asks for. name: the speaker's or the tool's, not shown to the model.

    Raises RequestError for an unknown role, or for a thought or tool calls of anybody but the assistant.

    >>> Message("assistant", "12", reasoning_content="3 * 4 = 12").content
    '12'
    """

    role: Role
    content: str
    reasoning_content: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    name: str | None = None

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise RequestError(f"The role {self.role!r} is not known; give one of {', '.join(get_args(Role))}.")
        if self.role != "assistant" and self.tool_calls:
            raise RequestError(f"A message of the {self.role} cannot hold tool calls; only the assistant calls tools.")
        if self.role != "assistant" and self.reasoning_content:
            raise RequestError(f"A message of the {self.role} cannot hold reasoning_content; only the assistant can.")
