"""How a model did on one task, from the records of its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from denken.evaluate import metrics
from denken.evaluate.cost import Price
from denken.evaluate.metrics import Estimate
from denken.evaluate.published import Level
from denken.evaluate.transcript import Record
from denken.tasks.base import Task


@dataclass(frozen=True, slots=True)
class Result:
    """How a model did on one task.

    solved: pass@1, the share of answers with full marks, with its 95 % interval.
    score: the mean reward, partial marks included (what reasoning-gym publishes).
    pass_at: k to pass@k, for powers of two up to `samples`. consensus: cons@samples, None for one sample.
    cut: the share of samples that ended inside their thought. tokens: the mean of ids generated.
    seconds: time spent generating and judging, earlier parts of a resumed run included.
    level: which of Reasoning Gym's published configurations this is; None for any other.
    consensus_at: k to cons@k, for powers of two from 2 up to `samples`.
    prompt_tokens: the mean length of a question in ids; None where a transcript of an earlier release does not say.
    price: what it was had at; None where nobody says. left_out: how many more problems could not be made.
    core_seconds: seconds times the cores that worked then, of a model here.
    """

    task: str
    config: Mapping[str, Any]
    problems: int
    samples: int
    seed_from: int
    solved: Estimate
    score: float
    pass_at: Mapping[int, float]
    consensus: Estimate | None
    cut: float
    tokens: float
    seconds: float
    level: Level | None = None
    consensus_at: Mapping[int, Estimate] = field(default_factory=dict)
    prompt_tokens: float | None = None
    price: Price | None = None
    left_out: int = 0
    core_seconds: float = 0.0

    @property
    def answers(self) -> int:
        return self.problems * self.samples

    @property
    def seconds_each(self) -> float:
        """Of one answer: the time that all took together, shared out."""
        return self.seconds / self.answers

    @property
    def usd(self) -> float | None:
        """What one answer cost; None where the price or the tokens are not known."""
        if self.price is None or self.prompt_tokens is None:
            return None
        return self.price.of(self.prompt_tokens, self.tokens, self.core_seconds / self.answers)


def result_of(
    task: Task,
    rows: Sequence[Sequence[Record]],
    samples: int,
    seeds: range,
    level: Level | None,
    price: Price | None,
) -> Result:
    """What the records of a task's problems say: a row a problem, a record a sample; seeds: those that were asked."""
    flat = [record for row in rows for record in row]
    correct = [[record["reward"] == 1.0 for record in row] for row in rows]
    answers = [[record["answer"] for record in row] for row in rows]
    powers = [2**power for power in range(11) if 2**power <= samples]
    return Result(
        task=task.name,
        config=dict(getattr(task, "config", {})),
        problems=len(rows),
        samples=samples,
        seed_from=seeds.start,
        solved=metrics.pass_at_1(correct),
        score=_mean(flat, "reward"),
        pass_at={k: metrics.mean_pass_at_k(correct, k) for k in powers},
        consensus=metrics.consensus_at(answers, correct, samples) if samples > 1 else None,
        cut=_mean(flat, "cut"),
        tokens=_mean(flat, "tokens"),
        seconds=sum(record["seconds"] for record in flat),
        level=level,
        consensus_at={k: metrics.consensus_at(answers, correct, k) for k in powers[1:]},
        prompt_tokens=prompt_tokens(flat),
        price=price,
        left_out=len(seeds) - len(rows),
        core_seconds=core_seconds(flat, price),
    )


def core_seconds(records: Sequence[Record], price: Price | None) -> float:
    """What all took of the machine. A transcript of an earlier release does not say on how many cores: on today's."""
    cores = price.cores if price else 0
    return float(sum(record.get("core_seconds", record["seconds"] * cores) for record in records))


def prompt_tokens(records: Sequence[Record]) -> float | None:
    """The mean length of a question; None where one is not known."""
    known = [record.get("prompt_tokens") for record in records]
    return None if None in known else _mean(records, "prompt_tokens")


def _mean(records: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(sum(record[name] for record in records)) / len(records)
