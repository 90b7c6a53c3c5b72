"""Several processes, one step: each reads its own lanes of documents, gradients are summed once a step.

Collectives are torch.distributed's over gloo. A run starts its own processes (`launch`), or finds itself started by
`torchrun`, which sets RANK and WORLD_SIZE. Whether every process holds the whole network, or a share of it, is no
matter here: see `shard.py`.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from types import FrameType
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from denken.errors import DenkenError
from denken.train.watchdog import WAITING, Watchdog

T = TypeVar("T")

# A process that is silent for so long counts as gone. One that ends is noticed at once.
PATIENCE = timedelta(minutes=30)
GONE = (
    "Another process of this run is gone. If it says nothing above, it was killed, perhaps for want of memory. "
    "The same command goes on from the last checkpoint."
)


class PeerGone(DenkenError):
    """Another process of the run has ended in the middle of a step."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """This process among the others. With a world of 1 every exchange is a no-op.

    watchdog: is told of the phases of this process; waiting for the others is one.
    """

    rank: int = 0
    world: int = 1
    watchdog: Watchdog = field(default_factory=Watchdog, compare=False, repr=False)

    @property
    def main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> None:
        """Sum over all processes, in place; every process ends with the same bits."""
        if self.world > 1:
            with self.watchdog.phase(WAITING), _together():
                dist.all_reduce(tensor)

    def gather(self, value: Any) -> list[Any]:
        """Everybody's small value, in the order of ranks, to everybody."""
        if self.world == 1:
            return [value]
        values: list[Any] = [None] * self.world
        with self.watchdog.phase(WAITING), _together():
            dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Until every process is here."""
        if self.world > 1:
            with self.watchdog.phase(WAITING), _together():
                dist.barrier()


@contextmanager
def _together() -> Iterator[None]:
    """Turn the loss of a peer into a sentence."""
    try:
        yield
    except RuntimeError as error:
        raise PeerGone(GONE) from error


@contextmanager
def _from_within() -> Iterator[None]:
    """The same for exchanges that PyTorch makes by itself, in the middle of a forward or a backward."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, DenkenError) or not (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
            raise
        raise PeerGone(GONE) from error


def launch(body: Callable[..., None], processes: int, threads: int | None, *arguments: Any) -> None:
    """Run `body(mesh, *arguments)` in `processes` processes, this one being rank 0, and return when all are done.

    Under torchrun (RANK is set) this process is one of torchrun's and starts none. `body` must be importable.
    """
    if under_torchrun():
        torch.set_num_threads(threads or 1)
        _share(body, *_met(), arguments)
        return
    if processes == 1:
        if threads:
            torch.set_num_threads(threads)
        body(Mesh(), *arguments)
        return
    port = _free_port()
    context = mp.get_context("spawn")
    others = [
        context.Process(target=_rank, args=(body, rank, processes, threads, port, arguments), daemon=True)
        for rank in range(1, processes)
    ]
    for process in others:
        process.start()
    try:
        _rank(body, 0, processes, threads, port, arguments)
        for process in others:
            process.join()
    finally:
        for process in others:
            process.join(timeout=30)
            if process.is_alive():
                process.terminate()


def under_torchrun() -> bool:
    """Whether others run the same command beside this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def once(work: Callable[[], T]) -> T:
    """What `work` gives, which one process does while others that torchrun has started wait, however long it takes."""
    if not under_torchrun():
        return work()
    rank, _ = _met()
    patient = dist.new_group(timeout=timedelta(days=30))
    result = [work() if rank == 0 else None]
    try:
        with _together():
            dist.broadcast_object_list(result, src=0, group=patient)
    except PeerGone:
        sys.exit(1)
    return cast(T, result[0])


def _met() -> tuple[int, int]:
    """Rank and world of one of torchrun's processes, which has met the others."""
    if not dist.is_initialized():
        # Once a process, since torchrun's meeting point knows each process once: the next run uses it again.
        dist.init_process_group("gloo", timeout=PATIENCE)
        atexit.register(dist.destroy_process_group)
    return dist.get_rank(), dist.get_world_size()


def _rank(
    body: Callable[..., None], rank: int, world: int, threads: int | None, port: int, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(threads or 1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world, timeout=PATIENCE
    )
    try:
        _share(body, rank, world, arguments)
    finally:
        dist.destroy_process_group()


def _share(body: Callable[..., None], rank: int, world: int, arguments: tuple[Any, ...]) -> None:
    """This process's share of the work. What goes wrong is said once, by the process in which it went wrong."""
    mesh = Mesh(rank, world)
    # Whoever fails early must not be gone before the others have found it.
    mesh.wait()
    try:
        with _from_within():
            body(mesh, *arguments)
    except DenkenError as error:
        if rank == 0:
            raise
        # Why another process is gone is for that one to say.
        if not isinstance(error, PeerGone):
            print(f"Process {rank}: {error}", file=sys.stderr)
        sys.exit(1)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a request to stop; a second one acts as usual."""
    asked = False
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        asked = True
        signal.signal(number, before[signal.Signals(number)])

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    except ValueError:
        pass  # not the main thread: whoever runs it there handles signals
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
