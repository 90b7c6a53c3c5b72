"""A mixture's routed experts, all that were chosen, in one call.

Where each of them sees a token or two, Python's calls for each of its layers cost more than the layers do.
"""

# N = tokens, M = hidden size, C = choices, sorted by expert, E = experts that were chosen

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from denken.model.kernels.call import INTEGER, NAMES, POINTER, address, kernel
from denken.model.kernels.operands import Product


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
