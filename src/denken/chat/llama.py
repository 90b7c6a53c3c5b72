"""Messages to ids in Llama 3.1's format.

    <|begin_of_text|><|start_header_id|>user<|end_header_id|>\\n\\nquestion<|eot_id|>  ... and the model goes on

As in the published template: contents are trimmed, tools are told in the first question, a message holds at most one
call, a tool's output is written as a JSON string, and the day is 26 July 2024 for ever. Thoughts are not shown.

Not covered: the built-in tools (search, code), and which day it is; say it in a system message.
"""

from __future__ import annotations

from collections.abc import Sequence

from denken.chat.chatml import as_json, described, parsed
from denken.chat.message import Message, Tool
from denken.chat.page import Page, Rendered
from denken.errors import RequestError
from denken.tokenizer import Tokenizer

BOS = "<|begin_of_text|>"
HEADER, END_HEADER = "<|start_header_id|>", "<|end_header_id|>"
END, END_CALL = "<|eot_id|>", "<|eom_id|>"
_DATES = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
_TOOLS = (
    "Given the following functions, please respond with a JSON for a function call with its proper arguments that "
    "best answers the given prompt.\n\n"
    'Respond in the format {"name": function name, "parameters": dictionary of argument name and its value}.'
    "Do not use variables.\n\n"
)


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    thinking: bool = True,
    generate: bool = True,
    tools: Sequence[Tool] = (),
    continues: bool = False,
    searching: bool = False,
    opens_thought: bool = False,
) -> Rendered:
    """The ids of a conversation; no loss is marked, and nothing is said of thoughts or of a search.

    The settings are as in `template.render`. Raises RequestError without messages, where a message calls several tools,
    and where there are tools and no question.
    """
    if not messages:
        raise RequestError("There are no messages; give at least one of a user.")
    page = Page(tokenizer)
    page.control(BOS)
    system = messages[0].content.strip() if messages[0].role == "system" else ""
    rest = messages[1:] if messages[0].role == "system" else messages
    _say(page, "system", ("Environment: ipython\n" if tools else "") + _DATES + system)
    if tools:
        if not rest:
            raise RequestError("Llama is told of its tools in the first question; send one.")
        told = "".join(as_json(described(tool), indent=4) + "\n\n" for tool in tools)
        _say(page, "user", _TOOLS + told + rest[0].content.strip())
        rest = rest[1:]
    for index, message in enumerate(rest):
        if continues and index + 1 == len(rest):
            _open(page, "assistant")
            page.cut()
            page.text(message.content)
        elif message.role == "tool":
            _say(page, "ipython", as_json(message.content))
        elif message.tool_calls:
            _call(page, message)
        else:
            _say(page, message.role, message.content.strip())
    if generate and not continues:
        _open(page, "assistant")
    return page.rendered()


def _call(page: Page, message: Message) -> None:
    if len(message.tool_calls) != 1:
        raise RequestError("Llama's messages hold one call of a tool at a time; send each in a message of its own.")
    call = message.tool_calls[0]
    _say(page, "assistant", f'{{"name": "{call.name}", "parameters": {as_json(parsed(call.arguments))}}}')


def _open(page: Page, role: str) -> None:
    page.control(HEADER)
    page.text(role)
    page.control(END_HEADER)
    page.text("\n\n")


def _say(page: Page, role: str, content: str) -> None:
    _open(page, role)
    page.text(content)
    page.control(END)
