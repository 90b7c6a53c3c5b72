"""A run's folder: who holds it, what it ran on, and the model in it as it stands.

What the other files there hold is `checkpoint`'s, `runlog`'s and `ledger`'s business.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import denken
from denken.errors import ConfigError
from denken.model.checkpoint import save
from denken.model.transformer import Transformer
from denken.tokenizer import Tokenizer

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Keep a second process from training into the same folder; the lock goes with the process that holds it."""
    try:
        import fcntl
    except ImportError:  # Windows has none; there nobody is kept out
        yield
        return
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"Another process is training into {folder}; wait for it or stop it, or give the recipe another name."
            ) from None
        yield


def describe(folder: Path, recipe_path: Path, *, processes: int, parameters: int) -> None:
    """Leave a copy of the recipe and a note of what it runs on."""
    if recipe_path.resolve() != (folder / "recipe.toml").resolve():
        shutil.copyfile(recipe_path, folder / "recipe.toml")
    environment = {
        "denken": denken.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": platform.platform(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "processes": processes,
        "threads": torch.get_num_threads(),
        "parameters": parameters,
    }
    (folder / "environment.json").write_text(json.dumps(environment, indent=1) + "\n", encoding="utf-8")


def export(model: Transformer, tokenizer: Tokenizer, folder: Path) -> None:
    """Replace `folder/model` by these weights, with the tokenizer's files beside them."""
    new, old = folder / ".model.new", folder / ".model.old"
    shutil.rmtree(new, ignore_errors=True)
    save(model, new)
    for name in TOKENIZER_FILES:
        if (tokenizer.folder / name).is_file():
            shutil.copyfile(tokenizer.folder / name, new / name)
    shutil.rmtree(old, ignore_errors=True)
    if (folder / "model").exists():
        (folder / "model").rename(old)
    new.rename(folder / "model")
    shutil.rmtree(old, ignore_errors=True)


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor()
