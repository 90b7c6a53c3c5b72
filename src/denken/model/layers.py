"""The small parts that every family shares: linear layers, RMS norm, SwiGLU.

Positions are in `rope.py`, attention in `attention.py`, mixtures of experts in `moe.py`.
Parameter names are checkpoint keys and are Hugging Face's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denken.model.kernels import bf16, products
from denken.model.kernels.call import covers
from denken.model.kernels.elementwise import LONGEST_NORM, Gated, Norm
from denken.model.kernels.operands import BF16, Operand


class Linear(nn.Linear):
    """A linear layer whose numbers come from `Transformer` or a checkpoint: none are drawn here only to be replaced."""

    def reset_parameters(self) -> None:
        pass

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)

    def operand(self, dtype: torch.dtype, rows: int) -> Operand | None:
        """As `HasOperand`."""
        weight_OI = self.weight
        if not dtype == weight_OI.dtype == torch.bfloat16 or self.bias is not None or not weight_OI.is_contiguous():
            return None
        way = bf16.way_of(rows, weight_OI)
        return None if way is None else Operand(BF16, bf16.row(weight_OI, None, way), *weight_OI.shape[::-1])


def linear(x: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """`F.linear`; on a CPU with kernels, in fp32 and where it multiplies pairs of bf16, a product that gives a row the
    same numbers in any company (`kernels/bf16.py` says when not)."""
    if covers(x, weight_OI):
        if x.dtype == torch.float32:
            out: Tensor = products.Product.apply(x, weight_OI)
            return out if bias_O is None else out + bias_O
        way = bf16.way_of(x.numel() // weight_OI.shape[1], weight_OI)
        if way is not None:
            rounded: Tensor = bf16.Product.apply(x, weight_OI, bias_O, way)
            return rounded
    return F.linear(x, weight_OI, bias_O)


class Embedding(nn.Embedding):
    """An embedding, likewise. (Drawing on the meta device would also import torch's symbolic shapes, for seconds.)"""

    def reset_parameters(self) -> None:
        pass


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # Under autocast the weight is an fp32 master: casting it keeps a bf16 activation in bf16.
        weight = self.weight.to(x.dtype)
        if x.shape[-1] <= LONGEST_NORM and covers(x, weight):
            normed: Tensor = Norm.apply(x, weight, self.eps)
            return normed
        learns = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
        if learns and x.device.type == "cpu" and not torch.compiler.is_compiling():
            out: Tensor = _RMSNorm.apply(x, weight, self.eps)
            return out
        return F.rms_norm(x, weight.shape, weight, self.eps)


class _RMSNorm(torch.autograd.Function):
    """`F.rms_norm` for learning on a CPU, where PyTorch's own backward is some fifteen passes over memory.

    A few rows at a time, which stay in the processor's cache; the numbers forwards are PyTorch's to the bit.
    """

    AT_ONCE = 1 << 17

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        x_ND = x.reshape(-1, x.shape[-1])
        wide = torch.promote_types(x.dtype, torch.float32)
        out_ND = torch.empty_like(x_ND)
        root_N1 = x_ND.new_empty(len(x_ND), 1, dtype=wide)
        for rows in _RMSNorm.slices(x_ND):
            wide_RD = x_ND[rows].to(wide)
            root_N1[rows] = wide_RD.pow(2).mean(dim=-1, keepdim=True).add_(eps).rsqrt_()
            out_ND[rows] = (wide_RD * root_N1[rows]).mul_(weight_D)
        ctx.save_for_backward(x, weight_D, root_N1)
        return out_ND.view(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """With x' = x / rms and g = grad * weight: (g - x' mean(g x')) / rms, and the sum over rows of grad * x'."""
        x, weight_D, root_N1 = ctx.saved_tensors
        wide, size = root_N1.dtype, x.shape[-1]
        x_ND, grad_ND = x.reshape(-1, size), grad.reshape(-1, size)
        wide_D = weight_D.to(wide)
        grad_x_ND = torch.empty_like(x_ND) if ctx.needs_input_grad[0] else None
        grad_weight_D = torch.zeros_like(wide_D) if ctx.needs_input_grad[1] else None
        for rows in _RMSNorm.slices(x_ND):
            normed_RD, grad_RD = x_ND[rows].to(wide) * root_N1[rows], grad_ND[rows].to(wide)
            product_RD = grad_RD * normed_RD
            if grad_weight_D is not None:
                grad_weight_D += product_RD.sum(dim=0)
            if grad_x_ND is not None:
                along_R1 = torch.mv(product_RD, wide_D).div_(-size)[:, None]
                grad_x_ND[rows] = (grad_RD * wide_D).addcmul_(normed_RD, along_R1).mul_(root_N1[rows])
        return (
            None if grad_x_ND is None else grad_x_ND.view(x.shape),
            None if grad_weight_D is None else grad_weight_D.to(weight_D.dtype),
            None,
        )

    @staticmethod
    def slices(x_ND: Tensor) -> Iterator[slice]:
        """Rows in stretches of at most AT_ONCE numbers."""
        many = max(1, _RMSNorm.AT_ONCE // x_ND.shape[1])
        return (slice(start, start + many) for start in range(0, len(x_ND), many))


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, intermediate_size: int, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
        return out


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    if not covers(gate, up):
        return F.silu(gate) * up
    out: Tensor = Gated.apply(gate, up)
    return out
