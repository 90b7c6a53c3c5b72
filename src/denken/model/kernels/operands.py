"""Where the numbers of a product lie, whatever they are, for kernels that multiply with several (`operands.h`)."""

# O = outputs, I = inputs

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, POINTER, address
from denken.model.kernels.products import Packed

PACKED, INTEGERS, BF16, PAIRS = range(4)


class Record(ctypes.Structure):
    """What `operands.h` calls a Product."""

    _fields_ = [
        ("kind", INTEGER),
        ("at", POINTER),
        ("bias", POINTER),
        *((name, INTEGER) for name in ("count", "inputs", "outputs")),
    ]


@dataclass(frozen=True, slots=True)
class Product:
    """Where a product's numbers lie. kind: of which kernel. at: packed numbers (with their bias apart), or a table of
    `count` matrices side by side. Whoever makes this keeps the tensors."""

    kind: int
    at: Tensor
    bias: Tensor | None
    inputs: int
    outputs: int

    @staticmethod
    def of(packed: Packed, bias: Tensor | None = None) -> Product:
        """A product with packed numbers."""
        return Product(PAIRS if packed.in_pairs else PACKED, packed.numbers, bias, packed.inputs, packed.outputs)

    def record(self) -> list[int]:
        count = 0 if self.kind in (PACKED, PAIRS) else len(self.at)
        return [self.kind, self.at.data_ptr(), address(self.bias) or 0, count, self.inputs, self.outputs]


@dataclass(frozen=True, slots=True)
class Operand:
    """One matrix without a bias. kind: BF16 or INTEGERS. record: as their kernels take it; whoever keeps this keeps the
    numbers. group: inputs of a scale, in whole numbers."""

    kind: int
    record: list[int]
    inputs: int
    outputs: int
    group: int = 0


@runtime_checkable
class HasOperand(Protocol):
    """A layer that may say where its numbers lie."""

    def operand(self, dtype: torch.dtype, rows: int) -> Operand | None:
        """For so many rows of `dtype`; None where kernels cannot read them, or had better not."""
        ...


def side_by_side(operands: Sequence[Operand | None]) -> Product | None:
    """A product with all of these; None where they are not of one kind."""
    found = [operand for operand in operands if operand is not None]
    if len(found) < len(operands) or len({(each.kind, each.inputs, each.group) for each in found}) > 1:
        return None
    table = torch.tensor([each.record for each in found])
    return Product(found[0].kind, table, None, found[0].inputs, sum(each.outputs for each in found))
