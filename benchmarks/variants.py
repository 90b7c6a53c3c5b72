"""Every form that the model in the box can take: how large it is, what it needs, how fast and how right it is.

    python benchmarks/variants.py        # about ten minutes on one quiet core
    python benchmarks/variants.py --problems 5 --rows folder gguf-q8_0

Each variant is made in --out (where it is not there yet) and then asked in a process of its own: one stream for tokens
a second, and fresh problems of the sixteen data sets of the model's card, greedily. A row whose package, command or
model is missing says so in its place. Adapter and merged model are those of `benchmarks/merge.py`, the distilled model
is that of `recipes/07_distill`; run these first, or name others.

What a phone manages is not measured: the last column is computed, and is a ceiling. A token reads every weight once, so
none comes faster than the memory is wide; see `PHONE`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from denken.chat.message import Message
from denken.chat.template import END_THINK, EOS, render
from denken.errors import DenkenError
from denken.evaluate.metrics import wilson
from denken.tasks import get
from denken.tokenizer import Tokenizer
from denken.types import Problem, SamplingParams

TASKS = (
    "spell_backward", "lcm", "isomorphic_strings", "prime_factorization", "gcd", "palindrome_generation",
    "word_sequence_reversal", "leg_counting", "number_sorting", "products", "chain_sum", "number_filtering",
    "letter_counting", "base_conversion", "word_sorting", "basic_arithmetic",
)  # fmt: skip
FIRST_SEED = 900_000_000
MOST_TOKENS = 640  # a quarter of which the engine keeps for the answer: enough for every right thought
TIMED = 16  # problems whose tokens a second are taken, one of each data set
# LPDDR4X at its highest rate, 4,266 million transfers a second (JEDEC JESD209-4-1), over the four 16-bit channels that
# most phones have: 4,266e6 * 64 / 8 bytes.
PHONE = 34.1e9


@dataclass(frozen=True)
class Row:
    """A variant. make: writes it to the path that it is given. ask: which of the ways below asks it.

    needs: a package without which there is no row. phone: whether a program for phones takes it.
    """

    title: str
    ask: str
    make: Callable[[Path], object] | None = None
    needs: str = ""
    phone: bool = False


def _denken(*arguments: str) -> Callable[[Path], object]:
    """A command of denken's whose OUT is the path."""

    def make(path: Path) -> None:
        said = [str(path) if part == "OUT" else part for part in arguments]
        done = subprocess.run([sys.executable, "-m", "denken", *said], capture_output=True, text=True, check=False)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines()
            raise DenkenError(f"`denken {arguments[0]}` failed: {lines[-1] if lines else done.returncode}")

    return make


def _gguf(kind: str) -> Row:
    make = _denken("export", "bundled", "OUT", "--format", "gguf", "--type", kind)
    return Row(f"GGUF {kind.upper()}, llama.cpp", "llama", make, "llama_cpp", phone=True)


ROWS: Mapping[str, Row] = {
    "folder": Row("folder, bf16 (computed in fp32)", "ours"),
    "int8": Row("folder, int8", "ours", _denken("quantize", "bundled", "OUT", "--type", "int8", "--no-check")),
    "int4": Row("folder, int4", "ours", _denken("quantize", "bundled", "OUT", "--type", "int4", "--no-check")),
    "gguf-f16": _gguf("f16"),
    "gguf-q8_0": _gguf("q8_0"),
    "gguf-q4_0": _gguf("q4_0"),
    "onnx": Row(
        "ONNX, fp32, ONNX Runtime", "onnx", _denken("export", "bundled", "OUT", "--format", "onnx"), "onnxruntime", True
    ),
    "adapter": Row("adapter, beside the folder", "adapter"),
    "merged": Row("merged of two parents", "ours"),
    "distilled": Row("distilled, 3 layers", "ours"),
}
SUFFIX = {"llama": ".gguf"}


def problems(count: int) -> list[tuple[str, Problem]]:
    """`count` of each data set, the first of each first."""
    return [(name, get(name).problem(FIRST_SEED + number)) for number in range(count) for name in TASKS]


def memory() -> float:
    """The most that this process has held so far, MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the process that started this one
        return int(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text("utf-8"))[0]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


Reply = Callable[[list[list[int]]], list[list[int]]]  # prompts in, what was said to each, in ids


def ours(path: Path) -> Reply:
    """This repository's engine. It answers many prompts at once where it is given many."""
    from denken import load

    assistant = load(path, threads=1)
    params = SamplingParams(temperature=0.0, max_tokens=MOST_TOKENS)
    return lambda prompts: [list(done.ids) for done in assistant.generate(prompts, params)]


