"""Linear layers in whole numbers: int8 with a scale an output channel, int4 with a scale a group of columns.

Both are symmetric: weight = code * scale. The activations of a token are rounded to int8 on the way and sums are those
of whole numbers (`kernels/integers.py`). A layer's buffers are what its file holds, in the words and the packing of
compressed-tensors, which vLLM and transformers read:

    int8, "int-quantized"    weight (O, I) int8; weight_scale (O, 1)
    int4, "pack-quantized"   weight_packed (O, I / 8) int32, eight codes + 8 a word, the first in the lowest bits;
                             weight_scale (O, I / group); weight_shape, which is (O, I)

Which layers of a folder are quantised is read from its tensors, never from config.json's `targets` and `ignore`: those
are regular expressions of a stranger's. Not covered, and refused: zero points, other widths and groups, static
activations, permuted columns (g_idx), floating-point codes, quantised caches, sparsity. How codes are chosen is
`denken.quantize`'s business; nothing here learns.
"""

# O = outputs, I = inputs, W = words of a packed row, G = groups of a row

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from denken.errors import CheckpointError, quoted
from denken.model.kernels.integers import Int4, Int8
from denken.model.kernels.operands import INTEGERS, Operand
from denken.model.moe import Router

METHOD, MIXED = "compressed-tensors", "mixed-precision"
ACTIVATIONS = "input_activations"
GROUPS = (32, 64, 128)
CODES_A_WORD = 8
# What reads a weight's numbers itself, not through the layer: it is dequantised when it is loaded.
READ_DIRECTLY = ("lm_head", "kv_b_proj")


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a layer is stored. bits: 8 or 4. group: columns that share a scale; 0 where a row shares one (int8).

    >>> Scheme(4, 32).shapes(64, 96)["weight_packed"], Scheme(4, 32).levels
    (((64, 12), torch.int32), (-8, 7))
    """

    bits: int
    group: int = 0

    @property
    def levels(self) -> tuple[int, int]:
        """The smallest and the largest code."""
        return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1

    @property
    def format(self) -> str:
        return "int-quantized" if self.bits == 8 else "pack-quantized"

    def fits(self, columns: int) -> bool:
        """Whether rows of so many columns can be stored so."""
        return columns % (self.group or 1) == 0

    def groups(self, columns: int) -> int:
        """How many scales a row of so many columns has."""
        return columns // self.group if self.group else 1

    def shapes(self, rows: int, columns: int) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """A layer's tensors but for its bias: shape and dtype by name."""
        scale = ((rows, self.groups(columns)), torch.float32)
        if self.bits == 8:
            return {"weight": ((rows, columns), torch.int8), "weight_scale": scale}
        packed = ((rows, columns // CODES_A_WORD), torch.int32)
        return {"weight_packed": packed, "weight_scale": scale, "weight_shape": ((2,), torch.int64)}

    def tensors(self, codes_OI: Tensor, scale_OG: Tensor) -> dict[str, Tensor]:
        """A layer's tensors but for its bias, from codes (int8) and scales."""
        if self.bits == 8:
            return {"weight": codes_OI, "weight_scale": scale_OG}
        shape = torch.tensor(codes_OI.shape, dtype=torch.int64)
        return {"weight_packed": pack(codes_OI), "weight_scale": scale_OG, "weight_shape": shape}


INT8 = Scheme(8)


def pack(codes_OI: Tensor) -> Tensor:
    """Codes from -8 to 7 (int8) to words of eight (O, W), int32. Columns: a multiple of 8.

    >>> hex(pack(torch.tensor([[-8, -7, 0, 7, -8, -8, -8, -8]], dtype=torch.int8)).item())
    '0xf810'
    """
    nibbles_OW8 = (codes_OI.to(torch.uint8) + 8).bitwise_and_(15).unflatten(1, (-1, CODES_A_WORD)).to(torch.int32)
    shifts_8 = torch.arange(0, 32, 4, dtype=torch.int32, device=codes_OI.device)
    return (nibbles_OW8 << shifts_8).sum(dim=-1, dtype=torch.int32)


def unpack(words_OW: Tensor) -> Tensor:
    """`pack`'s codes again (O, I), int8; whatever stands in a word is eight codes."""
    # Two a byte, of which a word's lowest come first on every processor that PyTorch runs on.
    bytes_OB = words_OW.contiguous().view(torch.uint8)
    codes_OB2 = torch.empty(*bytes_OB.shape, 2, dtype=torch.uint8, device=words_OW.device)
    torch.bitwise_and(bytes_OB, 15, out=codes_OB2[..., 0])
    torch.bitwise_right_shift(bytes_OB, 4, out=codes_OB2[..., 1])
    return codes_OB2.view(torch.int8).sub_(8).flatten(1)


def dequantise(codes_OI: Tensor, scale_OG: Tensor) -> Tensor:
    """Codes and their scales to fp32 (O, I)."""
    return (codes_OI.unflatten(1, (scale_OG.shape[1], -1)).float() * scale_OG.float()[..., None]).flatten(1)


class QuantizedLinear(nn.Module):
    """Stands in for a `Linear` whose weight is stored in whole numbers; it has buffers only and learns nothing."""

    weight_scale: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, out_features: int, scheme: Scheme, bias: bool = False) -> None:
        super().__init__()
        self.in_features, self.out_features, self.scheme = in_features, out_features, scheme
        for name, (shape, dtype) in scheme.shapes(out_features, in_features).items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))
        self.register_buffer("bias", torch.zeros(out_features) if bias else None)
        self._product: Int8 | Int4 | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) to (..., O), in the precision of `x`."""
        out: Tensor = self.product(x.flatten(0, -2)).view(*x.shape[:-1], self.out_features)
        return out if self.bias is None else out + self.bias.to(out.dtype)

    @property
    def product(self) -> Int8 | Int4:
        """What multiplies rows with the weight, the bias left out; made when it is first asked for.

        It holds the codes in an order of its own, and the buffers' numbers are let go until they are wanted again.
        """
        if self._product is None:
            codes_OI, scale_OG = self.stored()
            self._product = Int8(codes_OI, scale_OG[:, 0]) if self.scheme.bits == 8 else Int4(codes_OI, scale_OG)
            for name in self.scheme.shapes(1, 1):
                self._buffers[name] = self.get_buffer(name).to("meta")
        return self._product

    def operand(self, dtype: torch.dtype, rows: int) -> Operand | None:
        """As `HasOperand`."""
        packed = self.product.packed
        if packed is None or self.bias is not None:
            return None
        return Operand(INTEGERS, packed.row(), packed.inputs, packed.outputs, packed.group)

    def stored(self) -> tuple[Tensor, Tensor]:
        """The weight's codes (O, I), int8, and scales (O, G), fp32."""
        if self._product is not None:
            codes_OI, scale = self._product.codes()
            return codes_OI, scale.view(self.out_features, -1)
        stored = self.get_buffer("weight" if self.scheme.bits == 8 else "weight_packed")
        return stored if self.scheme.bits == 8 else unpack(stored), self.weight_scale.float()

    def dequantised(self) -> Tensor:
        """The weight that the codes stand for (O, I), fp32."""
        return dequantise(*self.stored())

    def _take_back(self) -> None:
        """The buffers' numbers again, from the product, which goes."""
        if self._product is not None:
            self._buffers.update(self.scheme.tensors(*self.stored()))
            self._product = None

    def _apply(self, fn: Any, recurse: bool = True) -> QuantizedLinear:
        """Moves the buffers. Scales stay fp32 whatever the network becomes: they are no activations."""
        self._take_back()
        scale = self.weight_scale
        super()._apply(fn, recurse)
        if self.weight_scale.dtype != scale.dtype:
            self.weight_scale = scale.to(self.weight_scale.device)
        return self

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._take_back()
        super()._save_to_state_dict(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._take_back()
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, {self.scheme}"


def replace_linears(model: nn.Module, layers: Mapping[str, Scheme]) -> nn.Module:
    """Puts a `QuantizedLinear` in the place of each layer named, on the meta device; returns the model."""
    for name, scheme in layers.items():
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        with torch.device("meta"):
            bias = linear.bias is not None
            model.set_submodule(name, QuantizedLinear(linear.in_features, linear.out_features, scheme, bias))
    return model


def is_quantised(model: nn.Module) -> bool:
    return any(isinstance(module, QuantizedLinear) for module in model.modules())


def layers_of(names: Iterable[str], shape_of: Callable[[str], tuple[int, ...]]) -> dict[str, Scheme]:
    """Which layers a folder's tensors say are quantised, and how, by name.

    shape_of: a stored tensor's shape. What cannot be told is left to whoever holds the folder against its model.
    """
    found, stored = {}, set(names)
    for name in stored:
        stem, _, last = name.rpartition(".")
        scale = f"{stem}.weight_scale"
        if last == "weight_packed" and scale in stored:
            words, scales = shape_of(name)[-1:], shape_of(scale)[-1:]
            columns = CODES_A_WORD * words[0] if words else 0
            found[stem] = Scheme(4, columns // scales[0] if scales and scales[0] else 0)
        elif last == "weight" and scale in stored:
            found[stem] = INT8
    return dict(sorted(found.items()))


def read_schemes(config: Mapping[str, Any]) -> frozenset[Scheme]:
    """The schemes that a `quantization_config` of compressed-tensors allows its layers.

    Raises CheckpointError for what is not covered (see above), naming it and what is.
    """
    _only(config, "kv_cache_scheme", None)
    for name in ("sparsity_config", "transform_config"):
        if config.get(name) not in (None, {}):
            _only(config, name, None)
    groups = config.get("config_groups")
    if not isinstance(groups, Mapping) or not groups or not all(isinstance(g, Mapping) for g in groups.values()):
        raise CheckpointError(
            f"config.json: quantization_config's config_groups are {quoted(groups)}; expected an object of schemes, "
            "each with its weights written out."
        )
    return frozenset(_scheme(group, config.get("format")) for group in groups.values())


def _scheme(group: Mapping[str, Any], format_: Any) -> Scheme:
    weights = group.get("weights")
    if not isinstance(weights, Mapping):
        raise CheckpointError(f"config.json: quantised weights are {quoted(weights)}; expected an object.")
    for name, wanted in (("type", "int"), ("symmetric", True)):
        _only(weights, name, wanted)
    for name in ("dynamic", "block_structure"):
        _only(weights, name, None, False)
    _only(weights, "actorder", None, False, "weight", "static")
    _only(group, "output_activations", None)
    bits, strategy, size = (weights.get(name) for name in ("num_bits", "strategy", "group_size"))
    if bits == 8 and strategy == "channel" and size in (None, -1):
        scheme = INT8
        _check_activations(group.get(ACTIVATIONS))
    elif bits == 4 and strategy == "group" and type(size) is int and size in GROUPS and not group.get(ACTIVATIONS):
        scheme = Scheme(4, size)
    else:
        raise CheckpointError(
            f"config.json: weights of {quoted(bits)} bits by {quoted(strategy)} (group_size {quoted(size)}) with these "
            "activations are not covered; denken reads int8 by channel with activations int8 by token, and int4 in "
            f"groups of {', '.join(map(str, GROUPS))}. Use the unquantised release and `denken quantize`."
        )
    own = group.get("format") or format_
    if own != scheme.format and not (own == MIXED and format_ == MIXED):
        raise CheckpointError(
            f"config.json: the format {quoted(own)} is not covered for {bits} bits; denken reads {scheme.format!r}. "
            "Use the unquantised release and `denken quantize`."
        )
    return scheme


def _check_activations(found: Any) -> None:
    """Refuses all but int8, dynamic, a token at a time."""
    if not isinstance(found, Mapping):
        raise CheckpointError(
            f"config.json: the input_activations of int8 weights are {quoted(found)}; denken computes with int8 "
            "activations, dynamic by token, and would compute something else than was meant."
        )
    for name, wanted in (
        ("num_bits", 8),
        ("type", "int"),
        ("symmetric", True),
        ("dynamic", True),
        ("strategy", "token"),
    ):
        _only(found, name, wanted)


def _only(found: Mapping[str, Any], name: str, *wanted: Any) -> None:
    value = found.get(name)
    if not any(type(value) is type(one) and value == one for one in wanted):
        raise CheckpointError(
            f"config.json: the quantisation's {name} is {quoted(value)}, and denken reads "
            f"{' or '.join(map(repr, wanted))}; use the unquantised release and `denken quantize`."
        )


def to_hf(model: nn.Module) -> dict[str, Any]:
    """A model's `quantization_config`, as compressed-tensors writes it."""
    quantised = {name: m.scheme for name, m in model.named_modules() if isinstance(m, QuantizedLinear)}
    schemes = sorted(set(quantised.values()), key=lambda scheme: (scheme.bits, scheme.group))
    others = [name for name, m in model.named_modules() if isinstance(m, nn.Linear | Router)]
    groups = {}
    for number, scheme in enumerate(schemes):
        mine = [name for name in quantised if quantised[name] == scheme]
        groups[f"group_{number}"] = _group(scheme, ["Linear"] if len(schemes) == 1 else mine)
    return {
        "quant_method": METHOD,
        "format": schemes[0].format if len(schemes) == 1 else MIXED,
        "quantization_status": "compressed",
        "config_groups": groups,
        # Heads that are the embedding are linear layers elsewhere.
        "ignore": sorted({*others, "lm_head"}),
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
    }


def _group(scheme: Scheme, targets: list[str]) -> dict[str, Any]:
    common = {"type": "int", "symmetric": True, "block_structure": None, "actorder": None}
    weights = {
        "num_bits": scheme.bits,
        "strategy": "group" if scheme.group else "channel",
        "group_size": scheme.group or None,
        "dynamic": False,
        **common,
    }
    activations = {"num_bits": 8, "strategy": "token", "group_size": None, "dynamic": True, **common}
    return {
        "targets": targets,
        "weights": weights,
        # Of int4, other programs keep activations as they are; here they are rounded whatever the file says.
        ACTIVATIONS: activations if scheme.bits == 8 else None,
        "output_activations": None,
        "format": scheme.format,
    }
