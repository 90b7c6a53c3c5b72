"""A GGUF file, which llama.cpp and what is built on it open: LM Studio, Ollama, PocketPal, wllama in a browser.

Qwen2, Qwen3 and Llama go out, the three dense families. The file holds everything: weights, vocabulary, special tokens,
chat template and sampling. Its text is tokenised there as here, and content cannot spell a control token as long as
the program encodes content as content; a program that renders the template to one string and encodes that, as most do,
lets a user type `<think>`.

Weights: `f16` keeps bf16 numbers to the bit, but rounds those below 6e-5. `q8_0` and `q4_0` are llama.cpp's blocks of
32 numbers with one scale, by plain rounding. Norms and biases stay fp32; matrices whose rows are no multiple of 32
numbers stay f16. With `q4_0` the embedding and the head are q8_0: what is lost there is lost for every token.

Not covered: mixtures of experts, latent attention, vocabularies whose text is cut up in a way that llama.cpp has no
name for. Vocabularies with a normaliser (Qwen's: NFC) are not normalised there.
"""

# O = rows, I = columns, H = heads, D = columns of a head

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from denken.errors import ConfigError
from denken.export.source import Source, replacing
from denken.model.config import ModelConfig
from denken.model.rope import frequencies
from denken.tokenizer import Tokenizer

Kind = Literal["f16", "q8_0", "q4_0"]
KINDS: tuple[Kind, ...] = ("f16", "q8_0", "q4_0")
FAMILIES = ("llama", "qwen2", "qwen3")

_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_SIGNS = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3, _QWEN2 = _WORDS + r"\p{N}{1,3}" + _SIGNS, _WORDS + r"\p{N}" + _SIGNS
_DEEPSEEK3 = (
    r"\p{N}{1,3}",
    "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
    r"|\s*[\r\n]+|\s+(?!\S)|\s+",
)
# How text is cut up before it is encoded, and whether whole pieces of the vocabulary are taken as they are -> the
# name under which llama.cpp does the same.
_CUTS = {
    ((_LLAMA3,), True): "llama-bpe",
    ((_LLAMA3,), False): "smaug-bpe",
    ((_QWEN2,), False): "qwen2",
    (_DEEPSEEK3, False): "deepseek-v3",
}
# llama.cpp asks for merges, and a file cannot hold an empty list: this one joins what never stands in any text.
_NO_MERGE = "ÿÿ ÿÿ"


def export(folder: Path, out: Path, *, kind: Kind = "f16") -> Path:
    """Writes the model of `folder` to the new file `out`, and returns it.

    Raises CheckpointError or ConfigError where `folder` holds no whole model, llama.cpp has no way to run it as it is
    run here, or `out` is taken.
    """
    gguf = _library()
    source = Source.open(folder)
    _check(source.config)
    cut = cut_of(source.tokens)
    if cut is None:
        raise ConfigError(
            f"{source.folder / 'tokenizer.json'} cuts text up in a way that llama.cpp has no name for; "
            "use the vocabulary of Llama 3, Qwen 2 or 3, DeepSeek V3, or one that denken made."
        )
    with replacing(Path(out)) as unfinished:
        writer = gguf.GGUFWriter(unfinished, source.config.family)
        _describe(writer, gguf, source, kind)
        _vocabulary(writer, gguf, source, cut)
        _weights(writer, gguf, source, kind)
        writer.close()
    return Path(out)


def _library() -> ModuleType:
    try:
        import gguf
    except ImportError as error:
        raise ConfigError("GGUF files need the package gguf; install it: pip install gguf") from error
    return gguf


def _check(config: ModelConfig) -> None:
    if config.family not in FAMILIES:
        raise ConfigError(
            f"A {config.family} model cannot be written as GGUF here, only {', '.join(FAMILIES)}; "
            "export it with --format hf and convert it with llama.cpp's own converter."
        )
    if config.family == "qwen3" and config.attention_bias:
        raise ConfigError("llama.cpp's qwen3 has no biases in attention, and this model does; it cannot be exported.")
    scaling = config.rope_scaling
    if scaling is None:
        return
    unusual = (scaling.attention_factor, scaling.mscale, scaling.mscale_all_dim) != (None, None, None)
    if scaling.rope_type == "dynamic" or unusual or not scaling.truncate:
        raise ConfigError(
            f"llama.cpp does not stretch positions as this model's rope_scaling asks ({scaling.rope_type}); "
            "it cannot be exported as GGUF."
        )


def cut_of(tokens: Mapping[str, Any]) -> str | None:
    """llama.cpp's name for the way in which a tokenizer.json cuts text up; None where it has none."""
    steps = tokens.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    if not all(_is_plain(step) for step in steps):
        return None
    patterns = tuple(step["pattern"].get("Regex") for step in steps if step["type"] == "Split")
    return _CUTS.get((patterns, bool(tokens["model"].get("ignore_merges"))))


def _is_plain(step: Mapping[str, Any]) -> bool:
    if step.get("type") == "Split":
        return step.get("behavior") == "Isolated" and not step.get("invert") and "pattern" in step
    return step.get("type") == "ByteLevel" and not step.get("use_regex") and not step.get("add_prefix_space")


