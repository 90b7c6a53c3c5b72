"""What a request to /v1/responses may say: OpenAI's newer API, as far as a server that keeps nothing can answer it.

Items, tools and formats are read in their own words and become those of `history.py` and `tools.py`, where calls are
paired with their results and names are checked. What needs memory, files or OpenAI's own tools is refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from denken.chat.message import Message
from denken.serve.fields import JsonSchema, Lenient, Name, Refused, Text, changed, refuse
from denken.serve.history import MAX_MESSAGES, MAX_PARTS, Call, Called, ChatMessage, Id, check, conversation
from denken.serve.schemas import EFFORT_SHARE
from denken.serve.speaker import Ask
from denken.serve.tools import (
    MAX_TOOLS,
    AllowedChoice,
    AllowedTools,
    Choice,
    Function,
    FunctionTool,
    Named,
    NamedChoice,
    check_choice,
    check_names,
    offered,
)
from denken.types import SamplingParams

LOGPROBS = "message.output_text.logprobs"
TEXT_PARTS = ("input_text", "output_text", "text", "refusal")
UNSUPPORTED: Refused = {
    "previous_response_id": (
        (None,),
        "Responses are not stored here, so that none can be gone on with; send the earlier items as input.",
    ),
    "conversation": ((None,), "Conversations are not stored here; send the earlier items as input."),
    "prompt": ((None,), "Prompts are not stored here; send the text as instructions and input."),
    "background": ((None, False), "Responses are not stored here, so that none can be fetched later; use stream."),
}


def _known(value: Any) -> Any:
    """Says of an item that is of no kind known here what it is, rather than all the kinds it could have been."""
    if not isinstance(value, dict):
        raise ValueError('an item is an object, such as {"role": "user", "content": "..."}')
    kind = value.get("type", "message")
    if kind == "item_reference":
        raise ValueError("responses are not stored here, so that no item can be referred to; send the item itself")
    if not isinstance(kind, str) or kind not in ITEMS:
        raise ValueError(f"items of type {str(kind)[:40]!r} are not read here; there are {', '.join(ITEMS)}")
    return value


def _tag(value: dict[str, Any]) -> str:
    """A message may leave its type out."""
    return ITEMS[value.get("type", "message")]


def _only_text(value: Any) -> Any:
    for part in value if isinstance(value, list) else ():
        if isinstance(part, dict) and part.get("type") not in (*TEXT_PARTS, None):
            raise ValueError(f"this model reads text only, and a part is of type {str(part['type'])[:40]!r}")
    return value


class Part(Lenient):
    """A part of a message; what was refused is text like any other."""

    type: Literal["input_text", "output_text", "text", "refusal"]
    text: Text = ""
    refusal: Text = ""


Content = Annotated[Text | Annotated[list[Part], Field(max_length=MAX_PARTS)], BeforeValidator(_only_text)]


def _text(content: str | Sequence[Part]) -> str:
    return content if isinstance(content, str) else "".join(part.text or part.refusal for part in content)


class MessageItem(Lenient):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: Content


class CallItem(Lenient):
    type: Literal["function_call"]
    call_id: Id
    name: Name
    arguments: Text


class OutputItem(Lenient):
    type: Literal["function_call_output"]
    call_id: Id
    output: Content


class ThoughtPart(Lenient):
    text: Text = ""


class Thought(Lenient):
    """A thought that is sent back. Old thoughts are for the template to keep or drop."""

    type: Literal["reasoning"]
    content: Annotated[list[ThoughtPart], Field(max_length=MAX_PARTS)] | None = None


ITEMS = {
    "message": "MessageItem",
    "function_call": "CallItem",
    "function_call_output": "OutputItem",
    "reasoning": "Thought",
}
Item = Annotated[
    Annotated[MessageItem, Tag("MessageItem")]
    | Annotated[CallItem, Tag("CallItem")]
    | Annotated[OutputItem, Tag("OutputItem")]
    | Annotated[Thought, Tag("Thought")],
    Discriminator(_tag),
    BeforeValidator(_known),
]


def _functions_only(value: Any) -> Any:
    for tool in value if isinstance(value, list) else ():
        if isinstance(tool, dict) and tool.get("type") not in ("function", None):
            raise ValueError(
                f"there are no tools of type {str(tool['type'])[:40]!r} here; offer functions, which you run yourself"
            )
    return value


class FlatTool(Function):
    """A function, without the box around it that chat completions have."""

    type: Literal["function"]
    strict: bool | None = None

    def record(self) -> dict[str, Any]:
        return {
            "type": "function",
            "name": self.name,
            "description": self.description,
            "parameters": self.parameters,
            "strict": self.strict is not False,
        }


class FlatNamed(Lenient):
    type: Literal["function"]
    name: Name


class FlatAllowed(Lenient):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: list[FlatNamed] = Field(min_length=1, max_length=MAX_TOOLS)


class Reasoning(Lenient):
    """summary: accepted; the thought itself is sent, so there is nothing to sum up."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None


class Format(Lenient):
    type: Literal["text", "json_object", "json_schema"]
    name: Name | None = None
    description: Text | None = None
    # `schema` is the name of a method of pydantic's.
    schema_: JsonSchema | None = Field(default=None, alias="schema")
    strict: bool | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> Format:
        if self.type == "json_schema" and (self.schema_ is None or self.name is None):
            raise ValueError('send {"type": "json_schema", "name": "...", "schema": {...}}')
        return self

    def record(self) -> dict[str, Any]:
        if self.type != "json_schema":
            return {"type": self.type}
        about = {"description": self.description, "strict": self.strict}
        return {"type": self.type, "name": self.name, "schema": self.schema_, **about}


