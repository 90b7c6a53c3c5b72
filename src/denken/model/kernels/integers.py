"""Products with quantised weights: int8 by channel, int4 by group, a token's activations quantised to int8 on the way.

The arithmetic, of one row x and one output channel:

1. the row's scale is max|x| / 127 in fp32, its codes are x / scale, rounded to the nearest, ties to even, in -127..127;
2. codes are multiplied and added up as integers, exactly: over the whole channel (int8) or over each group (int4);
3. int8: sum * scale of the channel * scale of the row, rounded to fp32 after each step;
   int4: the groups' sums times their scales, added up from the first group to the last, then times the row's scale,
   rounded to fp32 after each step.

A row of zeros gives zeros; a row with a number that is not finite gives NaN. So kernels, `reference` and every
processor give the same bits, and a row's numbers depend neither on the rows beside it nor on the number of threads.

`reference` is this in PyTorch, and the way without a compiler. Not covered: gradients, zero points, codes of 8 bits in
groups.
"""

# N = rows, I = inputs, O = outputs, G = groups of a channel

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from denken.errors import ConfigError
from denken.model.kernels import shared
from denken.model.kernels.build import library
from denken.model.kernels.call import INTEGER, NAMES, POINTER, address, covers, kernel, threads
from denken.model.kernels.pages import room

# Sums of more products than this could leave 32 bits.
LONGEST = 1 << 16
# So many products of 8 bits add up in fp32 without a rounding.
EXACT = 1024
# Channels that are rounded at a time.
AT_ONCE = 4096
# Channels of a panel; how scales may be stored, as in `integers.cpp`.
LANES = 16
KINDS = (torch.float32, torch.bfloat16, torch.float16)
_MULTIPLY = (POINTER, INTEGER, INTEGER, POINTER, INTEGER, POINTER, INTEGER, INTEGER)


class Int8:
    """A matrix of codes (O, I), -128..127, with a scale for each of its O channels."""

    def __init__(self, codes_OI: Tensor, scale_O: Tensor) -> None:
        _check(codes_OI, scale_O, scale_O.shape == codes_OI.shape[:1])
        self.outputs, self.inputs = codes_OI.shape
        self.group = 0
        self.packed = _packed(codes_OI, scale_O[:, None], 0)
        self._plain = (codes_OI.contiguous(), scale_O.float()) if self.packed is None else None

    def __call__(self, x_NI: Tensor) -> Tensor:
        """x (N, I) times the matrix: (N, O), in x's type, which is fp32 or bf16."""
        return _multiply(self, x_NI)

    def codes(self) -> tuple[Tensor, Tensor]:
        """What the matrix was made of: whoever keeps this object need not keep the tensors."""
        if self._plain is not None:
            return self._plain
        assert self.packed is not None
        codes_OI, scale_O1 = self.packed.unpacked()
        return codes_OI, scale_O1[:, 0]


class Int4:
    """A matrix of codes (O, I), -8..7, with scales (O, G): one for each group of I / G inputs of a channel."""

    def __init__(self, codes_OI: Tensor, scale_OG: Tensor) -> None:
        whole = scale_OG.dim() == 2 and len(scale_OG) == len(codes_OI) and scale_OG.shape[1] > 0
        _check(codes_OI, scale_OG, whole and codes_OI.shape[1] % scale_OG.shape[1] == 0)
        self.outputs, self.inputs = codes_OI.shape
        self.group = self.inputs // scale_OG.shape[1]
        self.packed = _packed(codes_OI, scale_OG, self.group) if self.group % 8 == 0 else None
        self._plain = (codes_OI.contiguous(), scale_OG.float()) if self.packed is None else None

    def __call__(self, x_NI: Tensor) -> Tensor:
        """x (N, I) times the matrix: (N, O), in x's type, which is fp32 or bf16."""
        return _multiply(self, x_NI)

    def codes(self) -> tuple[Tensor, Tensor]:
        """What the matrix was made of: whoever keeps this object need not keep the tensors."""
        if self._plain is not None:
            return self._plain
        assert self.packed is not None
        return self.packed.unpacked()


@dataclass(frozen=True, slots=True)
class Panels:
    """A matrix as the kernels read it. codes: bytes; scales (panels, G, 16), in the smallest type that holds them."""

    codes: Tensor
    scales: Tensor
    inputs: int
    outputs: int
    group: int

    def row(self, bias_O: Tensor | None = None) -> list[int]:
        """What `integers.cpp` calls a Matrix. The bias is fp32; whoever keeps the row keeps it and this."""
        kind = KINDS.index(self.scales.dtype)
        return [
            self.codes.data_ptr(),
            self.scales.data_ptr(),
            0 if bias_O is None else bias_O.data_ptr(),
            self.inputs,
            self.outputs,
            self.group,
            kind,
        ]

    def unpacked(self) -> tuple[Tensor, Tensor]:
        """Codes (O, I) and scales (O, G), in fp32."""
        codes_OI = torch.empty(self.outputs, self.inputs, dtype=torch.int8)
        unpack = kernel("denken_integers_unpack", (POINTER, POINTER, *[INTEGER] * 4))
        unpack(address(self.codes), address(codes_OI), self.inputs, self.outputs, self.group, threads(codes_OI.numel()))
        return codes_OI, self.scales.transpose(1, 2).flatten(0, 1)[: self.outputs].float()


