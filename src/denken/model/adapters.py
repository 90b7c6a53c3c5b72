"""Adapters in PEFT's format, held against the layers of their base: of each layer's weight a change of low rank.

    y = x W^T + scale * (x A^T) B^T        A (rank, I), B (O, rank), scale = lora_alpha / r

Source: Hu et al. 2021, "LoRA" (arXiv 2106.09685), section 4.1. A folder is a stranger's: everything is compared with
the base before a number is read. Plain LoRA on linear layers is read, as `train/lora.py` and PEFT write it; what is
more than that is refused, for its numbers alone would be another model. Who applies it to rows is `engine/adapters.py`,
who merges it into weights `export/adapters.py`.
"""

# I = inputs, O = outputs, K = rank

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from denken.errors import CheckpointError, quoted
from denken.model import tensorfile
from denken.model.compressed import CompressedLinear
from denken.model.quantized import QuantizedLinear

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
A, B = ".lora_A.weight", ".lora_B.weight"
# Settings that change what the numbers mean; absent, false or empty they do not.
MORE = (
    *("use_rslora", "use_dora", "use_qalora", "use_bdlora", "lora_bias", "fan_in_fan_out", "modules_to_save"),
    *("rank_pattern", "alpha_pattern", "trainable_token_indices", "target_parameters", "layer_replication"),
    *("alora_invocation_tokens", "arrow_config", "kasa_config", "monteclora_config", "velora_config"),
)
# Ways to begin that change the base as well.
OTHER_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")


@dataclass(frozen=True, slots=True)
class Settings:
    """What adapter_config.json says. base: what it was trained on, by name or folder; None where it does not say."""

    rank: int
    scale: float
    base: str | None


@dataclass(frozen=True)
class Adapter:
    """A folder's adapter, which fits its base and is not yet read. layers: the shape (O, I) of each that it changes."""

    folder: Path
    settings: Settings
    layers: Mapping[str, tuple[int, int]]

    @classmethod
    def open(cls, folder: Path, layers: Mapping[str, tuple[int, ...]], base: str | Path) -> Adapter:
        """layers: the shape of every layer's weight in the base, by the layer's name. base: for errors alone.

        Raises CheckpointError where the adapter is damaged, of another kind or of another base.
        """
        folder = Path(folder)
        settings, file = read_settings(folder), folder / WEIGHTS
        entries, _ = tensorfile.read_header(file)
        if not entries:
            raise CheckpointError(f"{file} holds no adapter: there is no tensor in it. Fetch or save it again.")
        named = sorted(name.removeprefix(PREFIX).removesuffix(A) for name in entries if name.endswith(A))
        strange = set(entries) - {PREFIX + name + part for name in named for part in (A, B)}
        changed: dict[str, tuple[int, int]] = {}
        for name in named:
            shape, parts = layers.get(name, ()), (PREFIX + name + A, PREFIX + name + B)
            found = [entries[part].shape if part in entries else () for part in parts]
            dtypes = {entries[part].dtype for part in parts if part in entries}
            if len(shape) != 2 or found != [(settings.rank, shape[1]), (shape[0], settings.rank)]:
                strange.add(parts[0])
            elif not dtypes <= {"F32", "F16", "BF16"}:
                raise CheckpointError(f"{file}: {quoted(name)} is stored as {dtypes}; save it as F32, F16 or BF16.")
            else:
                changed[name] = (shape[0], shape[1])
        if strange:
            raise CheckpointError(_why_strange(file, min(strange), entries, settings, base))
        return cls(folder, settings, changed)

    def read(self, layer: str) -> tuple[Tensor, Tensor]:
        """A (K, I) and scale * B (O, K) of a layer, in fp32. Raises CheckpointError where one is no finite number."""
        names = (PREFIX + layer + A, PREFIX + layer + B)
        found = dict(tensorfile.read_tensors(self.folder / WEIGHTS, names))
        # Both in memory of their own: the file may be replaced while they are in use.
        a_KI, b_OK = found[names[0]].to(torch.float32, copy=True), found[names[1]].float() * self.settings.scale
        # One that is not would reach others: nothing times infinity is no number.
        if not (a_KI.isfinite().all() and b_OK.isfinite().all()):
            raise CheckpointError(
                f"{self.folder / WEIGHTS}: {quoted(layer)} holds numbers that are not finite; the training diverged, "
                "or the file is damaged. Save or fetch it again."
            )
        return a_KI, b_OK

    @property
    def name(self) -> str:
        """What it is called where nobody says: its folder's name, or its run's where training put it into `adapter`."""
        folder = self.folder.resolve()
        return folder.parent.name if folder.name == "adapter" else folder.name


