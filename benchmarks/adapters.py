"""Several adapters over one base in one engine: tokens a second and memory, beside the base alone and a model for each.

    python benchmarks/adapters.py
    python benchmarks/adapters.py --adapters 4 --width 1024 --streams 16 --new 16

What is timed is decoding: `--new` greedy tokens for each of `--streams` prompts of `--prompt` random ids, dealt out in
turn to random adapters of all layers, over the model in the box or a random one. It counts the processor's time of one
thread, which other work on the machine disturbs less than the clock's; the ways take turns, and the median of
`--rounds` counts. Machines are noisy all the same, so quote the ratios. "A model for each" is as many merged models
with an engine each, one after another: that is what is left where requests cannot share a batch. Memory is what a
process of its own has written to (private and dirty) after its first answers, less what one with the base alone has.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from random import Random

import torch
from rich.console import Console
from rich.table import Table

from denken.assistant import BUNDLED
from denken.engine.engine import Engine
from denken.model import adapters, checkpoint
from denken.model.adapters import Adapter, layers_of
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.types import SamplingParams

Run = Callable[[list[list[int]], int], None]


def base(width: int) -> Transformer:
    """The model in the box, or a random one of so many columns."""
    if not width:
        return checkpoint.load(BUNDLED, dtype=torch.float32).eval()
    torch.manual_seed(0)
    config = ModelConfig(
        "qwen3",
        vocab_size=4096,
        hidden_size=width,
        intermediate_size=3 * width,
        num_hidden_layers=6,
        num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 256),
        head_dim=64,
        max_position_embeddings=2048,
    )
    return Transformer(config).eval()


def write(count: int, rank: int, room: Path, width: int) -> list[Path]:
    """Random adapters of every layer, small enough that the texts stay texts."""
    folders, layers = [], {name: shape for name, shape in layers_of(base(width)).items() if name != "lm_head"}
    for number in range(count):
        draw = torch.Generator().manual_seed(number)
        pairs = {
            name: (torch.randn(rank, columns, generator=draw) * 0.02, torch.randn(rows, rank, generator=draw) * 0.02)
            for name, (rows, columns) in layers.items()
        }
        folders.append(room / str(number))
        adapters.write(folders[-1], pairs, rank=rank, alpha=rank, base="bundled")
    return folders


def shared(folders: list[Path], width: int) -> Run:
    """One engine; each prompt is an adapter's, in turn. Without any, the base's."""
    engine = new_engine(base(width))
    numbers = [engine.learn(folder) for folder in folders] or [0]

    def run(prompts: list[list[int]], new: int) -> None:
        engine.weights_changed()
        for place, prompt in enumerate(prompts):
            engine.add(prompt, params(new), adapter=numbers[place % len(numbers)], at_once=True)
        made = 0
        while engine.has_work:
            made += sum(len(output.ids) for output in engine.step())
        assert made == new * len(prompts)

    return run


def apart(folders: list[Path], width: int) -> Run:
    """A merged model with an engine for each, one after another."""
    engines = []
    for folder in folders:
        model = base(width)
        adapter = Adapter.open(folder, layers_of(model), "bundled")
        with torch.no_grad():
            for name in adapter.layers:
                a_KI, b_OK = adapter.read(name)
                model.get_submodule(name).weight.addmm_(b_OK, a_KI)
        engines.append(new_engine(model))

    def run(prompts: list[list[int]], new: int) -> None:
        for place, engine in enumerate(engines):
            engine.weights_changed()
            engine(prompts[place :: len(engines)], params(new))

    return run


def new_engine(model: Transformer) -> Engine:
    return Engine(model, eos_ids=[], cache_tokens=16 * 1024)


def params(new: int) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=new)


def questions(streams: int, length: int) -> list[list[int]]:
    draw = Random(1)
    return [[draw.randrange(20, 700) for _ in range(length)] for _ in range(streams)]


def resident(way: str, room: Path, given: argparse.Namespace, count: int) -> float:
    """MB that a process of its own has written to after its first answers."""
    numbers = {"--adapters": count, "--rank": given.rank, "--width": given.width}
    options = [str(part) for option in numbers.items() for part in option]
    command = [sys.executable, __file__, "--hold", way, "--room", str(room), *options]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def hold(way: str, folders: list[Path], width: int) -> None:
    made = {"base": lambda: shared([], width), "shared": lambda: shared(folders, width)}
    run = made[way]() if way in made else apart(folders, width)
    run(questions(max(1, len(folders)), 16), 4)
    gc.collect()
    held = Path("/proc/self/smaps_rollup").read_text(encoding="utf-8")
    print(int(held.partition("Private_Dirty:")[2].split()[0]) / 1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--width", type=int, default=0, help="of a random base; 0 is the model in the box")
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--prompt", type=int, default=32)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hold", choices=["base", "shared", "apart"], help=argparse.SUPPRESS)
    parser.add_argument("--room", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.hold:
        hold(given.hold, [given.room / str(number) for number in range(given.adapters[0])], given.width)
        return
    table = Table("adapters", "base alone", "over one base", "a model for each", "of the base", "MB more", "MB, each")
    for count in given.adapters:
        with tempfile.TemporaryDirectory() as room:
            folders = write(count, given.rank, Path(room), given.width)
            ways = {
                "base": shared([], given.width),
                "shared": shared(folders, given.width),
                "apart": apart(folders, given.width),
            }
            seconds: dict[str, list[float]] = {way: [] for way in ways}
            asked = questions(given.streams, given.prompt)
            for round in range(given.rounds + 1):
                for way, run in ways.items():
                    began = time.process_time()
                    run(asked, given.new)
                    if round:  # the first is to warm up
                        seconds[way].append(time.process_time() - began)
            rates = {w: given.streams * given.new / statistics.median(each) for w, each in seconds.items()}
            held = {way: resident(way, Path(room), given, count) for way in ways}
        table.add_row(
            str(count),
            *(f"{rates[way]:,.0f}" for way in ways),
            f"{rates['shared'] / rates['base']:.2f}",
            *(f"{held[way] - held['base']:.1f}" for way in ("shared", "apart")),
        )
    print(
        f"{date.today()}, {platform.processor() or platform.machine()}, torch {torch.__version__}, "
        f"one thread: {given.streams} streams, {given.new} tokens each, rank {given.rank}"
    )
    Console().print(table)


if __name__ == "__main__":
    main()
