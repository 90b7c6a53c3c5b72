"""Which block of the cache belongs to whom, and which blocks can be used again. No tensors: those are in `runner.py`.

A block holds the keys and values of `size` consecutive ids of a text. Full blocks are remembered by content, so a
prompt that begins like an earlier text takes over its blocks instead of computing them. Content is looked up by the
pair (number of the parent block's content, the block's ids): Python's dictionary hashes the pair and then compares
it, and a content number stands for exactly one text and is never given twice. So no hash is trusted alone. The first
block's parent is what its text is computed with: 0, or the number of an adapter below it, and so on for all behind.

A block that nobody refers to stays known until it is needed for something else: the longest unused goes first.
"""

from __future__ import annotations

from collections import OrderedDict

from denken.engine.sequence import Sequence

Content = tuple[int, tuple[int, ...]]


class Blocks:
    """The book-keeping of `count` blocks of `size` ids each. reuse: whether full blocks are shared."""

    def __init__(self, count: int, size: int, *, reuse: bool = True) -> None:
        self.count = count
        self.size = size
        self.reuse = reuse
        self._references = [0] * count
        self._free: OrderedDict[int, None] = OrderedDict.fromkeys(range(count))
        self._block_of: dict[Content, int] = {}
        self._content_of: dict[int, Content] = {}
        self._number_of: dict[int, int] = {}
        self._numbers = 0

    @property
    def free(self) -> int:
        """How many blocks nobody refers to, those that are still known included."""
        return len(self._free)

    def needed(self, tokens: int) -> int:
        """How many blocks hold this many ids."""
        return -(-tokens // self.size)

    def extend_from_known(self, sequence: Sequence) -> None:
        """Takes over the known blocks that continue the sequence; at least one id is left to compute.

        Does nothing unless the sequence has been computed exactly to the end of its last block.
        """
        ids, size = sequence.ids, self.size
        while (start := sequence.computed) == len(sequence.blocks) * size == sequence.known * size:
            if start + size >= len(ids):
                return
            block = self._block_of.get((sequence.chain, tuple(ids[start : start + size])))
            if block is None:
                return
            self._references[block] += 1
            self._free.pop(block, None)
            sequence.blocks.append(block)
            sequence.computed += size
            sequence.known += 1
            sequence.chain = self._number_of[block]

    def grow(self, sequence: Sequence, tokens: int) -> bool:
        """Gives the sequence blocks for this many ids after the computed ones; False if there are not enough."""
        wanted = self.needed(sequence.computed + tokens) - len(sequence.blocks)
        if wanted > len(self._free):
            return False
        for _ in range(wanted):
            block, _ = self._free.popitem(last=False)
            self._forget(block)
            self._references[block] = 1
            sequence.blocks.append(block)
        return True

    def remember(self, sequence: Sequence, tokens: int) -> None:
        """Makes known the blocks that are full once the next `tokens` ids have been computed.

        Called before they are: within a layer the runner writes all keys and values of a step before any is read,
        so two requests with the same new prompt share its blocks in the very step that computes them.
        """
        if not self.reuse:
            return
        while (end := (sequence.known + 1) * self.size) <= sequence.computed + tokens:
            block = sequence.blocks[sequence.known]
            content = (sequence.chain, tuple(sequence.ids[end - self.size : end]))
            twin = self._block_of.get(content)
            if twin is None:
                self._numbers += 1
                self._block_of[content] = block
                self._content_of[block] = content
                self._number_of[block] = self._numbers
                twin = block
            sequence.chain = self._number_of[twin]
            sequence.known += 1

    def release(self, sequence: Sequence) -> None:
        """Takes all blocks from the sequence; those that nobody else refers to are free, unknown ones first in line.

        Last blocks go first: a beginning is of use to more texts than a continuation, which is of none without it.
        """
        for block in reversed(sequence.blocks):
            self._references[block] -= 1
            if self._references[block] == 0:
                self._free[block] = None
                if block not in self._content_of:
                    self._free.move_to_end(block, last=False)
        sequence.blocks.clear()
        sequence.computed = sequence.known = 0
        sequence.chain = -sequence.adapter

    def forget_all(self) -> None:
        """Nothing is known any more: the weights changed, or what the blocks hold is in doubt."""
        self._block_of.clear()
        self._content_of.clear()
        self._number_of.clear()
        # In the first order again, so that memory which was never needed at once is never touched.
        self._free = OrderedDict.fromkeys(sorted(self._free))

    def _forget(self, block: int) -> None:
        content = self._content_of.pop(block, None)
        if content is not None:
            del self._block_of[content]
            del self._number_of[block]
