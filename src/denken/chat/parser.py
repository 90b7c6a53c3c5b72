"""What a model says, sorted while it streams: thought, answer, calls of tools.

`Parser` takes ids. Where the vocabulary has a control token for a tag, that id alone is the tag: the same letters in
code or prose stay text. Tags without one (`<search>` in R1's vocabulary) are found in the text.
`TextParser` takes text or bytes, for servers upstream that give no ids, and finds all tags in it, wherever it is cut.

The rules, the same for both and for any chunking:

1. Whitespace that the template puts around tags goes with them: one line break after `<think>`, one before `</think>`,
   two after it. Up to two go with a tag of thinking at the very start, whose thought was opened already or is empty.
2. No more text is held back than could be the beginning of a tag (or of that whitespace).
3. A second `<think>` at the start of a thought and a repeated `</think>` are dropped; `<think>` in an answer opens
   a thought again. Tags found in text: `<think>` later in a thought stays text, and so does any tag in the inline or
   fenced code of an answer.
4. `<search>q</search>` in a thought is a tool event. Calls of other tools in a thought are no calls, only text of it.
5. In an answer, every call of a `<｜tool▁calls▁begin｜>` block is a tool event, as soon as it is complete. Blanks
   between calls are dropped. A call or search that is never completed is text again, without its tags.
6. When all ends inside a thought, the thought stays a thought and the answer is empty: see `unclosed`.
7. What the tags are is the family's (`Dialect`): DeepSeek's above; Qwen's `<tool_call>` around JSON; Llama's JSON
   behind `<|python_tag|>`, up to the end, or bare at the beginning of an answer where tools are on offer.

Nothing is judged here: whether a tool exists and its arguments are JSON is for those who call it. Nothing raises.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from denken.chat.codespans import CodeSpans
from denken.chat.template import (
    CALL_BEGIN,
    CALL_END,
    CALL_SEP,
    CALLS_BEGIN,
    CALLS_END,
    END_SEARCH,
    END_THINK,
    SEARCH,
    THINK,
)
from denken.tokenizer import Tokenizer

_Kind = Literal["think", "answer", "tool"]
_Mode = Literal["think", "search", "answer", "calls", "call"]

# Which tags mean something in which mode. `<think>` in a thought counts only before anything was said in it.
_TAGS: dict[_Mode, tuple[str, ...]] = {
    "think": (END_THINK, SEARCH),
    "search": (END_SEARCH, END_THINK),
    "answer": (THINK, END_THINK, CALLS_BEGIN, CALL_BEGIN),
    "calls": (CALL_BEGIN, CALLS_END, THINK, END_THINK),
    "call": (CALL_SEP, CALL_END, CALLS_END),
}
_ALL_TAGS = frozenset(tag for tags in _TAGS.values() for tag in tags)
_FENCED = re.compile(r"```\w*\n(.*?)\n?```", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Event:
    """A piece of thought or answer, or one whole call of a tool.

    Of a tool event `name` is the tool ("search" for a search in a thought) and `text` its arguments: JSON as the
    model wrote it, or the words to search for. A call that is not in its family's form has its text and no name.
    written: the call as the model wrote it, where that is not its name and text.
    """

    kind: _Kind
    text: str
    name: str = ""
    written: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The tags of a family's replies.

    tags: each of its tags, and DeepSeek's tag of the same meaning. read_call: a call's text before and behind its
    separator (None: there was none) to name and arguments. form: whose form a call has, "" where nobody knows.
    bare_calls: JSON at the beginning of an answer may be a call. open_ended: a call that is not closed ends with the
    reply.
    """

    tags: Mapping[str, str]
    read_call: Callable[[str, str | None], tuple[str, str]]
    form: Literal["deepseek", "qwen", "llama", ""] = ""
    bare_calls: bool = False
    open_ended: bool = False


