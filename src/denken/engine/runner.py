"""One step through the network: all chunks' ids in one row, logits where ids are due; or several steps of those who
only decode, drawn as they come.

Linear layers see one row of tokens; only attention (`paged.py`) knows that they belong to different texts. Who takes
part was the scheduler's choice, what is drawn is the sampler's.
"""

# R = rows of logits, N = tokens of the step, M = hidden size, V = vocabulary, S = sequences, T = steps

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from denken.engine.adapters import Adapters
from denken.engine.drafts import Drafts
from denken.engine.fused import Fused, is_small
from denken.engine.native import Decodes, Native
from denken.engine.paged import Beginnings, Paged, Store
from denken.engine.rows import Rows, Seating
from denken.engine.scheduler import Chunk, Lead
from denken.engine.sparse import Sparse
from denken.engine.speculate import Speculation
from denken.model.attention import Attend, CacheLayout
from denken.model.kernels.call import covers
from denken.model.kernels.decode import Ahead, Going
from denken.model.kernels.rows import PANEL, PART
from denken.model.mtp import MultiTokenPrediction
from denken.model.transformer import Transformer

# Rows of a panel or less for which there is always room.
SHORT_ROWS = 256


class Model(Protocol):
    """What the engine needs of a `denken.model.Transformer`."""

    @property
    def cache_layout(self) -> CacheLayout: ...

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor | None = None, attend: Attend | None = None) -> Tensor: ...

    def logits(self, hidden: Tensor) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Draws:
    """How a sequence draws by itself: at most `limit` ids, or `behind` where it has closed its thought by itself (0: it
    stops there), each as `softmax.draw` does with the noise of its place."""

    limit: int
    behind: int
    manner: tuple[float, float, float, float]
    noise: list[float]


