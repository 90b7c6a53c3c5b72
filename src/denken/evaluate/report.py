"""Results as a table in the terminal, as Markdown, as JSON and as a plot, beside what others published.

Solved is the share of answers with full marks; score includes partial marks, as the published columns do. At other
configurations than the published ones the comparison is loose, and `NOTE` says so above the table. At those (the suites
of `suites.py`) it is of like with like but for the items where seeds are fresh, and `keeps_up` says who is ahead; there
our full marks alone are held against their scores with partial marks.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from denken.evaluate.metrics import Estimate
from denken.evaluate.published import counting, published
from denken.evaluate.runner import Result
from denken.evaluate.suites import category

BESIDE = (("deepseek-r1", "DeepSeek-R1"), ("o3-mini", "o3-mini"))
OURS, MARKS = "#4c78a8", ("#b2182b", "#f4a582")
NOTE = (
    "Solved: share of answers with full marks, 95 % interval. Score: partial marks included. "
    "Published scores: reasoning-gym's zero-shot runs at its easy configurations, 50 problems of seed 45 each; "
    "ours: {setting}."
)
NOTE_SUITE = (
    "Solved: share of answers with full marks, 95 % interval. Score: partial marks included. Published scores: "
    "Reasoning Gym's zero-shot runs (arXiv 2505.24760) at these configurations, 50 items of seed 45 each: on easy the "
    "mean of three completions, on hard the one that was drawn; ours: {setting}. Keeps up: solved at least as often as "
    "both of them, or {enough:.0%} of the time where one is above that."
)
# Where a published score is higher than this, this is enough: 50 items say no more.
ENOUGH = 0.98


def keeps_up(result: Result) -> bool | None:
    """Whether a data set of a suite is solved at least as well as by all of `BESIDE`; None where nobody can say.

    Never solving what they never solve either is no keeping up.
    """
    if result.level is None:
        return None
    theirs = [counting(result.task, model, result.level) for model, _ in BESIDE]
    known = [score for score in theirs if score is not None]
    if len(known) < len(BESIDE):
        return None
    return result.solved.value > 0 and result.solved.value >= min(ENOUGH, max(known))


def summary(results: Sequence[Result]) -> list[str]:
    """A line a level of a suite: on how many data sets the model keeps up."""
    lines = []
    for level in ("easy", "hard"):
        said = [kept for kept in (keeps_up(result) for result in results if result.level == level) if kept is not None]
        if said:
            names = " and ".join(name for _, name in BESIDE)
            lines.append(f"{level}: at least as good as {names} on {sum(said)} of {len(said)} data sets.")
    return lines


def verdict(before: Estimate, after: Estimate) -> str:
    """What a training has changed, in a sentence: better is said where the intervals do not touch."""
    change = f"{before.value:.0%} -> {after.value:.0%}"
    if after.low > before.high:
        return f"Better: {change}, and the intervals do not touch."
    if after.value >= before.value:
        return f"{change}: too little to be sure of. More --minutes may help."
    return f"{change}: not better. Keep the model that you had, and see report.md."


def note(results: Sequence[Result]) -> str:
    """What the figures are, in one paragraph."""
    settings = sorted({_setting(result) for result in results})
    chosen = NOTE_SUITE if _is_suite(results) else NOTE
    return chosen.format(setting="; ".join(settings), enough=ENOUGH)


def table(results: Sequence[Result], title: str = "") -> Table:
    """For a terminal, by rich."""
    drawn = Table(title=title or None, caption=note(results))
    for at, name in enumerate(header(results)):
        drawn.add_column(name, justify="left" if at == 0 else "right")
    for row in rows(results):
        drawn.add_row(*row)
    return drawn


def markdown(results: Sequence[Result]) -> str:
    """For a model card: the note, then the table."""
    names = header(results)
    lines = [names, ["---", *["---:"] * (len(names) - 1)], *rows(results)]
    said = "".join(f"- {line}\n" for line in summary(results))
    return "\n\n".join(
        part for part in (note(results), said, "".join(f"| {' | '.join(line)} |\n" for line in lines)) if part
    )


def to_json(results: Sequence[Result]) -> str:
    """Everything in the results, and the published scores, for machines."""
    records: list[dict[str, Any]] = []
    for result in results:
        theirs = {model: published(result.task, model) for model, _ in BESIDE}
        beside: dict[str, Any] = {
            "published_easy_mean": {model: score.mean for model, score in theirs.items() if score}
        }
        if result.level is not None:
            found = {model: counting(result.task, model, result.level) for model, _ in BESIDE}
            beside = {"published": found, "keeps_up": keeps_up(result)}
        records.append({**asdict(result), **beside})
    return json.dumps({"note": note(results), "results": records}, indent=2) + "\n"


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
    axes.set_yticks(list(places), [_name(result) for result in results])
    axes.set_ylim(len(results) - 0.4, -0.6)
    axes.set_xlim(0, 1.02)
    where = "the same configurations" if _is_suite(results) else "reasoning-gym's easy configurations"
    axes.set_xlabel(f"published marks: score at {where}; bars: share solved at ours")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    _save(figure, path)


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
    _save(figure, path)


def by_category(results: Sequence[Result]) -> dict[str, list[float]]:
    """For each kind of data set of a suite: the mean share solved, then the mean of each of `BESIDE`'s scores.

    Data sets for which one of them has no published score are left out of all.
    """
    found: dict[str, list[list[float]]] = {}
    for result in results:
        if result.level is None:
            continue
        theirs = [counting(result.task, model, result.level) for model, _ in BESIDE]
        known = [score for score in theirs if score is not None]
        if len(known) == len(BESIDE):
            found.setdefault(category(result.task, result.level), []).append([result.solved.value, *known])
    return {kind: [sum(column) / len(column) for column in zip(*lines, strict=True)] for kind, lines in found.items()}


def _save(figure: Any, path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    figure.savefig(unfinished, format="png", dpi=140)
    os.replace(unfinished, path)


def header(results: Sequence[Result]) -> list[str]:
    """The columns of every table."""
    several = any(result.samples > 1 for result in results)
    ours = ["task", "solved", "95 %", *(["cons@k"] if several else []), "score", "cut off", "ids"]
    if _is_suite(results):
        return [*ours, *(name for _, name in BESIDE), "keeps up"]
    return [*ours, *(f"{name} easy" for _, name in BESIDE)]


def rows(results: Sequence[Result]) -> list[list[str]]:
    """A line a result, as text."""
    several = any(result.samples > 1 for result in results)
    made = []
    for result in results:
        theirs = [counting(result.task, model, result.level or "easy") for model, _ in BESIDE]
        vote = ["-" if result.consensus is None else _percent(result.consensus)] if several else []
        interval = f"{_percent(result.solved.low)} to {_percent(result.solved.high)}"
        ours = [_name(result), _percent(result.solved.value), interval, *vote, _percent(result.score)]
        ours += [_percent(result.cut), f"{result.tokens:.0f}"]
        beside = ["-" if score is None else _percent(score) for score in theirs]
        kept = keeps_up(result)
        verdict = ["-" if kept is None else "yes" if kept else "no"] if _is_suite(results) else []
        made.append([*ours, *beside, *verdict])
    return made


def _is_suite(results: Sequence[Result]) -> bool:
    return any(result.level is not None for result in results)


def _name(result: Result) -> str:
    return result.task if result.level is None else f"{result.task}, {result.level}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _setting(result: Result) -> str:
    config = ", ".join(f"{name} {value}" for name, value in sorted(result.config.items()))
    where = f"{result.task} at {config}" if config else "the default configuration"
    if result.level is not None:
        where = f"the {result.level} configurations"
    each = f", {result.samples} samples each" if result.samples > 1 else ""
    return f"{where}, {result.problems} problems from seed {result.seed_from}{each}"
