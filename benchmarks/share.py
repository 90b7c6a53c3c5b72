"""How much of a decode step is Python: the time outside of native code, of one stream and of several.

    python benchmarks/share.py
    python benchmarks/share.py --networks 5M --streams 1 32

The networks are those of `engine.py`, of random weights. What is measured is the whole of `Engine.step` beside the
calls into our native code within it, over some seconds or until a text is over, after a warm-up. Products of a small
bf16 network are PyTorch's, and count as outside.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import engine
from denken.model.kernels import attention, bf16, call, decode, elementwise, integers, products, rows, softmax

MODULES = (attention, bf16, decode, elementwise, integers, products, rows, softmax)

KINDS = {"1.5B": ("int4", "int8", "bf16"), "5M": ("fp32", "int8", "bf16")}


class Clock:
    """Seconds within native code since the last look."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, kernel: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            began = time.perf_counter()
            try:
                return kernel(*given)
            finally:
                self.seconds += time.perf_counter() - began

        return timed


def measure(shape: str, kind: str, streams: int, threads: int, seconds: float) -> tuple[float, float]:
    """Tokens a second, and the share of the time that is not native code's."""
    clock, found = Clock(), call.kernel
    for module in MODULES:
        module.kernel = lambda *given: clock.around(found(*given))  # type: ignore[attr-defined]
    try:
        ours = engine.Ours(engine.SHAPES[shape], kind, threads, Path(), streams)
        ours.start([[7 + i] * 32 for i in range(streams)])
        ours.decode(4)
        made, clock.seconds, began = 0, 0.0, time.perf_counter()
        while (took := time.perf_counter() - began) < seconds and ours.engine.running == streams:
            made += sum(len(output.ids) for output in ours.engine.step())
    finally:
        for module in MODULES:
            module.kernel = found  # type: ignore[attr-defined]
    return made / took, 1 - clock.seconds / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    console = Console(width=100)
    table = Table("network", "weights", "streams", "tokens/s", "outside native code")
    for shape in given.networks:
        for kind in KINDS[shape]:
            for streams in given.streams:
                speed, share = measure(shape, kind, streams, given.threads, given.seconds)
                table.add_row(shape, kind, str(streams), f"{speed:,.1f}", f"{share:.1%}")
    console.print(f"{platform.machine()}, {given.threads} threads, torch {torch.__version__}, {date.today()}")
    console.print(table)


if __name__ == "__main__":
    main()