class Runner:
    """Holds the model and its cache. blocks, block_size: as in `cache.Blocks`. head: as in `Native`. narrow: as in
    `Store`. layer: for multi-token prediction, where the model has one and guesses are wanted."""

    def __init__(
        self,
        model: Model,
        like: Tensor,
        blocks: int,
        block_size: int,
        head: str | None = None,
        narrow: torch.dtype | None = None,
        layer: MultiTokenPrediction | None = None,
    ) -> None:
        self.model: Model = model
        self.drafts: Drafts | None = None
        if layer is not None:
            assert isinstance(model, Transformer)
            self.drafts = Drafts(model, layer, like, blocks, block_size)
        if like.device.type == "cpu" and isinstance(model, Transformer):
            if Native.covers(model):
                self.model = Native(model, head)
            elif Fused.covers(model):
                self.model = Fused(model)
            elif Sparse.covers(model):
                self.model = Sparse(model, head)
        self.adapters = Adapters(model, like.device)
        self.device = like.device
        layout = model.cache_layout
        # Rows grow by doubling, and short ones have a panel. What is not used of them is never touched, and takes no
        # memory. Beside a large network's weights they would cost more of it than they save time.
        row_tokens: int | None = 2 * blocks * block_size + min(blocks, SHORT_ROWS) * PANEL
        if narrow is None and block_size % PART == 0 and _reads_blocks(model, like):
            row_tokens = None
        self.store = Store(layout, blocks, block_size, row_tokens, like, narrow)
        share = layout.layers > 0 and (self.store.native or not layout.latent_size)
        self.rows = Rows(row_tokens, block_size, share=share, panel=self.store.panel)
        self.dtype = like.dtype
        self._beginnings: Beginnings | None = None
        # What the network said of each chunk's tokens in the last step, where there are drafts.
        self._said: dict[int, Tensor] = {}

    @torch.inference_mode()
    def run(self, chunks: list[Chunk]) -> Tensor:
        """Logits (R, V) where they are due (`Chunk.due`): after a text's last id and each that is guessed behind it, in
        the order of `chunks`."""
        # Without kernels a row takes one id a step.
        seating = self._seat([chunk for chunk in chunks if chunk.decodes and (self.store.native or not chunk.guess)])
        seated = {id(chunk) for chunk in seating.order}
        others = [chunk for chunk in chunks if id(chunk) not in seated]
        order = seating.order + others
        ids = [i for chunk in order for i in chunk.ids]
        positions = [p for chunk in order for p in range(chunk.start, chunk.start + chunk.count)]
        slots = [slot for chunk in order for slot in self.store.slots(chunk, chunk.count)]
        ends = itertools.accumulate(chunk.count for chunk in order)
        end_of = {id(chunk): end for chunk, end in zip(order, ends, strict=True)}
        stride = self.rows.stride
        attend = Paged(self.store, seating, self._beginnings, others, stride, self._tensor(slots), self.dtype)
        adapters = [chunk.sequence.adapter for chunk in order for _ in range(chunk.count)]
        with self.adapters.over(adapters, self.model) as model:
            hidden_1NM = model.hidden(self._tensor(ids)[None], self._tensor(positions)[None], attend)
        if self.drafts is not None:
            self.drafts.computed(chunks)
            self._said = {id(each): hidden_1NM[0, end_of[id(each)] - each.count : end_of[id(each)]] for each in order}
        wanted = [i for chunk in chunks for i in range(end_of[id(chunk)] - chunk.due, end_of[id(chunk)])]
        return self.model.logits(hidden_1NM[0, self._tensor(wanted)])

    @torch.inference_mode()
    def draft(self, chunks: list[Chunk], depth: int) -> dict[int, tuple[int, ...]]:
        """As `Drafts.read`, of chunks of the last `run`, once their next ids are drawn."""
        assert self.drafts is not None
        return self.drafts.read(chunks, [self._said[id(chunk)] for chunk in chunks], depth)

    @property
    def goes_ahead(self) -> bool:
        """Whether this network and this store are such that `ahead` can be asked."""
        native = self.store.native and isinstance(self.model, Decodes) and self.model.goes_ahead
        return native and self.drafts is None

    @torch.inference_mode()
    def ahead(
        self, chunks: list[Chunk], draws: list[Draws], stops_V: Tensor, steps: int, speculation: Speculation | None
    ) -> Ahead | None:
        """What the sequences of these chunks, of one id each, say in up to so many steps, for which they have blocks:
        until their limit, or an id where `stops_V` is not 0. No step begins when `Lead.SECONDS` have passed.
        None where there is no room to do it.
        """
        assert isinstance(self.model, Decodes)
        seating = self._seat(chunks, steps - 1)
        if len(seating.order) < len(chunks):
            return None
        number = {id(chunk): i for i, chunk in enumerate(chunks)}
        order = [number[id(chunk)] for chunk in seating.order]
        own = [draws[i] for i in order]
        places_ST = [self.store.slots(chunk, steps) for chunk in seating.order]
        first_S = self._tensor([places[0] for places in places_ST])
        seats = Paged(self.store, seating, self._beginnings, [], self.rows.stride, first_S, self.dtype).seats()
        assert seats is not None
        going = Going(
            [chunk.sequence.ids[-1] for chunk in seating.order],
            [chunk.start for chunk in seating.order],
            seating.skips,
            places_ST,
            [draw.limit for draw in own],
            [draw.behind for draw in own],
            [draw.manner for draw in own],
            [draw.noise for draw in own],
            stops_V,
        )
        sequences = [chunk.sequence for chunk in seating.order]
        guessing = None if speculation is None else speculation.for_call(sequences)
        ahead = self.model.ahead(going, seats, Lead.SECONDS, guessing)
        self.rows.advance([len(each.ids) - 1 for each in ahead.said])
        if speculation is not None:
            speculation.went(sequences, ahead)
        own_said = sorted(zip(order, ahead.said, strict=True), key=lambda pair: pair[0])
        return replace(ahead, said=[said for _, said in own_said])

    def _seat(self, chunks: list[Chunk], ahead: int = 0) -> Seating:
        """Rows for decoding chunks, with room for so many ids more, and in them what was computed so far."""
        seating = self.rows.seat(chunks, ahead)
        self.store.fill(seating.missing, seating.skips, self.rows.stride)
        self._set_apart(seating)
        return seating

    def forget(self) -> None:
        """The weights changed: what the rows hold is of no use. (Blocks are forgotten by who keeps their books.)"""
        if isinstance(self.model, Fused):
            self.model.refresh()
        if self.drafts is not None:
            self.drafts.zero()
        self._drop_rows()

    def _drop_rows(self) -> None:
        self.rows.clear()
        self._beginnings = None

    def reset(self) -> None:
        """A step failed midway: nothing that is stored may reach a later one."""
        self._drop_rows()
        with torch.inference_mode():
            self.store.zero()
            if self.drafts is not None:
                self.drafts.zero()

    def _set_apart(self, seating: Seating) -> None:
        """Copies beginnings that several rows share out of the blocks, if they are others than in the last step."""
        if not seating.slots:
            self._beginnings = None
        elif self._beginnings is None or self._beginnings.blocks_of_slot != seating.blocks_of_slot:
            self._beginnings = Beginnings(self.store, seating.slots, seating.blocks_of_slot)
        elif seating.changed:
            self._beginnings.arrange(seating.slots)

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


def _reads_blocks(model: Model, like: Tensor) -> bool:
    """Whether those who decode read the blocks themselves."""
    if not isinstance(model, Transformer) or is_small(model):
        return False
    return covers(like) and model.cache_layout.layers > 0 and not model.cache_layout.latent_size
