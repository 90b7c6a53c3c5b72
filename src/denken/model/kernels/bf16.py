"""Products with bf16 matrices, read once from where they lie, or turned into panels beforehand.

A few rows are bound by reading the weights, and this reads them faster than PyTorch's products do; where the processor
multiplies pairs of bf16 (AVX-512 BF16), any number of rows is multiplied no slower either, and elsewhere up to
`most_rows`. Sums are in fp32 and rounded once, as PyTorch's are, in another order.

Where pairs are multiplied, `Product`, which is learnt through, `Turned` and `Compressed` add up in one order for any
number of rows: a token that is decoded and the same token that is learnt from agree to the bit. A few rows of large
matrices that lie as they are, of which nothing is learnt, are multiplied in the order that reads them faster.
"""

# N = rows, I = inputs, O = outputs

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from denken.model.kernels import pages
from denken.model.kernels.call import INTEGER, NAMES, POINTER, address, covers, kernel, threads

# How a matrix is multiplied: as it lies, few rows along it and many in panels; in panels always; it lies in panels; or
# it lies in panels, compressed.
AS_MANY, ALWAYS, TURNED, COMPRESSED = range(4)
# A panel's channels, and the numbers of a line of one, as in `bf16.cpp`.
PANEL, NUMBERS = 32, 64
# Upper bytes that a code of four bits tells, and the least share of them that makes this worth while: where a number in
# 256 has another, a line in five is kept as it is besides.
CODES, MOST_TOLD = 16, 1 - 1 / 256
# Larger matrices than of so many numbers do not stay in the second cache.
LARGE = 1 << 20
# So many rows of each head are multiplied with its matrix sooner here than by PyTorch.
FEW_OF_HEADS = 32


@functools.cache
def most_rows() -> int:
    """Up to how many rows PyTorch's products are no faster; more are better left to them."""
    return int(kernel("denken_bf16_most_rows", (), INTEGER)())


def row(weight_OI: Tensor, bias_O: Tensor | None = None, way: int = AS_MANY) -> list[int]:
    """What `bf16.cpp` calls Weights. Both are bf16 without gaps; whoever keeps the row keeps them."""
    assert weight_OI.is_contiguous()
    return [weight_OI.data_ptr(), 0 if bias_O is None else bias_O.data_ptr(), len(weight_OI), way]


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


