"""Which of what a server sends is thought: it may say so itself, leave tags in the text, or half of them.

What is known of a server beforehand is one of four words (`Opened`):

    apart     it sends thoughts apart from answers; its text is an answer, whatever tags stand in it
    closed    its prompts leave no thought open; a thought in the text begins with `<think>`
    open      its prompts end in `<think>`; text is a thought until `</think>`
    unknown   nobody knows

The rule for one reply:

1. Once thoughts come apart, before any text, the text is the answer. So it is for "apart".
2. "closed" and "open" are read as they come, by the same parser that reads our own model.
3. "unknown" is held back until it is decided: by `<think>` at its beginning (closed), by `</think>` without one (open;
   not where it is quoted), or by its end (closed: without any tag, all of it is the answer).
4. A reply that ended of itself, with a thought, no answer and no call, says its thought once more as the answer. That
   is a server which takes answers for thoughts, or a model that forgot `</think>`: either way it is what there is.
   A reply that was cut (by max_tokens) in its thought has no answer.
5. Calls and searches written as tags are calls where such a tool was offered, and text otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Literal

from denken.chat.parser import Event, TextParser
from denken.chat.template import END_SEARCH, END_THINK, SEARCH, THINK
from denken.serve.speaker import Piece, TokenLogprob

Opened = Literal["apart", "closed", "open", "unknown"]
Tokens = tuple[TokenLogprob, ...]

# A closing tag that somebody talks about stands in quotes.
_CLOSER = re.compile(rf"(?<![`'\"]){re.escape(END_THINK)}")


class Thoughts:
    """Sorts one reply. tools: the names of those that were offered."""

    def __init__(self, opened: Opened, tools: Collection[str] = ()):
        self._opened, self._tools = opened, tools
        self._parser = TextParser(thinking=opened == "open")
        self._deltas: list[tuple[str, Tokens]] = []
        self.held = ""  # text that is held back
        self._thought: list[str] = []
        self._began = self._answered = self._called = False

    def push(self, thought: str, text: str, tokens: Tokens = (), thought_tokens: Tokens = ()) -> list[Piece]:
        """What one delta makes certain. thought: what the server says is one. text: everything else.

        tokens: of the text, unless there is a thought alone; thought_tokens: of the thought, where the server says so.
        """
        pieces: list[Piece] = []
        if thought and not text:
            thought_tokens, tokens = thought_tokens + tokens, ()
        if thought or thought_tokens:
            if not self._began:
                self._opened, self._deltas = "apart", []
            pieces.append(self._told(Piece("think", thought, thought_tokens)))
        if text or tokens:
            pieces += self._push_text(text, tokens)
        return pieces

    def finish(self) -> list[Piece]:
        """Whatever was held back."""
        pieces: list[Piece] = []
        if self._deltas:
            self._opened = "closed"
            pieces += self._release()
        if self._opened != "apart":
            pieces += self._pieces(self._parser.finish(), ())
        return pieces

    def instead(self, stopped: bool, called: bool) -> list[Piece]:
        """After `finish`, what stands for an answer that never came; rule 4.

        stopped: the reply ended of itself, and was not cut. called: it called tools, beside the text.
        """
        thought = "".join(self._thought).strip()
        missing = stopped and not (self._answered or self._called or called)
        return [Piece("answer", thought)] if missing and thought else []

    def _push_text(self, text: str, tokens: Tokens) -> list[Piece]:
        self._began = self._began or bool(text.strip())
        if self._opened == "apart":
            # The line breaks between a thought and its answer belong to neither.
            kept = text.lstrip("\n") if self._thought and not self._answered else text
            return [self._told(Piece("answer", kept, tokens))] if kept or tokens else []
        if self._opened != "unknown":
            return self._pieces(self._parser.push(text), tokens)
        self._deltas.append((text, tokens))
        self.held += text
        decided = _decide(self.held, len(text))
        if decided is None:
            return []
        self._opened = decided
        return self._release()

    def _release(self) -> list[Piece]:
        held, self._deltas, self.held = self._deltas, [], ""
        self._parser = TextParser(thinking=self._opened == "open")
        return [piece for text, tokens in held for piece in self._pieces(self._parser.push(text), tokens)]

    def _pieces(self, events: Sequence[Event], tokens: Tokens) -> list[Piece]:
        """What is to be told of tokens goes along with the first stretch of text, or alone."""
        pieces = []
        for event in events:
            piece = self._piece(event)
            if piece.kind != "tool":
                piece, tokens = Piece(piece.kind, piece.text, tokens), ()
            pieces.append(self._told(piece))
        if tokens:
            pieces.append(Piece("think" if self._parser.unclosed else "answer", "", tokens))
        return pieces

    def _piece(self, event: Event) -> Piece:
        if event.kind != "tool" or event.name in self._tools:
            return Piece(event.kind, event.text, name=event.name)
        if event.name == "search":
            return Piece("think", f"{SEARCH}{event.text}{END_SEARCH}")
        return Piece("answer", event.text)

    def _told(self, piece: Piece) -> Piece:
        if piece.kind == "think":
            self._thought.append(piece.text)
        self._answered = self._answered or (piece.kind == "answer" and bool(piece.text.strip()))
        self._called = self._called or piece.kind == "tool"
        return piece


def _decide(text: str, new: int) -> Literal["closed", "open"] | None:
    """Whether the text shows how it began. new: the length of what came last; what was before it is no news."""
    beginning = text[:100].lstrip()
    if beginning.startswith(THINK):
        return "closed"
    if THINK.startswith(beginning):
        return None
    return "open" if _CLOSER.search(text, max(0, len(text) - new - len(END_THINK))) else None
