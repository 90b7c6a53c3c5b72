"""What is asked, as the body that a kind of server understands.

OpenAI's fields are understood by all of them. What goes beyond (thinking on or off and how much of it, going on with a
begun answer, top_k) each kind spells its own way, and some refuse what they do not know, so it depends on the kind.

Two rules that hold for all: a sampling value that the request leaves open is left out, so that the server's own counts;
and thinking is on unless the request switches it off, as it is with our own model, where the server has a switch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from denken.chat.message import Message
from denken.remote import TEMPLATED, most_tokens, reasons, thinking_switch
from denken.remote import Kind as Kind
from denken.remote import Record as Record
from denken.serve.schemas import EFFORT_SHARE
from denken.serve.speaker import Ask, TextAsk, Tool, Unsupported
from denken.types import SamplingParams

# These count along in every chunk, so that a reply that is given up is charged for what came.
COUNT_ALONG: frozenset[Kind] = frozenset({"vllm", "sglang", "denken"})


class Theirs(float):
    """A sampling value that the request left open: the server's own counts, which nobody here knows."""


class TheirCount(int):
    """The same for a whole number."""


DEFAULTS = SamplingParams(temperature=Theirs(1.0), top_p=Theirs(1.0), top_k=TheirCount(0), min_p=Theirs(0.0))


@dataclass(frozen=True, slots=True)
class Body:
    """path: behind the API's address, or, with /beta, behind the server's.

    extras: fields that it may refuse, and is then asked again without.
    """

    path: str
    fields: Record
    extras: Record = field(default_factory=dict)


def body(ask: Ask | TextAsk, model: str, kind: Kind, context: int) -> Body:
    """Raises Unsupported for what a server of the kind cannot do."""
    fields: Record = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    if kind in COUNT_ALONG:
        fields["stream_options"]["continuous_usage_stats"] = True
    fields |= _sampling(ask.params, kind)
    if ask.params.stop and not stops_here(ask, kind):
        fields["stop"] = list(ask.params.stop)
    if isinstance(ask, TextAsk):
        return _text_body(ask, fields, kind)
    fields["messages"] = messages(ask.messages, kind)
    fields |= _tools(ask)
    if ask.schema is not None:
        fields["response_format"] = _format(ask.schema)
    if ask.params.top_logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": ask.params.top_logprobs}
    path, thinking = "/chat/completions", ask.thinking
    if ask.continues:
        path = _continue(fields, kind, model)
        # A begun answer is not begun with a thought, and llama.cpp refuses the two together.
        thinking = thinking and kind != "llamacpp"
    return Body(path, fields, thinking_fields(thinking, ask.params.thinking_budget, model, kind, context))


def stops_here(ask: Ask | TextAsk, kind: Kind) -> tuple[str, ...]:
    """The stop strings that are not the server's to look for, because it would find them in the thought, too."""
    answers_alone = kind in ("denken", "deepseek", "openai")
    return () if isinstance(ask, TextAsk) or not ask.thinking or answers_alone else ask.params.stop


def echo(ask: Ask | TextAsk, kind: Kind) -> str:
    """What the server may repeat before it goes on with it."""
    return ask.messages[-1].content if isinstance(ask, Ask) and ask.continues and kind == "llamacpp" else ""


