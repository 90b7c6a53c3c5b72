"""A second copy of the keys and values of those who decode, one straight row a sequence.

Blocks lie scattered, and gathering them anew in every layer of every step costs about twice what attention itself
does on a CPU. Here each decoding sequence has a row that grows by one token a step, so a whole batch is one strided
view. The blocks stay the truth: a row can be lost at any time and is filled from its sequence's blocks again.

Where several samples of one prompt decode together, the blocks that they share do not go into their rows: those keys
stand once for the group, in a slot, and the group's queries are multiplied with them together. Attention at this stage
is bound by the bytes it reads, and this reads the prompt once instead of once a sample.

The copy takes as much memory as the blocks that it copies. Beside a large network's weights little is won by it, and
kernels read the blocks themselves: then rows are no more than the order in which sequences decode.

No tensors here: who sits where, and what must be copied (`paged.py` copies and computes).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from denken.engine.scheduler import Chunk
from denken.engine.sequence import Sequence

# Beyond this many times the real tokens, padding costs more than gathering the longest sequences' blocks.
PADDING = 3

Beginning = tuple[int, ...]


@dataclass(eq=False, slots=True)
class Seat:
    """One sequence's place. beginning: the blocks of its prompt that others may share; filled: the row holds the
    keys of this many of its text's first ids (those in its slot count as well)."""

    sequence: Sequence
    beginning: Beginning
    row: int = -1
    filled: int = 0


@dataclass(slots=True)
class Seating:
    """What one step has to know.

    order: decoding chunks in row order. skips: for each how many of its first ids stand in its slot instead of its row.
    missing: what must be copied from blocks into rows before: (row, first id, chunk), the first id on a block's border.
    slots: for each row the slot of its beginning; empty where beginnings are not shared. blocks_of_slot: the blocks
    in each slot. changed: whether anything of this but the chunks' positions differs from the step before.
    """

    order: list[Chunk]
    skips: list[int]
    missing: list[tuple[int, int, Chunk]] = field(default_factory=list)
    slots: list[int] = field(default_factory=list)
    blocks_of_slot: list[Beginning] = field(default_factory=list)
    changed: bool = True


class Rows:
    """Who sits in which row. tokens: how many all rows together may hold, or None where they hold nothing; block_size:
    that of the cache. share: whether beginnings may stand apart. panel: what a row's length is a multiple of."""

    def __init__(self, tokens: int | None, block_size: int, *, share: bool = True, panel: int = 1) -> None:
        self.tokens = tokens
        self.block_size = block_size
        self._panel = panel
        # Tokens from one row's beginning to the next's.
        self.stride = self._stride(1)
        self._may_share = share
        self._sharing = False
        self._seats: list[Seat] = []
        self._asked: list[Seat] = []

    def seat(self, chunks: list[Chunk], ahead: int = 0) -> Seating:
        """Gives rows 0, 1, ... to decoding chunks, with room for so many ids more; the longest may be left out."""
        known = {id(seat.sequence): seat for seat in self._seats}
        pairs = [(known.get(id(chunk.sequence)) or self._new(chunk.sequence), chunk) for chunk in chunks]
        self._decide([seat for seat, _ in pairs])
        pairs = self._order(self._choose(pairs, ahead))
        seats = [seat for seat, _ in pairs]
        seating = Seating([chunk for _, chunk in pairs], [self._skip(seat) for seat in seats])
        seating.changed = seats != self._seats
        ends = zip(seating.order, seating.skips, strict=True)
        lengths = [chunk.start + chunk.count + ahead - skip for chunk, skip in ends]
        stride = self._stride(max(lengths, default=1))
        if stride > self.stride or not self._room_for(len(seats), self.stride):
            self.stride = stride
            self._empty(seats)
        for (seat, chunk), skip in zip(pairs, seating.skips, strict=True):
            if self.tokens is not None and max(seat.filled, skip) < chunk.start:
                first = max(seat.filled // self.block_size * self.block_size, skip)
                seating.missing.append((seat.row, first, chunk))
            # Where a part of a guess turns out wrong, the next chunk begins before this and is written over it.
            seat.filled = chunk.start + chunk.count
        self._seats = seats
        if self._sharing:
            numbers: dict[Beginning, int] = {}
            seating.slots = [numbers.setdefault(seat.beginning, len(numbers)) for seat in seats]
            seating.blocks_of_slot = list(numbers)
        return seating

    def advance(self, counts: list[int]) -> None:
        """Each row holds so many ids more than those it was given a seat for."""
        for seat, count in zip(self._seats, counts, strict=True):
            seat.filled += count

    def clear(self) -> None:
        """What the rows hold is worth nothing any more."""
        self._empty(self._seats)
        self._seats, self._asked = [], []
        self._sharing = False

    def _new(self, sequence: Sequence) -> Seat:
        whole = (sequence.prompt - 1) // self.block_size if self._may_share else 0
        return Seat(sequence, tuple(sequence.blocks[:whole]))

    def _skip(self, seat: Seat) -> int:
        return len(seat.beginning) * self.block_size if self._sharing else 0

    def _decide(self, seats: list[Seat]) -> None:
        """Whether beginnings stand apart: where groups are large, and like one another, for slots are padded too."""
        if not self._may_share or seats == self._asked:
            return
        self._asked = seats
        groups = Counter(seat.beginning for seat in seats)
        slots, largest = len(groups), max(groups.values(), default=0)
        if self._sharing:
            worth = len(seats) > slots and slots * largest <= 8 * len(seats) and any(groups)
        else:
            worth = len(seats) >= 2 * slots and slots * largest <= 4 * len(seats) and any(groups)
        if worth != self._sharing:
            self._sharing = worth
            self._empty(seats)

    def _empty(self, seats: list[Seat]) -> None:
        for seat in seats:
            seat.filled = 0

    def _choose(self, pairs: list[tuple[Seat, Chunk]], ahead: int) -> list[tuple[Seat, Chunk]]:
        """All that fit without too much padding: the longest are left out first."""
        lengths = [chunk.start + chunk.count + ahead - self._skip(seat) for seat, chunk in pairs]
        total, longest = sum(lengths), max(lengths, default=0)
        if self.tokens is None or self._fits(len(pairs), longest, total):
            return pairs
        order = sorted(range(len(pairs)), key=lengths.__getitem__)
        while order:
            longest = lengths[order[-1]]
            if self._fits(len(order), longest, total):
                break
            total -= longest
            order.pop()
        return [pairs[i] for i in order]

    def _fits(self, count: int, longest: int, total: int) -> bool:
        return count * longest <= PADDING * total and self._room_for(count, self._stride(longest))

    def _room_for(self, count: int, stride: int) -> bool:
        return self.tokens is None or count * stride <= self.tokens

    def _order(self, pairs: list[tuple[Seat, Chunk]]) -> list[tuple[Seat, Chunk]]:
        """Who has a row keeps it, as long as no row stays empty."""
        seated = {seat.row: (seat, chunk) for seat, chunk in pairs if 0 <= seat.row < len(pairs)}
        others = iter([pair for pair in pairs if not 0 <= pair[0].row < len(pairs)])
        order = []
        for row in range(len(pairs)):
            pair = seated.get(row) or next(others)
            if pair[0].row != row:
                pair[0].row, pair[0].filled = row, 0
            order.append(pair)
        return order

    def _stride(self, length: int) -> int:
        """Room to grow: the next power of two, in blocks, and whole panels."""
        blocks = max(1, -(-length // self.block_size))
        tokens = self.block_size * (1 << (blocks - 1).bit_length())
        return -(-tokens // self._panel) * self._panel
