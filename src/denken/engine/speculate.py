"""Guesses how texts go on, so that one pass through the network can check several ids instead of making one.

A guess is never believed: the network computes every id of it, each place draws its own id from its own logits with its
own noise, as it would have, and the first that differs from the guess ends it (`Engine.step`). So guesses change how
long a text takes, never what it says.

What is guessed is what followed the same few ids before: in the same text, prompt included, and in what the network is
known to say (`ngrams.py`; there also behind others of the same shape) or else in what this engine said lately in any
other text (what others asked is not looked at). Contexts are kept in one table of fixed size, where old ones give way.
How often such guesses are right is counted for each kind of them (how long the context was, where it stood, how often
it was followed by this id and how often by another), all the time, also while nothing is guessed, at no cost to the
network. Behind a guess that was wrong the network has said, in the same pass, what it would have gone on with; much of
that is said all the same, a place further on (Jacobi decoding: Santilli et al. 2023, arXiv 2305.10427), and is the
third source; where a network has a layer for multi-token prediction, what that says takes its place (`drafts.py`). A
guess goes on as long as the chance that all of it is right is worth the time that one more id takes in a step, which is
measured (`Pace`). So it stops by itself where texts cannot be guessed, and where steps are full anyway.

What it leaves to others: whether a step has room (`scheduler.py`), and whether a guess was right (`engine.py`).
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Iterable
from collections.abc import Sequence as Many
from itertools import repeat

from denken.engine.ngrams import KNOWN, KNOWN_SHAPES, ORDERS, OTHERS, SHAPES, Ngrams, salt
from denken.engine.sequence import Sequence
from denken.model.kernels.build import library
from denken.model.kernels.decode import TAIL, Ahead, Guessing, learn

# Beyond so many, counts only say "often".
OFTEN = 7
# This text, others, and what is known: each has kinds of its own, and so have known shapes, behind them.
SOURCES = 3
# What share of others a degree of misses stands for.
EXPECTED = (0.0, *((low + high) / 2 for low, high in zip(OTHERS, (*OTHERS[1:], 1.0), strict=True)))
# The kinds of guesses that the network made itself: the first id of one, and what follows in it.
FIRST, LATER = -2, -1
# From so many ids on native code learns them sooner, where there is any.
MANY = 4
# The most ids of a prompt that are taken in at a time, so that a long one holds nobody up.
AT_A_TIME = 512


class Guesses:
    """Which id followed which, and how often that was right.

    slots: how many contexts of texts are remembered, 14 bytes each. known: what the network is known to say; it stands
    behind those, and nothing that is said changes it.
    """

    def __init__(self, slots: int = 1 << 19, known: Ngrams | None = None) -> None:
        self._mask, self._known_mask = slots - 1, -1
        self._tags, self._ids = array("q", bytes(8 * slots)), array("i", bytes(4 * slots))
        self._hits = bytearray(slots)
        self._misses = bytearray(slots)
        self._classes = array("q")
        kinds = ((SOURCES * len(ORDERS) + len(SHAPES)) << 6) + 2
        # A kind that was never seen is given a chance of one in four.
        self._right = array("d", repeat(0.5, kinds))
        self._seen = array("d", repeat(2.0, kinds))
        if known is not None:
            self._take(known)

    def _take(self, known: Ngrams) -> None:
        tags, ids, hits, misses = known.slots()
        self._known_mask = len(tags) - 1
        self._tags.frombytes(tags.tobytes())
        self._ids.frombytes(ids.tobytes())
        self._hits += hits.tobytes()
        self._misses += misses.tobytes()
        self._classes.frombytes(known.classes_V.tobytes())
        # Its own degrees say how often it is right, until that was seen.
        for kind in range((SOURCES - 1) * len(ORDERS) << 6, len(self._right) - 2):
            self._right[kind] = self._seen[kind] * (1 - EXPECTED[kind & 7])

    @property
    def known(self) -> tuple[int, ...]:
        """The numbers that stand for what the network is known to say."""
        if self._known_mask < 0:
            return ()
        return (KNOWN, KNOWN_SHAPES) if self._classes else (KNOWN,)

    @property
    def tables(self) -> tuple[int, ...]:
        """Where native code finds them: tags, ids, hits, misses, right, seen and classes (`kernels/guesses.h` reads and
        writes them as the functions below do)."""
        hits, misses = (ctypes.c_char.from_buffer(counts) for counts in (self._hits, self._misses))
        before, behind = (self._tags, self._ids), (self._right, self._seen, self._classes)
        bytes_at = (ctypes.addressof(hits), ctypes.addressof(misses))
        return (*(x.buffer_info()[0] for x in before), *bytes_at, *(x.buffer_info()[0] for x in behind))

    @property
    def masks(self) -> tuple[int, int]:
        """Which bits of a context's number are its slot's: of texts, and of what is known (-1 where nothing is)."""
        return self._mask, self._known_mask

    def guess(self, texts: tuple[int, ...], tail: list[int]) -> tuple[int, float]:
        """The id that most likely follows, and its chance; 0.0 where nothing is known.

        texts: numbers of the texts that are asked: this one, and what stands for all others.
        """
        best, chance = 0, 0.0
        tags = self._tags
        for source, text in enumerate(texts):
            for order, context in enumerate(self._contexts(text, tail)):
                slot = self._slot(text, context)
                # Only the longest context that is known is asked.
                if tags[slot] == context:
                    id, likely = self._said(slot, tail), self.chance(self._kind(text, source, order, slot))
                    if id is not None and likely > chance:
                        best, chance = id, likely
                    break
        return best, chance

    def chance(self, kind: int) -> float:
        """How likely guesses of this kind are right."""
        return self._right[kind] / self._seen[kind]

    def count(self, kind: int, right: bool) -> None:
        """A guess of this kind was right or wrong; what was long ago weighs little."""
        self._right[kind] += right
        self._seen[kind] += 1.0
        if self._seen[kind] > 256:
            self._right[kind] /= 2
            self._seen[kind] /= 2

    def learn(self, texts: tuple[int, ...], tail: list[int], id: int, *, count: bool = True) -> None:
        """`id` followed. count: whether guesses at this place are to be counted as right or wrong."""
        tags, hits = self._tags, self._hits
        for source, text in enumerate(texts):
            asked, known = not count, _is_known(text)
            if asked and known:
                continue
            for order, context in enumerate(self._contexts(text, tail)):
                slot = self._slot(text, context)
                if tags[slot] != context:
                    if known:
                        continue
                    if hits[slot] > 1:
                        hits[slot] -= 1
                    else:
                        tags[slot], self._ids[slot], hits[slot], self._misses[slot] = context, id, 1, 0
                    continue
                if not asked:
                    asked = True
                    self.count(self._kind(text, source, order, slot), self._said(slot, tail) == id)
                if known:
                    break
                self._note(slot, id)

    def _note(self, slot: int, id: int) -> None:
        """This context was followed by `id` once more, or by it instead of another."""
        hits, misses = self._hits[slot], self._misses[slot]
        if self._ids[slot] == id:
            if hits == OFTEN:
                # What is often, and was always, is told from what is often and was not, lately.
                hits, self._misses[slot] = OFTEN // 2, misses // 2
            self._hits[slot] = hits + 1
        elif misses < hits:
            self._misses[slot] = misses + 1
        else:
            self._ids[slot], self._hits[slot], self._misses[slot] = id, 1, hits

    def _said(self, slot: int, tail: list[int]) -> int | None:
        """The id that followed; None where it stood before the tail."""
        id = self._ids[slot]
        if id >= 0:
            return id
        return tail[id] if -id <= len(tail) else None

    def _slot(self, text: int, context: int) -> int:
        return self._mask + 1 + (context & self._known_mask) if _is_known(text) else context & self._mask

    def _kind(self, text: int, source: int, order: int, slot: int) -> int:
        if _is_known(text):
            source = SOURCES if text == KNOWN_SHAPES else SOURCES - 1
        return (source * len(ORDERS) + order) << 6 | self._hits[slot] << 3 | self._misses[slot]

    def _contexts(self, text: int, tail: list[int]) -> list[int]:
        """A number for each of the contexts that a text ends with, the longest first, told apart from others'."""
        salted = salt(text)
        if text == KNOWN_SHAPES:
            classes = tuple(self._classes[id] for id in tail[-SHAPES[0] :])
            return [hash(classes[-length:]) ^ salted for length in SHAPES]
        ids = tuple(tail)
        return [hash(ids[-length:]) ^ salted for length in ORDERS]


