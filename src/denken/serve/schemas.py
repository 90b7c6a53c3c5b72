"""What a chat completion request may say: the fields of OpenAI's and DeepSeek's API, each with its limit.

A field that would change the answer and is not supported is refused with a sentence; a field unknown here is
ignored, as OpenAI does it. What the fields mean for sampling is said here too; who answers is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from denken.serve.fields import JsonSchema, Lenient, Name, Refused, Sampled, Text, refuse
from denken.serve.history import MAX_MESSAGES, ChatMessage, check, conversation
from denken.serve.speaker import Ask
from denken.serve.tools import MAX_TOOLS, Choice, FunctionTool, check_choice, check_names, offered
from denken.types import SamplingParams

# How much of the context a thought may take, by reasoning_effort; the rest of the names set no limit of their own.
EFFORT_SHARE = {"minimal": 1 / 8, "low": 1 / 4, "medium": 1 / 2}
UNSUPPORTED: Refused = {
    "functions": ((None, []), "functions were replaced by tools; send tools."),
    "function_call": ((None, "none", "auto"), "function_call was replaced by tool_choice; send tools and tool_choice."),
    "modalities": ((None, ["text"]), "Text is the only modality; leave modalities out."),
    "audio": ((None,), "Audio is not supported; leave audio out."),
    "web_search_options": ((None,), "Web search is not supported; leave web_search_options out."),
}


class Thinking(Lenient):
    """type: DeepSeek's switch. budget_tokens: the most tokens of thought; an answer follows in any case."""

    type: Literal["enabled", "disabled", "adaptive"] = "enabled"
    budget_tokens: int | None = Field(default=None, ge=0, le=10_000_000)


class NamedSchema(Lenient):
    """strict: accepted; an answer follows its schema in any case. The name and description are the client's own."""

    # `schema` is the name of a method of pydantic's.
    schema_: JsonSchema = Field(default_factory=dict, alias="schema")
    name: Name | None = None


class ResponseFormat(Lenient):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None

    @model_validator(mode="after")
    def _check_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError('json_schema is missing; send {"type": "json_schema", "json_schema": {"schema": {...}}}')
        return self

    @property
    def wanted(self) -> Mapping[str, Any] | None:
        """The schema; {} for any object; None for text."""
        if self.type == "json_schema" and self.json_schema is not None:
            return self.json_schema.schema_
        return {} if self.type == "json_object" else None


class ChatRequest(Sampled):
    """The body of POST /chat/completions."""

    model: Text | None = Field(default=None, max_length=256)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    thinking: Thinking | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Choice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None

    functions: Any = None
    function_call: Any = None
    modalities: Any = None
    audio: Any = None
    web_search_options: Any = None

    _refuse = refuse(UNSUPPORTED)

    @field_validator("messages")
    @classmethod
    def _check_messages(cls, value: list[ChatMessage]) -> list[ChatMessage]:
        check(value)
        return value

    @field_validator("tools")
    @classmethod
    def _check_tools(cls, value: list[FunctionTool] | None) -> list[FunctionTool] | None:
        check_names(value or ())
        return value

    @model_validator(mode="after")
    def _check_together(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        check_choice(self.tool_choice, self.tools or ())
        return self

    @property
    def thinks(self) -> bool:
        """DeepSeek's switch decides where it is given, OpenAI's effort otherwise."""
        if self.thinking is not None:
            return self.thinking.type != "disabled"
        return self.reasoning_effort != "none"

    def ask(self, defaults: SamplingParams, context: int) -> Ask:
        """What is asked of the model, with its defaults changed by what the request gives."""
        tools, choice = offered(self.tools or (), self.tool_choice)
        return Ask(
            conversation(self.messages),
            self.sampling(defaults, context),
            self.thinks,
            continues=bool(self.messages[-1].prefix),
            tools=tools,
            tool_choice=choice,
            parallel_tools=self.parallel_tool_calls is not False,
            schema=None if self.response_format is None else self.response_format.wanted,
        )

    def sampling(self, defaults: SamplingParams, context: int) -> SamplingParams:
        """The model's defaults, changed by what the request gives."""
        budget = self.thinking.budget_tokens if self.thinking is not None else None
        if budget is None and self.reasoning_effort in EFFORT_SHARE:
            budget = int(context * EFFORT_SHARE[self.reasoning_effort])
        limits = [limit for limit in (self.max_tokens, self.max_completion_tokens) if limit is not None]
        further = {
            "max_tokens": min(limits) if limits else None,
            "thinking_budget": budget,
            "top_logprobs": (self.top_logprobs or 0) if self.logprobs else None,
        }
        return self.sampled(defaults, further)
