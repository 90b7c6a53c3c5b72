"""One token of each of some sequences through all layers of a dense network, in one call.

Where the network is small, or its products fast, a call of Python's for each kernel costs more than some kernels do.
The numbers are those of the kernels called one by one, to the bit (`denken.engine.native`).
"""

# S = sequences, M = hidden size, F = half of a head's columns

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from denken.model.kernels.attention import Begun
from denken.model.kernels.call import INTEGER, NAMES, NUMBER, POINTER, address, kernel

# What `decode.cpp` calls a Product's kinds.
PACKED, INTEGERS, BF16 = range(3)
_CALL = (*[POINTER] * 7, INTEGER)


@dataclass(frozen=True, slots=True)
class Product:
    """Where a product's numbers lie. kind: of which kernel. at: packed fp32 numbers (with their bias apart), or a table
    of `count` matrices side by side. Whoever makes this keeps the tensors."""

    kind: int
    at: Tensor
    bias: Tensor | None
    inputs: int
    outputs: int

    def record(self) -> list[int]:
        count = 0 if self.kind == PACKED else len(self.at)
        return [self.kind, self.at.data_ptr(), address(self.bias) or 0, count, self.inputs, self.outputs]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's weights, as in `denken.engine.native`."""

    before_attention: Tensor
    turn: Tensor | None
    before_mlp: Tensor
    qkv: Product
    out: Product
    gate_up: Product
    down: Product

    def record(self) -> list[int]:
        norms = [address(x) or 0 for x in (self.before_attention, self.turn, self.before_mlp)]
        products = (self.qkv, self.out, self.gate_up, self.down)
        return [*norms, *(number for product in products for number in product.record())]


@dataclass(frozen=True, slots=True)
class Seats:
    """Where each sequence's keys and values are, as `attention.attend_rows` takes them; tensors of a layer each.

    Whoever replaces a tensor replaces its list: that is how it is seen.
    """

    row_keys: Sequence[Tensor]
    row_values: Sequence[Tensor]
    block_keys: Sequence[Tensor]
    block_values: Sequence[Tensor]
    stride: int
    lengths_S: Tensor
    places_S: Tensor
    begun: Sequence[Begun] | None
    order_S: Tensor
    seats_S: Tensor | None = None

    def tensors(self) -> tuple[Sequence[Tensor], ...]:
        return self.row_keys, self.row_values, self.block_keys, self.block_values


class _Network(ctypes.Structure):
    _fields_ = [
        *((name, INTEGER) for name in ("layers", "hidden", "inner", "heads", "key_heads", "head_size")),
        ("eps", NUMBER),
        ("scale", NUMBER),
        ("last", POINTER),
    ]


class _Seats(ctypes.Structure):
    _fields_ = [
        ("rows", INTEGER),
        ("stride", INTEGER),
        ("lengths", POINTER),
        ("places", POINTER),
        ("slot_length", INTEGER),
        ("slots", POINTER),
        ("slot_lengths", POINTER),
        ("seats", POINTER),
        ("order", POINTER),
    ]


class Decoder:
    """A network's layers and last norm. heads: of queries, of keys, columns of each."""

    def __init__(
        self, layers: Sequence[Layer], last_M: Tensor, inner: int, heads: tuple[int, int, int], eps: float, scale: float
    ) -> None:
        self._kept = (list(layers), last_M)
        self._weights = torch.tensor([layer.record() for layer in layers])
        self._network = _Network(len(layers), len(last_M), inner, *heads, eps, scale, last_M.data_ptr())
        self._call = kernel(f"denken_decode_{NAMES[last_M.dtype]}", _CALL)
        self._seen: tuple[Sequence[Tensor], Sequence[Begun] | None] | None = None
        self._layers = self._weights

    def __call__(self, x_SM: Tensor, cos_SF: Tensor, sin_SF: Tensor, seats: Seats) -> Tensor:
        """Hidden states after the last norm (S, M); x_SM is overwritten. Keys and values are written first."""
        self._find(seats)
        begun = seats.begun[0] if seats.begun else None
        own = _Seats(
            len(x_SM),
            seats.stride,
            address(seats.lengths_S),
            address(seats.places_S),
            begun.length if begun else 0,
            address(begun.slots_S) if begun else None,
            address(begun.lengths_U) if begun else None,
            address(seats.seats_S),
            address(seats.order_S),
        )
        out_SM = torch.empty(x_SM.shape, dtype=x_SM.dtype)
        self._call(
            ctypes.addressof(self._network),
            address(self._layers),
            ctypes.addressof(own),
            address(x_SM),
            address(cos_SF),
            address(sin_SF),
            address(out_SM),
            torch.get_num_threads(),
        )
        return out_SM

    def _find(self, seats: Seats) -> None:
        """Writes the addresses of keys and values behind each layer's weights, where they are others than before."""
        if self._seen is not None and self._seen[0] is seats.row_keys and self._seen[1] is seats.begun:
            return
        begun = seats.begun or []
        columns = [[x.data_ptr() for x in tensors] for tensors in seats.tensors()]
        columns += [[b.keys.data_ptr() for b in begun], [b.values.data_ptr() for b in begun]] if begun else []
        columns += [[0] * len(self._weights)] * (6 - len(columns))
        self._layers = torch.cat((self._weights, torch.tensor(columns).t()), dim=1).contiguous()
        self._seen = seats.row_keys, seats.begun
