"""The table of stages, as DeepSeek-R1's paper has one: a row a stage of training, a column a data set.

    problems = 200                       # of every column, the same for every row
    max_tokens = 512
    [[rows]]
    name = "base"
    model = "run:01_pretrain"            # the run of that name, "bundled" or a folder
    [[columns]]
    name = "Countdown, 4 numbers"
    task = "game:countdown"
    config = { numbers = [4] }

A cell is the share of problems solved with its 95 % interval; beside the cells stands how long the thoughts are. Every
answer is kept in a transcript a cell, so a table that was interrupted goes on where it stopped, and a row whose weights
have changed is asked anew. Asking and judging is `runner.py`'s business.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.table import Table as RichTable

from denken.config import RLTask, Section, parse
from denken.errors import ConfigError
from denken.evaluate.metrics import Estimate
from denken.evaluate.plots import save
from denken.evaluate.report import write_whole
from denken.evaluate.rerun import weights_digest
from denken.evaluate.runner import evaluate
from denken.rollout import Model
from denken.tasks import get
from denken.types import SamplingParams

RUN = "run:"


class Row(Section):
    """A stage. model: "run:NAME", "bundled" or a folder in Hugging Face's format."""

    name: str = Field(min_length=1)
    model: str = Field(min_length=1)


class Column(RLTask):
    """A data set: its task at a configuration. The weight of a task means nothing here."""

    name: str = Field(min_length=1)


class Stages(Section):
    """What is measured. temperature: 0 takes the likeliest token; R1's own evaluation is 0.6 with top-p 0.95."""

    title: str = "Stage by stage"
    problems: int = Field(default=200, ge=1)
    samples: int = Field(default=1, ge=1)
    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=512, ge=1)
    thinking: bool = True
    rows: tuple[Row, ...] = Field(min_length=1)
    columns: tuple[Column, ...] = Field(min_length=1)

    @property
    def params(self) -> SamplingParams:
        return SamplingParams(temperature=self.temperature, top_p=self.top_p, max_tokens=self.max_tokens, seed=0)


@dataclass(frozen=True, slots=True)
class Cell:
    """A stage on a data set. thought: mean length of a thought, in ids. cut: share that ended inside it."""

    row: str
    column: str
    solved: Estimate
    thought: float
    cut: float
    problems: int


def load(path: Path) -> Stages:
    """Read a table's description. ConfigError says what is wrong, also of two rows or columns of one name."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"The table {path} cannot be read ({error}); give a stages.toml.") from None
    stages = parse(Stages, values, where=str(path))
    for what, names in (("rows", [r.name for r in stages.rows]), ("columns", [c.name for c in stages.columns])):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ConfigError(f"{path}: two {what} are called {twice!r}; give one of them another name.")
    for column in stages.columns:
        get(column.task, column.config)  # what does not exist is said before hours of work
    return stages


def measure(
    stages: Stages,
    runs: Path,
    out: Path,
    open_model: Callable[[str], AbstractContextManager[Model]],
    *,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
) -> list[Cell]:
    """Every cell, row by row; after each row the table in `out` is written anew.

    runs: where "run:NAME" lies. A row whose model is not there yet is left out, and `say` is told.
    """
    cells: list[Cell] = []
    for row in stages.rows:
        place = where(row.model, runs)
        if place != "bundled" and not (Path(place) / "config.json").is_file():
            say(f"The row {row.name!r} is left out: there is no model in {place} yet.")
            continue
        label = digest(place)
        with open_model(place) as model:
            for column in stages.columns:
                cells.append(_cell(stages, row, column, model, label, out, progress=progress))
        write(stages, cells, out)
    if not cells:
        raise ConfigError(f"None of the table's models is there; train them first, or name their place ({runs}?).")
    return cells


def where(model: str, runs: Path) -> str:
    """The folder that a row's model is in; "bundled" stays what it is."""
    return str(runs / model.removeprefix(RUN) / "model") if model.startswith(RUN) else model


def digest(place: str) -> str:
    """What tells these weights from others: SHA-256 of their files; of the bundled ones their name."""
    return hashlib.sha256(place.encode()).hexdigest() if place == "bundled" else weights_digest(Path(place))


def _cell(stages: Stages, row: Row, column: Column, model: Model, label: str, out: Path, *, progress: bool) -> Cell:
    settings = json.dumps([label, asdict(stages.params), stages.thinking, column.task, column.config], sort_keys=True)
    key = hashlib.sha256(settings.encode()).hexdigest()[:12]
    transcript = out / "answers" / f"{_slug(row.name)}-{_slug(column.name)}-{key}.jsonl"
    (result,) = evaluate(
        model.engine,
        model.tokenizer,
        [get(column.task, column.config)],
        problems=stages.problems,
        samples=stages.samples,
        params=stages.params,
        thinking=stages.thinking,
        transcripts=transcript,
        label=label,
        batch=256,
        progress=progress,
    )
    thoughts = [len(model.tokenizer.encode(thought)) for thought in _thoughts(transcript)]
    mean = sum(thoughts) / max(1, len(thoughts))
    return Cell(row.name, column.name, result.solved, mean, result.cut, result.problems)