def _describe(writer: Any, gguf: ModuleType, source: Source, kind: Kind) -> None:
    """What the model is: sizes, positions, precision, sampling."""
    config, scaling = source.config, source.config.rope_scaling
    writer.add_type("model")
    writer.add_name(source.name)
    if source.licence:
        writer.add_license(source.licence)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind.upper()}"])
    if kind != "f16":
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(config.rope_theta)
    if scaling is not None and scaling.rope_type in ("linear", "yarn"):  # llama3's are a tensor: see `_tensors`
        writer.add_rope_scaling_type(gguf.RopeScalingType(scaling.rope_type))
        writer.add_rope_scaling_factor(scaling.factor)
        if scaling.rope_type == "yarn":
            writer.add_rope_scaling_orig_ctx_len(scaling.original_max_position_embeddings)
            writer.add_rope_scaling_yarn_beta_fast(scaling.beta_fast)
            writer.add_rope_scaling_yarn_beta_slow(scaling.beta_slow)
    _sampling(writer, source)


def _sampling(writer: Any, source: Source) -> None:
    """generation_config.json's advice, which newer programs follow."""
    given = source.generation
    temperature = 0.0 if given.get("do_sample") is False else given.get("temperature")
    if isinstance(temperature, int | float):
        writer.add_sampling_temp(float(temperature))
    if isinstance(given.get("top_p"), int | float):
        writer.add_sampling_top_p(float(given["top_p"]))
    if type(given.get("top_k")) is int:
        writer.add_sampling_top_k(given["top_k"])


def _vocabulary(writer: Any, gguf: ModuleType, source: Source, cut: str) -> None:
    names, types = _tokens(source.tokenizer, source.tokens, source.config.vocab_size, gguf.TokenType)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    writer.add_token_list(names)
    writer.add_token_types(types)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in source.tokens["model"]["merges"]]
    writer.add_token_merges(merges or [_NO_MERGE])
    if source.bos_id is not None:
        writer.add_bos_token_id(source.bos_id)
    writer.add_eos_token_id(source.eos_ids[0])
    if len(source.eos_ids) > 1:
        writer.add_eot_token_id(source.eos_ids[1])
    if source.pad_id is not None:
        writer.add_pad_token_id(source.pad_id)
    begins = source.settings.get("add_bos_token", source.bos_id is not None)
    writer.add_add_bos_token(bool(begins) and source.bos_id is not None)
    writer.add_add_eos_token(False)
    if source.template:
        writer.add_chat_template(source.template)


def _tokens(tokenizer: Tokenizer, tokens: Any, rows: int, types: Any) -> tuple[list[str], list[int]]:
    """Every id's spelling and type. Rows of the embedding that no token has are filled up with unused names."""
    names = [f"[PAD{id_}]" for id_ in range(rows)]
    kinds = [int(types.UNUSED)] * rows
    for name, id_ in tokens["model"]["vocab"].items():
        names[id_], kinds[id_] = name, int(types.NORMAL)
    for name, id_ in tokenizer.control_ids.items():
        names[id_], kinds[id_] = name, int(types.CONTROL)
    for token in tokens.get("added_tokens") or []:
        if not token.get("special"):  # shown to people, as Qwen's <think> is
            kinds[token["id"]] = int(types.USER_DEFINED)
    return names, kinds


def _weights(writer: Any, gguf: ModuleType, source: Source, kind: Kind) -> None:
    """Announces every tensor, then writes one after the other: no more than one is held at a time."""
    types = gguf.GGMLQuantizationType
    stored = {name: _type(name, shape, kind, types) for name, shape in source.weights.shapes.items()}
    names = gguf.get_tensor_name_map(
        getattr(gguf.MODEL_ARCH, source.config.family.upper()), source.config.num_hidden_layers
    )
    stretch = _stretch(source.config)
    if stretch is not None:
        writer.add_tensor_info("rope_freqs.weight", stretch.shape, stretch.dtype, stretch.nbytes)
    for name, type_ in stored.items():
        shape = gguf.quant_shape_to_byte_shape(source.weights.shapes[name], type_)
        size = int(np.prod(shape))
        writer.add_tensor_info(
            names.get_name(name, (".weight", ".bias")), shape, np.dtype(np.uint8), size, raw_dtype=type_
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if stretch is not None:
        writer.write_tensor_data(stretch)
    for name, type_ in stored.items():
        tensor = _permuted(name, source.weights.read(name, torch.float32), source.config)
        writer.write_tensor_data(gguf.quants.quantize(tensor.numpy(), type_).view(np.uint8))


def _type(name: str, shape: tuple[int, ...], kind: Kind, types: Any) -> Any:
    if len(shape) == 1:
        return types.F32
    if kind == "f16" or shape[-1] % 32:
        return types.F16
    outer = name in ("model.embed_tokens.weight", "lm_head.weight")
    return types.Q4_0 if kind == "q4_0" and not outer else types.Q8_0


def _permuted(name: str, tensor: Tensor, config: ModelConfig) -> Tensor:
    """Llama's queries and keys in llama.cpp's order: there columns (2i, 2i + 1) of a head turn together, here
    (i, i + D/2)."""
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
    if config.family != "llama" or heads is None:
        return tensor
    halves = tensor.unflatten(0, (heads, 2, config.head_dim // 2))
    return halves.transpose(1, 2).flatten(0, 2).contiguous()


def _stretch(config: ModelConfig) -> npt.NDArray[np.float32] | None:
    """By what each rotary frequency is divided, for the scaling that llama.cpp takes as a tensor."""
    scaling = config.rope_scaling
    if scaling is None or scaling.rope_type != "llama3":
        return None
    plain, scaled = (frequencies(config.head_dim, config.rope_theta, each) for each in (None, scaling))
    found: npt.NDArray[np.float32] = (plain / scaled).float().numpy()
    return found
