"""What `denken doctor` says: what this machine has for a network, what is used of it, and what would make it faster.

Nothing is changed, but for the kernels, which are compiled if they are not yet. GPUs are not looked at.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from denken.model.kernels import bf16, build, integers

# Instructions that kernels use where they are, by the names of /proc/cpuinfo.
FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "AVX-VNNI",
    "avx512_vnni": "AVX-512 VNNI",
    "avx512_bf16": "AVX-512 BF16",
    "amx_int8": "AMX",
}
# What is read, again and again for a second, to measure how fast memory is: more than caches hold.
BYTES = 256 << 20
SECONDS = 1.0
GB = 1e9
# Bits of a weight with its share of a scale; of one in bf16 where it is compressed, with the numbers kept beside.
BITS, COMPRESSED = {"bf16": 16.0, "int8": 8.0, "int4": 4.5}, 12.1


@dataclass(frozen=True, slots=True)
class Advice:
    """Something that would help, and what to type for it."""

    what: str
    command: str


@dataclass(frozen=True, slots=True)
class Report:
    """memory, available: bytes. bandwidth: bytes read a second on all threads; nan where there was no room to measure.
    kernels: by which instructions whole numbers are multiplied; "PyTorch" where there are no kernels, and `why`.
    compresses: whether large networks in bf16 are read in fewer bits."""

    processor: str
    features: tuple[str, ...]
    cores: int
    threads: int
    memory: int
    available: int
    bandwidth: float
    compiler: str | None
    kernels: str
    why: str | None
    compresses: bool
    torch: str
    advice: tuple[Advice, ...]

    def most_tokens(self, weights: float) -> dict[str, float]:
        """By kind of weights, the most tokens a second that one stream can have: each reads every weight once."""
        read = BITS | {"bf16": COMPRESSED if self.compresses else BITS["bf16"]}
        return {kind: self.bandwidth / (weights * bits / 8) for kind, bits in read.items()}


def examine() -> Report:
    """Looks at the machine; takes about a second, and some more where kernels must be compiled first."""
    info = _read("/proc/cpuinfo")
    flags = set(_field(info, "flags").split())
    memory, available = (_kilobytes(name) for name in ("MemTotal", "MemAvailable"))
    compiler, kernels = _compiler(), integers.path()
    why = None if build.library() is not None else _why(compiler)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    return Report(
        _field(info, "model name") or platform.processor() or platform.machine(),
        tuple(name for flag, name in FEATURES.items() if flag in flags),
        cores,
        threads,
        memory,
        available,
        bandwidth(available),
        compiler,
        kernels,
        why,
        why is None and bf16.in_panels(2),
        torch.__version__,
        tuple(_advice(compiler, why, cores, threads)),
    )


def to_text(report: Report) -> str:
    """A line a fact, then what would help."""
    kernels = f"native, {report.kernels}" if report.why is None else f"PyTorch's: {report.why}"
    most = ", ".join(f"{speed:.0f} in {kind}" for kind, speed in report.most_tokens(1.5e9).items())
    facts = {
        "processor": f"{report.processor} ({', '.join(report.features) or 'no vector instructions that are used'})",
        "threads": f"{report.threads} of {report.cores} cores",
        "memory": f"{report.available / GB:.1f} GB free of {report.memory / GB:.1f} GB",
        "bandwidth": f"{report.bandwidth / GB:.0f} GB/s read; so of 1.5 billion weights at most {most} tokens a second",
        "compiler": report.compiler or "none",
        "kernels": kernels,
        "torch": report.torch,
    }
    lines = [f"{name:<10} {fact}" for name, fact in facts.items()]
    lines += ["", "What would make it faster:"] if report.advice else []
    return "\n".join([*lines, *(f"- {advice.what}\n  {advice.command}" for advice in report.advice)])


def _advice(compiler: str | None, why: str | None, cores: int, threads: int) -> list[Advice]:
    found = []
    if os.environ.get(build.SWITCH, "").strip().lower() == "none":
        found.append(Advice("Native kernels are switched off.", f"unset {build.SWITCH}"))
    elif why is not None and compiler is None:
        manager = next((name for name in ("apt-get", "dnf", "zypper") if shutil.which(name)), None)
        install = f"{manager} install {'g++' if manager == 'apt-get' else 'gcc-c++'}" if manager else "install g++"
        found.append(Advice("There is no C++ compiler; with one, native kernels are made once, in seconds.", install))
    if threads < cores:
        found.append(Advice(f"{threads} of {cores} processor cores are used.", f"denken chat --threads {cores}"))
    found.append(
        Advice(
            "A token reads every weight: in bf16 two bytes or three quarters of them, in int8 one, in int4 half a one.",
            "denken quantize MODEL OUT --type int4",
        )
    )
    return found


def _why(compiler: str | None) -> str:
    """Why there are no kernels."""
    if os.environ.get(build.SWITCH, "").strip().lower() == "none":
        return f"{build.SWITCH}=none is set"
    if not build.suits():
        return "kernels are for x86 processors with AVX2 and for 64-bit ARM, under Linux"
    if compiler is None:
        return "there is no C++ compiler"
    return "they do not compile here, or the folder they would lie in can be written to by others"


def _compiler() -> str | None:
    """The compiler that kernels are made with, as it names itself."""
    for path in filter(None, map(shutil.which, build.COMPILERS)):
        try:
            told = subprocess.run([path, "--version"], capture_output=True, check=True, timeout=30, text=True).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        return told.splitlines()[0] if told else path
    return None


def bandwidth(available: int = 0) -> float:
    """Bytes read a second on all threads, the best pass of a second of them; nan where there is no room to measure.

    available: bytes of memory; 0 where nobody knows.
    """
    if 0 < available < 4 * BYTES:
        return float("nan")
    numbers = torch.ones(BYTES // 4)
    best, started = float("inf"), time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        before = time.perf_counter()
        numbers.sum()
        best = min(best, time.perf_counter() - before)
    return BYTES / best


def _read(path: str) -> str:
    return Path(path).read_text(encoding="utf-8", errors="replace") if Path(path).exists() else ""


def _field(text: str, name: str) -> str:
    """The first value of that name in lines of `name : value`."""
    pairs = (line.partition(":") for line in text.splitlines())
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")


def _kilobytes(name: str) -> int:
    """A figure of /proc/meminfo in bytes; 0 where there is none."""
    words = _field(_read("/proc/meminfo"), name).split()
    return int(words[0]) * 1024 if words and words[0].isdigit() else 0
