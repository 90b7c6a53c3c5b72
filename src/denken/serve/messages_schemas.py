"""What a request to Anthropic's Messages API may say.

Blocks, tools and choices are read in Anthropic's words and become those of `history.py` and `tools.py`, where calls are
paired with their results and names are checked. Images, documents and tools that Anthropic runs are refused by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from denken.chat.message import Message
from denken.serve import schemas
from denken.serve.fields import JsonSchema, Lenient, Name, Refused, Text, changed, json_text, refuse
from denken.serve.history import MAX_MESSAGES, MAX_PARTS, Call, Called, ChatMessage, Id, check, conversation
from denken.serve.speaker import Ask
from denken.serve.tools import (
    MAX_DESCRIPTION,
    MAX_TOOLS,
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

MAX_STOPS = 16
UNSUPPORTED: Refused = {
    "mcp_servers": ((None, []), "MCP servers are not called from here; call them yourself, and offer their tools."),
    "container": ((None,), "There are no containers here; leave container out."),
}


def _known(value: Any) -> Any:
    """Says of a block that is of no kind known here what it is, rather than all the kinds it could have been."""
    if not isinstance(value, dict):
        raise ValueError('a block is an object, such as {"type": "text", "text": "..."}')
    kind = value.get("type")
    if not isinstance(kind, str) or kind not in BLOCKS:
        raise ValueError(f"this model reads text only, and a block is of type {str(kind)[:40]!r}")
    return value


def _tag(value: dict[str, Any]) -> str:
    return BLOCKS[value["type"]]


def _only_text(value: Any) -> Any:
    for block in value if isinstance(value, list) else ():
        if isinstance(block, dict) and block.get("type") != "text":
            raise ValueError(f"this model reads text only, and a block is of type {str(block.get('type'))[:40]!r}")
    return value


class TextBlock(Lenient):
    type: Literal["text"]
    text: Text


class ThinkingBlock(Lenient):
    """A thought that is sent back. Its signature is not looked at: a thought that was changed harms nobody else."""

    type: Literal["thinking"]
    thinking: Text


class RedactedBlock(Lenient):
    """Somebody else's thought, which only they can read."""

    type: Literal["redacted_thinking"]


def _arguments(value: Any) -> str:
    if not isinstance(value, dict):
        raise ValueError("the input of a tool is an object")
    return json_text(value)


class CallBlock(Lenient):
    """input: the arguments, here as JSON text."""

    type: Literal["tool_use"]
    id: Id
    name: Name
    input: Annotated[str, BeforeValidator(_arguments)]


TextBlocks = Annotated[Text | Annotated[list[TextBlock], Field(max_length=MAX_PARTS)], BeforeValidator(_only_text)]


class ResultBlock(Lenient):
    type: Literal["tool_result"]
    tool_use_id: Id
    content: TextBlocks | None = None
    is_error: bool | None = None


BLOCKS = {
    "text": "TextBlock",
    "thinking": "ThinkingBlock",
    "redacted_thinking": "RedactedBlock",
    "tool_use": "CallBlock",
    "tool_result": "ResultBlock",
}
Block = Annotated[
    Annotated[TextBlock, Tag("TextBlock")]
    | Annotated[ThinkingBlock, Tag("ThinkingBlock")]
    | Annotated[RedactedBlock, Tag("RedactedBlock")]
    | Annotated[CallBlock, Tag("CallBlock")]
    | Annotated[ResultBlock, Tag("ResultBlock")],
    Discriminator(_tag),
    BeforeValidator(_known),
]


def _text(content: str | Sequence[Block]) -> str:
    """Blocks of text stand apart."""
    if isinstance(content, str):
        return content
    return "\n\n".join(block.text for block in content if isinstance(block, TextBlock))


class BlockMessage(Lenient):
    """One message, in which several blocks may be said at once."""

    role: Literal["user", "assistant", "system"]
    content: Text | Annotated[list[Block], Field(max_length=MAX_PARTS)]

    @model_validator(mode="after")
    def _check_blocks(self) -> BlockMessage:
        for block in self.content:
            if isinstance(block, CallBlock | ThinkingBlock) and self.role != "assistant":
                raise ValueError(f"a block of type {block.type} can only be in a message of the assistant")
            if isinstance(block, ResultBlock) and self.role != "user":
                raise ValueError("a block of type tool_result can only be in a message of the user")
        return self

    def as_messages(self) -> list[ChatMessage]:
        """Results come before what is said to them."""
        if isinstance(self.content, str):
            return [ChatMessage(role=self.role, content=self.content)]
        if self.role == "assistant":
            return [self._as_assistant(self.content)]
        results = [_result(block) for block in self.content if isinstance(block, ResultBlock)]
        text = _text(self.content)
        return [*results, *([ChatMessage(role=self.role, content=text)] if text or not results else [])]

    def _as_assistant(self, blocks: Sequence[Block]) -> ChatMessage:
        thoughts = [block.thinking for block in blocks if isinstance(block, ThinkingBlock)]
        calls = [
            Call(id=block.id, function=Called(name=block.name, arguments=block.input))
            for block in blocks
            if isinstance(block, CallBlock)
        ]
        # In blocks, thought and answer are apart already: where there is no thought, there was none.
        thought = "\n\n".join(thoughts)
        return ChatMessage(role="assistant", content=_text(blocks), reasoning_content=thought, tool_calls=calls)


