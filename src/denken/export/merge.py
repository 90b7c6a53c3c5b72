"""Several models of one architecture become one; a model may also be a folder of adapters above the base.

Tensors are read, blended in fp32 (`blend.py`) and written one by one, a shard of the result being held: memory does not
depend on how large the models are or how many. Here is checked that they belong together: the same shapes and the same
vocabulary. Whether the result is any good is for `denken eval` to say.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denken.errors import CheckpointError, ConfigError
from denken.export import adapters, hf
from denken.export.blend import OF_CHANGES, Method, Plan, merged
from denken.export.source import Source, licence, replacing
from denken.model import checkpoint
from denken.model.adapters import is_adapter
from denken.model.config import ModelConfig
from denken.tokenizer import Tokenizer


def merge(
    models: Sequence[Path],
    out: Path,
    method: Method,
    *,
    base: Path | None = None,
    weights: Sequence[float] | None = None,
    scale: float = 1.0,
    density: float = 0.2,
    seed: int = 0,
    max_shard_bytes: int = 2_000_000_000,
) -> Path:
    """Writes what `models` become to the new folder `out`, with the first's (or the base's) tokenizer and settings.

    base: what the models were trained from; needed for task, ties and dare, and for adapters. weights: one a model;
    equal shares where it is None.
    Raises CheckpointError or ConfigError where the models do not belong together or the plan makes no sense.
    """
    if len(models) < 2 and method not in OF_CHANGES:
        raise ConfigError("There is one model; merging needs two at least.")
    if not models or len(weights or models) != len(models):
        raise ConfigError(f"There are {len(models)} models and {len(weights or ())} weights; give one weight a model.")
    plan = Plan(method, tuple(weights or [1 / len(models)] * len(models)), scale, density, seed)
    if base is None and method in OF_CHANGES:
        raise ConfigError(f"{method} works on what changed since a base; name it with --base.")
    below = None if base is None else Source.open(base)
    parents = [_parent(Path(path), below) for path in models]
    first = below or next(parent.source for parent in parents)
    for parent in parents:
        _check_together(first, parent.source)
    with replacing(Path(out)) as unfinished:
        unfinished.mkdir()
        hf.write_texts(first, unfinished)

        def read(name: str) -> Tensor:
            theirs = [parent.read(name) for parent in parents]
            return merged(name, theirs, None if below is None else below.weights.read(name, torch.float32), plan)

        checkpoint.write(
            checkpoint.blank(hf.config_of(first)),
            read,
            unfinished,
            dtype=first.weights.dtype,
            max_shard_bytes=max_shard_bytes,
        )
        (unfinished / "README.md").write_text(_card(plan, models, base, [first, *(p.source for p in parents)]), "utf-8")
    return Path(out)


@contextmanager
def with_adapter(base: Path, adapter: Path, beside: Path) -> Iterator[Path]:
    """The model with an adapter in its weights, as a folder that is there while this is open, next to `beside`.

    For what leaves in other forms; it takes as much room on the disk as the base. Raises what `merge` raises.
    """
    beside = Path(beside).absolute()
    beside.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{beside.name}.", dir=beside.parent) as room:
        name = adapter.resolve().parent.name if adapter.resolve().name == "adapter" else adapter.resolve().name
        yield merge([adapter], Path(room) / name, "task", base=base)


@dataclass(frozen=True)
class _Parent:
    """A model that is merged: whole, or as adapters above the base."""

    source: Source
    read: Callable[[str], Tensor]


def _parent(folder: Path, base: Source | None) -> _Parent:
    if is_adapter(folder):
        if base is None:
            raise ConfigError(f"{folder} holds adapters; name the model that they were trained on with --base.")
        return _Parent(base, adapters.reader(folder, base))
    source = Source.open(folder)
    return _Parent(source, lambda name: source.weights.read(name, torch.float32))


def _check_together(first: Source, other: Source) -> None:
    """CheckpointError where two models are not of one architecture with one vocabulary."""
    ours, theirs = (_essence(source.config) for source in (first, other))
    differing = [name for name in ours if ours[name] != theirs[name]]
    if differing:
        name = differing[0]
        raise CheckpointError(
            f"{other.folder} and {first.folder} are not of one architecture: {name} is {theirs[name]!r} there and "
            f"{ours[name]!r} here. Only models that grew from one can be merged."
        )
    if not _same_vocabulary(first.tokenizer, other.tokenizer) or first.tokens["model"] != other.tokens["model"]:
        raise CheckpointError(
            f"{other.folder} and {first.folder} have different vocabularies: the same id would mean different words. "
            "Only models with one tokenizer can be merged."
        )


def _essence(config: ModelConfig) -> dict[str, Any]:
    """The configuration without what says nothing of how the network computes."""
    free = ("bos_token_id", "eos_token_id", "pad_token_id", "initializer_range", "num_nextn_predict_layers")
    return {name: value for name, value in asdict(config).items() if name not in free}


def _same_vocabulary(one: Tokenizer, other: Tokenizer) -> bool:
    return one.control_ids == other.control_ids and all(
        one.token_bytes(id_) == other.token_bytes(id_) for id_ in range(max(one.vocab_size, other.vocab_size))
    )


def _card(plan: Plan, models: Sequence[Path], base: Path | None, sources: Sequence[Source]) -> str:
    """A model card that says what was merged; the licence only where all parents have the same."""
    licences = {licence(source.folder) for source in sources}
    known = f"license: {licences.pop()}\n" if len(licences) == 1 and None not in licences else ""
    names = [_shown(path) for path in models]
    lines = [f"---\n{known}tags: [merge]\n---\n\n# A merge\n"]
    lines.append(
        f"By `denken merge --method {plan.method}`" + (f" from the base `{_shown(base)}`" if base else "") + ":\n"
    )
    lines += [f"- `{name}`, weight {weight:g}" for name, weight in zip(names, plan.weights, strict=True)]
    settings = {"task": "scale", "ties": "scale density", "dare": "scale density seed"}.get(plan.method, "").split()
    if settings:
        lines.append("\nWith " + ", ".join(f"{name} {getattr(plan, name):g}" for name in settings) + ".")
    return "\n".join(lines) + "\n"


def _shown(path: Path) -> str:
    """A folder by its last two names: the rest of the path is the owner's affair."""
    return re.sub(r"[^\w./ -]", "_", "/".join(Path(path).resolve().parts[-2:]))