def _is_known(text: int) -> bool:
    return text in (KNOWN, KNOWN_SHAPES)


class Pace:
    """How long a step takes that only decodes, as its number of ids has it: `step + each * ids` seconds, lately."""

    # How much a step weighs after another one, and so many squared ids' worth of belief that an id costs a
    # thirtieth of a step, which is what one does where a step is bound by the weights that it reads.
    KEPT, BELIEF, EXPECTED = 0.98, 2.0, 1 / 30

    def __init__(self) -> None:
        self.step = self.each = 0.0
        self._steps = self._ids = self._seconds = self._squares = self._products = 0.0

    def took(self, steps: Iterable[tuple[int, float]]) -> None:
        """Some more steps, of so many ids and seconds each; one that took far longer than steps do says little, for
        somebody else had the processor."""
        kept = self.KEPT
        for ids, seconds in steps:
            if self._steps > 8:
                seconds = min(seconds, 2 * (self.step + self.each * ids))
            self._steps = kept * self._steps + 1
            self._ids = kept * self._ids + ids
            self._seconds = kept * self._seconds + seconds
            self._squares = kept * self._squares + ids * ids
            self._products = kept * self._products + ids * seconds
        mean_ids, mean = self._ids / self._steps, self._seconds / self._steps
        spread = self._squares - mean_ids * self._ids
        together = self._products - mean_ids * self._seconds
        slope = (together + self.BELIEF * self.EXPECTED * mean) / (spread + self.BELIEF)
        self.each = min(max(slope, 0.0), mean / mean_ids)
        self.step = mean - self.each * mean_ids


