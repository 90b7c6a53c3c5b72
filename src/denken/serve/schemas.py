"""What a chat completion request may say: the fields of OpenAI's and DeepSeek's API, each with its limit.

A field that would change the answer and is not supported is refused with a sentence; a field unknown here is
ignored, as OpenAI does it. What the fields mean for sampling is said here too; who answers is not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from denken.chat.message import Message
from denken.serve.speaker import Ask
from denken.types import SamplingParams

MAX_MESSAGES = 1000
MAX_PARTS = 1000
# How much of the context a thought may take, by reasoning_effort; the rest of the names set no limit of their own.
EFFORT_SHARE = {"minimal": 1 / 8, "low": 1 / 4, "medium": 1 / 2}
# Fields that change what is answered and are not there: the value that asks for nothing, and what to say.
UNSUPPORTED: dict[str, tuple[tuple[object, ...], str]] = {
    "n": ((None, 1), "One answer a request is supported; leave n at 1 and send the request several times."),
    "best_of": ((None, 1), "best_of is not supported; send the request several times and choose."),
    "tools": ((None, []), "Tools are not supported; leave tools out."),
    "functions": ((None, []), "Functions are not supported; leave functions out."),
    "response_format": (
        (None, {"type": "text"}),
        "response_format is not supported but for text; leave it out and ask for the format in the message.",
    ),
    "logit_bias": ((None, {}), "logit_bias is not supported; leave it out."),
    "frequency_penalty": ((None, 0), "frequency_penalty is not supported; leave it out or at 0."),
    "presence_penalty": ((None, 0), "presence_penalty is not supported; leave it out or at 0."),
    "modalities": ((None, ["text"]), "Text is the only modality; leave modalities out."),
    "audio": ((None,), "Audio is not supported; leave audio out."),
    "web_search_options": ((None,), "Web search is not supported; leave web_search_options out."),
}


def _whole_characters(text: str) -> str:
    """JSON can hold half of a surrogate pair, where a client cut a text in two; it cannot be sent back or encoded."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


Text = Annotated[str, AfterValidator(_whole_characters)]


class Lenient(BaseModel):
    """Unknown fields are ignored; NaN and infinity are not numbers."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class TextPart(Lenient):
    type: Literal["text"]
    text: Text


class ChatMessage(Lenient):
    """One message of the history. Thoughts sent back are accepted, and are not shown to the model again."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Text | Annotated[list[TextPart], Field(max_length=MAX_PARTS)] | None = None
    reasoning_content: Text | None = Field(
        default=None, validation_alias=AliasChoices("reasoning_content", "reasoning")
    )

    @model_validator(mode="before")
    @classmethod
    def _say_what_is_missing(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        if value.get("role") in ("tool", "function") or value.get("tool_calls"):
            raise ValueError("tool calls and their results are not supported; leave such messages out")
        if value.get("prefix"):
            raise ValueError("continuing a begun answer (prefix) is not supported; end with the user's message")
        parts = value.get("content")
        for part in parts if isinstance(parts, list) else ():
            if isinstance(part, dict) and part.get("type") not in ("text", None):
                raise ValueError(f"this model reads text only, and a part is of type {str(part['type'])[:40]!r}")
        return value

    def as_message(self) -> Message:
        content = self.content
        text = content if isinstance(content, str) else "".join(part.text for part in content or ())
        thought = self.reasoning_content if self.role == "assistant" else None
        return Message("system" if self.role == "developer" else self.role, text, reasoning_content=thought)


class StreamOptions(Lenient):
    include_usage: bool = False


class Thinking(Lenient):
    """type: DeepSeek's switch. budget_tokens: the most tokens of thought; an answer follows in any case."""

    type: Literal["enabled", "disabled", "adaptive"] = "enabled"
    budget_tokens: int | None = Field(default=None, ge=0, le=10_000_000)


class ChatRequest(Lenient):
    """The body of POST /chat/completions."""

    model: Text | None = Field(default=None, max_length=256)
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=1_000_000)
    min_p: float | None = Field(default=None, ge=0, lt=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: Text | list[Text] | None = None
    max_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    max_completion_tokens: int | None = Field(default=None, ge=1, le=10_000_000)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    thinking: Thinking | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None

    n: Any = None
    best_of: Any = None
    tools: Any = None
    functions: Any = None
    response_format: Any = None
    logit_bias: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    modalities: Any = None
    audio: Any = None
    web_search_options: Any = None

    @field_validator(*UNSUPPORTED, mode="before")
    @classmethod
    def _refuse(cls, value: Any, info: ValidationInfo) -> Any:
        harmless, sentence = UNSUPPORTED[info.field_name or ""]
        if value not in harmless:
            raise ValueError(sentence)
        return value

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, value: str | list[str] | None) -> str | list[str] | None:
        strings = [value] if isinstance(value, str) else value or []
        if len(strings) > 16 or any(not 0 < len(text) <= 256 for text in strings):
            raise ValueError("stop takes at most 16 strings of 1 to 256 characters each")
        return value

    @model_validator(mode="after")
    def _check_logprobs(self) -> ChatRequest:
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        return self

    @property
    def thinks(self) -> bool:
        """DeepSeek's switch decides where it is given, OpenAI's effort otherwise."""
        if self.thinking is not None:
            return self.thinking.type != "disabled"
        return self.reasoning_effort != "none"

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def replies(self) -> int:
        return self.n or 1

    def ask(self, defaults: SamplingParams, context: int) -> Ask:
        """What is asked of the model, with its defaults changed by what the request gives."""
        messages = [message.as_message() for message in self.messages]
        return Ask(messages, self.sampling(defaults, context), self.thinks)

    def sampling(self, defaults: SamplingParams, context: int) -> SamplingParams:
        """The model's defaults, changed by what the request gives."""
        budget = self.thinking.budget_tokens if self.thinking is not None else None
        if budget is None and self.reasoning_effort in EFFORT_SHARE:
            budget = int(context * EFFORT_SHARE[self.reasoning_effort])
        limits = [limit for limit in (self.max_tokens, self.max_completion_tokens) if limit is not None]
        given: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k is None else max(self.top_k, 0),
            "min_p": self.min_p,
            "seed": self.seed,
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()) or None,
            "max_tokens": min(limits) if limits else None,
            "thinking_budget": budget,
            "top_logprobs": (self.top_logprobs or 0) if self.logprobs else None,
        }
        return replace(defaults, **{name: value for name, value in given.items() if value is not None})
