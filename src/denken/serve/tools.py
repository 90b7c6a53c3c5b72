"""Functions that a request offers to the model, and which of them it may, must or must not call.

The words are those of OpenAI's chat completions. A function's parameters are a JSON Schema within limits; that the
model keeps to it is the engine's affair, and running the function the client's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from denken.serve.fields import JsonSchema, Lenient, Name, Text
from denken.serve.speaker import Tool

MAX_TOOLS = 128
MAX_DESCRIPTION = 16_384

ToolChoice = Literal["auto", "none", "required"] | tuple[Literal["named"], str]


class Function(Lenient):
    """strict: accepted; arguments follow their schema in any case."""

    name: Name
    description: Annotated[Text, Field(max_length=MAX_DESCRIPTION)] | None = None
    parameters: JsonSchema | None = None

    @field_validator("parameters")
    @classmethod
    def _check_kind(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value and value.get("type", "object") != "object":
            raise ValueError("the arguments of a function are an object; give a schema of type object")
        return value

    def as_tool(self) -> Tool:
        tool = Tool(self.name, self.description or "")
        return Tool(self.name, tool.description, self.parameters) if self.parameters else tool


class FunctionTool(Lenient):
    type: Literal["function"]
    function: Function


class Named(Lenient):
    name: Name


class NamedChoice(Lenient):
    """One function that has to be called, or, among allowed tools, may be."""

    type: Literal["function"]
    function: Named


class AllowedTools(Lenient):
    mode: Literal["auto", "required"]
    tools: list[NamedChoice] = Field(min_length=1, max_length=MAX_TOOLS)


class AllowedChoice(Lenient):
    """Only some of the tools, for this request."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


Choice = Literal["none", "auto", "required"] | NamedChoice | AllowedChoice


def check_names(tools: Sequence[FunctionTool]) -> None:
    """Raises ValueError where two functions have one name."""
    names = [tool.function.name for tool in tools]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two tools have the name {twice!r}; give each function a name of its own")


def check_choice(choice: Choice | None, tools: Sequence[FunctionTool]) -> None:
    """Raises ValueError where what must or may be called is not offered."""
    if choice is None or choice in ("none", "auto"):
        return
    if not tools:
        raise ValueError("tool_choice asks for a call, and no tools are offered; give tools")
    wanted = (
        [choice]
        if isinstance(choice, NamedChoice)
        else choice.allowed_tools.tools
        if isinstance(choice, AllowedChoice)
        else []
    )
    offered = {tool.function.name for tool in tools}
    for one in wanted:
        if one.function.name not in offered:
            raise ValueError(f"tool_choice names {one.function.name!r}, which is not among the tools")


def offered(tools: Sequence[FunctionTool], choice: Choice | None) -> tuple[tuple[Tool, ...], ToolChoice]:
    """What the model is offered, and what it has to do with it. The choice was checked."""
    listed = [tool.function.as_tool() for tool in tools]
    if isinstance(choice, NamedChoice):
        return tuple(listed), ("named", choice.function.name)
    if isinstance(choice, AllowedChoice):
        allowed = {one.function.name for one in choice.allowed_tools.tools}
        return tuple(tool for tool in listed if tool.name in allowed), choice.allowed_tools.mode
    return tuple(listed), choice or "auto"
