"""Training as it goes, for the page: which runs there are, their curves, what their models said, what they cost.

Reads the folders that `denken train` and `denken pipeline` write (docs/train.md), one folder a run, right below the one
that `denken serve --runs` names. How files are read that others write meanwhile is in `runfiles.py`. A run does not
say that it ends: it counts as running while its log grows at the pace it has had.
"""

from __future__ import annotations

import threading
import time
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.concurrency import run_in_threadpool

from denken.serve import runfiles
from denken.serve.failure import Failure
from denken.serve.runfiles import Growing, Series, number, whole

Record = dict[str, Any]

# Runs whose curves are kept in mind, those that were asked for last.
KEPT = 16
FILES = ("metrics.jsonl", "ledger.json", "recipe.toml", "environment.json")
LEDGER = (
    *("seconds", "core_seconds", "tokens", "targets", "sampled", "flops", "sampling_flops"),
    *("generate_seconds", "learn_seconds", "joules", "usd_per_core_hour", "usd"),
)
# A log that has not grown for so many of its own steps, and so long, is that of a run that has ended.
PACES, PATIENCE_S = 5, 60.0
# Before its first step a run may read and sample for a while.
START_S = 600.0
MOST_STEPS_LISTED = 1000
MOST_SAMPLES = 32
MOST_CHARACTERS = 20_000


def add_routes(api: APIRouter, runs: Runs | None) -> None:
    """runs: None where this server shows none; the routes then say how that is changed."""

    def ours() -> Runs:
        if runs is None:
            raise Failure(404, "This server shows no training runs; start it with --runs DIR.", code="no_runs")
        return runs

    async def listed() -> Record:
        """The runs there are, the one that was written last first."""
        return {"runs": await run_in_threadpool(ours().list)}

    async def one(name: str) -> Record:
        """A run with its recipe, its curves and its ledger."""
        return await run_in_threadpool(ours().run, name)

    async def rollouts(name: str, step: Annotated[int | None, Query(ge=0, le=10**12)] = None) -> Record:
        """What the model said at a step, the last one if none is named, and how that was scored."""
        return await run_in_threadpool(ours().rollouts, name, step)

    api.add_api_route("/app/runs", listed, methods=["GET"])
    api.add_api_route("/app/runs/{name}", one, methods=["GET"])
    api.add_api_route("/app/runs/{name}/rollouts", rollouts, methods=["GET"])


class Runs:
    """The runs in a folder. Its methods block, and may be called from any thread."""

    def __init__(self, root: Path, clock: Callable[[], float] = time.time):
        self._root, self._clock = root, clock
        self._lock = threading.Lock()
        self._summaries: dict[str, tuple[tuple[tuple[int, int], ...], Record]] = {}
        self._kept: OrderedDict[str, _Run] = OrderedDict()

    def list(self) -> list[Record]:
        found = [summary for name in runfiles.names(self._root) if (summary := self._summary(name))]
        found.sort(key=lambda summary: summary["updated"], reverse=True)
        return found[: runfiles.MOST_RUNS]

    def run(self, name: str) -> Record:
        """Raises Failure 404."""
        summary, kept = self._known(name), self._keep(name)
        recipe = runfiles.read_small(self._root, name, "recipe.toml").decode("utf-8", errors="replace")
        return summary | {"recipe": recipe, "ledger": _ledger(self._root, name)} | kept.curves()

    def rollouts(self, name: str, step: int | None) -> Record:
        """Raises Failure 404 for a run or a step that is not there."""
        self._known(name)
        return self._keep(name).samples(step)

    def _known(self, name: str) -> Record:
        summary = self._summary(name)
        if summary is None:
            raise Failure(404, f"There is no run {name[:100]!r} here; GET /app/runs lists them.", code="no_such_run")
        return summary

    def _keep(self, name: str) -> _Run:
        with self._lock:
            kept = self._kept.setdefault(name, _Run(self._root, name))
            self._kept.move_to_end(name)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return kept

    def _summary(self, name: str) -> Record | None:
        """A line of the list; read again only when one of the files has changed. None for what is no run."""
        if not runfiles.is_folder(self._root, name):
            return None
        state = tuple(runfiles.changed(self._root, name, file) for file in FILES)
        if state[0] == state[2] == (0, 0):
            return None
        with self._lock:
            known = self._summaries.get(name)
        if known is None or known[0] != state:
            known = state, _summary(self._root, name, state)
            with self._lock:
                if len(self._summaries) > runfiles.MOST_ENTRIES:
                    self._summaries.clear()
                self._summaries[name] = known
        summary = dict(known[1])
        patience = summary.pop("patience")
        is_done = summary["steps"] is not None and summary["step"] >= summary["steps"]
        age = self._clock() - summary["updated"] / 1000
        return summary | {"running": not is_done and -PATIENCE_S < age < patience}


