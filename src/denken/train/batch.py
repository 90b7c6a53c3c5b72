"""Documents into packed rows, rows into tensors: deterministic, and resumable in the middle.

A document loses everything after its last token that is learnt from; what is left is shifted by one (inputs are all
tokens but the last, targets all but the first), so nothing is spent on a position that predicts nothing. It goes to the
smallest width that holds it, there to the row that it fills best; several widths keep attention short for short
documents. Attention between documents of one row is cut by the model, which is told their `segments_BT`.

Which documents come, and in which order, is `denken.train.data`'s business.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from denken.errors import ConfigError
from denken.train.loss import IGNORE

# B = rows, T = width of a row in tokens


class Tokens(Protocol):
    """What is needed of a document: its ids, which of them are learnt, and the source it is reported under."""

    @property
    def ids(self) -> tuple[int, ...]: ...
    @property
    def loss_mask(self) -> tuple[bool, ...]: ...
    @property
    def source(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward's worth of rows.

    targets_BT: the next id, -100 where nothing is learnt. positions_BT: restart at 0 in every document.
    segments_BT: the number of the document in its row, -1 for padding. sources_BT: index into `sources`.
    tokens: positions that are not padding. context: the sum over them of the positions each attends to.
    kept_N, starts_S: known where a GPU is not to be waited for (`on`): the flat index of each position that has a
    target, and where each document begins in the rows one behind the other (int32), then where the last one ends.
    """

    ids_BT: Tensor
    targets_BT: Tensor
    positions_BT: Tensor
    segments_BT: Tensor
    sources_BT: Tensor
    sources: tuple[str, ...]
    tokens: int
    context: int
    kept_N: Tensor | None = None
    starts_S: Tensor | None = None

    def on(self, device: torch.device) -> Batch:
        """The same on a GPU, with what would have to be waited for there worked out here."""
        kept_N = (self.targets_BT.flatten() != IGNORE).nonzero()[:, 0]
        flat = {"kept_N": kept_N, "starts_S": _starts(self.segments_BT)}
        for name in ("ids_BT", "targets_BT", "positions_BT", "segments_BT", "sources_BT"):
            flat[name] = getattr(self, name)
        pin = device.type == "cuda"
        moved = {n: (x.pin_memory() if pin else x).to(device, non_blocking=True) for n, x in flat.items()}
        whole = {name: x if name == "starts_S" else x.long() for name, x in moved.items()}
        return Batch(**whole, sources=self.sources, tokens=self.tokens, context=self.context)


@dataclass(slots=True)
class Row:
    """Documents side by side: their ids and targets one after another, the length and source of each."""

    ids: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def add(self, ids: Sequence[int], targets: Sequence[int], source: str) -> None:
        self.ids.extend(ids)
        self.targets.extend(targets)
        self.lengths.append(len(ids))
        self.sources.append(source)

    def to_json(self) -> dict[str, Any]:
        return {"ids": self.ids, "targets": self.targets, "lengths": self.lengths, "sources": self.sources}


def shift(document: Tokens) -> tuple[list[int], list[int]]:
    """Inputs and targets of a document, cut after the last target: two lists of equal length, empty without targets.

    ids (5, 6, 7, 8) with mask (no, no, yes, no) give inputs [5, 6] and targets [-100, 7].
    """
    mask = document.loss_mask
    if len(mask) != len(document.ids):
        raise ConfigError(
            f"A document of source {document.source!r} has {len(document.ids)} ids and {len(mask)} mask entries; "
            "give one entry an id."
        )
    end = len(mask)
    while end > 1 and not mask[end - 1]:
        end -= 1
    if end <= 1:
        return [], []
    targets = [document.ids[i] if mask[i] else IGNORE for i in range(1, end)]
    return list(document.ids[: end - 1]), targets


