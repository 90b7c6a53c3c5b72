"""An ONNX file, which ONNX Runtime and what is built on it run: from C++, C#, JavaScript, on phones and without Python.

Llama, Qwen2 and Qwen3 go out, through PyTorch's exporter. The file is one step with a KV cache: ids in, logits out, and
the keys and values of every layer in and out. Names are those that Hugging Face's Optimum and transformers.js give:
`input_ids` (B, T), `attention_mask` (B, P + T; 0 is padding), `position_ids` (B, T), `past_key_values.N.key` and
`.value` (B, K, P, D) to `logits` (B, T, V), `present.N.key` and `.value` (B, K, P + T, D). A prompt has P = 0.

Beside the file come the tokenizer, the chat template and the configurations: what `hf.py` writes, without the weights.
Numbers are fp32. Not covered: experts and latent attention, "dynamic" stretching of positions (its angles depend on the
whole text), smaller numbers (ONNX Runtime has its own tools for them), models whose file would be above 2 GB.
"""

# B = rows, T = new tokens, P = tokens in the cache, S = P + T, H = query heads, K = key heads, D = columns of a head

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from denken.errors import ConfigError
from denken.export import hf
from denken.export.source import Source, replacing
from denken.model import checkpoint
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer

FAMILIES = ("llama", "qwen2", "qwen3")
FILE = "model.onnx"
LARGEST = 2_000_000_000  # bytes; a longer file is no protobuf


def export(folder: Path, out: Path) -> Path:
    """Writes the model of `folder` to the new folder `out`, as `model.onnx` with what else a program needs.

    Raises CheckpointError or ConfigError where `folder` holds no whole model or one that is not covered, or `out` is
    taken.
    """
    _check_installed()
    source = Source.open(folder)
    _check(source.config)
    model = checkpoint.load(source.folder, dtype=torch.float32, whole=True).eval().requires_grad_(False)
    if sum(parameter.numel() * 4 for parameter in model.parameters()) > LARGEST:
        raise ConfigError("In fp32 this model has more than 2 GB, more than one ONNX file holds; export it as gguf.")
    with replacing(Path(out)) as unfinished:
        unfinished.mkdir()
        hf.write_texts(source, unfinished)
        _write(model, unfinished / FILE)
    return Path(out)


def _check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError("ONNX files need more packages; install them: pip install 'denken[export]'") from error


def _check(config: ModelConfig) -> None:
    if config.family not in FAMILIES:
        raise ConfigError(
            f"A {config.family} model cannot be written as ONNX here, only {', '.join(FAMILIES)}; use --format hf."
        )
    if config.rope_scaling is not None and config.rope_scaling.rope_type == "dynamic":
        raise ConfigError("Positions that are stretched dynamically depend on the whole text; use --format hf.")


class _Step(nn.Module):
    """The model with its cache as arguments and results."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, position_ids: Tensor, past: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        cached = _Cached(attention_mask, input_ids.shape[1], past)
        logits = self.model(input_ids, position_ids, cached)
        return logits, cached.present


class _Cached:
    """An `Attend` whose cache is given and given back. A token sees what stands before it and is no padding."""

    latent = False

    def __init__(self, attention_mask_BS: Tensor, tokens: int, past: Sequence[tuple[Tensor, Tensor]]) -> None:
        self.past = past
        self.present: list[tuple[Tensor, Tensor]] = []
        places_S = torch.arange(attention_mask_BS.shape[1], device=attention_mask_BS.device)
        before_TS = places_S[None, :] <= places_S[-tokens:, None]
        real_BS = attention_mask_BS.bool()
        # A padded place looks at itself, for a softmax over nothing is no number.
        itself_TS = places_S[None, :] == places_S[-tokens:, None]
        self.mask_B1TS = (before_TS[None, None] & real_BS[:, None, None]) | itself_TS[None, None]

    def __call__(
        self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value_BTKE: Tensor | None, scale: float
    ) -> Tensor:
        assert value_BTKE is not None
        past_key, past_value = self.past[layer]
        key_BKSD = torch.cat((past_key, key_BTKD.transpose(1, 2)), dim=2)
        value_BKSD = torch.cat((past_value, value_BTKE.transpose(1, 2)), dim=2)
        self.present.append((key_BKSD, value_BKSD))
        shared = query_BTHD.shape[2] // key_BTKD.shape[2]
        out_BHTD = F.scaled_dot_product_attention(
            query_BTHD.transpose(1, 2),
            key_BKSD.repeat_interleave(shared, dim=1),
            value_BKSD.repeat_interleave(shared, dim=1),
            attn_mask=self.mask_B1TS,
            scale=scale,
        )
        return out_BHTD.transpose(1, 2)


def _write(model: Transformer, file: Path) -> None:
    config = model.config
    rows, tokens, past = 2, 3, 5  # only to trace with: each may be any number in the file
    ids_BT = torch.zeros(rows, tokens, dtype=torch.long)
    positions_BT = torch.arange(past, past + tokens).expand(rows, -1).contiguous()
    mask_BS = torch.ones(rows, past + tokens, dtype=torch.long)
    model.rotary(positions_BT)  # its frequencies are made once, and not in the file
    cache = [
        tuple(torch.zeros(rows, config.num_key_value_heads, past, config.head_dim) for _ in range(2))
        for _ in range(config.num_hidden_layers)
    ]
    batch, new, total, cached = map(torch.export.Dim, ("batch", "tokens", "total", "past"))
    pairs = [f"{layer}.{part}" for layer in range(config.num_hidden_layers) for part in ("key", "value")]
    with _quiet():
        torch.onnx.export(
            _Step(model),
            (ids_BT, mask_BS, positions_BT, cache),
            file,
            dynamo=True,
            external_data=False,
            input_names=["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{pair}" for pair in pairs)],
            output_names=["logits", *(f"present.{pair}" for pair in pairs)],
            dynamic_shapes=(
                {0: batch, 1: new},
                {0: batch, 1: total},
                {0: batch, 1: new},
                [({0: batch, 2: cached}, {0: batch, 2: cached})] * config.num_hidden_layers,
            ),
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's own remarks say nothing that a person could act on."""
    logger: Any = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
