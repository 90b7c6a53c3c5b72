"""The stream of training documents: worked examples drawn from a mixture of tasks, and sets of conversations.

Document i is a pure function of the mixture, the seed and i, so a cursor is one integer, ranks share the stream by
striding over it, and a run resumes without a file of data. Seeds that belong to evaluation are never drawn. How
documents are laid into rows is `batch.py`'s business, what a set may hold `jsonl.py`'s.

    [data]
    turns = 0.15                 # share of documents that open with one or two earlier, answered turns
    [[data.sources]]
    task = "chain_sum"           # a reasoning-gym data set, "plain:KIND" or "smalltalk:KIND"
    weight = 3.0
    config = { max_digits = 2 }  # the data set's own settings, its defaults otherwise
    first = 0                    # drawn from document `first` up to, not including, document `last`
    last = 20000
    [[data.sources]]
    jsonl = "run:05_rejection_sft/data/05_rejection_sft.jsonl"

Where every source is a set and all weigh the same, they are read as one: each conversation once an epoch, in an order
of the epoch's own. Otherwise a source is drawn by weight, and of a set the conversation at which document i stands in
its epoch's order.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, count
from pathlib import Path
from random import Random
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from denken.chat.message import Message
from denken.chat.template import SEARCH, THINK, render
from denken.config import DataSection, Recipe, parse
from denken.errors import ConfigError
from denken.tasks import get
from denken.tasks.base import EVALUATION_SEEDS_FROM, Retrieves, Traced, training_seed_allowed
from denken.tasks.words import ENGLISH, GERMAN
from denken.tokenizer import Tokenizer
from denken.train.batch import Packer
from denken.train.jsonl import JsonlSet
from denken.train.wording import reworded
from denken.types import Problem

EARLIER_TURNS = ("plain:", "fields:", "smalltalk:", "search_qa")  # short enough to stand before another question

SYSTEM_TEXTS = (
    "You are a helpful assistant.", "You are a helpful assistant", "You are denken.", "Be brief.", "Answer in English.",
    "You are a friendly chatbot. Be polite and answer in short sentences.", "Think step by step.", "Du bist hilfreich.",
    "Du bist ein hilfreicher Assistent.", "Antworte auf Deutsch.", "Antworte kurz.", "You are a math tutor.",
    "Today is Monday.", "The user is called Alex.", "You are an expert. Answer the user's question truthfully.",
)  # fmt: skip


class Source(BaseModel):
    """One task of the mixture, or one set of conversations, from which document to which, and how often.

    jsonl: a path; in a recipe also "run:NAME/data/NAME.jsonl", the set of the run beside this one, or "run:NAME" for
        short (`folder.complete` makes it a path).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str | None = None
    jsonl: str | None = None
    weight: float = Field(default=1.0, gt=0)
    config: dict[str, Any] = {}
    first: int = Field(default=0, ge=0)
    last: int | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.task is None) == (self.jsonl is None):
            raise ValueError("give either task or jsonl, one of the two")
        if self.jsonl is not None and self.config:
            raise ValueError("config belongs to a task; a set of conversations has none")
        return self

    @property
    def name(self) -> str:
        """What losses are reported under: the task, or the set's file without its ending."""
        return self.task if self.task is not None else f"jsonl:{Path(str(self.jsonl)).stem}"


