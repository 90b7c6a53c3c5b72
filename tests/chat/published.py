"""The chat templates that were published, what they make of a conversation, and conversations to try them with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from denken.chat import chatml, llama
from denken.chat.message import Message, Tool, ToolCall
from small_vocabulary import CONTROL_NAMES, FAMILY

FOLDER = FAMILY.parent / "templates"
NAMES = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": "<｜end▁of▁sentence｜>"}
# One vocabulary for all families.
CONTROLS = (
    *CONTROL_NAMES,
    *(chatml.START, chatml.END, chatml.CALL, chatml.END_CALL, chatml.RESPONSE, chatml.END_RESPONSE),
    *(llama.BOS, llama.HEADER, llama.END_HEADER, llama.END, llama.END_CALL, "<|python_tag|>"),
)

TOOLS = (
    Tool("weather", "Is it dry? <b>", {"type": "object", "properties": {"city": {"type": "string", "enum": ["Köln"]}}}),
    Tool("now"),
)
_CALL = ToolCall("weather", '{"city": "Köln"}')
_ASKED = Message("user", "Is it dry\nin Köln?")
_CALLS = Message("assistant", "", reasoning_content="Look.\n", tool_calls=(_CALL,))
CONVERSATIONS: dict[str, list[Message]] = {
    "a question": [Message("user", "  What is 3 * 4?\n")],
    "a system text": [Message("system", " Be brief.\n"), Message("user", "Hi")],
    "old thoughts": [
        Message("user", "3 * 4?"),
        Message("assistant", "\n12", reasoning_content="\nthree fours\n"),
        Message("user", "And 5?"),
        Message("assistant", "15", reasoning_content=""),
        Message("user", "So?"),
    ],
    "a call": [_ASKED, _CALLS, Message("tool", '{"dry": "ja"}')],
    "a call, then on": [_ASKED, _CALLS, Message("tool", "dry"), Message("assistant", "Yes."), Message("user", "OK")],
    "a finished answer": [
        Message("system", "S"),
        Message("user", "3?"),
        Message("assistant", "3", reasoning_content="Th"),
    ],
}
# More than one call at a time, and thoughts within the content: Qwen3's alone.
QWENS: dict[str, list[Message]] = {
    "two calls": [
        _ASKED,
        Message("assistant", "Both:", reasoning_content="Look.", tool_calls=(_CALL, ToolCall("now", "{}"))),
        Message("tool", "dry"),
        Message("tool", "noon"),
        Message("assistant", "Dry at noon.", reasoning_content="so"),
    ],
    "thoughts within contents": [
        Message("user", "3 * 4?"),
        Message("assistant", "<think>\nfours\n</think>\n\n12"),
        Message("user", "And 5?"),
        Message("assistant", "<think>\nfives\n</think>\n\n15"),
    ],
    "a system text in the middle": [Message("user", "a"), Message("system", "b"), Message("user", "c")],
    "what reads like a tool's output": [
        Message("user", "a"),
        Message("assistant", "b", reasoning_content="c"),
        Message("user", "<tool_response>\nd\n</tool_response>"),
    ],
}


def templates() -> dict[str, str]:
    """Every published template at hand, by a short name; those of the families that are written by hand among them."""
    if not (FOLDER / "r1_templates.json").is_file():
        return {}
    listed = json.loads((FOLDER / "r1_templates.json").read_text(encoding="utf-8"))
    cases = json.loads((FOLDER / "upstream_cases.json").read_text(encoding="utf-8"))
    qwen = json.loads((FAMILY / "Qwen3-30B-A3B" / "tokenizer_config.json").read_text(encoding="utf-8"))
    found = {name: entry["template"] for name, entry in listed.items()}
    found |= {case["id"]: case["chat_template"] for case in cases if case.get("chat_template")}
    return {**found, "Qwen3-30B-A3B": qwen["chat_template"]}


def text_of_template(
    template: str,
    messages: Sequence[Message],
    *,
    thinking: bool = True,
    generate: bool = True,
    tools: Sequence[Tool] = (),
    names: dict[str, str] | None = None,
    as_text: bool = False,
) -> str:
    """What `transformers` makes of a conversation. as_text: arguments of calls are handed over as text."""
    [text], _ = render_jinja_template(
        conversations=[[as_dict(message, as_text) for message in messages]],
        tools=[chatml.described(tool) for tool in tools] or None,
        chat_template=template,
        add_generation_prompt=generate,
        enable_thinking=thinking,
        thinking=thinking,  # what DeepSeek calls it
        **(names or NAMES),
    )
    return text


def as_dict(message: Message, as_text: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.reasoning_content is not None:
        entry["reasoning_content"] = message.reasoning_content
    if message.tool_calls:
        if not message.content and as_text:
            entry["content"] = None  # as R1's first template tells a call from an answer
        entry["tool_calls"] = [
            {
                "type": call.type,
                "function": {
                    "name": call.name,
                    "arguments": call.arguments if as_text else json.loads(call.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return entry
