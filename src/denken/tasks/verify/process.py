"""A verifier that is not ours runs here: in a process that is locked down, timed, killed and thrown away.

Three processes take part. The caller holds a `Worker`. The worker's server imports libraries and prepares problems,
which is trusted work, once. For each answer the server forks a child; only the child reads the answer, after
`sandbox.lock_down`, and it ends with its one verdict, so what an answer does to a verifier's state ends with it too.

Requests and replies are lines of JSON over pipes: nothing from a child is ever unpickled, and of its reply the server
keeps one number. The server starts in an empty folder with an empty environment but for PYTHONHASHSEED=0 (some data
sets iterate over sets, and are only reproducible so).

A judge of programs asks a further process, in which the program runs (`Conversing`, `code.py`).

What is not covered: which verifier judges what (`denken.tasks.gym`, `denken.tasks.dataset`).
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import math
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any, Protocol, runtime_checkable

import denken
from denken.errors import ConfigError, VerifierTimeout

MAX_ANSWER_CHARACTERS = 20_000
DEFAULT_TIMEOUT = 5.0
PREPARE_TIMEOUT = 180.0
MEMORY_BYTES = 2 << 30
_SAYS, _REACHES = 3, 4  # a child's descriptors: for its verdict, and to the process that it asks

Judge = Callable[[str], float]


@runtime_checkable
class Conversing(Protocol):
    """A judge that asks another process, which is there for one verdict: between `open` and `close`.

    `open` returns the descriptor that reaches it; both are called outside the locked child that judges.
    """

    def open(self) -> int: ...

    def close(self) -> None: ...

    def __call__(self, answer: str, descriptor: int) -> float: ...


class Worker:
    """A server process, started at the first request, restarted after a failure, closed at exit."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._folder: str | None = None
        self._pending = b""

    def call(self, target: str, arguments: Mapping[str, Any]) -> Any:
        """The JSON value of a trusted `module:function(**arguments)`, evaluated in the server."""
        with self._lock:
            return self._prepared({"call": target, "arguments": dict(arguments)})

    def judge(
        self, target: str, arguments: Mapping[str, Any], answer: str, *, timeout: float = DEFAULT_TIMEOUT
    ) -> float:
        """The score of `answer` by the judge that the trusted `module:function(**arguments)` returns, 0.0 to 1.0.

        timeout: wall-clock seconds for the verdict. Preparing (imports, generation) has `PREPARE_TIMEOUT`.
        Raises VerifierTimeout when the verdict outlived its time, ConfigError when the problem could not be prepared.
        An answer that makes the judge fail in any other way scores 0.0.
        """
        request = {"judge": target, "arguments": dict(arguments), "answer": answer, "timeout": timeout}
        with self._lock:
            self._prepared(request)
            try:
                reply = self._receive(timeout + 2.0)
            except TimeoutError:  # the server itself hangs or is stopped
                reply = {"timeout": True}
                self._kill()
            except EOFError:
                self._kill()
                return 0.0
        if reply.get("timeout"):
            raise VerifierTimeout(f"The verifier was killed after {timeout:g} s; the answer counts as wrong.")
        return float(reply["score"])

    def close(self) -> None:
        with self._lock:
            self._kill()

    def _prepared(self, request: dict[str, Any]) -> Any:
        try:
            self._send(request)
            reply = self._receive(PREPARE_TIMEOUT)
        except (TimeoutError, EOFError, BrokenPipeError) as error:
            said = self._last_words()
            self._kill()
            what = "did not answer in time" if isinstance(error, TimeoutError) else "ended"
            raise ConfigError(f"The verifier's process {what} while preparing a problem. {said}".strip()) from error
        if "error" in reply:
            raise ConfigError(f"The verifier could not prepare the problem. {reply['error']}")
        return reply["value"]

    def _send(self, request: dict[str, Any]) -> None:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()

    def _receive(self, seconds: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        descriptor, end = self._process.stdout.fileno(), time.monotonic() + seconds
        while b"\n" not in self._pending:
            if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError
            chunk = os.read(descriptor, 1 << 16)
            if not chunk:
                raise EOFError
            self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        reply: dict[str, Any] = json.loads(line)
        return reply

    def _start(self) -> None:
        if os.name != "posix":
            raise ConfigError("This task's verifier needs Linux or macOS; on Windows, use it inside WSL.")
        self._kill()
        self._folder = tempfile.mkdtemp(prefix="denken-verify-")
        search = [str(Path(denken.__file__).parents[1]), *(path for path in sys.path if path)]
        environment = {"PYTHONHASHSEED": "0", "PYTHONPATH": os.pathsep.join(search), "OPENBLAS_NUM_THREADS": "1"}
        with open(Path(self._folder, "stderr"), "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-B", "-c", "from denken.tasks.verify.process import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=self._folder,
                env=environment,
                start_new_session=True,
            )
        self._owner, self._pending = os.getpid(), b""
        atexit.register(self.close)

    def _last_words(self) -> str:
        path = Path(self._folder or "", "stderr")
        return path.read_text(errors="replace")[-500:] if self._folder and path.exists() else ""

    def _kill(self) -> None:
        process, self._process, self._pending = self._process, None, b""
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        if self._owner == os.getpid():  # a fork of the caller must leave its parent's server alone
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            atexit.unregister(self.close)
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            process.stdin.close()
        process.stdout.close()


def serve() -> None:
    """The server's loop: one request a line, until the caller closes the pipe."""
    from denken import sandbox

    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    requests = os.fdopen(os.dup(0), "rb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):  # what a library prints must not land among the replies
        os.dup2(nowhere, standard)
    sandbox.isolate()
    for line in requests:
        request = json.loads(line)
        try:
            prepared = _resolve(request.get("call") or request["judge"])(**request["arguments"])
        except Exception as error:
            _reply(replies, {"error": f"{type(error).__name__}: {str(error)[:500]}"})
            continue
        if "call" in request:
            _reply(replies, {"value": prepared})
        else:
            _reply(replies, {"value": None})
            _reply(replies, _verdict(prepared, request["answer"], request["timeout"], nowhere))


def _resolve(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


def _reply(replies: IO[bytes], value: dict[str, Any]) -> None:
    replies.write(json.dumps(value).encode() + b"\n")


def _verdict(judge: Judge | Conversing, answer: str, seconds: float, nowhere: int) -> dict[str, Any]:
    if not isinstance(judge, Conversing):
        return _child_says(judge, answer, seconds, nowhere)
    reaching, conversing = judge.open(), judge
    try:
        return _child_says(lambda text: conversing(text, _REACHES), answer, seconds, nowhere, reaching)
    finally:
        judge.close()


def _child_says(judge: Judge, answer: str, seconds: float, nowhere: int, reaching: int | None = None) -> dict[str, Any]:
    """Forks, lets the child judge, and keeps one number of what it says."""
    gc.freeze()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _judge_and_exit(judge, answer, seconds, nowhere, writing, reaching)
    os.close(writing)
    said, end = b"", time.monotonic() + seconds
    timed_out = False
    while len(said) < 64:
        if not select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
            timed_out = True
            break
        chunk = os.read(reading, 64)
        if not chunk:
            break
        said += chunk
    os.close(reading)
    os.kill(child, signal.SIGKILL)  # it has not been waited for, so the id is still its own
    status = os.waitpid(child, 0)[1]
    out_of_processor_time = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU
    if timed_out or out_of_processor_time:
        return {"timeout": True}
    return {"score": _number(said)}


def _number(said: bytes) -> float:
    try:
        score = float(said.decode("ascii"))
    except ValueError:
        return 0.0
    return min(1.0, max(0.0, score)) if math.isfinite(score) else 0.0


def _judge_and_exit(
    judge: Judge, answer: str, seconds: float, nowhere: int, writing: int, reaching: int | None
) -> None:
    from denken import sandbox

    try:
        os.dup2(nowhere, 2)
        if reaching is not None:
            reaching = os.dup2(reaching, 64)  # out of the way of the two below
        os.dup2(writing, _SAYS)
        kept = _SAYS + 1
        if reaching is not None:
            os.dup2(reaching, _REACHES)
            kept = _REACHES + 1
        sandbox.close_descriptors(keep=kept)
        sandbox.lock_down(seconds=seconds, memory_bytes=MEMORY_BYTES, descriptors=kept)
        score = float(judge(answer))
        os.write(_SAYS, repr(score).encode())
    finally:
        os._exit(0)
