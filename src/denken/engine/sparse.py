"""Networks with experts, or with latent attention, in native kernels: a step in which everybody decodes is one call.

What `native.py` is for dense networks with grouped attention. Steps that read prompts go through the network's own
layers (with grouped attention, short ones do not), and so do rows with adapters. Weights of small networks, and of fp32
ones up to `native.COPIED`, are copies, taken anew by `refresh`; others are read where they lie, bf16 in large pages.

Numbers are those of the layers; in large bf16 networks a few rows of a small matrix may add up in another order.
"""

# M = hidden size, H = query heads, X = columns of a head's plain keys and of its values, C = columns of the latent

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn

from denken.engine.fused import norms_of
from denken.engine.native import MOST_READ, Decodes, give_back, is_copied
from denken.engine.products import AnyProduct, product
from denken.model.attention import Attend, GroupedAttention, LatentAttention
from denken.model.kernels import bf16, operands
from denken.model.kernels.call import covers
from denken.model.kernels.decode import Decoder, Latent, Layer, Mixture
from denken.model.kernels.elementwise import LONGEST_NORM
from denken.model.kernels.pages import collapse
from denken.model.kernels.products import Packed
from denken.model.layers import MLP
from denken.model.moe import MixtureOfExperts
from denken.model.quantized import is_quantised
from denken.model.transformer import Block, Transformer

Pair = tuple[operands.Product, operands.Product]


class Sparse(Decodes):
    """Stands in for `model` where logits are wanted and gradients are not."""

    @staticmethod
    def covers(model: Transformer) -> bool:
        like = model.head_weight
        return covers(like) and (like.dtype == torch.bfloat16 or is_copied(model))

    @torch.inference_mode()
    def refresh(self) -> None:
        """Takes the model's weights as they are now."""
        self._look_at_weights()
        for weight in self.model.parameters():
            if weight.dtype == torch.bfloat16 and weight.is_contiguous():
                collapse(weight)
        self._take_head()
        # Copies of bf16 that are not turned would be PyTorch's to multiply.
        turned = self.model.head_weight.dtype == torch.float32 or bf16.in_panels(2)
        self._copies = turned and is_copied(self.model)
        # What products are made of; native code has addresses.
        self._kept: list[AnyProduct | Packed] = []
        self.decoder = self._decoder()
        self.most_read = min(bf16.most_rows(), MOST_READ)
        if is_quantised(self.model):
            give_back()

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor | None = None, attend: Attend | None = None) -> Tensor:
        """As `Transformer.hidden`, for one row of ids; positions and attend must be given."""
        assert positions_BT is not None
        assert attend is not None
        self.keep_up()
        found = self._in_one_call(ids_BT, positions_BT, attend)
        return self.model.hidden(ids_BT, positions_BT, attend) if found is None else found

    def _decoder(self) -> Decoder | None:
        """All layers in one call; None where kernels cannot take one of them."""
        config, layers = self.config, []
        alike = all(p.dtype == self.model.head_weight.dtype for p in self.model.parameters())
        if not alike or config.hidden_size > LONGEST_NORM or not len(self.model.blocks):
            return None
        for block in cast(Iterable[Block], self.model.blocks):
            if (layer := self._record(block)) is None:
                return None
            layers.append(layer)
        heads = config.num_attention_heads, config.num_key_value_heads, config.head_dim, config.head_dim
        if config.is_latent:
            size = config.kv_lora_rank + config.qk_rope_head_dim
            heads = config.num_attention_heads, 1, size, config.qk_rope_head_dim
        scale = cast(GroupedAttention | LatentAttention, self.model.blocks[0].self_attn).scale
        last_M = cast(Tensor, self.model.model["norm"].weight)
        return Decoder(layers, last_M, config.intermediate_size, heads, config.rms_norm_eps, scale)

    def _record(self, block: Block) -> Layer | None:
        attention, mlp = block.self_attn, block.mlp
        norms = block.input_layernorm.weight, block.post_attention_layernorm.weight
        if (out := self._product(attention.o_proj)) is None:
            return None
        turn = qkv = latent = gate_up = down = mixture = None
        if isinstance(attention, LatentAttention):
            latent = self._latent(attention)
        else:
            assert isinstance(attention, GroupedAttention)
            turn = norms_of(attention)
            qkv = self._product(attention.q_proj, attention.k_proj, attention.v_proj)
        if isinstance(mlp, MixtureOfExperts):
            mixture = self._mixture(mlp)
        elif (pair := self._pair(mlp)) is not None:
            gate_up, down = pair
        if (latent or qkv) is None or (mixture or gate_up) is None:
            return None
        return Layer(*norms, out, turn, qkv, latent, gate_up, down, mixture)

    def _latent(self, of: LatentAttention) -> Latent | None:
        down = norm_Q = None
        if of.compressed_query:
            down, norm_Q = self._product(of.q_a_proj), of.q_a_layernorm.weight
        query = self._product(of.q_b_proj if of.compressed_query else of.q_proj)
        key, up = self._product(of.kv_a_proj_with_mqa), of.kv_b_proj.weight.detach()
        whole = up.is_contiguous() and (up.dtype == torch.float32 or of.latent % 16 == 0)
        if query is None or key is None or (of.compressed_query and down is None) or not whole:
            return None
        by_head: list[Pair] = []
        if up.dtype == torch.float32:
            for up_XC in up.view(of.heads, -1, of.latent):
                pair = Packed(up_XC[: of.plain]), Packed(up_XC[of.plain :].t())
                self._kept += pair
                by_head.append((operands.Product.of(pair[0]), operands.Product.of(pair[1])))
        sizes = of.latent, of.rotary, of.plain, of.value
        eps = of.kv_a_layernorm.eps
        return Latent(down, query, key, norm_Q, of.kv_a_layernorm.weight, up, by_head, sizes, of.interleaved, eps)

    def _mixture(self, of: MixtureOfExperts) -> Mixture | None:
        pairs = [self._pair(expert) for expert in cast(Iterable[MLP], of.experts)]
        shared = None if of.shared_experts is None else self._pair(of.shared_experts)
        found = [pair for pair in pairs if pair is not None]
        if len(found) < len(pairs) or (shared is None) != (of.shared_experts is None):
            return None
        logits = Packed(of.gate.weight.detach().float().t())
        self._kept.append(logits)
        return Mixture(of.gate.routing(), operands.Product.of(logits), found, shared)

    def _pair(self, of: MLP) -> Pair | None:
        """Gate and up side by side, and down."""
        gate_up, down = self._product(of.gate_proj, of.up_proj), self._product(of.down_proj)
        return None if gate_up is None or down is None else (gate_up, down)

    def _product(self, *layers: nn.Module) -> operands.Product | None:
        made = product(layers, self.model.head_weight.dtype, copies=self._copies)
        self._kept.append(made)
        return made.native()
