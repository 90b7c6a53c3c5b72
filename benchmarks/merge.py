"""Does a merged model keep both parents' tasks? Two pairs of parents from the model in the box, and every method.

    python benchmarks/merge.py                     # about half an hour on one core; again: it goes on where it stopped
    python benchmarks/merge.py --problems 20 --choose-on 10 --out runs/merge-small

Parent one learns Countdown with two numbers, which the model in the box cannot do at all, parent two sums of seven
digits, which it mostly fails; each once with all weights and once as an adapter. Nothing reminds a parent of what it
knew. For each method the setting is chosen on problems of other seeds than the final ones (the worse of the two tasks
decides, then their mean); all the settings of the grid stand in the report. Answers are greedy.

Written are --out/marks.json and, at the end, benchmarks/results/merge-HARDWARE-DATE.md; what its verdicts mean stands
in it. What a merge computes is `denken.export.blend`'s business.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import platform
import re
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

import denken
from denken.assistant import find_folder
from denken.config import Recipe
from denken.evaluate import evaluate
from denken.evaluate.metrics import wilson
from denken.export import merge
from denken.tasks import get
from denken.train import pipeline
from denken.train.folder import only_one
from denken.train.pipeline import Stage
from denken.types import SamplingParams

TASKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "Countdown, 2 numbers": ("game:countdown", {"numbers": [2]}),
    "sums of 6 and 7 digits": (
        "chain_sum", {"min_terms": 2, "max_terms": 2, "min_digits": 6, "max_digits": 7},
    ),
}  # fmt: skip
BESIDE = {"words backward, which no parent trained": ("plain:backward", {})}
CHOOSE_FROM, FINAL_FROM = 910_000_000, 900_000_000  # first seeds; training draws from neither
MOST_TOKENS = 200
# Parents one and two: steps of 1,024 tokens.
STEPS = {"weights": (100, 60), "adapters": (120, 100)}
OPTIM = {
    "weights": {"name": "muon", "lr": 0.005, "adam_lr": 0.001},
    "adapters": {"name": "adamw", "lr": 0.003},
}
TITLES = {"weights": "All weights trained", "adapters": "Adapters of rank 16 (`lora`)"}


@dataclass(frozen=True)
class Setting:
    """One way to merge. first: the weight of parent one; parent two has the rest."""

    method: str
    first: float
    scale: float = 1.0
    density: float = 1.0

    def __str__(self) -> str:
        said = [f"weights {self.first:g} and {1 - self.first:g}"]
        said += [f"scale {self.scale:g}"] if self.method in ("task", "ties", "dare") else []
        said += [f"density {self.density:g}"] if self.method in ("ties", "dare") else []
        return ", ".join(said)


GRID = (
    *(Setting(method, first) for method in ("linear", "slerp") for first in (0.3, 0.5)),
    *(Setting("task", first, scale) for first in (0.35, 0.5) for scale in (1.5, 2.0)),
    *(Setting("ties", 0.5, scale, density) for density in (0.2, 0.5) for scale in (0.7, 1.0)),
    *(Setting("dare", 0.5, scale, 0.9) for scale in (1.5, 2.0)),
)


def recipe(kind: str, number: int) -> str:
    """What a parent learns, as a recipe.toml."""
    task, config = list(TASKS.values())[number]
    data = {"widths": [256], "sources": [{"task": task, "config": dict(config)}]}
    train: dict[str, Any] = {"steps": STEPS[kind][number], "batch_tokens": 1024, "micro_tokens": 1024, "threads": 1}
    train |= {"init_from": "bundled", "checkpoint_every_s": 60, "log_every": 20}
    if kind == "adapters":
        train["lora"] = {"rank": 16, "alpha": 32}
    optim = {**OPTIM[kind], "warmup": 8, "schedule": "wsd", "decay_fraction": 0.6}
    lines = [f'name = "{kind}-{number + 1}"', "seed = 5"]
    for table, keys in {"optim": optim, "train": train, "data": data}.items():
        lines += [f"[{table}]", *(f"{key} = {_toml(value)}" for key, value in keys.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return "[" + ", ".join(map(_toml, value)) + "]" if isinstance(value, list) else json.dumps(value)


def parents(kind: str, out: Path) -> list[Path]:
    """The two runs, trained where they are not yet. Ends the program where somebody stops it."""
    chain = []
    for number in (0, 1):
        file = out / "recipes" / f"{kind}-{number + 1}" / "recipe.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(recipe(kind, number), encoding="utf-8")
        chain.append(Stage(file, Recipe.load(file), out / f"{kind}-{number + 1}"))
    if not pipeline.train(chain):
        sys.exit(130)
    return [stage.folder for stage in chain]


def merged(kind: str, setting: Setting, runs: Sequence[Path], out: Path) -> Path:
    """The folder of one merge, made where it is not yet there."""
    name = f"{setting.method}-{setting.first:g}-{setting.scale:g}-{setting.density:g}"
    folder = out / f"{kind}-merged" / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        base = find_folder("bundled") if kind == "adapters" or setting.method in ("task", "ties", "dare") else None
        part = "adapter" if kind == "adapters" else "model"
        merge.merge(
            [path / part for path in runs], folder, setting.method, base=base,
            weights=[setting.first, 1 - setting.first], scale=setting.scale, density=setting.density,
        )  # fmt: skip
    return folder


class Marks:
    """Who answered what rightly: a list of 0 and 1 a model, task and first seed, kept in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.known: dict[str, list[int]] = json.loads(file.read_text("utf-8")) if file.exists() else {}

    def of(self, name: str, folder: Path, tasks: Mapping[str, Any], seed_from: int, count: int) -> list[list[int]]:
        """One list a task, the problems in the order of their seeds."""
        missing = [title for title in tasks if len(self.known.get(f"{name} | {title} | {seed_from}", ())) < count]
        if missing:
            with denken.load(str(folder), threads=1) as assistant:
                for title in missing:
                    self.known[f"{name} | {title} | {seed_from}"] = _asked(assistant, *tasks[title], seed_from, count)
                    self._save()
            gc.collect()
        return [self.known[f"{name} | {title} | {seed_from}"][:count] for title in tasks]

    def _save(self) -> None:
        unfinished = self.file.with_suffix(".new")
        unfinished.write_text(json.dumps(self.known), encoding="utf-8")
        unfinished.replace(self.file)


