"""What thinks: one transformer for every family. The trainer and the engine run this very module.

It knows ids, positions and an `Attend`; text, requests and caches are others' matters.
Module names spell Hugging Face's checkpoint keys: `state_dict()` is what a checkpoint holds.
"""

# B = rows, T = tokens, M = hidden size, V = vocabulary

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denken.model.attention import Angles, Attend, CacheLayout, Causal, GroupedAttention, LatentAttention
from denken.model.config import ModelConfig
from denken.model.head import head_logprobs
from denken.model.layers import MLP, Embedding, Linear, RMSNorm
from denken.model.moe import MixtureOfExperts, Router
from denken.model.rope import Rotary


class Block(nn.Module):
    """One layer: attention and feed-forward, each normalised before and added to what went in."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.self_attn = (LatentAttention if config.is_latent else GroupedAttention)(config, layer)
        self.mlp = (
            MixtureOfExperts(config)
            if config.has_experts(layer)
            else MLP(config.hidden_size, config.intermediate_size, config.mlp_bias)
        )
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, hidden_BTM: Tensor, angles: Angles, attend: Attend) -> Tensor:
        hidden_BTM = hidden_BTM + self.self_attn(self.input_layernorm(hidden_BTM), angles, attend)
        hidden_BTM = hidden_BTM + self.mlp(self.post_attention_layernorm(hidden_BTM))
        return hidden_BTM


class Transformer(nn.Module):
    """A causal language model.

    >>> config = ModelConfig("qwen3", vocab_size=97, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
    ...                      num_attention_heads=2, tie_word_embeddings=True)
    >>> Transformer(config)(torch.tensor([[5, 9, 2]])).shape
    torch.Size([1, 3, 97])
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.model = nn.ModuleDict(
            {
                "embed_tokens": Embedding(config.vocab_size, config.hidden_size),
                "layers": nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers)),
                "norm": RMSNorm(config.hidden_size, config.rms_norm_eps),
            }
        )
        self.lm_head = None if config.tie_word_embeddings else Linear(config.hidden_size, config.vocab_size, bias=False)
        self.rotary = Rotary(config.head_dim, config.rope_theta, config.rope_scaling, config.max_position_embeddings)
        if not self.head_weight.is_meta:
            self._initialise()

    def forward(self, ids_BT: Tensor, positions_BT: Tensor | None = None, attend: Attend | None = None) -> Tensor:
        """Logits (B, T, V) of the token after each. Arguments as for `hidden`."""
        return self.logits(self.hidden(ids_BT, positions_BT, attend))

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor | None = None, attend: Attend | None = None) -> Tensor:
        """What the last layer says of each token, after the final norm (B, T, M).

        positions_BT: each token's place in its document, from 0; by default every row is one document.
        attend: who sees whom; by default each token sees its row up to itself.
        """
        if positions_BT is None:
            positions_BT = torch.arange(ids_BT.shape[1], device=ids_BT.device)[None]
        attend = attend or Causal()
        angles = self.rotary(positions_BT)
        hidden_BTM: Tensor = self.model["embed_tokens"](ids_BT)
        for block in self.blocks:
            hidden_BTM = block(hidden_BTM, angles, attend)
        hidden_BTM = self.model["norm"](hidden_BTM)
        return hidden_BTM

    def logits(self, hidden: Tensor) -> Tensor:
        """(..., M) to (..., V), in the hidden state's precision: ask only for the rows that are needed."""
        return F.linear(hidden, self.head_weight.to(hidden.dtype))

    def logprobs(self, hidden_NM: Tensor, ids_N: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """log p of an id after each hidden state (with gradient), and the entropy of each (without), in fp32 (N,).

        As from `logits`, for less memory; and for a bf16 network as from logits that were not rounded to bf16.
        """
        return head_logprobs(hidden_NM, self.head_weight, ids_N, temperature=temperature)

    @property
    def blocks(self) -> nn.ModuleList:
        return cast(nn.ModuleList, self.model["layers"])

    @property
    def head_weight(self) -> Tensor:
        """The output projection (V, M); the embedding itself where the two are tied."""
        head = self.model["embed_tokens"] if self.lm_head is None else self.lm_head
        return cast(Tensor, head.weight)

    @property
    def cache_layout(self) -> CacheLayout:
        """What an engine must remember of each token."""
        config = self.config
        if config.is_latent:
            size = config.kv_lora_rank + config.qk_rope_head_dim
            return CacheLayout(config.num_hidden_layers, 1, size, 0, latent_size=config.kv_lora_rank)
        return CacheLayout(config.num_hidden_layers, config.num_key_value_heads, config.head_dim, config.head_dim)

    def _initialise(self) -> None:
        """Normal weights; those that write into the residual stream are smaller, so that its variance does not
        grow with depth (GPT-2, section 2.3)."""
        std = self.config.initializer_range
        residual_std = std / (2 * self.config.num_hidden_layers) ** 0.5
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=residual_std if name.endswith(("o_proj", "down_proj")) else std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding | Router):
                nn.init.normal_(module.weight, std=std)