class _Run:
    """What was read of one run so far: its curves, and where the samples of each step lie."""

    def __init__(self, root: Path, name: str):
        self._root, self._name = root, name
        self._lock = threading.Lock()
        self._metrics, self._rollouts = Growing(), Growing()
        self._series: dict[str, Series] = {}
        self._steps: dict[int, tuple[int, int]] = {}

    def curves(self) -> Record:
        """The series, and whether all of the log was read: a long one takes several requests."""
        with self._lock:
            whole_log = self._read("metrics.jsonl", self._metrics, self._series.clear, self._add_metrics)
            return {
                "series": {name: series.points() for name, series in sorted(self._series.items())},
                "complete": whole_log,
            }

    def samples(self, step: int | None) -> Record:
        with self._lock:
            whole_log = self._read("rollouts.jsonl", self._rollouts, self._steps.clear, self._add_rollout)
            if not self._steps:
                if step is not None:
                    raise Failure(404, "This run has no samples of rollouts.", param="step", code="no_such_step")
                return {"steps": [], "step": None, "samples": [], "complete": whole_log}
            chosen = max(self._steps) if step is None else step
            if chosen not in self._steps:
                raise Failure(404, f"There are no samples of step {chosen}.", param="step", code="no_such_step")
            return {
                "steps": sorted(self._steps),
                "step": chosen,
                "samples": self._samples_at(chosen),
                "complete": whole_log,
            }

    def _read(
        self, file_name: str, growing: Growing, clear: Callable[[], None], add: Callable[[Record, int, int], None]
    ) -> bool:
        """Takes in what is new in a file; False where more is left than is read at once."""
        file = runfiles.open_file(self._root, self._name, file_name)
        if file is None:
            return True
        with file:
            if not growing.is_same(file):
                clear()
            for _ in range(runfiles.CHUNKS):
                lines, is_more = growing.lines(file)
                for at, line in lines:
                    add(runfiles.record(line), at, at + len(line))
                if not is_more:
                    return True
        return False

    def _add_metrics(self, record: Record, start: int, end: int) -> None:
        step = whole(record.get("step"))
        if step is None:
            return
        values = {name: number(record.get(name)) for name in ("reward", "length", "loss", "eval_loss")}
        values["eval_accuracy"] = _mean_of(record.get("eval_accuracy"))
        for name, value in values.items():
            if value is not None:
                self._series.setdefault(name, Series()).add(step, value)

    def _add_rollout(self, record: Record, start: int, end: int) -> None:
        step = whole(record.get("step"))
        if step is None:
            return
        first, _ = self._steps.get(step, (start, end))
        self._steps[step] = first, end
        if len(self._steps) > MOST_STEPS_LISTED:
            for between in sorted(self._steps)[1:-1:2]:
                del self._steps[between]

    def _samples_at(self, step: int) -> list[Record]:
        start, end = self._steps[step]
        file = runfiles.open_file(self._root, self._name, "rollouts.jsonl")
        if file is None:
            return []
        with file:
            file.seek(start)
            lines = file.read(min(end - start, runfiles.CHUNK_BYTES)).split(b"\n")
        records = [record for line in lines[: 4 * MOST_SAMPLES] if (record := runfiles.record(line))]
        return [_sample(record) for record in records if record.get("step") == step][:MOST_SAMPLES]


