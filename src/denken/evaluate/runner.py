"""Runs a model over tasks and says how many answers were right.

Every sample is a line of a transcript (JSONL) as soon as its batch is judged, so a run that was interrupted goes on
where it stopped, and every figure can be traced to the answers behind it. With a sampling seed (the default is 0) a
sample depends on the weights, the problem, its number and the parameters alone: not on batch, order or resumption.

Metrics are `metrics.py`'s, tables and plots `report.py`'s, generation is behind `Generate`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from denken import tasks as task_names
from denken.errors import ConfigError
from denken.evaluate import metrics
from denken.evaluate.metrics import Estimate
from denken.evaluate.published import Level
from denken.rollout import Answered, Answers, Draw, Local
from denken.tasks.base import EVALUATION_SEEDS_FROM, Task
from denken.tokenizer import Tokenizer
from denken.types import Generate, SamplingParams

_Key = tuple[str, str, int, int]  # task, configuration, problem's seed, sample


@dataclass(frozen=True, slots=True)
class Result:
    """How a model did on one task.

    solved: pass@1, the share of answers with full marks, with its 95 % interval.
    score: the mean reward, partial marks included (what reasoning-gym publishes).
    pass_at: k to pass@k, for powers of two up to `samples`. consensus: cons@samples, None for one sample.
    cut: the share of samples that ended inside their thought. tokens: the mean of ids generated.
    seconds: time spent generating and judging, earlier parts of a resumed run included.
    level: which of Reasoning Gym's published configurations this is; None for any other.
    """

    task: str
    config: Mapping[str, Any]
    problems: int
    samples: int
    seed_from: int
    solved: Estimate
    score: float
    pass_at: Mapping[int, float]
    consensus: float | None
    cut: float
    tokens: float
    seconds: float
    level: Level | None = None


def evaluate(
    generate: Generate,
    tokenizer: Tokenizer,
    tasks: Sequence[Task | str],
    *,
    problems: int = 100,
    samples: int = 1,
    seed_from: int = EVALUATION_SEEDS_FROM,
    params: SamplingParams | None = None,
    thinking: bool = True,
    transcripts: Path | None = None,
    label: str = "",
    level: Level | None = None,
    batch: int = 64,
    progress: bool = True,
    leave_out: Callable[[str], None] | None = None,
) -> list[Result]:
    """One result a task, in order.

    problems: seeds `seed_from`, `seed_from + 1`, ... of each task (of your own questions at most as many as there are).
    samples: answers a problem. params: `SamplingParams()`, R1's, where none are given; a seed of 0 where it has none.
    transcripts: a JSONL file to append to; samples that stand in it already are not generated again.
    label: which model this is, for the transcript: it refuses to go on with another. level: as in `Result`.
    leave_out: told of a task whose problems cannot be made, which then has no result; without it that is an error.

    Raises ConfigError for counts below 1, a task named twice, or a transcript of other settings.
    """
    params = params or SamplingParams()
    params = params if params.seed is not None else replace(params, seed=0)
    return measure(
        Local(tokenizer, generate, params, thinking),
        tasks,
        problems=problems,
        samples=samples,
        seed_from=seed_from,
        transcripts=transcripts,
        settings={"label": label, "thinking": thinking, "params": asdict(params)},
        level=level,
        batch=batch,
        progress=progress,
        leave_out=leave_out,
    )


def measure(
    answers: Answers,
    tasks: Sequence[Task | str],
    *,
    problems: int = 100,
    samples: int = 1,
    seed_from: int = EVALUATION_SEEDS_FROM,
    transcripts: Path | None = None,
    settings: Mapping[str, Any] | None = None,
    level: Level | None = None,
    batch: int = 64,
    progress: bool = True,
    leave_out: Callable[[str], None] | None = None,
) -> list[Result]:
    """`evaluate` for whoever answers. settings: what the transcript must have been begun with to go on."""
    if min(problems, samples, batch) < 1:
        raise ConfigError(f"{problems} problems, {samples} samples, batches of {batch}: give at least 1 of each.")
    chosen = [task_names.get(task) if isinstance(task, str) else task for task in tasks]
    if len({(task.name, _config(task)) for task in chosen}) < len(chosen):
        raise ConfigError("A task stands in the list twice; name each task once.")
    transcript = _Transcript(transcripts, settings or {})

    results: list[Result] = []
    with _bar(progress) as show:
        for task in chosen:
            wanted = _draws(task, problems, samples, seed_from)
            missing = [key for key in wanted if key not in transcript.records]
            try:
                made = {seed: task.problem(seed) for seed in sorted({key[2] for key in missing})}
            except ConfigError as error:
                if leave_out is None:
                    raise
                leave_out(f"{task.name} is left out: {error}")
                continue
            advance = show(task.name, len(wanted), len(wanted) - len(missing))
            for start in range(0, len(missing), batch):
                keys = missing[start : start + batch]
                started = time.perf_counter()
                draws = [Draw(made[seed], index) for _, _, seed, index in keys]
                answered = answers(task, draws)
                seconds = (time.perf_counter() - started) / len(keys)
                transcript.add((key, _record(key, each, seconds)) for key, each in zip(keys, answered, strict=True))
                advance(len(keys))
            results.append(_result(task, wanted, transcript.records, samples, seed_from, level))
    return results


def _draws(task: Task, problems: int, samples: int, seed_from: int) -> list[_Key]:
    if isinstance(task, Sized):
        problems = min(problems, len(task))
    config = _config(task)
    seeds = range(seed_from, seed_from + problems)
    return [(task.name, config, seed, index) for seed in seeds for index in range(samples)]


def _config(task: Task) -> str:
    return json.dumps(getattr(task, "config", {}), sort_keys=True)


def _record(key: _Key, answered: Answered, seconds: float) -> dict[str, Any]:
    rollout, reply = answered.rollout, answered.reply
    return {
        "task": key[0],
        "config": json.loads(key[1]),
        "seed": key[2],
        "sample": key[3],
        "prompt": rollout.problem.prompt,
        "expected": rollout.problem.answer,
        "thought": reply.thought,
        "answer": reply.answer,
        "reward": rollout.score.reward,
        "parts": dict(rollout.score.parts),
        "cut": reply.cut,
        "finish_reason": rollout.completion.finish_reason,
        "tokens": answered.tokens,
        "seconds": round(seconds, 6),
    }


def _result(
    task: Task,
    wanted: Sequence[_Key],
    records: Mapping[_Key, dict[str, Any]],
    samples: int,
    seed_from: int,
    level: Level | None,
) -> Result:
    rows = [[records[key] for key in wanted[at : at + samples]] for at in range(0, len(wanted), samples)]
    flat = [record for row in rows for record in row]
    correct = [[record["reward"] == 1.0 for record in row] for row in rows]
    answers = [[record["answer"] for record in row] for row in rows]
    return Result(
        task=task.name,
        config=dict(getattr(task, "config", {})),
        problems=len(rows),
        samples=samples,
        seed_from=seed_from,
        solved=metrics.pass_at_1(correct),
        score=_mean(flat, "reward"),
        pass_at={k: metrics.mean_pass_at_k(correct, k) for k in (2**power for power in range(11)) if k <= samples},
        consensus=metrics.mean_consensus(answers, correct) if samples > 1 else None,
        cut=_mean(flat, "cut"),
        tokens=_mean(flat, "tokens"),
        seconds=sum(record["seconds"] for record in flat),
        level=level,
    )


def _mean(records: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(record[name] for record in records)) / len(records)


class _Transcript:
    """The samples so far, in memory and, where there is a file, on disk: a line of settings, then a line a sample."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.records: dict[_Key, dict[str, Any]] = {}
        self._path = path
        if path is None:
            return
        settings = json.loads(json.dumps(settings))
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.read_bytes() if path.exists() else b""
        kept = whole[: whole.rfind(b"\n") + 1]  # a run that was killed may leave half a line
        if not kept:
            path.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")
            return
        if kept != whole:
            path.write_bytes(kept)
        try:
            first, *records = [json.loads(line) for line in kept.decode().splitlines()]
            found = first["settings"]
            for record in records:
                config = json.dumps(record["config"], sort_keys=True)
                self.records[record["task"], config, record["seed"], record["sample"]] = record
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no transcript of an evaluation ({error}); name another file.") from error
        for name, value in settings.items():
            if found.get(name) != value:
                raise ConfigError(
                    f"{path} holds answers with {name} {found.get(name)!r}, not {value!r}; name another file for these."
                )

    def add(self, records: Iterator[tuple[_Key, dict[str, Any]]]) -> None:
        new = dict(records)
        self.records.update(new)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in new.values())


@contextmanager
def _bar(visible: bool) -> Iterator[Callable[[str, int, int], Callable[[int], None]]]:
    """A progress bar a task, on standard error, so that standard output holds results alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not visible, transient=True) as bar:

        def show(name: str, total: int, done: int) -> Callable[[int], None]:
            number = bar.add_task(name, total=total, completed=done)
            return lambda count: bar.advance(number, count)

        yield show
