"""Small models that behave in known ways: a random one of each kind of attention, and one that follows a script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from denken.engine.speculate import Speculation
from denken.model.attention import CacheLayout
from denken.model.config import ModelConfig
from denken.model.quantized import INT8, QuantizedLinear, Scheme, replace_linears
from denken.model.transformer import Transformer


def tiny_model(
    family: str = "qwen3", *, seed: int = 0, context: int = 512, spread: float = 0.2, vocabulary: int = 101
) -> Transformer:
    """A random model of two layers with an untied head. spread: the weights' standard deviation; large enough here
    that the likeliest ids lie further apart than floating-point noise, and that what is sampled depends on the past."""
    shape = {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": context,
        "initializer_range": spread,
        "tie_word_embeddings": False,
    }
    if family == "deepseek_v3":
        shape |= {
            "q_lora_rank": 12,
            "kv_lora_rank": 16,
            "qk_nope_head_dim": 8,
            "qk_rope_head_dim": 4,
            "v_head_dim": 6,
            "moe_intermediate_size": 16,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_shared_experts": 1,
            "n_group": 2,
            "topk_group": 1,
            "first_k_dense_replace": 1,
        }
    else:
        shape |= {"num_key_value_heads": 2, "head_dim": 8}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Transformer(ModelConfig(family, **shape)).eval()


def quantise(model: Transformer, bits: int) -> None:
    """Puts the layers' products, but for the up-projection of latents, in whole numbers (int4 in groups of 32)."""
    scheme = INT8 if bits == 8 else Scheme(4, 32)
    for name, old in list(model.named_modules()):
        if not name.endswith("_proj") or name.endswith("kv_b_proj"):
            continue
        assert isinstance(old, nn.Linear)
        replace_linears(model, {name: scheme})
        new = model.get_submodule(name)
        assert isinstance(new, QuantizedLinear)
        new.to_empty(device="cpu")
        grouped = old.weight.float().unflatten(1, (scheme.groups(old.in_features), -1))
        scale = (grouped.abs().amax(dim=2) / scheme.levels[1]).detach()
        codes = (grouped / scale[..., None]).round().flatten(1).to(torch.int8)
        for key, tensor in scheme.tensors(codes, scale).items():
            getattr(new, key).copy_(tensor)
        if new.bias is not None:
            new.bias.uniform_(-0.3, 0.3)


class Cheap(Speculation):
    """As if one more id in a pass cost little, whatever the clock says."""

    def _worth(self, running: int) -> float:
        return 0.1


@dataclass
class ScriptedConfig:
    vocab_size: int
    max_position_embeddings: int


class ScriptedModel(nn.Module):
    """Wants `script[position]` at each position of the text, the prompt's included; knows no past.

    Each wanted id has a logit of 10, all others 0, so that greedy decoding follows the script.
    """

    def __init__(self, script: Sequence[int], *, vocab_size: int = 101, context: int = 512) -> None:
        super().__init__()
        self.config = ScriptedConfig(vocab_size, context)
        self.cache_layout = CacheLayout(layers=0, kv_heads=1, key_size=1, value_size=1)
        table = torch.zeros(context + 1, vocab_size)
        script = [*script, *[0] * (context + 1 - len(script))]
        table[torch.arange(context + 1), torch.tensor(script)] = 10.0
        self.table = nn.Parameter(table)

    def hidden(self, ids_BT: Tensor, positions_BT: Tensor | None = None, attend: object = None) -> Tensor:
        assert positions_BT is not None
        return positions_BT[..., None].float()

    def logits(self, hidden: Tensor) -> Tensor:
        return self.table[hidden[..., 0].long() + 1].clone()
