"""A mixture's routed experts: who is chosen, and all that were chosen in one call.

Where each of them sees a token or two, Python's calls for each of its layers cost more than the layers do.
"""

# N = tokens, X = experts, S = experts chosen for a token, M = hidden size, C = choices, sorted by expert

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, NAMES, NUMBER, POINTER, address, kernel
from denken.model.kernels.operands import Product, Record


class RouterRecord(ctypes.Structure):
    """What `experts.h` calls a Router."""

    _fields_ = [
        ("logits", Record),
        ("bias", POINTER),
        *((name, INTEGER) for name in ("experts", "chosen", "groups", "best_groups", "groups_by", "sigmoid", "normed")),
        ("scale", NUMBER),
    ]


@dataclass(frozen=True, slots=True)
class Routing:
    """How `denken.model.moe.Router` chooses. bias_X: moves the choice, in fp32. groups: ranked by the sum of their best
    `groups_by`, of which `best_groups` stay. normed: weights add up to 1, before the scale."""

    experts: int
    chosen: int
    bias_X: Tensor | None
    groups: int
    best_groups: int
    groups_by: int
    sigmoid: bool
    normed: bool
    scale: float

    def record(self, logits: Product | None = None) -> RouterRecord:
        """logits: what makes them of hidden states in fp32. Whoever keeps the record keeps the tensors."""
        groups = self.groups, self.best_groups, self.groups_by
        numbers = self.experts, self.chosen, *groups, self.sigmoid, self.normed
        made = Record() if logits is None else Record(*logits.record())
        return RouterRecord(made, address(self.bias_X), *numbers, self.scale)


def route(routing: Routing, logits_NX: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (N, S) in fp32 and the experts' numbers (N, S); the logits, in fp32, are written over."""
    rows = len(logits_NX)
    chosen_NS = torch.empty(rows, routing.chosen, dtype=torch.long)
    weights_NS = torch.empty(rows, routing.chosen)
    types = (POINTER, POINTER, INTEGER, POINTER, POINTER)
    record = routing.record()
    kernel("denken_route", types)(
        ctypes.addressof(record), address(logits_NX), rows, address(chosen_NS), address(weights_NS)
    )
    return weights_NS, chosen_NS


def experts(
    x_NM: Tensor,
    products: Sequence[tuple[Product, Product]],
    counts: Sequence[int],
    tokens_C: Tensor,
    weights_C: Tensor,
) -> Tensor:
    """The weighed sum of what experts say of each token (N, M), in fp32.

    products: of each expert, gate and up side by side, and down. counts: how many tokens chose it. tokens_C, weights_C:
    which, and how it is weighed there, in fp32; in the experts' order.
    """
    x_NM = x_NM.contiguous()
    records = [[count, *a.record(), *b.record()] for count, (a, b) in zip(counts, products, strict=True)]
    table, out_NM = torch.tensor(records), torch.zeros(x_NM.shape)
    types = (POINTER, INTEGER, POINTER, INTEGER, INTEGER, POINTER, POINTER, POINTER, INTEGER)
    kernel(f"denken_experts_{NAMES[x_NM.dtype]}", types)(
        address(x_NM),
        x_NM.shape[1],
        address(table),
        len(products),
        products[0][1].inputs,
        address(tokens_C),
        address(weights_C),
        address(out_NM),
        torch.get_num_threads(),
    )
    return out_NM