class Parser:
    """Ids of a model's turn to events.

    thinking: whether the prompt already opened the thought (R1's does); see `template.open_thought`. dialect: the
    family's tags. calls: whether tools are on offer, where that decides what a call is.

    >>> parser = Parser(tokenizer, thinking=True)  # doctest: +SKIP
    >>> parser.push(ids) + parser.finish()  # doctest: +SKIP
    [Event('think', '3 * 4 = 12'), Event('answer', '12')]
    """

    def __init__(
        self, tokenizer: Tokenizer, *, thinking: bool, dialect: Dialect | None = None, calls: bool = False
    ) -> None:
        dialect = dialect or DEEPSEEK
        self._decoder = tokenizer.decoder()
        self._names = {id_: name for name, id_ in tokenizer.control_ids.items()}
        self._sorter = _Sorter(dialect, dialect.tags.keys() - tokenizer.control_ids.keys(), thinking)
        self._bare = _BareCalls() if dialect.bare_calls and calls and not thinking else None

    @property
    def unclosed(self) -> bool:
        """Whether a thought is open. After `finish`: the turn ended in the thought, without an answer."""
        return self._sorter.in_thought

    def push(self, ids: Iterable[int]) -> list[Event]:
        """The events that became certain. Control ids that are no tags (end of sentence, padding) are dropped."""
        words: list[str] = []
        for id_ in ids:
            name = self._names.get(id_)
            if name is None:
                words.append(self._decoder.push(id_))
                continue
            words.append(self._decoder.finish())
            self._text("".join(words), last=True)
            words.clear()
            self._sorter.control(name)
        if words:
            self._text("".join(words))
        return self._sorter.take()

    def finish(self) -> list[Event]:
        """The last events: whatever was held back is text."""
        self._text(self._decoder.finish(), last=True)
        self._sorter.finish()
        return self._sorter.take()

    def _text(self, piece: str, *, last: bool = False) -> None:
        if self._bare is not None:
            calls, piece = self._bare.push(piece, last=last)
            for call in calls:
                self._sorter.called(call)
        self._sorter.text(piece)


class Bare:
    """Ids of a text without roles to events: all of it is answer, whatever tags it holds. Used as `Parser` is."""

    unclosed = False

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._decoder = tokenizer.decoder()

    def push(self, ids: Iterable[int]) -> list[Event]:
        """The text that became certain; control ids are dropped."""
        return _answer("".join([self._decoder.push(id_) for id_ in ids]))

    def finish(self) -> list[Event]:
        """The rest of the text."""
        return _answer(self._decoder.finish())


class TextParser:
    """Text of a model's turn to events, for upstream servers that send no ids.

    thinking: whether the prompt already opened the thought. Since not every server's template writes the line break
    after `<think>`, one at the beginning of the thought is dropped here.

    >>> parser = TextParser(thinking=True)
    >>> parser.push("4 = 2 + 2\\n</thi") + parser.push("nk>\\n\\nFour.") + parser.finish()
    [Event(kind='think', text='4 = 2 + 2', name=''), Event(kind='answer', text='Four.', name='')]
    """

    def __init__(self, *, thinking: bool) -> None:
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._sorter = _Sorter(DEEPSEEK, frozenset(_ALL_TAGS), thinking, skip=1 if thinking else 0)

    @property
    def unclosed(self) -> bool:
        """Whether a thought is open. After `finish`: the turn ended in the thought, without an answer."""
        return self._sorter.in_thought

    def push(self, piece: str | bytes) -> list[Event]:
        """The events that became certain. Bytes are UTF-8, cut anywhere; what is not becomes U+FFFD."""
        if isinstance(piece, str):
            piece = self._utf8.decode(b"", final=True) + piece
            self._utf8.reset()
        else:
            piece = self._utf8.decode(piece)
        self._sorter.text(piece)
        return self._sorter.take()

    def finish(self) -> list[Event]:
        """The last events: whatever was held back is text."""
        self._sorter.text(self._utf8.decode(b"", final=True))
        self._utf8.reset()
        self._sorter.finish()
        return self._sorter.take()