class Packer:
    """Packs a stream of documents; `state()` between two batches is all that a resumed run needs.

    documents: the stream, already at its cursor. widths: ascending. micro_tokens: slots of one batch; a batch has
    micro_tokens // width rows of one width, at least one. cursor: how many documents have been taken so far.
    dropped, empty: how many documents were too long for every width, and how many had nothing to learn.
    """

    def __init__(
        self, documents: Iterable[Tokens], widths: Sequence[int], micro_tokens: int, *, open_rows: int = 16
    ) -> None:
        self.widths = tuple(widths)
        self.micro_tokens = micro_tokens
        self.open_rows = open_rows
        self.cursor = 0
        self.dropped = 0
        self.empty = 0
        self._documents: Iterator[Tokens] = iter(documents)
        self._open: dict[int, list[Row]] = {width: [] for width in self.widths}
        self._full: dict[int, list[Row]] = {width: [] for width in self.widths}

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        """The next batch; StopIteration when the documents end (rows that are not full yet are then left over)."""
        while True:
            for width in self.widths:
                rows = max(1, self.micro_tokens // width)
                if len(self._full[width]) >= rows:
                    batch = to_batch(self._full[width][:rows], width)
                    del self._full[width][:rows]
                    return batch
            document = next(self._documents)
            self.cursor += 1
            self._place(document)

    def drain(self) -> Iterator[Batch]:
        """Every document of a stream that ends, the last rows included."""
        yield from self
        for width in self.widths:
            rows = self._full[width] + self._open[width]
            size = max(1, self.micro_tokens // width)
            for start in range(0, len(rows), size):
                yield to_batch(rows[start : start + size], width)
            self._full[width], self._open[width] = [], []

    def _place(self, document: Tokens) -> None:
        ids, targets = shift(document)
        if not ids:
            self.empty += 1
            return
        if len(ids) > self.widths[-1]:
            self.dropped += 1
            return
        width, row = self._room(len(ids))
        row.add(ids, targets, document.source)
        if len(row.ids) == width:
            self._full[width].append(row)
            self._open[width] = [other for other in self._open[width] if other is not row]

    def _room(self, length: int) -> tuple[int, Row]:
        """The open row that would be left with the least room, else a new row of the smallest width.

        Wider rows than the smallest only take it to fill up their second half: attention costs more there.
        """
        own = next(width for width in self.widths if length <= width)
        fitting = [
            (room - length, width, i)
            for width, rows in self._open.items()
            for i, row in enumerate(rows)
            if length <= (room := width - len(row.ids)) and (width == own or room <= width // 2)
        ]
        if fitting:
            _, width, i = min(fitting)
            return width, self._open[width][i]
        rows = self._open[own]
        if len(rows) >= self.open_rows:
            fullest = max(range(len(rows)), key=lambda i: len(rows[i].ids))
            self._full[own].append(rows.pop(fullest))
        rows.append(Row())
        return own, rows[-1]

    def state(self) -> dict[str, Any]:
        """Cursor, counters and every row that waits, as JSON values."""
        return {
            "cursor": self.cursor,
            "dropped": self.dropped,
            "empty": self.empty,
            "open": {str(width): [row.to_json() for row in rows] for width, rows in self._open.items()},
            "full": {str(width): [row.to_json() for row in rows] for width, rows in self._full.items()},
        }

    def restore(self, state: dict[str, Any], *, rows: bool = True) -> None:
        """Continue from `state()`; rows of a width that this packer lacks are lost. rows=False takes counters only.

        "skip" in a state: how many batches have been given since it was taken.
        """
        self.cursor, self.dropped, self.empty = state["cursor"], state["dropped"], state["empty"]
        if rows:
            for width in self.widths:
                self._open[width] = [Row(**row) for row in state["open"].get(str(width), [])]
                self._full[width] = [Row(**row) for row in state["full"].get(str(width), [])]
            for _ in range(state.get("skip", 0)):
                next_of(self)


class Lane(Protocol):
    """A `Packer`, or what stands for one that is elsewhere."""

    @property
    def cursor(self) -> int: ...
    def __next__(self) -> Batch: ...


def next_of(lane: Lane) -> Batch:
    """The lane's next batch; ConfigError where its documents have ended."""
    try:
        return next(lane)
    except StopIteration:
        raise ConfigError(
            f"The data ended after {lane.cursor} documents of a lane; lower steps in the recipe, or add data."
        ) from None


def beginnings(segments_BT: Tensor) -> Tensor:
    """Where each document (and stretch of padding) begins in the rows one behind the other (S,)."""
    begins_BT = torch.ones(segments_BT.shape, dtype=torch.bool)
    begins_BT[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    return begins_BT.flatten().nonzero()[:, 0]


def _starts(segments_BT: Tensor) -> Tensor:
    """`beginnings`, and the end, repeated up to one of few lengths."""
    starts = beginnings(segments_BT).to(torch.int32)
    slots = segments_BT.numel()
    room = max(16, slots // 128)
    while room < len(starts) + 1:
        room *= 2
    return torch.cat((starts, torch.full((room - len(starts),), slots, dtype=torch.int32)))


def to_batch(rows: Sequence[Row], width: int) -> Batch:
    """Rows of one width as tensors, padded with id 0."""
    shape = (len(rows), width)
    ids_BT, positions_BT, sources_BT = (np.zeros(shape, dtype=np.int64) for _ in range(3))
    targets_BT = np.full(shape, IGNORE, dtype=np.int64)
    segments_BT = np.full(shape, -1, dtype=np.int64)
    names = tuple(sorted({source for row in rows for source in row.sources}))
    number = {name: index for index, name in enumerate(names)}
    tokens = context = 0
    for b, row in enumerate(rows):
        used = len(row.ids)
        ids_BT[b, :used] = row.ids
        targets_BT[b, :used] = row.targets
        start = 0
        for segment, (length, source) in enumerate(zip(row.lengths, row.sources, strict=True)):
            span = slice(start, start + length)
            positions_BT[b, span] = np.arange(length)
            segments_BT[b, span] = segment
            sources_BT[b, span] = number[source]
            context += length * (length + 1) // 2
            start += length
        tokens += used
    return Batch(
        ids_BT=torch.from_numpy(ids_BT),
        targets_BT=torch.from_numpy(targets_BT),
        positions_BT=torch.from_numpy(positions_BT),
        segments_BT=torch.from_numpy(segments_BT),
        sources_BT=torch.from_numpy(sources_BT),
        sources=names,
        tokens=tokens,
        context=context,
    )
