"""Kinds of fields that requests have in common, with their limits: text, stop strings, JSON Schemas, sampling.

What a whole request may say is in `schemas.py` and `texts.py`; a conversation in `history.py`; tools in `tools.py`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from denken.remote import whole_characters as whole_characters
from denken.types import SamplingParams

MAX_REPLIES = 16
MAX_BIASES = 1024
MAX_SCHEMA_BYTES = 2**16
MAX_JSON_DEPTH = 64


def json_schema(value: Any) -> dict[str, Any]:
    """A JSON Schema as it was sent, within limits of size and depth; whether it can be followed is not said here.

    Raises ValueError.
    """
    if not isinstance(value, dict):
        raise ValueError('a JSON Schema is an object, such as {"type": "object", "properties": {}}')
    text = json_text(value)
    if len(text) > MAX_SCHEMA_BYTES:
        raise ValueError(f"the JSON Schema has {len(text)} characters, and {MAX_SCHEMA_BYTES} are allowed; shorten it")
    schema: dict[str, Any] = json.loads(text)
    return schema


def json_text(value: Any) -> str:
    """A value that was sent as JSON, as text again. Raises ValueError where it is nested too deep or has no number."""
    level: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise ValueError(f"the JSON is nested deeper than {MAX_JSON_DEPTH} levels; make it flatter")
    return whole_characters(json.dumps(value, ensure_ascii=False, allow_nan=False))


def _inside(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _none_as_zero(value: Any) -> Any:
    return 0 if value is None else value


Text = Annotated[str, AfterValidator(whole_characters)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
JsonSchema = Annotated[dict[str, Any], BeforeValidator(json_schema)]
Penalty = Annotated[float, BeforeValidator(_none_as_zero), Field(ge=-2, le=2)]


# Fields that would change what is answered and are not there: the values that ask for nothing, and what to say.
Refused = Mapping[str, tuple[tuple[object, ...], str]]


def refuse(fields: Refused) -> Any:
    """A validator, to be a member of a request, that lets those fields ask for nothing alone."""

    def check(value: Any, info: ValidationInfo) -> Any:
        harmless, sentence = fields[info.field_name or ""]
        if value not in harmless:
            raise ValueError(sentence)
        return value

    return field_validator(*fields, mode="before")(check)


class Lenient(BaseModel):
    """Unknown fields are ignored; NaN and infinity are not numbers."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class StreamOptions(Lenient):
    """include_usage: a last chunk says what all came to. continuous_usage_stats: every chunk says it, too."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Sampled(Lenient):
    """The fields that say how a reply is sampled, in the words of OpenAI and of the servers that add to them."""

    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1, le=1_000_000)
    min_p: float | None = Field(default=None, ge=0, lt=1)
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    logit_bias: dict[str, float] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: Text | list[Text] | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_REPLIES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @field_validator("stop")
    @classmethod
    def _check_stop(cls, value: str | list[str] | None) -> str | list[str] | None:
        strings = [value] if isinstance(value, str) else value or []
        if len(strings) > 16 or any(not 0 < len(text) <= 256 for text in strings):
            raise ValueError("stop takes at most 16 strings of 1 to 256 characters each")
        return value

    @field_validator("logit_bias")
    @classmethod
    def _check_biases(cls, value: dict[str, float] | None) -> dict[str, float] | None:
        given = value or {}
        if len(given) > MAX_BIASES:
            raise ValueError(f"logit_bias takes at most {MAX_BIASES} tokens")
        for token, bias in given.items():
            if not (token.isascii() and token.isdigit() and len(token) <= 9):
                raise ValueError(f"logit_bias is given by the ids of tokens, and {token[:40]!r} is none")
            if not -100 <= bias <= 100:
                raise ValueError(f"logit_bias takes values from -100 to 100, and that of {token} is {bias}")
        return value

    @property
    def replies(self) -> int:
        return self.n or 1

    @property
    def includes_usage(self) -> bool:
        return self.stream_options is not None and bool(self.stream_options.include_usage)

    @property
    def counts_along(self) -> bool:
        """Whether every chunk of a stream says what was used so far."""
        return (
            self.includes_usage and self.stream_options is not None and bool(self.stream_options.continuous_usage_stats)
        )

    def sampled(self, defaults: SamplingParams, further: Mapping[str, Any]) -> SamplingParams:
        """The model's defaults, changed by what the request gives and by `further`, where that is not None.

        Raises RequestError.
        """
        given: dict[str, Any] = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": None if self.top_k is None else max(self.top_k, 0),
            "min_p": self.min_p,
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "logit_bias": tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items()),
            "seed": self.seed,
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()) or None,
            **further,
        }
        return changed(defaults, given)


def changed(defaults: SamplingParams, given: Mapping[str, Any]) -> SamplingParams:
    """The model's defaults, changed by what is given and not None. Raises RequestError."""
    return replace(defaults, **{name: value for name, value in given.items() if value is not None})


def seeds(params: SamplingParams, count: int) -> list[SamplingParams]:
    """The same sampling for each of several replies, with a seed of its own where one was given."""
    if params.seed is None:
        return [params] * count
    return [replace(params, seed=params.seed + number) for number in range(count)]
