"""Messages to ids in Qwen's formats: ChatML, as Qwen3 and Qwen2.5 publish it.

    <|im_start|>user\\nquestion<|im_end|>\\n<|im_start|>assistant\\n   and the model goes on

The ids are those of the published template's text, encoded as one; only what people, pages and tools say never becomes
a control id. Qwen3 opens its thought itself and keeps it while it calls tools, up to the next question. The arguments
of a call are written as they were given (Qwen3) or as JSON in Python's spelling (Qwen2.5), as the templates do it.

Not covered: pictures and other content that is not text; training (`template.py` is the format that is learnt).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import Any

from denken.chat.message import Message, Tool
from denken.chat.page import Page, Rendered
from denken.chat.template import END_THINK, THINK
from denken.errors import RequestError
from denken.tokenizer import Tokenizer

START, END = "<|im_start|>", "<|im_end|>"
CALL, END_CALL = "<tool_call>", "</tool_call>"
RESPONSE, END_RESPONSE = "<tool_response>", "</tool_response>"
DEFAULT_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_TOOLS_BEFORE = (
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>"
)
_TOOLS_BEHIND = (
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
    "<tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>'
)


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    thinks: bool,
    thinking: bool = True,
    generate: bool = True,
    tools: Sequence[Tool] = (),
    continues: bool = False,
    searching: bool = False,
    opens_thought: bool = False,
) -> Rendered:
    """The ids of a conversation; no loss is marked, and nothing is said of a search.

    thinks: Qwen3's format, else Qwen2.5's. The others are as in `template.render`. Raises RequestError where there are
    no messages.
    """
    if not messages:
        raise RequestError("There are no messages; give at least one of a user.")
    page = Page(tokenizer)
    _system(page, messages[0], thinks, tools)
    query = _last_query(messages)
    for index, message in enumerate(messages):
        last = index + 1 == len(messages)
        if message.role == "user" or (message.role == "system" and index):
            _say(page, message.role, message.content)
            _end(page)
        elif message.role == "tool":
            _tool_output(
                page,
                message.content,
                first=not index or messages[index - 1].role != "tool",
                last=last or messages[index + 1].role != "tool",
            )
        elif message.role == "assistant" and continues and last:
            _begun(page, message, thinks)
        elif message.role == "assistant" and thinks:
            _thinking_turn(page, message, shown=index > query, last=last)
        elif message.role == "assistant":
            _plain_turn(page, message)
    if generate and not (continues and messages[-1].role == "assistant"):
        _say(page, "assistant", "")
        if thinks and not thinking:
            _thought(page, "")
        elif thinks and opens_thought:
            page.tag(THINK)
            page.text("\n")
    return page.rendered()


render_3, render_2_5 = partial(render, thinks=True), partial(render, thinks=False)


def _system(page: Page, first: Message, thinks: bool, tools: Sequence[Tool]) -> None:
    given = first.content if first.role == "system" else None
    if given is None and not thinks:
        given = DEFAULT_SYSTEM
    if tools:
        _say(page, "system", "" if given is None else f"{given}\n\n")
        page.text(_TOOLS_BEFORE)
        for tool in tools:
            page.text("\n" + as_json(described(tool)))
        page.own(_TOOLS_BEHIND, (CALL, END_CALL))
        _end(page)
    elif given is not None:
        _say(page, "system", given)
        _end(page)


def _last_query(messages: Sequence[Message]) -> int:
    """Where the last question stands; what reads like a tool's output is none, as in the published template."""
    for index in reversed(range(len(messages))):
        content = messages[index].content
        wrapped = content.startswith(RESPONSE) and content.endswith(END_RESPONSE)
        if messages[index].role == "user" and not wrapped:
            return index
    return len(messages) - 1


def _thinking_turn(page: Page, message: Message, *, shown: bool, last: bool) -> None:
    """An assistant's message of Qwen3; its thought is shown behind the last question."""
    thought, answer = separated(message)
    _say(page, "assistant", "")
    if shown and (last or thought):
        _thought(page, thought.strip("\n"))
        page.text(answer.lstrip("\n"))
    else:
        page.text(answer)
    for index, call in enumerate(message.tool_calls):
        page.text("\n" if index or answer else "")
        _call(page, call.name, call.arguments)
    _end(page)


def _plain_turn(page: Page, message: Message) -> None:
    """An assistant's message of Qwen2.5."""
    page.control(START)
    page.text("assistant" if message.tool_calls and not message.content else f"assistant\n{message.content}")
    for call in message.tool_calls:
        page.text("\n")
        _call(page, call.name, as_json(parsed(call.arguments)))
    _end(page)


def _begun(page: Page, message: Message, thinks: bool) -> None:
    """The assistant's message that the model is to go on with; a thought is over, or there is none."""
    _say(page, "assistant", "")
    thought, answer = separated(message) if thinks else ("", message.content)
    if thinks:
        _thought(page, thought.strip("\n"))
    page.cut()
    page.text(answer)


def _call(page: Page, name: str, arguments: str) -> None:
    page.tag(CALL)
    page.text(f'\n{{"name": "{name}", "arguments": {arguments}}}\n')
    page.tag(END_CALL)


def _tool_output(page: Page, content: str, *, first: bool, last: bool) -> None:
    if first:
        page.control(START)
        page.text("user")
    page.text("\n")
    page.tag(RESPONSE)
    page.text(f"\n{content}\n")
    page.tag(END_RESPONSE)
    if last:
        _end(page)


def _thought(page: Page, thought: str) -> None:
    page.tag(THINK)
    page.text(f"\n{thought}\n")
    page.tag(END_THINK)
    page.text("\n\n")


def _say(page: Page, role: str, content: str) -> None:
    page.control(START)
    page.text(f"{role}\n{content}")


def _end(page: Page) -> None:
    page.control(END)
    page.text("\n")


def separated(message: Message) -> tuple[str, str]:
    """The thought and the answer of a message, also of one that holds both in its content."""
    if message.reasoning_content is not None or END_THINK not in message.content:
        return message.reasoning_content or "", message.content
    before, answer = message.content.split(END_THINK)[0], message.content.split(END_THINK)[-1]
    return before.rstrip("\n").split(THINK)[-1].lstrip("\n"), answer.lstrip("\n")


def described(tool: Tool) -> dict[str, Any]:
    """A tool as OpenAI's API describes it, which published templates take."""
    function = {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)}
    return {"type": "function", "function": function}


def parsed(arguments: str) -> Any:
    """A call's arguments as JSON, or as they are where they are none."""
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def as_json(value: Any, indent: int | None = None) -> str:
    """JSON as published templates write it."""
    return json.dumps(value, ensure_ascii=False, indent=indent)