def _asked(assistant: Any, task: str, config: Mapping[str, Any], seed_from: int, count: int) -> list[int]:
    """evaluate keeps each answer in a transcript and gives their mean; here each is wanted, to compare in pairs."""
    file = Path(os.environ.get("TMPDIR", "/tmp")) / f"denken-merge-{os.getpid()}.jsonl"
    try:
        evaluate(
            assistant.engine, assistant.tokenizer, [get(task, config)], problems=count, seed_from=seed_from,
            params=SamplingParams(temperature=0.0, max_tokens=MOST_TOKENS), transcripts=file, progress=False,
        )  # fmt: skip
        answers = [json.loads(line) for line in file.read_text("utf-8").splitlines()[1:]]
    finally:
        file.unlink(missing_ok=True)
    return [int(answer["reward"] == 1.0) for answer in sorted(answers, key=lambda answer: answer["seed"])]


def worse(marks: Sequence[Sequence[int]]) -> float:
    return min(sum(each) / len(each) for each in marks)


def mean(marks: Sequence[Sequence[int]]) -> float:
    return sum(sum(each) / len(each) for each in marks) / len(marks)


def verdict(found: Sequence[Sequence[int]], theirs: Sequence[Sequence[Sequence[int]]]) -> str:
    """What the report says of a merge beside its parents; see `MEANING`."""
    low = wilson(sum(min(found, key=sum)), len(found[0]))[0]
    high = max(wilson(sum(min(each, key=sum)), len(each[0]))[1] for each in theirs)
    ahead = [_ahead(found, each) for each in theirs]
    worse_too, mean_too = low > high, all(gain > 1.96 * error for gain, error in ahead)
    if any(gain < -1.96 * error for gain, error in ahead):
        return "no: worse than a parent in the mean" + (", better in the worse task" if worse_too else "")
    return {(True, True): "yes", (True, False): "in the worse task", (False, True): "in the mean"}.get(
        (worse_too, mean_too), "no: not told apart"
    )


MEANING = """\
"yes": the interval of the merge's worse task lies above those of both parents' worse tasks, and its mean over the two
tasks is above each parent's by more than 1.96 standard errors of the difference (the same problems, in pairs). "in the
worse task", "in the mean": only the one or the other."""


def _ahead(found: Sequence[Sequence[int]], theirs: Sequence[Sequence[int]]) -> tuple[float, float]:
    """How much the mean of the tasks is above another model's, and the standard error of that."""
    gains, variances = [], []
    for ours, other in zip(found, theirs, strict=True):
        differences = [a - b for a, b in zip(ours, other, strict=True)]
        gain = sum(differences) / len(differences)
        gains.append(gain)
        variances.append(sum((each - gain) ** 2 for each in differences) / (len(differences) - 1) / len(differences))
    return sum(gains) / len(gains), math.sqrt(sum(variances)) / len(gains)


def cell(marks: Sequence[int]) -> str:
    low, high = wilson(sum(marks), len(marks))
    return f"{sum(marks) / len(marks):.2f} ({low:.2f} to {high:.2f})"


def row(name: str, marks: Sequence[Sequence[int]], said: str = "") -> str:
    both = marks[: len(TASKS)]
    return f"| {name} | {' | '.join(map(cell, marks))} | {worse(both):.2f} | {mean(both):.2f} | {said} |"


