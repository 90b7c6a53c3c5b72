"""The files of training runs, read from outside while somebody else writes them. What they mean is in `runs.py`.

A folder of runs may hold anything: links, pipes, files without end, lines that are no JSON, numbers that are none. Only
regular files right in a run's own folder are opened; what is read is bounded each time, and only what is new is read.
A last line that is not finished is left for later. Nothing is written, and nothing is locked.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

# What a run may be called: no dot in front, no separators.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+=-]{0,99}")
MOST_RUNS = 500
# What a folder of runs may hold before the rest is not looked at.
MOST_ENTRIES = 10_000
# Of a recipe or ledger, and of the end of a log where only that is asked for.
SMALL_BYTES = 64 * 2**10
# In one go, which is also the longest line; and how often in one request.
CHUNK_BYTES = 2**20
CHUNKS = 8
# The least that a record takes: {"step":1}
SHORTEST = 10
_SEEN_BYTES = 256


def names(root: Path) -> Iterator[str]:
    """The folders in `root` that may be runs, in no order; nothing where there is no such folder."""
    try:
        with os.scandir(root) as entries:
            for _, entry in zip(range(MOST_ENTRIES), entries, strict=False):
                if NAME.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
                    yield entry.name
    except OSError:
        return


def is_folder(root: Path, run: str) -> bool:
    """Whether there is a folder for a run of that name, which is no link that leads elsewhere."""
    try:
        return NAME.fullmatch(run) is not None and stat.S_ISDIR(os.lstat(root / run).st_mode)
    except OSError:
        return False


def open_file(root: Path, run: str, name: str) -> BinaryIO | None:
    """A regular file of a run; None where there is none, or a link or a pipe or something else that is called so.

    run: any text, such as what an address held.
    """
    if not is_folder(root, run):
        return None
    path = root / run / name
    flags = os.O_RDONLY
    for extra in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"):  # not every system has them all
        flags |= getattr(os, extra, 0)
    try:
        if not stat.S_ISREG(os.lstat(path).st_mode):
            return None
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        return None
    return file


def read_small(root: Path, run: str, name: str, *, end: bool = False) -> bytes:
    """The first (or last) so many bytes of a file; none where it is not there."""
    file = open_file(root, run, name)
    if file is None:
        return b""
    with file:
        try:
            if end:
                file.seek(max(0, os.fstat(file.fileno()).st_size - SMALL_BYTES))
            return file.read(SMALL_BYTES)
        except OSError:
            return b""


def changed(root: Path, run: str, name: str) -> tuple[int, int]:
    """When a file was last written, in nanoseconds, and its size; zeros where it is not there."""
    try:
        found = os.lstat(root / run / name)
    except OSError:
        return 0, 0
    return (found.st_mtime_ns, found.st_size) if stat.S_ISREG(found.st_mode) else (0, 0)


def record(line: bytes) -> dict[str, Any]:
    """A line of JSON; {} for what is no object.

    >>> record(b'{"step": 1}'), record(b'{"step'), record(b'[1]')
    ({'step': 1}, {}, {})
    """
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def number(value: object) -> float | None:
    """A finite number as a float; None for anything else.

    >>> number(3), number(True), number(float("nan")), number(10**400)
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def whole(value: object) -> int | None:
    """A step or a count: a whole number from 0 to 10**12."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 10**12 else None


@dataclass(slots=True)
class Growing:
    """Where the reading of a file of lines stands that others append to, and now and then write anew.

    offset: up to where it was read. seen: what stood right before that; if it stands there no more, the file is
    another one, and the reading begins again.
    """

    offset: int = 0
    seen: bytes = b""
    _skipping: bool = False

    def is_same(self, file: BinaryIO) -> bool:
        """Whether what was read of the file is still there; False begins it again."""
        file.seek(self.offset - len(self.seen))
        if file.read(len(self.seen)) == self.seen:
            return True
        self.offset, self.seen, self._skipping = 0, b"", False
        return False

    def lines(self, file: BinaryIO) -> tuple[list[tuple[int, bytes]], bool]:
        """The next whole lines that may be records, each with where it begins; and whether more may follow at once."""
        file.seek(self.offset)
        chunk = file.read(CHUNK_BYTES)
        is_full = len(chunk) == CHUNK_BYTES
        end = chunk.rfind(b"\n") + 1
        if end == 0 and is_full:  # a line that is longer than any that is ours
            self._go_to(self.offset + len(chunk), chunk)
            self._skipping = True
            return [], True
        found, at = [], self.offset
        for line in chunk[:end].split(b"\n")[:-1]:
            if not self._skipping and len(line) >= SHORTEST:
                found.append((at, line))
            self._skipping = False
            at += len(line) + 1
        self._go_to(at, chunk[:end])
        return found, is_full

    def _go_to(self, offset: int, read: bytes) -> None:
        self.offset, self.seen = offset, (self.seen + read[-_SEEN_BYTES:])[-_SEEN_BYTES:]


@dataclass(slots=True)
class Series:
    """A curve of at most `most` points however long the run: each is the mean of `stride` values, at the last's step.

    >>> series = Series(most=2)
    >>> for step in range(1, 6): series.add(step, 10.0 * step)
    >>> series.points()
    [[2, 15.0], [4, 35.0], [5, 50.0]]
    """

    most: int = 1000
    stride: int = 1
    _points: list[tuple[int, float]] = field(default_factory=list)
    _open: list[float] = field(default_factory=list)
    _step: int = 0

    def add(self, step: int, value: float) -> None:
        self._open.append(value)
        self._step = step
        if len(self._open) < self.stride:
            return
        self._points.append((step, _mean(self._open)))
        self._open.clear()
        if len(self._points) > self.most:
            self._halve()

    def points(self) -> list[list[float]]:
        """Pairs of step and value; of the last, the mean of the values so far."""
        unfinished = [(self._step, _mean(self._open))] if self._open else []
        return [[step, value] for step, value in (*self._points, *unfinished)]

    def _halve(self) -> None:
        if len(self._points) % 2:  # the last has no partner; its values go on as an unfinished point
            step, value = self._points.pop()
            self._open = [value] * self.stride
            self._step = step
        pairs = zip(self._points[::2], self._points[1::2], strict=True)
        self._points = [(later, (first + second) / 2) for (_, first), (later, second) in pairs]
        self.stride *= 2


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
