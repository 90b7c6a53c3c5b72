"""Small adapters over small models, in folders as PEFT writes them, and what they amount to when they are merged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch

from denken.model import adapters
from denken.model.adapters import Adapter, layers_of
from denken.model.transformer import Transformer


def write(
    model: Transformer,
    folder: Path,
    *,
    seed: int,
    rank: int = 4,
    alpha: float = 8.0,
    only: Callable[[str], bool] = lambda name: True,
    spread: float = 0.15,
) -> Adapter:
    """A random adapter of the layers for which `only` holds; opened against the model."""
    draw = torch.Generator().manual_seed(seed)
    pairs = {}
    for name, (rows, columns) in layers_of(model).items():
        if only(name) and name != "lm_head":
            pairs[name] = (
                torch.randn(rank, columns, generator=draw) * spread,
                torch.randn(rows, rank, generator=draw) * spread,
            )
    adapters.write(folder, pairs, rank=rank, alpha=alpha, base=None)
    return Adapter.open(folder, layers_of(model), "the base")


def merged(model: Transformer, *parts: Adapter) -> Transformer:
    """The model with the adapters in its weights."""
    whole = copy.deepcopy(model)
    with torch.no_grad():
        for adapter in parts:
            for name in adapter.layers:
                a_KI, b_OK = adapter.read(name)
                weight = whole.get_submodule(name).weight
                weight.copy_(weight.float() + b_OK @ a_KI)
    return whole
