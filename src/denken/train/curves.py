"""The curves of a run that learns from rewards, drawn from its metrics.jsonl as one PNG."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Records = Sequence[Mapping[str, Any]]


def draw_curves(records: Records, path: Path) -> None:
    """Reward, accuracy per task, length, entropy, parity, loss and KL, updates, reward parts, seconds over steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps = [record for record in records if "reward" in record]
    if not steps:
        return
    figure = Figure(figsize=(16, 12), layout="constrained")
    (reward, accuracy, length), (entropy, parity, loss), (update, parts, seconds) = figure.subplots(3, 3)
    _lines(reward, steps, "reward", "reward_std", "no_variance")
    _lines_of(accuracy, steps, "accuracy", smooth=True)
    _lines_of(accuracy, [record for record in records if "eval_accuracy" in record], "eval_accuracy", style="o-")
    _lines(length, steps, "length", "length_max")
    _lines(entropy, steps, "entropy", "surprise")
    _lines(parity, steps, "parity_max", "parity_mean")
    _lines(loss, steps, "loss", "kl")
    _lines(update, steps, "grad_norm", "ratio_max", "clipped", "cut")
    _lines_of(parts, steps, "parts", smooth=True)
    _lines_of(seconds, steps, "split")
    for axes, title in (
        (reward, "reward: mean, spread in groups, groups without"),
        (accuracy, "accuracy: sampled, and greedy on unseen problems"),
        (length, "tokens of a completion"),
        (entropy, "entropy, nats a token"),
        (parity, "|log p sampler - log p trainer|"),
        (loss, "loss and KL to the reference"),
        (update, "gradient norm, largest ratio, shares clipped and cut off"),
        (parts, "parts of the reward"),
        (seconds, "seconds a step"),
    ):
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7)
    if any(record["parity_max"] > 0 for record in steps):
        parity.set_yscale("log")
    temporary = path.with_suffix(".tmp")
    FigureCanvasAgg(figure).print_png(str(temporary))
    os.replace(temporary, path)


def _lines(axes: Axes, records: Records, *names: str) -> None:
    for name in names:
        axes.plot([r["step"] for r in records], [r[name] for r in records], linewidth=0.9, label=name)


def _lines_of(axes: Axes, records: Records, name: str, *, style: str = "-", smooth: bool = False) -> None:
    """A line for every key of the records' `name`."""
    for key in sorted({key for record in records for key in record[name]}):
        points = [(record["step"], record[name][key]) for record in records if key in record[name]]
        steps, values = [point[0] for point in points], [point[1] for point in points]
        shown = _smooth(values) if smooth else values
        axes.plot(steps, shown, style, markersize=3, linewidth=0.9, label=f"{name} {key}" if style != "-" else key)


def _smooth(values: Sequence[float], memory: int = 10) -> list[float]:
    """A running average over about `memory` steps: a step's problems are few."""
    mean, out = 0.0, []
    for i, value in enumerate(values, start=1):
        mean += (value - mean) / min(i, memory)
        out.append(mean)
    return out