def family(kind: str, out: Path, marks: Marks, problems: int, choose_on: int) -> list[str]:
    """One pair of parents and what becomes of it, as lines of the report."""
    runs = parents(kind, out)
    every = {**TASKS, **BESIDE}
    columns = [f"| model | {' | '.join(every)} | worse | mean | keeps both better |", f"|---|{'---:|' * 5}---|"]
    bases = marks.of("bundled", find_folder("bundled"), every, FINAL_FROM, problems)
    theirs = [marks.of(path.name, path / "model", every, FINAL_FROM, problems) for path in runs]
    lines = [f"## {TITLES[kind]}", "", *columns, row("the base", bases)]
    lines += [row(f"parent {name}", found) for name, found in zip(("one", "two"), theirs, strict=True)]
    best: dict[str, tuple[tuple[float, float], Setting]] = {}
    tried = []
    for number, setting in enumerate(GRID, 1):
        started = time.perf_counter()
        folder = merged(kind, setting, runs, out)
        name = f"{kind} {setting.method} {setting}"
        found = marks.of(name, folder, TASKS, CHOOSE_FROM, choose_on)
        first, second = (sum(each) / len(each) for each in found)
        tried.append(f"| `{setting.method}` | {setting} | {first:.2f} | {second:.2f} |")
        figures = worse(found), mean(found)
        if setting.method not in best or figures > best[setting.method][0]:
            best[setting.method] = figures, setting
        took = f"{time.perf_counter() - started:.0f} s"
        print(f"{kind} {number}/{len(GRID)}  {setting.method}, {setting}: {first:.2f} {second:.2f}, {took}", flush=True)
    for method, (_, setting) in best.items():
        name = f"{kind} {method} {setting}"
        found = marks.of(name, merged(kind, setting, runs, out), every, FINAL_FROM, problems)
        said = verdict(found[: len(TASKS)], [each[: len(TASKS)] for each in theirs])
        lines.append(row(f"`{method}`, {setting}", found, said))
        print(lines[-1], flush=True)
    lines += ["", f"All settings, on the {choose_on} problems of each task that they were chosen on:", ""]
    return [*lines, f"| method | setting | {' | '.join(TASKS)} |", "|---|---|---:|---:|", *tried, ""]


def hardware() -> str:
    """Cores and processor, as the names of results have them."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        model = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))[0]
    words = re.sub(r"\(.*?\)|\b(AMD|Intel|CPU|Processor)\b", " ", model).lower()
    return f"{os.cpu_count()}x-" + "-".join(re.findall(r"[a-z0-9]+", words)[:2])


def main() -> None:
    """Trains, merges, asks, and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/merge"), help="where parents, merges and marks lie")
    parser.add_argument("--problems", type=int, default=300, help="of each task, for the final figures")
    parser.add_argument("--choose-on", type=int, default=80, help="of each task, to choose settings on")
    parser.add_argument("--report", type=Path, help="the report's file; in benchmarks/results if absent")
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    marks = Marks(args.out / "marks.json")
    started = time.time()
    with only_one(args.out):
        parts = [family(kind, args.out, marks, args.problems, args.choose_on) for kind in STEPS]
    today, machine = datetime.now(UTC).date(), hardware()
    report = args.report or Path(__file__).parent / "results" / f"merge-{machine}-{today}.md"
    given = f"benchmarks/merge.py --problems {args.problems} --choose-on {args.choose_on}"
    command = f"`OMP_NUM_THREADS=1 python {given}`"
    lines = [f"# What a merge keeps of its parents, {machine}, {today}", ""]
    about = f"{_about(args)} torch {torch.__version__}, Python {platform.python_version()}."
    lines += [textwrap.fill(f"{command}: {about}", 120, break_on_hyphens=False), "", MEANING, ""]
    report.write_text("\n".join([*lines, *(line for part in parts for line in part)]).rstrip() + "\n", encoding="utf-8")
    print(f"{report} is written; this part took {(time.time() - started) / 60:.0f} minutes.")


def _about(args: argparse.Namespace) -> str:
    one, two = TASKS
    steps = "; ".join(f"{kind}: {first} and {second}" for kind, (first, second) in STEPS.items())
    return (
        f"the model in the box learns {one} (parent one) and {two} (parent two) from worked solutions alone, steps of "
        f"1,024 tokens each ({steps}). Settings were chosen on {args.choose_on} problems of each task from seed "
        f"{CHOOSE_FROM:,}, the figures are {args.problems} problems from seed {FINAL_FROM:,}, greedily, at most "
        f"{MOST_TOKENS} tokens, with 95 % intervals (Wilson)."
    )


if __name__ == "__main__":
    main()
