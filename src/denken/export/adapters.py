"""Adapters in PEFT's format beside the base that they were trained on: the base's tensors with the changes in them.

Plain LoRA on linear layers is read, as `train/lora.py` and PEFT write it; what is more than that is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from denken.errors import CheckpointError, quoted
from denken.export.source import Source
from denken.model import tensorfile

ADAPTER, ADAPTER_CONFIG = "adapter_model.safetensors", "adapter_config.json"
PEFT_PREFIX = "base_model.model."


def holds_adapters(folder: Path) -> bool:
    """Whether a folder holds adapters, not a model."""
    return (folder / ADAPTER_CONFIG).is_file()


def reader(folder: Path, base: Source) -> Callable[[str], Tensor]:
    """Reads the base's tensors by name, fp32, with the adapters' changes in them.

    Raises CheckpointError where the adapters are damaged, of another kind or of another base.
    """
    scale, rank = _scale(folder)
    file = folder / ADAPTER
    entries, _ = tensorfile.read_header(file)
    pairs = {name: _pair(name) for name in base.weights.shapes}
    strange = sorted(set(entries) - {part for pair in pairs.values() for part in pair})
    for name, (a, b) in pairs.items():
        if a not in entries and b not in entries:
            continue
        shapes = [entries[part].shape if part in entries else () for part in (b, a)]
        shape = base.weights.shapes[name]
        kinds = {entries[part].dtype for part in (a, b) if part in entries}
        if shapes != [(*shape[:1], rank), (rank, *shape[1:])] or not kinds <= {"F32", "F16", "BF16"}:
            strange.append(a)
    if strange:
        raise CheckpointError(
            f"{file}: {quoted(strange[0])} does not fit {base.folder}; name the base of these adapters."
        )

    def read(name: str) -> Tensor:
        weight = base.weights.read(name, torch.float32)
        a, b = pairs[name]
        if a not in entries:
            return weight
        found = dict(tensorfile.read_tensors(file, (a, b)))
        return weight.addmm_(found[b].float(), found[a].float(), alpha=scale)

    return read


def _scale(folder: Path) -> tuple[float, int]:
    """What the product of the two is multiplied with, and its rank."""
    settings = tensorfile.read_json(folder / ADAPTER_CONFIG)
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    more = ("use_rslora", "use_dora", "modules_to_save", "fan_in_fan_out", "rank_pattern", "alpha_pattern")
    plain = settings.get("peft_type") == "LORA" and settings.get("bias", "none") == "none"
    plain = plain and not any(settings.get(name) for name in more)
    if not plain or type(rank) is not int or rank < 1 or isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise CheckpointError(f"{folder / ADAPTER_CONFIG} describes more than plain LoRA; merge it with PEFT first.")
    return alpha / rank, rank


def _pair(name: str) -> tuple[str, str]:
    stem = PEFT_PREFIX + name.removesuffix(".weight")
    return stem + ".lora_A.weight", stem + ".lora_B.weight"