class Speculation:
    """Guesses for the texts of one engine, while they pay.

    shared: whether what one text said is guessed in others. known: what the network is known to say, which is guessed
    instead; under adapters only where nothing is shared.
    guessed, accepted: how many ids were guessed so far, and how many of them were right.
    """

    # The most ids of a guess. Where more than so many decode at once nothing is guessed, nor taken in: what that takes
    # of the processor is then more than it saves.
    LONGEST, CROWD = 16, 8
    # The most ids that a network's own layer says ahead. It costs time of its own: of every TURN steps the first TRIAL
    # are with it and the next TRIAL without, and the others as more was said in a second.
    DEEPEST, TRIAL, TURN = 4, 32, 4096

    def __init__(self, *, shared: bool = True, known: Ngrams | None = None) -> None:
        self.shared = shared
        self._turns = 0
        # Whether the layer was asked in this step; ids said since the last one; ids and seconds without it and with it.
        self._asked, self._said = False, 0
        self._rates = [[0.0, 0.0], [0.0, 0.0]]
        self.guessed = self.accepted = 0
        self._guesses = Guesses(known=known)
        self._pace = Pace()
        # Ids that a sequence got from a step, and those that it brought into it, lately.
        self._gain = self._brought = 1.0
        self._crowded = False

    def guess(self, sequence: Sequence, room: int, running: int) -> tuple[int, ...]:
        """What may follow, at most `room` ids; empty where that would not pay. running: who shares the step."""
        most = min(room, self.LONGEST, sequence.limit - sequence.generated - 1)
        self._crowded = running > self.CROWD
        worth = self._worth(running)
        if self._crowded or worth >= 1:
            return ()
        ids: list[int] = []
        chance, texts, tail = 1.0, self._texts(sequence), sequence.ids[-TAIL:]
        while len(ids) < most:
            id, likely = self._guesses.guess(texts, tail)
            if (place := len(ids)) < len(sequence.surmise):
                id, likely = self._weigh(id, likely, sequence.surmise[place], LATER if place else FIRST)
            chance *= likely
            if chance < worth or not likely:
                break
            ids.append(id)
            tail.append(id)
        return tuple(ids)

    def depth(self, running: int) -> int:
        """How many ids a network's own layer is to say ahead of each text in this step; 0 where that does not pay."""
        worth, turn = self._worth(running), self._turns % self.TURN
        self._turns += 1
        if turn == 0:
            self._rates = [[0.0, 0.0], [0.0, 0.0]]
        (ids, seconds), (ids_with, seconds_with) = self._rates
        pays = turn < self.TRIAL or (turn >= 2 * self.TRIAL and ids_with * seconds > ids * seconds_with)
        self._asked = pays and running <= self.CROWD and worth < 1
        if not self._asked:
            return 0
        depth, chance = 1, self._guesses.chance(FIRST)
        while depth < self.DEEPEST and (chance := chance * self._guesses.chance(LATER)) >= worth:
            depth += 1
        return depth

    def learn(self, sequence: Sequence) -> None:
        """Takes in what the text has gained, of its prompt a part at a time."""
        ids, texts = sequence.ids, self._texts(sequence)
        end = min(len(ids), sequence.learnt + AT_A_TIME)
        start = min(max(1, sequence.learnt), end)
        if end - start >= MANY and library() is not None:
            learn(self._guesses.tables, self._guesses.masks, texts, ids, (start, end), sequence.prompt)
        else:
            for i in range(start, end):
                said = i >= sequence.prompt
                # Of what was asked, others are told nothing.
                self._guesses.learn(texts if said else texts[:1], ids[max(0, i - TAIL) : i], ids[i], count=said)
        sequence.learnt = end

    def checked(self, sequence: Sequence, said: list[int], guessed: int, accepted: int, behind: list[int]) -> None:
        """A sequence's step, which said these ids: so many were guessed, so many of them were right.

        behind: what the network would have said behind the first that was wrong.
        """
        self.guessed += guessed
        self.accepted += accepted
        self._gain += 0.01 * (1 + accepted - self._gain)
        self._brought += 0.01 * (1 + guessed - self._brought)
        self._said += 1 + accepted
        for place, (surmised, id) in enumerate(zip(sequence.surmise, said, strict=False)):
            self._guesses.count(LATER if place else FIRST, surmised == id)
            if surmised != id:
                break
        sequence.surmise = tuple(behind)
        self.take_in(sequence)

    def take_in(self, sequence: Sequence) -> None:
        """Learns what the text has gained, unless too many decode."""
        if not self._crowded:
            self.learn(sequence)

    def for_call(self, sequences: list[Sequence]) -> Guessing | None:
        """What native code guesses from, and learns into, while each says several ids; None where it is not to."""
        running = len(sequences)
        self._crowded = running > self.CROWD
        if self._crowded or any(sequence.learnt < len(sequence.ids) for sequence in sequences):
            return None
        worth = self._worth(running)
        return Guessing(
            self._guesses.tables,
            self._guesses.masks,
            [self._texts(sequence) for sequence in sequences],
            [sequence.ids[-TAIL:] for sequence in sequences],
            [sequence.surmise for sequence in sequences],
            self.LONGEST if worth < 1 else 0,
            worth,
            self._gain,
            self._brought,
        )

    def went(self, sequences: list[Sequence], ahead: Ahead) -> None:
        """What came of such a call."""
        found = ahead.guessed
        if found is None:
            return
        self.guessed += sum(found.guessed)
        self.accepted += sum(found.right)
        self._gain, self._brought = found.gain, found.brought
        for sequence, surmise, said in zip(sequences, found.surmises, ahead.said, strict=True):
            sequence.surmise = surmise
            sequence.learnt += len(said.ids)

    def _weigh(self, id: int, likely: float, surmised: int, kind: int) -> tuple[int, float]:
        """One guess of two, which are surer where they agree."""
        own = self._guesses.chance(kind)
        if id == surmised:
            return id, 1 - (1 - likely) * (1 - own)
        return (surmised, own) if own > likely else (id, likely)

    def took(self, steps: Many[tuple[int, float]]) -> None:
        """Steps that only decoded had so many ids and took so many seconds; one, or those of a call."""
        self._pace.took(steps)
        rate = self._rates[self._asked]
        rate[0] += self._said
        rate[1] += sum(seconds for _, seconds in steps)
        self._said = 0

    def _worth(self, running: int) -> float:
        """The least chance of being right that pays for one more id in a step.

        An id that is right saves what an id costs its sequence: its share of a step, to which it brings `_brought` ids
        and which gives it `_gain`.
        """
        pace = self._pace
        share = (pace.step / running + pace.each * self._brought) / self._gain
        return pace.each / share if share else 1.0

    def _texts(self, sequence: Sequence) -> tuple[int, ...]:
        own = sequence.request + 1
        known = self._guesses.known
        if known and not (self.shared and sequence.adapter):
            return own, *known
        return (own, -sequence.adapter) if self.shared else (own,)
