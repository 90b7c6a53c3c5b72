"""A second copy of the keys and values of those who decode, one straight row a sequence.

Blocks lie scattered, and gathering them anew in every layer of every step costs about twice what attention itself
does on a CPU. Here each decoding sequence has a row that grows by one token a step, so a whole batch is one strided
view. The blocks stay the truth: a row can be lost at any time and is filled from its sequence's blocks again.
"""

# S = rows in use, L = tokens of the longest, K = key heads, D = columns of a key

from __future__ import annotations

from denken.engine.scheduler import Chunk
from denken.engine.sequence import Sequence

# Beyond this many times the real tokens, padding costs more than gathering the longest sequences' blocks.
PADDING = 3


class Rows:
    """Who sits in which row. tokens: how many all rows together may hold; block_size: that of the cache."""

    def __init__(self, tokens: int, block_size: int) -> None:
        self.tokens = tokens
        self.block_size = block_size
        # Tokens from one row's beginning to the next's.
        self.stride = block_size
        self._seated: list[Sequence] = []
        self._filled: list[int] = []

    def seat(self, chunks: list[Chunk]) -> tuple[list[Chunk], list[tuple[int, int, Chunk]]]:
        """Gives rows 0, 1, ... to decoding chunks (of one id each).

        Returns them in row order (the longest may be left out), and what must be copied from blocks before:
        (row, first token, chunk), the first token on a block's border.
        """
        chosen = self._choose(chunks)
        if not chosen:
            return [], []
        length = max(chunk.start for chunk in chosen) + 1
        stride = self._stride(length)
        if stride > self.stride or self.stride * len(chosen) > self.tokens:
            self.stride = stride
            self.clear()
        order = self._order(chosen)
        missing = []
        for row, chunk in enumerate(order):
            if row == len(self._seated):
                self._seated.append(chunk.sequence)
                self._filled.append(0)
            elif self._seated[row] is not chunk.sequence:
                self._seated[row], self._filled[row] = chunk.sequence, 0
            if self._filled[row] < chunk.start:
                missing.append((row, self._filled[row] // self.block_size * self.block_size, chunk))
            self._filled[row] = chunk.start + 1
        del self._seated[len(order) :], self._filled[len(order) :]
        return order, missing

    def clear(self) -> None:
        """What the rows hold is worth nothing any more."""
        self._seated.clear()
        self._filled.clear()

    def _choose(self, chunks: list[Chunk]) -> list[Chunk]:
        """All that fit without too much padding: the longest are left out first."""
        chosen = sorted(chunks, key=lambda chunk: chunk.start)
        total = sum(chunk.start + 1 for chunk in chosen)
        while chosen:
            longest = chosen[-1].start + 1
            if len(chosen) * longest <= PADDING * total and len(chosen) * self._stride(longest) <= self.tokens:
                break
            total -= longest
            chosen.pop()
        return chosen

    def _order(self, chosen: list[Chunk]) -> list[Chunk]:
        """Who has a row keeps it, as long as no row stays empty."""
        absent = {id(chunk.sequence): chunk for chunk in chosen}
        order = [absent.pop(id(sequence), None) for sequence in self._seated[: len(chosen)]]
        order += [None] * (len(chosen) - len(order))
        others = iter(absent.values())
        return [chunk or next(others) for chunk in order]

    def _stride(self, length: int) -> int:
        """Room to grow: the next power of two, in blocks."""
        blocks = -(-length // self.block_size)
        return self.block_size * (1 << (blocks - 1).bit_length())
