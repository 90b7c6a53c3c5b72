"""A problem becomes a prompt, prompts become completions, completions become scored answers.

How generation runs is `Generate`'s affair, what is right the task's, and what is learnt from it the trainer's: the
advantage of every rollout is still None here. What is judged is the answer alone, as `chat.parser` finds it after
the thought; a completion that never leaves its thought has the empty answer.

Where a task offers a search (`tasks.base.Retrieves`), a completion is made in several calls: each ends with a search,
and the next goes on from what was found, by the rules and in the ids that serving has (`chat/searching.py`). What was
found is `Completion.given`. Departs from serving: where serving closes the thought, for there was a search too many or
no room, the sample ends without an answer, since nothing that is learnt from is forced.

>>> rollouts(task, [task.problem(7)], tokenizer, engine, SamplingParams(), group=16)  # doctest: +SKIP
[Rollout(problem=Problem(task='chain_sum', ...), completion=..., score=Score(reward=1.0, ...), advantage=None), ...]
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from denken.chat.message import Message
from denken.chat.parser import Parser
from denken.chat.searching import Searches, query_of
from denken.chat.template import END_THINK, THINK, open_thought, render
from denken.errors import ConfigError
from denken.tasks.base import Lookup, Retrieves, Task
from denken.tokenizer import Tokenizer
from denken.types import Completion, FinishReason, Generate, Problem, Rollout, SamplingParams, Score


@dataclass(frozen=True, slots=True)
class Reply:
    """What a completion says, the thought with its searches and what they found. `cut`: it ended inside its thought.

    tags_in_place: the thought was closed exactly once and never opened again.
    """

    thought: str
    answer: str
    cut: bool
    tags_in_place: bool = True


@dataclass(frozen=True, slots=True)
class Draw:
    """One sample that is wanted: the `index`-th of this problem."""

    problem: Problem
    index: int = 0


@dataclass(frozen=True, slots=True)
class Answered:
    """A judged sample and what it says, whoever gave it; a server elsewhere gives no ids.

    tokens: how many were generated, as whoever gave it counts. lost: why there is no answer; "" where there is one.
    prompt_tokens: how many were asked, likewise.
    """

    rollout: Rollout
    reply: Reply
    tokens: int
    lost: str = ""
    prompt_tokens: int = 0


class Model(Protocol):
    """A loaded model, which can be asked."""

    @property
    def engine(self) -> Generate: ...
    @property
    def tokenizer(self) -> Tokenizer: ...


class Answers(Protocol):
    """Whoever answers problems: a model here (`Local`) or a server elsewhere. One judged answer a draw, in order."""

    def __call__(self, task: Task, draws: Sequence[Draw]) -> list[Answered]: ...


@dataclass(frozen=True, slots=True)
class Local:
    """The answers of a model that runs here. A question that its context cannot hold is one without an answer."""

    tokenizer: Tokenizer
    generate: Generate
    params: SamplingParams
    thinking: bool = True

    def __call__(self, task: Task, draws: Sequence[Draw]) -> list[Answered]:
        asked = [draw for draw in draws if self._fits(draw.problem)]
        made = iter(sample(task, asked, self.tokenizer, self.generate, self.params, thinking=self.thinking))
        fitting = set(map(id, asked))
        searching = isinstance(task, Retrieves)
        return [
            self._judged(next(made), searching) if id(draw) in fitting else _too_long(draw.problem) for draw in draws
        ]

    def _judged(self, rollout: Rollout, searching: bool) -> Answered:
        reply = read(rollout.completion, self.tokenizer, thinking=self.thinking)
        prompt = prompt_ids(rollout.problem, self.tokenizer, thinking=self.thinking, searching=searching)
        return Answered(rollout, reply, rollout.completion.generated, prompt_tokens=len(prompt))

    def _fits(self, problem: Problem) -> bool:
        context = int(getattr(self.generate, "context", sys.maxsize))
        # A token is a byte at the least; what the template puts around a question is no more than half a context.
        short = len(problem.prompt.encode()) < context // 2
        return short or len(prompt_ids(problem, self.tokenizer, thinking=self.thinking)) < context


def _too_long(problem: Problem) -> Answered:
    rollout = Rollout(problem, Completion((), (), "length"), Score(0.0, {"correct": 0.0}))
    return Answered(rollout, Reply("", "", cut=True), 0, lost="the question is longer than the context")


def rollouts(
    task: Task,
    problems: Sequence[Problem],
    tokenizer: Tokenizer,
    generate: Generate,
    params: SamplingParams,
    group: int = 1,
    *,
    thinking: bool = True,
) -> list[Rollout]:
    """`group` scored samples of each problem: all of the first problem, then all of the second, and so on.

    With `params.seed` every sample has a seed of its own, see `sample_seed`; without, samples are not reproducible.
    Raises ConfigError for a group below 1.
    """
    if group < 1:
        raise ConfigError(f"A group of {group} samples a problem is none; give at least 1.")
    return sample(
        task,
        [Draw(problem, index) for problem in problems for index in range(group)],
        tokenizer,
        generate,
        params,
        thinking=thinking,
    )


def sample(
    task: Task,
    draws: Sequence[Draw],
    tokenizer: Tokenizer,
    generate: Generate,
    params: SamplingParams,
    *,
    thinking: bool = True,
) -> list[Rollout]:
    """One rollout a draw, in order; everything is generated in one call, or one for each search and the answer."""
    if not draws:
        return []
    lookups = [lookup_of(task, draw.problem) for draw in draws]
    rendered: dict[tuple[str, bool], tuple[int, ...]] = {}
    prompts = []
    for draw, lookup in zip(draws, lookups, strict=True):
        asked = (draw.problem.prompt, lookup is not None)
        if asked not in rendered:
            rendered[asked] = prompt_ids(draw.problem, tokenizer, thinking=thinking, searching=asked[1])
        prompts.append(rendered[asked])
    seeded: SamplingParams | list[SamplingParams] = params
    if params.seed is not None:
        seeded = [replace(params, seed=sample_seed(params.seed, draw)) for draw in draws]
    completions = complete(prompts, seeded, lookups, tokenizer, generate)
    if len(completions) != len(draws):
        raise ConfigError(f"{len(draws)} prompts were given and {len(completions)} completions came back.")
    return [
        Rollout(
            draw.problem, completion, task.score(draw.problem, read(completion, tokenizer, thinking=thinking).answer)
        )
        for draw, completion in zip(draws, completions, strict=True)
    ]


def lookup_of(task: Task, problem: Problem) -> Lookup | None:
    """A search for one sample of the problem; None where the task offers none."""
    return task.lookup(problem) if isinstance(task, Retrieves) else None


def complete(
    prompts: Sequence[Sequence[int]],
    params: SamplingParams | Sequence[SamplingParams],
    lookups: Sequence[Lookup | None],
    tokenizer: Tokenizer,
    generate: Generate,
) -> list[Completion]:
    """One completion a prompt, in order; those with a lookup search in their thought.

    All that still go on are generated in one call. What is found is kept to the context of what generates, where that
    says how long it is (`Engine.context`).
    """
    if not any(lookups):
        return generate(prompts, params)
    context = int(getattr(generate, "context", sys.maxsize))
    each = [params] * len(prompts) if isinstance(params, SamplingParams) else params
    samples = [
        _Sample(tuple(prompt), own, lookup, Searches(tokenizer, context))
        for prompt, own, lookup in zip(prompts, each, lookups, strict=True)
    ]
    waiting = samples
    while waiting:
        parts = generate([sample.prompt for sample in waiting], [sample.next_params for sample in waiting])
        if len(parts) != len(waiting):
            raise ConfigError(f"{len(waiting)} prompts were given and {len(parts)} completions came back.")
        waiting = [sample for sample, part in zip(waiting, parts, strict=True) if sample.takes(part)]
    return [sample.completion() for sample in samples]


@dataclass(slots=True)
class _Sample:
    """One completion in the making. prompt: what the next call goes on from."""

    prompt: tuple[int, ...]
    params: SamplingParams
    lookup: Lookup | None
    searches: Searches
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    given: list[bool] = field(default_factory=list)
    first: Completion | None = None
    finish_reason: FinishReason = "stop"

    @property
    def next_params(self) -> SamplingParams:
        if self.lookup is None:
            return self.params
        most = self.params.max_tokens
        left = None if most is None else most - len(self.ids) + sum(self.given)
        return replace(self.params, max_tokens=left, searches=True)

    def takes(self, part: Completion) -> bool:
        """Takes what was generated up to a search, and what that found; whether it goes on from there."""
        self.first = self.first or part
        self.finish_reason = part.finish_reason
        query, count = (None, len(part.ids)) if self.lookup is None else self._first_search(part.ids)
        self._add(part.ids[:count], part.logprobs[:count], part.kept[:count], given=False)
        if query is None or self.lookup is None:
            return False
        whole = (*self.prompt, *part.ids[:count])
        told = self.searches.instead(query, whole)
        begun, found = self.searches.go_on(whole, self.lookup(query) if told is None else told)
        if begun != whole:
            # The last id said more than the search, and others that nobody sampled stand in its place.
            for values in (self.ids, self.logprobs, self.given, self.kept):
                del values[-1:]
            self._put(begun[len(whole) - 1 :])
        self._put(found)
        self.prompt = (*begun, *found)
        most = self.params.max_tokens
        goes_on = bool(found) and (most is None or len(self.ids) - sum(self.given) < most)
        self.finish_reason = "stop" if goes_on else "length"
        return goes_on

    def _first_search(self, ids: Sequence[int]) -> tuple[str | None, int]:
        """The words of the first search in the thought, and how many ids there are up to its end."""
        tokenizer = self.searches.tokenizer
        parser = Parser(tokenizer, thinking=open_thought(self.prompt, tokenizer))
        for count, id_ in enumerate(ids, 1):
            for event in parser.push([id_]):
                if event.kind == "answer":
                    return None, len(ids)
                if event.kind == "tool" and parser.unclosed:
                    return query_of(event.text), count
        return None, len(ids)

    def _put(self, ids: Sequence[int]) -> None:
        """Ids that nobody generated."""
        self._add(ids, [0.0] * len(ids), [1] * len(ids) if self.params.cuts else [], given=True)

    def _add(self, ids: Sequence[int], logprobs: Sequence[float], kept: Sequence[int], *, given: bool) -> None:
        self.ids += ids
        self.logprobs += logprobs
        self.kept += kept
        self.given += [given] * len(ids)

    def completion(self) -> Completion:
        assert self.first is not None
        return Completion(
            tuple(self.ids),
            tuple(self.logprobs),
            self.finish_reason,
            self.first.policy_version,
            self.first.cached_tokens,
            tuple(self.kept),
            tuple(self.given) if any(self.given) else (),
        )


def prompt_ids(
    problem: Problem, tokenizer: Tokenizer, *, thinking: bool = True, searching: bool = False
) -> tuple[int, ...]:
    """The problem as the model is asked it: one message of a user, and no system prompt but that there is a search
    where there is one, as R1 is evaluated."""
    return render([Message("user", problem.prompt)], tokenizer, thinking=thinking, searching=searching).ids


def read(completion: Completion, tokenizer: Tokenizer, *, thinking: bool = True) -> Reply:
    """Thought and answer of a completion, the answer without outer white space."""
    parser = Parser(tokenizer, thinking=thinking)
    searched = max((count for count, given in enumerate(completion.given, 1) if given), default=0)
    before = tokenizer.decode(completion.ids[:searched], skip_control=False)
    events = [*parser.push(completion.ids[searched:]), *parser.finish()]
    said = {kind: "".join(event.text for event in events if event.kind == kind) for kind in ("think", "answer")}
    return Reply(
        before + said["think"], said["answer"].strip(), parser.unclosed, _tags(completion, tokenizer) == (0, thinking)
    )


def _tags(completion: Completion, tokenizer: Tokenizer) -> tuple[int, int]:
    """How often a thought is opened and closed, by control tokens or, where the vocabulary has none, in letters."""
    if tokenizer.has_control(THINK) and tokenizer.has_control(END_THINK):
        return completion.ids.count(tokenizer.control(THINK)), completion.ids.count(tokenizer.control(END_THINK))
    text = tokenizer.decode(completion.ids)
    return text.count(THINK), text.count(END_THINK)


def sample_seed(seed: int, draw: Draw) -> int:
    """The sampler's seed of one draw: of the run's seed, the task, the problem and the sample, and of nothing else.

    So a sample stays what it is when the batch, the order or the number of samples changes.
    """
    text = f"{seed}\0{draw.problem.task}\0{draw.problem.seed}\0{draw.index}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1
