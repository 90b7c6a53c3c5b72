"""What thinking longer is worth: the same problems with a thought of at most so many tokens, and the curves of it.

A thought that reaches its budget is closed by the engine and the answer follows (`engine/sequence.py`); a shorter one
is what it would have been without a budget. Every budget has a transcript of its own (`answers-128.jsonl`).

Shares are over all problems of all tasks together, so a task counts by its problems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from denken.evaluate.cost import Price
from denken.evaluate.metrics import Estimate, pass_at_1
from denken.evaluate.plots import MARKS, OURS, save, theirs
from denken.evaluate.report import Section, figure, interval, is_suite, percent, usd
from denken.evaluate.result import Result, core_seconds, prompt_tokens
from denken.evaluate.runner import Asked, Show, ask, named, unseen
from denken.evaluate.transcript import Record, Transcript
from denken.rollout import Local

NOTE = (
    "The same problems, all tasks together, with a thought of at most so many tokens; none: as the model likes. "
    "Cut off: answers that ended inside their thought. Tokens are of thought and answer."
)


@dataclass(frozen=True, slots=True)
class Point:
    """All answers at one budget. budget: None where there was no limit. tokens, seconds, usd: of one answer."""

    budget: int | None
    solved: Estimate
    cut: float
    tokens: float
    seconds: float
    usd: float | None
    by_task: Mapping[str, Estimate]


def measure(
    local: Local,
    asked: Sequence[Asked],
    budgets: Sequence[int],
    folder: Path,
    *,
    samples: int,
    settings: Mapping[str, Any],
    price: Price | None = None,
    show: Show = unseen,
) -> list[Point]:
    """A point a budget, from the smallest on, and last the one without a limit, whose answers lie in `folder` already.

    settings: those of `answers.jsonl` there.
    """
    points = []
    for budget in (*sorted(set(budgets)), None):
        at, name, begun = local, "answers.jsonl", dict(settings)
        if budget is not None:
            at = replace(local, params=replace(local.params, thinking_budget=budget))
            name, begun = f"answers-{budget}.jsonl", {**settings, "params": asdict(at.params)}
        transcript, shown = Transcript(folder / name, begun), named(show, str(budget))
        found = [
            (
                each.name,
                ask(at, each.task, each.seeds, samples, transcript, shown, leave_out=lambda _: None, price=price),
            )
            for each in asked
        ]
        points.append(_point(budget, found, price))
    return points


def _point(budget: int | None, found: Sequence[tuple[str, list[list[Record]]]], price: Price | None) -> Point:
    correct = {name: [[record["reward"] == 1.0 for record in row] for row in rows] for name, rows in found}
    flat = [record for _, rows in found for row in rows for record in row]
    tokens, seconds, cut = (sum(each[name] for each in flat) / len(flat) for name in ("tokens", "seconds", "cut"))
    prompt = prompt_tokens(flat)
    return Point(
        budget,
        pass_at_1([row for rows in correct.values() for row in rows]),
        cut,
        tokens,
        seconds,
        None if price is None or prompt is None else price.of(prompt, tokens, core_seconds(flat, price) / len(flat)),
        {name: pass_at_1(rows) for name, rows in correct.items()},
    )


def section(points: Sequence[Point]) -> Section:
    rows = [
        [
            "none" if point.budget is None else str(point.budget),
            percent(point.solved.value),
            interval(point.solved),
            percent(point.cut),
            f"{point.tokens:.0f}",
            figure(point.seconds),
            usd(point.usd),
        ]
        for point in points
    ]
    return Section("Thinking budgets", (NOTE,), ["budget", "solved", "95 %", "cut off", "ids", "s", "USD/1000"], rows)


def plot(points: Sequence[Point], results: Sequence[Result], path: Path, title: str = "") -> None:
    """A PNG: what is solved at each budget, with its interval, and thin lines for the tasks where they are few."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8, 4.8), layout="constrained")
    axes = drawn.add_subplot()
    places = range(len(points))
    names = list(points[0].by_task)
    for name in names if 1 < len(names) <= 10 else []:
        axes.plot(places, [point.by_task[name].value for point in points], lw=1, alpha=0.6, label=name)
    axes.plot(places, [point.solved.value for point in points], color=OURS, marker="o", lw=2, label="ours, all")
    axes.fill_between(
        places, [p.solved.low for p in points], [p.solved.high for p in points], color=OURS, alpha=0.15, lw=0
    )
    _beside(axes, results, "tokens")
    axes.set_xticks(places, ["none" if point.budget is None else str(point.budget) for point in points])
    axes.set_ylim(-0.03, 1.03)
    axes.set_xlabel("tokens of thought, at most")
    axes.set_ylabel("solved")
    axes.set_title(title)
    drawn.legend(loc="outside right upper", frameon=False)
    save(drawn, path)


def plot_cost(points: Sequence[Point], results: Sequence[Result], path: Path, title: str = "") -> bool:
    """A PNG: what is solved over what a thousand answers cost: a dot a task, and a line through the budgets.

    Whether there is one: no plot where the cost is not known.
    """
    from matplotlib.figure import Figure

    known = [(1000 * result.usd, result) for result in results if result.usd]
    curve = [(1000 * point.usd, point) for point in points if point.usd]
    if not known:
        return False
    drawn = Figure(figsize=(8, 4.8), layout="constrained")
    axes = drawn.add_subplot()
    axes.scatter([cost for cost, _ in known], [r.solved.value for _, r in known], color=OURS, alpha=0.5, label="a task")
    for cost, result in known if len(known) <= 12 else []:
        axes.annotate(
            result.task, (cost, result.solved.value), (0, -14), textcoords="offset points", ha="center", fontsize=8
        )
    if curve:
        costs, solved = [cost for cost, _ in curve], [point.solved for _, point in curve]
        margins = [[each.value - each.low for each in solved], [each.high - each.value for each in solved]]
        axes.errorbar(
            costs,
            [each.value for each in solved],
            margins,
            color="#222222",
            marker="s",
            capsize=3,
            label="all, budgets",
        )
        for cost, point in curve:
            said = "none" if point.budget is None else str(point.budget)
            axes.annotate(said, (cost, point.solved.value), (6, 6), textcoords="offset points", fontsize=8)
    _beside(axes, results, "cost")
    axes.set_xscale("log")
    axes.margins(x=0.15)
    low, high = axes.get_xlim()
    between = "25" if high < 100 * low else ""  # where there is room for more than the powers of ten
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in between else "")
    axes.set_ylim(-0.06, 1.06)
    axes.set_xlabel("US dollars for 1000 answers")
    axes.set_ylabel("solved")
    axes.set_title(title)
    drawn.legend(loc="outside right upper", frameon=False)
    save(drawn, path)
    return True


def _beside(axes: Any, results: Sequence[Result], unknown: str) -> None:
    """Others' mean published score on the same data sets. unknown: of which nothing was published."""
    if is_suite(results):
        for (name, score), colour in zip(theirs(results), MARKS, strict=False):
            axes.axhline(score, color=colour, ls="--", lw=1, label=f"{name}, {unknown} unknown")
