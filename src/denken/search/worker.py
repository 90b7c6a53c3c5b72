"""Files and pages of strangers are parsed here: each in a process of its own that is locked down, timed, thrown away.

Parsers of HTML, PDF and DOCX are large, partly in C, and can be made to take minutes and gigabytes. So one server
process imports them, once; for each document it forks a child, which gives up everything (`denken.sandbox`), reads the
document from a socket, parses it (`formats.py`), writes JSON to the socket and ends. A timer of the kernel kills it
where it does not. Nothing of a child's is ever unpickled, and what it says is bounded.

The server ends when the process that started it does: its end of their socket then closes.

Not covered: what is parsed how; systems without `fork` (Windows), where these kinds of files are refused.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import denken
from denken.errors import DenkenError

MEMORY_BYTES = 1536 * 2**20
MAX_REPLY_BYTES = 32 * 2**20
START_SECONDS = 30.0
_DOCUMENT = 3  # a child's one descriptor beside the standard ones


class ParseError(DenkenError, ValueError):
    """A document could not be parsed: its own fault, or it took too long; the text is the end of a sentence."""


class Worker:
    """The server process, started at the first document and again where it has ended. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    def parse(self, kind: str, data: bytes, options: Mapping[str, Any], *, seconds: float) -> dict[str, Any]:
        """What `formats.PARSERS[kind](data, **options)` returns. Raises ParseError."""
        if not hasattr(os, "fork"):
            raise ParseError("needs Linux or macOS to be read; on Windows, use WSL, or save it as plain text.")
        header = json.dumps({"kind": kind, "options": dict(options), "seconds": seconds}).encode() + b"\n"
        ours = self._child()
        with ours:
            said = _exchange(ours, header + data, seconds)
        if said is None:
            raise ParseError(f"took longer than {seconds:g} s to read.")
        try:
            reply = json.loads(said)
        except (ValueError, RecursionError):  # it was killed, had no memory left to say anything, or was taken over
            reply = None
        if not isinstance(reply, dict):
            raise ParseError("could not be read: it is damaged, or needs too much memory or time.")
        if "error" in reply:
            raise ParseError(str(reply["error"])[:300])
        return reply

    def start(self) -> None:
        """So that the first document need not wait for it."""
        if hasattr(os, "fork"):
            with self._lock:
                self._server()

    def _child(self) -> socket.socket:
        """A socket whose other end a new child has got."""
        ours, theirs = socket.socketpair()
        with theirs, self._lock:
            for attempt in (1, 2):
                control = self._server()
                try:
                    socket.send_fds(control, [b"d"], [theirs.fileno()])
                    return ours
                except OSError as error:
                    self._control = None
                    control.close()
                    if attempt == 2:
                        ours.close()
                        raise ParseError(f"could not be read: no process could be started ({error}).") from error
        raise AssertionError("never reached")

    def _server(self) -> socket.socket:
        if self._control is not None and self._owner == os.getpid():
            return self._control
        ours, theirs = socket.socketpair()
        search = [str(Path(denken.__file__).parents[1]), *(path for path in sys.path if path)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-B", "-c", "from denken.search.worker import serve; serve()"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=tempfile.gettempdir(),
                env={"PYTHONPATH": os.pathsep.join(search)},
                start_new_session=True,  # Ctrl-C is for whoever uses it
            )
        self._control, self._owner = ours, os.getpid()
        return ours


def _exchange(ours: socket.socket, sent: bytes, seconds: float) -> bytes | None:
    """What the child says to a document; None where its time is over. The server may have to start first."""
    end = time.monotonic() + seconds + START_SECONDS
    said = bytearray()
    try:
        ours.settimeout(seconds + START_SECONDS)
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)
        while len(said) <= MAX_REPLY_BYTES:
            ours.settimeout(max(0.01, end - time.monotonic()))
            chunk = ours.recv(1 << 16)
            if not chunk:
                return bytes(said)
            said += chunk
    except TimeoutError:
        return None
    except OSError:  # the child has ended before it had read everything
        return bytes(said)
    return b""


def serve() -> None:
    """The server's loop: a child for each descriptor that comes through standard input, until that is closed."""
    from denken import sandbox  # here, for Windows has none of what it imports
    from denken.search import formats

    with socket.socket(fileno=os.dup(0)) as control:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 0)
        sandbox.isolate()
        formats.warm_up()
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
        while True:
            told, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not told:
                return
            if os.fork() == 0:
                _parse_and_exit(descriptors[0])
            os.close(descriptors[0])


def _parse_and_exit(descriptor: int) -> None:
    from denken import sandbox
    from denken.search import formats

    try:
        if descriptor != _DOCUMENT:
            os.dup2(descriptor, _DOCUMENT)
        sandbox.close_descriptors(keep=_DOCUMENT + 1)
        header, begun = _header()
        signal.setitimer(signal.ITIMER_REAL, header["seconds"])  # SIGALRM, which ends the process
        sandbox.lock_down(seconds=header["seconds"], memory_bytes=MEMORY_BYTES, descriptors=_DOCUMENT + 1)
        data = begun + b"".join(iter(lambda: os.read(_DOCUMENT, 1 << 20), b""))
        said = json.dumps(formats.parse(header["kind"], data, header["options"])).encode()
        while said:
            said = said[os.write(_DOCUMENT, said) :]
    finally:
        os._exit(0)


def _header() -> tuple[dict[str, Any], bytes]:
    """The first line, which is the house's own, and what of the document has come with it."""
    read = b""
    while b"\n" not in read:
        chunk = os.read(_DOCUMENT, 1 << 16)
        if not chunk:
            os._exit(1)
        read += chunk
    line, begun = read.split(b"\n", 1)
    header: dict[str, Any] = json.loads(line)
    return header, begun