def _result(block: ResultBlock) -> ChatMessage:
    """A result that is an error says so to the model, too."""
    text = _text(block.content or "")
    return ChatMessage(
        role="tool", tool_call_id=block.tool_use_id, content=f"Error: {text}" if block.is_error else text
    )


def _custom_only(value: Any) -> Any:
    for tool in value if isinstance(value, list) else ():
        if isinstance(tool, dict) and tool.get("type") not in ("custom", None):
            raise ValueError(
                f"there are no tools of type {str(tool['type'])[:40]!r} here; offer tools with a name and an "
                "input_schema, which you run yourself"
            )
    return value


class OfferedTool(Lenient):
    name: Name
    description: Annotated[Text, Field(max_length=MAX_DESCRIPTION)] | None = None
    input_schema: JsonSchema

    @field_validator("input_schema")
    @classmethod
    def _check_kind(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value.get("type", "object") != "object":
            raise ValueError("the input of a tool is an object; give a schema of type object")
        return value


class ToolChoice(Lenient):
    """any: one of the tools has to be called; tool: the one that is named."""

    type: Literal["auto", "any", "tool", "none"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None

    @model_validator(mode="after")
    def _check_name(self) -> ToolChoice:
        if self.type == "tool" and self.name is None:
            raise ValueError("a tool_choice of type tool needs the tool's name")
        return self


class ShownThinking(schemas.Thinking):
    """display: omitted sends the thought's block without its text."""

    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(Lenient):
    type: Literal["json_schema"]
    # `schema` is the name of a method of pydantic's.
    schema_: JsonSchema = Field(alias="schema")


class OutputConfig(Lenient):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class CountRequest(Lenient):
    """The body of POST /v1/messages/count_tokens: a conversation, to which nothing is answered yet."""

    model: Text | None = Field(default=None, max_length=256)
    system: TextBlocks | None = None
    messages: Annotated[list[BlockMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    thinking: ShownThinking | None = None
    tools: Annotated[list[OfferedTool], Field(max_length=MAX_TOOLS), BeforeValidator(_custom_only)] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None

    mcp_servers: Any = None
    container: Any = None

    _refuse = refuse(UNSUPPORTED)

    @field_validator("messages")
    @classmethod
    def _check_messages(cls, value: list[BlockMessage]) -> list[BlockMessage]:
        check(_messages(value))
        return value

    @model_validator(mode="after")
    def _check_tools(self) -> CountRequest:
        check_names(self._tools)
        check_choice(self._choice, self._tools)
        return self

    @property
    def thinks(self) -> bool:
        """The model thinks unless that is switched off; who did not ask for it is only not shown."""
        return self.thinking is None or self.thinking.type != "disabled"

    @property
    def _tools(self) -> list[FunctionTool]:
        return [
            FunctionTool(
                type="function",
                function=Function(name=tool.name, description=tool.description, parameters=tool.input_schema),
            )
            for tool in self.tools or ()
        ]

    @property
    def _choice(self) -> Choice | None:
        if self.tool_choice is None:
            return None
        if self.tool_choice.type == "tool":
            return NamedChoice(type="function", function=Named(name=self.tool_choice.name or ""))
        return "required" if self.tool_choice.type == "any" else self.tool_choice.type

    def ask(self, defaults: SamplingParams, context: int) -> Ask:
        """What is asked of the model, with its defaults changed by what the request gives. Raises RequestError."""
        said = conversation(_messages(self.messages))
        if self.system:
            said.insert(0, Message("system", _text(self.system)))
        tools, choice = offered(self._tools, self._choice)
        wanted = self.output_config.format if self.output_config is not None else None
        return Ask(
            said,
            self._sampling(defaults, context),
            self.thinks,
            continues=self.messages[-1].role == "assistant",
            tools=tools,
            tool_choice=choice,
            parallel_tools=self.tool_choice is None or not self.tool_choice.disable_parallel_tool_use,
            schema=None if wanted is None else wanted.schema_,
        )

    def _sampling(self, defaults: SamplingParams, context: int) -> SamplingParams:
        return defaults


class MessagesRequest(CountRequest):
    """The body of POST /v1/messages."""

    max_tokens: int = Field(ge=1, le=10_000_000)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0, le=1_000_000)
    stop_sequences: (
        Annotated[list[Annotated[Text, Field(min_length=1, max_length=256)]], Field(max_length=MAX_STOPS)] | None
    ) = None
    stream: bool | None = None

    def _sampling(self, defaults: SamplingParams, context: int) -> SamplingParams:
        budget = self.thinking.budget_tokens if self.thinking is not None else None
        effort = self.output_config.effort if self.output_config is not None else None
        if budget is None and effort in schemas.EFFORT_SHARE:
            budget = int(context * schemas.EFFORT_SHARE[effort])
        # Both have to be given, and many give what larger models could say and think: then the context is the limit.
        limit = self.max_tokens if self.max_tokens < context else None
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "max_tokens": limit,
            "stop": tuple(self.stop_sequences or ()) or None,
            "thinking_budget": None if budget is None or budget >= (limit or context) else budget,
        }
        return changed(defaults, given)


def _messages(said: Sequence[BlockMessage]) -> list[ChatMessage]:
    return [message for one in said for message in one.as_messages()]
