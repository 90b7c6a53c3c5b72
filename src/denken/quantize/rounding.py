"""From numbers to codes: the scales of rows or groups, and rounding to the nearest.

Pure: tensors in, tensors out. What comes of a rounding error elsewhere in the row is `gptq.py`'s business, how codes
are stored `denken.model.quantized`'s.
"""

# O = outputs, I = inputs, G = groups of a row, C = columns of a group

from __future__ import annotations

import torch
from torch import Tensor

from denken.model.quantized import Scheme

# Shares of the largest number of a group to try as the largest that is not cut off.
SHARES = tuple(1 - step / 40 for step in range(21))


def scales(weight_OI: Tensor, scheme: Scheme, importance_I: Tensor | None = None) -> Tensor:
    """The scale of every group (O, G), fp32 with a bf16's precision, so that it can be stored in any type.

    Of some shares of each group's largest number the one whose codes have the least squared error: cutting off a few
    large numbers makes all others finer. importance_I: what a column's error counts, such as how large its inputs are.
    """
    groups_OGC = _grouped(weight_OI, scheme)
    weights_GC = None if importance_I is None else importance_I.unflatten(0, groups_OGC.shape[1:])
    largest_OG = groups_OGC.abs().amax(dim=2)
    top = scheme.levels[1]
    best_OG = _storable(largest_OG / top)
    least_OG = torch.full_like(largest_OG, torch.inf)
    for share in SHARES:
        scale_OG = _storable(largest_OG * (share / top))
        error_OGC = (_nearest(groups_OGC, scale_OG, scheme) * scale_OG[..., None] - groups_OGC).square_()
        error_OG = (error_OGC if weights_GC is None else error_OGC * weights_GC).sum(dim=2)
        better_OG = error_OG < least_OG
        best_OG = torch.where(better_OG, scale_OG, best_OG)
        least_OG = torch.where(better_OG, error_OG, least_OG)
    return best_OG


def nearest(weight_OI: Tensor, scale_OG: Tensor, scheme: Scheme) -> Tensor:
    """The nearest codes (O, I), int8.

    >>> nearest(torch.tensor([[0.9, -0.26, 9.0, 0.0]]), torch.tensor([[0.5]]), Scheme(4))
    tensor([[ 2, -1,  7,  0]], dtype=torch.int8)
    """
    return _nearest(_grouped(weight_OI, scheme), scale_OG, scheme).flatten(1).to(torch.int8)


def rounded(weight_OI: Tensor, scheme: Scheme) -> tuple[Tensor, Tensor]:
    """Codes (O, I) and scales (O, G) by plain rounding."""
    scale_OG = scales(weight_OI, scheme)
    return nearest(weight_OI, scale_OG, scheme), scale_OG


def _grouped(weight_OI: Tensor, scheme: Scheme) -> Tensor:
    return weight_OI.float().unflatten(1, (scheme.groups(weight_OI.shape[1]), -1))


def _nearest(groups_OGC: Tensor, scale_OG: Tensor, scheme: Scheme) -> Tensor:
    return (groups_OGC / scale_OG[..., None]).round_().clamp_(*scheme.levels)


def _storable(scale_OG: Tensor) -> Tensor:
    """A scale that bf16 holds exactly, and never 0: a group of zeros has one, too."""
    short_OG = scale_OG.bfloat16().float()
    return torch.where(short_OG > torch.finfo(torch.bfloat16).tiny, short_OG, torch.ones_like(short_OG))
