"""Products of fp32 matrices, with gradients.

On AMD processors PyTorch's own product (MKL's) uses half of what AVX-512 could do; this one gets nine tenths of it. A
row comes out the same, to the bit, whatever rows are beside it, so a token that is decoded and the same token that is
learnt from agree. bf16 is left to PyTorch, whose oneDNN does well there.
"""

# N = rows, I = inputs, O = outputs

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, POINTER, kernel, threads

_MATRIX = (POINTER, INTEGER, INTEGER)
_PRODUCT = (*_MATRIX, *_MATRIX, POINTER, *[INTEGER] * 6)
_PRODUCT_OF_PAIRS = (*_MATRIX, POINTER, POINTER, *[INTEGER] * 6)


def multiply(a: Tensor, b: Tensor, out: Tensor | None = None, *, add: bool = False) -> Tensor:
    """a @ b of two fp32 matrices with any strides; into `out`, whose rows have no gaps within, or (`add`) onto it."""
    depth = a.shape[1]
    if out is None:
        out = torch.empty(len(a), b.shape[1])
    if depth == 0:
        return out if add else out.zero_()
    if 0 in b.stride():
        b = b.contiguous()
    _call(a, (b.data_ptr(), *b.stride()), out, depth, add)
    return out


class Packed:
    """A matrix (I, O) in the order in which products read it fastest, for many products with few rows.

    Numbers that are all exactly bf16, as those of a model from a folder in bf16 are, are kept in two bytes each, and
    give the very same sums.
    """

    def __init__(self, matrix_IO: Tensor) -> None:
        self.inputs, self.outputs = matrix_IO.shape
        self.in_pairs = _is_bf16(matrix_IO)
        name, dtype = ("pack_pairs", torch.int32) if self.in_pairs else ("pack", torch.float32)
        sized = "denken_packed_pairs_size" if self.in_pairs else "denken_packed_size"
        size = kernel(sized, (INTEGER, INTEGER), INTEGER)(self.inputs, self.outputs)
        self.numbers = torch.empty(size, dtype=dtype)
        pack = kernel(f"denken_{name}", (*_MATRIX, POINTER, INTEGER, INTEGER))
        pack(matrix_IO.data_ptr(), *matrix_IO.stride(), self.numbers.data_ptr(), self.inputs, self.outputs)

    def __call__(self, x_NI: Tensor, out_NO: Tensor | None = None, *, add: bool = False) -> Tensor:
        """x @ matrix; into `out`, or (`add`) onto it."""
        if out_NO is None:
            out_NO = torch.empty(len(x_NI), self.outputs)
        matrix = (self.numbers.data_ptr(),) if self.in_pairs else (self.numbers.data_ptr(), 0, 0)
        _call(x_NI, matrix, out_NO, self.inputs, add)
        return out_NO


class Product(torch.autograd.Function):
    """x (..., I) @ weight (O, I).T, to be learnt through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_OI: Tensor) -> Tensor:
        x_NI = x.reshape(-1, x.shape[-1])
        out = torch.empty(*x.shape[:-1], len(weight_OI))
        multiply(x_NI, weight_OI.t(), out.view(-1, len(weight_OI)))
        ctx.save_for_backward(x_NI, weight_OI)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x_NI, weight_OI = ctx.saved_tensors
        grad_NO = grad.reshape(-1, grad.shape[-1])
        grad_x = grad_weight_OI = None
        if ctx.needs_input_grad[0]:
            grad_x = multiply(grad_NO, weight_OI).view(*grad.shape[:-1], x_NI.shape[1])
        if ctx.needs_input_grad[1]:
            grad_weight_OI = multiply(grad_NO.t(), x_NI)
        return grad_x, grad_weight_OI


def _is_bf16(matrix: Tensor) -> bool:
    return not bool((matrix.view(torch.int32) & 0xFFFF).any())


def _call(a: Tensor, matrix: tuple[int, ...], out: Tensor, depth: int, add: bool) -> None:
    """matrix: its address; and its strides, unless it lies in pairs."""
    rows, columns = out.shape
    whole = len(matrix) > 1
    function = kernel("denken_product", _PRODUCT) if whole else kernel("denken_product_pairs", _PRODUCT_OF_PAIRS)
    work = threads(rows * depth * columns // 16)
    shape = (out.data_ptr(), out.stride(0), rows, depth, columns)
    function(a.data_ptr(), *a.stride(), *matrix, *shape, int(add), work)
