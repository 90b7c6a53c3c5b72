"""The same network in native kernels (`denken.model.kernels`): what a step of many small rows spends its time between.

Queries, keys and values come from one product, gate and up from another; everything between two products is one pass
over memory. In fp32 every number is the one that `denken.model` computes for that token, to the bit; in bf16 products
are PyTorch's, where one of three matrices may add in another order than three.

The weights are copies, taken anew by `refresh`. Covers what `Fused` covers.
"""

# N = tokens of the step (one row), M = hidden size, I = feed-forward size, H = query heads, K = key heads,
# D = columns of a head, F = D / 2, V = vocabulary

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denken.engine.fused import Fused
from denken.model.attention import Attend, GroupedAttention
from denken.model.kernels.call import covers
from denken.model.kernels.elementwise import LONGEST_NORM, gated, norm, norm_turned
from denken.model.kernels.products import Packed
from denken.model.layers import MLP
from denken.model.transformer import Block, Transformer

Product = Callable[[Tensor], Tensor]
# Adds to what a product of a layer ("qkv", "out", "gate_up", "down") made of its inputs, in place.
Beside = Callable[[int, str, Tensor, Tensor], None]


@dataclass(slots=True)
class NativeLayer:
    """One layer's weights. turn (H + K, D): the norms of queries and keys, None where there are none."""

    before_attention: Tensor
    qkv: Product
    turn: Tensor | None
    out: Product
    before_mlp: Tensor
    gate_up: Product
    down: Product


class Native(Fused):
    """Stands in for `model` where logits are wanted and gradients are not. Raises nothing that the model does not.

    beside: what is added to the layers' products in a step with rows that have an adapter (see `adapters.py`); None in
        every other step. A way that does not go through `_product` is only for steps without it.
    """

    beside: Beside | None = None

    @staticmethod
    def covers(model: Transformer) -> bool:
        return Fused.covers(model) and covers(model.head_weight) and model.config.hidden_size <= LONGEST_NORM

    @torch.inference_mode()
    def refresh(self) -> None:
        """Takes the model's weights as they are now."""
        self._parameters = list(self.model.parameters())
        self._seen = self._versions()
        self.native = [self._native_layer(block) for block in self.model.blocks]
        # Logits are not rounded to bf16: at 30, that would be by a sixteenth.
        self.packed_head = Packed(self.model.head_weight.float().t())

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor | None = None, attend: Attend | None = None) -> Tensor:
        """As `Transformer.hidden`, for one row of ids; positions and attend must be given."""
        assert positions_BT is not None
        assert attend is not None
        if self._versions() != self._seen:
            self.refresh()
        config, model = self.config, self.model
        heads, keys = config.num_attention_heads, config.num_key_value_heads
        eps, scale, size = config.rms_norm_eps, config.head_dim**-0.5, config.intermediate_size
        cos_NF, sin_NF = (x[0, :, 0].contiguous() for x in model.rotary(positions_BT))
        x_NM: Tensor = model.model["embed_tokens"](ids_BT[0])
        for number, layer in enumerate(self.native):
            qkv_NX = self._product(number, "qkv", norm(x_NM, layer.before_attention, eps))
            qkv_NAD = qkv_NX.unflatten(-1, (-1, config.head_dim))
            turned_NAD = norm_turned(qkv_NAD[:, : heads + keys], layer.turn, eps, cos_NF, sin_NF)
            query_NHD, key_NKD = turned_NAD[:, :heads], turned_NAD[:, heads:]
            seen_NHD = attend(number, query_NHD[None], key_NKD[None], qkv_NAD[None, :, heads + keys :], scale)[0]
            x_NM.add_(self._product(number, "out", seen_NHD.flatten(1)))
            inner_NX = self._product(number, "gate_up", norm(x_NM, layer.before_mlp, eps))
            x_NM.add_(self._product(number, "down", gated(inner_NX[:, :size], inner_NX[:, size:])))
        return norm(x_NM, cast(Tensor, model.model["norm"].weight), eps)[None]

    def logits(self, hidden: Tensor) -> Tensor:
        return self.packed_head(hidden.float())

    def _product(self, number: int, part: str, x_NI: Tensor) -> Tensor:
        product: Product = getattr(self.native[number], part)
        out_NO = product(x_NI)
        if self.beside is not None:
            self.beside(number, part, x_NI, out_NO)
        return out_NO

    def _native_layer(self, block: nn.Module) -> NativeLayer:
        assert isinstance(block, Block)
        attention, mlp = block.self_attn, block.mlp
        assert isinstance(attention, GroupedAttention)
        assert isinstance(mlp, MLP)
        turn = None
        if attention.q_norm is not None and attention.k_norm is not None:
            queries = attention.q_norm.weight.expand(self.config.num_attention_heads, -1)
            turn = torch.cat((queries, attention.k_norm.weight.expand(self.config.num_key_value_heads, -1)))
        return NativeLayer(
            block.input_layernorm.weight,
            _product([attention.q_proj, attention.k_proj, attention.v_proj]),
            turn,
            _product([attention.o_proj]),
            block.post_attention_layernorm.weight,
            _product([mlp.gate_proj, mlp.up_proj]),
            _product([mlp.down_proj]),
        )


def _product(layers: Sequence[nn.Linear]) -> Product:
    """What all these layers make of a row, side by side."""
    weight = torch.cat([layer.weight for layer in layers])
    biases: list[Tensor] = [layer.bias for layer in layers if layer.bias is not None]
    bias = torch.cat(biases) if biases else None
    if weight.dtype != torch.float32:
        return lambda x_NI: F.linear(x_NI, weight, bias)
    packed = Packed(weight.t())
    return packed if bias is None else lambda x_NI: packed(x_NI).add_(bias)
