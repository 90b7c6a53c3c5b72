"""Linear layers of bf16 in three quarters of its bytes, exactly (`kernels/bf16.py`), where nothing is learnt.

What decodes is bound by reading weights, so it is a third sooner, and says what it would have said. Only where the
processor multiplies pairs of bf16, and for networks that do not stay in its caches.
"""

# O = outputs, I = inputs

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from denken.model.kernels.bf16 import Compressed, codes_of
from denken.model.kernels.operands import BF16, Operand
from denken.model.layers import Linear
from denken.model.quantized import READ_DIRECTLY
from denken.model.transformer import Transformer

# Networks of fewer bytes stay in a processor's caches, and are read from there as they are sooner than expanded.
AT_HAND = 32 << 20


class CompressedLinear(nn.Module):
    """Stands in for a `Linear` in bf16; it has nothing that could be learnt or saved."""

    def __init__(self, layer: Linear, codes: Tensor) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.product = Compressed(layer.weight, codes, None if layer.bias is None else layer.bias.detach())
        self.has_bias = layer.bias is not None

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O), in bf16."""
        return self.product(x.reshape(-1, self.in_features)).view(*x.shape[:-1], self.out_features)

    def operand(self, dtype: torch.dtype, rows: int) -> Operand | None:
        """As `HasOperand`."""
        if dtype != torch.bfloat16 or self.has_bias:
            return None
        return Operand(BF16, self.product.table[0].tolist(), self.in_features, self.out_features)


def compress(model: Transformer, above: int = AT_HAND) -> bool:
    """Replaces the linear layers of a network's blocks, one by one, so that no more memory is taken than before; all of
    them or, where one cannot be read so, none. Returns whether it did. The network can only be asked from then on.

    above: networks of fewer bytes, or as many, are left as they are.
    """
    if bytes_of(model) <= above:
        return False
    found: dict[str, Tensor] = {}
    for name, layer in model.named_modules():
        if isinstance(layer, Linear) and name.rpartition(".")[2] not in READ_DIRECTLY:
            if (codes := codes_of(layer.weight)) is None:
                return False
            found[name] = codes
    for name, codes in found.items():
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, CompressedLinear(cast(Linear, model.get_submodule(name)), codes))
    return bool(found)


def compressed_layers(model: nn.Module) -> list[CompressedLinear]:
    return [layer for layer in model.modules() if isinstance(layer, CompressedLinear)]


def bytes_of(model: nn.Module) -> int:
    """What its weights take; codes of quantised layers do not count."""
    compressed = sum(layer.product.bytes for layer in compressed_layers(model))
    return compressed + sum(p.numel() * p.element_size() for p in model.parameters())
