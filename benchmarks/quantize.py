"""What each way of quantising costs: `denken quantize` for int8 and int4, by plain rounding and by GPTQ.

    make bench                      # or: python benchmarks/quantize.py --problems 5

The model is measured once and each quantised one against it, on the same texts and problems: of each of eighteen tasks
`--problems` fresh ones, answered greedily. Printed, variant by variant, are the tables that `denken quantize` prints,
and last one of them all.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import torch

from denken.assistant import Assistant, find_folder, load
from denken.quantize import check, folder
from denken.quantize.check import Measured, Report

VARIANTS = (("int4", "gptq"), ("int8", "gptq"), ("int4", "round"), ("int8", "round"))


def main() -> None:
    """Quantises and measures; a row is printed as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--problems", type=int, default=5, help="of each task")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    start = find_folder(args.model)

    @contextmanager
    def opened(place: Path) -> Iterator[Assistant]:
        with load(place, threads=args.threads) as assistant:
            yield assistant

    where = f"{platform.machine()}, torch {torch.__version__}, {args.threads} threads, load {os.getloadavg()[0]:.0f}"
    print(f"{date.today()}, {where}", flush=True)
    before: Measured | None = None
    lines = []
    with tempfile.TemporaryDirectory() as place:
        for kind, method in VARIANTS:
            began, cpu = time.perf_counter(), time.process_time()
            plan = folder.Plan(folder.scheme(int(kind[3:])), method, problems=args.problems)
            report = folder.quantize(
                start, Path(place) / f"{kind}-{method}", plan, opened, progress=False, before=before
            )
            before = report.before
            seconds, busy = time.perf_counter() - began, time.process_time() - cpu
            print(f"\n{kind}, {method}: {seconds:.0f} s, {busy:.0f} s of them on the processor\n")
            print(check.markdown(report), flush=True)
            lines.append(_line(f"{kind}, {method}", report))
    print("\n| | weights, MB | perplexity | right answers, % | change, points (95 %) |\n|---|---:|---:|---:|---:|")
    print("\n".join(lines))


def _line(name: str, report: Report) -> str:
    size, perplexity, *_, right = check.rows(report)
    return f"| {name} | {size[2]} | {perplexity[2]} | {right[2]} | {right[3]} |"


if __name__ == "__main__":
    main()
