"""Grammars as text: what is asked for, closed where that costs nothing, and nothing that could be taken for more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from denken.chat.grammar import of_answer, of_calls
from denken.chat.message import Tool
from denken.errors import RequestError
from denken.tokenizer import Tokenizer

NAMED = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def schema_in(grammar: str) -> dict[str, Any]:
    schema = json.loads(grammar.partition("%json ")[2].partition("\n")[0])
    del schema["x-guidance"]
    return schema


def test_no_schema_is_any_object() -> None:
    assert schema_in(of_answer({})) == {"type": "object"}


def test_objects_that_name_their_properties_have_no_others() -> None:
    closed = NAMED | {"additionalProperties": False}
    assert schema_in(of_answer(NAMED)) == closed
    nested = {"type": "array", "items": NAMED, "$defs": {"b": NAMED}}
    assert schema_in(of_answer(nested)) == {"type": "array", "items": closed, "$defs": {"b": closed}}


@pytest.mark.parametrize(
    "schema",
    [
        NAMED | {"additionalProperties": True},
        NAMED | {"required": ["a", "b"]},
        NAMED | {"patternProperties": {"^x": {"type": "string"}}},
        NAMED | {"anyOf": [{"required": ["b"]}]},
        {"allOf": [NAMED, {"properties": {"b": {"type": "string"}}}]},
        {"type": "object"},
        {"properties": 5, "required": "a"},
    ],
)
def test_other_objects_stay_as_they_are(schema: dict[str, Any]) -> None:
    assert schema_in(of_answer(schema)) == schema


def test_calls_are_written_as_the_template_has_them(tokenizer: Tokenizer) -> None:
    grammar = of_calls([Tool("add", "", NAMED), Tool("now", "", {})], tokenizer, most=3)
    assert grammar.splitlines()[:3] == [
        "start: calls",
        'calls: <｜tool▁calls▁begin｜> call ("\\n" call){0,2} <｜tool▁calls▁end｜>',
        'call: <｜tool▁call▁begin｜> "function" <｜tool▁sep｜> (tool_0 | tool_1) <｜tool▁call▁end｜>',
    ]
    assert 'tool_0: "add\\n```json\\n" %json ' in grammar
    assert schema_in(grammar.partition("tool_1")[2].partition("tool_1")[2].replace(' "\\n```"', "")) == {
        "type": "object"
    }


@pytest.mark.parametrize("name", ["", "a b", 'a"', "a\nb", "x" * 65, "<｜tool▁sep｜>"])
def test_names_that_could_be_more_are_refused(tokenizer: Tokenizer, name: str) -> None:
    with pytest.raises(RequestError, match="named"):
        of_calls([Tool(name)], tokenizer, most=1)


def test_a_schema_that_is_nested_without_end_is_refused() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(100_000):
        schema = {"items": schema}
    with pytest.raises(RequestError, match="JSON"):
        of_answer(schema)