def layers_of(model: nn.Module) -> dict[str, tuple[int, int]]:
    """The shape (O, I) of every layer's weight, by the layer's name."""
    kinds = nn.Linear | QuantizedLinear | CompressedLinear
    return {name: (m.out_features, m.in_features) for name, m in model.named_modules() if isinstance(m, kinds)}


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, not a model."""
    return (Path(folder) / CONFIG).is_file()


def read_settings(folder: Path) -> Settings:
    """Raises CheckpointError where they cannot be read, or describe more than plain LoRA."""
    file = Path(folder) / CONFIG
    settings = tensorfile.read_json(file)
    rank, base = settings.get("r"), settings.get("base_model_name_or_path")
    begun = settings.get("init_lora_weights")
    plain = settings.get("peft_type") == "LORA" and settings.get("bias", "none") == "none"
    plain = plain and not any(settings.get(name) for name in MORE)
    plain = plain and not (isinstance(begun, str) and begun.lower().startswith(OTHER_BASES))
    scale = _quotient(settings.get("lora_alpha"), rank)
    if not plain or scale is None:
        raise CheckpointError(f"{file} describes more than plain LoRA; merge it with PEFT first.")
    if base is not None and not isinstance(base, str):
        raise CheckpointError(f"{file}: base_model_name_or_path is {quoted(base)}; give a name, a folder or null.")
    assert isinstance(rank, int)
    return Settings(rank, scale, base or None)


def write(
    folder: Path, pairs: Mapping[str, tuple[Tensor, Tensor]], *, rank: int, alpha: float, base: str | None
) -> None:
    """Writes an adapter as PEFT reads it, the settings last. pairs: A (K, I) and B (O, K) by the layer's name."""
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": sorted({name.rpartition(".")[2] for name in pairs}),
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "modules_to_save": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
    }
    tensors = {}
    for name, (a_KI, b_OK) in pairs.items():
        tensors[PREFIX + name + A] = a_KI.detach().contiguous()
        tensors[PREFIX + name + B] = b_OK.detach().contiguous()
    new, words = folder / f".{WEIGHTS}", folder / f".{CONFIG}"
    tensorfile.write(new, tensors, {"format": "pt"})
    words.write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    os.replace(new, folder / WEIGHTS)
    os.replace(words, folder / CONFIG)


def joined(adapters: Sequence[Adapter], folder: Path, base: str | None) -> None:
    """Writes one adapter that changes its base as these do one after the other, each trained on what was before it.

    W + s1 B1 A1 + s2 B2 A2 = W + [s1 B1, s2 B2] [A1; A2]: the ranks add up, and nothing is lost.
    """
    rank = sum(adapter.settings.rank for adapter in adapters)
    pairs = {}
    for layer in dict.fromkeys(name for adapter in adapters for name in adapter.layers):
        rows, columns = next(adapter.layers[layer] for adapter in adapters if layer in adapter.layers)
        parts = [
            adapter.read(layer)
            if layer in adapter.layers
            else (torch.zeros(adapter.settings.rank, columns), torch.zeros(rows, adapter.settings.rank))
            for adapter in adapters
        ]
        pairs[layer] = (torch.cat([a for a, _ in parts]), torch.cat([b for _, b in parts], dim=1))
    write(folder, pairs, rank=rank, alpha=rank, base=base)


def _why_strange(
    file: Path, name: str, entries: Mapping[str, tensorfile.Entry], settings: Settings, base: object
) -> str:
    shape = f" of shape {list(entries[name].shape)}" if name in entries else ""
    told = f"it says that it was trained on {quoted(settings.base)}" if settings.base else "name the base of it"
    return f"{file}: {quoted(name)}{shape}, rank {settings.rank}, does not fit {base}; {told}."


def _quotient(alpha: Any, rank: Any) -> float | None:
    """alpha / rank; None where the two are no such numbers."""
    if type(rank) is not int or not 1 <= rank <= 1 << 20 or type(alpha) not in (int, float) or abs(alpha) > 1e9:
        return None
    return float(alpha) / rank
