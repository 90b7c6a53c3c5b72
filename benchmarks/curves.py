"""How fast the engine is over the number of streams and over the length of what was read: two plots and their numbers.

    python benchmarks/curves.py                                   # the 5M network, some minutes
    python benchmarks/curves.py --shape 1.5B --kinds int8,int4 --contexts 512,2048,8192

Random weights, two threads, our side alone (`engine.py` has the peers). Streams: each has read 64 ids; tokens of all
streams a second. Context: one stream after so many ids; a fresh engine each, the reading not counted. Medians of
`--rounds`. Writes NAME.json and NAME.png under `--out`; runs alone, on an otherwise idle machine, or not at all.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch
from rich.console import Console

from denken.engine.engine import Engine
from denken.types import SamplingParams
from engine import SHAPES, network, resident

GREEDY = SamplingParams(temperature=0, max_tokens=4000)


def speed(engine: Engine, prompts: list[list[int]], seconds: float, rounds: int) -> list[float]:
    """Tokens a second, one figure a round: each begins anew and counts from when every prompt has been read."""
    figures = []
    for _ in range(rounds):
        requests = [engine.add(prompt, GREEDY) for prompt in prompts]
        seen: set[int] = set()
        while len(seen) < len(requests):
            seen |= {output.request for output in engine.step()}
        count, started = 0, time.perf_counter()
        while (took := time.perf_counter() - started) < seconds:
            count += sum(len(output.ids) for output in engine.step())
        figures.append(count / took)
        for request in requests:
            engine.abort(request)
    return figures


def prompt(length: int, vocabulary: int, stream: int = 0) -> list[int]:
    return [(7 + 31 * i + 97 * stream) % vocabulary for i in range(length)]


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, default="5M")
    parser.add_argument("--kinds", default="bf16,int8,int4")
    parser.add_argument("--streams", default="1,2,4,8,16,32,64")
    parser.add_argument("--contexts", default="512,2048,8192,32768")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each figure; texts grow meanwhile")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/curves"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    console = Console(stderr=True)
    streams = [int(n) for n in given.streams.split(",")]
    contexts = [int(n) for n in given.contexts.split(",")]
    room = max(*contexts, 1024)
    shape = {**SHAPES[given.shape], "max_position_embeddings": room + 5000}
    vocabulary = shape["vocab_size"]
    found: dict[str, dict[str, dict[int, float]]] = {}
    memory: dict[str, dict[int, dict[str, int]]] = {}
    for kind in given.kinds.split(","):
        model, weights = network(shape, kind)
        head = kind if kind.startswith("int") else None
        own = found[kind] = {"streams": {}, "contexts": {}}
        memory[kind] = {}
        most = max(streams)
        engine = Engine(
            model, eos_ids=[], ahead=True, max_sequences=most, cache_tokens=most * 5000, prefix_reuse=False, head=head
        )  # type: ignore[arg-type]
        for count in streams:
            prompts = [prompt(64, vocabulary, stream) for stream in range(count)]
            own["streams"][count] = statistics.median(speed(engine, prompts, given.seconds, given.rounds))
            console.print(f"{kind}, {count} streams: {own['streams'][count]:,.0f} tokens/s")
        del engine
        for length in contexts:
            before = resident()
            engine = Engine(
                model,
                eos_ids=[],
                ahead=True,
                max_sequences=1,
                cache_tokens=length + 5000,
                prefix_reuse=False,
                head=head,
            )  # type: ignore[arg-type]
            own["contexts"][length] = statistics.median(
                speed(engine, [prompt(length, vocabulary)], given.seconds, given.rounds)
            )
            memory[kind][length] = {"weights": weights, "taken by engine and cache": resident() - before}
            console.print(f"{kind}, after {length} ids: {own['contexts'][length]:,.1f} tokens/s")
            del engine
    given.out.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {
        "date": str(date.today()),
        "shape": given.shape,
        "threads": given.threads,
        "torch": torch.__version__,
        "tokens_per_s": found,
        "memory": memory,
    }
    (given.out / f"{given.shape}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(record, given.out / f"{given.shape}.png")


def draw(record: dict[str, Any], file: Path) -> None:
    """Both curves of every kind, on logarithmic axes."""
    figure, both = plt.subplots(1, 2, figsize=(10, 4), constrained_layout=True)
    for axis, what, label in zip(both, ("streams", "contexts"), ("streams", "ids before"), strict=True):
        for kind, found in record["tokens_per_s"].items():
            axis.plot(list(found[what]), list(found[what].values()), marker="o", label=kind)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel(label)
        axis.set_ylabel("tokens a second" + (", all streams" if what == "streams" else ", one stream"))
        axis.grid(visible=True, alpha=0.3)
        axis.legend()
    figure.suptitle(f"{record['shape']}, {record['threads']} threads, {record['date']}")
    figure.savefig(file, dpi=130)


if __name__ == "__main__":
    main()
