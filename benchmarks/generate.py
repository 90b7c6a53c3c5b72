"""Tokens a second of the engine beside `transformers`' `generate`, on the same random weights, in one run.

    make bench                      # or: python benchmarks/generate.py --streams 1 8 32 --new 64
    python benchmarks/generate.py --streams 32 128 --group 8 --temperature 1 --new 128    # as in reinforcement learning

What is timed is decoding: `--new` tokens for each of `--streams` prompts of `--prompt` random ids, no end of text,
greedy unless a temperature is given. With `--group` so many streams have one prompt. The two take turns and the median
of `--rounds` counts; machines are noisy, so quote the ratios. Runs alone, on an otherwise idle machine, or not at all.
`transformers` is left out where it is not installed (`pip install denken[dev]`). Large and quantised networks, prompts
and llama.cpp are `engine.py`'s.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from random import Random

import torch
from rich.console import Console
from rich.table import Table

from denken.engine.engine import Engine
from denken.model import checkpoint
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.types import SamplingParams

SHAPE = {
    "model_type": "qwen3",
    "vocab_size": 4096,
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 704,
    "max_position_embeddings": 2048,
    "rope_theta": 10000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
Run = Callable[[list[list[int]], int], None]


def ours(model: Transformer, temperature: float) -> Run:
    """Our engine; the prefix cache is emptied before every run."""
    engine = Engine(model, eos_ids=[], cache_tokens=64 * 1024, ahead=True)

    def run(prompts: list[list[int]], new: int) -> None:
        engine.weights_changed()
        outs = engine(prompts, SamplingParams(temperature=temperature, top_p=1.0, max_tokens=new))
        assert all(len(out.ids) == new for out in outs)

    return run


def theirs(folder: Path, dtype: torch.dtype, temperature: float) -> tuple[str, Run] | None:
    """`transformers`' generate on the same folder, or None where it is not installed."""
    try:
        import transformers
    except ImportError:
        return None
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def run(prompts: list[list[int]], new: int) -> None:
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            network.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=new, min_new_tokens=new, **sampling
            )

    return f"transformers {transformers.__version__}", run


def seconds(run: Run, prompts: list[list[int]], new: int) -> float:
    """How long the tokens beyond the first take: prompts are timed by themselves and taken off."""
    started = time.perf_counter()
    run(prompts, 1)
    first = time.perf_counter() - started
    started = time.perf_counter()
    run(prompts, new)
    return time.perf_counter() - started - first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--prompt", type=int, default=100)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--group", type=int, default=1)
    parser.add_argument("--temperature", type=float, default=0.0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[given.dtype]
    model = Transformer(ModelConfig.from_hf(SHAPE)).eval().to(dtype)
    runs: dict[str, Run] = {"denken": ours(model, given.temperature)}
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(model, Path(folder))
        peer = theirs(Path(folder), dtype, given.temperature)
    if peer is not None:
        runs[peer[0]] = peer[1]

    table = Table("streams", *(f"{name}, tokens/s" for name in runs), "ratio")
    for streams in given.streams:
        rng = Random(streams)
        own = [[rng.randrange(SHAPE["vocab_size"]) for _ in range(given.prompt)] for _ in range(streams)]
        prompts = [own[stream // given.group] for stream in range(streams)]
        times: dict[str, list[float]] = {name: [] for name in runs}
        for round_ in range(given.rounds + 1):
            for name, run in runs.items():
                took = seconds(run, prompts, given.new)
                if round_:  # the first round warms up
                    times[name].append(took)
        speeds = [streams * (given.new - 1) / statistics.median(times[name]) for name in runs]
        ratio = f"{speeds[0] / speeds[1]:.2f}" if len(speeds) > 1 else "-"
        table.add_row(str(streams), *(f"{speed:,.0f}" for speed in speeds), ratio)
    console = Console(width=100)
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    console.print(
        f"{size:.1f}M-parameter Qwen3, {given.dtype}, prompts of {given.prompt}, groups of {given.group}, "
        f"{given.new} new tokens, {given.threads} threads, median of {given.rounds}; torch {torch.__version__}, "
        f"{platform.machine()}, {date.today().isoformat()}"
    )
    console.print(table)


if __name__ == "__main__":
    main()