class Mixture(BaseModel):
    """The recipe's `[data]` table.

    offered: share of the tasks' documents whose prompt offers a search that is of no use; where one is made it is
    always offered. systems: share of them that a system message stands before. reworded: share of the documents of
    data sets whose question has something of a person's around it (`wording.py`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    sources: tuple[Source, ...] = Field(min_length=1)
    turns: float = Field(default=0.0, ge=0, le=1)
    offered: float = Field(default=0.0, ge=0, le=1)
    systems: float = Field(default=0.0, ge=0, le=1)
    reworded: float = Field(default=0.0, ge=0, le=1)

    @property
    def only_sets(self) -> bool:
        return all(source.jsonl is not None for source in self.sources)

    @property
    def even(self) -> bool:
        """Whether the sources are sets that are read as one."""
        return self.only_sets and len({(s.weight, s.first, s.last) for s in self.sources}) == 1 and not self.windowed

    @property
    def windowed(self) -> bool:
        return any(source.first or source.last is not None for source in self.sources)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A document before it is rendered. record: what else a set says of it, or the problem it was made from.

    offered: the prompt offers a search; one that is made in the thought is offered in any case.
    """

    messages: tuple[Message, ...]
    source: str
    record: Mapping[str, Any]
    offered: bool = False


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

    Raises ConfigError at once for a mixture or a set that cannot be used, UnknownNameError for a task that does not
    exist.
    """
    drawer = Drawer(mixture_of(data), seed)
    return (to_document(drawer.conversation(i), tokenizer) for i in count(start, stride))


def mixture_of(data: Mapping[str, Any]) -> Mixture:
    """The recipe's [data] as a mixture; ConfigError names what is wrong."""
    return parse(Mixture, dict(data), where="The recipe's [data]", beside=DataSection.model_fields)


def to_document(drawn: Conversation, tokenizer: Tokenizer) -> Document:
    """Rendered, with loss on the last answer alone. An answer without any thought is learnt as one to a model that
    was told not to think: nothing teaches it to open a thought and say nothing."""
    last = drawn.messages[-1]
    thinking = bool(last.reasoning_content) or (
        last.reasoning_content is None and last.content.lstrip().startswith(THINK)
    )
    searching = drawn.offered or SEARCH in (last.reasoning_content or "")
    rendered = render(drawn.messages, tokenizer, thinking=thinking, generate=False, searching=searching)
    return Document(rendered.ids, rendered.loss_mask, drawn.source)


def with_steps(recipe: Recipe, tokenizer: Tokenizer) -> Recipe:
    """The recipe with its epochs counted in steps: as many as packing every document once gives, times the epochs.

    ConfigError where a source has no end.
    """
    if recipe.train.epochs is None:
        return recipe
    mixture = mixture_of(recipe.data.sources)
    if not mixture.even:
        raise ConfigError(
            "epochs are counted over sets of conversations that all weigh the same; give steps or tokens instead, or "
            "leave tasks and weights out of [data] sources."
        )
    drawer = Drawer(mixture, recipe.seed)
    lanes = recipe.train.lanes or recipe.train.processes
    share = recipe.train.batch_tokens // lanes
    micro = min(recipe.train.micro_tokens, share)
    once = (to_document(drawer.conversation(i), tokenizer) for i in range(drawer.conversations))
    batches = sum(1 for _ in Packer(once, recipe.data.widths, micro, open_rows=recipe.data.open_rows).drain())
    a_step = lanes * max(1, round(share / micro))
    steps = max(2, round(batches * recipe.train.epochs / a_step))
    return recipe.model_copy(update={"train": recipe.train.model_copy(update={"steps": steps, "epochs": None})})


