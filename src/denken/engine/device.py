"""A step, or several, with everything on the network's own device: weights, cache, block tables, lengths and draws.

Those who decode go through the network in a batch of fixed shape: so many rows, over so many blocks each, both rounded
up, with what is left of either pointing at a block that is nobody's. So a shape comes again and again, and on CUDA
what it takes is captured as a graph when it comes for the second time, and replayed from then on: one call a step in
place of some hundred. What reads prompts, or has an adapter, runs beside it, operation by operation.

`ahead` goes several steps at once, for the ids that are drawn stay where the next step reads them; Python looks at
them at the end. Rows that have ended meanwhile go on for nothing, into blocks that are still theirs.

Plain tensor operations, without kernels of ours: the same runs on a processor, for comparison, and is slower there
than `runner.py`. Graphs are not for mixtures of experts, whose shapes hang on their routers, nor for quantised layers.
"""

# R = rows of logits, N = tokens of the step, M = hidden size, V = vocabulary, B = rows of a batch, X = blocks of a row,
# T = steps, S = sequences

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from denken.engine.adapters import Adapters
from denken.engine.drawing import Kind, Manners, draw, kind_of
from denken.engine.fused import Fused
from denken.engine.gathered import Gathered, Texts, hidden_beyond, side_by_side
from denken.engine.paged import Store
from denken.engine.runner import Draws, Model
from denken.engine.scheduler import Chunk, Lead
from denken.model.kernels.decode import Ahead, Said
from denken.model.quantized import is_quantised
from denken.model.transformer import Transformer

# Tokens that the shortest batches look at.
SHORTEST = 64

log = logging.getLogger(__name__)


