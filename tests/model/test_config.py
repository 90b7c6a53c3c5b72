"""Configurations: the published ones parse and count right, unusable ones are refused with a way out."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from denken.errors import ConfigError
from denken.model.config import ModelConfig
from denken.model.rope import RopeScaling
from denken.model.transformer import Transformer

PUBLISHED = Path(__file__).parents[2] / ".." / "shared" / "data" / "family"
PARAMETERS = {
    "DeepSeek-R1": 671.03e9,
    "DeepSeek-R1-Distill-Qwen-32B": 32.76e9,
    "Qwen3-30B-A3B": 30.53e9,
    "Qwen3-8B": 8.19e9,
    # DeepSeek-V2-Lite, V2, V3 and V3.1 in the words of DeepSeek's own code.
    "DeepSeek-V3/config_16B.json": 15.706e9,
    "DeepSeek-V3/config_236B.json": 235.74e9,
    "DeepSeek-V3/config_671B.json": 671.03e9,
    "DeepSeek-V3/config_v3.1.json": 671.03e9,
}
SMALL = {
    "model_type": "llama",
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
DEEPSEEK = SMALL | {
    "model_type": "deepseek_v3",
    "kv_lora_rank": 20,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "n_routed_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
    "n_group": 4,
    "topk_group": 2,
}


def count(config: ModelConfig) -> int:
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in Transformer(config).parameters())


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_configurations_count_right(name: str) -> None:
    path = PUBLISHED / name if name.endswith(".json") else PUBLISHED / name / "config.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    config = ModelConfig.from_hf(json.loads(path.read_text("utf-8")))
    # All layers after the leading dense ones are alike: two sizes of model tell what each of them adds.
    least = config.first_k_dense_replace + 1
    one, two = (count(dataclasses.replace(config, num_hidden_layers=layers)) for layers in (least, least + 1))
    total = one + (two - one) * (config.num_hidden_layers - least)
    assert total == pytest.approx(PARAMETERS[name], rel=1e-3)
    assert ModelConfig.from_hf(config.to_hf()) == config


def test_deepseeks_two_spellings_are_one_model() -> None:
    """R1's configuration is Hugging Face's; V3's, of the same shape, is that of DeepSeek's own code."""
    files = (PUBLISHED / "DeepSeek-R1" / "config.json", PUBLISHED / "DeepSeek-V3" / "config_671B.json")
    if not files[0].exists():
        pytest.skip(f"{files[0]} is not here")
    r1, v3 = (ModelConfig.from_hf(json.loads(file.read_text("utf-8"))) for file in files)
    differ = {field.name for field in dataclasses.fields(r1) if getattr(r1, field.name) != getattr(v3, field.name)}
    assert differ == {"num_nextn_predict_layers", "bos_token_id", "eos_token_id"}, "what that file does not say"


def test_v2_lite_reads_as_published() -> None:
    path = PUBLISHED / "DeepSeek-V3" / "config_16B.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    config = ModelConfig.from_hf(json.loads(path.read_text("utf-8")))
    assert (config.family, config.q_lora_rank, config.norm_topk_prob) == ("deepseek_v2", None, False)
    assert (config.n_group, config.num_experts_per_tok, config.routed_scaling_factor) == (1, 6, 1.0)
    assert config.rope_scaling is not None
    assert (config.rope_scaling.mscale, config.max_position_embeddings) == (0.707, 163840)


def test_r1_reads_as_published() -> None:
    path = PUBLISHED / "DeepSeek-R1" / "config.json"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    config = ModelConfig.from_hf(json.loads(path.read_text("utf-8")))
    assert config.rope_scaling is not None
    assert (config.rope_scaling.rope_type, config.rope_scaling.factor) == ("yarn", 40)
    assert [config.has_experts(layer) for layer in (0, 2, 3, 60)] == [False, False, True, True]
    assert (config.head_dim, config.num_nextn_predict_layers, config.n_group) == (64, 1, 8)


def test_what_is_left_out_follows_hugging_face() -> None:
    config = ModelConfig.from_hf(SMALL)
    assert (config.head_dim, config.num_key_value_heads, config.rope_theta) == (12, 4, 10000.0)
    assert (config.tie_word_embeddings, config.rms_norm_eps, config.rope_scaling) == (False, 1e-6, None)
    assert ModelConfig.from_hf(SMALL | {"model_type": "qwen3"}).head_dim == 128


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "qwen2", "eos_token_id": [5, 6], "bos_token_id": 4, "tie_word_embeddings": True},
        {"rope_scaling": {"type": "linear", "factor": 3}, "rope_theta": 500},
        {"rope_parameters": {"rope_type": "dynamic", "factor": 3.0, "rope_theta": 500.0}},
        {"rope_scaling": {"type": "yarn", "factor": 4, "original_max_position_embeddings": 32, "mscale": 0.7}},
        {"rope_scaling": {"rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4}},
        DEEPSEEK | {"q_lora_rank": None, "num_nextn_predict_layers": 1, "rope_interleave": False},
        {"model_type": "qwen3_moe", "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8},
    ],
)
def test_writing_and_reading_again_changes_nothing(changes: dict) -> None:
    config = ModelConfig.from_hf(SMALL | changes)
    written = json.loads(json.dumps(config.to_hf()))
    assert ModelConfig.from_hf(written) == config
    # transformers 5 drops the older spelling, 4 never knew the newer.
    assert ModelConfig.from_hf({k: v for k, v in written.items() if k not in ("rope_scaling", "rope_theta")}) == config
    assert ModelConfig.from_hf({k: v for k, v in written.items() if k != "rope_parameters"}) == config


def test_yarn_without_a_factor_takes_it_from_the_lengths() -> None:
    rope = {"type": "yarn", "original_max_position_embeddings": 16}
    config = ModelConfig.from_hf(SMALL | {"max_position_embeddings": 64, "rope_scaling": rope})
    assert config.rope_scaling is not None
    assert config.rope_scaling.factor == 4.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model_type": "qwen"}, "Did you mean 'qwen"),
        ({"model_type": "mamba"}, "'deepseek_v3'"),
        ({"model_type": None}, "supports 'llama'"),
        (DEEPSEEK | {"model_type": "deepseek_v2", "topk_method": "noaux_tc"}, "topk_method"),
        (DEEPSEEK | {"model_type": "deepseek_v2", "norm_topk_prob": True}, "norm_topk_prob"),
        (DEEPSEEK | {"model_type": "deepseek_v2", "rope_interleave": False}, "rope_interleave"),
        ({"hidden_act": "gelu"}, "supports 'silu'"),
        ({"hidden_size": None}, "'hidden_size'"),
        ({"hidden_size": "48"}, "whole number"),
        ({"hidden_size": True}, "whole number"),
        ({"hidden_size": 1 << 40}, "hidden_size"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": 0}, "num_hidden_layers"),
        ({"num_key_value_heads": 3}, "multiple"),
        ({"head_dim": 5}, "even"),
        ({"rms_norm_eps": "small"}, "number"),
        ({"rms_norm_eps": -1.0}, "rms_norm_eps"),
        ({"tie_word_embeddings": "yes"}, "true or false"),
        ({"eos_token_id": "stop"}, "token id"),
        ({"model_type": "qwen2", "use_sliding_window": True}, "use_sliding_window"),
        ({"model_type": "qwen2", "layer_types": ["sliding_attention"] * 2}, "full_attention"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"rope_scaling": {"type": "longrope", "factor": 2}}, "'llama3'"),
        ({"rope_scaling": {"type": "Yarn", "factor": 2}}, "Did you mean 'yarn'"),
        ({"rope_scaling": {"type": "linear"}}, "'factor'"),
        ({"rope_scaling": {"type": "linear", "factor": 0}}, "above 0"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "number"),
        ({"rope_scaling": {"type": "llama3", "factor": 2}}, "'low_freq_factor'"),
        ({"rope_scaling": {"type": "llama3", "factor": 2, "low_freq_factor": 4, "high_freq_factor": 1}}, "below"),
        ({"rope_scaling": "linear"}, "object or null"),
        ({"rope_scaling": {"type": ["linear"], "factor": 2}}, "RoPE type"),
        ({"rope_scaling": {"type": "linear", "factor": 1e999}}, "number"),
        ({"rope_scaling": {"type": "linear", "factor": 2, "mscale_all_dim": 1.0}}, "mscale_all_dim"),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2}}}, "kinds of layers"),
        ({"rope_theta": 10**400}, "number"),
        ({"rope_theta": 1}, "above 1"),
        ({"layer_types": 7}, "list"),
        ({"initializer_range": -0.1}, "initializer_range"),
        ({"model_type": ["llama"]}, "model_type"),
        (DEEPSEEK | {"scoring_func": "softmax"}, "sigmoid"),
        (DEEPSEEK | {"topk_method": "greedy"}, "noaux_tc"),
        (DEEPSEEK | {"n_group": 3}, "multiple of n_group"),
        (DEEPSEEK | {"n_group": 8}, "at least two"),
        (DEEPSEEK | {"topk_group": 5}, "topk_group"),
        (DEEPSEEK | {"num_experts_per_tok": 5}, "num_experts_per_tok"),
        (DEEPSEEK | {"kv_lora_rank": 0}, "kv_lora_rank"),
        (DEEPSEEK | {"n_routed_experts": 10**6}, "n_routed_experts"),
    ],
)
def test_unusable_configurations_are_refused(changes: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ModelConfig.from_hf(SMALL | changes)


def test_scalings_check_themselves() -> None:
    with pytest.raises(ConfigError, match="original_max_position_embeddings"):
        RopeScaling("yarn", 2.0)
    with pytest.raises(ConfigError, match="'dynamic' needs heads"):
        ModelConfig.from_hf(SMALL | {"head_dim": 2, "rope_scaling": {"type": "dynamic", "factor": 2}})
