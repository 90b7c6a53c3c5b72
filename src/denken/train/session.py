"""What every kind of run begins with: processes, the run's folder and lock, a learner, the checkpoint to go on from.

A `Learner` is the thing that steps: `pretrain.Trainer` reads texts, `grpo.GRPO` reads rewards. The loop around its step
is the kind's own.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from denken.config import Recipe, TrainSection
from denken.errors import ConfigError, DenkenError
from denken.tokenizer import Tokenizer
from denken.train import checkpoint
from denken.train.folder import complete, describe, load_tokenizer, only_one, start_of
from denken.train.ledger import Ledger
from denken.train.optim import Optimizer
from denken.train.parallel import Mesh, launch, stop_signals, under_torchrun
from denken.train.runlog import RunLog

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Learner(Protocol):
    """One process's share of a run. Made of (recipe, mesh, tokenizer, folder of the first weights)."""

    done: int

    @property
    def parameters(self) -> int: ...

    def restore(self, saved: checkpoint.Saved, warn: Callable[[str], None]) -> Ledger: ...


# (learner, ledger, folder, whether somebody asked to stop, the log on rank 0)
Loop = Callable[[Any, Ledger, Path, Callable[[], bool], RunLog | None], None]


def start(
    recipe_path: str | Path,
    make: Callable[..., Learner],
    loop: Loop,
    *,
    run_dir: str | Path | None = None,
    resume: bool = True,
    scale: float = 1.0,
) -> Path:
    """Run `loop` over a learner that `make` builds, in the recipe's processes; returns the run's folder.

    make, loop: importable functions or classes, for the other processes. scale: see `Recipe.scaled`.
    """
    recipe_path = Path(recipe_path)
    recipe = Recipe.load(recipe_path)
    folder = Path(run_dir) if run_dir is not None else Path("runs") / recipe.name
    arguments = (str(recipe_path), str(folder), resume, scale, make, loop)
    processes = 1 if device(recipe).type == "cuda" else recipe.train.processes
    launch(run, processes, recipe.train.threads, *arguments)
    return folder


def run(
    mesh: Mesh,
    recipe_path: str,
    run_folder: str,
    resume: bool,
    scale: float,
    make: Callable[..., Learner],
    loop: Loop,
) -> None:
    """One process of a run, from reading the recipe to the last checkpoint."""
    path, folder = Path(recipe_path), Path(run_folder)
    recipe = complete(Recipe.load(path).scaled(scale), path.parent, folder)
    if not resume and any((folder / "checkpoints").glob("step-*")):
        raise ConfigError(f"{folder} already holds a run; resume it, give the recipe another name, or move it away.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The run's folder {folder} cannot be made ({error.strerror}); name another.") from None
    with only_one(folder) if mesh.main else nullcontext(), stop_signals() as stopping:
        log = RunLog(folder, recipe.train.total_steps) if mesh.main else None
        warn = log.warn if log is not None else silence
        learner = make(recipe, mesh, load_tokenizer(recipe, path.parent), start_of(recipe, path.parent, folder))
        saved = checkpoint.load_latest(folder / "checkpoints", warn)
        ledger = learner.restore(saved, warn) if saved is not None else Ledger.spent(folder)
        if log is not None:
            describe(folder, path, processes=mesh.world, parameters=learner.parameters, scale=scale)
            log.cut_back(learner.done if saved is not None else -1)
            if saved is not None:
                log.say(f"Resuming {recipe.name} at step {learner.done} from {saved.folder}.")
            if ledger.seconds >= recipe.train.most_seconds:
                log.say(f"The {recipe.train.minutes:g} minutes of {recipe.name} are used up; raise minutes to go on.")
            elif learner.done >= recipe.train.total_steps:
                log.say(f"All {learner.done} steps of {recipe.name} are done; raise steps in the recipe to go on.")
        tell = log.warn if log is not None else lambda text: print(f"Process {mesh.rank}: {text}", file=sys.stderr)
        watching = mesh.watchdog.watching(folder, tell, stall_s=recipe.train.stall_s, rank=mesh.rank)
        with log or nullcontext(), watching:
            if learner.done < recipe.train.total_steps and ledger.seconds < recipe.train.most_seconds:
                loop(learner, ledger, folder, lambda: stopping() or ledger.seconds >= recipe.train.most_seconds, log)