def _thoughts(transcript: Path) -> Iterator[str]:
    with transcript.open(encoding="utf-8") as stream:
        next(stream)  # the settings
        for line in stream:
            yield json.loads(line)["thought"]


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:40] or "x"


def write(stages: Stages, cells: Sequence[Cell], out: Path) -> None:
    """stages.json, stages.md and stages.png in `out`, each replaced in one go."""
    out.mkdir(parents=True, exist_ok=True)
    record = {"settings": stages.model_dump(mode="json"), "cells": [asdict(cell) for cell in cells]}
    write_whole(out / "stages.json", json.dumps(record, indent=1) + "\n")
    write_whole(out / "stages.md", markdown(stages, cells))
    plot(stages, cells, out / "stages.png")


def note(stages: Stages) -> str:
    """What the figures are."""
    how = "greedily" if stages.temperature == 0 else f"at temperature {stages.temperature}, top-p {stages.top_p}"
    many = "" if stages.samples == 1 else f", {stages.samples} answers each"
    return (
        f"Share of {stages.problems} problems solved that training never draws{many}, answered {how} with at most "
        f"{stages.max_tokens} tokens; in brackets the 95 % interval. Thought: mean length of a thought in "
        "tokens, over all columns."
    )


def grid(stages: Stages, cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Header and rows as text; a row without cells is left out."""
    found = {(cell.row, cell.column): cell for cell in cells}
    header = ["", *(column.name for column in stages.columns), "mean", "thought"]
    lines = []
    for row in stages.rows:
        mine = [found[row.name, column.name] for column in stages.columns if (row.name, column.name) in found]
        if len(mine) == len(stages.columns):
            mean = sum(cell.solved.value for cell in mine) / len(mine)
            thought = sum(cell.thought for cell in mine) / len(mine)
            lines.append([row.name, *map(_percent, mine), f"{100 * mean:.1f}", f"{thought:.0f}"])
    return header, lines


def _percent(cell: Cell) -> str:
    return f"{100 * cell.solved.value:.1f} ({100 * cell.solved.low:.0f}-{100 * cell.solved.high:.0f})"


def markdown(stages: Stages, cells: Sequence[Cell]) -> str:
    """For a page: the title, the table, what its figures are."""
    header, lines = grid(stages, cells)
    rows = [header, ["---", *["---:"] * (len(header) - 1)], *lines]
    drawn = "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in rows)
    return f"## {stages.title}\n\n{drawn}\n{note(stages)}\n"


def table(stages: Stages, cells: Sequence[Cell]) -> RichTable:
    """For a terminal."""
    header, lines = grid(stages, cells)
    drawn = RichTable(title=stages.title, caption=note(stages))
    for at, name in enumerate(header):
        drawn.add_column(name, justify="left" if at == 0 else "right")
    for line in lines:
        drawn.add_row(*line)
    return drawn


def plot(stages: Stages, cells: Sequence[Cell], path: Path) -> None:
    """The table as a picture: darker is better, beside it the length of thoughts."""
    from matplotlib.figure import Figure

    found: Mapping[Any, Cell] = {(cell.row, cell.column): cell for cell in cells}
    rows = [row.name for row in stages.rows if any(cell.row == row.name for cell in cells)]
    columns = [column.name for column in stages.columns]
    shares = [[found[r, c].solved.value if (r, c) in found else float("nan") for c in columns] for r in rows]
    figure = Figure(figsize=(3.5 + 1.0 * len(columns), 1.8 + 0.5 * len(rows)), layout="constrained")
    heat, bars = figure.subplots(1, 2, width_ratios=[max(2, len(columns)), 2])
    heat.imshow(shares, vmin=0, vmax=1, cmap="Blues", aspect="auto")
    for y, line in enumerate(shares):
        for x, share in enumerate(line):
            if share == share:
                heat.text(
                    x, y, f"{100 * share:.0f}", ha="center", va="center", color="white" if share > 0.6 else "black"
                )
    heat.set_xticks(range(len(columns)), columns, rotation=35, ha="right")
    heat.set_yticks(range(len(rows)), rows)
    heat.set_title("solved, %")
    lengths = [[found[r, c].thought for c in columns if (r, c) in found] for r in rows]
    bars.barh(range(len(rows)), [sum(each) / max(1, len(each)) for each in lengths], color="#4c78a8")
    bars.set_yticks([])
    bars.set_ylim(len(rows) - 0.5, -0.5)
    bars.set_title("tokens of thought")
    figure.suptitle(stages.title)
    save(figure, path)
