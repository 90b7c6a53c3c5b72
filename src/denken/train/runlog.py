"""What a run says and writes while it goes: metrics.jsonl, a live progress line, curves.png and report.html.

Only rank 0 has one. It decides nothing; the numbers are the loop's.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.text import Text

PLAIN_LINE_EVERY_S = 30.0
CURVES_EVERY_S = 60.0
MOST_NAMED = 20


class RunLog:
    """Appends records to metrics.jsonl and keeps one line on the terminal up to date.

    Where the output is no terminal, a plain line appears about every 30 seconds.
    """

    def __init__(self, folder: Path, total_steps: int, *, console: Console | None = None) -> None:
        self.folder = folder
        self.draw = draw_curves
        self.total_steps = total_steps
        self.console = console or Console(stderr=True, highlight=False)
        self._path = folder / "metrics.jsonl"
        self._live: Live | None = None
        self._spoke = float("-inf")
        self._drew = time.monotonic()
        self._warned: set[str] = set()

    def __enter__(self) -> RunLog:
        if self.console.is_terminal:
            self._live = Live(Text(""), console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def say(self, text: str) -> None:
        """A line that stays."""
        self.console.print(Text(text), soft_wrap=True)

    def warn(self, text: str) -> None:
        self.console.print(Text(f"Warning: {text}", style="yellow"), soft_wrap=True)

    def warn_once(self, text: str) -> None:
        """Warn unless a warning that begins alike (numbers aside) was given before."""
        kind = "".join(character for character in text if not character.isdigit())
        if kind not in self._warned:
            self._warned.add(kind)
            self.warn(text)

    def cut_back(self, step: int) -> None:
        """Drop records after `step`, and a line that a crash cut short."""
        for path in (self._path, self.folder / "rollouts.jsonl"):
            if path == self._path or path.exists():
                records = [record for record in read_metrics(path) if record["step"] <= step]
                temporary = path.with_suffix(".tmp")
                temporary.write_text("".join(map(_line, records)), encoding="utf-8")
                os.replace(temporary, path)

    def record(self, values: Mapping[str, Any]) -> None:
        """Append one line of metrics; the values are JSON, with at least `step`."""
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(_line(values))

    def rollouts(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append readable samples to rollouts.jsonl, each with its `step`."""
        with (self.folder / "rollouts.jsonl").open("a", encoding="utf-8") as stream:
            stream.writelines(map(_line, records))

    def progress(self, step: int, loss: float, tokens_per_s: float, seconds_left: float) -> None:
        """Show where a run is that reads texts; `step` of its steps are done."""
        self.show(step, f"loss {loss:.4f}  {tokens_per_s:,.0f} tokens/s", seconds_left)

    def show(self, step: int, figures: str, seconds_left: float) -> None:
        """Show where the run is; `step` of them are done."""
        share = step / max(1, self.total_steps)
        line = f"step {step}/{self.total_steps} ({share:.0%})  {figures}  {duration(seconds_left)} left"
        if self._live is not None:
            filled = round(share * 24)
            self._live.update(Text("━" * filled + "╌" * (24 - filled) + "  " + line))
        elif time.monotonic() - self._spoke >= PLAIN_LINE_EVERY_S or step >= self.total_steps:
            self._spoke = time.monotonic()
            self.console.print(Text(line), soft_wrap=True)

    def curves(self, *, final: bool = False) -> None:
        """Draw curves.png anew from metrics.jsonl, and write report.html; unless final, at most once a minute."""
        if not final and time.monotonic() - self._drew < CURVES_EVERY_S:
            return
        self._drew = time.monotonic()
        self.draw(read_metrics(self._path), self.folder / "curves.png")
        from denken.train import report  # which reads what this module writes

        report.write(self.folder)


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 20 s, 2 h 05 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The whole records of a metrics.jsonl, in order; a torn line ends the reading."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError):
            break
    return [record for record in records if isinstance(record, dict) and "step" in record]


def draw_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Loss overall and per source, learning rate and speed over steps, as one PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    trained = [record for record in records if "loss" in record]
    if not trained:
        return
    steps = [record["step"] for record in trained]
    figure = Figure(figsize=(12, 8), layout="constrained")
    (overall, per_source), (rate, speed) = figure.subplots(2, 2)
    overall.plot(steps, [record["loss"] for record in trained], color="black", linewidth=1, label="training")
    looked = [record for record in records if "eval_loss" in record]
    if looked:
        overall.plot([r["step"] for r in looked], [r["eval_loss"] for r in looked], "o-", markersize=3, label="unseen")
        overall.legend()
    by_source: dict[str, list[tuple[int, float]]] = {}
    for record in trained:
        for source, loss in record.get("losses", {}).items():
            by_source.setdefault(source, []).append((record["step"], loss))
    # With more lines than eyes can tell apart only those are named that have most left to learn.
    named = sorted(by_source, key=lambda source: by_source[source][-1][1], reverse=True)[:MOST_NAMED]
    for source, points in sorted(by_source.items(), key=lambda item: item[0] in named):
        look = {"label": source} if source in named else {"color": "lightgrey"}
        per_source.plot(*zip(*points, strict=True), linewidth=0.8, **look)
    if named:
        per_source.legend(fontsize=6, ncols=2)
    rate.plot(steps, [record["lr"] for record in trained])
    speed.plot(steps, [record["tokens_per_s"] for record in trained])
    for axes, title in (
        (overall, "loss"),
        (per_source, "loss per source" + (f", {MOST_NAMED} highest named" if len(by_source) > MOST_NAMED else "")),
        (rate, "learning rate"),
        (speed, "tokens/s"),
    ):
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
        if "loss" in title:
            axes.set_yscale("log")
    temporary = path.with_suffix(".tmp")
    FigureCanvasAgg(figure).print_png(str(temporary))
    os.replace(temporary, path)
