"""Is this program right? Unit tests decide, and the program can neither see nor sway them.

Two processes take part, both locked down and timed. One runs the program (`program.py`). The other runs the tests: a
name in them that is neither a built-in nor their own stands for the program's, and calling it asks the other process.
What comes back is a plain value, rebuilt here, or a `Remote` that equals no plain value; so a program that returns an
object equal to everything, replaces `len` or `==`, ends the process, or writes its own verdict, has passed no test.

Tests are plain Python, as in MBPP and HumanEval:

    assert double(2) == 4            statements
    def test_zero(): ...             functions whose names begin with test_ are called

What is not covered: functions that are named like a built-in (`sum`), since tests would mean the built-in; `in` and
arithmetic with the program's own objects; arguments that a function changes, unless it returns None and they are lists,
dictionaries, sets or bytearrays; packages outside the standard library; systems without the locks (all but Linux on
x86-64 and arm64), where `judge` refuses to begin.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, TypeVar

from denken.errors import ConfigError
from denken.tasks.verify.program import MAX_DIGITS, Line, decode, encode

_T = TypeVar("_T")
START_SECONDS = 30.0
_BLOCK = re.compile(r"^```[ \t]*(?:python3?|py)?[ \t]*\n(.*?)^```", re.MULTILINE | re.DOTALL | re.IGNORECASE)


def program(answer: str) -> str:
    """The last block of Python code in an answer; an answer without fences is the program itself.

    >>> program("So:\\n```python\\nx = 1\\n```\\nDone.")
    'x = 1\\n'
    """
    blocks: list[str] = _BLOCK.findall(answer)
    return blocks[-1] if blocks else "" if "```" in answer else answer


def check_tests(tests: str) -> None:
    """ConfigError for tests that are no Python, or that test nothing."""
    try:
        tree = ast.parse(tests)
        compile(tree, "<tests>", "exec")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigError(f"the tests are no Python ({error}).") from error
    if not any(isinstance(node, ast.Assert | ast.Raise | ast.Call) for node in ast.walk(tree)):
        raise ConfigError("the tests assert nothing; write lines such as: assert double(2) == 4")
    if not _asked(tree):
        raise ConfigError("the tests ask for nothing of the program's; write lines such as: assert double(2) == 4")


def ready() -> bool:
    """Whether programs can be judged here; called in the verifier's process. ConfigError where they cannot."""
    _room()
    return True


def judge(tests: str, seconds: float) -> Examiner:
    """A judge of programs by these tests; called in the verifier's process, before any program is read."""
    check_tests(tests)
    tree = ast.parse(tests)
    for node in ast.walk(tree):  # what the tests import has to be there before the doors close
        for name in _imported(node):
            importlib.import_module(name)
    return Examiner(tree, seconds, _room())


class Examiner:
    """Runs one problem's tests; a judge that converses (`process.Conversing`)."""

    def __init__(self, tree: ast.Module, seconds: float, room: Room) -> None:
        self._code = compile(tree, "<tests>", "exec")
        self._asked = _asked(tree)
        self._seconds = seconds
        self._room = room

    def open(self) -> int:
        """Starts a process for the program; returns the descriptor that reaches it."""
        return self._room.open(self._seconds)

    def close(self) -> None:
        """Ends that process."""
        self._room.close()

    def __call__(self, answer: str, descriptor: int) -> float:
        """1.0 for a program that passes; called in the locked process that runs the tests."""
        sys.set_int_max_str_digits(MAX_DIGITS)
        asking = _Asking(Line(descriptor))
        names: dict[str, Any] = {"__name__": "tests"}
        try:
            asking.ask("run", name=program(answer))
            for name in self._asked:
                with contextlib.suppress(KeyError):
                    names[name] = asking.ask("name", name=name)
            if not names.keys() & self._asked:
                return 0.0
            exec(self._code, names)  # noqa: S102  the tests are the task's own
            for name, value in list(names.items()):
                if name.startswith("test_") and name not in self._asked:
                    value()
        except Exception:
            return 0.0
        return 1.0


