"""Grammars that an answer must follow: compiled once, then a mask over the vocabulary for every id of the answer.

llguidance does the work; this file gives it the vocabulary as bytes and keeps what it compiles within limits, for the
grammars come from anybody. A grammar is llguidance's own: Lark, or its JSON with a "json_schema" inside. How a schema
or the calls of tools become one is in `chat/grammar.py`. No tensors here; llguidance is imported where a grammar is
asked for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING, Any

from denken.errors import RequestError
from denken.tokenizer import Tokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_CHARACTERS = 100_000
# How many compiled grammars are kept: clients send the same few again and again.
KEPT = 16
# Far beyond what people's schemas need, and what a hostile one takes to compile and to follow is seconds at the most.
LIMITS: dict[str, Any] = {
    "initial_lexer_fuel": 300_000,
    "step_lexer_fuel": 100_000,
    "max_lexer_states": 50_000,
    "max_items_in_row": 2_000,
    "max_grammar_size": 100_000,
    "precompute_large_lexemes": False,
    "verbose_errors": False,
}


class Matcher:
    """Where one answer stands in its grammar.

    mask: a byte for each id of the vocabulary, 0 where the answer cannot go on with it; an end mark's is set where
        the answer may end. done: nothing can follow. failed: following the grammar took more work than is allowed.
    """

    def __init__(self, state: LLMatcher, ways_out: WaysOut, mask: bytes = b"") -> None:
        self._state, self._ways_out = state, ways_out
        self.mask = mask
        self.done = self.failed = False

    def copy(self) -> Matcher:
        return Matcher(self._state.deep_copy(), self._ways_out, self.mask)

    @property
    def way_out(self) -> bytes:
        """The mask, narrowed to what brings the answer to its end soon."""
        return self._ways_out.of(self.mask)

    def take(self, id: int) -> None:
        """The answer goes on with this id, which the mask allowed."""
        self._state.consume_token(id)
        self.look()

    def look(self) -> None:
        """Finds out what may come next."""
        self.done = self._state.is_stopped() and not self._state.is_error()
        if not self.done:
            self.mask = self._state.compute_logit_bias()
            self.failed = self._state.is_error()

    @property
    def error(self) -> str:
        return self._state.get_error()


class WaysOut:
    """How JSON, and calls that hold it, come to their end soon, for a model that would go on until it is cut.

    Looks at the mask alone: the first of a few ids that is allowed, or, where none is, anything but blanks. A letter is
    allowed in strings only; there the quotation mark comes first, and elsewhere what closes an array or an object.
    """

    def __init__(self, tokenizer: Tokenizer, eos_ids: Collection[int]) -> None:
        ids = {tokenizer.token_bytes(id_): id_ for id_ in range(tokenizer.vocab_size)}
        self._letter, self._quote = ids.get(b"x"), ids.get(b'"')
        closers = [ids[sign] for sign in (b"}", b"]", b'"', b":", b",", b"0") if sign in ids]
        self._in_order = [*eos_ids, *sorted(set(tokenizer.control_ids.values()) - set(eos_ids)), *closers]
        self._blanks = [id_ for text, id_ in ids.items() if text.isspace()]

    def of(self, mask: bytes) -> bytes:
        in_string = self._letter is not None and mask[self._letter]
        order = [self._quote, *self._in_order] if in_string and self._quote is not None else self._in_order
        way_out = bytearray(len(mask))
        for id_ in order:
            if mask[id_]:
                way_out[id_] = mask[id_]
                return bytes(way_out)
        way_out[:] = mask
        for id_ in self._blanks:
            way_out[id_] = 0
        return bytes(way_out) if any(way_out) else mask


class Grammars:
    """The grammars of one vocabulary, for any thread. eos_ids: the ids that end an answer."""

    def __init__(self, tokenizer: Tokenizer, eos_ids: Collection[int]) -> None:
        self._tokenizer = tokenizer
        self._eos_ids = sorted(eos_ids)
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Matcher] = OrderedDict()

    def matcher(self, grammar: str) -> Matcher:
        """A new matcher at the beginning of an answer. Raises RequestError for what is no grammar, or too large."""
        with self._lock:
            kept = self._kept.get(grammar)
            if kept is not None:
                self._kept.move_to_end(grammar)
                return kept.copy()
        compiled = self._compile(grammar)
        with self._lock:
            self._kept[grammar] = compiled
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return compiled.copy()

    def _compile(self, grammar: str) -> Matcher:
        from llguidance import LLMatcher, LLParserLimits

        if len(grammar) > MAX_CHARACTERS:
            raise RequestError(
                f"The schema or grammar has {len(grammar)} characters; at most {MAX_CHARACTERS} are taken."
            )
        limits = LLParserLimits(**LIMITS)
        matcher = Matcher(LLMatcher(self._vocabulary, grammar, log_level=0, limits=limits), self._ways_out)
        if not matcher.error:
            matcher.look()
        # Some are only found to be too large when the first id has been taken.
        error = matcher.error or _first_step(matcher).error
        if error:
            raise RequestError(f"The schema or grammar cannot be followed: {_reason(error)}.")
        return matcher

    @cached_property
    def _ways_out(self) -> WaysOut:
        return WaysOut(self._tokenizer, self._eos_ids)

    @cached_property
    def _vocabulary(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        words: Any = _Words(self._tokenizer, self._eos_ids)
        return LLTokenizer(words, eos_token=self._eos_ids)


def _first_step(matcher: Matcher) -> Matcher:
    ahead = matcher.copy()
    first = next((id_ for id_, allowed in enumerate(matcher.mask) if allowed), None)
    if first is not None:
        ahead.take(first)
    return ahead


class _Words:
    """A tokenizer as llguidance wants to be told of it (the attributes of its `TokenizerWrapper`)."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokenizer: Tokenizer, eos_ids: list[int]) -> None:
        self.eos_token_id = eos_ids[0]
        self.tokens = [tokenizer.token_bytes(id_) for id_ in range(tokenizer.vocab_size)]
        self.special_token_ids = sorted({*tokenizer.control_ids.values(), *eos_ids})
        self._encode = tokenizer.encode

    def __call__(self, text: str) -> list[int]:
        return self._encode(text)


def _reason(error: str) -> str:
    """The first lines of llguidance's message, on one line; it repeats the grammar in the others."""
    first = " ".join(error.partition("<non-verbose/>")[0].split())
    return (first if len(first) <= 300 else first[:300] + " ...").rstrip(".") or "it is too complex"
