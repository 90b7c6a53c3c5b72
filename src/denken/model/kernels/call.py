"""How Python calls a kernel: functions and their types, addresses, the number of threads, and who may call at all."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor

from denken.model.kernels.build import library

POINTER, INTEGER, NUMBER = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
# As many numbers as PyTorch leaves to one thread.
GRAIN = 1 << 15
NAMES = {torch.float32: "fp32", torch.bfloat16: "bf16"}


def covers(*tensors: Tensor) -> bool:
    """Whether kernels can be given these tensors, all of one type, here and now."""
    kind = tensors[0].dtype
    return (
        kind in NAMES
        and all(x.dtype == kind and x.device.type == "cpu" for x in tensors)
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and library() is not None
    )


@functools.cache
def kernel(name: str, arguments: tuple[Any, ...], returns: Any = None) -> Any:
    """The function of that name; `covers` must have said yes."""
    found = library()
    assert found is not None
    function = getattr(found, name)
    function.argtypes, function.restype = arguments, returns
    return function


def address(tensor: Tensor | None) -> int | None:
    """Where the tensor's numbers begin; None for one that is absent."""
    return None if tensor is None else tensor.data_ptr()


def threads(work: int) -> int:
    """How many threads are worth waking for so many numbers, or so many vectors of products."""
    return 1 if work < GRAIN else torch.get_num_threads()
