"""Results as a table in the terminal, as Markdown, as JSON and as a plot, beside what others published.

Solved is the share of answers with full marks; score includes partial marks, and only score may be compared with the
published columns. Even that comparison is loose: theirs are 50 problems a data set at the published "easy"
configurations with seed 45, ours are at the configuration and seeds stated. `NOTE` says so above every table.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from denken.evaluate.published import published
from denken.evaluate.runner import Result

BESIDE = (("deepseek-r1", "DeepSeek-R1"), ("o3-mini", "o3-mini"))
NOTE = (
    "Solved: share of answers with full marks, 95 % interval. Score: partial marks included. "
    "Published scores: reasoning-gym's zero-shot runs at its easy configurations, 50 problems of seed 45 each; "
    "ours: {setting}."
)


def note(results: Sequence[Result]) -> str:
    """What the figures are, in one paragraph."""
    settings = sorted({_setting(result) for result in results})
    return NOTE.format(setting="; ".join(settings))


def table(results: Sequence[Result], title: str = "") -> Table:
    """For a terminal, by rich."""
    drawn = Table(title=title or None, caption=note(results))
    for at, name in enumerate(_header(results)):
        drawn.add_column(name, justify="left" if at == 0 else "right")
    for row in _rows(results):
        drawn.add_row(*row)
    return drawn


def markdown(results: Sequence[Result]) -> str:
    """For a model card: the note, then the table."""
    header = _header(results)
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *_rows(results)]
    return note(results) + "\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def to_json(results: Sequence[Result]) -> str:
    """Everything in the results, and the published scores, for machines."""
    records: list[dict[str, Any]] = []
    for result in results:
        theirs = {model: published(result.task, model) for model, _ in BESIDE}
        beside = {model: score.mean for model, score in theirs.items() if score}
        records.append({**asdict(result), "published_easy_mean": beside})
    return json.dumps({"note": note(results), "results": records}, indent=2) + "\n"


def plot(results: Sequence[Result], path: Path, title: str = "") -> None:
    """A PNG with a bar a task and its interval, and the published scores as marks beside it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.4 + 0.38 * len(results)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(results))
    solved = [result.solved for result in results]
    below = [estimate.value - estimate.low for estimate in solved]
    above = [estimate.high - estimate.value for estimate in solved]
    axes.barh(places, [estimate.value for estimate in solved], color="#4c78a8", label="ours, solved (95 % interval)")
    axes.errorbar([e.value for e in solved], places, xerr=[below, above], fmt="none", ecolor="#222222", capsize=3)
    for (model, name), mark, colour in zip(BESIDE, ("D", "o"), ("#b2182b", "#f4a582"), strict=True):
        scores = [(place, published(result.task, model)) for place, result in zip(places, results, strict=True)]
        known = [(place, score.mean) for place, score in scores if score]
        means, rows = [mean for _, mean in known], [place for place, _ in known]
        axes.scatter(means, rows, marker=mark, color=colour, edgecolors="white", s=34, zorder=3, label=name)
    axes.set_yticks(list(places), [result.task for result in results])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("published marks: score at reasoning-gym's easy configurations; bars: share solved at ours")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    figure.savefig(unfinished, format="png", dpi=140)
    os.replace(unfinished, path)


def _header(results: Sequence[Result]) -> list[str]:
    several = any(result.samples > 1 for result in results)
    ours = ["task", "solved", "95 %", *(["cons@k"] if several else []), "score", "cut off", "ids"]
    return [*ours, *(f"{name} easy" for _, name in BESIDE)]


def _rows(results: Sequence[Result]) -> list[list[str]]:
    several = any(result.samples > 1 for result in results)
    rows = []
    for result in results:
        theirs = [published(result.task, model) for model, _ in BESIDE]
        vote = ["-" if result.consensus is None else _percent(result.consensus)] if several else []
        interval = f"{_percent(result.solved.low)} to {_percent(result.solved.high)}"
        ours = [result.task, _percent(result.solved.value), interval, *vote, _percent(result.score)]
        rows.append(
            [*ours, _percent(result.cut), f"{result.tokens:.0f}", *(_percent(t.mean) if t else "-" for t in theirs)]
        )
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _setting(result: Result) -> str:
    config = ", ".join(f"{name} {value}" for name, value in sorted(result.config.items()))
    where = f"{result.task} at {config}" if config else "the default configuration"
    each = f", {result.samples} samples each" if result.samples > 1 else ""
    return f"{where}, {result.problems} problems from seed {result.seed_from}{each}"