class _Sorter:
    """The rules. Text comes in by `text`, control tokens by `control`; events go out by `take`."""

    def __init__(self, dialect: Dialect, text_tags: Set[str], thinking: bool, skip: int = 0) -> None:
        self._dialect = dialect
        self._text_tags = text_tags
        self._patterns: dict[tuple[str, ...], re.Pattern[str]] = {}
        self._mode: _Mode = "think" if thinking else "answer"
        self._waiting: list[tuple[Event, list[str]]] = []  # an event, and more pieces of its text
        self._held = ""  # the beginning of a tag, perhaps
        self._start: str | None = ""  # line breaks at the very start, which an opener would take with it
        self._skip = skip  # line breaks still to be dropped after a tag
        self._line_break = False  # a thought's last line break, which a closer would take with it
        self._spoke = False  # whether anything but line breaks was said in this thought or answer
        self._code = CodeSpans()
        self._head: list[str] = []  # of a call, before the separator; the words of a search
        self._body: list[str] | None = None  # of a call, after the separator

    @property
    def in_thought(self) -> bool:
        return self._mode in ("think", "search")

    def take(self) -> list[Event]:
        waiting, self._waiting = self._waiting, []
        return [replace(event, text="".join([event.text, *pieces])) if pieces else event for event, pieces in waiting]

    def text(self, piece: str) -> None:
        """Read text on, and the tags in it that have no control token."""
        rest = self._held + piece if piece else ""
        while rest:
            self._held = ""
            if self._mode == "calls":
                rest = rest.lstrip()
            match = self._find(rest)
            start = match.start() if match else len(rest)
            self._say(rest[:start])
            if match is None:
                return
            if match.group() not in self._dialect.tags:
                self._held = match.group()
                return
            self._tag(match.group())
            rest = rest[match.end() :]

    def control(self, name: str) -> None:
        """A control token, which also ends whatever seemed to be the beginning of a tag."""
        self._release_held()
        if name in self._dialect.tags:
            self._tag(name)

    def called(self, call: Event) -> None:
        """A whole call that was found elsewhere."""
        self._release_start()
        self._waiting.append((call, []))

    def finish(self) -> None:
        self._release_held()
        if self._mode == "call" and self._dialect.open_ended:
            self._end_call()
        self._abandon()
        self._release_start()
        if self._line_break:
            self._line_break = False
            self._emit("think", "\n")

    def _find(self, rest: str) -> re.Match[str] | None:
        """The first tag in the text, or the beginning of one at its end."""
        if self._mode == "think" and not self._spoke:
            first = len(rest) - len(rest.lstrip("\n"))
            opener = self._pattern((THINK, *_TAGS["think"])).match(rest, first)
            if opener:
                return opener
        if self._mode == "calls":
            following = self._pattern(_TAGS["calls"]).match(rest)
            if following or not rest:
                return following
            self._enter_answer()
        pattern = self._pattern(_TAGS[self._mode])
        if self._mode != "answer":
            return pattern.search(rest)
        fed = 0
        for match in pattern.finditer(rest):
            self._code.feed(rest[fed : match.start()])
            fed = match.start()
            if not self._code.inside():
                return match
        self._code.feed(rest[fed:])
        return None

    def _pattern(self, tags: tuple[str, ...]) -> re.Pattern[str]:
        found = self._patterns.get(tags)
        if found is None:
            own = self._dialect.tags
            wanted = tuple(tag for tag in own if own[tag] in tags and tag in self._text_tags)
            found = self._patterns[tags] = _tag_pattern(wanted)
        return found

    def _tag(self, name: str) -> None:
        tag = self._dialect.tags[name]
        if tag == THINK and self._mode in ("think", "answer", "calls"):
            self._open_thought()
        elif tag == END_THINK and self._mode != "call":
            self._close_thought()
        elif tag == SEARCH and self._mode == "think":
            self._release_start()
            self._say("", flush=True)
            self._mode, self._head, self._body = "search", [], None
            self._spoke = True
        elif tag == END_SEARCH and self._mode == "search":
            self._mode = "think"
            self._waiting.append((Event("tool", "".join(self._head).strip(), "search"), []))
        elif tag == CALLS_BEGIN and self._mode == "answer":
            self._release_start()
            self._mode = "calls"
        elif tag == CALL_BEGIN and not self.in_thought:
            self._abandon()
            self._release_start()
            self._mode, self._head, self._body = "call", [], None
        elif tag == CALL_SEP and self._mode == "call" and self._body is None:
            self._body = []
        elif tag == CALL_END and self._mode == "call":
            self._end_call()
        elif tag == CALLS_END and self._mode in ("call", "calls"):
            self._abandon()
            self._enter_answer()

    def _end_call(self) -> None:
        self._mode = "calls"
        head, body = "".join(self._head), None if self._body is None else "".join(self._body)
        name, arguments = self._dialect.read_call(head, body)
        self._waiting.append((Event("tool", arguments, name, head.strip() if body is None else ""), []))

    def _open_thought(self) -> None:
        if self._mode == "think" and self._spoke:
            return
        self._mode = "think"
        self._start = None
        self._skip = 1
        self._line_break = self._spoke = False

    def _close_thought(self) -> None:
        if self._mode == "answer":
            if not self._spoke:
                self._start, self._skip = None, 2
            return
        self._abandon()
        self._release_start()
        self._line_break = False
        self._enter_answer()
        self._skip = 2

    def _enter_answer(self) -> None:
        self._mode = "answer"
        self._skip = 0
        self._spoke = False
        self._code = CodeSpans()

    def _abandon(self) -> None:
        """A search or a call that ends unfinished is what it reads: text."""
        words = "".join([*self._head, *(self._body or [])])
        if self._mode == "search":
            self._mode = "think"
            self._say(words)
        elif self._mode == "call":
            self._enter_answer()
            self._say(words)

    def _release_held(self) -> None:
        held, self._held = self._held, ""
        if held and self._mode == "calls":
            self._enter_answer()
        if self._mode == "answer":
            self._code.feed(held)
        self._say(held)

    def _release_start(self) -> None:
        start, self._start = self._start, None
        self._say(start or "")

    def _say(self, text: str, *, flush: bool = False) -> None:
        """Text goes where the mode says, less the whitespace that belongs to tags. `flush` says a kept line break."""
        if not text and not flush:
            return
        if self._mode in ("search", "call"):
            (self._head if self._body is None else self._body).append(text)
            return
        if self._start is not None:
            self._start += text
            if len(self._start) <= 2 and not self._start.strip("\n"):
                return
            text, self._start = self._start, None
        self._spoke = self._spoke or bool(text.strip("\n"))
        while self._skip and text.startswith("\n"):
            text = text[1:]
            self._skip -= 1
        if text:
            self._skip = 0
        if self._mode == "answer":
            self._emit("answer", text)
            return
        if self._line_break:
            text = "\n" + text
            self._line_break = False
        if text.endswith("\n") and not flush:
            text = text[:-1]
            self._line_break = True
        self._emit("think", text)

    def _emit(self, kind: Literal["think", "answer"], text: str) -> None:
        if not text:
            return
        if self._waiting and self._waiting[-1][0].kind == kind:
            self._waiting[-1][1].append(text)
        else:
            self._waiting.append((Event(kind, text), []))