def _summary(root: Path, name: str, state: tuple[tuple[int, int], ...]) -> Record:
    """A line of the list, with the seconds after which a log that does not grow is that of a run that has ended."""
    (logged, _), _, (begun, _), (described, _) = state
    recipe = _recipe(root, name)
    last = _last_records(root, name)
    steps = [step for record in last if (step := whole(record.get("step"))) is not None]
    clocks = [seconds for record in last if (seconds := number(record.get("seconds"))) is not None]
    pace = max(0.0, clocks[-1] - clocks[-2]) if len(clocks) > 1 else 0.0
    return {
        "name": name,
        "kind": _kind(recipe),
        "started": (described or begun or logged) // 10**6,
        "updated": max(logged, described, 0 if logged else begun) // 10**6,
        "step": steps[-1] if steps else 0,
        "steps": _steps_of(recipe),
        "seconds": clocks[-1] if clocks else None,
        "cost_usd": _ledger(root, name).get("usd"),
        "patience": max(PATIENCE_S, PACES * pace) if clocks else START_S,
    }


def _recipe(root: Path, name: str) -> Mapping[str, Any]:
    text = runfiles.read_small(root, name, "recipe.toml").decode("utf-8", errors="replace")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError):
        return {}


def _kind(recipe: Mapping[str, Any]) -> str:
    """How it learns: by the algorithm of its rewards, from a set that it samples itself, or from texts."""
    rewards = recipe.get("rl")
    if isinstance(rewards, dict):
        algorithm = rewards.get("algorithm", "grpo")
        return _text(algorithm, 40) if isinstance(algorithm, str) else "grpo"
    return "sample" if "sample" in recipe else "learn"


def _steps_of(recipe: Mapping[str, Any]) -> int | None:
    """How many steps the recipe asks for; None where only its data can tell."""
    train = recipe.get("train")
    if not isinstance(train, dict):
        return None
    tokens, batch = whole(train.get("tokens")), whole(train.get("batch_tokens"))
    return whole(train.get("steps")) or (max(1, tokens // batch) if tokens and batch else None)


def _last_records(root: Path, name: str) -> list[Record]:
    """The last few whole lines of the log."""
    lines = runfiles.read_small(root, name, "metrics.jsonl", end=True).split(b"\n")[:-1]
    return [record for line in lines[-8:] if (record := runfiles.record(line))]


def _ledger(root: Path, name: str) -> Record:
    values = runfiles.record(runfiles.read_small(root, name, "ledger.json"))
    return {field: value for field in LEDGER if (value := number(values.get(field))) is not None}


def _sample(record: Record) -> Record:
    parts = record.get("parts")
    return {
        **{field: _text(record.get(field)) for field in ("task", "prompt", "expected", "thought", "answer")},
        **{field: number(record.get(field)) for field in ("tokens", "reward", "advantage")},
        "cut": record.get("cut") is True,
        "parts": {_text(part, 100): value for part, value in _numbers(parts).items()},
    }


def _numbers(values: object) -> dict[str, float]:
    """The finite numbers of a table, of which 64 at most are looked at."""
    pairs = list(values.items())[:64] if isinstance(values, dict) else []
    return {name: finite for name, value in pairs if (finite := number(value)) is not None}


def _mean_of(values: object) -> float | None:
    numbers = list(_numbers(values).values())
    return number(sum(numbers) / len(numbers)) if numbers else None


def _text(value: object, most: int = MOST_CHARACTERS) -> str:
    """Any text as one that can be sent: halves of characters become marks, what is endless is cut."""
    said = "" if value is None else str(value) if isinstance(value, str | int | float) else ""
    shown = said[:most] + (" …" if len(said) > most else "")
    return shown.encode("utf-8", errors="replace").decode("utf-8")
