"""One request on its way through the engine: its ids, where it stands in thought and answer, and when it ends.

Nothing here knows tensors, blocks or other requests. The engine appends what was sampled; the sequence decides
whether the thought must be closed, whether a stop string was completed, and which ids may be handed out already.

A thought always leaves room for an answer. With `limit` the most ids this request may generate (max_tokens, or what
context and cache leave), and `closing` the ids that end a thought, a thought takes at most
`min(thinking_budget, limit - len(closing) - reserve)` ids, where `reserve = max(1, min(256, limit // 4))`. At that
point, and when the model wants to end the text inside its thought, the closing ids are appended instead: they count
as generated, have a log-probability of 0.0, and the next id, which must begin the answer, may neither end the text nor
open or close a thought. A thought that the model opens by itself, in its answer or where the prompt left none open, is
held to the same place in the text, and closed at once behind it.
Only where `limit` cannot hold the closing ids and one more is a thought left to run into it.

An answer that must follow a grammar (`matcher`) begins right after the closing ids: what of them follows the closing
tag is appended also where the model closed its thought by itself. It ends with "stop" as soon as nothing can follow,
and with "length" where it was cut, also by what following the grammar may take. So that it is not cut, it is led to its
end when its limit is near (`way_out`).

With `searches` a request ends with "stop" at the id that completes a search in its thought, also at its limit: whoever
asked looks it up, and asks again with what was found behind it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence as Many
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from denken.chat.parser import Parser
from denken.types import FinishReason, SamplingParams

if TYPE_CHECKING:
    from denken.engine.grammar import Matcher
    from denken.tokenizer import IncrementalDecoder, Tokenizer

TopLogprobs = tuple[tuple[int, float], ...]


@dataclass(frozen=True, slots=True)
class Output:
    """What one step adds to a request.

    ids, logprobs: what may be handed out now; ids that could be the beginning of a stop string are held back until
        that is decided. All ids come out in the end, those of the stop string included.
    finish_reason: None while the request runs.
    cached_tokens: how many of the prompt's ids came from the prefix cache.
    top_logprobs: for each id the likeliest (id, logprob) pairs; empty unless they were asked for.
    kept: for each id how many could have been drawn in its place; empty where nothing is cut.
    surplus: how many characters at the end of the text decoded so far are a stop string and what came with it. They
        lie within the text of these ids; whoever decodes cuts them off. 0 unless a stop string was found.
    """

    request: int
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason | None = None
    cached_tokens: int = 0
    top_logprobs: tuple[TopLogprobs, ...] = ()
    surplus: int = 0
    kept: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Endings:
    """The ids that end things.

    closer: the one id among `closing` by which a thought's end is recognised.
    opener: the id that opens another thought; None where nobody knows. Both are None where thoughts are not bounded.
    """

    eos_ids: frozenset[int]
    closing: tuple[int, ...] = ()
    closer: int | None = None
    opener: int | None = None

    @property
    def no_answer(self) -> frozenset[int]:
        """The ids with which no answer begins."""
        return self.eos_ids | {id for id in (self.closer, self.opener) if id is not None}

    @property
    def turns(self) -> frozenset[int]:
        """The ids after which a text may go on in another way than before, or not at all."""
        return self.no_answer


def thought_limit(limit: int, closing: int, budget: int | None) -> int | None:
    """The most ids of thought, so that `closing` ids and an answer still fit in `limit`; None: nothing can be done.

    >>> thought_limit(400, 3, None), thought_limit(400, 3, 50), thought_limit(4, 3, None), thought_limit(3, 3, 0)
    (297, 50, 0, None)
    """
    if limit <= closing:
        return None
    most = max(0, limit - closing - max(1, min(256, limit // 4)))
    return most if budget is None else min(most, budget)


def way_out(limit: int, grammar: int) -> int:
    """How many ids before the limit an answer that follows a grammar of so many characters is brought to its end.

    Names that a schema requires still have to be written; much more than that would be taken from the answer.

    >>> way_out(2000, 200), way_out(2000, 5000), way_out(400, 5000), way_out(100, 200)
    (57, 128, 50, 24)
    """
    return min(128, 32 + grammar // 8, max(24, limit // 8))


class StopWatch:
    """Looks for stop strings in an answer, across the borders of its ids.

    after_thought: newlines between a thought and its answer are not part of the answer.
    """

    def __init__(self, decoder: IncrementalDecoder, stops: tuple[str, ...], after_thought: bool) -> None:
        self.decoder = decoder
        self.stops = stops
        self.longest = max(map(len, stops))
        self.leading = after_thought
        # The last characters, and for each the count of ids pushed when it appeared.
        self.text = ""
        self.born: list[int] = []
        self.pushed = 0

    def push(self, id: int) -> int | None:
        """Takes the next id. Returns the characters from the first stop string to the text's end, or None."""
        self.pushed += 1
        new = self.decoder.push(id)
        if self.leading:
            new = new.lstrip("\n")
            self.leading = not new
        self.text += new
        self.born += [self.pushed] * len(new)
        # A new match ends in the new text, so it starts at most `longest - 1` characters before it.
        known = max(0, len(self.text) - len(new) - self.longest + 1)
        starts = [start for stop in self.stops if (start := self.text.find(stop, known)) >= 0]
        if starts:
            return len(self.text) - min(starts)
        if len(self.text) > 4096:
            self.text, self.born = self.text[-self.longest :], self.born[-self.longest :]
        return None

    @property
    def held(self) -> int:
        """How many of the last ids carry characters that may be the beginning of a stop string."""
        for start in range(max(0, len(self.text) - self.longest + 1), len(self.text)):
            if any(stop.startswith(self.text[start:]) for stop in self.stops):
                return self.pushed - self.born[start] + 1
        return 0


