"""Weights on disk: Hugging Face folders, read and written.

`load` gives a `Transformer`, `save` a folder that transformers and every other reader of the format opens.
Optimiser states and the like are `train/checkpoint.py`'s.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from denken.errors import CheckpointError
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer


def read_config(folder: Path) -> ModelConfig:
    """The configuration in `folder/config.json`."""
    try:
        data = json.loads((Path(folder) / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder} has no readable config.json ({error}).") from error
    return ModelConfig.from_hf(data)


def load(folder: Path, *, dtype: torch.dtype | None = None) -> Transformer:
    """Reads a model; weights keep the file's precision unless `dtype` says otherwise."""
    with torch.device("meta"):
        model = Transformer(read_config(folder))
    tensors = load_file(Path(folder) / "model.safetensors")
    if model.lm_head is None:
        tensors.pop("lm_head.weight", None)
    model.load_state_dict({name: tensor.to(dtype or tensor.dtype) for name, tensor in tensors.items()}, assign=True)
    return model


def save(model: Transformer, folder: Path, *, dtype: torch.dtype | None = None) -> None:
    """Writes `config.json` and `model.safetensors`, each complete or not at all."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: t.detach().to("cpu", dtype or t.dtype).contiguous() for name, t in model.state_dict().items()}
    kind = str(next(iter(tensors.values())).dtype).removeprefix("torch.")
    config = model.config.to_hf() | {"dtype": kind, "torch_dtype": kind}
    save_file(tensors, folder / "model.safetensors.tmp", metadata={"format": "pt"})
    (folder / "config.json.tmp").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    for name in ("model.safetensors", "config.json"):
        with open(folder / f"{name}.tmp", "rb+") as file:
            os.fsync(file.fileno())
        os.replace(folder / f"{name}.tmp", folder / name)
