"""The chat template that leaves with a model says what `render` says."""

from __future__ import annotations

from pathlib import Path

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from denken.chat.message import Message, Tool, ToolCall
from denken.chat.template import render
from denken.export.source import house_template
from denken.tokenizer import Tokenizer
from small_vocabulary import write_tokenizer

USER = Message("user", "What is 2 + 2?\n")
SYSTEM = Message("system", "Be brief.")
ANSWER = Message("assistant", "4", reasoning_content="2 and 2")
OLD = Message("assistant", "<think>\n2 and 2\n</think>\n\n4")
CALLS = Message("assistant", "", tool_calls=(ToolCall("add", '{"a": 2}'), ToolCall("add", "{}")))
TEXT_AND_CALL = Message("assistant", "Let me see.", tool_calls=(ToolCall("add", '{"ä": 2}'),))
FOUND = Message("tool", "4")
TOOL = Tool("add", "Adds «numbers».", {"type": "object", "properties": {"a": {"type": "integer"}}})

CONVERSATIONS = {
    "a question": [USER],
    "a system": [SYSTEM, USER],
    "several systems": [SYSTEM, USER, ANSWER, Message("system", "In German."), Message("user", "And 3?")],
    "an old thought apart": [USER, ANSWER, USER],
    "an old thought in the text": [USER, OLD, USER],
    "an old answer that says </think>": [USER, Message("assistant", "a</think>b", reasoning_content=""), USER],
    "an answer at the end": [USER, ANSWER],
    "an answer at the end with its thought in the text": [USER, OLD],
    "calls": [USER, CALLS, FOUND, FOUND],
    "text and a call, then an answer": [USER, TEXT_AND_CALL, FOUND, ANSWER, USER],
    "an answer after a tool at the end": [USER, TEXT_AND_CALL, FOUND, ANSWER],
    "a call at the end": [USER, TEXT_AND_CALL],
    "nothing but a system": [SYSTEM],
}


def as_json(message: Message) -> dict:
    """A message as OpenAI's API, and so every template, has it."""
    found: dict = {"role": message.role, "content": message.content}
    if message.reasoning_content is not None:
        found["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        found["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return found


def rendered(conversation: list[Message], *, tools: bool, **settings: bool) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template

    offered = {"name": TOOL.name, "description": TOOL.description, "parameters": TOOL.parameters}
    texts, _ = render_jinja_template(
        [[as_json(message) for message in conversation]],
        tools=[{"type": "function", "function": offered}] if tools else None,
        chat_template=house_template(),
        **settings,
    )
    return texts[0]


@pytest.mark.parametrize("tools", [False, True])
@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("name", CONVERSATIONS)
def test_the_template_is_render(name: str, thinking: bool, tools: bool, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path, words=["What", " is", "\n\n"]))
    conversation = CONVERSATIONS[name]
    if not thinking and name == "an answer at the end with its thought in the text":
        pytest.skip("a thought that is spelt out is kept there, and `render` leaves it out")
    ours = render(conversation, tokenizer, thinking=thinking, tools=[TOOL] if tools else ())
    theirs = rendered(conversation, tools=tools, add_generation_prompt=True, enable_thinking=thinking)
    assert theirs == tokenizer.decode(ours.ids, skip_control=False)


def test_without_a_turn_to_open() -> None:
    pytest.importorskip("transformers")
    assert rendered([USER], tools=False, add_generation_prompt=False).endswith("2?\n")


def test_it_needs_nothing_but_plain_jinja() -> None:
    """Programs without Hugging Face's extensions can render it, whatever their settings for blank space."""
    message = {"role": "user", "content": "Hi"}
    for trims in (False, True):
        plain = ImmutableSandboxedEnvironment(trim_blocks=trims, lstrip_blocks=trims).from_string(house_template())
        shown = plain.render(messages=[message], add_generation_prompt=True)
        assert shown == "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜><think>\n"
