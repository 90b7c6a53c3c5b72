"""Compiles the kernels when they are first needed, and keeps what came of it in the user's cache folder.

A wheel stays pure Python and an editable installation needs no step of its own. The file's name carries a digest of
sources, compiler, options and processor, so a changed source, another compiler or another machine that shares the
folder gets a file of its own; it is written under a temporary name and renamed, so several processes may do it at once.
What lies in the cache is code that will run here: a folder or a file that somebody else could have written is not used.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent
# "none": do without. Anything else, or nothing: compile and use them.
SWITCH = "DENKEN_KERNELS"
COMPILERS = ("g++", "clang++", "c++")
OPTIONS = ["-std=c++17", "-O3", "-march=native", "-fPIC", "-fopenmp", "-fvisibility=hidden"]
OPTIONS += ["-fno-math-errno", "-fno-trapping-math"]
# Where each number must be rounded as by PyTorch's separate operations, no product may flow unrounded into a sum.
OPTIONS_OF = {name: ["-ffp-contract=off"] for name in ("elementwise.cpp", "experts.cpp", "integers.cpp")}
SECONDS = 120.0


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where there are to be none, or can be none. Asked once a process."""
    if os.environ.get(SWITCH, "").strip().lower() == "none" or not suits():
        return None
    for compiler in filter(None, map(shutil.which, COMPILERS)):
        try:
            path = _compiled(compiler)
            _share_openmp()
            return ctypes.CDLL(str(path))
        except PermissionError:
            return None
        except (OSError, RuntimeError, subprocess.SubprocessError):  # no home, no room, a compiler that cannot
            continue
    return None


def suits() -> bool:
    """Linux, on x86 with AVX2 at least, where sums are in the order of PyTorch's kernels, or on 64-bit ARM."""
    import torch

    if is_x86():
        able = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    else:
        able = platform.machine().lower() in ("aarch64", "arm64")
    return able and sys.platform == "linux"


def is_x86() -> bool:
    return platform.machine().lower() in ("x86_64", "amd64")


def _compiled(compiler: str) -> Path:
    """The library's file, made if it is not there."""
    sources = sorted(path for path in SOURCES.iterdir() if path.suffix in (".cpp", ".h"))
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True, timeout=SECONDS).stdout
    digest = hashlib.sha256(repr((OPTIONS, OPTIONS_OF, _processor())).encode() + version)
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    folder = _folder()
    path = folder / f"kernels-{digest.hexdigest()[:32]}.so"
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=folder) as made:
            os.replace(_compile(compiler, sources, Path(made)), path)
    own(path)
    return path


def _compile(compiler: str, sources: list[Path], folder: Path) -> Path:
    """All sources side by side, then put together. Nothing is linked: OpenMP is PyTorch's own, loaded before."""
    jobs = []
    for source in (path for path in sources if path.suffix == ".cpp"):
        options = [*OPTIONS, *OPTIONS_OF.get(source.name, []), "-c", str(source), "-o", f"{folder / source.stem}.o"]
        jobs.append(subprocess.Popen([compiler, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    try:
        failed = [job.wait(timeout=SECONDS) for job in jobs]
    finally:
        for job in jobs:
            job.kill()
    if any(failed):
        raise OSError("the kernels do not compile")
    objects = [str(path) for path in sorted(folder.glob("*.o"))]
    made = folder / "kernels.so"
    subprocess.run([compiler, "-shared", *objects, "-o", str(made)], capture_output=True, check=True, timeout=SECONDS)
    return made


def _share_openmp() -> None:
    """PyTorch's OpenMP becomes known to what is loaded after it; some builds have loaded it for themselves alone."""
    if hasattr(ctypes.CDLL(None), "omp_get_thread_num"):
        return
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    for path in {line.split()[-1] for line in mapped if "libgomp" in line}:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)


def _folder() -> Path:
    """The cache folder, which nobody else may write to."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return own_folder(Path(base) / "denken" / "kernels")


def own_folder(folder: Path) -> Path:
    """The folder, made if it is not there. PermissionError as `own`."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own(folder)
    return folder


def own(path: Path) -> None:
    """PermissionError unless the file or folder is this user's, and others cannot write to it."""
    status = path.stat()
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError(f"{path} belongs to another user, or others may write to it")


def _processor() -> str:
    """What the processor can do: a cache may be shared by machines that differ."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    return next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), platform.machine())
