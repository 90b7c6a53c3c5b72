"""Whether decoding on a GPU is right, and how fast it is, within 45 seconds.

    python benchmarks/engine_gpu.py figures.json

Two networks: the one in `src/denken/bundled`, and one of 12 million random weights. For each: greedy texts on the GPU,
operation by operation and replayed as graphs, beside those of the processor, in fp32 as stored; then tokens a second in
bf16 and fp32 for 1, 32, 256 and 1,024 streams of `--new` ids each behind a prompt of 32, drawn at temperature 1,
without an end of text. Each is run twice, the first time for capturing and unmeasured; measured is all of a call,
prompts included. At the end one row with top-p, and one operation by operation.

Parts stand for themselves: one that fails is printed with its error and the others go on; what would begin after
`--seconds` is left out, and said so; at `--end` the script ends, wherever it is. The file is written anew after every
part.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import threading
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
from denken.types import Completion, SamplingParams  # noqa: E402

SHAPE: dict[str, Any] = {
    "vocab_size": 4096,
    "hidden_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "intermediate_size": 1152,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": True,
    # Large enough that the likeliest ids of random weights lie apart.
    "initializer_range": 0.06,
}
STREAMS = (1, 32, 256, 1024)
PROMPT = 32
GREEDY = SamplingParams(temperature=0, max_tokens=48)
Way = Literal["rows", "eager", "graph"]
Said = list[Completion]


def bundled() -> Transformer:
    return checkpoint.load(ROOT / "src" / "denken" / "bundled", dtype=torch.float32).eval()


def random_weights() -> Transformer:
    torch.manual_seed(0)
    return Transformer(ModelConfig("qwen3", **SHAPE)).eval()


NETWORKS = {"bundled": bundled, "random": random_weights}


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
        rows: dict[str, dict[int, str]] = {}
        for found in self.found["parts"].values():
            for row, streams, speed in found.get("speeds", ()):
                rows.setdefault(row, {})[streams] = f"{speed:,.0f}"
        columns = sorted({streams for speeds in rows.values() for streams in speeds})
        print(f"\n{'tokens/s':<24}" + "".join(f"{streams:>12,}" for streams in columns))
        for row, speeds in rows.items():
            print(f"{row:<24}" + "".join(f"{speeds.get(streams, '-'):>12}" for streams in columns))
        print(f"all of it took {time.perf_counter() - BEGAN:.1f} s", flush=True)


def machine(device: str) -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__}
    if device == "cuda":
        found |= {"gpu": torch.cuda.get_device_name(0), "cuda": torch.version.cuda}
        found["free_gib"] = round(torch.cuda.mem_get_info()[0] / 2**30, 1)
        (torch.ones(64, 64, device=device) @ torch.ones(64, 64, device=device)).sum().item()
    return found


def on_the_processor(models: dict[str, Transformer], said: dict[str, Said], name: str, device: str) -> dict[str, Any]:
    """Greedy texts, from which the GPU's must not differ; then the network goes there."""
    model = NETWORKS[name]()
    said[f"{name} rows"] = engine_of(model, "rows", 16)(prompts_of(model, 10, 1, ragged=True), GREEDY)
    models[f"{name} fp32"] = model.to(device)
    return {"million_weights": round(sum(p.numel() for p in model.parameters()) / 1e6, 2)}


def compare(models: dict[str, Transformer], said: dict[str, Said], name: str, way: Way) -> dict[str, Any]:
    """Greedy texts of a way beside the processor's, and how far the log-probabilities of equal texts are apart."""
    model = models[f"{name} fp32"]
    prompts, engine = prompts_of(model, 10, 1, ragged=True), engine_of(model, way, 16)
    engine(prompts, GREEDY)
    engine.weights_changed()
    said[f"{name} {way}"] = own = engine(prompts, GREEDY)
    found = {}
    for other in ("rows", "eager"):
        pairs = list(zip(own, said.get(f"{name} {other}", ()), strict=False))
        alike = [(a, b) for a, b in pairs if a.ids == b.ids]
        off = [abs(x - y) for a, b in alike for x, y in zip(a.logprobs, b.logprobs, strict=True)]
        if other != way:
            found[f"as_{other}"] = {"texts": f"{len(alike)} of {len(pairs)}", "logprobs_off_by": max(off, default=None)}
    runner, captured = engine._runner, {}
    if isinstance(runner, DeviceRunner) and runner._captured is not None:
        captured = {"graphs": runner._captured.count, "capture_failed": runner._captured.failed}
    return found | captured


