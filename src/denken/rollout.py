"""A problem becomes a prompt, prompts become completions, completions become scored answers.

How generation runs is `Generate`'s affair, what is right the task's, and what is learnt from it the trainer's: the
advantage of every rollout is still None here. What is judged is the answer alone, as `chat.parser` finds it after
the thought; a completion that never leaves its thought has the empty answer.

>>> rollouts(task, [task.problem(7)], tokenizer, engine, SamplingParams(), group=16)  # doctest: +SKIP
[Rollout(problem=Problem(task='chain_sum', ...), completion=..., score=Score(reward=1.0, ...), advantage=None), ...]
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from denken.chat.message import Message
from denken.chat.parser import Parser
from denken.chat.template import END_THINK, THINK, render
from denken.errors import ConfigError
from denken.tasks.base import Task
from denken.tokenizer import Tokenizer
from denken.types import Completion, Generate, Problem, Rollout, SamplingParams


@dataclass(frozen=True, slots=True)
class Reply:
    """What a completion says. `cut`: it ended inside its thought.

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
    """One rollout a draw, in order; everything is generated in one call."""
    if not draws:
        return []
    rendered: dict[str, tuple[int, ...]] = {}
    for draw in draws:
        if draw.problem.prompt not in rendered:
            rendered[draw.problem.prompt] = prompt_ids(draw.problem, tokenizer, thinking=thinking)
    prompts = [rendered[draw.problem.prompt] for draw in draws]
    seeded: SamplingParams | list[SamplingParams] = params
    if params.seed is not None:
        seeded = [replace(params, seed=sample_seed(params.seed, draw)) for draw in draws]
    completions = generate(prompts, seeded)
    if len(completions) != len(draws):
        raise ConfigError(f"{len(draws)} prompts were given and {len(completions)} completions came back.")
    return [
        Rollout(
            draw.problem, completion, task.score(draw.problem, read(completion, tokenizer, thinking=thinking).answer)
        )
        for draw, completion in zip(draws, completions, strict=True)
    ]


def prompt_ids(problem: Problem, tokenizer: Tokenizer, *, thinking: bool = True) -> tuple[int, ...]:
    """The problem as the model is asked it: one message of a user and no system prompt, as R1 is evaluated."""
    return render([Message("user", problem.prompt)], tokenizer, thinking=thinking, generate=True).ids


def read(completion: Completion, tokenizer: Tokenizer, *, thinking: bool = True) -> Reply:
    """Thought and answer of a completion, the answer without outer white space."""
    parser = Parser(tokenizer, thinking=thinking)
    events = [*parser.push(completion.ids), *parser.finish()]
    said = {kind: "".join(event.text for event in events if event.kind == kind) for kind in ("think", "answer")}
    return Reply(said["think"], said["answer"].strip(), parser.unclosed, _tags(completion, tokenizer) == (0, thinking))


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