class Drawer:
    """The mixture with its tasks and sets at hand. conversations: how many the sets hold together."""

    def __init__(self, mixture: Mixture, seed: int) -> None:
        self.mixture, self.seed = mixture, seed
        self.tasks: dict[int, Traced] = {}
        self.sets: dict[int, JsonlSet] = {}
        for i, source in enumerate(mixture.sources):
            if source.jsonl is not None:
                self.sets[i] = _open_set(Path(source.jsonl))
                continue
            assert source.task is not None
            task = get(source.task, source.config)
            if not isinstance(task, Traced):
                raise ConfigError(
                    f"There is no trace writer for {source.task!r}, so nothing to learn from; leave it out."
                )
            self.tasks[i] = task
        self.short = [i for i, source in enumerate(mixture.sources) if (source.task or "").startswith(EARLIER_TURNS)]
        self.ends = list(accumulate(len(self.sets[i]) for i in sorted(self.sets)))
        self.conversations = self.ends[-1] if self.ends else 0

    def conversation(self, index: int) -> Conversation:
        """Document `index`: a source by weight among those that are open at this index, and a problem of it."""
        if self.mixture.even:
            at = self._place(index, self.conversations, "all")
            chosen = next(i for i, end in enumerate(self.ends) if at < end)
            return self._read(chosen, at - (self.ends[chosen - 1] if chosen else 0))
        rng = Random(f"{self.seed}:{index}")
        sources = self.mixture.sources
        open_now = [i for i, s in enumerate(sources) if s.first <= index and (s.last is None or index < s.last)]
        if not open_now:
            raise ConfigError(f"No source of the mixture is open at document {index}; give one without `last`.")
        chosen = rng.choices(open_now, [sources[i].weight for i in open_now])[0]
        if chosen in self.sets:
            return self._read(chosen, self._place(index, len(self.sets[chosen]), str(chosen)))
        messages: list[Message] = []
        if chosen in self.short and rng.random() < self.mixture.turns:
            for _ in range(rng.choice((1, 1, 2))):
                _, (question, answer) = self._turn(rng, rng.choice(self.short))
                messages += [question, Message("assistant", answer.content)]
        problem, turn = self._turn(rng, chosen)
        made = {"task": sources[chosen].name, "seed": problem.seed, "config": sources[chosen].config}
        # Drawn last, and only where wanted: the documents of recipes without them stay what they were.
        offered = bool(self.mixture.offered) and self._may_offer(chosen) and rng.random() < self.mixture.offered
        if self.mixture.systems and rng.random() < self.mixture.systems:
            messages.insert(0, Message("system", system_text(rng)))
        if self.mixture.reworded and self._worded_alike(chosen) and rng.random() < self.mixture.reworded:
            turn = (Message("user", reworded(problem.prompt, rng)), turn[1])
        return Conversation((*messages, *turn), sources[chosen].name, made, offered)

    def _may_offer(self, chosen: int) -> bool:
        """Whether the task is to be done without a search although there is one: not what lies outside all skills."""
        return self.mixture.sources[chosen].task != "smalltalk:outside"

    def _worded_alike(self, chosen: int) -> bool:
        """Whether the task is a data set of somebody else's, which words all its questions alike."""
        return ":" not in self.tasks[chosen].name and not isinstance(self.tasks[chosen], Retrieves)

    def _place(self, index: int, size: int, what: str) -> int:
        """Which conversation of `size` stands at `index`: every epoch has an order of its own."""
        epoch, at = divmod(index, size)
        return _order(f"{self.seed}:{what}:{epoch}", size)[at]

    def _read(self, chosen: int, at: int) -> Conversation:
        return Conversation(
            tuple(self.sets[chosen].messages(at)), self.mixture.sources[chosen].name, self.sets[chosen].record(at)
        )

    def _turn(self, rng: Random, chosen: int) -> tuple[Problem, tuple[Message, Message]]:
        task = self.tasks[chosen]
        problem = task.problem(training_seed(rng))
        shown = task.demonstrate(problem)
        return problem, (
            Message("user", problem.prompt),
            Message("assistant", shown.answer, reasoning_content=shown.thought),
        )


def training_seed(rng: Random) -> int:
    """A seed that may be learnt from."""
    seed = rng.randrange(EVALUATION_SEEDS_FROM)
    while not training_seed_allowed(seed):
        seed = rng.randrange(EVALUATION_SEEDS_FROM)
    return seed


def system_text(rng: Random) -> str:
    """What people write into a system message; nothing follows from it for a model that follows no instructions."""
    if rng.random() < 0.6:
        return rng.choice(SYSTEM_TEXTS)
    return " ".join(rng.choice(rng.choice((ENGLISH, GERMAN))) for _ in range(rng.randint(2, 12))) + "."


@lru_cache(maxsize=8)
def _order(seed: str, size: int) -> list[int]:
    order = list(range(size))
    Random(seed).shuffle(order)
    return order


@lru_cache(maxsize=16)
def _open_checked(path: Path, changed_ns: int, size: int) -> JsonlSet:
    return JsonlSet(path)


def _open_set(path: Path) -> JsonlSet:
    """The set of a file, checked once a process as long as the file stays what it is."""
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigError(f"The set {path} cannot be read ({error.strerror}); give a JSONL file.") from None
    return _open_checked(path, stat.st_mtime_ns, stat.st_size)