def in_bf16(models: dict[str, Transformer], name: str, device: str) -> dict[str, Any]:
    models[f"{name} bf16"] = NETWORKS[name]().to(device, torch.bfloat16)
    return {}


def speeds(
    model: Transformer, row: str, way: Way, new: int, *, streams: list[int], device: str, until: float, **sampling: Any
) -> dict[str, Any]:
    """Tokens a second of whole calls."""
    params = SamplingParams(**{"temperature": 1.0, "max_tokens": new, **sampling})
    engine, found = engine_of(model, way, max(streams)), {}
    for count in streams:
        if time.perf_counter() - BEGAN > until:
            break
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


def step_alone(
    model: Transformer, row: str, way: Way, *, streams: list[int], device: str, until: float
) -> dict[str, Any]:
    """Milliseconds of a step at about 100 tokens of text, without Python's part between calls."""
    engine, found = engine_of(model, way, max(streams)), {}
    for count in streams:
        runner = engine._runner
        assert isinstance(runner, DeviceRunner)
        if time.perf_counter() - BEGAN > until:
            break
        for each in prompts_of(model, count, 4):
            engine.add([*each, *each, *each], SamplingParams(temperature=1.0, max_tokens=200), at_once=True)
        for _ in range(8):
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
    parser.add_argument("--end", type=float, default=43.5, help="the script ends now at the latest")
    args = parser.parse_args()
    if args.device == "cuda":
        torch.set_num_threads(min(8, os.cpu_count() or 1))
    report, models = Report(args.out, args.seconds), dict[str, Transformer]()
    end = threading.Timer(max(1.0, args.end - (time.perf_counter() - BEGAN)), lambda: give_up(report))
    end.daemon = True
    end.start()
    fast: Way = "graph" if args.device == "cuda" else "eager"
    report.part("machine", lambda: machine(args.device))
    said: dict[str, Said] = {}
    ways: list[Way] = ["eager", "graph"] if args.device == "cuda" else ["eager"]
    for name in NETWORKS:
        report.part(f"{name} here", lambda name=name: on_the_processor(models, said, name, args.device))
        for way in ways:
            report.part(f"texts of {name} {way}", lambda name=name, way=way: compare(models, said, name, way))
    for name in NETWORKS:
        report.part(f"{name} in bf16", lambda name=name: in_bf16(models, name, args.device))
    rows = [
        (models[row], row)
        for row in [f"{name} {kind}" for kind in ("bf16", "fp32") for name in NETWORKS]
        if row in models
    ]
    timed = {"streams": args.streams, "device": args.device, "until": args.seconds}
    for model, row in rows:
        report.part(f"speed of {row}", lambda m=model, r=row: speeds(m, f"{r} {fast}", fast, args.new, **timed))
    for model, row in rows:
        report.part(f"steps of {row}", lambda m=model, r=row: step_alone(m, f"{r} {fast}", fast, **timed))
    timed["streams"] = args.streams[:3]
    for model, row in rows[:2]:
        report.part(
            f"top-p of {row}", lambda m=model, r=row: speeds(m, f"{r} top-p", fast, args.new, **timed, top_p=0.95)
        )
        report.part(f"eager of {row}", lambda m=model, r=row: speeds(m, f"{r} eager", "eager", 64, **timed))
    report.table()


def give_up(report: Report) -> None:
    """Nothing is waited for any longer; what was found is in the file."""
    print("Time is over.", flush=True)
    report.table()
    os._exit(3)


if __name__ == "__main__":
    main()
