"""Who goes through the network in the next step, and with how many ids.

First come, first served: requests run in the order in which they were admitted, so those that decode (one id each, and
what is guessed behind it) stand before the one whose prompt is still being read in chunks, and a step's tokens are
shared in that order. When blocks run out, the newest running request gives its own back and waits, to be computed again
later; the oldest always goes on, so every request comes to its end. Nobody gives blocks back for a guess. Sampling and
tensors are others' matters.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace

from denken.engine.cache import Blocks
from denken.engine.sequence import Sequence
from denken.engine.speculate import Speculation


@dataclass(frozen=True, slots=True)
class Chunk:
    """The ids `[start, start + count)` of a sequence, of which the last may be guessed.

    decodes: the chunk is one id and a guess, and everything before it was computed in earlier steps.
    guess: what may follow the text so far.
    last: the next id can be sampled after it. due: how many rows of logits are wanted, those behind the guess included.
    """

    sequence: Sequence
    start: int
    count: int
    decodes: bool
    guess: tuple[int, ...] = ()

    @property
    def ids(self) -> list[int]:
        return [*self.sequence.ids[self.start : self.start + self.count], *self.guess]

    @property
    def known(self) -> int:
        """How many of the text's ids are computed with this chunk."""
        return self.start + self.count - len(self.guess)

    @property
    def last(self) -> bool:
        return self.known == len(self.sequence.ids)

    @property
    def due(self) -> int:
        return 1 + len(self.guess) if self.last else 0


class Portions:
    """How many ids of prompts go into a step beside those who decode, so that these wait little longer than usual.

    Both what a step takes that only decodes, and what an id of a prompt adds to one, are measured.
    """

    # A step with a part of a prompt takes at most about so many times one without; a part has at least so many ids. The
    # first one ever, of which nothing is known, has few; prompts of so many ids, read alone, tell what an id adds.
    STEPS, LEAST, FIRST, TELLING = 1.8, 8, 16, 64

    def __init__(self) -> None:
        self._step = self._each = 0.0

    @property
    def most(self) -> int:
        if not (self._step and self._each):
            return self.FIRST
        return max(self.LEAST, int((self.STEPS - 1) * self._step / self._each))

    def took(self, decode: bool, read: int, seconds: float) -> None:
        """A step in which somebody decoded, or nobody, and so many ids of prompts were read."""
        if decode and not read:
            self._step = _drawn_to(self._step, seconds)
        elif decode or read >= self.TELLING:  # a short prompt alone takes as long as a step does
            self._each = _drawn_to(self._each, max(0.0, seconds - (self._step if decode else 0.0)) / read)


class Lead:
    """How many steps a call may take in which everybody only decodes: as many as fit in SECONDS, as long as one took
    lately. So large networks take one, and whoever comes in between waits little.

    on_device: what counts is the device's part of a step, for Python's does not shrink where fewer are taken; and a few
    are always taken.
    """

    SECONDS, MOST, UNKNOWN = 0.02, 256, 4
    ON_DEVICE, LEAST_ON_DEVICE = 0.05, 4

    def __init__(self, on_device: bool = False) -> None:
        self.on_device, self._step = on_device, 0.0
        self._seconds, self._least = (self.ON_DEVICE, self.LEAST_ON_DEVICE) if on_device else (self.SECONDS, 1)

    @property
    def steps(self) -> int:
        return min(self.MOST, max(self._least, int(self._seconds / self._step))) if self._step else self.UNKNOWN

    def took(self, seconds: float) -> None:
        """A step that only decoded."""
        self._step = _drawn_to(self._step, seconds)


def _drawn_to(value: float, seen: float) -> float:
    """A mean of what was seen lately, which single odd ones move little."""
    return value + 0.1 * (min(seen, 3 * value) - value) if value else seen


