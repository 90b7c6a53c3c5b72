"""Products with bf16 matrices, read once from where they lie.

A few rows are bound by reading the weights, and this reads them faster than PyTorch's products do; where the processor
multiplies pairs of bf16 (AVX-512 BF16), any number of rows is multiplied no slower either, and elsewhere up to
`most_rows`. Sums are in fp32 and rounded once, as PyTorch's are, in another order.
"""

# N = rows, I = inputs, O = outputs

from __future__ import annotations

import functools

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, NAMES, POINTER, address, kernel, threads


@functools.cache
def most_rows() -> int:
    """Up to how many rows PyTorch's products are no faster; more are better left to them."""
    return int(kernel("denken_bf16_most_rows", (), INTEGER)())


def row(weight_OI: Tensor, bias_O: Tensor | None = None) -> list[int]:
    """What `bf16.cpp` calls Weights. Both are bf16 without gaps; whoever keeps the row keeps them."""
    assert weight_OI.is_contiguous()
    return [weight_OI.data_ptr(), 0 if bias_O is None else bias_O.data_ptr(), len(weight_OI)]


def side_by_side(x_NI: Tensor, table: Tensor, outputs: int, dtype: torch.dtype) -> Tensor:
    """x, in bf16, times several matrices (`row`, stacked to int64), each behind the one before: (N, O) in `dtype`."""
    rows, inputs = x_NI.shape
    out_NO = torch.empty(rows, outputs, dtype=dtype)
    x_NI = x_NI if x_NI.stride(1) == 1 else x_NI.contiguous()
    types = (POINTER, *[INTEGER] * 3, POINTER, INTEGER, POINTER, INTEGER, INTEGER)
    kernel(f"denken_bf16_to_{NAMES[dtype]}", types)(
        address(x_NI),
        x_NI.stride(0),
        rows,
        inputs,
        address(table),
        len(table),
        address(out_NO),
        outputs,
        threads(rows * inputs * outputs // 16),
    )
    return out_NO
