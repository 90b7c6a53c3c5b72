"""`denken quantize`: a folder becomes a smaller one, which says of itself what was lost.

Weights go through block by block (`layers.py`); the model as a whole is loaded only to speak: for texts to calibrate
with, and to be measured before and after. The new folder appears once it is whole and measured, or not at all. Beside
the model it has `quantize.json` and, in its model card, the same figures as a table.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from denken import tasks as task_names
from denken.errors import ConfigError
from denken.export import hf
from denken.export.source import Source, replacing
from denken.model import checkpoint
from denken.model.quantized import GROUPS, INT8, Scheme
from denken.quantize import calibration, check
from denken.quantize.calibration import Text
from denken.quantize.check import Measured, Report
from denken.quantize.layers import Method, Quantiser, planned
from denken.rollout import Model

FILE = "quantize.json"
# What the model in the box is good at: worked out step by step, in formulas and in words, English and German.
TASKS = (
    *("spell_backward", "lcm", "isomorphic_strings", "prime_factorization", "gcd", "palindrome_generation"),
    *("word_sequence_reversal", "leg_counting", "number_sorting", "products", "chain_sum", "number_filtering"),
    *("letter_counting", "base_conversion", "word_sorting", "basic_arithmetic", "plain:sums", "plain:letters"),
)
CALIBRATED_WITH, MEASURED_WITH = 144, 72
# Parameters up to which perplexity is measured in fp32 whatever the weights are stored in.
SMALL = 500_000_000


Open = Callable[[Path], AbstractContextManager[Model]]


@dataclass(frozen=True)
class Plan:
    """What is wanted. calibration: a file of texts; None: the model's own. tasks: what it is asked, for texts and to be
    measured. problems: of each task. check: whether it is measured at all."""

    scheme: Scheme
    method: Method = "gptq"
    calibration: Path | None = None
    tasks: Sequence[str] = TASKS
    problems: int = 100
    check: bool = True


def scheme(bits: int, group: int | None = None) -> Scheme:
    """The scheme of so many bits; ConfigError where there is none."""
    if bits == 8:
        if group is not None:
            raise ConfigError("--group is for int4; an int8 weight has one scale an output channel.")
        return INT8
    if group is not None and group not in GROUPS:
        raise ConfigError(f"A group of {group} columns is not supported; give one of {', '.join(map(str, GROUPS))}.")
    return Scheme(4, group or GROUPS[0])


def quantize(
    folder: Path, out: Path, plan: Plan, open_model: Open, *, before: Measured | None = None, progress: bool = True
) -> Report:
    """Writes the model of `folder` with its linear layers as `plan` says to the new folder `out`.

    open_model: loads a folder to be asked. before: what was measured of the model with this plan's tasks and problems.
    Returns what was measured; of an unchecked model the sizes alone.
    Raises CheckpointError or ConfigError before anything is computed where `folder` holds no whole model or one that is
    quantised already, the plan cannot be followed or `out` is taken.
    """
    source = Source.open(folder)
    if source.weights.quantised:
        raise ConfigError(f"{folder} is quantised already; quantise the model that it was made from.")
    layers = planned(source.config, plan.scheme)
    for name in plan.tasks:
        task_names.get(name)
    texts, measured_with = _file_texts(plan, source)
    with replacing(Path(out)) as unfinished:
        asks = not plan.calibration and (plan.method == "gptq" or plan.check)
        if asks or plan.check:
            with open_model(folder) as model:
                if not plan.calibration:
                    texts, measured_with = _own_texts(plan, model)
                before = before or _measured(plan, source, folder, model, measured_with, progress)
        before = before or Measured(check.size_of(folder))
        unfinished.mkdir()
        hf.write_texts(source, unfinished)
        _write(source, layers, plan, texts, unfinished, progress)
        after = Measured(check.size_of(unfinished))
        if plan.check:
            with open_model(unfinished) as model:
                after = _measured(plan, source, unfinished, model, measured_with, progress)
        counted = [len(text.ids) - text.start for text in measured_with] if plan.check else []
        report = Report(before, after, counted)
        _describe(source, plan, texts, len(layers), report, unfinished)
    return report


def _file_texts(plan: Plan, source: Source) -> tuple[list[Text], list[Text]]:
    if plan.calibration is None:
        return [], []
    return calibration.texts_of(plan.calibration, source.tokenizer)


def _own_texts(plan: Plan, model: Model) -> tuple[list[Text], list[Text]]:
    """What the model says: to calibrate with, and to measure with."""
    wanted = (
        (CALIBRATED_WITH * (plan.method == "gptq"), calibration.CALIBRATION_SEEDS_FROM),
        (MEASURED_WITH * plan.check, calibration.MEASURED_SEEDS_FROM),
    )
    made = [
        calibration.own_texts(model.engine, model.tokenizer, plan.tasks, count, seeds_from) if count else []
        for count, seeds_from in wanted
    ]
    return made[0], made[1]


def _measured(
    plan: Plan, source: Source, folder: Path, model: Model, texts: Sequence[Text], progress: bool
) -> Measured:
    if not plan.check:
        return Measured(check.size_of(folder))
    small = sum(map(math.prod, source.weights.shapes.values())) < SMALL
    network = checkpoint.load(folder, dtype=torch.float32 if small else None).eval()
    return Measured(
        check.size_of(folder),
        check.surprise(network, texts),
        check.right_answers(model.engine, model.tokenizer, plan.tasks, plan.problems, progress=progress),
    )


def _write(
    source: Source, layers: dict[str, Scheme], plan: Plan, texts: Sequence[Text], out: Path, progress: bool
) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not progress, transient=True) as bar:
        blocks = bar.add_task("Quantising, block by block", total=source.config.num_hidden_layers)
        ids = [text.ids for text in texts]
        quantiser = Quantiser(source.weights, layers, plan.method, ids, lambda _: bar.advance(blocks))
        checkpoint.write(
            checkpoint.blank(hf.config_of(source), layers), quantiser.read, out, dtype=source.weights.dtype
        )


def _describe(source: Source, plan: Plan, texts: Sequence[Text], layers: int, report: Report, out: Path) -> None:
    """quantize.json, and the figures at the end of the model card."""
    name = source.name
    where = plan.calibration.name if plan.calibration else "the model's own answers"
    data: dict[str, Any] = {
        "from": name,
        "scheme": asdict(plan.scheme),
        "method": plan.method,
        "layers": layers,
        "calibration": {"from": where, "texts": len(texts), "tokens": sum(len(text.ids) for text in texts)},
        **check.record(report),
    }
    if plan.method == "round":
        del data["calibration"]
    (out / FILE).write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
    card = out / "README.md"
    said = card.read_text("utf-8", "replace").rstrip() if card.is_file() else f"# {name}"
    kind = f"int{plan.scheme.bits}" + (f" in groups of {plan.scheme.group}" if plan.scheme.group else "")
    how = {"round": "rounded to the nearest", "gptq": f"by GPTQ, calibrated with {where}"}[plan.method]
    section = (
        f"\n\n## As {kind}\n\nBy `denken quantize` from `{name}`: {layers} linear layers as {kind}, {how}; all else as "
        f"it was.\n\n{check.markdown(report)}"
    )
    card.write_text(said + section, encoding="utf-8")
