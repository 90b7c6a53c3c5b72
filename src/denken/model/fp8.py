"""Weights in eight bits, as DeepSeek-V3 publishes them: fp8 (e4m3) with one scale for each block of 128 x 128.

The scale is stored as `weight_scale_inv` and multiplies: weight = fp8 * scale (DeepSeek-V3's `weight_dequant`).
This file is about stored weights; arithmetic in fp8 is not covered.
"""

# O = rows (outputs), I = columns (inputs), P = blocks of rows, Q = blocks of columns

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = (128, 128)
FP8 = torch.float8_e4m3fn


def scale_shape(shape: tuple[int, ...], block: tuple[int, int] = BLOCK) -> tuple[int, ...]:
    """Blocks in each direction; the last ones may be partial.

    >>> scale_shape((300, 128))
    (3, 1)
    """
    return tuple(-(-size // edge) for size, edge in zip(shape, block, strict=True))


def dequantise(weight_OI: Tensor, scale_PQ: Tensor, block: tuple[int, int] = BLOCK) -> Tensor:
    """fp8 and its blocks' scales to fp32 (O, I)."""
    rows, columns = weight_OI.shape
    scale_OQ = scale_PQ.float().repeat_interleave(block[0], dim=0)[:rows]
    return weight_OI.float() * scale_OQ.repeat_interleave(block[1], dim=1)[:, :columns]


def quantise(weight_OI: Tensor, block: tuple[int, int] = BLOCK) -> tuple[Tensor, Tensor]:
    """A weight (O, I) to fp8 and its blocks' scales (P, Q) in fp32; each block's largest value becomes fp8's."""
    rows, columns = weight_OI.shape
    padded = F.pad(weight_OI.float(), (0, -columns % block[1], 0, -rows % block[0]))
    blocks_PRQC = padded.view(-1, block[0], padded.shape[1] // block[1], block[1])
    largest_PQ = blocks_PRQC.abs().amax(dim=(1, 3))
    scale_PQ = torch.where(largest_PQ > 0, largest_PQ / torch.finfo(FP8).max, torch.ones_like(largest_PQ))
    scaled = (blocks_PRQC / scale_PQ[:, None, :, None]).flatten(2, 3).flatten(0, 1)[:rows, :columns]
    return scaled.to(FP8).contiguous(), scale_PQ
