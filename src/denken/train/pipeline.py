"""Recipes one after another: a whole chain of stages by one command, which goes on where it was stopped.

A chain is a folder of recipe folders whose names begin with a number (`01_pretrain`, `02_r1_zero`, ...); a folder may
hold several recipes, of which `recipe.toml` is the last. Stages hand on what they made by "run:NAME" in their recipes.
What a stage does is `denken.train.run`'s business.
"""

from __future__ import annotations

import dataclasses
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from denken.config import Recipe, parse
from denken.errors import CheckpointError, ConfigError, UnknownNameError
from denken.model import checkpoint as exported
from denken.model.transformer import Transformer
from denken.train import run
from denken.train.folder import RUN, model_folder, resolve_weights
from denken.train.ledger import Ledger, Price
from denken.train.runlog import duration
from denken.train.shape import model_config

TABLE = "stages.toml"  # names rows and columns of the stages' table, and is no recipe
_NUMBERED = re.compile(r"\d+[_-].+")
# Shares of what a plain product of matrices reaches, measured with the bundled model on two Zen 4 cores.
LEARNING_SHARE, SAMPLING_SHARE = 0.3, 0.04


@dataclass(frozen=True, slots=True)
class Stage:
    """One recipe of a chain, at the length asked for, and the folder of its run."""

    path: Path
    recipe: Recipe
    folder: Path

    @property
    def steps(self) -> int | None:
        """None where they depend on a set that is still to be made."""
        return None if self.recipe.train.epochs is not None else self.recipe.train.total_steps

    @property
    def kind(self) -> str:
        if self.recipe.rl is not None:
            return self.recipe.rl.algorithm
        return "sample, learn" if self.recipe.sample is not None else "learn"


def stages(path: Path, *, runs: Path, scale: float = 1.0) -> list[Stage]:
    """The recipes that a path means, in order, all read and checked.

    path: a recipe, a folder with recipes, or a folder of such folders. UnknownNameError where there is none,
    ConfigError for a recipe that cannot be used or two of one name.
    """
    found = [Stage(file, recipe := Recipe.load(file).scaled(scale), runs / recipe.name) for file in files(path)]
    names: dict[str, Path] = {}
    for stage in found:
        if stage.recipe.name in names:
            raise ConfigError(
                f"{names[stage.recipe.name]} and {stage.path} are both called {stage.recipe.name!r}; give one of them "
                "another name."
            )
        names[stage.recipe.name] = stage.path
    return found


def files(path: Path) -> list[Path]:
    """The files of recipes that a path means, in the order in which they are run."""
    if not path.is_dir():
        return [path]  # that it is not there is for `Recipe.load` to say
    numbered = sorted(folder for folder in path.iterdir() if folder.is_dir() and _NUMBERED.fullmatch(folder.name))
    chain = [file for folder in numbered for file in _recipes(folder)]
    if chain:
        return chain
    here = _recipes(path)
    if not here:
        raise UnknownNameError(
            f"{path} holds no recipe; give a recipe.toml, its folder, or a folder of numbered recipe folders such as "
            "recipes/."
        )
    return here


def _recipes(folder: Path) -> list[Path]:
    found = (file for file in folder.glob("*.toml") if file.name != TABLE and not file.name.startswith("."))
    return sorted(found, key=lambda file: (file.name == "recipe.toml", file.name))


def finished(stage: Stage) -> bool:
    """Whether a run has done all the steps of its recipe."""
    done, total = progress(stage)
    return total is not None and done >= total


def progress(stage: Stage) -> tuple[int, int | None]:
    """How many steps a run has saved, and how many there are; None where nobody knows yet."""
    saved = [
        (int(match[1]), path)
        for path in (stage.folder / "checkpoints").glob("step-*")
        if (match := re.fullmatch(r"step-(\d+)", path.name))
    ]
    if not saved:
        return 0, stage.steps
    done, newest = max(saved)
    if stage.steps is not None:
        return done, stage.steps
    try:
        state = json.loads((newest / "state.json").read_text(encoding="utf-8"))
        return done, parse(Recipe, state["recipe"], where=str(newest)).train.total_steps
    except (OSError, ValueError, KeyError, TypeError):
        return 0, None  # for the trainer to say what is wrong


