"""RMS norm, SwiGLU and rotary positions in one pass over memory, forwards and backwards.

Forwards, every number is rounded where PyTorch's separate operations round it; norm and rotation are theirs to the bit.
"""

# N = rows, D = size of a row; B = sequences, T = tokens, H = heads, F = D / 2

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, NAMES, NUMBER, POINTER, address, kernel, threads

# Sums of longer rows are cut elsewhere by PyTorch.
LONGEST_NORM = 8192


def norm(
    x_ND: Tensor, weight_D: Tensor | None, eps: float, root_N: Tensor | None = None, out_ND: Tensor | None = None
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight of every row; `root_N` takes the factors, in fp32. Rows may stand apart."""
    out_ND = torch.empty(x_ND.shape, dtype=x_ND.dtype) if out_ND is None else out_ND
    types = (POINTER, INTEGER, POINTER, POINTER, POINTER, INTEGER, INTEGER, NUMBER, INTEGER)
    kernel(f"denken_norm_{NAMES[x_ND.dtype]}", types)(
        address(x_ND),
        x_ND.stride(0),
        address(weight_D),
        address(out_ND),
        address(root_N),
        *x_ND.shape,
        eps,
        threads(x_ND.numel()),
    )
    return out_ND


def gated(gate_ND: Tensor, up_ND: Tensor, out_ND: Tensor | None = None) -> Tensor:
    """silu(gate) * up; the rows of both may stand apart, equally far."""
    out_ND = torch.empty(gate_ND.shape, dtype=gate_ND.dtype) if out_ND is None else out_ND
    types = (POINTER, POINTER, INTEGER, POINTER, INTEGER, INTEGER, INTEGER)
    kernel(f"denken_swiglu_{NAMES[gate_ND.dtype]}", types)(
        address(gate_ND),
        address(up_ND),
        gate_ND.stride(0),
        address(out_ND),
        *gate_ND.shape,
        threads(4 * gate_ND.numel()),
    )
    return out_ND


def turned(
    x_THD: Tensor, cos_TF: Tensor, sin_TF: Tensor, out_THD: Tensor | None = None, *, back: bool = False
) -> Tensor:
    """`denken.model.rope.rotate` of heads that stand on end, their tokens any distance apart; angles in fp32."""
    tokens, heads, size = x_THD.shape
    out_THD = torch.empty(x_THD.shape, dtype=x_THD.dtype) if out_THD is None else out_THD
    types = (POINTER, INTEGER, POINTER, POINTER, POINTER, INTEGER, INTEGER, INTEGER, INTEGER, INTEGER)
    kernel(f"denken_turn_{NAMES[x_THD.dtype]}", types)(
        address(x_THD),
        x_THD.stride(0),
        address(cos_TF),
        address(sin_TF),
        address(out_THD),
        tokens,
        heads,
        size // 2,
        int(back),
        threads(x_THD.numel()),
    )
    return out_THD


def norm_turned(x_THD: Tensor, weight_HD: Tensor | None, eps: float, cos_TF: Tensor, sin_TF: Tensor) -> Tensor:
    """`norm` of every head with its own weight (none where that is absent), then `turned`."""
    tokens, heads, size = x_THD.shape
    out_THD = torch.empty(x_THD.shape, dtype=x_THD.dtype)
    types = (POINTER, INTEGER, POINTER, NUMBER, POINTER, POINTER, POINTER, INTEGER, INTEGER, INTEGER, INTEGER)
    kernel(f"denken_norm_turn_{NAMES[x_THD.dtype]}", types)(
        address(x_THD),
        x_THD.stride(0),
        address(weight_HD),
        eps,
        address(cos_TF),
        address(sin_TF),
        address(out_THD),
        tokens,
        heads,
        size // 2,
        threads(x_THD.numel()),
    )
    return out_THD


class Norm(torch.autograd.Function):
    """RMS norm over the last dimension, to be learnt through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        x_ND = x.reshape(-1, x.shape[-1]).contiguous()
        root_N = torch.empty(len(x_ND))
        out = torch.empty(x.shape, dtype=x.dtype)
        norm(x_ND, weight_D, eps, root_N, out.view(x_ND.shape))
        ctx.save_for_backward(x_ND, weight_D, root_N)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        """With x' = x / rms and g = grad * weight: (g - x' mean(g x')) / rms, and the sum over rows of grad * x'."""
        x_ND, weight_D, root_N = ctx.saved_tensors
        grad = grad.contiguous()  # held by a name for as long as it is read
        grad_x_ND, grad_weight_D = torch.empty_like(x_ND), torch.empty(len(weight_D))
        types = (POINTER, INTEGER, POINTER, POINTER, POINTER, POINTER, POINTER, INTEGER, INTEGER, INTEGER)
        kernel(f"denken_norm_backward_{NAMES[x_ND.dtype]}", types)(
            address(x_ND),
            x_ND.stride(0),
            address(weight_D),
            address(root_N),
            address(grad),
            address(grad_x_ND),
            address(grad_weight_D),
            *x_ND.shape,
            threads(x_ND.numel()),
        )
        return grad_x_ND.view(grad.shape), grad_weight_D.to(weight_D.dtype), None


class Gated(torch.autograd.Function):
    """silu(gate) * up, to be learnt through."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate_ND, up_ND = (x.reshape(-1, x.shape[-1]).contiguous() for x in (gate, up))
        out = torch.empty(gate.shape, dtype=gate.dtype)
        gated(gate_ND, up_ND, out.view(gate_ND.shape))
        ctx.save_for_backward(gate_ND, up_ND)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        gate_ND, up_ND = ctx.saved_tensors
        grad = grad.contiguous()
        grad_gate_ND, grad_up_ND = torch.empty_like(gate_ND), torch.empty_like(up_ND)
        types = (POINTER, POINTER, POINTER, POINTER, POINTER, INTEGER, INTEGER, INTEGER)
        kernel(f"denken_swiglu_backward_{NAMES[grad.dtype]}", types)(
            address(gate_ND),
            address(up_ND),
            address(grad),
            address(grad_gate_ND),
            address(grad_up_ND),
            *gate_ND.shape,
            threads(4 * gate_ND.numel()),
        )
        return grad_gate_ND.view(grad.shape), grad_up_ND.view(grad.shape)


class Turned(torch.autograd.Function):
    """Heads (B, T, H, D) turned by angles (B or 1, T, 1, F), to be learnt through: back, the same turn backwards."""

    @staticmethod
    def forward(ctx: Any, x_BTHD: Tensor, cos_BT1F: Tensor, sin_BT1F: Tensor) -> Tensor:
        shape = (*x_BTHD.shape[:2], 1, cos_BT1F.shape[-1])
        cos_NF, sin_NF = (angle.expand(shape).flatten(0, 2).contiguous() for angle in (cos_BT1F, sin_BT1F))
        out_BTHD = torch.empty(x_BTHD.shape, dtype=x_BTHD.dtype)
        turned(x_BTHD.contiguous().flatten(0, 1), cos_NF, sin_NF, out_BTHD.flatten(0, 1))
        ctx.save_for_backward(cos_NF, sin_NF)
        return out_BTHD

    @staticmethod
    def backward(ctx: Any, grad_BTHD: Tensor) -> tuple[Tensor, None, None]:
        cos_NF, sin_NF = ctx.saved_tensors
        grad_NHD = grad_BTHD.contiguous().flatten(0, 1)
        return turned(grad_NHD, cos_NF, sin_NF, back=True).view(grad_BTHD.shape), None, None
