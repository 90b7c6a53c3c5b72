"""A run's folder: who holds it, what it ran on, the model in it as it stands, and the weights it starts from.

What the other files there hold is `checkpoint`'s, `runlog`'s and `ledger`'s business.
"""

from __future__ import annotations

import difflib
import json
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import denken
from denken.config import DataSection, Recipe, TokenizerSection
from denken.errors import CheckpointError, ConfigError, UnknownNameError
from denken.model import checkpoint as exported
from denken.model.transformer import Transformer
from denken.tokenizer import Tokenizer
from denken.train import checkpoint
from denken.train.data import with_steps

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
RUN = "run:"
BUNDLED = Path(denken.__file__).parent / "bundled"
_LAYER = re.compile(r"(.*\blayers\.)(\d+)(\..*)")


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


def describe(folder: Path, recipe_path: Path, *, processes: int, parameters: int, scale: float = 1.0) -> None:
    """Leave a copy of the recipe and a note of what it runs on, and of the scale where its length was cut."""
    if recipe_path.resolve() != (folder / "recipe.toml").resolve():
        shutil.copyfile(recipe_path, folder / "recipe.toml")
    environment: dict[str, Any] = {
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
    if scale != 1:
        environment["scale"] = scale
    (folder / "environment.json").write_text(json.dumps(environment, indent=1) + "\n", encoding="utf-8")


def export(model: Transformer, tokenizer: Tokenizer, folder: Path) -> None:
    """Replace `folder/model` by these weights, with the tokenizer's files beside them."""
    new, old = folder / ".model.new", folder / ".model.old"
    shutil.rmtree(new, ignore_errors=True)
    exported.save(model, new)
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


def find(path: Path, base: Path) -> Path:
    """A path of the recipe: relative to the working directory, or else to the recipe's folder."""
    return path if path.is_absolute() or path.exists() or not (base / path).exists() else base / path


def resolve(spec: str, base: Path, run_folder: Path) -> Path:
    """What a recipe names: "run:NAME/..." lies in the run beside this one, all else is a path as in `find`.

    spec: of "run:NAME/rest" the result is `run_folder.parent / NAME / rest`; "run:self" is this run.
    UnknownNameError where there is nothing, with the nearest run.
    """
    if not spec.startswith(RUN):
        path = find(Path(spec).expanduser(), base)
        if not path.exists():
            raise UnknownNameError(
                f"The recipe names {spec!r}, and there is no such file or folder; give a path from the working "
                f'directory or from {base}, or "run:NAME" for what another run has made.'
            )
        return path
    name, _, rest = spec.removeprefix(RUN).partition("/")
    runs = run_folder.absolute().parent
    folder = run_folder if name == "self" else runs / name
    path = folder / rest if rest else folder
    if not name or name in (".", "..") or not path.exists():
        what = f"{folder} holds no {rest}" if rest and folder.is_dir() else f"there is no run {name!r} in {runs}"
        known = sorted(each.name for each in runs.iterdir() if each.is_dir()) if runs.is_dir() else []
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {RUN + near[0]!r}?" if near and near[0] != name else "train that recipe first."
        raise UnknownNameError(f"The recipe names {spec!r}, but {what}; {hint}")
    return path


def resolve_weights(spec: str, base: Path, run_folder: Path) -> Path:
    """The folder of weights that a recipe means: "bundled", "run:NAME" or a path.

    It may be in Hugging Face's format, a run's folder or a checkpoint (`start_from` reads all three, `model_folder`
    the first two). UnknownNameError where it does not exist.
    """
    if spec == "bundled" and not Path(spec).exists():
        return BUNDLED
    return resolve(spec, base, run_folder)


def model_folder(folder: Path) -> Path:
    """The folder in Hugging Face's format: this one, or a run's `model`. CheckpointError where there is neither."""
    places = [folder, folder / "model"]
    if (folder / "manifest.json").is_file():  # a checkpoint's run is two folders up
        places.append(folder.parent.parent / "model")
    for place in places:
        if (place / "config.json").is_file():
            return place
    raise CheckpointError(
        f"{folder} holds no model: there is no config.json in it or in its folder `model`. Give a folder in Hugging "
        "Face's format, or a run that has saved once."
    )


def start_of(recipe: Recipe, base: Path, run_folder: Path) -> Path | None:
    """The folder that the recipe's `init_from` means; None for random weights."""
    spec = recipe.train.init_from
    return None if spec is None else resolve_weights(spec, base, run_folder)


def complete(recipe: Recipe, base: Path, run_folder: Path) -> Recipe:
    """The recipe with nothing left to look up: what it takes from `init_from`, the files of its sets, its steps.

    [model] and [tokenizer], where it leaves them out, are those of `init_from`; with `init_layers` the network has as
    many layers as these. A [sample] without sources learns from its own set. Epochs become steps, for which every
    set must be there.
    """
    start = start_of(recipe, base, run_folder)
    given: dict[str, Any] = {}
    if not recipe.model and start is not None:
        given["model"] = exported.read_config(model_folder(start)).to_hf()
        if recipe.train.init_layers is not None:
            given["model"]["num_hidden_layers"] = len(recipe.train.init_layers)
    if recipe.tokenizer is None and start is not None:
        given["tokenizer"] = TokenizerSection(path=model_folder(start))
    if recipe.rl is None:
        given["data"] = data_of(recipe, base, run_folder)
    recipe = recipe.model_copy(update=given)
    return recipe if recipe.train.epochs is None else with_steps(recipe, load_tokenizer(recipe, base))


def data_of(recipe: Recipe, base: Path, run_folder: Path) -> DataSection:
    """The [data] with a path for every set that a source names."""
    values = recipe.data.model_dump()
    if recipe.sample is not None:
        values.setdefault("sources", [{"jsonl": "run:self"}])
        if values["held_out"] is None and recipe.sample.held_out:
            own = held_out_file(set_file("run:self", base, run_folder))
            values["held_out"] = str(own) if own.is_file() else None
    if values["held_out"] is not None:
        values["held_out"] = str(set_file(values["held_out"], base, run_folder))
    sources = values.get("sources")
    if isinstance(sources, list):
        values["sources"] = [
            {**source, "jsonl": str(set_file(source["jsonl"], base, run_folder))}
            if isinstance(source, dict) and isinstance(source.get("jsonl"), str)
            else source
            for source in sources
        ]
    return DataSection.model_validate(values)


def set_file(spec: str, base: Path, run_folder: Path) -> Path:
    """The file that a source's `jsonl` means; "run:NAME" alone is that run's data/NAME.jsonl, "run:self" this run's."""
    if spec.startswith(RUN) and "/" not in spec:
        name = spec.removeprefix(RUN)
        spec = f"{spec}/data/{run_folder.absolute().name if name == 'self' else name}.jsonl"
    return resolve(spec, base, run_folder)


def held_out_file(path: Path) -> Path:
    """Beside a run's own set, what of it is only looked at: data/NAME-held-out.jsonl."""
    return path.with_name(f"{path.stem}-held-out.jsonl")


def load_tokenizer(recipe: Recipe, base: Path) -> Tokenizer:
    """The tokenizer of a complete recipe."""
    assert recipe.tokenizer is not None, "complete the recipe first"
    return Tokenizer.load(find(recipe.tokenizer.path, base))


def start_from(model: nn.Module, folder: Path, layers: Sequence[int] | None = None) -> None:
    """Weights of a Hugging Face folder, of a checkpoint, or of a run's newest checkpoint, into a fresh network.

    layers: layer i of the network gets the weights of layer `layers[i]` there; None takes them as they are.
    """
    newest = checkpoint.load_latest(folder / "checkpoints", lambda _: None)
    if newest is not None and not any(name.endswith(".lora_A.weight") for name in newest.tensors["weights"]):
        tensors = newest.tensors["weights"]
    elif (folder / "manifest.json").is_file():
        tensors = checkpoint.load(folder).tensors["weights"]
    else:
        refuse_quantised(model_folder(folder))
        there = exported.load(model_folder(folder), dtype=torch.float32)
        tensors = {name: parameter.detach() for name, parameter in there.named_parameters()}
    if layers is not None:
        tensors = _chosen(tensors, layers, str(folder))
    copy_weights({name: p.detach() for name, p in model.named_parameters()}, tensors, str(folder))


def refuse_quantised(folder: Path) -> None:
    """ConfigError for a model of whole numbers. Its numbers could be had back, but with every rounding in them: what it
    was made from is the better start."""
    if exported.Weights.open(folder).quantised:
        raise ConfigError(
            f"{folder} holds a quantised model, which cannot learn; train the model that it was made from (its "
            "quantize.json or model card names it), and quantise what comes of that."
        )


def _chosen(tensors: Mapping[str, Tensor], layers: Sequence[int], where: str) -> dict[str, Tensor]:
    """The tensors with layer `layers[i]` under the name of layer i, the other layers left out."""
    found = {name: match for name in tensors if (match := _LAYER.fullmatch(name))}
    count = 1 + max((int(match[2]) for match in found.values()), default=-1)
    wrong = [layer for layer in layers if not 0 <= layer < count]
    if wrong:
        raise ConfigError(f"init_layers names layer {wrong[0]}, and {where} has layers 0 to {count - 1}.")
    chosen = {name: tensor for name, tensor in tensors.items() if name not in found}
    for name, match in found.items():
        for new, old in enumerate(layers):
            if old == int(match[2]):
                chosen[f"{match[1]}{new}{match[3]}"] = tensors[name]
    return chosen


@torch.no_grad()
def copy_weights(into: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: str) -> None:
    """Fill a network's tensors from others of the same names. CheckpointError names one that is absent or of another
    shape."""
    for name, weight in into.items():
        if name not in tensors or tensors[name].shape != weight.shape:
            there = tuple(tensors[name].shape) if name in tensors else "nothing"
            raise CheckpointError(
                f"{where} holds {there} for {name}, the recipe's [model] wants {tuple(weight.shape)}; "
                "make the recipe's [model] the same as theirs."
            )
        weight.copy_(tensors[name])