def train(chain: Sequence[Stage], *, scale: float = 1.0, console: Console | None = None) -> bool:
    """Run every stage that is not finished, in order; False when somebody asked to stop before the end."""
    console = console or Console(stderr=True, highlight=False)
    started = time.monotonic()
    for number, stage in enumerate(chain, 1):
        head = f"[{number}/{len(chain)}] {stage.recipe.name}"
        if finished(stage):
            console.print(f"{head} is finished, {progress(stage)[0]} steps; skipped.", markup=False, soft_wrap=True)
            continue
        console.print(f"{head}: {stage.path}", markup=False, soft_wrap=True)
        run(stage.path, run_dir=stage.folder, scale=scale)
        if not finished(stage):
            console.print(f"The chain stops in {stage.recipe.name}; resume with the same command.", markup=False)
            return False
    console.print(f"All {len(chain)} stages are finished ({duration(time.monotonic() - started)}).", markup=False)
    return True


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a stage takes from where it is, or took where it is finished.

    measured: by this run, or by us as its recipe says; not guessed from operations.
    """

    steps: int | None
    tokens: int | None
    hours: float | None
    usd: float | None
    measured: bool
    state: str


def estimate(stage: Stage, chain: Sequence[Stage], *, scale: float = 1.0) -> Estimate:
    """Steps, the most tokens that are sampled and learnt, hours and money."""
    recipe, (done, total) = stage.recipe, progress(stage)
    left = 1.0 if not total else max(0.0, 1 - done / total)
    if total and not left:
        spent = _spent(stage)
        return Estimate(
            total, spent.tokens + spent.sampled, spent.seconds / 3600, _usd(spent, recipe), True, "finished"
        )
    state = "to do" if not done else f"at step {done}"
    cores = recipe.train.processes * (recipe.train.threads or (1 if recipe.train.processes > 1 else _cores()))
    sampled, learnt = _tokens(stage)
    hours: float | None
    if recipe.expect is not None:
        hours = recipe.expect.minutes / 60 * scale * left
        cores = recipe.expect.cores
    else:
        hours = _guess(stage, chain, sampled, learnt)
        hours = None if hours is None else hours * left
    usd = None if hours is None else hours * cores * recipe.cost.usd_per_core_hour
    return Estimate(total, sampled + learnt or None, hours, usd, recipe.expect is not None, state)


def _spent(stage: Stage) -> Ledger:
    """The ledger of a run, as far as it can be read."""
    known = {field.name for field in dataclasses.fields(Ledger)}
    try:
        values = json.loads((stage.folder / "ledger.json").read_text(encoding="utf-8"))
        return Ledger(**{name: value for name, value in values.items() if name in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return Ledger()


def _usd(ledger: Ledger, recipe: Recipe) -> float:
    return ledger.usd(recipe.cost)


def _tokens(stage: Stage) -> tuple[int, int]:
    """The most ids that are sampled, and the most positions that are learnt from."""
    recipe, steps = stage.recipe, stage.steps or 0
    if recipe.rl is not None:
        most = steps * recipe.rl.problems * recipe.rl.group * recipe.rl.max_tokens
        return most, most
    sampled = recipe.sample.problems * recipe.sample.samples * recipe.sample.max_tokens if recipe.sample else 0
    learnt = steps * recipe.train.batch_tokens
    if recipe.sample and recipe.train.epochs:
        kept = recipe.sample.problems * min(recipe.sample.samples, recipe.sample.keep_per_problem)
        learnt = round(recipe.train.epochs * (kept + recipe.sample.others) * recipe.sample.max_tokens)
    return sampled, learnt


def _guess(stage: Stage, chain: Sequence[Stage], sampled: int, learnt: int) -> float | None:
    """Hours, from operations and a quick look at how fast this machine multiplies; None for an unknown network."""
    values = _shape(stage, chain)
    if values is None:
        return None
    with torch.device("meta"):
        model = Transformer(model_config(values))
    price = Price.of(model.named_parameters(), values)
    # Half of what answers may take is what they take, by experience; texts fill their rows.
    sampled, learnt = sampled // 2, learnt // 2 if stage.recipe.rl or stage.recipe.train.epochs else learnt
    width = stage.recipe.rl.max_tokens if stage.recipe.rl else stage.recipe.data.widths[-1]
    speed = multiplications_a_second(stage.recipe.train.dtype)
    seconds = price.flops(learnt, learnt, learnt * width // 4) / (speed * LEARNING_SHARE)
    seconds += price.sampling_flops(sampled, sampled, sampled * width // 4) / (speed * SAMPLING_SHARE)
    return seconds / 3600


def _shape(stage: Stage, chain: Sequence[Stage]) -> dict[str, object] | None:
    """The network of a stage, also where it comes from a stage that has not been run yet."""
    recipe = stage.recipe
    if recipe.model:
        return recipe.model
    spec = recipe.train.init_from or ""
    before = next((each for each in chain if RUN + each.recipe.name == spec and each is not stage), None)
    if before is not None and not (before.folder / "model" / "config.json").is_file():
        values = _shape(before, [each for each in chain if each is not stage])
    else:
        try:
            folder = model_folder(resolve_weights(spec, stage.path.parent, stage.folder))
            values = exported.read_config(folder).to_hf()
        except (UnknownNameError, CheckpointError):
            return None
    if values is not None and recipe.train.init_layers is not None:
        values = values | {"num_hidden_layers": len(recipe.train.init_layers)}
    return values


def multiplications_a_second(dtype: str, seconds: float = 0.3) -> float:
    """Floating-point operations a second of a product of matrices as a small network has them."""
    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    left, right = torch.ones(2048, 512, dtype=kind), torch.ones(512, 2048, dtype=kind)
    left @ right
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        left @ right
        count += 1
    return count * 2 * 2048 * 512 * 2048 / (time.perf_counter() - started)


def plan(chain: Sequence[Stage], *, scale: float = 1.0) -> Table:
    """What lies ahead, stage by stage, without doing any of it."""
    table = Table(
        title="Plan" if scale == 1 else f"Plan at {scale:g} of the length",
        caption="Tokens: sampled and learnt from, at most. ~: guessed from operations and this machine's speed; "
        "otherwise measured: by this run where it is finished, else by us on two cores.",
    )
    for name in ("stage", "kind", "steps", "tokens", "hours", "USD", "state"):
        table.add_column(name, justify="right" if name in ("steps", "tokens", "hours", "USD") else "left")
    hours = usd = 0.0
    for stage in chain:
        each = estimate(stage, chain, scale=scale)
        about = "" if each.measured else "~"
        if each.state != "finished":
            hours, usd = hours + (each.hours or 0), usd + (each.usd or 0)
        table.add_row(
            stage.recipe.name,
            stage.kind,
            "?" if each.steps is None else f"{each.steps:,}",
            "?" if each.tokens is None else f"{each.tokens:,}",
            "?" if each.hours is None else f"{about}{each.hours:.2f}",
            "?" if each.usd is None else f"{about}{each.usd:.4f}",
            each.state,
        )
    table.add_section()
    table.add_row("left to do", "", "", "", f"{hours:.2f}", f"{usd:.4f}", "")
    return table


def _cores() -> int:
    return torch.get_num_threads()
