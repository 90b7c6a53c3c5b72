"""The stream of training documents: worked examples drawn from a mixture of tasks.

Document i is a pure function of the mixture, the seed and i, so a cursor is one integer, ranks share the stream by
striding over it, and a run resumes without a file of data. Seeds that belong to evaluation are never drawn. How
documents are laid into rows is `batch.py`'s business.

    [data]
    turns = 0.15                 # share of documents that open with one or two earlier, answered turns
    [[data.sources]]
    task = "chain_sum"           # a reasoning-gym data set, "plain:KIND" or "smalltalk:KIND"
    weight = 3.0
    config = { max_digits = 2 }  # the data set's own settings, its defaults otherwise
    first = 0                    # drawn from document `first` up to, not including, document `last`
    last = 20000
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from denken.chat.message import Message
from denken.chat.template import render
from denken.config import DataSection, parse
from denken.errors import ConfigError
from denken.tasks import get
from denken.tasks.base import EVALUATION_SEEDS_FROM, Traced, training_seed_allowed
from denken.tokenizer import Tokenizer

EARLIER_TURNS = ("plain:", "smalltalk:")  # short enough to stand before another question


class Source(BaseModel):
    """One task of the mixture, from which document to which, and how often."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    weight: float = Field(default=1.0, gt=0)
    config: dict[str, Any] = {}
    first: int = Field(default=0, ge=0)
    last: int | None = None


class Mixture(BaseModel):
    """The recipe's `[data]` table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[Source, ...] = Field(min_length=1)
    turns: float = Field(default=0.0, ge=0, le=1)


@dataclass(frozen=True, slots=True)
class Document:
    """A rendered conversation, what of it is learnt, and the source it is reported under."""

    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    source: str


def documents(
    data: Mapping[str, Any], tokenizer: Tokenizer, *, seed: int, start: int, stride: int = 1
) -> Iterator[Document]:
    """Documents start, start + stride, start + 2 * stride, ... without end.

    Raises ConfigError at once for a mixture that cannot be used, UnknownNameError for a task that does not exist.
    """
    mixture = parse(Mixture, dict(data), where="The recipe's [data]", beside=DataSection.model_fields)
    drawer = _Drawer(mixture, tokenizer, seed)
    return (drawer.document(i) for i in count(start, stride))


class _Drawer:
    """The mixture with its tasks at hand."""

    def __init__(self, mixture: Mixture, tokenizer: Tokenizer, seed: int) -> None:
        self.mixture, self.tokenizer, self.seed = mixture, tokenizer, seed
        self.tasks: dict[int, Traced] = {}
        for i, source in enumerate(mixture.sources):
            task = get(source.task, source.config)
            if not isinstance(task, Traced):
                raise ConfigError(
                    f"There is no trace writer for {source.task!r}, so nothing to learn from; leave it out."
                )
            self.tasks[i] = task
        self.short = [i for i, source in enumerate(mixture.sources) if source.task.startswith(EARLIER_TURNS)]

    def document(self, index: int) -> Document:
        """Document `index`: a source by weight among those that are open at this index, and a problem of it."""
        rng = Random(f"{self.seed}:{index}")
        sources = self.mixture.sources
        open_now = [i for i, s in enumerate(sources) if s.first <= index and (s.last is None or index < s.last)]
        if not open_now:
            raise ConfigError(f"No source of the mixture is open at document {index}; give one without `last`.")
        chosen = rng.choices(open_now, [sources[i].weight for i in open_now])[0]
        messages = []
        if chosen in self.short and rng.random() < self.mixture.turns:
            for _ in range(rng.choice((1, 1, 2))):
                question, answer = self._turn(rng, rng.choice(self.short))
                messages += [question, Message("assistant", answer.content)]
        messages += self._turn(rng, chosen)
        rendered = render(messages, self.tokenizer, generate=False)
        return Document(rendered.ids, rendered.loss_mask, sources[chosen].task)

    def _turn(self, rng: Random, chosen: int) -> tuple[Message, Message]:
        task = self.tasks[chosen]
        seed = rng.randrange(EVALUATION_SEEDS_FROM)
        while not training_seed_allowed(seed):
            seed = rng.randrange(EVALUATION_SEEDS_FROM)
        problem = task.problem(seed)
        shown = task.demonstrate(problem)
        return (
            Message("user", problem.prompt),
            Message("assistant", shown.answer, reasoning_content=shown.thought),
        )
