"""What a network's layer for multi-token prediction says ahead of each text, for `speculate.py` to weigh.

After every step the layer reads what the network said of the step's tokens, each with the id that followed it, into
keys and values of its own, in the same blocks. From a text's last token on it then says an id, and from that and itself
the next, as many as pay. Nobody believes them: they are guesses like any other.

Where the layer rested there is nothing: zeros stand in for the keys and values of tokens that it has not read, so that
what was another text's is never looked at, and a text that was read in part is guessed a little worse.
"""

# N = tokens read, M = hidden size, S = texts

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Many

import torch
from torch import Tensor

from denken.engine.paged import Paged, Store
from denken.engine.rows import Seating
from denken.engine.scheduler import Chunk
from denken.engine.sequence import Sequence
from denken.model.mtp import MultiTokenPrediction
from denken.model.transformer import Transformer


class Drafts:
    """layer: of this model's. like, blocks, block_size: as in `Store`."""

    def __init__(
        self, model: Transformer, layer: MultiTokenPrediction, like: Tensor, blocks: int, block_size: int
    ) -> None:
        self.model, self.layer = model, layer
        self.store = Store(dataclasses.replace(model.cache_layout, layers=1), blocks, block_size, 0, like)

    def computed(self, chunks: Many[Chunk]) -> None:
        """The network computes these anew: what the layer knows of their places is another text's."""
        slots_N = torch.tensor(
            [slot for chunk in chunks for slot in self.store.slots(chunk, chunk.count)], dtype=torch.long
        )
        for blocks in (*self.store.keys, *self.store.values):
            blocks.flatten(0, 1).index_fill_(0, slots_N.to(blocks.device), 0)

    def read(self, chunks: Many[Chunk], said_NM: Many[Tensor], depth: int) -> dict[int, tuple[int, ...]]:
        """Reads a step's tokens, and says what may follow each text: by the request's number, up to `depth` ids.

        chunks: of texts that go on, with the ids that were drawn. said_NM: what the network said of each one's tokens;
        of those that were guessed wrong nothing is read.
        """
        parts = [
            Chunk(each.sequence, each.start, each.sequence.computed - each.start, decodes=False) for each in chunks
        ]
        known_NM = torch.cat([said[: part.count] for part, said in zip(parts, said_NM, strict=True)])
        ids = [id for part in parts for id in part.sequence.ids[part.start + 1 : part.start + part.count + 1]]
        hidden_NM = self._pass(parts, known_NM, ids)
        ends, end = [], 0
        for part in parts:
            end += part.count
            if part.sequence.pending == 1:
                ends.append((part.sequence, end - 1))
        return self._ahead([sequence for sequence, _ in ends], hidden_NM[[place for _, place in ends]], depth)

    def _ahead(self, sequences: list[Sequence], hidden_SM: Tensor, depth: int) -> dict[int, tuple[int, ...]]:
        """One id after another, for as long as there is a place for its keys."""
        said: dict[int, tuple[int, ...]] = {sequence.request: () for sequence in sequences}
        for ahead in range(depth):
            if not sequences:
                break
            ids = self.model.logits(self.layer.normed(hidden_SM)).argmax(dim=-1).tolist()
            for sequence, id in zip(sequences, ids, strict=True):
                said[sequence.request] += (id,)
            going = [
                i
                for i, sequence in enumerate(sequences)
                if ahead + 1 < depth and sequence.computed + ahead < len(sequence.blocks) * self.store.block_size
            ]
            sequences, ids = [sequences[i] for i in going], [ids[i] for i in going]
            if sequences:
                chunks = [Chunk(each, each.computed + ahead, 1, decodes=False) for each in sequences]
                hidden_SM = self._pass(chunks, hidden_SM[going], ids)
        return said

    def _pass(self, chunks: list[Chunk], said_NM: Tensor, ids: list[int]) -> Tensor:
        """What the layer says of these chunks' tokens (N, M); their keys and values are stored."""
        like, model = self.layer.eh_proj.weight, self.model
        slots = [slot for chunk in chunks for slot in self.store.slots(chunk, chunk.count)]
        places = [place for chunk in chunks for place in range(chunk.start, chunk.start + chunk.count)]
        next_1NM = model.model["embed_tokens"](torch.tensor([ids], device=like.device)).to(like.dtype)
        angles = model.rotary(torch.tensor([places], device=like.device))
        slots_N = torch.tensor(slots, device=like.device)
        attend = Paged(self.store, Seating([], []), None, chunks, self.store.panel, slots_N, like.dtype)
        return self.layer.hidden(said_NM.to(like.dtype)[None], next_1NM, angles, attend)[0]

    def zero(self) -> None:
        """Nothing of what was read is of use any more: the weights changed, or a step failed midway."""
        self.store.zero()
