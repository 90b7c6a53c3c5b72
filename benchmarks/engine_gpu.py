"""Whether decoding on a GPU is right, and how fast it is, within 45 seconds.

    python benchmarks/engine_gpu.py figures.json

Two networks: the one in `recipes/gym/model`, and one of 12 million random weights. For each: greedy texts on the GPU,
operation by operation and replayed as graphs, beside those of the processor, in fp32 as stored; then tokens a second in
bf16 and fp32 for 1, 32, 256 and 1,024 streams of `--new` ids each behind a prompt of 32, drawn at temperature 1,
without an end of text. Each is run twice, the first time for capturing and unmeasured; measured is all of a call,
prompts included. At the end one row with top-p, and one operation by operation.

Parts stand for themselves: one that fails is printed with its error and the others go on; what would begin after
`--seconds` is left out, and said so. The file is written anew after every part.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any, Literal

BEGAN = time.perf_counter()
ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
# Nothing is compiled on a machine that is there for so short a time.
os.environ["DENKEN_KERNELS"] = "none"

import torch  # noqa: E402

from denken.engine.device import DeviceRunner  # noqa: E402
from denken.engine.engine import Engine  # noqa: E402
from denken.model import checkpoint  # noqa: E402
from denken.model.config import ModelConfig  # noqa: E402
from denken.model.transformer import Transformer  # noqa: E402
from denken.types import SamplingParams  # noqa: E402

SHAPE: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 1024,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    # Large enough that the likeliest ids of random weights lie apart.
    "initializer_range": 0.06,
}
STREAMS = (1, 32, 256, 1024)
PROMPT, COMPARED = 32, 48
Way = Literal["rows", "eager", "graph"]


def gym() -> Transformer:
    return checkpoint.load(ROOT / "recipes" / "gym" / "model", dtype=torch.float32).eval()


def random_weights() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig("qwen3", **SHAPE)).eval()


NETWORKS = {"gym": gym, "random": random_weights}


def prompts_of(model: Transformer, count: int, seed: int, ragged: bool = False) -> list[list[int]]:
    """Random ids; ragged: of unlike lengths, and some that begin alike."""
    draw = Random(seed)
    ids = [[draw.randrange(model.config.vocab_size) for _ in range(PROMPT)] for _ in range(count)]
    if ragged:
        ids = [[*ids[0][: 16 * (i % 3)], *own[: 1 + (7 * i) % PROMPT]] for i, own in enumerate(ids)]
    return ids


def engine_of(model: Transformer, way: Way, streams: int) -> Engine:
    return Engine(
        model,
        eos_ids=[],
        decoding=way,
        ahead=True,
        max_sequences=streams,
        max_batch_tokens=1 << 15,
        cache_tokens=streams * 512,
    )


class Report:
    """What was found so far, on the screen and in a file."""

    def __init__(self, out: Path, seconds: float) -> None:
        self.out, self.seconds = out, seconds
        self.found: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "parts": {}}

    def part(self, name: str, work: Callable[[], dict[str, Any]]) -> None:
        """Runs one part. Whatever goes wrong in it is printed and kept, and ends nothing else."""
        began = time.perf_counter() - BEGAN
        if began > self.seconds:
            self._keep(name, {"left_out": f"{began:.1f} s were over"})
            return
        try:
            found = work()
        except Exception as error:
            traceback.print_exc(file=sys.stdout)
            found = {"error": f"{type(error).__name__}: {error}"[:2000]}
        self._keep(name, found | {"took": round(time.perf_counter() - BEGAN - began, 2)})

    def _keep(self, name: str, found: dict[str, Any]) -> None:
        self.found["parts"][name] = found
        print(f"[{time.perf_counter() - BEGAN:5.1f} s] {name}: {found}", flush=True)
        try:
            self.out.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            print(f"{self.out} cannot be written: {error}", flush=True)

    def table(self) -> None:
        print("\ntokens/s" + "".join(f"{streams:>12,}" for streams in STREAMS))
        rows: dict[str, dict[int, str]] = {}
        for found in self.found["parts"].values():
            for row, streams, speed in found.get("speeds", ()):
                rows.setdefault(row, {})[streams] = f"{speed:,.0f}"
        for row, speeds in rows.items():
            print(f"{row:<24}" + "".join(f"{speeds.get(streams, '-'):>12}" for streams in STREAMS))
        print(f"all of it took {time.perf_counter() - BEGAN:.1f} s", flush=True)


def machine(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    if device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(0), "cuda": torch.version.cuda}
        found["free_gib"] = round(torch.cuda.mem_get_info()[0] / 2**30, 1)
        (torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)).sum().item()
    return found


def compare(models: dict[str, Transformer], name: str, device: str, ways: list[Way]) -> dict[str, Any]:
    """Greedy texts of the ways on the device beside those of the processor; log-probabilities of ids in common."""
    model = NETWORKS[name]()
    prompts, params = prompts_of(model, 10, 1, ragged=True), SamplingParams(temperature=0, max_tokens=COMPARED)
    expected = engine_of(model, "rows", 16)(prompts, params)
    models[name] = model.to(device)
    found: dict[str, Any] = {"million_weights": round(sum(p.numel() for p in model.parameters()) / 1e6, 2)}
    said = {}
    for way in ways:
        engine = engine_of(model, way, 16)
        engine(prompts, params)
        engine.weights_changed()
        said[way] = engine(prompts, params)
        pairs = list(zip(said[way], expected, strict=True))
        found[way] = {"as_the_processor": f"{sum(a.ids == b.ids for a, b in pairs)} of {len(pairs)}"}
        alike = [(a, b) for a, b in pairs if a.ids == b.ids]
        off = [abs(x - y) for a, b in alike for x, y in zip(a.logprobs, b.logprobs, strict=True)]
        found[way]["logprobs_off_by"] = max(off, default=None)
        runner = engine._runner
        if isinstance(runner, DeviceRunner) and runner._captured is not None:
            found[way] |= {"graphs": runner._captured.count, "capture_failed": runner._captured.failed}
    if len(ways) > 1:
        found["graph_is_eager"] = [a.ids for a in said[ways[0]]] == [a.ids for a in said[ways[1]]]
    return found


def speeds(
    model: Transformer, row: str, way: Way, streams: list[int], new: int, device: str, **sampling: Any
) -> dict[str, Any]:
    """Tokens a second of whole calls, and of the device's steps alone."""
    params = SamplingParams(**{"temperature": 1.0, "max_tokens": new, **sampling})
    engine, found = engine_of(model, way, max(streams)), {}
    for count in streams:
        for seed in (2, 3):
            wait(device)
            began = time.perf_counter()
            outs = engine(prompts_of(model, count, seed), params)
            wait(device)
            seconds = time.perf_counter() - began
        assert all(len(out.ids) == new for out in outs)
        found[count] = count * new / seconds
        print(f"    {row}, {count} streams: {found[count]:,.0f} tokens/s", flush=True)
    runner = engine._runner
    graphs = runner._captured.count if isinstance(runner, DeviceRunner) and runner._captured is not None else 0
    return {"speeds": [(row, count, round(speed, 1)) for count, speed in found.items()], "graphs": graphs}


