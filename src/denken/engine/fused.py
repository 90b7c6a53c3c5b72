"""The same network with fewer, larger operations: what a step of many small rows on a CPU spends its time between.

Queries, keys and values come from one product, gate and up from another; queries and keys are normalised and turned
as one tensor. In fp32 the norms' weights, and attention's scale, are multiplied into the matrices behind them, and
sums into the residual are the products' own; in bf16, where every rounding counts, each number is rounded where
`denken.model` rounds it, so that sampler and trainer stay together.

The weights are copies, taken anew by `refresh`. Only dense networks with grouped attention are covered, and only small
ones, for the copies' memory; the others run through `denken.model` itself. Copies stay where they are when they are
taken anew, so that a CUDA graph which reads them stays right.
"""

# N = tokens of the step (one row), M = hidden size, I = feed-forward size, H = query heads, K = key heads,
# D = columns of a head, F = D / 2, V = vocabulary

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denken.model.attention import Attend, CacheLayout, GroupedAttention
from denken.model.compressed import bytes_of, compressed_layers
from denken.model.layers import MLP, RMSNorm
from denken.model.quantized import is_quantised
from denken.model.rope import rotate
from denken.model.transformer import Block, Transformer

# Networks whose weights take more gain little from this: their products are large enough.
LARGEST = 256 << 20


def is_small(model: Transformer) -> bool:
    """Whether copies of its weights, and of what a cache holds, cost little beside what they save."""
    return bytes_of(model) <= LARGEST


