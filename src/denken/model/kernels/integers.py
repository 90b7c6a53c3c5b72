"""Products with quantised weights: int8 by channel, int4 by group, a token's activations quantised to int8 on the way.

The arithmetic, of one row x and one output channel:

1. the row's scale is max|x| / 127 in fp32, its codes are x / scale, rounded to the nearest, ties to even, in -127..127;
2. codes are multiplied and added up as integers, exactly: over the whole channel (int8) or over each group (int4);
3. int8: sum * scale of the channel * scale of the row, rounded to fp32 after each step;
   int4: the groups' sums times their scales, added up in fp32 from the first group to the last, then times the row's
   scale. (In which step a product is rounded before it is added, may differ in the last place between processors.)

A row of zeros gives zeros; a row with a number that is not finite gives NaN. A row's numbers depend neither on the
rows beside it nor on the number of threads.

`reference` is this in PyTorch, and the way without a compiler. Not covered: gradients, zero points, codes of 8 bits in
groups.
"""

# N = rows, I = inputs, O = outputs, G = groups of a channel

from __future__ import annotations

import torch
from torch import Tensor

from denken.errors import ConfigError

# Sums of more products than this could leave 32 bits.
LONGEST = 1 << 17
# So many products of 8 bits add up in fp32 without a rounding.
EXACT = 1024


class Int8:
    """A matrix of codes (O, I), -128..127, with a scale for each of its O channels."""

    def __init__(self, codes_OI: Tensor, scale_O: Tensor) -> None:
        _check(codes_OI, scale_O, scale_O.shape == codes_OI.shape[:1])
        self.outputs, self.inputs = codes_OI.shape
        self._codes_OI, self._scale_O = codes_OI.contiguous(), scale_O.float()

    def __call__(self, x_NI: Tensor) -> Tensor:
        """x (N, I) times the matrix: (N, O), in x's type, which is fp32 or bf16."""
        return reference(x_NI, self._codes_OI, self._scale_O)

    def codes(self) -> tuple[Tensor, Tensor]:
        """What the matrix was made of: whoever keeps this object need not keep the tensors."""
        return self._codes_OI, self._scale_O


class Int4:
    """A matrix of codes (O, I), -8..7, with scales (O, G): one for each group of I / G inputs of a channel."""

    def __init__(self, codes_OI: Tensor, scale_OG: Tensor) -> None:
        whole = scale_OG.dim() == 2 and len(scale_OG) == len(codes_OI) and scale_OG.shape[1] > 0
        _check(codes_OI, scale_OG, whole and codes_OI.shape[1] % scale_OG.shape[1] == 0)
        self.outputs, self.inputs = codes_OI.shape
        self.group = self.inputs // scale_OG.shape[1]
        self._codes_OI, self._scale_OG = codes_OI.contiguous(), scale_OG.float()

    def __call__(self, x_NI: Tensor) -> Tensor:
        """x (N, I) times the matrix: (N, O), in x's type, which is fp32 or bf16."""
        return reference(x_NI, self._codes_OI, self._scale_OG)

    def codes(self) -> tuple[Tensor, Tensor]:
        """What the matrix was made of: whoever keeps this object need not keep the tensors."""
        return self._codes_OI, self._scale_OG


def reference(x_NI: Tensor, codes_OI: Tensor, scale: Tensor) -> Tensor:
    """The arithmetic above. scale: (O,) for int8, (O, G) for int4."""
    codes_NI, scale_N1 = quantise_rows(x_NI)
    if scale.dim() == 1:
        out_NO = _sums(codes_NI, codes_OI).float() * scale
    else:
        out_NO = torch.zeros(len(x_NI), len(codes_OI), device=x_NI.device)
        group = codes_OI.shape[1] // scale.shape[1]
        for g, scale_O in enumerate(scale.float().unbind(1)):
            inputs = slice(g * group, (g + 1) * group)
            out_NO += _sums(codes_NI[:, inputs], codes_OI[:, inputs]).float() * scale_O
    return (out_NO * scale_N1).to(x_NI.dtype)


def quantise_rows(x_NI: Tensor) -> tuple[Tensor, Tensor]:
    """Codes (N, I) in int8 and scales (N, 1) in fp32; NaN for a row that is not finite."""
    wide_NI = x_NI.float()
    scale_N1 = wide_NI.abs().amax(dim=1, keepdim=True) / 127
    scale_N1 = torch.where(scale_N1.isfinite(), scale_N1, torch.nan)
    by_N1 = torch.where(scale_N1 > 0, scale_N1, 1.0)
    # Where a scale is among the smallest numbers that there are, it is no longer exact.
    codes_NI = (wide_NI / by_N1).nan_to_num(0.0).round().clamp(-127, 127)
    return codes_NI.to(torch.int8), scale_N1


def _sums(codes_NI: Tensor, codes_OI: Tensor) -> Tensor:
    """Products of codes, added up exactly."""
    if codes_NI.device.type == "cpu" and torch.cpu._is_vnni_supported():
        return torch._int_mm(codes_NI.contiguous(), codes_OI.contiguous().t())
    sums_NO = torch.zeros(len(codes_NI), len(codes_OI), dtype=torch.int32, device=codes_NI.device)
    # Without such instructions PyTorch's own may saturate: fp32, a few inputs at a time.
    for few_NI, few_OI in zip(codes_NI.split(EXACT, dim=1), codes_OI.split(EXACT, dim=1), strict=True):
        sums_NO += torch.mm(few_NI.float(), few_OI.float().t()).int()
    return sums_NO


def _check(codes_OI: Tensor, scale: Tensor, fits: bool) -> None:
    if codes_OI.dtype != torch.int8 or not scale.is_floating_point() or not fits:
        raise ConfigError(
            f"Codes of {codes_OI.dtype} {list(codes_OI.shape)} with scales of {scale.dtype} {list(scale.shape)} are no "
            "quantised matrix; give int8 codes (O, I) with scales (O,), or (O, G) where G divides I."
        )
    if codes_OI.shape[1] > LONGEST:
        raise ConfigError(f"A matrix has {codes_OI.shape[1]} inputs; at most {LONGEST} can be added up in 32 bits.")
