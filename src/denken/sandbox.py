"""What a process gives up before it looks at what a model or a stranger wrote.

Several verifiers of reasoning-gym hand answers to `eval` or to sympy's parser; files and pages go through parsers that
are large and partly in C. `lock_down` runs in a freshly forked child, after everything trusted has been imported and
opened: from then on the process computes, writes to what is open, and can do nothing else. Four fences, each of which
holds where an outer one is missing:

1. resource limits: memory, processor seconds, no file growth, no new descriptors, no new processes;
2. no new privileges, and death together with the parent;
3. on Linux (x86-64, arm64) a seccomp filter that allows about thirty system calls and refuses all others, so nothing
   is opened, removed, created, started, signalled or sent, not even by root (whom limits on processes do not bind);
4. `isolate`, in the parent of those children: no network and no IPC where the kernel lets an ordinary user say so.

What is not covered: text that runs inside a verifier can still forge that one verifier's verdict. `denken.tasks.gym`
keeps such text away from those verifiers with a grammar for each. Windows has none of this and is refused.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
import sys

_PR_SET_PDEATHSIG, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 1, 22, 38
_SECCOMP_MODE_FILTER = 2
_SIGKILL = 9
_CLONE_NEWIPC, _CLONE_NEWUSER, _CLONE_NEWNET = 0x08000000, 0x10000000, 0x40000000

# Computing, memory, time, and reading and writing what is already open: per machine, the kernel's audit number and
# the numbers of read, write, close, fstat, lseek, mmap, mprotect, munmap, brk, mremap, madvise, rt_sigaction,
# rt_sigprocmask, rt_sigreturn, sigaltstack, futex, sched_yield, getpid, gettid, getrusage, gettimeofday,
# clock_gettime, clock_getres, nanosleep, clock_nanosleep, restart_syscall, getrandom, exit, exit_group, rseq.
_CALLS = {
    "x86_64": (
        0xC000003E,
        "0 1 3 5 8 9 10 11 12 25 28 13 14 15 131 202 24 39 186 98 96 228 229 35 230 219 318 60 231 334",
    ),
    "aarch64": (
        0xC00000B7,
        "63 64 57 80 62 222 226 215 214 216 233 134 135 139 132 98 124 172 178 165 169 "
        "113 114 101 115 128 278 93 94 293",
    ),
}
_ALLOW, _DENY, _KILL = 0x7FFF0000, 0x00050001, 0x80000000  # _DENY answers EPERM


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def isolate() -> bool:
    """Leaves the network and the shared-memory namespaces; False where the system does not permit that."""
    if not sys.platform.startswith("linux"):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    spaces = _CLONE_NEWNET | _CLONE_NEWIPC
    return bool(libc.unshare(spaces) == 0 or libc.unshare(spaces | _CLONE_NEWUSER) == 0)


def lock_down(*, seconds: float, memory_bytes: int, descriptors: int) -> None:
    """Gives up everything but computing; there is no way back. `descriptors`: the highest open one, plus one."""
    cpu = int(seconds) + 1
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_NOFILE, descriptors),
        (resource.RLIMIT_NPROC, 0),
    ]
    if sys.platform.startswith("linux"):  # macOS accepts this limit and does not keep it
        limits.append((resource.RLIMIT_AS, memory_bytes))
    for kind, most in limits:
        hard = resource.getrlimit(kind)[1]
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (most, most))
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _filter_calls(libc)


def _filter_calls(libc: ctypes.CDLL) -> None:
    """Installs the seccomp filter; where the kernel or the machine has none, the resource limits remain."""
    if platform.machine() not in _CALLS or sys.maxsize < 2**32:
        return
    audit, listed = _CALLS[platform.machine()]
    calls = [int(call) for call in listed.split()]
    code = [_op(0x20, 4), _op(0x15, audit, 1, 0), _op(0x06, _KILL), _op(0x20, 0)]  # load the machine, then the call
    code += [_op(0x15, call, len(calls) - i, 0) for i, call in enumerate(calls)]  # equal: jump to "allow"
    code += [_op(0x06, _DENY), _op(0x06, _ALLOW)]
    program = _Program(len(code), b"".join(code))
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0)


def _op(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)


def close_descriptors(*, keep: int) -> None:
    """Closes every descriptor from `keep` up, so that a child holds none of its parent's."""
    os.closerange(keep, min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 65_536))
