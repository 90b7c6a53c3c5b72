"""What a model is made of: one frozen record for every family, read from and written to Hugging Face's `config.json`.

Fields carry Hugging Face's names, so that a reader who knows one knows the other. Everything is checked here, once:
a `ModelConfig` that exists can be built. What this file leaves to others: weights (`checkpoint.py`), what each
number does (`layers.py`, `attention.py`, `moe.py`).

Not covered, and refused with an error rather than computed wrongly: sliding-window attention, partial rotary
embeddings, activations other than SiLU, routers other than DeepSeek's (V2, V3) and Qwen3's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from denken.errors import ConfigError, quoted
from denken.model.fields import Fields, check_above, check_range, unknown
from denken.model.rope import RopeScaling

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "deepseek_v2": "DeepseekV2ForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
}
FAMILIES = tuple(ARCHITECTURES)

# Far above every published model; a configuration beyond them is damaged or hostile, and is refused
# before anything of its size is built.
LARGEST_SIZE = 1 << 24
MOST_LAYERS = 1024
MOST_EXPERTS = 4096


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model's shape.

    >>> ModelConfig("qwen3", vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
    ...             num_attention_heads=4, num_key_value_heads=2).head_dim
    16

    family: one of `FAMILIES` (Hugging Face's `model_type`).
    num_key_value_heads: 0 is "as many as attention heads"; for DeepSeek's it is always that, MLA has no other.
    head_dim: 0 is `hidden_size // num_attention_heads`; for DeepSeek's it is `qk_rope_head_dim`.
    attention_bias: biases on the attention's projections (qwen2 has them on queries, keys and values regardless).
    q_lora_rank ... v_head_dim: multi-head latent attention, DeepSeek's alone (None: queries are not compressed).
    n_routed_experts ... norm_topk_prob: mixture of experts, DeepSeek's and qwen3_moe.
    first_k_dense_replace: how many leading layers are dense. n_group, topk_group: group-limited routing.
    num_nextn_predict_layers: multi-token-prediction layers that the checkpoint holds; not built here (`mtp.py`).
    """

    family: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int = 0
    head_dim: int = 0
    max_position_embeddings: int = 4096
    rms_norm_eps: float = 1e-6
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling | None = None
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    initializer_range: float = 0.02
    bos_token_id: int | None = None
    eos_token_id: int | tuple[int, ...] | None = None
    pad_token_id: int | None = None
    q_lora_rank: int | None = None
    kv_lora_rank: int = 0
    qk_nope_head_dim: int = 0
    qk_rope_head_dim: int = 0
    v_head_dim: int = 0
    rope_interleave: bool = True
    n_routed_experts: int = 0
    n_shared_experts: int = 0
    num_experts_per_tok: int = 0
    moe_intermediate_size: int = 0
    first_k_dense_replace: int = 0
    n_group: int = 1
    topk_group: int = 1
    routed_scaling_factor: float = 1.0
    norm_topk_prob: bool = True
    num_nextn_predict_layers: int = 0

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ConfigError(unknown("model_type", self.family, FAMILIES))
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads"):
            check_range(name, getattr(self, name), 1, LARGEST_SIZE)
        check_range("num_hidden_layers", self.num_hidden_layers, 1, MOST_LAYERS)
        check_range("max_position_embeddings", self.max_position_embeddings, 1, 1 << 40)
        for name, low in (("rms_norm_eps", 0), ("rope_theta", 1), ("initializer_range", 0)):
            check_above(name, getattr(self, name), low)
        if self.is_latent:
            self._check_latent()
        else:
            if not self.num_key_value_heads:
                object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
            if not self.head_dim:
                object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        check_range("head_dim", self.head_dim, 2, LARGEST_SIZE)
        check_range("num_key_value_heads", self.num_key_value_heads, 1, LARGEST_SIZE)
        if self.head_dim % 2:
            raise ConfigError(f"The rotary part of a head has {self.head_dim} columns; give an even number.")
        if self.rope_scaling is not None and self.rope_scaling.rope_type == "dynamic" and self.head_dim < 4:
            raise ConfigError(f"RoPE type 'dynamic' needs heads of at least 4 columns; got {self.head_dim}.")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads ({self.num_attention_heads}) must be a multiple of "
                f"num_key_value_heads ({self.num_key_value_heads})."
            )
        if self.is_latent or self.family == "qwen3_moe":
            self._check_experts()

    @property
    def is_latent(self) -> bool:
        """Whether attention is multi-head latent attention (MLA)."""
        return self.family in ("deepseek_v2", "deepseek_v3")

    @property
    def qkv_bias(self) -> bool:
        return self.attention_bias or self.family == "qwen2"

    @property
    def qk_norm(self) -> bool:
        """Whether every head's queries and keys are normalised (Qwen3)."""
        return self.family in ("qwen3", "qwen3_moe")

    def has_experts(self, layer: int) -> bool:
        """Whether this layer's feed-forward part is a mixture of experts."""
        return self.n_routed_experts > 0 and layer >= self.first_k_dense_replace

    def _check_latent(self) -> None:
        for name in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim"):
            check_range(name, getattr(self, name), 1, LARGEST_SIZE)
        if self.q_lora_rank is not None:
            check_range("q_lora_rank", self.q_lora_rank, 1, LARGEST_SIZE)
        object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        object.__setattr__(self, "head_dim", self.qk_rope_head_dim)

    def _check_experts(self) -> None:
        check_range("n_routed_experts", self.n_routed_experts, 1, MOST_EXPERTS)
        check_range("n_shared_experts", self.n_shared_experts, 0, MOST_EXPERTS)
        check_range("moe_intermediate_size", self.moe_intermediate_size, 1, LARGEST_SIZE)
        check_range("first_k_dense_replace", self.first_k_dense_replace, 0, MOST_LAYERS)
        check_range("n_group", self.n_group, 1, self.n_routed_experts)
        check_range("topk_group", self.topk_group, 1, self.n_group)
        if self.n_routed_experts % self.n_group:
            raise ConfigError(
                f"n_routed_experts ({self.n_routed_experts}) must be a multiple of n_group ({self.n_group})."
            )
        group_size = self.n_routed_experts // self.n_group
        if self.family == "deepseek_v3" and group_size < 2:
            raise ConfigError(
                "Groups are ranked by their two best experts; choose n_group so that each has at least two."
            )
        check_range("num_experts_per_tok", self.num_experts_per_tok, 1, self.topk_group * group_size)

    @classmethod
    def from_hf(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Reads a Hugging Face `config.json` (already parsed), in the words of transformers 4 or 5.

        The configurations of DeepSeek's reference implementation (`dim`, `inter_dim`) are read, too.
        Raises ConfigError where the file asks for what is not built here, naming what is.
        """
        return _read(Fields(_of_reference(data) if "model_type" not in data and "inter_dim" in data else data))

    def to_hf(self) -> dict[str, Any]:
        """The `config.json` of this model, in words that both transformers 4 and transformers 5 read."""
        rope = self.rope_scaling.to_hf() if self.rope_scaling else None
        data: dict[str, Any] = {
            "architectures": [ARCHITECTURES[self.family]],
            "model_type": self.family,
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_position_embeddings,
            "rms_norm_eps": self.rms_norm_eps,
            "rope_theta": self.rope_theta,
            "rope_scaling": rope,
            "rope_parameters": {"rope_type": "default", **(rope or {}), "rope_theta": self.rope_theta},
            "tie_word_embeddings": self.tie_word_embeddings,
            "initializer_range": self.initializer_range,
            "attention_dropout": 0.0,
            "use_cache": True,
            "bos_token_id": self.bos_token_id,
            "eos_token_id": list(self.eos_token_id) if isinstance(self.eos_token_id, tuple) else self.eos_token_id,
            "pad_token_id": self.pad_token_id,
        }
        if not self.is_latent:
            data["head_dim"] = self.head_dim
        if self.family != "qwen2":
            data["attention_bias"] = self.attention_bias
        if self.family == "llama":
            data["mlp_bias"] = self.mlp_bias
        else:
            data |= {"use_sliding_window": False, "sliding_window": None, "max_window_layers": self.num_hidden_layers}
        if self.family == "qwen3_moe":
            data |= {
                "num_experts": self.n_routed_experts,
                "num_experts_per_tok": self.num_experts_per_tok,
                "moe_intermediate_size": self.moe_intermediate_size,
                "norm_topk_prob": self.norm_topk_prob,
                "decoder_sparse_step": 1,
                "mlp_only_layers": list(range(self.first_k_dense_replace)),
            }
        if self.is_latent:
            for name in ("use_sliding_window", "sliding_window", "max_window_layers"):
                del data[name]
            data |= {name: getattr(self, name) for name in _DEEPSEEK_FIELDS}
            router = {"scoring_func": "sigmoid", "topk_method": "noaux_tc"}
            if self.family == "deepseek_v2":
                method = "group_limited_greedy" if self.n_group > 1 else "greedy"
                router = {"scoring_func": "softmax", "topk_method": method}
            data |= {**router, "moe_layer_freq": 1}
        return data


_DEEPSEEK_FIELDS = (
    "q_lora_rank",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
    "rope_interleave",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "first_k_dense_replace",
    "n_group",
    "topk_group",
    "routed_scaling_factor",
    "norm_topk_prob",
    "num_nextn_predict_layers",
)


def _read(fields: Fields) -> ModelConfig:
    family = fields.data.get("model_type")
    if family not in FAMILIES:
        raise ConfigError(unknown("model_type", family, FAMILIES))
    fields.only("hidden_act", "silu", "swish")
    fields.only("use_sliding_window", False)
    fields.only("partial_rotary_factor", 1)
    if any(kind != "full_attention" for kind in fields.items("layer_types")):
        raise ConfigError(
            "config.json: 'layer_types' asks for attention other than 'full_attention', the only one built."
        )
    heads = fields.integer("num_attention_heads")
    context = fields.integer(
        "max_position_embeddings", {"llama": 2048, "deepseek_v2": 2048, "deepseek_v3": 4096}.get(family, 32768)
    )
    # transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 both within `rope_parameters`.
    rope = fields.object("rope_scaling" if fields.data.get("rope_scaling") else "rope_parameters")
    rope.only("partial_rotary_factor", 1)
    if any(isinstance(value, Mapping) for value in rope.data.values()):
        raise ConfigError(f"{rope.where} differs between kinds of layers; denken supports one for all of them.")
    original = fields.integer("original_max_position_embeddings", 0)
    bos, pad = fields.integers("bos_token_id"), fields.integers("pad_token_id")
    common: dict[str, Any] = {
        "family": family,
        "vocab_size": fields.integer("vocab_size"),
        "hidden_size": fields.integer("hidden_size"),
        "intermediate_size": fields.integer("intermediate_size"),
        "num_hidden_layers": fields.integer("num_hidden_layers"),
        "num_attention_heads": heads,
        "max_position_embeddings": context,
        "rms_norm_eps": fields.number("rms_norm_eps", 1e-6),
        "rope_theta": rope.number("rope_theta", fields.number("rope_theta", 10000.0)),
        "rope_scaling": RopeScaling.from_hf(rope, context, original),
        "tie_word_embeddings": fields.flag("tie_word_embeddings", False),
        "attention_bias": family != "qwen2" and fields.flag("attention_bias", False),
        "mlp_bias": family == "llama" and fields.flag("mlp_bias", False),
        "initializer_range": fields.number("initializer_range", 0.02),
        "bos_token_id": _first(bos),
        "eos_token_id": fields.integers("eos_token_id"),
        "pad_token_id": _first(pad),
    }
    if family == "deepseek_v2":
        return ModelConfig(**common, **_read_deepseek_v2(fields))
    if family == "deepseek_v3":
        return ModelConfig(**common, **_read_deepseek_v3(fields))
    common["num_key_value_heads"] = fields.integer("num_key_value_heads", heads)
    common["head_dim"] = fields.integer("head_dim", 128 if family.startswith("qwen3") else 0)
    if family == "qwen3_moe":
        common |= _read_qwen3_moe(fields)
    return ModelConfig(**common)


def _first(ids: int | tuple[int, ...] | None) -> int | None:
    """One id where a file lists several."""
    return next(iter(ids), None) if isinstance(ids, tuple) else ids


def _read_deepseek_v3(fields: Fields) -> dict[str, Any]:
    """What is absent takes transformers' default, which is R1's value."""
    fields.only("scoring_func", "sigmoid")
    fields.only("topk_method", "noaux_tc")
    return {
        **_read_latent(fields),
        "n_shared_experts": fields.integer("n_shared_experts", 1),
        "first_k_dense_replace": fields.integer("first_k_dense_replace", 3),
        "n_group": fields.integer("n_group", 8),
        "topk_group": fields.integer("topk_group", 4),
        "routed_scaling_factor": fields.number("routed_scaling_factor", 2.5),
        "norm_topk_prob": fields.flag("norm_topk_prob", True),
        "num_nextn_predict_layers": fields.integer("num_nextn_predict_layers", fields.data.get("num_mtp_layers") or 0),
    }


def _read_deepseek_v2(fields: Fields) -> dict[str, Any]:
    """What is absent takes transformers' default. Weights are never normalised: no published model asks for it."""
    fields.only("scoring_func", "softmax")
    fields.only("topk_method", "greedy", "group_limited_greedy")
    fields.only("norm_topk_prob", False)
    fields.only("mlp_bias", False)
    fields.only("rope_interleave", True)
    grouped = fields.data.get("topk_method") == "group_limited_greedy"
    return {
        **_read_latent(fields),
        "n_shared_experts": fields.integer("n_shared_experts", 2),
        "first_k_dense_replace": fields.integer("first_k_dense_replace", 0),
        "n_group": fields.integer("n_group") if grouped else 1,
        "topk_group": fields.integer("topk_group") if grouped else 1,
        "routed_scaling_factor": fields.number("routed_scaling_factor", 1.0),
        "norm_topk_prob": False,
    }


def _read_latent(fields: Fields) -> dict[str, Any]:
    """What both of DeepSeek's families have; a null rank of queries is "not compressed"."""
    fields.only("moe_layer_freq", 1)
    return {
        "q_lora_rank": fields.integer("q_lora_rank", 0 if "q_lora_rank" in fields.data else 1536) or None,
        "kv_lora_rank": fields.integer("kv_lora_rank"),
        "qk_nope_head_dim": fields.integer("qk_nope_head_dim"),
        "qk_rope_head_dim": fields.integer("qk_rope_head_dim"),
        "v_head_dim": fields.integer("v_head_dim"),
        "rope_interleave": fields.flag("rope_interleave", True),
        "n_routed_experts": fields.integer("n_routed_experts"),
        "num_experts_per_tok": fields.integer("num_experts_per_tok"),
        "moe_intermediate_size": fields.integer("moe_intermediate_size"),
    }


_REFERENCE_WORDS = {
    "dim": "hidden_size",
    "inter_dim": "intermediate_size",
    "moe_inter_dim": "moe_intermediate_size",
    "n_layers": "num_hidden_layers",
    "n_dense_layers": "first_k_dense_replace",
    "n_heads": "num_attention_heads",
    "n_activated_experts": "num_experts_per_tok",
    "n_expert_groups": "n_group",
    "n_limited_groups": "topk_group",
    "route_scale": "routed_scaling_factor",
}


def _of_reference(data: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of DeepSeek's reference implementation (V3's inference/model.py) in Hugging Face's words.

    What is absent takes that file's default: the context of 4096 tokens is stretched 40 times by yarn.
    """
    fields = Fields(data)
    read = {_REFERENCE_WORDS.get(name, name): value for name, value in data.items()}
    is_v3 = data.get("score_func") == "sigmoid"
    factor, length = fields.number("rope_factor", 40.0), fields.integer("original_seq_len", 4096)
    rope = {
        "type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": length,
        "beta_fast": fields.number("beta_fast", 32.0),
        "beta_slow": fields.number("beta_slow", 1.0),
        "mscale": fields.number("mscale", 1.0),
        "mscale_all_dim": fields.number("mscale", 1.0),
    }
    grouped = fields.integer("n_expert_groups", 1) > 1
    router = ("sigmoid", "noaux_tc") if is_v3 else ("softmax", "group_limited_greedy" if grouped else "greedy")
    return {
        "n_group": 1,
        "topk_group": 1,
        **read,
        "model_type": "deepseek_v3" if is_v3 else "deepseek_v2",
        "q_lora_rank": fields.integer("q_lora_rank", 0) or None,
        "rope_scaling": rope,
        "max_position_embeddings": int(length * factor),
        "scoring_func": router[0],
        "topk_method": router[1],
        "norm_topk_prob": is_v3,
    }


def _read_qwen3_moe(fields: Fields) -> dict[str, Any]:
    fields.only("decoder_sparse_step", 1)
    dense = fields.items("mlp_only_layers")
    if dense != list(range(len(dense))):
        raise ConfigError(f"config.json: 'mlp_only_layers' is {quoted(dense)}; dense layers must be the leading ones.")
    return {
        "n_routed_experts": fields.integer("num_experts", fields.data.get("num_local_experts")),
        "num_experts_per_tok": fields.integer("num_experts_per_tok"),
        "moe_intermediate_size": fields.integer("moe_intermediate_size"),
        "first_k_dense_replace": len(dense),
        "norm_topk_prob": fields.flag("norm_topk_prob", False),
    }
