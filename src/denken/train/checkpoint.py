"""A training state on disk that survives a crash at any moment.

A checkpoint is a folder `step-N`: tensors as safetensors, the rest as `state.json`, and `manifest.json` with the
SHA-256 of each file, written last. It is made under a temporary name, flushed to the disk and renamed, so a folder that
has its final name was complete; the manifest catches what happened to it afterwards. No pickle: a checkpoint from a
stranger cannot run anything. What goes into the state is the loop's business.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from denken.errors import CheckpointError

_NAME = re.compile(r"step-(\d+)")


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint as read back. tensors: per file (without ending), then per name."""

    folder: Path
    state: dict[str, Any]
    tensors: dict[str, dict[str, Tensor]]


def save(
    folder: Path, step: int, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Tensor]], *, keep: int
) -> Path:
    """Write `folder/step-N` and remove all but the newest `keep`; returns its path.

    tensors: {"weights": {...}, "optimizer": {...}}, one safetensors file each. state: JSON values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step-{step}"
    temporary = folder / f".step-{step}.{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name, group in tensors.items():
        save_file({key: tensor.contiguous() for key, tensor in group.items()}, temporary / f"{name}.safetensors")
    (temporary / "state.json").write_text(json.dumps(state), encoding="utf-8")
    manifest = {}
    for file in sorted(temporary.iterdir()):
        _flush(file)
        manifest[file.name] = {"sha256": _sha256(file), "bytes": file.stat().st_size}
    (temporary / "manifest.json").write_text(json.dumps({"step": step, "files": manifest}, indent=1), encoding="utf-8")
    _flush(temporary / "manifest.json")
    _flush(temporary)
    if final.exists():
        shutil.rmtree(final)
    temporary.rename(final)
    _flush(folder)
    for old in _numbered(folder)[keep:]:
        shutil.rmtree(old)
    for leftover in folder.glob(".step-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return final


def load_latest(folder: Path, warn: Callable[[str], None]) -> Saved | None:
    """The newest checkpoint that is whole; None if there never was one.

    A damaged one is named through `warn` and the one before it is tried. CheckpointError if none is usable.
    """
    candidates = _numbered(folder)
    for candidate in candidates:
        try:
            return load(candidate)
        except CheckpointError as error:
            warn(f"{error} Trying the checkpoint before it.")
    if candidates:
        raise CheckpointError(
            f"None of the {len(candidates)} checkpoints in {folder} is usable. To start over, move {folder.parent} "
            "away and run the same command; to start from exported weights, set init_from in the recipe's [train]."
        )
    return None


def load(folder: Path) -> Saved:
    """Read one checkpoint, checked against its manifest. CheckpointError says which file is damaged."""
    try:
        files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            file = folder / name
            if file.stat().st_size != expected["bytes"]:
                raise CheckpointError(
                    f"The checkpoint {folder} is damaged: {name} has {file.stat().st_size} bytes, "
                    f"not {expected['bytes']}."
                )
            if _sha256(file) != expected["sha256"]:
                raise CheckpointError(f"The checkpoint {folder} is damaged: {name} does not have its recorded SHA-256.")
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        tensors = {Path(name).stem: load_file(folder / name) for name in files if name.endswith(".safetensors")}
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise CheckpointError(f"The checkpoint {folder} is damaged: {type(error).__name__}: {error}.") from None
    return Saved(folder, state, tensors)


def _numbered(folder: Path) -> list[Path]:
    """Finished checkpoints, newest first."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Make sure that a file, or a folder's list of names, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
