"""An adapter beside the base that it was trained on: the base's tensors with the change in them.

What an adapter is, and whether it fits its base, is `denken.model.adapters`' business.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from denken.export.source import Source
from denken.model.adapters import Adapter


def reader(folder: Path, base: Source) -> Callable[[str], Tensor]:
    """Reads the base's tensors by name, fp32, with the adapter's change in them.

    Raises CheckpointError where the adapter is damaged, of another kind or of another base.
    """
    shapes = base.weights.shapes
    layers = {name.removesuffix(".weight"): shape for name, shape in shapes.items() if name.endswith(".weight")}
    adapter = Adapter.open(folder, layers, base.folder)

    def read(name: str) -> Tensor:
        weight = base.weights.read(name, torch.float32)
        layer = name.removesuffix(".weight")
        if layer in adapter.layers:
            a_KI, b_OK = adapter.read(layer)
            weight.addmm_(b_OK, a_KI)
        return weight

    return read
