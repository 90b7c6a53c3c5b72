"""What quantising did to a model: size, perplexity and right answers before and after, on the same texts and problems.

Because both models read the same and are asked the same, what counts is the difference problem by problem: its interval
(`denken.evaluate.metrics`) is narrower than that of either. Answers are greedy, so that chance does not add to it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from rich.table import Table

from denken.evaluate import evaluate
from denken.evaluate.metrics import Change, mean_change, paired_change, wilson
from denken.model.transformer import Transformer
from denken.quantize.calibration import Text
from denken.tokenizer import Tokenizer
from denken.types import Generate, SamplingParams


@dataclass(frozen=True, slots=True)
class Measured:
    """One model. size: bytes of its weights. surprise: of every text the sum of -log p of what is said in it.
    right: by task, whether each problem's answer had full marks."""

    size: int
    surprise: Sequence[float] = ()
    right: Mapping[str, Sequence[bool]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Report:
    """Two models, and how many tokens of each text counted."""

    before: Measured
    after: Measured
    tokens: Sequence[int] = ()

    @property
    def surprise(self) -> Change | None:
        """The change of the mean -log p of a token: of perplexity's logarithm."""
        return mean_change(self.before.surprise, self.after.surprise, self.tokens) if self.tokens else None

    def tasks(self) -> dict[str, tuple[Sequence[bool], Sequence[bool]]]:
        """What was right before and after, by task; "all" of them last."""
        found = {name: (was, self.after.right[name]) for name, was in self.before.right.items()}
        if len(found) > 1:
            every = list(found.values())
            found["all"] = [x for was, _ in every for x in was], [x for _, now in every for x in now]
        return found


def size_of(folder: Path) -> int:
    """Bytes of a folder's weights."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


@torch.inference_mode()
def surprise(model: Transformer, texts: Sequence[Text]) -> list[float]:
    """Of every text the sum of -log p of its tokens from `start` on, each given all before it."""
    found = []
    for text in texts:
        ids_T = torch.tensor(text.ids)
        hidden_NM = model.hidden(ids_T[None, :-1])[0, text.start - 1 :]
        logprobs_N, _ = model.logprobs(hidden_NM, ids_T[text.start :])
        found.append(-logprobs_N.sum().item())
    return found


def right_answers(
    generate: Generate, tokenizer: Tokenizer, names: Sequence[str], problems: int, *, progress: bool = True
) -> dict[str, list[bool]]:
    """Whether each problem of each task is answered rightly; the problems of `denken eval`."""
    with TemporaryDirectory() as folder:
        answers = Path(folder) / "answers.jsonl"
        evaluate(
            generate,
            tokenizer,
            names,
            problems=problems,
            params=SamplingParams(temperature=0.0),
            transcripts=answers,
            batch=256,
            progress=progress,
        )
        _, *lines = answers.read_text("utf-8").splitlines()
    found: dict[str, list[bool]] = {}
    for record in sorted(map(json.loads, lines), key=lambda record: record["seed"]):
        found.setdefault(record["task"], []).append(record["reward"] == 1.0)
    return found


def table(report: Report, title: str) -> Table:
    """For a terminal."""
    drawn = Table(title=title)
    for at, name in enumerate(("", "before", "after", "change, 95 % interval")):
        drawn.add_column(name, justify="left" if at == 0 else "right")
    for row in rows(report):
        drawn.add_row(*row)
    return drawn


def markdown(report: Report) -> str:
    """For a model card."""
    lines = [["", "before", "after", "change, 95 % interval"], ["---", *["---:"] * 3], *rows(report)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def rows(report: Report) -> list[list[str]]:
    """Size, perplexity and the share of right answers, in per cent, as text."""
    before, after = report.before, report.after
    share = f"{100 * (after.size / before.size - 1):+.0f} %"
    found = [["weights, MB", f"{before.size / 1e6:.2f}", f"{after.size / 1e6:.2f}", share]]
    change = report.surprise
    if change is not None:
        old, new = (math.exp(sum(m.surprise) / sum(report.tokens)) for m in (before, after))
        low, high, middle = (100 * math.expm1(x) for x in (change.low, change.high, change.value))
        found.append(["perplexity", f"{old:.5f}", f"{new:.5f}", f"{middle:+.3f} % ({low:+.3f} to {high:+.3f})"])
    for name, (was, now) in report.tasks().items():
        moved = paired_change(was, now)
        between = f"{100 * moved.value:+.1f} ({100 * moved.low:+.1f} to {100 * moved.high:+.1f})"
        found.append([f"{name}, {len(was)} problems", _percent(was), _percent(now), between])
    return found


def record(report: Report) -> dict[str, Any]:
    """The same for machines: shares between 0 and 1."""
    change = report.surprise
    tasks = {
        name: {
            "problems": len(was),
            "before": sum(was) / len(was),
            "after": sum(now) / len(now),
            "change": asdict(paired_change(was, now)),
        }
        for name, (was, now) in report.tasks().items()
    }
    found: dict[str, Any] = {"bytes": {"before": report.before.size, "after": report.after.size}}
    if change is not None:
        found["log_perplexity"] = {
            "tokens": sum(report.tokens),
            "before": sum(report.before.surprise) / sum(report.tokens),
            "after": sum(report.after.surprise) / sum(report.tokens),
            "change": asdict(change),
        }
    return found | ({"solved": tasks} if tasks else {})


def _percent(right: Sequence[bool]) -> str:
    low, high = wilson(sum(right), len(right))
    return f"{100 * sum(right) / len(right):.1f} ({100 * low:.1f} to {100 * high:.1f})"
