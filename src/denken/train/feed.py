"""Batches for a GPU: other processes make and pack documents while it computes, and the next step's are at hand.

A `Reader` is a lane that another process packs; it gives the batches and the states that a `Packer` in this process
would give. `Ahead` joins what the lanes give for one step into large batches and has them ready before they are asked
for.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import Tensor

from denken.errors import ConfigError, DenkenError
from denken.tokenizer import Tokenizer
from denken.train.batch import Batch, Packer, next_of
from denken.train.data import documents

# A state holds every row that waits; between two of them a lane counts the batches that it gave.
STATE_EVERY = 64


@dataclass(frozen=True, slots=True)
class Work:
    """What a lane's process is told: `documents`' arguments and those of `Packer`, and where to go on."""

    sources: Mapping[str, Any]
    tokenizer: str
    seed: int
    lane: int
    lanes: int
    widths: Sequence[int]
    micro_tokens: int
    open_rows: int
    names: tuple[str, ...]
    state: Mapping[str, Any]
    rows: bool = True


class Reader:
    """A lane's batches from a process of its own, which begins when the first is asked for.

    Its sources are numbered as `names` has them, so that batches of several lanes can be joined.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.base: Mapping[str, Any] = work.state
        self.skip = int(work.state.get("skip", 0))
        self._connection: Connection | None = None
        self._process: Any = None

    @property
    def cursor(self) -> int:
        return int(self.base["cursor"])

    def __next__(self) -> Batch:
        """The next batch; StopIteration where the documents end, DenkenError where the process has failed."""
        if self._connection is None:
            self._begin()
        assert self._connection is not None
        try:
            kind, value, state = self._connection.recv()
        except (EOFError, OSError):
            raise DenkenError(
                "A process that reads documents is gone; if it says nothing above, it was killed, perhaps for want of "
                "memory. The same command goes on from the last checkpoint."
            ) from None
        if kind == "end":
            raise StopIteration
        if kind == "error":
            raise ConfigError(value)
        if state is not None:
            self.base, self.skip = state, 0
        self.skip += 1
        values: dict[str, Any] = {
            name: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for name, x in value.items()
        }
        return Batch(**values)

    def mark(self) -> tuple[Mapping[str, Any], int]:
        """A state that was, and how many batches have been given since."""
        return self.base, self.skip

    def restore(self, state: Mapping[str, Any], *, rows: bool = True) -> None:
        """Begin where `state` was taken, as `Packer.restore` does."""
        self.close()
        self.work = replace(self.work, state=state, rows=rows)
        self.base, self.skip = state, int(state.get("skip", 0))

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
            self._process.join(timeout=10)
            if self._process.is_alive():
                self._process.terminate()
            self._connection = None

    def _begin(self) -> None:
        context = mp.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        self._process = context.Process(target=read, args=(self.work, theirs), daemon=True)
        self._process.start()
        # Its end is its own alone, so that either side finds the other gone.
        theirs.close()
        self._connection = ours


def read(work: Work, connection: Connection) -> None:
    """A lane's process: packs documents and sends batches until nobody reads them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever reads is told, and ends this process when it has saved
    torch.set_num_threads(1)
    try:
        packer = _packer(work)
        number = {name: i for i, name in enumerate(work.names)}
        sent = 0
        while True:
            state = packer.state() if sent % STATE_EVERY == 0 else None
            batch = next(packer)
            connection.send(("batch", _plain(batch, number, work.names), state))
            sent += 1
    except StopIteration:
        connection.send(("end", None, None))
    except (BrokenPipeError, ConnectionResetError):
        pass
    except DenkenError as error:
        connection.send(("error", str(error), None))


def _packer(work: Work) -> Packer:
    cursor = int(work.state["cursor"])
    stream = documents(
        work.sources,
        Tokenizer.load(Path(work.tokenizer)),
        seed=work.seed,
        start=work.lane + cursor * work.lanes,
        stride=work.lanes,
    )
    packer = Packer(stream, work.widths, work.micro_tokens, open_rows=work.open_rows)
    packer.restore(dict(work.state), rows=work.rows)
    return packer


def _plain(batch: Batch, number: Mapping[str, int], names: tuple[str, ...]) -> dict[str, Any]:
    """A batch as arrays of small numbers, with sources numbered as all lanes number them."""
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    own = torch.tensor([number[name] for name in batch.sources] or [0])
    values |= {"sources_BT": own[batch.sources_BT], "sources": names}
    return {name: x.to(torch.int32).numpy() if isinstance(x, Tensor) else x for name, x in values.items()}


def fresh(cursor: int) -> dict[str, Any]:
    """The state of a lane that waits with nothing."""
    return {"cursor": cursor, "dropped": 0, "empty": 0, "open": {}, "full": {}}


class Ahead:
    """What the lanes give for each step, joined to batches of about `micro_tokens` slots on `device`.

    `state()` is that of the step last taken, however far ahead the lanes are.
    """

    def __init__(
        self, lanes: Mapping[int, Reader], micro_batches: int, micro_tokens: int, device: torch.device
    ) -> None:
        self.lanes, self.micro_batches, self.micro_tokens, self.device = lanes, micro_batches, micro_tokens, device
        self._marks = {lane: reader.mark() for lane, reader in lanes.items()}
        self._thread = ThreadPoolExecutor(1, "ahead")
        self._next: Future[tuple[list[Batch], dict[int, tuple[Mapping[str, Any], int]]]] | None = None

    def take(self) -> list[Batch]:
        """One step's batches. StopIteration, ConfigError and DenkenError are the readers'."""
        due = self._next or self._thread.submit(self._gather)
        batches, self._marks = due.result()
        self._next = self._thread.submit(self._gather)
        return batches

    def state(self) -> dict[int, dict[str, Any]]:
        return {lane: {**base, "skip": skip} for lane, (base, skip) in self._marks.items()}

    def close(self) -> None:
        """End the readers' processes."""
        # What is being read is read to its end: a pipe is not closed under whoever reads it.
        self._thread.shutdown(cancel_futures=True)
        for reader in self.lanes.values():
            reader.close()

    def _gather(self) -> tuple[list[Batch], dict[int, tuple[Mapping[str, Any], int]]]:
        pieces = [next_of(reader) for _ in range(self.micro_batches) for reader in self.lanes.values()]
        marks = {lane: reader.mark() for lane, reader in self.lanes.items()}
        return [batch.on(self.device) for batch in joined(pieces, self.micro_tokens)], marks


def joined(batches: Iterable[Batch], slots: int) -> list[Batch]:
    """Batches of one width side by side, in as many as are needed for none to have more than `slots` slots."""
    groups: dict[int, list[list[Batch]]] = {}
    for batch in batches:
        of_width = groups.setdefault(batch.ids_BT.shape[1], [[]])
        if of_width[-1] and sum(each.ids_BT.numel() for each in of_width[-1]) + batch.ids_BT.numel() > slots:
            of_width.append([])
        of_width[-1].append(batch)
    return [_join(group) for of_width in groups.values() for group in of_width]


def _join(batches: Sequence[Batch]) -> Batch:
    together: dict[str, Any] = {
        name: torch.cat([getattr(batch, name) for batch in batches])
        for name in ("ids_BT", "targets_BT", "positions_BT", "segments_BT", "sources_BT")
    }
    tokens, context = (sum(getattr(batch, name) for batch in batches) for name in ("tokens", "context"))
    return Batch(**together, tokens=tokens, context=context, sources=batches[0].sources)
