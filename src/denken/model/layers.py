"""The small parts that every family shares: RMS norm, SwiGLU, and rotary position embeddings with their scalings.

Attention is in `attention.py`, mixtures of experts in `moe.py`.
Parameter names are checkpoint keys and are Hugging Face's.
"""

# B = sequences, T = tokens, H = heads, D = columns of a head, F = D / 2 rotary frequencies

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denken.model.config import ModelConfig, RopeScaling


class Linear(nn.Linear):
    """A linear layer whose numbers come from `Transformer` or a checkpoint: none are drawn here only to be replaced."""

    def reset_parameters(self) -> None:
        pass


class RMSNorm(nn.Module):
    """Root-mean-square norm over the last dimension (Zhang and Sennrich 2019)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        # Under autocast the weight is an fp32 master: casting it keeps a bf16 activation in bf16.
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), self.eps)


class MLP(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x))."""

    def __init__(self, hidden_size: int, intermediate_size: int, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = Linear(hidden_size, intermediate_size, bias=bias)
        self.up_proj = Linear(hidden_size, intermediate_size, bias=bias)
        self.down_proj = Linear(intermediate_size, hidden_size, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Rotary:
    """Rotary position embeddings (Su et al. 2021), computed once a forward pass and shared by its layers.

    Not a module: frequencies are neither weights nor to be rounded when a model is cast to bf16.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.size = config.head_dim
        self.theta = config.rope_theta
        self.scaling = config.rope_scaling
        self.context = config.max_position_embeddings
        # What cos and sin are multiplied with: yarn's attention temperature, 1 otherwise.
        self.magnitude = yarn_magnitude(config.rope_scaling)
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


def _mscale(factor: float, weight: float = 1.0) -> float:
    return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0


def yarn_magnitude(scaling: RopeScaling | None) -> float:
    """What yarn multiplies cos and sin with: `attention_factor`, or what follows from the factor and mscale."""
    if scaling is None or scaling.rope_type != "yarn":
        return 1.0
    if scaling.attention_factor is not None:
        return scaling.attention_factor
    if scaling.mscale and scaling.mscale_all_dim:
        return _mscale(scaling.factor, scaling.mscale) / _mscale(scaling.factor, scaling.mscale_all_dim)
    return _mscale(scaling.factor)


def latent_scale(config: ModelConfig) -> float:
    """The factor on MLA's scores: one over the root of the head's size, times DeepSeek's yarn temperature squared."""
    scale = (config.qk_nope_head_dim + config.qk_rope_head_dim) ** -0.5
    scaling = config.rope_scaling
    if scaling is None or not scaling.mscale_all_dim:
        return scale
    return scale * _mscale(scaling.factor, scaling.mscale_all_dim) ** 2
