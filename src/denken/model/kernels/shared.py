"""Packed weights that several processes hold once.

With `DENKEN_SHARED_WEIGHTS` set to a folder, whoever first packs a large matrix writes it there, and everybody maps the
file: the second process packs nothing, and its weights take no memory of their own. A file's name is a digest of the
codes, their shape and the kernels, so that nothing stale is ever read; files may be deleted at any time, what is mapped
stays. Unset by default: pages of a file are small ones, and a matrix that is read once a token is read 8 % slower from
them than from memory of its own.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from denken.errors import ConfigError
from denken.model.kernels.build import own, own_folder

SWITCH = "DENKEN_SHARED_WEIGHTS"
# Smaller matrices are not worth a file.
LEAST = 1 << 20


def bytes_of(codes_OI: Tensor, layout: object, size: int, fill: Callable[[Tensor], None]) -> Tensor | None:
    """`size` bytes that `fill` wrote, for these codes and in this layout, now or in another process.

    None where they are not to be shared. ConfigError where the folder is no place for them.
    """
    place = os.environ.get(SWITCH, "").strip()
    if not place or size < LEAST:
        return None
    digest = hashlib.blake2b(repr((layout, tuple(codes_OI.shape), size)).encode(), digest_size=16)
    digest.update(codes_OI.numpy().data)
    try:
        path = own_folder(Path(place)) / f"weights-{digest.hexdigest()}.bin"
        if not path.exists() or path.stat().st_size != size:
            _write(path, size, fill)
        own(path)
        with path.open("rb") as file:
            return torch.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY), dtype=torch.uint8)
    except OSError as problem:
        raise ConfigError(
            f"{SWITCH}={place}: {problem}. Give a folder that is yours alone, with room for the weights, or unset it."
        ) from problem


def _write(path: Path, size: int, fill: Callable[[Tensor], None]) -> None:
    """Under another name first: nobody ever maps half a file."""
    descriptor, made = tempfile.mkstemp(dir=path.parent)
    try:
        # What the disk has no room for would end the process when it is written.
        os.posix_fallocate(descriptor, 0, size)
        with mmap.mmap(descriptor, size) as area:
            room = torch.frombuffer(area, dtype=torch.uint8)
            fill(room)
            del room
            area.flush()
        os.replace(made, path)
    except BaseException:
        os.unlink(made)
        raise
    finally:
        os.close(descriptor)
