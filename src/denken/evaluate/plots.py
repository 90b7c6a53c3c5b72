"""The plots of an examination: what is solved, task by task and by kind of data set, beside what others published.

Curves over cost and budgets are `budgets.py`'s.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from denken.evaluate.published import counting
from denken.evaluate.report import BESIDE, is_suite, name_of
from denken.evaluate.result import Result
from denken.evaluate.suites import category

OURS, MARKS = "#4c78a8", ("#b2182b", "#f4a582")


def plot(results: Sequence[Result], path: Path, title: str = "") -> None:
    """A PNG with a bar a task and its interval, and the published scores as marks beside it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.4 + 0.38 * len(results)), layout="constrained")
    axes = figure.add_subplot()
    places = range(len(results))
    solved = [result.solved for result in results]
    below = [estimate.value - estimate.low for estimate in solved]
    above = [estimate.high - estimate.value for estimate in solved]
    axes.barh(places, [estimate.value for estimate in solved], color=OURS, label="ours, solved (95 % interval)")
    axes.errorbar([e.value for e in solved], places, xerr=[below, above], fmt="none", ecolor="#222222", capsize=3)
    for (model, name), mark, colour in zip(BESIDE, ("D", "o"), MARKS, strict=True):
        scores = [(place, counting(r.task, model, r.level or "easy")) for place, r in zip(places, results, strict=True)]
        known = [(place, score) for place, score in scores if score is not None]
        means, where_known = [mean for _, mean in known], [place for place, _ in known]
        axes.scatter(means, where_known, marker=mark, color=colour, edgecolors="white", s=34, zorder=3, label=name)
    axes.set_yticks(list(places), [name_of(result) for result in results])
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_xlim(0, 1.02)
    where = "the same configurations" if is_suite(results) else "reasoning-gym's easy configurations"
    axes.set_xlabel(f"published marks: score at {where}; bars: share solved at ours")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    save(figure, path)


def radar(results: Sequence[Result], path: Path, title: str = "") -> None:
    """A PNG for a suite: by kind of data set the mean share that is solved, and the others' mean scores on the same."""
    from matplotlib.figure import Figure

    levels = [level for level in ("easy", "hard") if any(result.level == level for result in results)]
    figure = Figure(figsize=(6.5 * len(levels), 6), layout="constrained")
    for place, level in enumerate(levels):
        axes: Any = figure.add_subplot(1, len(levels), place + 1, projection="polar")
        means = by_category([result for result in results if result.level == level])
        angles = [2 * math.pi * at / len(means) for at in range(len(means))]
        for line, (name, colour) in enumerate([("ours", OURS), *zip((name for _, name in BESIDE), MARKS, strict=True)]):
            spoke = [values[line] for values in means.values()]
            axes.plot([*angles, *angles[:1]], [*spoke, *spoke[:1]], color=colour, label=name)
            axes.fill(angles, spoke, color=colour, alpha=0.12)
        axes.set_xticks(angles, list(means))
        axes.set_ylim(0, 1)
        axes.set_title(f"{title} {level}".strip())
    figure.axes[0].legend(loc="lower left", bbox_to_anchor=(-0.15, -0.12), frameon=False)
    save(figure, path)


def by_category(results: Sequence[Result]) -> dict[str, list[float]]:
    """For each kind of data set of a suite: the mean share solved, then the mean of each of `BESIDE`'s scores.

    Data sets for which one of them has no published score are left out of all.
    """
    return {
        kind: [sum(column) / len(column) for column in zip(*lines, strict=True)]
        for kind, lines in _scored(results).items()
    }


def _scored(results: Sequence[Result]) -> dict[str, list[list[float]]]:
    """By kind of data set, for each one that all have a score for: the share solved, then theirs."""
    found: dict[str, list[list[float]]] = {}
    for result in results:
        if result.level is None:
            continue
        theirs = [counting(result.task, model, result.level) for model, _ in BESIDE]
        known = [score for score in theirs if score is not None]
        if len(known) == len(BESIDE):
            found.setdefault(category(result.task, result.level), []).append([result.solved.value, *known])
    return found


def theirs(results: Sequence[Result]) -> list[tuple[str, float]]:
    """The mean published score of each of `BESIDE` over the data sets for which all have one; none without such."""
    lines = [line for values in _scored(results).values() for line in values]
    return [(name, sum(line[at + 1] for line in lines) / len(lines)) for at, (_, name) in enumerate(BESIDE) if lines]


def save(figure: Any, path: Path) -> None:
    """As a PNG, whole or not at all."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    figure.savefig(unfinished, format="png", dpi=140)
    os.replace(unfinished, path)