def messages(given: Sequence[Message], kind: Kind) -> list[Record]:
    """A conversation. A result goes to the calls before it in their order, for a `Message` has no id of its call."""
    records: list[Record] = []
    calls: list[str] = []
    # Where a template drops old thoughts itself, they are sent. DeepSeek wants those of the turn that is under way.
    last_question = max((i for i, message in enumerate(given) if message.role == "user"), default=0)
    for place, message in enumerate(given):
        record: Record = {"role": message.role, "content": message.content}
        if message.tool_calls:
            ids = [call.id or f"call_{place}_{number}" for number, call in enumerate(message.tool_calls)]
            record["tool_calls"] = [
                {"id": id_, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for id_, call in zip(ids, message.tool_calls, strict=True)
            ]
            calls = ids
        if message.role == "tool":
            record["tool_call_id"] = calls.pop(0) if calls else f"call_{place}"
        if message.reasoning_content and (
            kind in TEMPLATED or kind == "denken" or (kind == "deepseek" and place > last_question)
        ):
            record["reasoning_content"] = message.reasoning_content
        records.append(record)
    return records


def thinking_fields(thinking: bool, budget: int | None, model: str, kind: Kind, context: int) -> Record:
    """Thinking on or off, and how much of it, in the kind's own words; nothing where it has none."""
    switch = thinking_switch(thinking, model, kind)
    if budget is None or not thinking:
        return switch
    if kind == "denken":
        return {"thinking": switch["thinking"] | {"budget_tokens": budget}}
    name = {"vllm": "thinking_token_budget", "llamacpp": "thinking_budget_tokens"}.get(kind)
    if name:
        return switch | {name: budget}
    return {"reasoning_effort": _effort(budget, context)} if reasons(model, kind) else switch


def _effort(budget: int, context: int) -> str:
    """The least effort that may take the budget's share of the context."""
    return next((name for name, share in EFFORT_SHARE.items() if budget <= share * context), "high")


def _sampling(params: SamplingParams, kind: Kind) -> Record:
    given: Record = {
        name: value
        for name, value in (("temperature", params.temperature), ("top_p", params.top_p))
        if not isinstance(value, Theirs)
    }
    for name, value in (("top_k", params.top_k), ("min_p", params.min_p)):
        if isinstance(value, Theirs | TheirCount):
            continue
        if value and kind in ("openai", "deepseek"):
            raise Unsupported(f"This model is sampled without {name}; leave it out.")
        # 0 switches top_k off here, -1 at the others.
        given |= {name: value or (-1 if name == "top_k" and kind in ("vllm", "sglang") else 0)}
    if kind in ("openai", "deepseek"):
        given = {name: value for name, value in given.items() if name in ("temperature", "top_p")}
    further: Record = {
        "frequency_penalty": params.frequency_penalty,
        "presence_penalty": params.presence_penalty,
        "logit_bias": {str(token): bias for token, bias in params.logit_bias},
    }
    given |= {name: value for name, value in further.items() if value}
    if params.seed is not None:
        given["seed"] = params.seed
    if params.max_tokens is not None:
        given |= most_tokens(params.max_tokens, kind)
    return given


def _text_body(ask: TextAsk, fields: Record, kind: Kind) -> Body:
    fields["prompt"] = ask.prompt if isinstance(ask.prompt, str) else list(ask.prompt)
    if ask.suffix is not None:
        fields["suffix"] = ask.suffix
    if ask.params.top_logprobs is not None:
        fields["logprobs"] = ask.params.top_logprobs
    if "max_completion_tokens" in fields:
        fields["max_tokens"] = fields.pop("max_completion_tokens")
    return Body("/beta/completions" if kind == "deepseek" else "/completions", fields)


def _tools(ask: Ask) -> Record:
    if not ask.tools:
        return {}
    fields: Record = {"tools": [_tool(tool) for tool in ask.tools]}
    if isinstance(ask.tool_choice, tuple):
        fields["tool_choice"] = {"type": "function", "function": {"name": ask.tool_choice[1]}}
    elif ask.tool_choice != "auto":
        fields["tool_choice"] = ask.tool_choice
    if not ask.parallel_tools:
        fields["parallel_tool_calls"] = False
    return fields


def _tool(tool: Tool) -> Record:
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def _format(schema: Mapping[str, Any]) -> Record:
    """strict: our word is that an answer follows its schema, so a server that knows two ways is told to keep it."""
    if not schema:
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": dict(schema), "strict": True}}


def _continue(fields: Record, kind: Kind, model: str) -> str:
    """Marks the last message as one to go on with; the path to ask for it."""
    if kind in ("denken", "deepseek"):
        fields["messages"][-1]["prefix"] = True
        return "/beta/chat/completions"
    if kind in ("vllm", "sglang"):
        fields |= {"add_generation_prompt": False, "continue_final_message": True}
    elif kind != "llamacpp":  # which goes on with a last message of the assistant's in any case
        raise Unsupported(f"{model} cannot go on with a begun answer; end with the user's message.")
    return "/chat/completions"
