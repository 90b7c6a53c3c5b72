"""Rotary position embeddings, and how they are stretched to longer contexts.

Su et al. 2021 (RoPE); linear, dynamic (NTK), YaRN (Peng et al. 2023) and Llama 3.1's scalings. Longrope, partial and
multimodal rotations are not covered.
"""

# B = sequences, T = tokens, H = heads, D = columns of a head, F = D / 2 rotary frequencies

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from denken.errors import ConfigError
from denken.model.fields import Fields, check_above, unknown
from denken.model.kernels.call import covers
from denken.model.kernels.elementwise import Turned

ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3")

_YARN_FIELDS = ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim")
_LLAMA3_FIELDS = ("low_freq_factor", "high_freq_factor")
# The numbers that each type reads and writes, and those that it cannot do without.
_FIELDS = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "original_max_position_embeddings", *_LLAMA3_FIELDS),
    "yarn": ("factor", "original_max_position_embeddings", *_YARN_FIELDS),
}


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the length that the model was pre-trained on.

    rope_type: "linear", "dynamic" (NTK), "yarn" (Peng et al. 2023) or "llama3" (Llama 3.1).
    factor: how many times longer.
    original_max_position_embeddings: the length before, in tokens (yarn, llama3; 0 where it is not used).
    low_freq_factor, high_freq_factor: below and above how many turns over that length a frequency is stretched
        fully and not at all (llama3).  beta_fast, beta_slow: the same for yarn, fast first.
    mscale, mscale_all_dim: DeepSeek's extra temperature on attention scores (yarn).
    """

    rope_type: str
    factor: float
    original_max_position_embeddings: int = 0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool = True

    def __post_init__(self) -> None:
        if self.rope_type not in ROPE_TYPES or self.rope_type == "default":
            raise ConfigError(unknown("RoPE type", self.rope_type, ROPE_TYPES))
        for name in ("factor", "beta_fast", "beta_slow", *_LLAMA3_FIELDS):
            check_above(f"rope_scaling.{name}", getattr(self, name), 0)
        for name in ("attention_factor", "mscale", "mscale_all_dim"):
            check_above(f"rope_scaling.{name}", getattr(self, name) or 0.0, -1e-300)
        if self.rope_type == "llama3" and self.low_freq_factor >= self.high_freq_factor:
            raise ConfigError(
                f"rope_scaling.low_freq_factor ({self.low_freq_factor}) must be below "
                f"high_freq_factor ({self.high_freq_factor})."
            )
        if self.rope_type in ("llama3", "yarn") and self.original_max_position_embeddings < 1:
            raise ConfigError(f"RoPE type {self.rope_type!r} needs original_max_position_embeddings in rope_scaling.")

    @classmethod
    def from_hf(cls, fields: Fields, context: int, original: int | None = None) -> RopeScaling | None:
        """Reads `rope_scaling` or `rope_parameters`; None where nothing is scaled.

        context: `max_position_embeddings`. original: the original length, where config.json gives it further out.
        """
        kind = fields.data.get("rope_type", fields.data.get("type", "default"))
        if kind == "default":
            return None
        if kind not in ROPE_TYPES:
            raise ConfigError(unknown("RoPE type", kind, ROPE_TYPES))
        if kind != "yarn":
            fields.only("mscale_all_dim", 0)  # DeepSeek's code scales attention by it whatever the type
        found = {name: fields.number(name) for name in _FIELDS[kind] if fields.has(name)}
        found.pop("original_max_position_embeddings", None)
        if kind in ("yarn", "llama3"):
            original = original or fields.integer("original_max_position_embeddings", context)
        if kind == "yarn" and original:
            found.setdefault("factor", context / original)
        for name in ("factor", *(_LLAMA3_FIELDS if kind == "llama3" else ())):
            if name not in found:
                found[name] = fields.number(name)  # absent: this names it
        truncate = fields.flag("truncate", True)
        return cls(kind, original_max_position_embeddings=original or 0, truncate=truncate, **found)

    def to_hf(self) -> dict[str, Any]:
        """`rope_scaling` with this type's own fields alone; transformers 4 reads "type", 5 "rope_type"."""
        data: dict[str, Any] = {"rope_type": self.rope_type, "type": self.rope_type}
        for name in _FIELDS[self.rope_type]:
            if getattr(self, name) is not None:
                data[name] = getattr(self, name)
        if not self.truncate:
            data["truncate"] = False
        return data