def adapter(path: Path) -> Reply:
    """The model in the box with an adapter over it."""
    from denken import load

    assistant = load("bundled", threads=1, adapter=path)
    params = SamplingParams(temperature=0.0, max_tokens=MOST_TOKENS)
    return lambda prompts: [list(done.ids) for done in assistant.generate(prompts, params)]


def llama(path: Path) -> Reply:
    """llama.cpp, one prompt after the other."""
    import llama_cpp

    model = llama_cpp.Llama(str(path), n_ctx=2048, n_threads=1, n_threads_batch=1, verbose=False)

    def said(prompt: list[int]) -> Iterator[int]:
        for number, id_ in enumerate(model.generate(prompt, temp=0.0)):
            if id_ == model.token_eos() or number == MOST_TOKENS:
                return
            yield id_

    return lambda prompts: [list(said(prompt)) for prompt in prompts]


def onnx(path: Path) -> Reply:
    """ONNX Runtime, one prompt after the other, with the cache."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path / "model.onnx", options)
    ends = json.loads((path / "generation_config.json").read_text("utf-8"))["eos_token_id"]
    ends = ends if isinstance(ends, list) else [ends]
    caches = [entry for entry in session.get_inputs() if entry.name.startswith("past_key_values.")]

    def said(prompt: list[int]) -> Iterator[int]:
        new, past = prompt, 0
        fed = {entry.name: numpy.zeros((1, entry.shape[1], 0, entry.shape[3]), numpy.float32) for entry in caches}
        for _ in range(MOST_TOKENS):
            total = past + len(new)
            fed["input_ids"] = numpy.array([new])
            fed["attention_mask"] = numpy.ones((1, total), numpy.int64)
            fed["position_ids"] = numpy.arange(past, total)[None]
            logits, *present = session.run(None, fed)
            fed = {entry.name: cache for entry, cache in zip(caches, present, strict=True)}
            id_ = int(logits[0, -1].argmax())
            if id_ in ends:
                return
            yield id_
            new, past = [id_], total

    return lambda prompts: [list(said(prompt)) for prompt in prompts]


WAYS: Mapping[str, Callable[[Path], Reply]] = {"ours": ours, "adapter": adapter, "llama": llama, "onnx": onnx}


def asked(way: str, path: Path, count: int) -> dict[str, float]:
    """One row's figures; what a process of its own does."""
    from denken.assistant import BUNDLED

    tokenizer = Tokenizer.load(BUNDLED)
    chosen = problems(count)
    prompts = [list(render([Message("user", problem.prompt)], tokenizer).ids) for _, problem in chosen]
    empty = memory()
    reply = WAYS[way](path)
    reply(prompts[:1])
    started = time.perf_counter()
    replies = [reply([prompt])[0] for prompt in prompts[:TIMED]]
    seconds = time.perf_counter() - started
    speed, most = sum(map(len, replies)) / seconds, memory()
    for start in range(TIMED, len(prompts), 64):
        replies += reply(prompts[start : start + 64])
    right = 0
    for (name, problem), ids in zip(chosen, replies, strict=True):
        _, _, text = tokenizer.decode(ids, skip_control=False).partition(END_THINK)
        text = text.removesuffix(EOS).strip()
        right += get(name).score(problem, text).reward == 1.0
    return {"right": right, "asked": len(chosen), "speed": speed, "memory": most, "empty": empty}


def size(path: Path) -> int:
    """Bytes of a file, or of a folder's weights: what is fetched besides a few kilobytes of text."""
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.iterdir() if file.suffix in (".safetensors", ".onnx"))