def ended(step: int, train: TrainSection, seconds: float) -> str:
    """What to say of a run that has taken so long and ends with steps left."""
    if seconds >= train.most_seconds:
        return f"Done after step {step}: the {train.minutes:g} minutes are used up."
    return f"Stopped after step {step} and saved; resume with the same command."


def device(recipe: Recipe) -> torch.device:
    """Where the recipe's network learns. ConfigError where it names a GPU that is not there, or not for this."""
    train, wanted = recipe.train, recipe.train.device
    whole = train.lora is None and not train.shard and not under_torchrun()
    for_gpu = recipe.rl is None and whole and train.dtype == "bf16"
    if wanted == "cuda" and not for_gpu:
        raise ConfigError(
            'device = "cuda" is for one process that learns from documents in bf16; leave out [rl], lora, shard, '
            'torchrun and dtype, or give device = "cpu".'
        )
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError('device = "cuda", and PyTorch sees no GPU here; device = "auto" learns on what is there.')
    return torch.device("cuda" if wanted != "cpu" and for_gpu and torch.cuda.is_available() else "cpu")


def optimizer(model: nn.Module, recipe: Recipe, mesh: Mesh, *, stats: int, start: Path | None = None) -> Optimizer:
    """What moves the weights of this run. With shard, and others to share with, `model` holds its share from now on.

    model: in fp32; it will compute in the recipe's dtype. stats: as in `Optimizer`. start: where its weights come from.
    """
    dtype, lora = DTYPES[recipe.train.dtype], recipe.train.lora
    if lora is not None:
        if recipe.train.shard:
            raise ConfigError("Adapters are small and are not shared out; give lora or shard, one of the two.")
        from denken.train.lora import LoraOptimizer, base_name

        base = None if recipe.train.init_layers is not None else base_name(start)
        place = {"stats": stats, "rank": mesh.rank, "world": mesh.world}
        return LoraOptimizer(model, recipe.optim, lora=lora, seed=recipe.seed, base=base, dtype=dtype, **place)
    kind: type[Optimizer] = Optimizer
    if recipe.train.shard and mesh.world > 1:
        # PyTorch's part of it takes a second to import.
        from denken.train.shard import ShardedOptimizer

        kind = ShardedOptimizer
    return kind(model, recipe.optim, dtype=dtype, stats=stats, rank=mesh.rank, world=mesh.world)


def compare(old: dict[str, Any], new: dict[str, Any], warn: Callable[[str], None]) -> None:
    """Say what the recipe changed since the checkpoint. ConfigError if the network itself changed."""
    if old["model"] != new["model"]:
        keys = sorted(
            k for k in old["model"].keys() | new["model"].keys() if old["model"].get(k) != new["model"].get(k)
        )
        raise ConfigError(
            f"The run's checkpoint has another [model] (changed: {', '.join(keys)}); give the recipe another name, "
            "and init_from if its weights should be the start."
        )
    for section in ("seed", "tokenizer", "data", "rl", "reward", "optim", "train"):
        before, after = old.get(section), new[section]
        if section not in old or before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            # A key that this version added says nothing.
            keys = sorted(k for k in before.keys() | after.keys() if before.get(k, after.get(k)) != after.get(k))
            if keys:
                warn(f"[{section}] has changed since the checkpoint: {', '.join(keys)}; going on with the new recipe.")
        else:
            warn(f"{section} has changed from {before} to {after}; going on with the new recipe.")


def diverged(step: int, value: float) -> DenkenError:
    """The error for a loss or gradient that is no number in the step after `step`."""
    return DenkenError(
        f"The loss or the gradient became {value} in step {step + 1}; the last checkpoint is kept. Lower lr and "
        'adam_lr, raise warmup, or train with dtype = "fp32", then run the same command to go on from the checkpoint.'
    )


def tokenizer_hash(tokenizer: Tokenizer) -> str:
    return hashlib.sha256((tokenizer.folder / "tokenizer.json").read_bytes()).hexdigest()


def silence(_: str) -> None:
    """A warning that another process gives."""
