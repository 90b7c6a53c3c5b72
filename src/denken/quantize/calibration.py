"""Texts to calibrate and to measure with: what the model itself says about its tasks, or a file of the user's.

A model's own answers are in the language, the length and the format in which it will be used, thought included, and
need no data set (Williams et al. 2024, "Self-calibration for language model quantization and pruning", arXiv
2410.17170). Seeds are training's side of the line that `denken.tasks.base` draws, so nothing that an evaluation asks is
seen here; the texts that are measured with have seeds of their own.

A file is JSONL in the format of training sets (`denken.train.jsonl`), rendered as conversations, or any text, cut into
pieces. Its last fifth is what is measured with.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from denken import tasks as task_names
from denken.chat.template import render
from denken.errors import ConfigError
from denken.rollout import Draw, lookup_of, prompt_ids, sample
from denken.tasks.base import Task
from denken.tokenizer import Tokenizer
from denken.train.jsonl import JsonlSet
from denken.types import Generate, SamplingParams

CALIBRATION_SEEDS_FROM, MEASURED_SEEDS_FROM = 700_000_000, 800_000_000
# GPTQ's authors take 128 pieces of 2,048 tokens; more changes little.
MOST_TOKENS = 65_536
LONGEST = 1024
MOST_BYTES = 64 << 20
KEPT_BACK = 5


@dataclass(frozen=True, slots=True)
class Text:
    """ids: what is read. start: from where on it counts as said, for perplexity; what comes before is the question."""

    ids: tuple[int, ...]
    start: int = 1


def own_texts(
    generate: Generate, tokenizer: Tokenizer, names: Sequence[str], count: int, seeds_from: int, seed: int = 0
) -> list[Text]:
    """What a model says to about `count` problems, as many of each task; sampled, so that it is not always the same."""
    each = -(-count // len(names))
    found = []
    for name in names:
        found += said(generate, tokenizer, task_names.get(name), range(seeds_from, seeds_from + each), seed)
    return within(found)


def said(generate: Generate, tokenizer: Tokenizer, task: Task, seeds: Sequence[int], seed: int = 0) -> list[Text]:
    """What a model says to a task's problems of these seeds, but those that its context cannot hold. seed: the
    sampler's."""
    params = SamplingParams(temperature=1.0, top_p=0.95, max_tokens=LONGEST // 2, seed=seed)
    context, fitting = int(getattr(generate, "context", sys.maxsize)), []
    for problem in map(task.problem, seeds):
        asked = prompt_ids(problem, tokenizer, searching=lookup_of(task, problem) is not None)
        if len(asked) < context:
            fitting.append((problem, asked))
    rollouts = sample(task, [Draw(problem) for problem, _ in fitting], tokenizer, generate, params)
    return [
        Text((*asked, *rollout.completion.ids), len(asked))
        for (_, asked), rollout in zip(fitting, rollouts, strict=True)
    ]


def texts_of(file: Path, tokenizer: Tokenizer) -> tuple[list[Text], list[Text]]:
    """A file's texts to calibrate with, and those to measure with. ConfigError where there are fewer than two."""
    found = list(pieces_of(file, tokenizer))
    if len(found) < 2:
        raise ConfigError(f"{file} holds {len(found)} texts of at least two tokens; give two or more.")
    kept_back = max(1, len(found) // KEPT_BACK)
    return within(found[:-kept_back]), within(found[-kept_back:])


def pieces_of(file: Path, tokenizer: Tokenizer) -> Iterator[Text]:
    """A file's conversations, or the pieces of its text."""
    return _conversations(file, tokenizer) if file.suffix == ".jsonl" else _pieces(file, tokenizer)


def within(texts: Sequence[Text]) -> list[Text]:
    """As many as there is room for, taken evenly from all."""
    total = sum(len(text.ids) for text in texts)
    if total <= MOST_TOKENS:
        return list(texts)
    step = total / MOST_TOKENS
    return [texts[int(number * step)] for number in range(int(len(texts) / step))]


def _conversations(file: Path, tokenizer: Tokenizer) -> Iterator[Text]:
    conversations = JsonlSet(file)
    for number in range(len(conversations)):
        messages = conversations.messages(number)
        thinking = bool(messages[-1].reasoning_content)
        ids = render(messages, tokenizer, thinking=thinking, generate=False).ids[:LONGEST]
        if len(ids) > 1:
            yield Text(ids)


def _pieces(file: Path, tokenizer: Tokenizer) -> Iterator[Text]:
    """Pieces of a text of at most `LONGEST` tokens."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read ({error.strerror}); give a text or a JSONL file.") from None
    if len(raw) > MOST_BYTES:
        raise ConfigError(f"{file} is longer than {MOST_BYTES >> 20} MiB; a small part of it calibrates as well.")
    ids = tokenizer.encode(raw.decode("utf-8", "replace"))
    for start in range(0, len(ids) - 1, LONGEST // 2):
        yield Text(tuple(ids[start : start + LONGEST // 2]))