def measured(name: str, row: Row, path: Path, count: int) -> str:
    """The row of the table, or why there is none."""
    blank = f"| {row.title} | {{}} | | | | |"
    if row.needs and importlib.util.find_spec(row.needs) is None:
        return blank.format(f"left out: the package {row.needs} is not installed")
    try:
        if row.make is not None and not path.exists():
            print(f"making {path}", file=sys.stderr, flush=True)
            row.make(path)
    except DenkenError as error:
        return blank.format(f"left out: {error}")
    if not path.exists():
        return blank.format(f"left out: there is no {path}; see --{name}")
    command = [sys.executable, __file__, "--ask", row.ask, "--problems", str(count), "--path", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return blank.format(f"left out: {(done.stderr.strip() or 'it failed').splitlines()[-1]}")
    found = json.loads(done.stdout.splitlines()[-1])
    low, high = wilson(found["right"], found["asked"])
    weights = size(path)
    return (
        f"| {row.title} | {weights / 1e6:.2f} | {found['memory']:.0f} ({found['empty']:.0f}) | {found['speed']:,.0f} | "
        f"{found['right'] / found['asked']:.3f} ({low:.3f} to {high:.3f}) | "
        f"{f'{PHONE / weights:,.0f}' if row.phone else ''} |"
    )


HEAD = """\
| variant | file, MB | peak memory, MB (before loading) | tokens/s, one stream | right, 95 % interval | \
ceiling on a phone, tokens/s |
|---|---:|---:|---:|---:|---:|"""


def main() -> None:
    """Makes and asks all rows, prints each as it is there, and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/variants"), help="where the variants are made")
    parser.add_argument("--problems", type=int, default=20, help="of each data set")
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--adapter", type=Path, default=Path("runs/merge/adapters-1/adapter"))
    parser.add_argument("--merged", type=Path, default=Path("runs/merge/weights-merged/task-0.35-2-1"))
    parser.add_argument("--distilled", type=Path, default=Path("runs/07_distill/model"))
    parser.add_argument("--report", type=Path, help="the report's file; in benchmarks/results if absent")
    parser.add_argument("--note", default="", help="a sentence for the report, such as what else was running")
    parser.add_argument("--ask", choices=list(WAYS), help=argparse.SUPPRESS)
    parser.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.ask:
        print(json.dumps(asked(args.ask, args.path, args.problems)))
        return
    from denken.assistant import BUNDLED

    args.out.mkdir(parents=True, exist_ok=True)
    places = {name: args.out / (name + SUFFIX.get(row.ask, "")) for name, row in ROWS.items()}
    places |= {"folder": BUNDLED, "adapter": args.adapter, "merged": args.merged, "distilled": args.distilled}
    started = time.time()
    print(HEAD, flush=True)
    lines = []
    for name in args.rows:
        lines.append(measured(name, ROWS[name], places[name], args.problems))
        print(lines[-1], flush=True)
    today, machine = datetime.now(UTC).date(), hardware()
    given = f"benchmarks/variants.py --problems {args.problems}"
    text = [f"# The model in the box in all its forms, {machine}, {today}", ""]
    text += [
        f"`OMP_NUM_THREADS=1 python {given}`, {(time.time() - started) / 60:.0f} minutes, {versions()}. {args.note}"
    ]
    text += ["", ABOUT.format(args.problems, args.problems * len(TASKS)), "", HEAD, *lines]
    report = args.report or Path(__file__).parent / "results" / f"variants-{machine}-{today}.md"
    report.write_text("\n".join(text) + "\n", encoding="utf-8")
    print(f"{report} is written.")


ABOUT = """\
{} fresh problems of each of the sixteen data sets of the card, {} in all, greedily, at most 640 tokens each. Each row
is a process of its own on one thread. Peak memory is that of loading and answering one by one; in brackets what the
process held before it loaded anything (Python, tasks and judges; PyTorch and the runtimes come with the load). The last
column is computed and not measured: 34.1 GB/s (LPDDR4X at 4,266 million transfers a second, JEDEC JESD209-4-1, 64 bits
wide) by the bytes of the weights, for every token reads them once. So small a model is held up by other things long
before; the column says how the forms compare where a model is large. Adapter and merged model come from specialists
that have forgotten part of these tasks, and say nothing against their form."""


def versions() -> str:
    """What was asked with what."""
    found = [f"Python {platform.python_version()}"]
    for package in ("torch", "llama-cpp-python", "onnxruntime"):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return ", ".join(found)


def hardware() -> str:
    """Cores and processor, as the names of results have them."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        model = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text("utf-8"))[0]
    words = re.sub(r"\(.*?\)|\b(AMD|Intel|CPU|Processor)\b", " ", model).lower()
    return f"{os.cpu_count()}x-" + "-".join(re.findall(r"[a-z0-9]+", words)[:2])


if __name__ == "__main__":
    main()
