"""What guessing pays: the bundled model's own thoughts with and without it, and the gaps that a long prompt makes.

    python benchmarks/speculate.py                          # one, four and sixteen streams, greedy
    python benchmarks/speculate.py --streams 1 --temperature 0.7 --questions 400
    python benchmarks/speculate.py --only gaps

texts   The questions are those of the model's own recipe, of every task in turn, from seeds that training never draws;
        the two engines take turns with the same questions and must say the very same. An engine begins knowing nothing,
        or what it said to `--before` other questions of the same tasks, from other seeds; what it has said before is
        what it guesses from, so the second half of the questions stands beside the first.
        `untypical` is prompts of random ids, on which a model says what it never says otherwise.
gaps    One stream decodes, and a prompt of 1,500 ids comes in: the worst time between two of its ids beside the median,
        with portions and without.

The ratio is of times, the median over batches; passes through the network are counted as well, for they depend less on
who else has the processor. Both engines go several steps ahead in one call, as `denken.load`'s does, or with `--single`
one at a time.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from random import Random
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from denken.assistant import BUNDLED, Assistant, load
from denken.engine import ngrams
from denken.engine.engine import Engine
from denken.engine.ngrams import Ngrams
from denken.engine.scheduler import Scheduler
from denken.engine.speculate import Speculation
from denken.model.mtp import MultiTokenPrediction
from denken.rollout import prompt_ids
from denken.tasks.registry import get
from denken.types import SamplingParams

RECIPE = Path(__file__).parents[1] / "recipes" / "bundled" / "recipe.toml"
FIRST_SEED, BEFORE = 900_000_000, 800_000_000


def questions(assistant: Assistant, count: int, first_seed: int = FIRST_SEED) -> Iterator[list[int]]:
    """Prompts of every task in turn, in an order that is always the same."""
    with RECIPE.open("rb") as file:
        tasks = [get(source["task"]) for source in tomllib.load(file)["data"]["sources"]]
    for number in range(count):
        problem = tasks[number % len(tasks)].problem(first_seed + number // len(tasks))
        yield list(prompt_ids(problem, assistant.tokenizer, thinking=True))


def engine_of(
    assistant: Assistant,
    speculation: Speculation | None,
    *,
    portions: bool = False,
    ahead: bool = False,
    layer: MultiTokenPrediction | None = None,
) -> Engine:
    own = assistant.engine
    return Engine(
        own._model,
        eos_ids=own._endings.eos_ids,
        end_of_thinking=own._endings.closing,
        tokenizer=assistant.tokenizer,
        block_size=4,
        speculation=speculation,
        portions=portions,
        ahead=ahead,
        layer=layer,
    )


def count_passes(engine: Engine) -> list[int]:
    """How many passes through the network the engine makes from now on, as a list of one number."""
    count, scheduler = [0], engine._scheduler
    took, went = (method.__get__(scheduler) for method in (Scheduler.took, Scheduler.went))

    def one(*given: Any) -> None:
        count[0] += 1
        took(*given)

    def several(passes: list[tuple[int, float]], *given: Any) -> None:
        count[0] += len(passes)
        went(passes, *given)

    scheduler.took, scheduler.went = one, several  # type: ignore[method-assign]
    return count


def run(engine: Engine, prompts: list[list[int]], params: SamplingParams) -> tuple[list[tuple[int, ...]], int, float]:
    """What was said, in how many passes, in how many seconds."""
    passes = count_passes(engine)
    began = time.perf_counter()
    numbers = [engine.add(prompt, params, at_once=True) for prompt in prompts]
    said: dict[int, tuple[int, ...]] = {}
    while engine.has_work:
        said |= {output.request: output.ids for output in engine.step()}
    return [said[number] for number in numbers], passes[0], time.perf_counter() - began


def decode(engine: Engine, prompt: list[int], params: SamplingParams) -> tuple[int, float]:
    """How many ids were said behind the first, which comes as the prompt has been read, and in how many seconds."""
    engine.add(prompt, params)
    while not engine.step():
        pass
    said, began = 0, time.perf_counter()
    while engine.has_work:
        said += sum(len(output.ids) for output in engine.step())
    return said, time.perf_counter() - began


def texts(
    assistant: Assistant,
    name: str,
    prompts: list[list[int]],
    streams: int,
    params: SamplingParams,
    ahead: bool,
    before: list[list[int]],
    known: Ngrams | None,
) -> list[str]:
    guessing = Speculation(known=known)
    plain, fast = (engine_of(assistant, speculation, ahead=ahead) for speculation in (None, guessing))
    run(plain, prompts[:streams], params)
    for prompt in before:
        for engine in (plain, fast):
            run(engine, [prompt], params)
    guessing.guessed = guessing.accepted = 0
    ratios, seconds, tokens, steps = [], [0.0, 0.0], 0, [0, 0]
    for number, first in enumerate(range(0, len(prompts), streams)):
        batch = prompts[first : first + streams]
        order = [(0, plain), (1, fast)]
        outs = {which: run(engine, batch, params) for which, engine in (order if number % 2 else order[::-1])}
        assert outs[0][0] == outs[1][0], "guesses changed what was said"
        tokens += sum(map(len, outs[0][0]))
        for which in (0, 1):
            steps[which] += outs[which][1]
            seconds[which] += outs[which][2]
        ratios.append(outs[0][2] / outs[1][2])
    half = len(ratios) // 2
    return [
        name,
        str(streams),
        f"{tokens / seconds[0]:,.0f}",
        f"{tokens / seconds[1]:,.0f}",
        f"{statistics.median(ratios):.2f}",
        f"{statistics.median(ratios[half:]):.2f}",
        f"{steps[0] / steps[1]:.2f}",
        f"{guessing.accepted / max(1, guessing.guessed):.2f}",
    ]


def gaps(assistant: Assistant, rounds: int) -> tuple[list[float], list[float]]:
    """Worst gap over median gap of one stream, a round each, with portions and without."""
    found: dict[bool, list[float]] = {True: [], False: []}
    params = SamplingParams(temperature=0, max_tokens=160, logit_bias=tuple((id_, -100) for id_ in (2, 4)))
    for round_ in range(rounds + 1):
        for portions in (True, False):
            engine = engine_of(assistant, None, portions=portions)
            draw = Random(round_)
            talker = engine.add([draw.randrange(10, 700) for _ in range(30)], params)
            times: list[float] = []
            for step in range(400):
                if step == 40:
                    engine.add([draw.randrange(10, 700) for _ in range(1500)], SamplingParams(max_tokens=1))
                began = time.perf_counter()
                outputs = engine.step()
                if any(output.request == talker for output in outputs):
                    times.append(time.perf_counter() - began)
                if len(times) >= 150 or not engine.has_work:
                    break
            if round_:  # the first round warms up
                found[portions].append(max(times[5:]) / statistics.median(times[5:]))
    return found[True], found[False]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=["texts", "gaps"], default=["texts", "gaps"])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--questions", type=int, default=340)
    parser.add_argument("--before", type=int, default=0, help="other questions that are answered first, untimed")
    parser.add_argument("--unknown", action="store_true", help="without the table of what the model is known to say")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--single", action="store_true")
    given = parser.parse_args()
    console = Console(width=110)
    console.print(f"{platform.machine()}, {given.threads} threads, torch {torch.__version__}, {date.today()}")
    with load("bundled", threads=given.threads) as assistant:
        params = SamplingParams(temperature=given.temperature, top_p=1.0, seed=1, max_tokens=400)
        if "texts" in given.only:
            asked = list(questions(assistant, given.questions))
            before = list(questions(assistant, given.before, BEFORE))
            known = None if given.unknown else ngrams.find(BUNDLED, assistant.tokenizer.vocab_size)
            draw = Random(1)
            odd = [[draw.randrange(10, 700) for _ in range(40)] for _ in range(max(8, given.questions // 16))]
            columns = ("plain, tokens/s", "guessing", "ratio", "second half", "fewer passes", "right")
            table = Table("texts", "streams", *columns)
            for streams in given.streams:
                table.add_row(*texts(assistant, "its own", asked, streams, params, not given.single, before, known))
            table.add_row(*texts(assistant, "untypical", odd, 1, params, not given.single, before, known))
            console.print(table)
        if "gaps" in given.only:
            ours, plain = gaps(assistant, given.rounds)
            console.print(
                f"worst gap over median gap, median of {given.rounds} rounds: {statistics.median(ours):.1f} in "
                f"portions, {statistics.median(plain):.1f} without (worst rounds {max(ours):.1f} and {max(plain):.1f})"
            )


if __name__ == "__main__":
    main()