class Scheduler:
    """max_batch_tokens: ids in a step. max_sequences: requests that hold blocks at a time. speculation: who guesses.
    portions: how much of prompts is read beside those who decode; None: as much as there is room for. on_device:
    as in `Lead`."""

    def __init__(
        self,
        blocks: Blocks,
        max_batch_tokens: int,
        max_sequences: int,
        speculation: Speculation | None = None,
        portions: Portions | None = None,
        on_device: bool = False,
    ) -> None:
        self.blocks = blocks
        self.max_batch_tokens = max_batch_tokens
        self.max_sequences = max_sequences
        self.speculation = speculation
        self.portions = portions
        self.lead = Lead(on_device)
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    def add(self, sequence: Sequence) -> None:
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """The sequence is done with, for whatever reason: its blocks are free at once."""
        if sequence in self.running:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self.blocks.release(sequence)

    def schedule(self) -> list[Chunk]:
        """The next step's chunks; empty only if there is nothing to do."""
        chunks: list[Chunk] = []
        budget = self.max_batch_tokens
        # What prompts may have of it.
        portion = budget
        if self.portions is not None and any(sequence.speaks for sequence in self.running):
            portion = min(budget, self.portions.most)
        was_running, turn = len(self.running), 0
        while turn < len(self.running) and budget > 0:
            sequence, turn = self.running[turn], turn + 1
            speaks = sequence.speaks
            if not (speaks or portion):
                continue
            chunk = self._continue(sequence, budget if speaks else min(budget, portion))
            if chunk is None:
                break
            chunks.append(chunk)
            budget -= chunk.count
            portion -= 0 if speaks else chunk.count
        preempted = len(self.running) < was_running
        while min(budget, portion) > 0 and self.waiting and len(self.running) < self.max_sequences and not preempted:
            if not self._admit(self.waiting[0]):
                break
            chunk = self._continue(self.waiting[0], min(budget, portion), admitted=True)
            assert chunk is not None
            self.running.append(self.waiting.popleft())
            chunks.append(chunk)
            budget -= chunk.count
            portion -= chunk.count
        return chunks

    def guess(self, chunks: list[Chunk]) -> list[Chunk]:
        """These chunks, and behind texts that decode what may follow. Nobody goes without ids or blocks for that: it
        gets what is left of the step, and a block stays free for each that runs."""
        if self.speculation is None:
            return chunks
        running, size, guessed = len(self.running), self.blocks.size, []
        left = self.max_batch_tokens - sum(chunk.count for chunk in chunks)
        for chunk in chunks:
            room = min(left, (self.blocks.free - running) * size) if chunk.decodes else 0
            ids = self.speculation.guess(chunk.sequence, room, running) if room > 0 else ()
            if ids and self.blocks.grow(chunk.sequence, chunk.count + len(ids)):
                left -= len(ids)
                chunk = replace(chunk, count=chunk.count + len(ids), guess=ids)
            guessed.append(chunk)
        return guessed

    def reserve(self, chunks: list[Chunk], steps: int) -> int:
        """How many steps these chunks of one id each have blocks for, up to so many; nobody gives up any for it."""
        size = self.blocks.size
        while steps > 1:
            ends = [(chunk.start + steps, len(chunk.sequence.blocks)) for chunk in chunks]
            if sum(max(0, -(-end // size) - held) for end, held in ends) <= self.blocks.free:
                break
            steps //= 2
        for chunk in chunks if steps > 1 else ():
            self.blocks.grow(chunk.sequence, steps)
        return steps

    def went(self, passes: list[tuple[int, float]], steps: int, seconds: float) -> None:
        """A call with so many passes through the network, and as many ids a row as in so many steps, took so long."""
        if not passes:
            return
        self.lead.took(sum(own for _, own in passes) / len(passes) if self.lead.on_device else seconds / steps)
        if self.speculation is not None:
            self.speculation.took(passes)
        if self.portions is not None:
            self.portions.took(True, 0, seconds / len(passes))

    def took(self, chunks: list[Chunk], seconds: float) -> None:
        """A step of these chunks took so long."""
        if not self.lead.on_device and chunks and all(chunk.decodes and not chunk.guess for chunk in chunks):
            self.lead.took(seconds)
        if self.speculation is not None and chunks and all(chunk.decodes for chunk in chunks):
            self.speculation.took([(sum(chunk.count for chunk in chunks), seconds)])
        if self.portions is not None and chunks:
            decode = any(chunk.decodes for chunk in chunks)
            self.portions.took(decode, sum(chunk.count for chunk in chunks if not chunk.decodes), seconds)

    def preempt_all(self) -> None:
        """Everything that runs waits again, in its old order, and is computed anew."""
        while self.running:
            self._preempt_newest()

    def _admit(self, sequence: Sequence) -> bool:
        """Whether the sequence's ids all find a place, besides one more block for each that runs already."""
        self._take_known(sequence)
        wanted = self.blocks.needed(len(sequence.ids)) - len(sequence.blocks)
        if wanted + len(self.running) <= self.blocks.free or not self.running:
            return True
        self.blocks.release(sequence)
        if not sequence.preempted:
            sequence.cached_tokens = 0
        return False

    def _continue(self, sequence: Sequence, budget: int, *, admitted: bool = False) -> Chunk | None:
        """The sequence's next chunk, with blocks for it; None if it had to give up its own to older ones."""
        decodes = sequence.pending == 1 and not admitted
        if not decodes:
            self._take_known(sequence)
        count = min(sequence.pending, budget)
        while not self.blocks.grow(sequence, count):
            if self._preempt_newest() is sequence:
                return None
        self.blocks.remember(sequence, count)
        return Chunk(sequence, sequence.computed, count, decodes)

    def _take_known(self, sequence: Sequence) -> None:
        before = sequence.computed
        self.blocks.extend_from_known(sequence)
        if not sequence.preempted:
            gained = sequence.computed - before
            sequence.cached_tokens = min(sequence.cached_tokens + gained, sequence.prompt)

    def _preempt_newest(self) -> Sequence:
        newest = self.running.pop()
        newest.preempted = True
        self.blocks.release(newest)
        self.waiting.appendleft(newest)
        return newest