class _BareCalls:
    """Calls that are nothing but JSON at the beginning of an answer, as Llama writes them: held back until they end."""

    def __init__(self) -> None:
        self._held = ""
        self._over = False

    def push(self, piece: str, *, last: bool = False) -> tuple[list[Event], str]:
        """The calls that are complete, and the text that is certain to be no call."""
        if self._over:
            return [], piece
        calls = []
        self._held += piece
        while call := self._first() if "}" in piece else None:
            calls.append(call)
            self._held = self._held.lstrip(_BETWEEN_CALLS)[len(call.written) :]
        rest = self._held.lstrip(_BETWEEN_CALLS)
        begun = _CALL_IN_JSON.startswith("".join(rest[:40].split())[: len(_CALL_IN_JSON)])
        if last or not begun or len(rest) > _LONGEST_BARE_CALL:
            self._over = True
            held, self._held = self._held, ""
            return calls, held if rest else ""
        return calls, ""

    def _first(self) -> Event | None:
        rest = self._held.lstrip(_BETWEEN_CALLS)
        try:
            end = json.JSONDecoder().raw_decode(rest)[1]
        except (ValueError, RecursionError):
            return None
        name, arguments = _json_call(rest[:end], None)
        return Event("tool", arguments, name, rest[:end]) if name else None


