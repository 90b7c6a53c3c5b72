"""Messages to ids and a loss mask, in DeepSeek-R1's format.

    BOS system <User>question<Assistant>answer EOS <User>question<Assistant><think>\\n   and the model goes on

Content and control tokens are encoded apart, so nothing that a person, a page or a tool types becomes a
control id. Text between two control tokens is encoded as one piece, which gives the ids of the published
template's text wherever content holds no control string; only what the template forces before the model's
own turn (the line break after `<think>`) is a piece of its own, as it is when the model generates.

Content is never trimmed, as in the published template (February 2025). Where we depart from it:

1. Several system messages are joined by an empty line (DeepSeek's later templates); the published one keeps the last.
2. The last message, when it is the assistant's, is rendered whole with its thought, and nothing follows it.
   The published template drops its thought and, asked to, opens another turn.
3. An old answer is cut up to its last `</think>`, as published, only when its message has no `reasoning_content`.
   Where thought and answer were separated already, a `</think>` in the answer is something that was said.
4. Tool calls: every block is closed (published: only from the second call on, and then once a call), opens anew in
   each turn, may follow text, and tool outputs are closed whoever speaks next.
5. R1's template does not say which tools there are. They are told behind the system text as DeepSeek-V3.1's model card
   does it, with R1's form of a call in the place of V3.1's.
6. Where a vocabulary has no control tokens for tools (the Qwen distills'), their names are written as text, as the
   published template does it; a tool's output could then spell them.
7. Searches in a thought are Search-R1's (arXiv 2503.09516): `<search>words</search>`, behind which the house writes
   `\\n<information>\\n...\\n</information>\\n`, a piece of its own without loss. The tags are control tokens where the
   vocabulary has them (the bundled one) and text elsewhere (R1's); what was found cannot spell them in either. One line
   of the system text tells the model that it may search; Search-R1 has a longer one in the question.

The first release of R1 and its distills (January 2025) left it to the model to open its thought; `opens_thought=False`
is that. The formats of other families are in files of their own; `formats.py` says which is whose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from denken.chat.message import Message, Tool, ToolCall
from denken.chat.page import Page
from denken.chat.page import Rendered as Rendered
from denken.errors import RequestError
from denken.tokenizer import Tokenizer

BOS = "<｜begin▁of▁sentence｜>"
EOS = "<｜end▁of▁sentence｜>"
USER = "<｜User｜>"
ASSISTANT = "<｜Assistant｜>"
THINK = "<think>"
END_THINK = "</think>"
CALLS_BEGIN = "<｜tool▁calls▁begin｜>"
CALLS_END = "<｜tool▁calls▁end｜>"
CALL_BEGIN = "<｜tool▁call▁begin｜>"
CALL_END = "<｜tool▁call▁end｜>"
CALL_SEP = "<｜tool▁sep｜>"
OUTPUTS_BEGIN = "<｜tool▁outputs▁begin｜>"
OUTPUTS_END = "<｜tool▁outputs▁end｜>"
OUTPUT_BEGIN = "<｜tool▁output▁begin｜>"
OUTPUT_END = "<｜tool▁output▁end｜>"
SEARCH = "<search>"
END_SEARCH = "</search>"
INFORMATION = "<information>"
END_INFORMATION = "</information>"
FIM_BEGIN = "<｜fim▁begin｜>"
FIM_HOLE = "<｜fim▁hole｜>"
FIM_END = "<｜fim▁end｜>"

_WITHIN_THOUGHTS = (SEARCH, END_SEARCH, INFORMATION, END_INFORMATION)
# A search in a thought as text, with what was found; the line break behind it may have been trimmed from a thought.
_SEARCHED = re.compile(r"<search>(.*?)</search>(?:\n<information>\n(.*?)\n</information>\n?)?", re.DOTALL)
_TAGS_OF_THOUGHT = re.compile(r"<(?=\s*/?\s*(?:search|information|think)\s*>)", re.IGNORECASE)


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    thinking: bool = True,
    generate: bool = True,
    tools: Sequence[Tool] = (),
    continues: bool = False,
    searching: bool = False,
    opens_thought: bool = True,
) -> Rendered:
    """The ids of a conversation.

    thinking: whether the model is to think; if not, an empty thought is forced.
    generate: end with the opening of the assistant's turn. After tool outputs there is nothing to open (as
        published: the turn goes on); after an assistant's message nothing is opened either.
    tools: what the model is told it may call.
    continues: the last message is the assistant's and is not at its end: its answer stands open, behind its thought
        or an empty one.
    searching: the model is told that it may search in its thought; searches in the last message's thought, and what was
        found, are what they read.
    opens_thought: whether the turn that is opened begins with a thought; if not, the model is to begin it.

    Loss: when the last message is the assistant's, on its thought, `\\n</think>\\n\\n`, answer, tool calls and EOS;
    never on what the template forces: `<think>\\n`, or the whole empty thought when `thinking` is off (a thought
    in the message is then left out), nor on what a search found. Nothing else carries loss.

    Raises RequestError without messages, ConfigError where the vocabulary lacks a control token that is needed.

    >>> render([Message("user", "Hi")], tokenizer).ids  # doctest: +SKIP
    (0, 128803, 20440, 128804, 128798, 201)
    """
    if not messages:
        raise RequestError("There are no messages; give at least one of a user.")
    page = Page(tokenizer)
    page.control(BOS)
    page.text("\n\n".join(message.content for message in messages if message.role == "system"))
    if tools:
        _offer(page, tools)
    if searching:
        _offer_search(page)
    spoken = [message for message in messages if message.role != "system"]
    ends_whole = bool(spoken) and spoken[-1].role == "assistant"
    in_turn = False  # tool outputs leave the assistant's turn open: its answer follows without a new <Assistant>
    for index, message in enumerate(spoken):
        if message.role == "user":
            page.control(USER)
            page.text(message.content)
        elif message.role == "tool":
            _tool_output(page, message, first=not in_turn)
            if index + 1 == len(spoken) or spoken[index + 1].role != "tool":
                page.tag(OUTPUTS_END)
        elif ends_whole and index + 1 == len(spoken):
            if continues:
                _begun_turn(page, message, in_turn)
            else:
                _final_turn(page, message, thinking, in_turn, searching)
        else:
            _old_turn(page, message, in_turn)
        in_turn = message.role == "tool"
    if generate and not ends_whole and not in_turn:
        if thinking and not opens_thought:
            page.control(ASSISTANT)
        else:
            _open_turn(page, thinking)
    return page.rendered()


def open_thought(ids: Sequence[int], tokenizer: Tokenizer) -> bool:
    """Whether a prompt ends inside a thought: no control token follows its last `<think>`, but those of a search."""
    if not tokenizer.has_control(THINK):
        return False
    opener = tokenizer.control(THINK)
    inside = {tokenizer.control(name) for name in _WITHIN_THOUGHTS if tokenizer.has_control(name)}
    for id_ in reversed(ids):
        if id_ == opener:
            return True
        if tokenizer.is_control(id_) and id_ not in inside:
            return False
    return False


def settled(prompt: Sequence[int], reply: Message, tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the next prompt of a conversation begins with, once `prompt` was answered by `reply`: its thought is gone.

    >>> settled(render(asked, tokenizer).ids, reply, tokenizer)  # doctest: +SKIP
    >>> render([*asked, reply, question], tokenizer).ids[:-n]  # doctest: +SKIP
    """
    openers = {tokenizer.control(name) for name in (ASSISTANT, OUTPUTS_END) if tokenizer.has_control(name)}
    turn = max((index for index, id_ in enumerate(prompt) if id_ in openers), default=-1) + 1
    page = Page(tokenizer)
    _old_turn(page, reply, in_turn=True)
    return (*prompt[:turn], *page.rendered().ids)