def norms_of(attention: GroupedAttention) -> Tensor | None:
    """The norms of its queries' and keys' heads (H + K, D); None where there are none."""
    if attention.q_norm is None or attention.k_norm is None:
        return None
    heads = (layer.out_features // attention.head_dim for layer in (attention.q_proj, attention.k_proj))
    norms = (attention.q_norm.weight, attention.k_norm.weight)
    return torch.cat([norm_D.expand(count, -1) for norm_D, count in zip(norms, heads, strict=True)])


@dataclass(slots=True)
class Layer:
    """One layer's weights. qkv (H + 2K heads of D, M), gate_up (2I, M); a norm's weight is None where it has gone into
    the matrix behind it. turn (H + K, D): the norms of queries and keys, None where there are none."""

    qkv: Tensor
    qkv_bias: Tensor | None
    out: Tensor
    out_bias: Tensor | None
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None
    before_attention: Tensor | None
    before_mlp: Tensor | None
    turn: Tensor | None

    def move_to(self, last: Layer) -> None:
        """Puts what is a copy of weights into the memory of an earlier one."""
        self.qkv, self.gate_up = _moved(self.qkv, last.qkv), _moved(self.gate_up, last.gate_up)
        if self.qkv_bias is not None and last.qkv_bias is not None:
            self.qkv_bias = _moved(self.qkv_bias, last.qkv_bias)
        if self.gate_up_bias is not None and last.gate_up_bias is not None:
            self.gate_up_bias = _moved(self.gate_up_bias, last.gate_up_bias)
        if self.turn is not None and last.turn is not None:
            self.turn = _moved(self.turn, last.turn)


def _moved(new: Tensor, last: Tensor) -> Tensor:
    """The new numbers where the last ones are, if they fit there."""
    if last.dtype != new.dtype or last.shape != new.shape or last.device != new.device:
        return new
    return last.copy_(new)


class Fused:
    """Stands in for `model` where logits are wanted and gradients are not. Raises nothing that the model does not."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.config = model.config
        self.fold = model.head_weight.dtype == torch.float32
        self.layers: list[Layer] = []
        self.head = model.head_weight
        self.refresh()

    @staticmethod
    def covers(model: Transformer) -> bool:
        if model.config.is_latent or model.config.n_routed_experts or is_quantised(model) or compressed_layers(model):
            return False
        alike = {(p.dtype, p.device.type) for p in model.parameters()}
        return len(alike) == 1 and is_small(model)

    @torch.inference_mode()
    def refresh(self) -> None:
        """Takes the model's weights as they are now."""
        self._look_at_weights()
        layers = [self._layer(block) for block in self.model.blocks]
        # Logits are not rounded to bf16: at 30, that would be by a sixteenth.
        head = self.model.head_weight.float()
        if self.layers:
            for layer, last in zip(layers, self.layers, strict=True):
                layer.move_to(last)
            head = head if self.fold else _moved(head, self.head)
        self.layers, self.head = layers, head

    def keep_up(self) -> None:
        """Takes the weights anew if they have changed in place."""
        if self._versions() != self._seen:
            self.refresh()

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor | None = None, attend: Attend | None = None) -> Tensor:
        """As `Transformer.hidden`, for one row of ids; positions and attend must be given."""
        assert positions_BT is not None
        assert attend is not None
        self.keep_up()
        config, model = self.config, self.model
        heads, keys = config.num_attention_heads, config.num_key_value_heads
        scale = config.head_dim**-0.5
        cos, sin = (x[0].to(model.head_weight.dtype) for x in model.rotary(positions_BT))
        cos_N1D = torch.cat((cos, cos), dim=-1)
        eps = config.rms_norm_eps
        x_NM: Tensor = model.model["embed_tokens"](ids_BT[0])
        for number, layer in enumerate(self.layers):
            qkv_NAD = F.linear(_norm(x_NM, layer.before_attention, eps), layer.qkv, layer.qkv_bias).unflatten(
                -1, (-1, config.head_dim)
            )
            turned_NAD, value_NKD = qkv_NAD.split((heads + keys, keys), dim=1)
            if layer.turn is not None:
                turned_NAD = _norm(turned_NAD, layer.turn, eps)
            turned_NAD = _turn(turned_NAD, cos_N1D, sin) if self.fold else rotate(turned_NAD, cos, sin)
            query_NHD, key_NKD = turned_NAD.split((heads, keys), dim=1)
            seen_NHD = attend(number, query_NHD[None], key_NKD[None], value_NKD[None], scale)[0]
            x_NM = self._add(x_NM, seen_NHD.flatten(1), layer.out, layer.out_bias)
            gate_NI, up_NI = F.linear(_norm(x_NM, layer.before_mlp, eps), layer.gate_up, layer.gate_up_bias).chunk(
                2, dim=-1
            )
            x_NM = self._add(x_NM, F.silu(gate_NI).mul_(up_NI), layer.down, layer.down_bias)
        return model.model["norm"](x_NM)[None]

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden.float(), self.head)

    @property
    def cache_layout(self) -> CacheLayout:
        return self.model.cache_layout

    def _add(self, x_NM: Tensor, inner: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if self.fold and bias is None:
            return x_NM.addmm_(inner, weight.t())
        return x_NM.add_(F.linear(inner, weight, bias))

    def _layer(self, block: nn.Module) -> Layer:
        assert isinstance(block, Block)
        attention, mlp = block.self_attn, block.mlp
        assert isinstance(attention, GroupedAttention)
        assert isinstance(mlp, MLP)
        before_attention, qkv, qkv_bias = self._behind(
            block.input_layernorm, attention.q_proj, attention.k_proj, attention.v_proj
        )
        before_mlp, gate_up, gate_up_bias = self._behind(block.post_attention_layernorm, mlp.gate_proj, mlp.up_proj)
        out, down = attention.o_proj, mlp.down_proj
        return Layer(
            qkv,
            qkv_bias,
            out.weight,
            out.bias,
            gate_up,
            gate_up_bias,
            down.weight,
            down.bias,
            before_attention,
            before_mlp,
            norms_of(attention),
        )

    def _behind(self, norm: RMSNorm, *projections: nn.Linear) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """The norm's weight, unless it went into the matrix, the projections' matrix, and their bias."""
        weight = torch.cat([projection.weight for projection in projections])
        biases: list[Tensor] = [projection.bias for projection in projections if projection.bias is not None]
        bias = torch.cat(biases) if biases else None
        return (None, weight * norm.weight, bias) if self.fold else (norm.weight, weight, bias)

    def _look_at_weights(self) -> None:
        """Those that can be changed in place, and what they are now."""
        self._parameters = [p for p in self.model.parameters() if not p.is_inference()]
        self._seen = self._versions()

    def _versions(self) -> list[int]:
        """Changes whenever a weight is changed in place: nobody should sample from weights that are no more."""
        return [p._version for p in self._parameters]


def _norm(x: Tensor, weight: Tensor | None, eps: float) -> Tensor:
    """RMS norm over the last dimension; the weight may differ from head to head."""
    if x.device.type != "cpu":
        # One operation there, where each costs the same time however small it is.
        if weight is None or weight.ndim == 1:
            return F.rms_norm(x, x.shape[-1:], weight, eps)
        return (F.rms_norm(x.float(), x.shape[-1:], None, eps) * weight).to(x.dtype)
    if x.dtype != torch.float32:
        # The very operations of F.rms_norm, which adds up in fp32: another order of adding would round otherwise.
        wide = x.float()
        out = wide * wide.pow(2).mean(dim=-1, keepdim=True).add_(eps).rsqrt_()
        return (out if weight is None else out.mul_(weight)).to(x.dtype)
    out = x * torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    return out if weight is None else out.mul_(weight)


def _turn(x_NAD: Tensor, cos_N1D: Tensor, sin_N1F: Tensor) -> Tensor:
    """`rotate` in three passes."""
    a, b = x_NAD.chunk(2, dim=-1)
    out = x_NAD * cos_N1D
    first, second = out.chunk(2, dim=-1)
    first.addcmul_(b, sin_N1F, value=-1)
    second.addcmul_(a, sin_N1F)
    return out
