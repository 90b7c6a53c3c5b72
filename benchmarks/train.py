"""A GRPO step of ours beside TRL's GRPOTrainer, on the same random weights and prompts, in one run.

    make bench                                     # or: python benchmarks/train.py --save 2x-zen4
    python benchmarks/train.py --peer-python elsewhere/bin/python      # where TRL is not in this environment

A step is everything: `--group` samples of `--new` tokens for each of `--prompts` prompts (temperature 1, an end of
text that cannot be drawn), rewards, forward, backward and one AdamW update without a reference model. The two are
processes of their own (`train_workers.py`) that take turns, step by step; the median of `--steps` counts after
`--warm-up`. Machines are noisy, so quote the ratios. Runs alone, on an otherwise idle machine, or not at all.

What is compared: the product's own `GRPO.step`, a group a backward (`--micro-tokens`), and TRL without gradient
checkpointing and with as many rows a backward as it is fastest with (`--peer-batch`). In bf16 our weights are fp32
masters with bf16 products; TRL's are plainly bf16 (`--peer-bf16 weights`, the faster), or fp32 under autocast. Both
must report the same entropy of the first samples and the same number of tokens.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
PARTS = ("generate", "score", "learn")
Report = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtypes", nargs="+", choices=["fp32", "bf16"], default=["fp32", "bf16"])
    parser.add_argument("--prompts", type=int, default=4, help="prompts a step")
    parser.add_argument("--prompt-tokens", type=int, default=100)
    parser.add_argument("--group", type=int, default=8, help="samples of each prompt")
    parser.add_argument("--new", type=int, default=128, help="tokens of each sample")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warm-up", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--micro-tokens", type=int, default=1280, help="tokens of our backward")
    parser.add_argument("--peer-python", help="an interpreter that has TRL; by default this one, if it has")
    parser.add_argument("--peer-batch", type=int, default=0, help="rows of TRL's backward; 0 takes all at once")
    parser.add_argument("--peer-bf16", choices=["weights", "autocast"], default="weights")
    parser.add_argument("--save", metavar="HARDWARE", help="write results/train-HARDWARE-DATE.md, such as 2x-zen4")
    given = parser.parse_args()
    peer = given.peer_python or (sys.executable if importlib.util.find_spec("trl") else None)
    with tempfile.TemporaryDirectory() as folder:
        size = Worker("prepare", sys.executable, given, folder, given.dtypes[0]).listen()["parameters"]
        rows = [(dtype, *measure(given, peer, folder, dtype)) for dtype in given.dtypes]
    text = table(given, size, rows)
    print(text)
    if given.save:
        path = RESULTS / f"train-{given.save}-{date.today().isoformat()}.md"
        path.write_text(text, encoding="utf-8")
        print(f"Written to {path}.", file=sys.stderr)


def measure(given: argparse.Namespace, peer: str | None, folder: str, dtype: str) -> tuple[list[Report], list[Report]]:
    """What both sides reported: first of themselves, then of every step that counts. The second list may be empty."""
    workers = [Worker("ours", sys.executable, given, folder, dtype)]
    if peer is not None:
        workers.append(Worker("theirs", peer, given, folder, dtype))
    reports: list[list[Report]] = [[worker.listen()] for worker in workers]
    for number in range(given.warm_up + given.steps):
        for worker, told in zip(workers, reports, strict=True):
            step = worker.ask("step")
            print(f"{dtype} {worker.name} {number}: {step['seconds']:.2f} s", file=sys.stderr, flush=True)
            if number == 0:
                told[0]["entropy"] = step["entropy"]
            if number >= given.warm_up:
                told.append(step)
    for worker, told in zip(workers, reports, strict=True):
        told[0] |= worker.ask("stop")
        expected = given.prompts * given.group * given.new
        assert all(step["sampled"] == expected for step in told[1:]), f"{worker.name} did not sample {expected} tokens"
    if len(workers) > 1:
        ours, theirs = (told[0]["entropy"] for told in reports)
        assert abs(ours - theirs) < 0.02 * theirs, f"entropies of {ours} and {theirs}: these are not the same weights"
    return reports[0], reports[1] if len(workers) > 1 else []


class Worker:
    """A process of train_workers.py, under any interpreter; it answers with one JSON value a line."""

    def __init__(self, name: str, python: str, given: argparse.Namespace, folder: str, dtype: str) -> None:
        self.name = name
        settings = vars(given) | {"folder": folder, "dtype": dtype}
        command = [python, str(Path(__file__).with_name("train_workers.py")), name, json.dumps(settings)]
        # Safe path: files that lie beside this one must not stand in for packages that the peer imports.
        environment = os.environ | {
            "OMP_NUM_THREADS": str(given.threads),
            "HF_HUB_OFFLINE": "1",
            "PYTHONSAFEPATH": "1",
        }
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def ask(self, what: str) -> Report:
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return self.listen()

    def listen(self) -> Report:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"The process of {self.name!r} ended ({self.process.wait()}); it says why above.")
        told: Report = json.loads(line)
        return told


def table(given: argparse.Namespace, size: int, rows: list[tuple[str, list[Report], list[Report]]]) -> str:
    """The results as a page in Markdown."""
    versions = " beside ".join(side[0]["versions"] for side in rows[0][1:] if side)
    command = " ".join(
        ["python benchmarks/train.py", *(re.sub(r"^--peer-python=.*", "", word) for word in _words(sys.argv[1:]))]
    )
    lines = [
        f"# A GRPO step beside TRL, {_hardware()}, {date.today().isoformat()}",
        "",
        f"`{' '.join(command.split())}`: a Qwen3 of {size:,} random weights, {given.prompts} prompts of "
        f"{given.prompt_tokens} tokens, {given.group} samples of {given.new} tokens each, one update a step, "
        f"{given.threads} threads, in turns, median of {given.steps} steps (least to most). {versions}. "
        "Memory: the most that the process held, and in brackets how much of it came after the imports. "
        "Differences under 15 % are noise.",
        "",
        "| | step, s | generate | score | learn | samples, tokens/s | memory, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for dtype, *sides in rows:
        for side in sides:
            lines += [_row(f"{side[0]['name']}, {dtype}", side)] if side else []
        if sides[1]:
            lines.append(_ratios(dtype, *sides))
    return "\n".join(lines) + "\n"


def _words(arguments: list[str]) -> Iterator[str]:
    """The command's words, the peer's interpreter (a path of this machine) left out."""
    words = iter(arguments)
    for word in words:
        if word == "--peer-python":
            next(words)
        else:
            yield word


def _median(side: list[Report], what: str) -> float:
    return statistics.median(step[what] for step in side[1:])


def _row(name: str, side: list[Report]) -> str:
    times = [step["seconds"] for step in side[1:]]
    parts = " | ".join(f"{_median(side, part):.2f}" for part in PARTS)
    speed = side[1]["sampled"] / _median(side, "generate")
    step = f"{statistics.median(times):.2f} ({min(times):.2f} to {max(times):.2f})"
    return f"| {name} | {step} | {parts} | {speed:,.0f} | {side[0]['peak']:,.0f} ({side[0]['above_imports']:,.0f}) |"


def _ratios(dtype: str, ours: list[Report], theirs: list[Report]) -> str:
    """How many times as fast, and how many times the memory."""
    step, generate, learn = (_median(theirs, part) / _median(ours, part) for part in ("seconds", "generate", "learn"))
    memory = ours[0]["peak"] / theirs[0]["peak"]
    above = ours[0]["above_imports"] / theirs[0]["above_imports"]
    return (
        f"| **times as fast, {dtype}** | **{step:.2f}** | {generate:.2f} | | {learn:.2f} | {generate:.2f} "
        f"| {memory:.2f} of it ({above:.2f}) |"
    )


def _hardware() -> str:
    """The processor's name and how many of them."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", path.read_text(), re.M) if path.is_file() else None
    features = path.read_text() if found else ""
    extra = [name.upper().replace("_", " ") for name in ("avx512_bf16", "amx_bf16") if name in features]
    return ", ".join([f"{os.cpu_count()} x {found[1] if found else platform.machine()}", *extra])


if __name__ == "__main__":
    main()
