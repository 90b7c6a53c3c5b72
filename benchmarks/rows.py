"""What rows of keys and values in bf16 or int8 give and cost, beside those in the network's own type.

    python benchmarks/rows.py --only speed      # some 40 seconds
    python benchmarks/rows.py --only answers    # some minutes
    python benchmarks/rows.py --only latent --threads 2   # some 20 seconds

Speed: `--streams` texts of the 5M network (as in `engine.py`, random weights, in fp32 or with linear layers in int8),
each going on after `--contexts` ids; the ways take turns, the median of `--rounds` counts. Attention alone: of that
network's six layers, one thread. Runs alone, on an otherwise idle machine, or not at all.
Answers: the bundled model answers `--problems` problems of each task greedily, as `denken eval` asks them. Texts are
compared id by id, and log-probabilities as far as two texts are the same.
Latent: one token a stream over MLA's one key head of 576 columns, the first 512 of which are its values, for
DeepSeek-V2-Lite's 16 heads and V3's 128, beside the same as two products of PyTorch's over keys of one length.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any, Literal

import torch
from curves import prompt, speed
from torch import Tensor

from denken.assistant import find_folder
from denken.chat.template import EOS, end_of_thinking
from denken.engine.engine import Engine
from denken.evaluate.metrics import paired_change
from denken.model.checkpoint import load
from denken.model.kernels.rows import BEHIND, PANEL, Strip, attend_rows, columns, copy_rows
from denken.quantize.check import right_answers
from denken.quantize.folder import TASKS
from denken.tokenizer import Tokenizer
from denken.types import Completion
from engine import SHAPES, network

WAYS: tuple[Literal["bf16", "int8"] | bool, ...] = (False, "bf16", "int8")
TYPES = (torch.float32, torch.bfloat16, torch.int8)
# Heads, streams and how long their texts are.
LATENT = ((16, 1, 2048), (16, 8, 1024), (16, 32, 512), (128, 1, 2048), (128, 8, 1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=["attention", "speed", "answers", "latent"])
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--contexts", type=int, nargs="+", default=[256, 1024])
    parser.add_argument("--kinds", nargs="+", default=["fp32", "int8"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--problems", type=int, default=5, help="of each task")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{date.today()}, {platform.machine()}, torch {torch.__version__}, {given.threads} threads", flush=True)
    if given.only in (None, "attention"):
        for context in given.contexts:
            attention(given.streams, context)
    if given.only in (None, "speed"):
        for kind in given.kinds:
            for context in given.contexts:
                tokens_a_second(kind, given.streams, context, given.seconds, given.rounds)
    if given.only in (None, "answers"):
        answers(given.problems)
    if given.only in (None, "latent"):
        for heads, streams, context in LATENT:
            latent(heads, streams, context)


def attention(streams: int, context: int) -> None:
    """Milliseconds of one token a stream in every layer."""
    shape = SHAPES["5M"]
    heads, keys, size = (shape[name] for name in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    layers, stride = shape["num_hidden_layers"], -(-context // PANEL) * PANEL
    new = [torch.randn(streams, h, size) for h in (heads, keys, keys)]
    blocks = [torch.zeros(streams, keys, size) for _ in range(2)]
    rest = torch.full((streams,), context), *blocks, torch.arange(streams), None, torch.arange(streams), size**-0.5
    figures: dict[torch.dtype, list[float]] = {dtype: [] for dtype in TYPES}
    texts = [torch.randn(streams * context, keys, size) for _ in range(2)]
    places = torch.arange(streams * context)
    strips: dict[torch.dtype, list[Strip]] = {dtype: [] for dtype in TYPES}
    for dtype in TYPES * layers:
        numbers = streams * keys * stride * columns(size, dtype) + BEHIND
        strip = Strip(*(torch.zeros(numbers, dtype=dtype) for _ in range(2)), stride)
        copy_rows(*texts, strip, places, places // context, places % context)
        strips[dtype].append(strip)
    for _ in range(30):
        for dtype in TYPES:
            started = time.perf_counter()
            for strip in strips[dtype]:
                attend_rows(*new, strip, *rest)
            figures[dtype].append(1000 * (time.perf_counter() - started))
    said = ", ".join(f"{dtype} {statistics.median(found):.2f}" for dtype, found in figures.items())
    print(f"attention of {streams} rows of {context}, {layers} layers, ms: {said}", flush=True)


def latent(heads: int, streams: int, context: int, size: int = 576, values: int = 512) -> None:
    """Milliseconds of one token a stream in one layer, absorbed, for a network in fp32 and one in bf16."""
    stride = -(-context // PANEL) * PANEL
    for kind in (torch.float32, torch.bfloat16):
        query, key = torch.randn(streams, heads, size).to(kind), torch.randn(streams, 1, size).to(kind)
        texts = torch.randn(streams * context, 1, size).to(kind)
        places, order = torch.arange(streams * context), torch.arange(streams)
        block = torch.zeros(streams, 1, size, dtype=kind)
        rest = torch.full((streams,), context), block, block, order, None, order, size**-0.5

        def products(query: Tensor, keys_SLD: Tensor, kind: torch.dtype) -> Tensor:
            scores = torch.matmul(query, keys_SLD.mT).float() * size**-0.5
            return torch.matmul(scores.softmax(dim=-1).to(kind), keys_SLD[..., :values])

        calls: dict[str, Callable[[], Tensor]] = {
            "PyTorch": partial(products, query, texts.view(streams, context, size), kind)
        }
        for dtype in (kind, torch.int8):
            numbers = streams * stride * columns(size, dtype) + BEHIND
            strip = Strip(*(torch.zeros(numbers, dtype=dtype) for _ in range(2)), stride)
            copy_rows(texts, texts, strip, places, places // context, places % context)
            calls[f"rows in {dtype}"] = partial(attend_rows, query, key, key, strip, *rest)
        figures: dict[str, list[float]] = {name: [] for name in calls}
        for turn in range(12):
            for name, call in calls.items():
                started = time.perf_counter()
                call()
                if turn:
                    figures[name].append(1000 * (time.perf_counter() - started))
        said = ", ".join(f"{name} {statistics.median(found):.2f}" for name, found in figures.items())
        print(f"latent attention in {kind}, {heads} heads, {streams} rows of {context}, ms: {said}", flush=True)


def tokens_a_second(kind: str, streams: int, context: int, seconds: float, rounds: int) -> None:
    model = network(SHAPES["5M"], kind)[0].float()
    vocabulary = model.config.vocab_size
    prompts = [prompt(context, vocabulary, stream) for stream in range(streams)]
    cache = streams * (context + 2048)
    engines = {way: Engine(model, eos_ids=[], cache_tokens=cache, ahead=True, narrow_rows=way) for way in WAYS}
    figures: dict[Any, list[float]] = {way: [] for way in WAYS}
    for turn in range(rounds + 1):
        for way, engine in engines.items():
            found = speed(engine, prompts, seconds if turn else 0.1, 1)
            if turn:  # the first warms up
                figures[way] += found
    medians = [statistics.median(figures[way]) for way in WAYS]
    said = ", ".join(f"{way or 'own'} {found:,.0f}" for way, found in zip(WAYS, medians, strict=True))
    print(f"{kind} network, {streams} streams after {context} ids, tokens/s by rows: {said}", flush=True)


def answers(problems: int) -> None:
    folder = find_folder("bundled")
    tokenizer = Tokenizer.load(folder)
    model = load(folder, dtype=torch.float32).eval()
    texts: dict[Any, list[Completion]] = {}
    right: dict[Any, list[bool]] = {}
    for way in WAYS:
        engine = Engine(
            model,
            eos_ids={tokenizer.control(EOS)},
            end_of_thinking=end_of_thinking(tokenizer),
            tokenizer=tokenizer,
            ahead=True,
            narrow_rows=way,
        )
        found = right_answers(recorded(engine, texts.setdefault(way, [])), tokenizer, TASKS, problems, progress=False)
        right[way] = [each for name in sorted(found) for each in found[name]]
        say(way, texts[False], texts[way], right[False], right[way])


def recorded(engine: Engine, into: list[Completion]) -> Callable[..., list[Completion]]:
    def generate(*args: Any, **options: Any) -> list[Completion]:
        outs = engine(*args, **options)
        into.extend(outs)
        return outs

    return generate


def say(way: Any, own: list[Completion], texts: list[Completion], was: list[bool], now: list[bool]) -> None:
    off, ids, same = [], 0, 0
    for a, b in zip(own, texts, strict=True):
        alike = next((i for i, (x, y) in enumerate(zip(a.ids, b.ids, strict=False)) if x != y), len(a.ids))
        same += a.ids == b.ids
        ids += len(a.ids)
        off += [abs(x - y) for x, y in zip(a.logprobs[:alike], b.logprobs[:alike], strict=True)]
    change = paired_change(was, now)
    print(
        f"{way or 'own'} rows: right {sum(now)} of {len(now)} ({100 * change.value:+.1f} points, "
        f"{100 * change.low:+.1f} to {100 * change.high:+.1f}); texts unchanged {same} of {len(texts)} "
        f"({ids / len(texts):.0f} ids each); log-probabilities off by {statistics.mean(off):.2g} on average, "
        f"{max(off):.2g} at most",
        flush=True,
    )


if __name__ == "__main__":
    main()