@lru_cache(maxsize=256)
def _tag_pattern(tags: tuple[str, ...]) -> re.Pattern[str]:
    """Matches any of the tags, or at the end of the text the beginning of one; nothing for no tags."""
    if not tags:
        return re.compile(r"(?!)")
    beginnings = {tag[:length] for tag in tags for length in range(1, len(tag))}
    whole = "|".join(re.escape(tag) for tag in tags)
    return re.compile(rf"{whole}|(?:{'|'.join(re.escape(part) for part in sorted(beginnings))})\Z")


def _answer(text: str) -> list[Event]:
    return [Event("answer", text)] if text else []


def _call(head: str, body: str | None) -> tuple[str, str]:
    """A complete call's name and arguments: of `function`, separator, name and fenced JSON (R1), or of name,
    separator and JSON (V3.1).
    """
    if body is None:
        return "", head
    name, _, rest = body.partition("\n")
    fenced = _FENCED.fullmatch(rest.strip())
    if fenced:
        return name.strip(), fenced.group(1)
    if head.strip() == "function":
        return name.strip(), rest.strip()
    return head.strip(), body.strip()


def _json_call(head: str, body: str | None) -> tuple[str, str]:
    """The name and arguments of a call that is one JSON object (Qwen, Llama)."""
    try:
        call = json.loads(head)
    except (ValueError, RecursionError):
        return "", head.strip()
    given = call.get("arguments", call.get("parameters", {})) if isinstance(call, dict) else None
    if given is None or not isinstance(call.get("name"), str):
        return "", head.strip()
    return call["name"], given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)


def _thinking(dialect: Dialect) -> Dialect:
    """The dialect of a model that thinks."""
    return replace(dialect, tags={**dialect.tags, THINK: THINK, END_THINK: END_THINK})


_BETWEEN_CALLS = " \t\r\n;"
_CALL_IN_JSON = '{"name":"'
_LONGEST_BARE_CALL = 20_000

DEEPSEEK = Dialect({tag: tag for tag in sorted(_ALL_TAGS)}, _call, "deepseek")
QWEN_2_5 = Dialect({"<tool_call>": CALL_BEGIN, "</tool_call>": CALL_END}, _json_call, "qwen")
QWEN = _thinking(QWEN_2_5)
LLAMA = Dialect({"<|python_tag|>": CALL_BEGIN}, _json_call, "llama", bare_calls=True, open_ended=True)
# Replies of models of which nothing more is known.
PLAIN = Dialect({}, _json_call)


def dialect_of(template: str, *, thinks: bool) -> Dialect:
    """The tags of a model's replies, as far as its chat template gives them away. thinks: `<think>` is a tag, too."""
    known = {"<tool_call>": QWEN_2_5, "<|python_tag|>": LLAMA, CALLS_BEGIN: DEEPSEEK}
    found = next((dialect for tag, dialect in known.items() if tag in template), PLAIN)
    return _thinking(found) if thinks else found
