"""Replies of Qwen and Llama, sorted: thoughts, answers and calls, wherever the output is cut."""

from __future__ import annotations

import re
from typing import Literal

import pytest

from denken.chat.grammar import of_calls
from denken.chat.message import Tool
from denken.chat.parser import LLAMA, PLAIN, QWEN, QWEN_2_5, Dialect, Event, Parser
from denken.engine.grammar import Grammars
from denken.errors import RequestError
from denken.tokenizer import Tokenizer
from small_vocabulary import write_tokenizer

NAMES = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<|im_end|>", "<|python_tag|>", "<|eot_id|>")
SUM = '{"name": "add", "arguments": {"a": 1, "b": "}"}}'
LLAMAS_SUM = '{"name": "add", "parameters": {"a": 1}}'
ADD = Event("tool", '{"a": 1, "b": "}"}', "add")


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return Tokenizer.load(write_tokenizer(tmp_path_factory.mktemp("others"), control=NAMES))


def ids_of(text: str, tokenizer: Tokenizer) -> list[int]:
    """Every control token's name as its id."""
    parts = re.split(f"({'|'.join(map(re.escape, NAMES))})", text)
    return [id_ for part in parts for id_ in ([tokenizer.control(part)] if part in NAMES else tokenizer.encode(part))]


def parse(text: str, tokenizer: Tokenizer, dialect: Dialect, *, calls: bool = True, step: int = 1) -> list[Event]:
    parser = Parser(tokenizer, thinking=False, dialect=dialect, calls=calls)
    ids = ids_of(text, tokenizer)
    events = [event for at in range(0, len(ids), step) for event in parser.push(ids[at : at + step])]
    joined: list[Event] = []
    for event in events + parser.finish():
        if joined and event.kind == joined[-1].kind != "tool":
            joined[-1] = Event(event.kind, joined[-1].text + event.text)
        else:
            joined.append(event)
    return joined


SAID = [
    (QWEN, "<think>\nHm\n</think>\n\nYes.<|im_end|>", [Event("think", "Hm"), Event("answer", "Yes.")]),
    (QWEN, f"<tool_call>\n{SUM}\n</tool_call><|im_end|>", [ADD]),
    (
        QWEN,
        f"<think>\nHm\n</think>\n\nFirst:\n<tool_call>\n{SUM}\n</tool_call>\n<tool_call>\n{SUM}\n</tool_call>",
        [Event("think", "Hm"), Event("answer", "First:\n"), ADD, ADD],
    ),
    (QWEN, "<tool_call>\n{no JSON}\n</tool_call>", [Event("tool", "{no JSON}")]),
    (QWEN, f"<tool_call>\n{SUM}", [Event("answer", f"\n{SUM}")]),
    (QWEN, "a<search>b</search>", [Event("answer", "a<search>b</search>")]),
    (LLAMA, f"<|python_tag|>{LLAMAS_SUM}<|eot_id|>", [Event("tool", '{"a": 1}', "add")]),
    (LLAMA, LLAMAS_SUM, [Event("tool", '{"a": 1}', "add")]),
    (LLAMA, f" {LLAMAS_SUM}; {LLAMAS_SUM}\n", [Event("tool", '{"a": 1}', "add")] * 2),
    (LLAMA, f"So: {LLAMAS_SUM}", [Event("answer", f"So: {LLAMAS_SUM}")]),
    (LLAMA, f"{LLAMAS_SUM} is it", [Event("tool", '{"a": 1}', "add"), Event("answer", " is it")]),
    (LLAMA, '{"name": "Anna", "age": 3', [Event("answer", '{"name": "Anna", "age": 3')]),
    (LLAMA, '{"age": 3}', [Event("answer", '{"age": 3}')]),
    (LLAMA, "{}", [Event("answer", "{}")]),
    (LLAMA, "<search>a", [Event("answer", "<search>a")]),
    (PLAIN, f"{LLAMAS_SUM}", [Event("answer", LLAMAS_SUM)]),
]


@pytest.mark.parametrize(("dialect", "text", "events"), SAID)
def test_replies_are_sorted_however_they_are_cut(
    others: Tokenizer, dialect: Dialect, text: str, events: list[Event]
) -> None:
    for step in (1, 2, 5, 1000):
        assert parse(text, others, dialect, step=step) == events


def test_json_is_an_answer_where_no_tools_are_on_offer(others: Tokenizer) -> None:
    assert parse(LLAMAS_SUM, others, LLAMA, calls=False) == [Event("answer", LLAMAS_SUM)]


def test_a_call_remembers_how_it_was_written(others: Tokenizer) -> None:
    """Where the tool was never offered, that is what is shown."""
    assert parse(f"<tool_call>\n{SUM}\n</tool_call>", others, QWEN)[0].written == SUM
    assert parse(LLAMAS_SUM, others, LLAMA)[0].written == LLAMAS_SUM


def test_json_without_end_is_not_held_back_for_ever(others: Tokenizer) -> None:
    parser = Parser(others, thinking=False, dialect=LLAMA, calls=True)
    said = parser.push(others.encode('{"name": "' + "}" * 30_000))
    assert "".join(event.text for event in said).startswith('{"name": "}}')


def test_tags_without_a_control_token_are_found_in_the_text(tokenizer: Tokenizer) -> None:
    parser = Parser(tokenizer, thinking=False, dialect=QWEN_2_5)
    events = parser.push(tokenizer.encode(f"<tool_call>\n{SUM}\n</tool_call>")) + parser.finish()
    assert events == [ADD]


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("qwen", '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>'),
        ("llama", '{"name": "add", "parameters": {"a": 1}}'),
    ],
)
def test_calls_can_be_asked_for_in_every_form(others: Tokenizer, form: Literal["qwen", "llama"], text: str) -> None:
    parameters = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    written = of_calls([Tool("add", "", parameters)], others, most=1, form=form)

    def follows(text: str) -> bool:
        matcher = Grammars(others, [others.control("<|im_end|>")]).matcher(written)
        for id_ in ids_of(text, others):
            if not matcher.mask[id_]:
                return False
            matcher.take(id_)
        return matcher.done or bool(matcher.mask[others.control("<|im_end|>")])

    assert follows(text)
    assert not follows(text.replace("add", "sub"))
    assert not follows(text.replace("1", '"x"'))


def test_nobody_can_ask_for_calls_of_an_unknown_form(others: Tokenizer) -> None:
    with pytest.raises(RequestError, match="Nobody knows"):
        of_calls([Tool("add")], others, most=1, form="")