class Remote:
    """Something of the program's that is no plain value: a function, an object. Asked, never trusted.

    It equals a plain value never, and another Remote if the program says so.
    """

    __slots__ = ("_asking", "_number")

    def __init__(self, asking: _Asking, number: int) -> None:
        object.__setattr__(self, "_asking", asking)
        object.__setattr__(self, "_number", number)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._asking.ask("call", self._number, "", arguments, named)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._asking.ask("attribute", self._number, name)

    def __len__(self) -> int:
        return _of(int, self._asking.ask("len", self._number))

    def __iter__(self) -> Iterator[Any]:
        iterator = self._asking.ask("iter", self._number)
        while True:
            try:
                yield self._asking.ask("next", iterator._number)
            except StopIteration:
                return

    def __next__(self) -> Any:
        return self._asking.ask("next", self._number)

    def __getitem__(self, key: Any) -> Any:
        return self._asking.ask("item", self._number, "", (key,))

    __contains__ = None  # `in` would tell the program what is looked for, and believe its yes

    def __bool__(self) -> bool:
        return _of(bool, self._asking.ask("true", self._number))

    def __str__(self) -> str:
        return _of(str, self._asking.ask("text", self._number))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Remote) and self._asking.ask("equal", self._number, "", (other,)) is True

    __hash__ = object.__hash__


class _Asking:
    """One conversation with the process that runs the program."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self.asked = 0

    def ask(
        self, what: str, number: int = 0, name: str = "", arguments: tuple[Any, ...] = (), named: Any = None
    ) -> Any:
        """What the program's process answers. Raises what the program raised, EOFError where it is gone."""
        self.asked += 1
        told = [encode(argument, _number) for argument in arguments]
        self._line.send([what, number, name, told, {k: encode(v, _number) for k, v in (named or {}).items()}])
        kind, value, more = self._line.receive()
        if kind == "error":
            raise _exception(more)(f"the program raised {str(value)[:100]}")
        result = decode(value, self._found)
        if result is None:  # as `list.sort`: what returns nothing is there to change its arguments
            for argument, after in zip(arguments, more, strict=True):
                if isinstance(argument, _MUTABLE):
                    _change(argument, decode(after, self._found))
        return result

    def _found(self, number: int) -> Remote:
        return Remote(self, number)


class Room:
    """The process that forks a child for each program. One program at a time."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-B", "-m", "denken.tasks.verify.program"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._control = ours
        self._program: socket.socket | None = None
        ours.settimeout(START_SECONDS)
        if ours.recv(1) != b"1":
            raise ConfigError(
                "Programs that a model writes are only run where they can be locked in, and this system has not the "
                "locks: seccomp on Linux (x86-64 or arm64). Judge these answers there, for example in a container."
            )

    def open(self, seconds: float) -> int:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [str(seconds).encode()], [theirs.fileno()])
        self._program = ours
        return ours.fileno()

    def close(self) -> None:
        if self._program is not None:
            self._program.close()
        self._program = None
        self._control.sendall(b".")
        self._control.recv(1)


_MUTABLE = (list, dict, set, bytearray)
_ROOMS: dict[int, Room] = {}


def _room() -> Room:
    """The room of this process, opened when it is first needed."""
    if os.getpid() not in _ROOMS:
        _ROOMS.clear()
        _ROOMS[os.getpid()] = Room()
    return _ROOMS[os.getpid()]


def _asked(tree: ast.Module) -> frozenset[str]:
    """The names that tests take from the program: those they read and do not define, and no built-ins."""
    read: set[str] = set()
    own = set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else own).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            own.add(node.name)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            own |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            own.add(node.name)
    return frozenset(read - own)


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module] if isinstance(node, ast.ImportFrom) and node.module else []


def _number(value: Any) -> int:
    if isinstance(value, Remote):
        return int(value._number)
    raise TypeError(f"tests can hand the program plain values and its own objects, and not {type(value).__name__}")


def _exception(names: Any) -> type[Exception]:
    """The nearest built-in exception; a program that leaves the interpreter has raised an error as well."""
    for name in names:
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            return kind
    return RuntimeError


def _change(argument: Any, after: Any) -> None:
    """Does to an argument what the program did to its copy."""
    if isinstance(argument, list | bytearray) and isinstance(after, list | bytearray):
        argument[:] = after
    elif isinstance(argument, dict | set) and type(after) is type(argument):
        argument.clear()
        argument.update(after)


def _of(kind: type[_T], value: Any) -> _T:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} expected")
    return value
