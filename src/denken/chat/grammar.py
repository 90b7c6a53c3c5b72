"""What a reply must look like, as a grammar in llguidance's Lark: JSON that matches a schema, calls of tools, either.

Only written here; `engine/grammar.py` compiles it, within limits, and holds the answer to it. Where an answer ends and
whether it thinks before is the engine's matter.

Narrower than JSON Schema, so that no model fills its budget with what nobody asked for: blanks between tokens are at
most a space, or a line break with its indentation, and an object that names its properties has no others unless
`additionalProperties` allows them (schemas with `allOf` are left as they are). Wider: `oneOf` is read as `anyOf`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

from denken.chat.message import Tool
from denken.chat.template import CALL_BEGIN, CALL_END, CALL_SEP, CALLS_BEGIN, CALLS_END
from denken.errors import RequestError
from denken.tokenizer import Tokenizer

MOST_CALLS = 16
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_OPTIONS = {"whitespace_pattern": r"(\n {0,16}| )?", "coerce_one_of": True}


def of_answer(schema: Mapping[str, Any]) -> str:
    """One JSON text that matches the schema; {} is any object. Raises RequestError for what is no JSON."""
    return f"start: {_json(schema or {'type': 'object'})}\n"


def of_calls(
    tools: Sequence[Tool],
    tokenizer: Tokenizer,
    *,
    most: int,
    schema: Mapping[str, Any] | None = None,
    form: Literal["deepseek", "qwen", "llama", ""] = "deepseek",
) -> str:
    """Between one and `most` calls of any of the tools, as the family writes them; or else, with a schema, an answer.

    form: whose form a call has (`parser.Dialect.form`). Raises RequestError for a name that cannot be called, for
    parameters that are not an object's, and where nobody knows the form.
    """
    if not form:
        raise RequestError(
            "Nobody knows how this model calls tools, so it cannot be held to it; leave the choice to it."
        )
    rules = ["start: calls" if schema is None else f"start: calls | {_json(schema or {'type': 'object'})}"]
    tag = partial(_tag, tokenizer=tokenizer)
    named = f"({' | '.join(f'tool_{number}' for number in range(len(tools)))})"
    most = 1 if form == "llama" else most
    calls = f'call ("\\n" call){{0,{most - 1}}}' if most > 1 else "call"
    if form == "deepseek":
        rules.append(f"calls: {tag(CALLS_BEGIN)} {calls} {tag(CALLS_END)}")
        rules.append(f'call: {tag(CALL_BEGIN)} "function" {tag(CALL_SEP)} {named} {tag(CALL_END)}')
    elif form == "qwen":
        rules.append(f"calls: {calls}")
        rules.append(f'call: {tag("<tool_call>")} "\\n" {named} "\\n" {tag("</tool_call>")}')
    else:
        rules += [f"calls: {calls}", f"call: {named}"]
    for number, tool in enumerate(tools):
        name, given = checked_name(tool), _json(_parameters(tool))
        if form == "deepseek":
            rules.append(f'tool_{number}: "{name}\\n```json\\n" {given} "\\n```"')
        else:
            key = "arguments" if form == "qwen" else "parameters"
            head = json.dumps(f'{{"name": "{name}", "{key}": ')
            rules.append(f'tool_{number}: {head} {given} "}}"')
    return "\n".join(rules) + "\n"


def checked_name(tool: Tool) -> str:
    """The tool's name. Raises RequestError where it could be taken for something else where it is written."""
    if not _NAME.fullmatch(tool.name):
        raise RequestError(
            f"A tool is named {tool.name[:80]!r}; give 1 to 64 letters, digits, underscores, dots and dashes."
        )
    return tool.name


def _parameters(tool: Tool) -> Mapping[str, Any]:
    if tool.parameters.get("type", "object") != "object":
        raise RequestError(f"The parameters of the tool {tool.name} must be an object's schema, of type 'object'.")
    return {**tool.parameters, "type": "object"}


def _tag(name: str, tokenizer: Tokenizer) -> str:
    """A control token, which no text is taken for; or its name as text where the vocabulary has none."""
    return name if tokenizer.has_control(name) else json.dumps(name, ensure_ascii=False)


def _json(schema: Mapping[str, Any]) -> str:
    try:
        closed = schema if '"allOf"' in json.dumps(schema) else _closed(schema)
        return "%json " + json.dumps({**closed, "x-guidance": _OPTIONS}, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RequestError(f"The schema is no JSON ({error}); send a JSON Schema.") from error


def _closed(schema: Any) -> Any:
    """The schema, with no properties but those that it names wherever it does not say anything of others."""
    if not isinstance(schema, Mapping):
        return schema
    closed = dict(schema)
    for name in ("properties", "$defs", "definitions"):
        if isinstance(inner := schema.get(name), Mapping):
            closed[name] = {key: _closed(value) for key, value in inner.items()}
    if "items" in schema:
        closed["items"] = _closed(schema["items"])
    if _names_all(schema):
        closed.setdefault("additionalProperties", False)
    return closed


def _names_all(schema: Mapping[str, Any]) -> bool:
    """Whether an object could be closed: its properties are named in one place, those that are required among them."""
    names, required = schema.get("properties"), schema.get("required", [])
    apart = schema.keys().isdisjoint(("patternProperties", "anyOf", "oneOf", "$ref", "if", "minProperties"))
    return (
        isinstance(names, Mapping) and apart and isinstance(required, list) and all(name in names for name in required)
    )
