"""The messages of a request: what each may say, whether calls and their results fit together, and what they become.

Thoughts that are sent back are accepted everywhere, by either of their names, with and without tool calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from denken.chat.message import Message, ToolCall
from denken.serve.fields import Lenient, Name, Text

MAX_MESSAGES = 1000
MAX_PARTS = 1000
MAX_CALLS = 128

Id = Annotated[Text, Field(min_length=1, max_length=256)]


class TextPart(Lenient):
    type: Literal["text"]
    text: Text


class Called(Lenient):
    """arguments: as the model wrote them, which may be no JSON."""

    name: Name
    arguments: Text


class Call(Lenient):
    id: Id
    type: Literal["function"] = "function"
    function: Called


class ChatMessage(Lenient):
    """One message of the history. prefix: DeepSeek's word for an answer that is begun, and is to be gone on with."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | Annotated[list[TextPart], Field(max_length=MAX_PARTS)] | None = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None
    tool_calls: Annotated[list[Call], Field(max_length=MAX_CALLS)] | None = None
    tool_call_id: Id | None = None
    prefix: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _say_what_is_not_there(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.get("role") == "function" or value.get("function_call"):
            raise ValueError(
                "function_call and the role function are no longer used; send tool_calls and the role tool"
            )
        parts = value.get("content")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("type") not in ("text", None):
                raise ValueError(f"this model reads text only, and a part is of type {str(part['type'])[:40]!r}")
        return value

    @model_validator(mode="after")
    def _check_role(self) -> ChatMessage:
        if self.role != "assistant" and (self.tool_calls or self.prefix):
            raise ValueError("only a message of the assistant has tool_calls or a prefix")
        if self.role == "tool" and self.tool_call_id is None:
            raise ValueError("a tool's message needs the tool_call_id of the call that it answers")
        if self.content is None and self.role != "assistant":
            raise ValueError("the message has no content")
        return self

    @property
    def text(self) -> str:
        content = self.content
        return content if isinstance(content, str) else "".join(part.text for part in content or ())

    @property
    def thought(self) -> str | None:
        return self.reasoning_content if self.reasoning_content is not None else self.reasoning

    def as_message(self) -> Message:
        if self.role != "assistant":
            return Message("system" if self.role == "developer" else self.role, self.text)
        calls = tuple(ToolCall(call.function.name, call.function.arguments, call.id) for call in self.tool_calls or ())
        return Message("assistant", self.text, reasoning_content=self.thought, tool_calls=calls)


def check(messages: Sequence[ChatMessage]) -> None:
    """Raises ValueError where calls and results do not fit together, or a prefix is not at the end."""
    open_calls: list[str] = []
    for number, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                raise ValueError(
                    f"message {number} answers the call {str(message.tool_call_id)[:80]!r}, which the assistant's "
                    "message before it did not make, or which was answered already"
                )
            open_calls.remove(message.tool_call_id)
            continue
        if open_calls:
            raise ValueError(
                f"the call {open_calls[0][:80]!r} has no result before message {number}; send a result for every call"
            )
        open_calls = [call.id for call in message.tool_calls or ()]
        if len(set(open_calls)) < len(open_calls):
            raise ValueError(f"two calls of message {number} have the same id")
        if message.prefix and message is not messages[-1]:
            raise ValueError(f"message {number} has a prefix and is not the last; only the last can be gone on with")
    if open_calls:
        raise ValueError(f"the call {open_calls[0][:80]!r} has no result; send a result for every call")


def conversation(messages: Sequence[ChatMessage]) -> list[Message]:
    """The messages for the model. It reads no ids of calls, so results come in the order of their calls."""
    ordered: list[ChatMessage] = []
    results: list[ChatMessage] = []
    places: dict[str | None, int] = {}
    for message in messages:
        if message.role == "tool":
            results.append(message)
            continue
        ordered += sorted(results, key=lambda result: places[result.tool_call_id])
        results = []
        ordered.append(message)
        places = {call.id: place for place, call in enumerate(message.tool_calls or ())}
    ordered += sorted(results, key=lambda result: places[result.tool_call_id])
    return [message.as_message() for message in ordered]
