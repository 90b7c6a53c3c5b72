"""Ours = theirs: random small models of every family give transformers' logits, whichever side saved the folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from denken.model import checkpoint
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer

transformers = pytest.importorskip("transformers")

LARGEST_DIFFERENCE = 1e-4

LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
    "rope_theta": 5000.0,
}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "rope_theta": 10000.0}
MLA = {
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "kv_lora_rank": 20,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "moe_intermediate_size": 24,
    "n_routed_experts": 8,
    "n_group": 4,
    "topk_group": 2,
    "num_experts_per_tok": 3,
    "first_k_dense_replace": 1,
}
SHAPE = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
}

CASES: dict[str, tuple[str, dict]] = {
    "llama plain": ("llama", {}),
    "llama grouped, llama3 rope, every bias": (
        "llama",
        {"num_key_value_heads": 2, "rope_parameters": LLAMA3, "attention_bias": True, "mlp_bias": True},
    ),
    "llama explicit head size, linear rope, tied": (
        "llama",
        {
            "head_dim": 10,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "linear", "factor": 2.5, "rope_theta": 777.0},
        },
    ),
    "llama dynamic rope beyond its context": (
        "llama",
        {"max_position_embeddings": 16, "rope_parameters": {"rope_type": "dynamic", "factor": 2.0}},
    ),
    "llama yarn": ("llama", {"num_key_value_heads": 1, "rope_parameters": YARN}),
    "llama five heads of six, all their own keys": (
        "llama",
        {"hidden_size": 30, "num_attention_heads": 5, "intermediate_size": 47, "rope_parameters": LLAMA3},
    ),
    "qwen2 seven heads, window off": (
        "qwen2",
        {
            "hidden_size": 42,
            "num_attention_heads": 7,
            "num_key_value_heads": 1,
            "use_sliding_window": False,
            "sliding_window": 8,
            "rope_parameters": {"rope_type": "linear", "factor": 1.5, "rope_theta": 1e4},
        },
    ),
    "qwen2 one key head, tied": (
        "qwen2",
        {"num_key_value_heads": 1, "tie_word_embeddings": True, "rms_norm_eps": 1e-3},
    ),
    "qwen2 yarn, hidden size no multiple of heads": (
        "qwen2",
        {"hidden_size": 50, "num_key_value_heads": 2, "rope_parameters": YARN | {"beta_fast": 8.0, "truncate": False}},
    ),
    "qwen3 six heads over three of 24": (
        "qwen3",
        {"num_attention_heads": 6, "num_key_value_heads": 3, "head_dim": 24, "tie_word_embeddings": True},
    ),
    "qwen3 biases, high theta": (
        "qwen3",
        {
            "num_key_value_heads": 2,
            "head_dim": 6,
            "attention_bias": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
    ),
    "qwen3 yarn with its own temperature": (
        "qwen3",
        {"num_key_value_heads": 4, "head_dim": 12, "rope_parameters": YARN | {"attention_factor": 1.3}},
    ),
    "qwen3_moe normalised": (
        "qwen3_moe",
        {
            "num_key_value_heads": 2,
            "head_dim": 14,
            "num_experts": 6,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 20,
            "norm_topk_prob": True,
        },
    ),
    "qwen3_moe unnormalised, first layer dense": (
        "qwen3_moe",
        {
            "num_key_value_heads": 4,
            "head_dim": 8,
            "num_experts": 5,
            "num_experts_per_tok": 3,
            "moe_intermediate_size": 12,
            "norm_topk_prob": False,
            "mlp_only_layers": [0],
        },
    ),
    "qwen3_moe nine heads over three, tied, yarn": (
        "qwen3_moe",
        {
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 10,
            "num_experts": 7,
            "num_experts_per_tok": 7,
            "moe_intermediate_size": 20,
            "norm_topk_prob": True,
            "tie_word_embeddings": True,
            "rope_parameters": YARN,
        },
    ),
    "deepseek_v2 plain queries, greedy": (
        "deepseek_v2",
        MLA | {"q_lora_rank": None, "n_group": 1, "topk_group": 1, "topk_method": "greedy", "n_routed_experts": 5},
    ),
    "deepseek_v2 groups, scaled, every bias": (
        "deepseek_v2",
        MLA
        | {
            "hidden_size": 36,
            "num_attention_heads": 3,
            "num_key_value_heads": 3,
            "q_lora_rank": 13,
            "v_head_dim": 17,
            "topk_method": "group_limited_greedy",
            "n_routed_experts": 12,
            "routed_scaling_factor": 3.5,
            "n_shared_experts": 3,
            "attention_bias": True,
            "rms_norm_eps": 1e-3,
            "rope_parameters": YARN | {"mscale": 0.707, "mscale_all_dim": 0.707},
        },
    ),
    "deepseek_v2 groups of one": (
        "deepseek_v2",
        MLA | {"q_lora_rank": 6, "topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 5},
    ),
    "deepseek compressed queries": ("deepseek_v3", MLA | {"q_lora_rank": 18}),
    "deepseek plain queries, yarn with mscale": (
        "deepseek_v3",
        MLA | {"q_lora_rank": None, "rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 0.707}},
    ),
    "deepseek R1's mscale, biases, wide values, two shared experts": (
        "deepseek_v3",
        MLA
        | {
            "q_lora_rank": 18,
            "attention_bias": True,
            "v_head_dim": 26,
            "n_shared_experts": 2,
            "rope_parameters": YARN | {"mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 32, "beta_slow": 1},
        },
    ),
    "deepseek rotary in halves, unnormalised, one group": (
        "deepseek_v3",
        MLA
        | {
            "q_lora_rank": 7,
            "rope_interleave": False,
            "norm_topk_prob": False,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 0,
            "routed_scaling_factor": 1.7,
            "rms_norm_eps": 1e-3,
        },
    ),
    "deepseek all dense, tied, linear rope": (
        "deepseek_v3",
        MLA
        | {
            "q_lora_rank": 18,
            "first_k_dense_replace": 2,
            "tie_word_embeddings": True,
            "rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 500.0},
        },
    ),
}


@pytest.fixture(params=list(CASES), ids=lambda name: name.replace(" ", "-"))
def case(request: pytest.FixtureRequest) -> tuple[str, dict]:
    family, changes = CASES[request.param]
    # transformers writes into the dictionaries that it is given.
    return family, json.loads(json.dumps(SHAPE | changes))


def randomise(model: torch.nn.Module, seed: int) -> None:
    """Weights of a size at which every part matters: no norm is 1, no bias is 0."""
    generator = torch.Generator().manual_seed(seed)
    tensors = dict(model.named_parameters()) | {
        name: buffer for name, buffer in model.named_buffers() if "e_score" in name
    }
    for name, tensor in tensors.items():
        noise = torch.randn(tensor.shape, generator=generator)
        if "norm" in name:
            noise = 1 + 0.3 * noise
        elif tensor.dim() > 1:
            noise = noise * (1.0 if "embed" in name else 1.5 * tensor.shape[-1] ** -0.5)
        else:
            noise = 0.2 * noise
        tensor.data.copy_(noise)


def some_ids() -> torch.Tensor:
    return torch.randint(0, 97, (2, 40), generator=torch.Generator().manual_seed(5))


def assert_same_logits(ours: Transformer, theirs: torch.nn.Module) -> None:
    ids = some_ids()
    with torch.no_grad():
        our_logits, their_logits = ours(ids), theirs.eval()(ids).logits
    assert our_logits.dtype == their_logits.dtype == torch.float32
    assert their_logits.std() > 0.1
    assert (our_logits - their_logits).abs().max() <= LARGEST_DIFFERENCE


def test_theirs_loads_here(case: tuple[str, dict], tmp_path: Path) -> None:
    family, settings = case
    theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(family, **settings))
    randomise(theirs, seed=1)
    theirs.save_pretrained(tmp_path)
    assert_same_logits(checkpoint.load(tmp_path), theirs)


def test_ours_loads_there(case: tuple[str, dict], tmp_path: Path) -> None:
    family, settings = case
    described = transformers.AutoConfig.for_model(family, **settings).to_dict()
    ours = Transformer(ModelConfig.from_hf(described))
    randomise(ours, seed=2)
    checkpoint.save(ours, tmp_path)
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert_same_logits(ours, theirs)


@pytest.mark.parametrize("family", ["qwen2", "deepseek_v3"])
def test_shards_load_on_both_sides(family: str, tmp_path: Path) -> None:
    settings = SHAPE | {"num_key_value_heads": 4} | (MLA if family == "deepseek_v3" else {})
    theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model(family, **settings))
    randomise(theirs, seed=3)
    theirs.save_pretrained(tmp_path / "theirs", max_shard_size="30KB")
    ours = checkpoint.load(tmp_path / "theirs")
    assert_same_logits(ours, theirs)
    checkpoint.save(ours, tmp_path / "ours", max_shard_bytes=30_000)
    assert len(list((tmp_path / "ours").glob("model-*.safetensors"))) > 2
    assert_same_logits(ours, transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours"))


def test_transformers_4_spelling_reads_the_same(case: tuple[str, dict]) -> None:
    """What transformers 4 wrote: rope_theta and rope_scaling (whose kind was once called "type") side by side."""
    family, settings = case
    new = transformers.AutoConfig.for_model(family, **settings).to_dict()
    old = dict(new)
    rope = dict(old.pop("rope_parameters"))
    old["rope_theta"] = rope.pop("rope_theta")
    rope["type"] = rope.pop("rope_type")
    old["rope_scaling"] = None if rope["type"] == "default" else rope
    assert ModelConfig.from_hf(old) == ModelConfig.from_hf(new)


def test_half_precision_rounds_no_worse(tmp_path: Path) -> None:
    """In bf16 the two round at different places; against fp32, ours errs no more than theirs."""
    settings = SHAPE | {"num_key_value_heads": 2, "head_dim": 12}
    theirs = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.for_model("qwen3", **settings))
    randomise(theirs, seed=4)
    theirs.to(torch.bfloat16).save_pretrained(tmp_path)
    exact = checkpoint.load(tmp_path, dtype=torch.float32)
    ours = checkpoint.load(tmp_path)
    assert ours.head_weight.dtype == torch.bfloat16
    with torch.no_grad():
        exact_BTV = exact(some_ids())
        our_error = (ours(some_ids()).float() - exact_BTV).square().mean()
        their_error = (theirs(some_ids()).logits.float() - exact_BTV).square().mean()
    assert 0 < our_error <= 1.25 * their_error
    assert our_error < 0.001 * exact_BTV.square().mean()
