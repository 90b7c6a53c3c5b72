"""Where a program that a model wrote is run: alone in a locked process, asked from outside, believed in nothing.

`serve` is a process of its own that knows neither tests nor expected values, so that no program can find them in its
memory. For each program it forks a child. The child gives up everything (`sandbox.lock_down`), reads the program from
its socket, runs it, and then answers questions about it until it is killed: what is this name, what does this function
return for these arguments. Values cross the socket as JSON, spelt by `encode`; whatever is no plain value stays inside
and is answered for by a number.

Who asks, and what makes a program right, is `code.py`'s business. What is not covered: packages outside the standard
library, files, standard input, threads.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

from denken import sandbox

MEMORY_BYTES = 1 << 30
MAX_MESSAGE = 2_000_000
MAX_DIGITS = 50_000
CHANNEL = 3
# Imported before the doors close: a program that imports anything else fails.
LIBRARY = """
    abc array bisect calendar cmath collections collections.abc contextlib copy dataclasses datetime decimal difflib
    enum fractions functools hashlib heapq io itertools json keyword math numbers operator queue random re secrets
    statistics string struct textwrap time types typing unicodedata uuid weakref zlib
""".split()  # noqa: SIM905

_PLAIN = (bool, int, float, str)
_BOXES: dict[str, Callable[[list[Any]], Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}


def encode(value: Any, keep: Callable[[Any], int]) -> Any:
    """A value as JSON: `[kind, content]`, so that a tuple stays a tuple. `keep` numbers what is no plain value."""
    kind = type(value)
    if value is None or kind in _PLAIN:
        return [kind.__name__, repr(value) if kind is float else value]
    if kind.__name__ in _BOXES and kind in (list, tuple, set, frozenset):
        return [kind.__name__, [encode(item, keep) for item in value]]
    if kind is dict:
        return ["dict", [[encode(key, keep), encode(item, keep)] for key, item in value.items()]]
    if kind in (bytes, bytearray):
        return [kind.__name__, value.hex()]
    if kind is complex:
        return ["complex", [repr(value.real), repr(value.imag)]]
    return ["object", keep(value)]


def decode(told: Any, find: Callable[[int], Any]) -> Any:
    """The value that `encode` spelt; ValueError, TypeError or RecursionError for anything else."""
    kind, content = told
    if kind in ("NoneType", "bool", "int", "str"):
        if type(content).__name__ != kind:
            raise ValueError(f"{kind} expected")
        return content
    if kind == "float":
        return float(content)
    if kind in _BOXES:
        return _BOXES[kind]([decode(item, find) for item in content])
    if kind == "dict":
        return {decode(key, find): decode(item, find) for key, item in content}
    if kind in ("bytes", "bytearray"):
        return bytes.fromhex(content) if kind == "bytes" else bytearray.fromhex(content)
    if kind == "complex":
        return complex(float(content[0]), float(content[1]))
    if kind == "object" and type(content) is int:
        return find(content)
    raise ValueError(f"no kind of value: {str(kind)[:20]}")


class Line:
    """Messages, a line of JSON each, over a descriptor. EOFError when the other side is gone or says too much."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._pending = b""

    def send(self, message: Any) -> None:
        left = memoryview(json.dumps(message).encode() + b"\n")
        while left:
            left = left[os.write(self.descriptor, left) :]

    def receive(self) -> Any:
        while b"\n" not in self._pending:
            chunk = os.read(self.descriptor, 1 << 16)
            if not chunk or len(self._pending) > MAX_MESSAGE:
                raise EOFError
            self._pending += chunk
        line, self._pending = self._pending.split(b"\n", 1)
        return json.loads(line)


def serve() -> None:
    """The loop of the process: a request with a socket comes over standard input's, one child a request.

    A request is the number of seconds that the child may live. The next byte on standard input, or its end, ends it
    earlier. Each end is confirmed by a byte. First of all one byte says whether this system's locks hold.
    """
    control = socket.socket(fileno=os.dup(0))
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    for name in LIBRARY:
        importlib.import_module(name)
    control.sendall(b"1" if locks_hold() else b"0")
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not request:
            return
        seconds = float(request)
        child = os.fork()
        if child == 0:
            _be_the_program(descriptors[0], seconds)
        os.close(descriptors[0])
        select.select([control], [], [], seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if not control.recv(1):
            return
        control.sendall(b".")


def locks_hold() -> bool:
    """Whether a locked process on this system can open no file: tried out in a child."""
    child = os.fork()
    if child == 0:
        try:
            sandbox.lock_down(seconds=5, memory_bytes=MEMORY_BYTES, descriptors=64)
            os.open(os.devnull, os.O_RDONLY)
        except PermissionError:  # the filter's answer; a limit would say something else
            os._exit(7)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def _be_the_program(channel: int, seconds: float) -> None:
    try:
        os.dup2(channel, CHANNEL)
        sandbox.close_descriptors(keep=CHANNEL + 1)
        sandbox.lock_down(seconds=seconds, memory_bytes=MEMORY_BYTES, descriptors=CHANNEL + 1)
        _answer(Line(CHANNEL))
    finally:
        os._exit(0)


def _answer(line: Line) -> None:
    """Runs the program, then answers questions: `[what, number, name, arguments]` to `["value" or "error", ...]`."""
    sys.set_int_max_str_digits(MAX_DIGITS)
    module = types.ModuleType("answer")
    sys.modules["answer"], names = module, module.__dict__  # dataclasses look their module up
    objects: list[Any] = []

    def keep(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    def answer(what: str, number: int, name: str, arguments: list[Any], named: dict[str, Any]) -> Any:
        if what == "run":
            exec(compile(name, "<answer>", "exec"), names)  # noqa: S102  what this locked process is there for
            return None
        if what == "name":
            return names[name]
        target = objects[number]
        if what == "attribute":
            return getattr(target, name)
        return _OPERATIONS[what](target, *arguments, **named)

    while True:
        what, number, name, arguments, named = line.receive()
        arguments = [decode(told, objects.__getitem__) for told in arguments]
        named = {key: decode(told, objects.__getitem__) for key, told in named.items()}
        try:
            value = answer(what, number, name, arguments, named)
            told = ["value", encode(value, keep), [encode(argument, keep) for argument in arguments]]
        except BaseException as error:
            told = ["error", type(error).__name__, [kind.__name__ for kind in type(error).__mro__]]
        line.send(told)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda target, *arguments, **named: target(*arguments, **named),
    "len": len,
    "iter": iter,
    "next": next,
    "item": lambda target, key: target[key],
    "equal": lambda target, other: target == other,
    "text": str,
    "true": bool,
}


if __name__ == "__main__":
    serve()