def side_by_side(x_NI: Tensor, table: Tensor, outputs: int, group: int, out_NO: Tensor | None = None) -> Tensor:
    """x times several matrices of one group (`Panels.row`, stacked to int64), each behind the one before: (N, O)."""
    rows, inputs = x_NI.shape
    out_NO = torch.empty(rows, outputs, dtype=x_NI.dtype) if out_NO is None else out_NO
    x_NI = x_NI if x_NI.stride(1) == 1 or inputs == 1 else x_NI.contiguous()
    kernel(f"denken_integers_{NAMES[x_NI.dtype]}", _MULTIPLY)(
        address(x_NI),
        x_NI.stride(0),
        rows,
        address(table),
        len(table),
        address(out_NO),
        out_NO.stride(0),
        threads(rows * inputs * outputs // 64),
    )
    return out_NO


def path() -> str:
    """By which instructions whole numbers are multiplied here."""
    if library() is None:
        return "PyTorch"
    name: bytes = kernel("denken_integers_path", (), ctypes.c_char_p)()
    return name.decode()


def _multiply(matrix: Int8 | Int4, x_NI: Tensor) -> Tensor:
    if matrix.packed is None or not covers(x_NI):
        return reference(x_NI, *(tensor.to(x_NI.device) for tensor in matrix.codes()))
    table = torch.tensor([matrix.packed.row()])
    return side_by_side(x_NI, table, matrix.outputs, matrix.group)


def _packed(codes_OI: Tensor, scale_OG: Tensor, group: int) -> Panels | None:
    """None where there are no kernels, or the numbers lie elsewhere."""
    kernels = library()
    if codes_OI.device.type != "cpu" or codes_OI.numel() == 0 or kernels is None:
        return None
    outputs, inputs = codes_OI.shape
    size = kernel("denken_integers_size", (INTEGER, INTEGER, INTEGER), INTEGER)(inputs, outputs, group)
    codes_OI, panels = codes_OI.contiguous(), -(-outputs // LANES)
    pack = kernel("denken_integers_pack", (POINTER, POINTER, *[INTEGER] * 4))

    def fill(into: Tensor) -> None:
        pack(address(codes_OI), address(into), inputs, outputs, group, threads(codes_OI.numel()))

    # The order of the panels is these kernels'.
    packed = shared.bytes_of(codes_OI, (Path(kernels._name).stem, group), size, fill)
    if packed is None:
        packed = room(size)
        fill(packed)
    wide_OG = scale_OG.float()
    narrow = (kind for kind in KINDS[1:] if torch.equal(wide_OG.to(kind).float(), wide_OG))
    kind = next(narrow, torch.float32)
    scales = torch.zeros(panels * LANES, wide_OG.shape[1], dtype=kind)
    scales[:outputs] = wide_OG
    scales = scales.unflatten(0, (panels, LANES)).transpose(1, 2).contiguous()
    return Panels(packed, scales, inputs, outputs, group)


def whole_numbers(weight_OI: Tensor, bits: int, group: int = 32) -> Int8 | Int4:
    """A matrix rounded to the nearest codes: int8 by channel, or int4 by group (of all inputs, where none fits)."""
    if bits == 8:
        codes_OI, scale_O1 = quantise_rows(weight_OI)
        return Int8(codes_OI, scale_O1[:, 0])
    inputs = weight_OI.shape[1]
    grouped_OGX = weight_OI.unflatten(1, (-1, group if inputs % group == 0 else inputs))
    # Scales in bf16 take half the room. The code -8 is used too: the largest number may be of either sign.
    largest_OG = grouped_OGX.float().abs().amax(dim=2)
    scale_OG = (largest_OG / 7.5).bfloat16().float().clamp(min=torch.finfo(torch.bfloat16).tiny)
    codes_OGX = torch.empty(grouped_OGX.shape, dtype=torch.int8)
    for start in range(0, len(codes_OGX), AT_ONCE):
        rows = slice(start, start + AT_ONCE)
        codes_OGX[rows] = (grouped_OGX[rows].float() / scale_OG[rows, :, None]).round().clamp(-8, 7)
    return Int4(codes_OGX.flatten(1), scale_OG)


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
    # PyTorch's own mistakes the strides of a matrix that is one number wide, and reads beyond it.
    if codes_NI.device.type == "cpu" and min(codes_OI.shape) > 1 and torch.cpu._is_vnni_supported():
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
