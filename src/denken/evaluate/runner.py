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
from denken.evaluate.cost import Price
from denken.evaluate.published import Level
from denken.evaluate.result import Result as Result
from denken.evaluate.result import result_of
from denken.evaluate.transcript import Key, Record, Transcript
from denken.rollout import Answered, Answers, Draw, Local
from denken.tasks.base import EVALUATION_SEEDS_FROM, Task
from denken.tokenizer import Tokenizer
from denken.types import Generate, Problem, SamplingParams

# A bar of progress: a name, how many there are, how many are done; then how many more.
Advance = Callable[[int], None]
Show = Callable[[str, int, int], Advance]


@dataclass(frozen=True, slots=True)
class Asked:
    """A task and the problems of it that are asked."""

    task: Task
    seeds: Sequence[int]
    level: Level | None = None

    @property
    def name(self) -> str:
        return self.task.name if self.level is None else f"{self.task.name}, {self.level}"


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
    leave_out: told of problems that cannot be made, which are then not asked; without it that is an error. A task of
        nothing but such has no result.

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
    price: Price | None = None,
) -> list[Result]:
    """`evaluate` for whoever answers. settings: what the transcript must have been begun with to go on. price: of the
    answers, for `Result.usd`."""
    if min(problems, samples, batch) < 1:
        raise ConfigError(f"{problems} problems, {samples} samples, batches of {batch}: give at least 1 of each.")
    chosen = [task_names.get(task) if isinstance(task, str) else task for task in tasks]
    if len({(task.name, _config(task)) for task in chosen}) < len(chosen):
        raise ConfigError("A task stands in the list twice; name each task once.")
    transcript = Transcript(transcripts, settings or {})

    results: list[Result] = []
    with bar(progress) as show:
        for task in chosen:
            seeds = seeds_of(task, problems, seed_from)
            rows = ask(answers, task, seeds, samples, transcript, show, batch, leave_out, price)
            if rows:
                results.append(result_of(task, rows, samples, seeds, level, price))
    return results


def unseen(name: str, total: int, done: int) -> Advance:
    """No bar."""
    return lambda count: None


def named(show: Show, what: str) -> Show:
    """A bar that also says what is done with the task."""
    return lambda name, total, done: show(f"{name}, {what}", total, done)


def seeds_of(task: Task, problems: int, seed_from: int) -> range:
    """The problems that are asked of a task: of your own questions at most as many as there are."""
    return range(seed_from, seed_from + (min(problems, len(task)) if isinstance(task, Sized) else problems))


def ask(
    answers: Answers,
    task: Task,
    seeds: Sequence[int],
    samples: int,
    transcript: Transcript,
    show: Show = unseen,
    batch: int = 64,
    leave_out: Callable[[str], None] | None = None,
    price: Price | None = None,
) -> list[list[Record]]:
    """For each problem the records of its samples; those that stand in the transcript are not asked for again.

    leave_out: told once of problems that the task cannot make, which then have no row; without it the first one raises
    its ConfigError, before anything is asked. price: whose cores work on it.
    """
    config = _config(task)
    rows = [[(task.name, config, seed, index) for index in range(samples)] for seed in seeds]
    missing = [key for row in rows for key in row if key not in transcript.records]
    made = _made(task, sorted({key[2] for key in missing}), len(seeds), leave_out)
    missing = [key for key in missing if key[2] in made]
    rows = [row for row in rows if row[0][2] in made or row[-1] in transcript.records]
    total = sum(map(len, rows))
    advance = show(task.name, total, total - len(missing))
    if missing:
        task.score(made[missing[0][2]], "?")  # a judge in a process of its own is started before the clock is
    for start in range(0, len(missing), batch):
        keys = missing[start : start + batch]
        started = time.perf_counter()
        answered = answers(task, [Draw(made[seed], index) for _, _, seed, index in keys])
        seconds = round((time.perf_counter() - started) / len(keys), 6)
        spent = {"seconds": seconds}
        if price is not None and price.cores:
            spent["core_seconds"] = round(seconds * price.cores, 6)
        transcript.add((key, _record(key, each) | spent) for key, each in zip(keys, answered, strict=True))
        advance(len(keys))
    return [[transcript.records[key] for key in row] for row in rows]


def _config(task: Task) -> str:
    return json.dumps(getattr(task, "config", {}), sort_keys=True)


def _made(task: Task, seeds: Sequence[int], asked: int, leave_out: Callable[[str], None] | None) -> dict[int, Problem]:
    made: dict[int, Problem] = {}
    errors: list[ConfigError] = []
    for seed in seeds:
        try:
            made[seed] = task.problem(seed)
        except ConfigError as error:
            if leave_out is None:
                raise
            errors.append(error)
    if errors and leave_out is not None:
        which = "" if len(errors) == asked else f"{len(errors)} of {asked} problems of "
        leave_out(f"{which}{task.name} {'are' if which else 'is'} left out: {errors[0]}")
    return made


def _record(key: Key, answered: Answered) -> dict[str, Any]:
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
        "prompt_tokens": answered.prompt_tokens,
        "tokens": answered.tokens,
    }


@contextmanager
def bar(visible: bool) -> Iterator[Show]:
    """A progress bar a task, on standard error, so that standard output holds results alone."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not visible, transient=True) as bar:

        def show(name: str, total: int, done: int) -> Advance:
            number = bar.add_task(name, total=total, completed=done)
            return lambda count: bar.advance(number, count)

        yield show
