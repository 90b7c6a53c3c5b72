"""A layer's products, as native code computes them: several linear layers of one input, side by side.

fp32 weights are packed anew, a copy. bf16 weights of a small network are copied side by side, into panels where the
processor multiplies pairs of them and else for PyTorch, as its trainer does in either case; those of a large one are
read from where they lie, or compressed by the layer that has them. Whole numbers are packed once, by the layer that has
them, and shared with it. What is of none of these kinds, or of several, goes through the layers themselves.
"""

# N = rows, I = inputs, O = outputs of all layers

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denken.model.compressed import CompressedLinear
from denken.model.kernels import bf16, integers, operands
from denken.model.kernels.pages import collapse
from denken.model.kernels.products import Packed
from denken.model.quantized import QuantizedLinear


class Dense:
    """fp32 weights in the order that products read fastest: a copy, of half the bytes where all are exactly bf16."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._packed = Packed(torch.cat([layer.weight for layer in layers]).t())
        self._bias_O = _bias(layers)

    def __call__(self, x_NI: Tensor) -> Tensor:
        out_NO = self._packed(x_NI)
        return out_NO if self._bias_O is None else out_NO.add_(self._bias_O)

    def native(self) -> operands.Product:
        return operands.Product.of(self._packed, self._bias_O)


class InBf16:
    """bf16 weights side by side, as a table says that they lie, which native code reads."""

    def __init__(self, table: Tensor, inputs: int, outputs: int) -> None:
        self._table, self.inputs, self.outputs = table, inputs, outputs

    def __call__(self, x_NI: Tensor) -> Tensor:
        return bf16.side_by_side(x_NI, self._table, self.outputs, torch.bfloat16)

    def native(self) -> operands.Product:
        return operands.Product(operands.BF16, self._table, None, self.inputs, self.outputs)


class InPanels(InBf16):
    """In panels: a copy."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._turned = bf16.Turned(torch.cat([layer.weight for layer in layers]), _bias(layers))
        super().__init__(self._turned.table, self._turned.inputs, self._turned.outputs)


class Joined:
    """bf16 weights side by side: a copy."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._weight_OI = torch.cat([layer.weight for layer in layers])
        self._bias_O = _bias(layers)

    def __call__(self, x_NI: Tensor) -> Tensor:
        return F.linear(x_NI, self._weight_OI, self._bias_O)

    def native(self) -> None:
        return None


class Halves(InBf16):
    """Where they lie, if need be in large pages."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self._layers = list(layers)
        for layer in layers:
            collapse(layer.weight)
        table = torch.tensor([bf16.row(layer.weight, layer.bias) for layer in layers])
        super().__init__(table, layers[0].in_features, sum(layer.out_features for layer in layers))

    def __call__(self, x_NI: Tensor) -> Tensor:
        if len(x_NI) <= bf16.most_rows():
            return super().__call__(x_NI)
        return torch.cat([F.linear(x_NI, layer.weight, layer.bias) for layer in self._layers], dim=1)


class Shorter(InBf16):
    """Compressed, where their layers have them."""

    def __init__(self, layers: Sequence[CompressedLinear]) -> None:
        self._layers = list(layers)
        table = torch.cat([layer.product.table for layer in layers])
        super().__init__(table, layers[0].in_features, sum(layer.out_features for layer in layers))


class Whole:
    """Weights in whole numbers, of one width and group."""

    def __init__(
        self, layers: Sequence[QuantizedLinear], panels: Sequence[integers.Panels], dtype: torch.dtype
    ) -> None:
        self._panels = list(panels)
        self._biases = [None if layer.bias is None else layer.bias.to(dtype).float() for layer in layers]
        self._table = torch.tensor([p.row(bias) for p, bias in zip(panels, self._biases, strict=True)])
        self.inputs, self.outputs, self.group = panels[0].inputs, sum(p.outputs for p in panels), panels[0].group

    def __call__(self, x_NI: Tensor) -> Tensor:
        return integers.side_by_side(x_NI, self._table, self.outputs, self.group)

    def native(self) -> operands.Product:
        return operands.Product(operands.INTEGERS, self._table, None, self.inputs, self.outputs)


class Mixed:
    """Layers of several kinds, each by itself."""

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self._layers = list(layers)

    def __call__(self, x_NI: Tensor) -> Tensor:
        return torch.cat([layer(x_NI) for layer in self._layers], dim=1)

    def native(self) -> None:
        return None


AnyProduct = Dense | InPanels | Joined | Halves | Shorter | Whole | Mixed


def product(layers: Sequence[nn.Module], dtype: torch.dtype, *, copies: bool) -> AnyProduct:
    """What all these layers make of a row of `dtype`, side by side. copies: whether weights may be copied."""
    quantised = [layer for layer in layers if isinstance(layer, QuantizedLinear)]
    plain = [layer for layer in layers if isinstance(layer, nn.Linear)]
    if len(quantised) == len(layers):
        panels = [p for p in (layer.product.packed for layer in quantised) if p is not None]
        if len(panels) == len(layers) and len({p.group for p in panels}) == 1:
            return Whole(quantised, panels, dtype)
    compressed = [layer for layer in layers if isinstance(layer, CompressedLinear)]
    if len(compressed) == len(layers):
        return Shorter(compressed)
    if len(plain) == len(layers):
        kinds = {layer.weight.dtype for layer in plain}
        if copies and kinds == {dtype} == {torch.float32}:
            return Dense(plain)
        if copies and kinds == {dtype}:
            return InPanels(plain) if bf16.in_panels(plain[0].in_features) else Joined(plain)
        if kinds == {dtype} == {torch.bfloat16} and all(layer.weight.is_contiguous() for layer in plain):
            return Halves(plain)
    return Mixed(layers)


def _bias(layers: Sequence[nn.Linear]) -> Tensor | None:
    biases = [layer.bias for layer in layers]
    if all(bias is None for bias in biases):
        return None
    return torch.cat([_or_zeros(layer.bias, layer.weight) for layer in layers])


def _or_zeros(bias_O: Tensor | None, weight_OI: Tensor) -> Tensor:
    return weight_OI.new_zeros(len(weight_OI)) if bias_O is None else bias_O
