"""Messages to ids by a model's own chat template, where it is of no family that is written by hand here.

The template is a stranger's program. It is rendered in a process that can only compute (`jinja_worker.py`), within
`SECONDS`, and ended when it takes longer; the process lives as long as nothing goes wrong, so that a conversation costs
a millisecond and not a start.

What is said must not become a control id, whatever the template does with it. Two steps see to that:

1. Wherever content holds the name of a control token, a mark that nobody can guess is put behind its first letter. The
   template sees and may trim, split or quote the content; behind it, a control token's name without a mark is the
   template's own. The mark is then taken out, and such text is encoded as text.
2. A template may still make a name out of content that held none (`lower`, `replace`, or a "<|" before it). So the
   conversation is rendered once more with content in which no punctuation is left, and no word of a control token's
   name. The control tokens must come out as before; where they do not, the conversation is refused.

So a template that cuts the content at a tag finds no tag in it, wherever it was typed. Thoughts are told apart before:
they are in `reasoning_content`, as for `transformers`, and a template that does not know it leaves them out. A call's
arguments are handed over as an object, or as text where the template cannot use one.

Departs from `transformers`: whitespace around added tokens that swallow it (`lstrip`, `rstrip`) is kept, and an added
token whose name has no punctuation is text.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence, Set
from functools import partial
from pathlib import Path
from typing import Any

import denken
from denken.chat.chatml import described, parsed, separated
from denken.chat.message import Message, Tool
from denken.chat.page import Page, Rendered
from denken.chat.template import END_THINK, THINK, open_thought
from denken.errors import ConfigError, RequestError
from denken.tokenizer import Tokenizer

SECONDS = 5.0
_MOST_BYTES = 64 << 20
_MOST_PASSES = 20
_PUNCTUATION = re.compile(r"[^\w\s/-]")
_WORD = re.compile(r"[^\W_]+")


class Unrendered(RequestError):
    """A template failed, or took too long, or wrote too much."""


class Template:
    """A chat template, and the process that renders it: started when it is first needed, and after a failure.

    names: what it knows of the vocabulary, `bos_token` and the like.
    """

    def __init__(self, text: str, names: Mapping[str, str]) -> None:
        self.text, self.names = text, names
        self.write = partial(render, template=self)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def render(self, each: Sequence[Mapping[str, Any]]) -> list[str]:
        """The text for each set of values.

        Raises RequestError where the template refuses them, Unrendered where it fails or takes too long.
        """
        line = json.dumps({"template": self.text, "each": list(each)}).encode() + b"\n"
        with self._lock:
            try:
                reply = self._asked(line)
            except (EOFError, BrokenPipeError):
                self._kill()
                try:  # it ends with the thread that started it; a second end is the template's doing
                    reply = self._asked(line)
                except (EOFError, BrokenPipeError):
                    self._kill()
                    reply = {"error": "its process ended"}
            except TimeoutError:
                self._kill()
                reply = {"error": f"it took more than {SECONDS:g} s"}
        if "refused" in reply:
            raise RequestError(f"The model's chat template refuses the conversation: {reply['refused']}")
        if "error" in reply:
            raise Unrendered(
                f"The model's chat template cannot be rendered ({reply['error']}). Take the template from where the "
                "model was published, or change the conversation."
            )
        texts: list[str] = reply["texts"]
        return texts

    def close(self) -> None:
        with self._lock:
            self._kill()

    def _asked(self, line: bytes) -> dict[str, Any]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        end = time.monotonic() + SECONDS
        self._process.stdin.write(line)
        self._process.stdin.flush()
        descriptor, said = self._process.stdout.fileno(), bytearray()
        while not said.endswith(b"\n"):
            if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            chunk = os.read(descriptor, 1 << 16)
            if not chunk or len(said) > _MOST_BYTES:
                raise EOFError
            said += chunk
        reply: dict[str, Any] = json.loads(said)
        return reply

    def _start(self) -> None:
        if os.name != "posix":
            raise ConfigError(
                "This model's chat template is not one that is known here, and rendering it safely needs Linux or "
                "macOS; on Windows, use it inside WSL."
            )
        self._kill()
        search = [str(Path(denken.__file__).parents[1]), *(path for path in sys.path if path)]
        self._process = subprocess.Popen(
            [sys.executable, "-s", "-P", "-B", "-c", "from denken.chat.jinja_worker import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"PYTHONPATH": os.pathsep.join(search)} | ({"TZ": os.environ["TZ"]} if "TZ" in os.environ else {}),
            start_new_session=True,
        )
        self._owner = os.getpid()
        atexit.register(self.close)

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if self._owner == os.getpid():  # a fork of the caller must leave its parent's process alone
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            atexit.unregister(self.close)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def render(
    messages: Sequence[Message],
    tokenizer: Tokenizer,
    *,
    template: Template,
    thinking: bool = True,
    generate: bool = True,
    tools: Sequence[Tool] = (),
    continues: bool = False,
    searching: bool = False,
    opens_thought: bool = False,
) -> Rendered:
    """The ids of a conversation; no loss is marked, and nothing is said of a search.

    The settings are as in `template.render`.
    Raises RequestError where the template refuses the conversation, fails, or makes control tokens out of what is said.
    """
    if not messages:
        raise RequestError("There are no messages; give at least one of a user.")
    begun = messages[-1] if continues and messages[-1].role == "assistant" else None
    shown = messages[:-1] if begun is not None else messages
    page = Page(tokenizer)
    controls = sorted(filter(_PUNCTUATION.search, tokenizer.control_ids), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, controls)) or "(?!)")
    mark = _mark(pattern, {name[0] for name in controls})
    known = {**template.names, "add_generation_prompt": generate, "enable_thinking": thinking and begun is None}

    def values(change: Callable[[str], str], as_text: bool) -> dict[str, Any]:
        told = [described(_changed_tool(tool, change)) for tool in tools] or None
        said = [_as_dict(message, change, as_text) for message in shown]
        return {**known, "thinking": known["enable_thinking"], "messages": said, "tools": told}

    calls = any(message.tool_calls for message in shown)
    text, plain = _rendered(template, values, _Marked(pattern, mark), _Bare(controls), calls)
    if pattern.findall(text) != pattern.findall(plain):
        raise RequestError(
            "The model's chat template would make control tokens out of what this conversation says. "
            "Leave tags out of it, or use the model with the template of a known family."
        )
    done = 0
    for match in pattern.finditer(text):
        page.text(text[done : match.start()].replace(mark, ""))
        page.control(match.group())
        done = match.end()
    page.text(text[done:].replace(mark, ""))
    if begun is None and not (opens_thought and generate and thinking and tokenizer.has_control(THINK)):
        return page.rendered()
    return _gone_on(page, tokenizer, begun)


def _gone_on(page: Page, tokenizer: Tokenizer, begun: Message | None) -> Rendered:
    """The turn that the template opened, with a thought opened in it or an answer begun."""
    opened = open_thought(page.rendered().ids, tokenizer)
    if begun is None:
        if not opened:
            page.control(THINK)
            page.text("\n")
        return page.rendered()
    thought, answer = separated(begun)
    if opened:
        page.text(f"{thought}\n")
        page.tag(END_THINK)
        page.text("\n\n")
        page.cut()
    page.text(answer)
    return page.rendered()


def _rendered(
    template: Template,
    values: Callable[[Callable[[str], str], bool], dict[str, Any]],
    marked: Callable[[str], str],
    bare: Callable[[str], str],
    calls: bool,
) -> tuple[str, str]:
    """The text with marks, and the text of which no control token can come from content."""
    try:
        text, plain = template.render([values(marked, False), values(bare, False)])
    except Unrendered:
        if not calls:
            raise
        text, plain = template.render([values(marked, True), values(bare, True)])
    return text, plain


def _mark(pattern: re.Pattern[str], beginnings: Set[str]) -> str:
    """A mark that makes no name together with what stands before it."""
    while True:
        mark = secrets.token_hex(8)
        if not any(pattern.search(beginning + mark) for beginning in beginnings):
            return mark


class _Marked:
    """Puts the mark behind the first letter of every control token's name, until none is left; names overlap."""

    def __init__(self, pattern: re.Pattern[str], mark: str) -> None:
        self._pattern, self._mark = pattern, mark

    def __call__(self, text: str) -> str:
        for _ in range(_MOST_PASSES):
            if not self._pattern.search(text):
                return text
            text = self._pattern.sub(lambda match: match.group()[0] + self._mark + match.group()[1:], text)
        raise RequestError("A message spells control tokens within control tokens, too deep to tell apart; shorten it.")


