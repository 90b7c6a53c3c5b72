"""Models by name on this machine: those that were fetched, the one in the box, and those that runs here made.

A fetched model is a folder ORG/NAME below the shelf, in the Hugging Face layout, with a `pulled.json` that says where
it came from. `DENKEN_MODELS` names another shelf. How models come is `pull.py`'s business.
"""

from __future__ import annotations

import difflib
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from denken.errors import DenkenError, UnknownNameError
from denken.export.source import licence
from denken.model import checkpoint, tensorfile
from denken.model.adapters import Adapter, layers_of, read_settings
from denken.model.checkpoint import Weights

PULLED = "pulled.json"
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def default_root() -> Path:
    """DENKEN_MODELS, or `models` in the user's data folder."""
    if given := os.environ.get("DENKEN_MODELS"):
        return Path(given).expanduser()
    data = Path(os.environ.get("XDG_DATA_HOME", ""))
    if not data.is_absolute():  # as the XDG specification has it
        data = Path.home() / ".local" / "share"
    return data / "denken" / "models"


@dataclass(frozen=True)
class Listed:
    """A model that is here. problem: why it cannot be used; then family, context and licence may be unknown."""

    name: str
    folder: Path
    size: int
    family: str | None = None
    context: int | None = None
    licence: str | None = None
    problem: str | None = None


class Shelf:
    """The folder that fetched models lie in."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or default_root()

    def folder(self, name: str) -> Path:
        """Where a model of that name lies, or would."""
        if not NAME.fullmatch(name):
            raise UnknownNameError(f"{name!r} is no name of a fetched model; those look like Qwen/Qwen3-0.6B.")
        return self.root / name

    def names(self) -> list[str]:
        """The models that were fetched whole."""
        found = (f"{path.parent.parent.name}/{path.parent.name}" for path in self.root.glob(f"*/*/{PULLED}"))
        return sorted(name for name in found if NAME.fullmatch(name))

    def find(self, name: str) -> Path:
        """The folder of a fetched model, by `ORG/NAME` or `hf:ORG/NAME`; UnknownNameError with the near miss."""
        name = name.removeprefix("hf:")
        if name in (here := self.names()):
            return self.folder(name)
        near = difflib.get_close_matches(name, here, n=1)
        hint = f"did you mean {near[0]}?" if near else f"those that were are {', '.join(here) or 'none yet'}."
        raise UnknownNameError(f"No model {name!r} was fetched; {hint} Fetch one with: denken pull hf:ORG/NAME")

    def remove(self, name: str) -> int:
        """Takes a fetched model away, and returns how many bytes that frees."""
        folder = self.find(name)
        freed = _size(folder)
        shutil.rmtree(folder)
        if not any(folder.parent.iterdir()):
            folder.parent.rmdir()
        return freed


def listed(shelf: Shelf, bundled: Path, runs: Path) -> list[Listed]:
    """Every model that can be named: the one in the box, what was fetched, what runs in this folder made."""
    made = sorted(path.parent for path in runs.glob("*/model/config.json")) if runs.is_dir() else []
    named = [("bundled", bundled), *((name, shelf.folder(name)) for name in shelf.names())]
    named += [(str(folder), folder) for folder in made]
    return [_listed(name, folder) for name, folder in named if (folder / "config.json").is_file()]


def table(models: list[Listed]) -> Table:
    """The list for a terminal."""
    found = Table("model", "family", "context", "size", "licence")
    for model in models:
        if model.problem:
            found.add_row(model.name, "cannot be used: see denken models show", "", shown(model.size), "")
        else:
            context = f"{model.context:,}" if model.context else ""
            found.add_row(model.name, model.family, context, shown(model.size), model.licence or "not said")
    return found


def details(name: str, folder: Path) -> Iterator[tuple[str, str]]:
    """What there is to know of one model, line by line. CheckpointError or ConfigError where it cannot be used."""
    weights = Weights.open(folder)
    config = weights.config
    yield "name", name
    yield "folder", str(folder)
    yield "family", config.family
    yield "parameters", f"{sum(math.prod(shape) for shape in weights.shapes.values()):,}"
    yield "layers", f"{config.num_hidden_layers} of width {config.hidden_size}"
    yield "context", f"{config.max_position_embeddings:,} tokens"
    yield "precision", _precision(weights)
    yield "size", shown(_size(folder))
    yield "licence", licence(folder) or "not said"
    if (folder / PULLED).is_file():
        came: dict[str, Any] = tensorfile.read_json(folder / PULLED)
        yield "from", f"{came.get('from')} at {came.get('revision')}"
        yield "fetched", str(came.get("fetched"))


def adapter_details(folder: Path, base: Path | None) -> Iterator[tuple[str, str]]:
    """What there is to know of an adapter, line by line. base: the model that it names, where that is here.

    Raises CheckpointError where it is damaged, or does not fit that model.
    """
    layers = layers_of(checkpoint.blank(checkpoint.read_config(base))) if base is not None else None
    adapter = Adapter.open(folder, layers, base or "its base") if layers is not None else None
    settings = read_settings(folder)
    yield "kind", f"an adapter of rank {settings.rank}, scale {settings.scale:g}, and no model by itself"
    yield "folder", str(folder)
    yield "base", settings.base or "not said"
    if adapter is not None:
        size = sum(settings.rank * (rows + columns) for rows, columns in adapter.layers.values())
        yield "changes", f"{len(adapter.layers)} layers, by {size:,} parameters"
    yield "size", shown(_size(folder))
    there = "here, and it fits" if base is not None else "not here" if settings.base else "to be named"
    yield "its base", there
    yield "ask it", f"denken ask --model {settings.base or 'BASE'} --adapter {folder} ..."


def _precision(weights: Weights) -> str:
    """The type of most numbers, and how many layers are whole numbers: bfloat16, 42 layers in int4."""
    layers = Counter(f"int{scheme.bits}" for scheme in weights.quantised.values())
    kinds = [f"{count} layers in {kind}" for kind, count in sorted(layers.items())]
    return ", ".join([str(weights.dtype).removeprefix("torch."), *kinds])


def shown(size: int) -> str:
    """Bytes for people.

    >>> shown(5_187_520)
    '5.2 MB'
    """
    for unit, bytes_ in (("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if size >= bytes_:
            return f"{size / bytes_:.1f} {unit}"
    return f"{size} bytes"


def _listed(name: str, folder: Path) -> Listed:
    size = _size(folder)
    try:
        config = checkpoint.read_config(folder)
        return Listed(name, folder, size, config.family, config.max_position_embeddings, licence(folder))
    except DenkenError as error:
        return Listed(name, folder, size, problem=str(error))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
