"""Memory in large pages. A matrix that is read straight through for every token is read a tenth to a third faster from
those, for of small ones the processor has to look up each, and what is asked for ahead it does not look up at all."""

from __future__ import annotations

import contextlib
import ctypes
import mmap

import torch
from torch import Tensor

from denken.model.kernels.call import POINTER, address

HUGE = 2 << 20
# Linux's MADV_COLLAPSE (6.1), for which Python has no name.
COLLAPSE = 25


def room(size: int) -> Tensor:
    """Bytes from a cache line's beginning on; many of them in large pages, where the system has any."""
    if size < 2 * HUGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        raw = torch.empty(size + 64, dtype=torch.uint8)
        start = -raw.data_ptr() % 64
    else:
        area = mmap.mmap(-1, size + HUGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        raw = torch.frombuffer(area, dtype=torch.uint8)
        start = -raw.data_ptr() % HUGE
        with contextlib.suppress(OSError):  # a system without them
            # Not the last, unfilled one: it would take room for nothing.
            area.madvise(mmap.MADV_HUGEPAGE, start, size // HUGE * HUGE)
    return raw[start : start + size]


def collapse(tensor: Tensor) -> None:
    """Moves the memory of a tensor on a CPU, without gaps, into large pages where the system does that. Where it does
    not, or has none left, everything stays where it is."""
    begin = address(tensor)
    if begin is None or not hasattr(mmap, "MADV_HUGEPAGE"):
        return
    end = begin + tensor.numel() * tensor.element_size()
    first, last = -(-begin // HUGE) * HUGE, end // HUGE * HUGE
    if first >= last:
        return
    with contextlib.suppress(AttributeError, OSError):
        advise = ctypes.CDLL(None).madvise
        advise.argtypes = (POINTER, ctypes.c_size_t, ctypes.c_int)
        for advice in (mmap.MADV_HUGEPAGE, COLLAPSE):
            advise(first, last - first, advice)