class _Bare:
    """Takes out what control tokens' names are made of: punctuation, and the words of the names."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = "\n".join(names).casefold()

    def __call__(self, text: str) -> str:
        return _WORD.sub(self._word, _PUNCTUATION.sub("_", text))

    def _word(self, match: re.Match[str]) -> str:
        word = match.group()
        return "x" * len(word) if word.casefold() in self._names else word


def _changed_tool(tool: Tool, change: Callable[[str], str]) -> Tool:
    return Tool(change(tool.name), change(tool.description), _changed(tool.parameters, change))


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    """Every text in a JSON value changed, keys too."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(str(key)): _changed(inner, change) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_changed(inner, change) for inner in value]
    return value


def _as_dict(message: Message, change: Callable[[str], str], as_text: bool) -> dict[str, Any]:
    """A message as templates take it."""
    thought, answer = separated(message) if message.role == "assistant" else ("", message.content)
    entry: dict[str, Any] = {"role": message.role, "content": change(answer)}
    if thought or message.reasoning_content is not None:
        entry["reasoning_content"] = change(thought)
    if message.name:
        entry["name"] = change(message.name)
    if message.tool_calls:
        if as_text and not answer:
            entry["content"] = None  # as R1's first template tells a call from an answer
        entry["tool_calls"] = [
            {
                "id": call.id or "",
                "type": change(call.type),
                "function": {
                    "name": change(call.name),
                    "arguments": change(call.arguments) if as_text else _changed(parsed(call.arguments), change),
                },
            }
            for call in message.tool_calls
        ]
    return entry