def fill_in(prompt: str, suffix: str | None, tokenizer: Tokenizer) -> tuple[int, ...]:
    """A bare text as ids, behind the mark that begins every text; with a suffix, up to where the gap is to be filled.

    Raises ConfigError where there is a suffix and the vocabulary has no control tokens for a gap.
    """
    page = Page(tokenizer)
    begins = next(filter(tokenizer.has_control, (BOS, "<|begin_of_text|>")), None)  # DeepSeek's, Llama's; Qwen has none
    if begins is not None:
        page.control(begins)
    if suffix is None:
        page.text(prompt)
    else:
        page.control(FIM_BEGIN)
        page.text(prompt)
        page.control(FIM_HOLE)
        page.text(suffix)
        page.control(FIM_END)
    return page.rendered().ids


def end_of_thinking(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids that end a thought when its budget is spent: a line break, `</think>`, an empty line.

    None where the vocabulary has no `</think>`: its model does not think.
    """
    if not tokenizer.has_control(END_THINK):
        return ()
    return (*tokenizer.encode("\n"), tokenizer.control(END_THINK), *tokenizer.encode("\n\n"))


def own_words(thought: str) -> str:
    """A thought that searches, without what was found.

    >>> own_words("So\\n<search>Lund</search>\\n<information>\\n[1] Lund: A town.\\n</information>\\nA town.")
    'So\\n<search>Lund</search>A town.'
    """
    return _SEARCHED.sub(lambda match: f"{SEARCH}{match[1]}{END_SEARCH}", thought)


def information_ids(body: str, tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the house writes behind a search in a thought, as ids: `body` between `<information>` and its end."""
    page = Page(tokenizer)
    _information(page, body)
    return page.rendered().ids


def _open_turn(page: Page, thinking: bool) -> None:
    """What is forced before the model speaks."""
    page.control(ASSISTANT)
    page.control(THINK)
    page.text("\n" if thinking else "\n\n")
    if not thinking:
        page.control(END_THINK)
        page.text("\n\n")
    page.cut()


def _old_turn(page: Page, message: Message, in_turn: bool) -> None:
    """An assistant's message in the history: the answer without its thought."""
    if not in_turn:
        page.control(ASSISTANT)
    separated = message.reasoning_content is not None
    page.text(message.content if separated else message.content.rpartition(END_THINK)[2])
    _tool_calls(page, message.tool_calls, loss=False)
    page.control(EOS)


def _final_turn(page: Page, message: Message, thinking: bool, in_turn: bool, searching: bool) -> None:
    """The assistant's message that closes the conversation: what training learns from."""
    thought, answer = _thought_and_answer(message)
    if not in_turn:
        _open_turn(page, thinking)
    elif thinking and thought:  # nothing was forced after tool outputs: the model opened this thought itself
        page.control(THINK, loss=True)
        page.text("\n", loss=True)
    if thinking and (thought or not in_turn):
        if searching:
            _searching_thought(page, thought)
        else:
            page.text(thought, loss=True)
        page.text("\n", loss=True)
        page.control(END_THINK, loss=True)
        page.text("\n\n", loss=True)
    page.text(answer, loss=True)
    _tool_calls(page, message.tool_calls, loss=True)
    page.control(EOS, loss=True)


def _searching_thought(page: Page, thought: str) -> None:
    """A thought in which searches are tags, and what was found stands as the house wrote it."""
    done = 0
    for match in _SEARCHED.finditer(thought):
        page.text(thought[done : match.start()], loss=True)
        page.tag(SEARCH, loss=True)
        page.text(match[1], loss=True)
        page.tag(END_SEARCH, loss=True)
        if match[2] is not None:
            _information(page, match[2])
        done = match.end()
    page.text(thought[done:], loss=True)


def _information(page: Page, body: str) -> None:
    """What a search found, as a piece of its own whose tags nothing in it can spell."""
    page.text("\n")
    page.tag(INFORMATION)
    page.text("\n" + _TAGS_OF_THOUGHT.sub("‹", body) + "\n")
    page.tag(END_INFORMATION)
    page.text("\n")
    page.cut()


def _begun_turn(page: Page, message: Message, in_turn: bool) -> None:
    """The assistant's message that the model is to go on with: its thought is over, or there is none."""
    thought, answer = _thought_and_answer(message)
    if not in_turn:
        page.control(ASSISTANT)
    if thought:
        page.control(THINK)
        page.text(f"\n{thought}\n")
    elif not in_turn:
        page.control(THINK)
        page.text("\n\n")
    if thought or not in_turn:
        page.control(END_THINK)
        page.text("\n\n")
    page.cut()
    page.text(answer)


def _thought_and_answer(message: Message) -> tuple[str, str]:
    """The thought and the answer, also of content that begins with a spelt-out `<think>`."""
    if message.reasoning_content is None and message.content.lstrip().startswith(THINK):
        thought, closer, answer = message.content.lstrip().removeprefix(THINK).rpartition(END_THINK)
        if closer:
            return thought.removeprefix("\n").removesuffix("\n"), answer.removeprefix("\n").removeprefix("\n")
    return message.reasoning_content or "", message.content


def _offer(page: Page, tools: Sequence[Tool]) -> None:
    """Which tools there are, and how they are called. Nothing of a tool's own words becomes a control token."""
    page.text("" if page.begins else "\n\n")
    page.text("## Tools\nYou have access to the following tools:\n\n")
    for tool in tools:
        parameters = json.dumps(tool.parameters, ensure_ascii=False)
        page.text(f"### {tool.name}\nDescription: {tool.description}\n\nParameters: {parameters}\n\n")
    page.text("IMPORTANT: ALWAYS adhere to this exact format for tool use:\n")
    page.tag(CALLS_BEGIN)
    page.tag(CALL_BEGIN)
    page.text("function")
    page.tag(CALL_SEP)
    page.text("tool_call_name\n```json\ntool_call_arguments\n```")
    page.tag(CALL_END)
    page.text("{additional_tool_calls}")
    page.tag(CALLS_END)
    page.text(
        "\n\nWhere:\n\n"
        "- `tool_call_name` must be an exact match to one of the available tools\n"
        "- `tool_call_arguments` must be valid JSON that strictly follows the tool's Parameters Schema\n"
        "- For multiple tool calls, chain them with a line break between them"
    )


def _offer_search(page: Page) -> None:
    """That there is a search: in few words, for a small model's context is small."""
    page.text("" if page.begins else "\n\n")
    page.text("Search in your thought: ")
    page.tag(SEARCH)
    page.text("words")
    page.tag(END_SEARCH)


def _tool_calls(page: Page, calls: Sequence[ToolCall], *, loss: bool) -> None:
    if not calls:
        return
    page.tag(CALLS_BEGIN, loss=loss)
    for position, call in enumerate(calls):
        if position:
            page.text("\n", loss=loss)
        page.tag(CALL_BEGIN, loss=loss)
        page.text(call.type, loss=loss)
        page.tag(CALL_SEP, loss=loss)
        page.text(f"{call.name}\n```json\n{call.arguments}\n```", loss=loss)
        page.tag(CALL_END, loss=loss)
    page.tag(CALLS_END, loss=loss)


def _tool_output(page: Page, message: Message, *, first: bool) -> None:
    if first:
        page.tag(OUTPUTS_BEGIN)
    else:
        page.text("\n")
    page.tag(OUTPUT_BEGIN)
    page.text(message.content)
    page.tag(OUTPUT_END)