@dataclass(eq=False, slots=True)
class Sequence:
    """A request's state. `ids` is the prompt and everything generated; the first `computed` of them are cached.

    limit: the most ids to generate. thinking: whether the prompt left a thought open; then, whether one is open.
    at_once: nothing is handed out before the request has finished. matcher: where its answer stands in its grammar.
    adapter: the number of the adapter that it is computed with; 0 is none.
    counts: how often each id was generated; empty unless penalties ask for it.
    blocks, chain, known: the block table, the content number of its last known full block, and how many are known
        (see cache.py); the chain begins with the adapter's, for what was computed under one is of no use to another.
    preempted: whether it ever gave its blocks back to be computed again.
    learnt: how many of its ids are known to those who guess, surmise: what the network said behind a wrong guess (see
        speculate.py).
    """

    request: int
    ids: list[int]
    params: SamplingParams
    limit: int
    endings: Endings
    seed: int
    policy_version: int = 0
    tokenizer: Tokenizer | None = None
    thinking: bool = False
    at_once: bool = False
    matcher: Matcher | None = None
    adapter: int = 0
    computed: int = 0
    blocks: list[int] = field(default_factory=list)
    chain: int = field(init=False)
    known: int = 0
    cached_tokens: int = 0
    preempted: bool = False
    learnt: int = 0
    surmise: tuple[int, ...] = ()
    finish_reason: FinishReason | None = None
    prompt: int = field(init=False)
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[TopLogprobs] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    counts: dict[int, int] = field(default_factory=dict)
    surplus: int = 0
    _released: int = 0
    _thought_limit: int | None = field(init=False)
    _answer_begins: int = -1
    _watch: StopWatch | None = None
    _way_out: int = 0
    _parser: Parser | None = None
    _searched: bool = False

    def __post_init__(self) -> None:
        self.prompt = len(self.ids)
        self.chain = -self.adapter
        if self.params.searches and self.tokenizer is not None:
            self._parser = Parser(self.tokenizer, thinking=self.thinking)
        if self.params.grammar is not None:
            self._way_out = way_out(self.limit, len(self.params.grammar))
        self._thought_limit = thought_limit(self.limit, len(self.endings.closing), self.params.thinking_budget)
        if self.thinking and self.endings.closer is not None:
            self._bound_thought()
        else:
            self.thinking = False
            self._watch_answer(after_thought=False)

    @property
    def generated(self) -> int:
        return len(self.ids) - self.prompt

    @property
    def pending(self) -> int:
        """How many ids still have to go through the network before the next can be sampled (at least one)."""
        return len(self.ids) - self.computed

    @property
    def speaks(self) -> bool:
        """Whether somebody waits for its next id: all of its text is computed, but the last id or what was forced."""
        return self.generated > 0 and self.pending <= 1 + len(self.endings.closing)

    @property
    def owes_answer(self) -> bool:
        """The thought was closed by force just now: the next id must not be one of `Endings.no_answer`."""
        return self._answer_begins == len(self.ids)

    @property
    def free_run(self) -> tuple[int, int]:
        """The most ids that can be drawn one after another from nothing but their logits and noise: as many as may
        come, unless one of `Endings.turns` comes before; and in all where that is the one that closes a thought, 0 if
        nothing can be drawn behind it. (0, 0) where the next one's logits are to be changed or shown."""
        if self.params.steers or self.params.top_logprobs is not None or self.owes_answer or self.adapter:
            return 0, 0
        left = max(1, self.limit - self.generated)
        if not self.thinking or self._thought_limit is None:
            return left, 0
        watched = self.params.stop or self._parser is not None or self.matcher is not None
        return max(1, min(left, self._thought_limit - self.generated)), 0 if watched else left

    @property
    def mask(self) -> bytes | None:
        """Which ids may come next, as `Matcher.mask` says it; None where any may."""
        if self.matcher is None or self.thinking:
            return None
        return self.matcher.mask if self.limit - self.generated > self._way_out else self.matcher.way_out

    def noise(self, ahead: int = 0) -> float:
        """A number in [0, 1) that depends on the seed and the place in the text alone: so many places ahead."""
        digest = hashlib.blake2b(f"{self.seed}:{len(self.ids) + ahead}".encode(), digest_size=4).digest()
        return int.from_bytes(digest, "little") / 2**32

    def append(self, id: int, logprob: float, top: TopLogprobs = (), kept: int = 0) -> None:
        """Takes a sampled id, one of `kept` that could have been drawn, and draws the consequences."""
        ends = id in self.endings.eos_ids
        if self.thinking and ends and self._can_close:
            self._close_thought()
        else:
            self._push(id, logprob, top, kept)
            if ends:
                self.finish_reason = "length" if self.thinking and self.matcher is not None else "stop"
            elif self.thinking and id == self.endings.closer:
                self._begin_answer()
            elif self._searched:
                self.finish_reason = "stop"
            elif self.thinking or id == self.endings.opener:
                self._bound_thought()
            else:
                self._go_on(id)
        if self.finish_reason is None and self.generated >= self.limit:
            self.finish_reason = "length"

    def append_all(self, ids: Many[int], logprobs: Many[float], kept: Many[int]) -> int:
        """As `append`, of one after the other, until the request has finished or other ids were forced behind one; how
        many were taken."""
        taken = 0
        while taken < len(ids):
            end = taken + self._alike(ids[taken:])
            self.ids += ids[taken:end]
            self.logprobs += logprobs[taken:end]
            if self.params.cuts:
                self.kept += kept[taken:end]
            taken = end
            if taken < len(ids):
                before, taken = len(self.ids), taken + 1
                self.append(ids[end], logprobs[end], (), kept[end])
                if self.finish_reason is not None or len(self.ids) != before + 1:
                    break
        return taken

    def _alike(self, ids: Many[int]) -> int:
        """How many of the first of these ids have no consequences."""
        if self._watch is not None or self._parser is not None or (self.matcher is not None and not self.thinking):
            return 0
        most = max(0, min(len(ids), self.free_run[0] - 1))
        turns = self.endings.turns
        return next((i for i, id in enumerate(ids[:most]) if id in turns), most)

    def release(self) -> Output | None:
        """What can be handed out since the last call; None if that is nothing."""
        if self.at_once and self.finish_reason is None:
            return None
        held = self._watch.held if self._watch is not None and self.finish_reason is None else 0
        start, end = self._released, self.generated - held
        if end <= start and self.finish_reason is None:
            return None
        self._released = end
        return Output(
            self.request,
            tuple(self.ids[self.prompt + start : self.prompt + end]),
            tuple(self.logprobs[start:end]),
            self.finish_reason,
            self.cached_tokens,
            tuple(self.top_logprobs[start:end]),
            self.surplus,
            tuple(self.kept[start:end]),
        )

    def _push(self, id: int, logprob: float, top: TopLogprobs, kept: int) -> None:
        self.ids.append(id)
        self.logprobs.append(logprob)
        if self.params.top_logprobs is not None:
            self.top_logprobs.append(top)
        if self.params.cuts:
            self.kept.append(kept)
        if self.params.frequency_penalty or self.params.presence_penalty:
            self.counts[id] = self.counts.get(id, 0) + 1
        if self._parser is not None:  # as those read it who will look it up
            searches = [event for event in self._parser.push([id]) if event.kind == "tool"]
            self._searched = bool(searches) and self._parser.unclosed

    def _go_on(self, id: int) -> None:
        """One more id of the answer."""
        if self._watch is not None and (surplus := self._watch.push(id)) is not None:
            self.finish_reason, self.surplus = "stop", surplus
        elif self.matcher is not None:
            self.matcher.take(id)
            if self.matcher.done or self.matcher.failed:
                self.finish_reason = "stop" if self.matcher.done else "length"

    @property
    def _can_close(self) -> bool:
        """Whether the closing ids fit, and an id of the answer."""
        return self.limit - self.generated > len(self.endings.closing)

    def _bound_thought(self) -> None:
        """The text goes on, or begins, as a thought: it is closed where it has gone as far as it may."""
        self.thinking, self._watch = True, None
        if self._thought_limit is not None and self.generated >= self._thought_limit and self._can_close:
            self._close_thought()

    def _begin_answer(self) -> None:
        """The model closed its thought."""
        self.thinking = False
        if self.matcher is not None and self.endings.closer in self.endings.closing and self._can_close:
            for id in self.endings.closing[self.endings.closing.index(self.endings.closer) + 1 :]:
                self._push(id, 0.0, ((id, 0.0),), 1)
        self._watch_answer(after_thought=True)

    def _close_thought(self) -> None:
        for id in self.endings.closing:
            self._push(id, 0.0, ((id, 0.0),), 1)
        self.thinking = False
        self._answer_begins = len(self.ids)
        self._watch_answer(after_thought=True)

    def _watch_answer(self, after_thought: bool) -> None:
        if self.params.stop and self.tokenizer is not None:
            self._watch = StopWatch(self.tokenizer.decoder(), self.params.stop, after_thought)