class DeviceRunner:
    """Holds the model and its cache. blocks, block_size: as in `cache.Blocks`. sequences: the most that decode at a
    time. tokens: the most that a text has. graphs: whether what comes again is captured, which only CUDA can."""

    goes_ahead = True

    def __init__(
        self, model: Transformer, like: Tensor, blocks: int, block_size: int, sequences: int, tokens: int, graphs: bool
    ) -> None:
        self.model: Model = Fused(model) if Fused.covers(model) else model
        self.adapters = Adapters(model, like.device)
        self.device, self.dtype, self.block_size = like.device, like.dtype, block_size
        self.store = Store(model.cache_layout, blocks + 1, block_size, 0, like)
        self.nobodys = blocks
        can = like.device.type == "cuda" and not model.config.n_routed_experts and not is_quantised(model)
        self._captured = Captured(like.device) if graphs and can else None
        self._parameters = list(model.parameters())
        self._addresses = self._where()
        rows = _power(sequences)
        width = -(-(tokens + Lead.MOST) // block_size)
        self._ids_B, self._positions_B = (torch.zeros(rows, dtype=torch.long, device=self.device) for _ in range(2))
        self._tables_BX = torch.full((rows, width), self.nobodys, device=self.device)
        self._logits_BV = torch.zeros(rows, model.config.vocab_size, device=self.device)
        self._manners = Manners.blank(rows, self.device)
        self._noise_TB = torch.zeros(Lead.MOST, rows, dtype=torch.float64, device=self.device)
        # What was said in the steps of a call, and which one is next.
        self._said_TB, self._kept_TB = (
            torch.zeros(Lead.MOST, rows, dtype=torch.long, device=self.device) for _ in range(2)
        )
        self._logprobs_TB = torch.zeros(Lead.MOST, rows, device=self.device)
        self._step_1 = torch.zeros(1, dtype=torch.long, device=self.device)

    @torch.inference_mode()
    def run(self, chunks: list[Chunk]) -> Tensor:
        """As `Runner.run`. Those who decode come first: what they complete of a block may be read by others."""
        decoding = [chunk for chunk in chunks if _steady(chunk)]
        reading = [chunk for chunk in chunks if not _steady(chunk)]
        with self._placed():
            parts = []
            if decoding:
                rows, blocks = self._seat(decoding, 1)
                self._go(("network", rows, blocks), lambda: self._network(rows, blocks))
                parts.append(self._logits_BV[: len(decoding)])
            if reading:
                parts.append(self._read(reading))
            logits_RV = parts[0] if len(parts) == 1 else torch.cat([part.float() for part in parts])
            return self._in_order(chunks, decoding + reading, logits_RV)

    @torch.inference_mode()
    def ahead(
        self, chunks: list[Chunk], draws: list[Draws], stops_V: Tensor, steps: int, speculation: object = None
    ) -> Ahead:
        """As `Runner.ahead`: exactly so many steps, and nobody guesses. Where a shape was new, passes tell nothing."""
        began, count = time.perf_counter(), len(chunks)
        manners = [each.manner for each in draws]
        with self._placed():
            rows, blocks = self._seat(chunks, steps)
            self._manners.take(manners)
            noise_ST = torch.tensor([each.noise for each in draws], dtype=torch.float64)
            self._noise_TB[:steps, :count] = noise_ST.t().to(self.device)
            self._step_1.zero_()
            kind, new = kind_of(manners), self._captured.news if self._captured is not None else 0
            for _ in range(steps):
                self._go(("network", rows, blocks), lambda: self._network(rows, blocks))
                self._go(("draw", rows, kind), lambda: self._draw(rows, kind))
            ids_ST, logprobs_ST, kept_ST = (
                x_TB[:steps, :count].t().cpu() for x_TB in (self._said_TB, self._logprobs_TB, self._kept_TB)
            )
        said = _until_stops(ids_ST, logprobs_ST, kept_ST, [each.limit for each in draws], stops_V)
        seconds = (time.perf_counter() - began) / steps
        usual = self._captured is None or self._captured.news == new
        return Ahead(said, [(count, seconds)] * steps if usual else [], None)

    def forget(self) -> None:
        """The weights changed."""
        if isinstance(self.model, Fused):
            self.model.refresh()

    def reset(self) -> None:
        """A step failed midway: nothing that is stored may reach a later one."""
        with torch.inference_mode():
            self.store.zero()

    def _seat(self, chunks: Sequence[Chunk], steps: int) -> tuple[int, int]:
        """Lays down each one's last id, its place and its blocks, for so many steps; the batch's rows and blocks."""
        count, rows = len(chunks), _power(len(chunks))
        tokens = max(SHORTEST, _power(max(chunk.start for chunk in chunks) + steps))
        blocks = min(-(-tokens // self.block_size), self._tables_BX.shape[1])
        tables = [chunk.sequence.blocks for chunk in chunks]
        table_SX = torch.full((rows, blocks), self.nobodys)
        held_SX = torch.arange(blocks) < torch.tensor([len(table) for table in tables])[:, None]
        table_SX[:count][held_SX] = torch.tensor([block for table in tables for block in table[:blocks]])
        self._tables_BX[:rows, :blocks].copy_(table_SX)
        spare = [0] * (rows - count)
        self._ids_B[:rows].copy_(torch.tensor([chunk.sequence.ids[chunk.start] for chunk in chunks] + spare))
        self._positions_B[:rows].copy_(torch.tensor([chunk.start for chunk in chunks] + spare))
        return rows, blocks

    def _network(self, rows: int, blocks: int) -> None:
        """One id of each row goes through the network: its logits."""
        positions_B, table_BX = self._positions_B[:rows], self._tables_BX[:rows, :blocks]
        block_B = table_BX.gather(1, (positions_B // self.block_size)[:, None])[:, 0]
        slots_B = block_B * self.block_size + positions_B % self.block_size
        mask_B11L = hidden_beyond(positions_B[:, None], blocks * self.block_size, self.dtype)
        attend = Gathered(self.store, slots_B, [Texts(table_BX, mask_B11L)])
        hidden_1BM = self.model.hidden(self._ids_B[None, :rows], positions_B[None], attend)
        self._logits_BV[:rows] = self.model.logits(hidden_1BM[0])

    def _draw(self, rows: int, kind: Kind) -> None:
        """The next id of each row is drawn and noted, and is its last one now."""
        step_1 = self._step_1
        noise_B = self._noise_TB[:, :rows].index_select(0, step_1)[0]
        drawn = draw(self._logits_BV[:rows], self._manners.rows(rows), noise_B, kind)
        for noted_TB, new_B in zip((self._said_TB, self._logprobs_TB, self._kept_TB), drawn, strict=True):
            noted_TB[:, :rows].index_copy_(0, step_1, new_B[None])
        self._ids_B[:rows] = drawn[0]
        self._positions_B[:rows].add_(1)
        step_1.add_(1)

    def _read(self, chunks: list[Chunk]) -> Tensor:
        """Logits that are due after chunks of any length, with their adapters."""
        ids = [i for chunk in chunks for i in chunk.ids]
        positions = [p for chunk in chunks for p in range(chunk.start, chunk.start + chunk.count)]
        size = self.block_size
        slots = [
            chunk.sequence.blocks[p // size] * size + p % size
            for chunk in chunks
            for p in range(chunk.start, chunk.start + chunk.count)
        ]
        attend = Gathered(self.store, self._tensor(slots), side_by_side(chunks, self.store, self.dtype, self.device))
        adapters = [chunk.sequence.adapter for chunk in chunks for _ in range(chunk.count)]
        with self.adapters.over(adapters, self.model) as model:
            hidden_1NM = model.hidden(self._tensor(ids)[None], self._tensor(positions)[None], attend)
        ends = itertools.accumulate(chunk.count for chunk in chunks)
        wanted = [i for chunk, end in zip(chunks, ends, strict=True) for i in range(end - chunk.due, end)]
        return self.model.logits(hidden_1NM[0, self._tensor(wanted)])

    def _in_order(self, chunks: list[Chunk], computed: list[Chunk], logits_RV: Tensor) -> Tensor:
        """Rows of logits as their chunks stand in the step."""
        ends = itertools.accumulate(chunk.due for chunk in computed)
        end_of = {id(chunk): end for chunk, end in zip(computed, ends, strict=True)}
        rows = [row for chunk in chunks for row in range(end_of[id(chunk)] - chunk.due, end_of[id(chunk)])]
        return logits_RV if rows == list(range(len(rows))) else logits_RV[self._tensor(rows)]

    def _go(self, shape: Hashable, work: Callable[[], None]) -> None:
        if self._captured is None:
            work()
        else:
            self._captured.go(shape, work)

    @contextmanager
    def _placed(self) -> Iterator[None]:
        """On the network's device, with its weights as they are now."""
        if isinstance(self.model, Fused):
            self.model.keep_up()
        if self._captured is not None and (addresses := self._where()) != self._addresses:
            self._captured.forget()
            self._addresses = addresses
        if self.device.type != "cuda":
            yield
            return
        from torch.nn.attention import SDPBackend, sdpa_kernel

        # The ways that take a mask, and no plans that are made anew for each shape.
        with torch.cuda.device(self.device), sdpa_kernel([SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
            yield

    def _where(self) -> list[int]:
        """Where the weights lie: graphs read them there."""
        return [parameter.data_ptr() for parameter in self._parameters]

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, dtype=torch.long, device=self.device)


class Captured:
    """Work of fixed shapes as CUDA graphs, in memory that all of them share, for they run one after another.

    A shape runs operation by operation the first time, which also makes ready what cannot be made while capturing.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._graphs: dict[Hashable, Any] = {}
        self._met: set[Hashable] = set()
        self._pool: Any = None
        self.failed = False
        # How often something was met for the first or the second time.
        self.news = 0

    @property
    def count(self) -> int:
        return len(self._graphs)

    def go(self, shape: Hashable, work: Callable[[], None]) -> None:
        if shape in self._graphs:
            self._graphs[shape].replay()
            return
        self.news += not self.failed
        if shape in self._met and not self.failed and self._capture(shape, work):
            self._graphs[shape].replay()
            return
        self._met.add(shape)
        work()

    def forget(self) -> None:
        """What the graphs read is elsewhere now."""
        self._graphs.clear()
        self._met.clear()
        self._pool = None

    def _capture(self, shape: Hashable, work: Callable[[], None]) -> bool:
        """Whether it could be captured. Nothing is computed by it."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                work()
        except RuntimeError as error:
            self.failed = True
            log.warning("Decoding goes on without CUDA graphs, and slower: %s could not be captured: %s", shape, error)
            return False
        self._graphs[shape] = graph
        return True


def _steady(chunk: Chunk) -> bool:
    """Whether it can have a row of a batch: one id of the network as it is."""
    return chunk.decodes and not chunk.guess and not chunk.sequence.adapter


def _power(number: int) -> int:
    """The next power of two."""
    return 1 << max(0, number - 1).bit_length()


def _until_stops(
    ids_ST: Tensor, logprobs_ST: Tensor, kept_ST: Tensor, limits: Sequence[int], stops_V: Tensor
) -> list[Said]:
    """What each said up to its limit, or up to its first id where `stops_V` is not 0."""
    stops_ST = stops_V[ids_ST] > 0
    steps = ids_ST.shape[1]
    counts_S = torch.where(stops_ST.any(dim=1), stops_ST.int().argmax(dim=1) + 1, steps)
    counts = torch.minimum(counts_S, torch.tensor(limits)).tolist()
    rows = zip(ids_ST.tolist(), logprobs_ST.tolist(), kept_ST.tolist(), counts, strict=True)
    return [Said(ids[:count], logprobs[:count], kept[:count]) for ids, logprobs, kept, count in rows]
