"""What a model is made of: one frozen record for every family, read from and written to Hugging Face's `config.json`.

Fields carry Hugging Face's names, so that a reader who knows one knows the other. Everything is checked here, once:
a `ModelConfig` that exists can be built. What this file leaves to others: weights (`checkpoint.py`), what each
number does (`layers.py`, `attention.py`, `moe.py`).

Not covered, and refused with an error rather than computed wrongly: sliding-window attention, partial rotary
embeddings, activations other than SiLU, routers other than DeepSeek-V3's and Qwen3's.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from denken.errors import ConfigError

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM",
    "deepseek_v3": "DeepseekV3ForCausalLM",
}
FAMILIES = tuple(ARCHITECTURES)
ROPE_TYPES = ("default", "linear", "dynamic", "yarn", "llama3")

# Far above every published model; a configuration beyond them is damaged or hostile, and is refused
# before anything of its size is built.
LARGEST_SIZE = 1 << 24
MOST_LAYERS = 1024
MOST_EXPERTS = 4096


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
            raise ConfigError(_unknown("RoPE type", self.rope_type, ROPE_TYPES))
        for name in _ROPE_NUMBERS:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and (value > 0 or name.startswith("mscale"))):
                raise ConfigError(f"rope_scaling.{name} is {value!r}; give a finite number above 0.")
        if self.rope_type == "llama3" and self.low_freq_factor >= self.high_freq_factor:
            raise ConfigError(
                f"rope_scaling.low_freq_factor ({self.low_freq_factor}) must be below "
                f"high_freq_factor ({self.high_freq_factor})."
            )
        if self.rope_type in ("llama3", "yarn") and self.original_max_position_embeddings < 1:
            raise ConfigError(f"RoPE type {self.rope_type!r} needs original_max_position_embeddings in rope_scaling.")


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model's shape.

    >>> ModelConfig("qwen3", vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
    ...             num_attention_heads=4, num_key_value_heads=2).head_dim
    16

    family: one of `FAMILIES` (Hugging Face's `model_type`).
    num_key_value_heads: 0 is "as many as attention heads"; for deepseek_v3 it is always that, MLA has no other.
    head_dim: 0 is `hidden_size // num_attention_heads`; for deepseek_v3 it is `qk_rope_head_dim`.
    attention_bias: biases on the attention's projections (qwen2 has them on queries, keys and values regardless).
    q_lora_rank ... v_head_dim: multi-head latent attention, deepseek_v3 alone (None: queries are not compressed).
    n_routed_experts ... norm_topk_prob: mixture of experts, deepseek_v3 and qwen3_moe.
    first_k_dense_replace: how many leading layers are dense. n_group, topk_group: group-limited routing.
    num_nextn_predict_layers: multi-token-prediction layers that the checkpoint holds; they are never built.
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
            raise ConfigError(_unknown("model_type", self.family, FAMILIES))
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_attention_heads"):
            _check_range(name, getattr(self, name), 1, LARGEST_SIZE)
        _check_range("num_hidden_layers", self.num_hidden_layers, 1, MOST_LAYERS)
        _check_range("max_position_embeddings", self.max_position_embeddings, 1, 1 << 40)
        for name, low in (("rms_norm_eps", 0), ("rope_theta", 1)):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > low):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; give a finite number above {low}.")
        if self.is_latent:
            self._check_latent()
        else:
            if not self.num_key_value_heads:
                object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
            if not self.head_dim:
                object.__setattr__(self, "head_dim", self.hidden_size // self.num_attention_heads)
        _check_range("head_dim", self.head_dim, 2, LARGEST_SIZE)
        _check_range("num_key_value_heads", self.num_key_value_heads, 1, LARGEST_SIZE)
        if self.head_dim % 2:
            raise ConfigError(f"The rotary part of a head has {self.head_dim} columns; give an even number.")
        if self.rope_scaling is not None and self.rope_scaling.rope_type == "dynamic" and self.head_dim < 4:
            raise ConfigError(f"RoPE type 'dynamic' needs heads of at least 4 columns; got {self.head_dim}.")
        if self.num_attention_heads % self.num_key_value_heads:
            raise ConfigError(
                f"num_attention_heads ({self.num_attention_heads}) must be a multiple of "
                f"num_key_value_heads ({self.num_key_value_heads})."
            )
        if self.family in ("deepseek_v3", "qwen3_moe"):
            self._check_experts()

    @property
    def is_latent(self) -> bool:
        """Whether attention is multi-head latent attention (MLA)."""
        return self.family == "deepseek_v3"

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
            _check_range(name, getattr(self, name), 1, LARGEST_SIZE)
        if self.q_lora_rank is not None:
            _check_range("q_lora_rank", self.q_lora_rank, 1, LARGEST_SIZE)
        object.__setattr__(self, "num_key_value_heads", self.num_attention_heads)
        object.__setattr__(self, "head_dim", self.qk_rope_head_dim)

    def _check_experts(self) -> None:
        _check_range("n_routed_experts", self.n_routed_experts, 1, MOST_EXPERTS)
        _check_range("n_shared_experts", self.n_shared_experts, 0, MOST_EXPERTS)
        _check_range("moe_intermediate_size", self.moe_intermediate_size, 1, LARGEST_SIZE)
        _check_range("first_k_dense_replace", self.first_k_dense_replace, 0, MOST_LAYERS)
        _check_range("n_group", self.n_group, 1, self.n_routed_experts)
        _check_range("topk_group", self.topk_group, 1, self.n_group)
        if self.n_routed_experts % self.n_group:
            raise ConfigError(
                f"n_routed_experts ({self.n_routed_experts}) must be a multiple of n_group ({self.n_group})."
            )
        group_size = self.n_routed_experts // self.n_group
        if self.family == "deepseek_v3" and group_size < 2:
            raise ConfigError(
                "Groups are ranked by their two best experts; choose n_group so that each has at least two."
            )
        _check_range("num_experts_per_tok", self.num_experts_per_tok, 1, self.topk_group * group_size)

    @classmethod
    def from_hf(cls, data: Mapping[str, Any]) -> ModelConfig:
        """Reads a Hugging Face `config.json` (already parsed), in the words of transformers 4 or 5.

        Raises ConfigError where the file asks for what is not built here, naming what is.
        """
        return _Reader(data).config()

    def to_hf(self) -> dict[str, Any]:
        """The `config.json` of this model, in words that both transformers 4 and transformers 5 read."""
        rope = _rope_to_hf(self.rope_scaling)
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
            data |= {"scoring_func": "sigmoid", "topk_method": "noaux_tc", "moe_layer_freq": 1}
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


class _Reader:
    """One `config.json` being read: typed look-ups whose errors name the field."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = data

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.data.get(name)
        value = default if value is None else value
        if value is None:
            raise ConfigError(f"config.json has no {name!r}; a {self.data.get('model_type')} model needs it.")
        if isinstance(value, bool) or not isinstance(value, int):
            raise ConfigError(f"config.json: {name!r} is {value!r}; give a whole number.")
        return value

    def number(self, name: str, default: float) -> float:
        return _number(f"config.json: {name!r}", self.data.get(name, default))

    def flag(self, name: str, default: bool) -> bool:
        value = self.data.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise ConfigError(f"config.json: {name!r} is {value!r}; give true or false.")
        return value

    def only(self, name: str, *allowed: Any) -> None:
        """Refuses a setting that would change the mathematics in a way that is not built here."""
        if name in self.data and self.data[name] not in allowed:
            raise ConfigError(f"config.json: {name!r} is {self.data[name]!r}; denken supports {_list(allowed)}.")

    def token_ids(self, name: str) -> int | tuple[int, ...] | None:
        value = self.data.get(name)
        ids = value if isinstance(value, list) else [value]
        if any(isinstance(i, bool) or not isinstance(i, int) for i in ids if i is not None):
            raise ConfigError(f"config.json: {name!r} is {value!r}; give a token id or a list of them.")
        return tuple(value) if isinstance(value, list) else value

    def config(self) -> ModelConfig:
        family = self.data.get("model_type")
        if family not in FAMILIES:
            raise ConfigError(_unknown("model_type", family, FAMILIES))
        self.only("hidden_act", "silu", "swish")
        self.only("use_sliding_window", False, None)
        self.only("partial_rotary_factor", 1, 1.0, None)
        layer_types = self.data.get("layer_types") or []
        if any(kind != "full_attention" for kind in layer_types):
            raise ConfigError(
                "config.json: 'layer_types' asks for attention other than 'full_attention', the only one built."
            )
        heads = self.integer("num_attention_heads")
        context = self.integer("max_position_embeddings", 2048 if family == "llama" else 32768)
        theta, scaling = self.rope(context)
        bos, pad = self.token_ids("bos_token_id"), self.token_ids("pad_token_id")
        common: dict[str, Any] = {
            "family": family,
            "vocab_size": self.integer("vocab_size"),
            "hidden_size": self.integer("hidden_size"),
            "intermediate_size": self.integer("intermediate_size"),
            "num_hidden_layers": self.integer("num_hidden_layers"),
            "num_attention_heads": heads,
            "max_position_embeddings": context,
            "rms_norm_eps": self.number("rms_norm_eps", 1e-6),
            "rope_theta": theta,
            "rope_scaling": scaling,
            "tie_word_embeddings": self.flag("tie_word_embeddings", False),
            "attention_bias": family != "qwen2" and self.flag("attention_bias", False),
            "mlp_bias": family == "llama" and self.flag("mlp_bias", False),
            "initializer_range": self.number("initializer_range", 0.02),
            "bos_token_id": bos[0] if isinstance(bos, tuple) else bos,
            "eos_token_id": self.token_ids("eos_token_id"),
            "pad_token_id": pad[0] if isinstance(pad, tuple) else pad,
        }
        if family == "deepseek_v3":
            return ModelConfig(**common, **self.deepseek())
        common["num_key_value_heads"] = self.integer("num_key_value_heads", heads)
        common["head_dim"] = self.integer("head_dim", 128 if family.startswith("qwen3") else 0)
        if family == "qwen3_moe":
            common |= self.qwen3_moe(common["num_hidden_layers"])
        return ModelConfig(**common)

    def deepseek(self) -> dict[str, Any]:
        self.only("scoring_func", "sigmoid")
        self.only("topk_method", "noaux_tc")
        self.only("moe_layer_freq", 1)
        return {
            "q_lora_rank": self.integer("q_lora_rank", 0) or None,
            "kv_lora_rank": self.integer("kv_lora_rank"),
            "qk_nope_head_dim": self.integer("qk_nope_head_dim"),
            "qk_rope_head_dim": self.integer("qk_rope_head_dim"),
            "v_head_dim": self.integer("v_head_dim"),
            "rope_interleave": self.flag("rope_interleave", True),
            "n_routed_experts": self.integer("n_routed_experts"),
            "n_shared_experts": self.integer("n_shared_experts", 0),
            "num_experts_per_tok": self.integer("num_experts_per_tok"),
            "moe_intermediate_size": self.integer("moe_intermediate_size"),
            "first_k_dense_replace": self.integer("first_k_dense_replace", 0),
            "n_group": self.integer("n_group", 1),
            "topk_group": self.integer("topk_group", 1),
            "routed_scaling_factor": self.number("routed_scaling_factor", 1.0),
            "norm_topk_prob": self.flag("norm_topk_prob", True),
            "num_nextn_predict_layers": self.integer("num_nextn_predict_layers", self.data.get("num_mtp_layers") or 0),
        }

    def qwen3_moe(self, layers: int) -> dict[str, Any]:
        self.only("decoder_sparse_step", 1)
        dense = self.data.get("mlp_only_layers") or []
        if dense != list(range(len(dense))) or len(dense) > layers:
            raise ConfigError(f"config.json: 'mlp_only_layers' is {dense!r}; dense layers must be the leading ones.")
        return {
            "n_routed_experts": self.integer("num_experts", self.data.get("num_local_experts")),
            "num_experts_per_tok": self.integer("num_experts_per_tok"),
            "moe_intermediate_size": self.integer("moe_intermediate_size"),
            "first_k_dense_replace": len(dense),
            "norm_topk_prob": self.flag("norm_topk_prob", False),
        }

    def rope(self, context: int) -> tuple[float, RopeScaling | None]:
        """transformers 4 writes `rope_theta` and `rope_scaling`, transformers 5 both within `rope_parameters`."""
        found = self.data.get("rope_scaling") or self.data.get("rope_parameters") or {}
        if not isinstance(found, Mapping):
            raise ConfigError(f"config.json: 'rope_scaling' is {found!r}; give an object or null.")
        theta = _number("config.json: 'rope_theta'", found.get("rope_theta", self.data.get("rope_theta", 10000.0)))
        if found.get("partial_rotary_factor") not in (None, 1, 1.0):
            raise ConfigError("config.json: 'partial_rotary_factor' other than 1 is not supported.")
        kind = found.get("rope_type", found.get("type", "default"))
        if kind == "default":
            return theta, None
        if kind not in ROPE_TYPES:
            raise ConfigError(_unknown("RoPE type", kind, ROPE_TYPES))
        fields = {
            name: _number(f"config.json: rope_scaling.{name}", found[name])
            for name in _ROPE_NUMBERS
            if found.get(name) is not None
        }
        original = self.data.get("original_max_position_embeddings") or found.get("original_max_position_embeddings")
        if original is None and kind in ("yarn", "llama3"):
            original = context
        original = int(_number("config.json: rope_scaling.original_max_position_embeddings", original or 0))
        if "factor" not in fields and kind == "yarn" and original:
            fields["factor"] = context / original
        for name in ("factor", "low_freq_factor", "high_freq_factor"):
            if name not in fields and (kind == "llama3" or name == "factor"):
                raise ConfigError(f"config.json: RoPE type {kind!r} needs {name!r} in rope_scaling.")
        truncate = found.get("truncate") is not False
        return theta, RopeScaling(kind, original_max_position_embeddings=original, truncate=truncate, **fields)


_ROPE_NUMBERS = (
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
)
_YARN_FIELDS = ("beta_fast", "beta_slow", "attention_factor", "mscale", "mscale_all_dim")
_ROPE_FIELDS = {
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"),
    "yarn": ("factor", "original_max_position_embeddings", *_YARN_FIELDS),
}


def _rope_to_hf(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    # transformers 4 reads "type", 5 "rope_type"; a type's own fields alone, as others are warned of.
    data: dict[str, Any] = {"rope_type": scaling.rope_type, "type": scaling.rope_type}
    for name in _ROPE_FIELDS[scaling.rope_type]:
        if getattr(scaling, name) is not None:
            data[name] = getattr(scaling, name)
    if not scaling.truncate:
        data["truncate"] = False
    return data


def _number(what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{what} is {value!r}; give a number.")
    return float(value)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}; give a whole number from {low} to {high}.")


def _list(names: tuple[Any, ...]) -> str:
    return ", ".join(repr(name) for name in names if name is not None)


def _unknown(what: str, value: Any, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"The {what} {value!r} is not supported; denken supports {_list(known)}.{hint}"