def by_heads(x_NHI: Tensor, matrices: Tensor) -> Tensor:
    """Each head's rows times its own matrix (H, O, I): (N, H, O). Few rows.

    A head's matrix has no gaps; it may be the transposed of what lies there, if O is a multiple of 16.
    """
    outputs, inputs = matrices.shape[1:]
    rows, heads, _ = x_NHI.shape
    along = matrices.stride(2) != 1
    out_NHO = torch.empty(rows, heads, outputs, dtype=x_NHI.dtype)
    types = (POINTER, *[INTEGER] * 4, POINTER, INTEGER, INTEGER, POINTER, *[INTEGER] * 5)
    x_NHI = x_NHI if x_NHI.stride(2) == 1 else x_NHI.contiguous()
    kernel("denken_bf16_heads", types)(
        address(x_NHI),
        *x_NHI.stride()[:2],
        rows,
        inputs,
        address(matrices),
        matrices.stride(0),
        int(along),
        address(out_NHO),
        *out_NHO.stride()[:2],
        outputs,
        heads,
        threads(max(2, rows) * heads * inputs * outputs // 16),
    )
    return out_NHO


def in_panels(inputs: int) -> bool:
    """Whether products with so many inputs can be made in panels here."""
    return _turned_size(1, inputs) > 0


def codes_of(weight_OI: Tensor) -> Tensor | None:
    """The upper bytes that `Compressed` is to have codes for; None where it cannot read such a matrix here, or where
    that is not worth it: too many numbers have another."""
    if weight_OI.dtype != torch.bfloat16 or not covers(weight_OI) or not _compressed_size(*weight_OI.shape):
        return None
    # Of numbers taken evenly from all.
    numbers = weight_OI.detach().reshape(-1)[:: max(1, weight_OI.numel() >> 18)].contiguous()
    counts = torch.bincount(numbers.view(torch.uint8)[1::2], minlength=256)
    told, uppers = counts.topk(CODES)
    return uppers.to(torch.uint8) if int(told.sum()) >= MOST_TOLD * len(numbers) else None


def way_of(rows: int, weight_OI: Tensor) -> int | None:
    """How a layer's rows are multiplied: AS_MANY or ALWAYS; None where that is better left to PyTorch."""
    if torch.is_grad_enabled() or weight_OI.numel() <= LARGE:
        return ALWAYS if in_panels(weight_OI.shape[1]) else None
    return AS_MANY if rows <= most_rows() else None


class Matrix:
    """A matrix (O, I) that kernels read where and how it lies. table: its `row`, and whoever has that keeps this."""

    def __init__(self, weight_OI: Tensor, at: int, bias_O: Tensor | None, way: int) -> None:
        self.outputs, self.inputs = weight_OI.shape
        self._bias_O = bias_O
        self.table = torch.tensor([[at, address(bias_O) or 0, self.outputs, way]])

    def __call__(self, x_NI: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
        return side_by_side(x_NI, self.table, self.outputs, dtype)


class AsItLies(Matrix):
    """Without a copy, if need be in large pages."""

    def __init__(self, weight_OI: Tensor) -> None:
        assert weight_OI.is_contiguous()
        pages.collapse(weight_OI)
        self._weight_OI = weight_OI
        super().__init__(weight_OI, weight_OI.data_ptr(), None, AS_MANY)


class Turned(Matrix):
    """In panels, a copy; `in_panels` must have said yes. bias_O: added to products before they are rounded."""

    def __init__(self, weight_OI: Tensor, bias_O: Tensor | None = None) -> None:
        weight_OI = weight_OI.contiguous()
        self._numbers = pages.room(2 * _turned_size(*weight_OI.shape))
        turn = kernel("denken_bf16_turn", (POINTER, INTEGER, INTEGER, POINTER))
        turn(address(weight_OI), *weight_OI.shape, address(self._numbers))
        super().__init__(weight_OI, self._numbers.data_ptr(), bias_O, TURNED)


class Compressed(Matrix):
    """In turned panels of twelve bits a number, exactly: a copy, in three quarters of the bytes, for products that are
    bound by reading them. They are those of `Turned` to the bit. codes: from `codes_of`.

    Of bf16's upper bytes, sign and seven bits of the exponent, sixteen are nearly all that a trained matrix has, and
    are told by four bits each. (That exponents hold few bits: Zhang et al. 2025, "DFloat11", arXiv 2504.11651, who code
    their entropy for GPUs.) Lines of a panel in which another occurs are kept as they are beside it.
    """

    def __init__(self, weight_OI: Tensor, codes: Tensor, bias_O: Tensor | None = None) -> None:
        weight_OI = weight_OI.detach().contiguous()
        outputs, inputs = weight_OI.shape
        lines = pages.room(_compressed_size(outputs, inputs))
        odd = torch.empty(weight_OI.numel() // NUMBERS, dtype=torch.uint8)
        compress = kernel("denken_bf16_compress", (POINTER, INTEGER, INTEGER, POINTER, POINTER, POINTER, INTEGER))
        memory = (address(codes), address(lines), address(odd))
        compress(address(weight_OI), outputs, inputs, *memory, torch.get_num_threads())
        which, pairs = odd.nonzero()[:, 0], inputs // 2
        panels, places = which // pairs, which % pairs
        begins = torch.cat((which.new_zeros(1), torch.bincount(panels, minlength=outputs // PANEL).cumsum(0)))
        raw = weight_OI.view(-1, PANEL, pairs, 2)[panels, :, places].contiguous()
        self._parts = (lines, codes, begins.int(), places.int(), raw)
        self._record = torch.tensor([part.data_ptr() for part in self._parts])
        self.bytes = sum(part.numel() * part.element_size() for part in self._parts)
        super().__init__(weight_OI, self._record.data_ptr(), bias_O, COMPRESSED)


class Product(torch.autograd.Function):
    """x (..., I) @ weight (O, I).T + bias (O,), to be learnt through. way: as `way_of`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor, bias_O: Tensor | None, way: int) -> Tensor:
        x_NI, weight_OI = x.reshape(-1, x.shape[-1]), weight_OI.contiguous()
        bias_O = None if bias_O is None else bias_O.contiguous()
        out_NO = side_by_side(x_NI, torch.tensor([row(weight_OI, bias_O, way)]), len(weight_OI), torch.bfloat16)
        ctx.save_for_backward(x_NI, weight_OI)
        return out_NO.view(*x.shape[:-1], len(weight_OI))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x_NI, weight_OI = ctx.saved_tensors
        grad_NO = grad.reshape(-1, grad.shape[-1])
        wants_x, wants_weight, wants_bias, _ = ctx.needs_input_grad
        return (
            (grad_NO @ weight_OI).view(*grad.shape[:-1], x_NI.shape[1]) if wants_x else None,
            grad_NO.t() @ x_NI if wants_weight else None,
            grad_NO.sum(dim=0) if wants_bias else None,
            None,
        )


@functools.cache
def _compressed_size(outputs: int, inputs: int) -> int:
    return int(kernel("denken_bf16_compressed_size", (INTEGER, INTEGER), INTEGER)(outputs, inputs))


@functools.cache
def _turned_size(outputs: int, inputs: int) -> int:
    return int(kernel("denken_bf16_turned_size", (INTEGER, INTEGER), INTEGER)(outputs, inputs))