def step_alone(model: Transformer, row: str, way: Way, streams: list[int], device: str) -> dict[str, Any]:
    """Milliseconds of a step at about 100 tokens of text, without Python's part between calls."""
    engine, found = engine_of(model, way, max(streams)), {}
    for count in streams:
        runner = engine._runner
        assert isinstance(runner, DeviceRunner)
        for each in prompts_of(model, count, 4):
            engine.add([*each, *each, *each], SamplingParams(temperature=1.0, max_tokens=200), at_once=True)
        for _ in range(3):
            engine.step()
        rows = 1 << (count - 1).bit_length()
        blocks = 128 // 16
        with torch.inference_mode(), runner._placed():
            times = []
            for _ in range(4):
                wait(device)
                began = time.perf_counter()
                runner._step_1.zero_()
                runner._positions_B.fill_(100)
                for _ in range(20):
                    runner._go(("network", rows, blocks), lambda: runner._network(rows, blocks))  # noqa: B023
                    runner._go(("draw", rows, "open"), lambda: runner._draw(rows, "open"))  # noqa: B023
                wait(device)
                times.append((time.perf_counter() - began) / 20)
        engine.reset()
        found[str(count)] = round(1000 * min(times), 3)
    return {"ms_a_step": found, "row": row}


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("out", type=Path, help="a file for the figures, as JSON")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: a trial of this script")
    parser.add_argument("--new", type=int, default=128)
    parser.add_argument("--streams", type=int, nargs="+", default=list(STREAMS))
    parser.add_argument("--seconds", type=float, default=38.0, help="no part begins later")
    args = parser.parse_args()
    if args.device == "cuda":
        torch.set_num_threads(min(8, os.cpu_count() or 1))
    report, models = Report(args.out, args.seconds), {}
    fast: Way = "graph" if args.device == "cuda" else "eager"
    report.part("machine", lambda: machine(args.device))
    for name in NETWORKS:
        ways: list[Way] = ["eager", "graph"] if args.device == "cuda" else ["eager"]
        report.part(f"texts of {name}", lambda name=name, ways=ways: compare(models, name, args.device, ways))
    for dtype in (torch.bfloat16, torch.float32):
        kind = {torch.bfloat16: "bf16", torch.float32: "fp32"}[dtype]
        for name, model in models.items():
            row = f"{name} {kind} {fast}"
            if dtype == torch.bfloat16:
                model = NETWORKS[name]().to(args.device, dtype)
            given = (model, row, fast)
            report.part(f"speed of {row}", lambda given=given: speeds(*given, args.streams, args.new, args.device))
            report.part(f"step of {row}", lambda given=given: step_alone(*given, args.streams, args.device))
    for name, model in models.items():
        given = (model, f"{name} fp32 {fast}, top-p", fast, args.streams[1:3], args.new, args.device)
        report.part(f"top-p of {name}", lambda given=given: speeds(*given, top_p=0.95))
        few = (model, f"{name} fp32 eager", "eager", args.streams[:2], args.new // 2, args.device)
        report.part(f"eager of {name}", lambda few=few: speeds(*few))
    report.table()


if __name__ == "__main__":
    main()