class Rotary:
    """Rotary position embeddings (Su et al. 2021), computed once a forward pass and shared by its layers.

    Not a module: frequencies are neither weights nor to be rounded when a model is cast to bf16.

    size: columns of a head that turn. theta: the base. context: `max_position_embeddings`, for "dynamic".
    """

    def __init__(self, size: int, theta: float, scaling: RopeScaling | None, context: int) -> None:
        self.size = size
        self.theta = theta
        self.scaling = scaling
        self.context = context
        # What cos and sin are multiplied with: yarn's attention temperature, 1 otherwise.
        self.magnitude = yarn_magnitude(scaling)
        self._frequencies: dict[torch.device, Tensor] = {}

    def __call__(self, positions_BT: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, fp32, each (B, T, 1, D / 2): one angle a pair of columns, the same for every head."""
        angles_BTF = positions_BT[..., None].float() * self._frequencies_for(positions_BT)
        return angles_BTF.cos()[:, :, None] * self.magnitude, angles_BTF.sin()[:, :, None] * self.magnitude

    def _frequencies_for(self, positions_BT: Tensor) -> Tensor:
        device = positions_BT.device
        if device not in self._frequencies:
            self._frequencies[device] = frequencies(self.size, self.theta, self.scaling).to(device)
        if self.scaling is None or self.scaling.rope_type != "dynamic":
            return self._frequencies[device]
        # Dynamic NTK: the base grows with the row's own length once that passes the context.
        length_B = positions_BT.amax(dim=1).float().clamp(min=self.context - 1) + 1
        growth_B = self.scaling.factor * length_B / self.context - (self.scaling.factor - 1)
        base_B = self.theta * growth_B ** (self.size / (self.size - 2))
        exponents_F = torch.arange(0, self.size, 2, device=device).float() / self.size
        return (1.0 / base_B[:, None] ** exponents_F)[:, None]


def rotate(x_BTHD: Tensor, cos_BT1F: Tensor, sin_BT1F: Tensor, *, interleaved: bool = False) -> Tensor:
    """Rotates pairs of columns by their angles: columns (i, i + D/2), or (2i, 2i + 1) where `interleaved`.

    Interleaved input comes out in the first layout, as in DeepSeek's code: dot products do not see the difference,
    as long as queries and keys are treated alike.
    """
    if not interleaved and x_BTHD.ndim == 4 and covers(x_BTHD) and covers(cos_BT1F, sin_BT1F):
        turned: Tensor = Turned.apply(x_BTHD, cos_BT1F.float(), sin_BT1F.float())
        return turned
    cos, sin = cos_BT1F.to(x_BTHD.dtype), sin_BT1F.to(x_BTHD.dtype)
    a, b = (x_BTHD[..., 0::2], x_BTHD[..., 1::2]) if interleaved else x_BTHD.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


def frequencies(size: int, theta: float, scaling: RopeScaling | None) -> Tensor:
    """Radians a token for each pair of columns, fp32 (size / 2,), after the scaling ("dynamic": its start value)."""
    exponents = torch.arange(0, size, 2, device="cpu").float() / size  # also where the default device is another
    plain = 1.0 / theta**exponents
    if scaling is None or scaling.rope_type == "dynamic":
        return plain
    if scaling.rope_type == "linear":
        return plain / scaling.factor
    return _llama3(plain, scaling) if scaling.rope_type == "llama3" else _yarn(plain, theta, scaling)


def _llama3(plain: Tensor, scaling: RopeScaling) -> Tensor:
    """Llama 3.1: long waves are stretched by the factor, short ones kept, those between blended."""
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    turns = scaling.original_max_position_embeddings * plain / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return kept * plain + (1 - kept) * plain / scaling.factor


def _yarn(plain: Tensor, theta: float, scaling: RopeScaling) -> Tensor:
    """YaRN (Peng et al. 2023, section 3.2): a ramp over the columns from kept to interpolated frequencies."""
    size = 2 * len(plain)

    def column(turns: float) -> float:
        """The column whose wave makes this many turns over the original context."""
        waves = scaling.original_max_position_embeddings / (turns * 2 * math.pi)
        return size * math.log(waves) / (2 * math.log(theta))

    low, high = column(scaling.beta_fast), column(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, size - 1)
    if low == high:
        high += 0.001
    stretched = ((torch.arange(len(plain), device=plain.device).float() - low) / (high - low)).clamp(0, 1)
    return plain / scaling.factor * stretched + plain * (1 - stretched)


def mscale(factor: float, weight: float = 1.0) -> float:
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def yarn_magnitude(scaling: RopeScaling | None) -> float:
    """What yarn multiplies cos and sin with: `attention_factor`, or what follows from the factor and mscale."""
    if scaling is None or scaling.rope_type != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        return mscale(scaling.factor, scaling.mscale) / mscale(scaling.factor, scaling.mscale_all_dim)
    return mscale(scaling.factor)