class TextConfig(Lenient):
    """verbosity: accepted; how much is said is the model's own."""

    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


MetadataKey = Annotated[Text, Field(max_length=64)]
MetadataValue = Annotated[Text, Field(max_length=512)]


class ResponsesRequest(Lenient):
    """The body of POST /v1/responses."""

    model: Text | None = Field(default=None, max_length=256)
    input: Text | Annotated[list[Item], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: Text | None = None
    max_output_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stream: bool | None = None
    reasoning: Reasoning | None = None
    text: TextConfig | None = None
    tools: Annotated[list[FlatTool], Field(max_length=MAX_TOOLS), BeforeValidator(_functions_only)] | None = None
    tool_choice: Literal["none", "auto", "required"] | FlatNamed | FlatAllowed | None = None
    parallel_tool_calls: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    include: Annotated[list[Annotated[Text, Field(max_length=256)]], Field(max_length=32)] | None = None
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] | None = None
    store: bool | None = None
    truncation: Literal["auto", "disabled"] | None = None

    previous_response_id: Any = None
    conversation: Any = None
    prompt: Any = None
    background: Any = None

    _refuse = refuse(UNSUPPORTED)

    @field_validator("input")
    @classmethod
    def _check_items(cls, value: str | list[Item]) -> str | list[Item]:
        if not isinstance(value, str):
            said = messages(value)
            if not said:
                raise ValueError("there is no message among the items; send at least one of the user's")
            check(said)
        return value

    @model_validator(mode="after")
    def _check_tools(self) -> ResponsesRequest:
        check_names(self._tools)
        check_choice(self._choice, self._tools)
        return self

    @property
    def thinks(self) -> bool:
        return self.reasoning is None or self.reasoning.effort != "none"

    @property
    def logprobs(self) -> bool:
        return self.top_logprobs is not None or LOGPROBS in (self.include or ())

    @property
    def _tools(self) -> list[FunctionTool]:
        return [FunctionTool(type="function", function=tool) for tool in self.tools or ()]

    @property
    def _choice(self) -> Choice | None:
        choice = self.tool_choice
        if isinstance(choice, FlatNamed):
            return _boxed(choice)
        if isinstance(choice, FlatAllowed):
            allowed = AllowedTools(mode=choice.mode, tools=[_boxed(tool) for tool in choice.tools])
            return AllowedChoice(type="allowed_tools", allowed_tools=allowed)
        return choice

    def ask(self, defaults: SamplingParams, context: int) -> Ask:
        """What is asked of the model, with its defaults changed by what the request gives. Raises RequestError."""
        said = [Message("user", self.input)] if isinstance(self.input, str) else conversation(messages(self.input))
        if self.instructions:
            said.insert(0, Message("system", self.instructions))
        tools, choice = offered(self._tools, self._choice)
        return Ask(
            said,
            self._sampling(defaults, context),
            self.thinks,
            tools=tools,
            tool_choice=choice,
            parallel_tools=self.parallel_tool_calls is not False,
            schema=self._schema,
        )

    @property
    def _schema(self) -> dict[str, Any] | None:
        wanted = self.text.format if self.text is not None else None
        if wanted is None or wanted.type == "text":
            return None
        return wanted.schema_ or {}

    def _sampling(self, defaults: SamplingParams, context: int) -> SamplingParams:
        share = EFFORT_SHARE.get(self.reasoning.effort or "") if self.reasoning is not None else None
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_output_tokens,
            "thinking_budget": None if share is None else int(context * share),
            "top_logprobs": (self.top_logprobs or 0) if self.logprobs else None,
        }
        return changed(defaults, given)


def _boxed(named: FlatNamed) -> NamedChoice:
    return NamedChoice(type="function", function=Named(name=named.name))


def messages(items: Sequence[MessageItem | CallItem | OutputItem | Thought]) -> list[ChatMessage]:
    """Items as messages: a thought, what was said after it and the calls after that are one message of the assistant.

    >>> call = CallItem(type="function_call", call_id="1", name="now", arguments="{}")
    >>> [message] = messages([Thought(type="reasoning"), MessageItem(role="assistant", content="Let me see."), call])
    >>> message.text, message.tool_calls[0].function.name
    ('Let me see.', 'now')
    """
    done: list[ChatMessage] = []
    turn = _Turn()
    for item in items:
        if isinstance(item, Thought):
            done += turn.end() if turn.spoke else ()
            turn.thought = (turn.thought or "") + "".join(part.text for part in item.content or ())
        elif isinstance(item, CallItem):
            turn.calls.append(Call(id=item.call_id, function=Called(name=item.name, arguments=item.arguments)))
        elif isinstance(item, MessageItem) and item.role == "assistant":
            done += turn.end() if turn.spoke else ()
            turn.text = _text(item.content)
        else:
            done += turn.end()
            done.append(_other(item))
    return [*done, *turn.end()]


def _other(item: MessageItem | OutputItem) -> ChatMessage:
    if isinstance(item, OutputItem):
        return ChatMessage(role="tool", tool_call_id=item.call_id, content=_text(item.output))
    return ChatMessage(role=item.role, content=_text(item.content))


@dataclass(slots=True)
class _Turn:
    """The assistant's message that the items so far add up to."""

    thought: str | None = None
    text: str | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def spoke(self) -> bool:
        return self.text is not None or bool(self.calls)

    def end(self) -> list[ChatMessage]:
        """The message, if there is one, and a new turn."""
        made = [ChatMessage(role="assistant", content=self.text, reasoning_content=self.thought, tool_calls=self.calls)]
        made = made if self.spoke else []
        self.thought, self.text, self.calls = None, None, []
        return made
