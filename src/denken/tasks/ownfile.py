"""A task of your own: a Python file with one class that has `name`, `problem(seed)` and `score(problem, answer)`.

The file is yours, so it is run as any module is. It is found by its path, wherever it lies:

    tasks.get("clock.py"), tasks.get("clock.py", {"longest": 30})     settings are the class's arguments
    tasks.get("clock.py:Clock")                                       one class of several

`denken new task NAME` writes such a file (`denken.tasks.starter`). What makes a good task is `base.Task`'s business.
"""

from __future__ import annotations

import importlib.util
import inspect
import re
import sys
from collections.abc import Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from denken.errors import ConfigError, UnknownNameError
from denken.tasks.base import Task
from denken.types import Problem

_NAMED = re.compile(r"(?P<path>.+\.py)(?::(?P<kind>[^\W\d]\w*))?")


def names_file(name: str) -> bool:
    """Whether a task's name is the path of a Python file.

    >>> names_file("mine/clock.py"), names_file("clock.py:Clock"), names_file("gym:clock")
    (True, True, False)
    """
    return _NAMED.fullmatch(name) is not None


def load(name: str, config: Mapping[str, Any] | None = None) -> Task:
    """The task in a file.

    Raises UnknownNameError where there is no such file or class, ConfigError for a file that fails or holds no task, or
    several, and for settings that its class does not take.
    """
    found = _NAMED.fullmatch(name)
    assert found is not None, "ask names_file first"
    path, wanted = Path(found["path"]).expanduser(), found["kind"]
    kinds = _kinds(_module(path))
    if wanted:
        kinds = {kind: each for kind, each in kinds.items() if kind == wanted}
    if not kinds:
        raise UnknownNameError(
            f"{path} has no class {wanted or 'that is a task'}; a task is a class with name, problem(seed) and "
            "score(problem, answer), as `denken new task NAME` writes one."
        )
    if len(kinds) > 1:
        raise ConfigError(f"{path} holds several tasks; name one of them, such as {path}:{next(iter(kinds))}.")
    (kind,) = kinds.values()
    return _checked(_made(kind, path, dict(config or {})), path)


class _Source(SourceFileLoader):
    """Reads the source whatever Python has kept of it: a file can change within a second and stay as long."""

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = self.source_to_code(self.get_data(self.path), self.path)
        return code


def _module(path: Path) -> ModuleType:
    """The file as a module, run anew, so that what was changed counts."""
    if not path.is_file():
        raise UnknownNameError(
            f"There is no file {path}; give the path of a task's file, or begin one: denken new task"
        )
    name = f"denken_task_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Source(name, str(path)))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        at = error.lineno if isinstance(error, SyntaxError) else _line(error, path)
        raise ConfigError(f"{path}, line {at or '?'}: {type(error).__name__}: {error}") from error
    return module


def _line(error: BaseException, path: Path) -> int | None:
    """The last line of the file that the error came through."""
    lines = [frame.lineno for frame in inspect.getinnerframes(error.__traceback__) if frame.filename == str(path)]  # type: ignore[arg-type]
    return lines[-1] if lines else None


def _kinds(module: ModuleType) -> dict[str, type]:
    """The tasks among the classes that the file itself defines."""
    return {
        name: value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and callable(getattr(value, "problem", None))
        and callable(getattr(value, "score", None))
    }


def _made(kind: type, path: Path, config: dict[str, Any]) -> Any:
    known = inspect.signature(kind).parameters
    for setting in config:
        if setting not in known:
            what = f"it has {' and '.join(known)}" if known else "it has none"
            raise ConfigError(f"{path}: {kind.__name__} has no setting {setting!r}; {what}.")
    try:
        return kind(**config)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{path}: {kind.__name__} cannot be made ({type(error).__name__}: {error}).") from error


def _checked(task: Any, path: Path) -> Task:
    """What training would stumble over hours later."""
    where = f"{path}: {type(task).__name__}"
    if not isinstance(getattr(task, "name", None), str) or not task.name:
        raise ConfigError(f"{where} needs a name, which is text; write: name = {path.stem!r}")
    try:
        problem = task.problem(1)
        again = task.problem(1)
        score = task.score(problem, problem.answer)
    except Exception as error:
        raise ConfigError(
            f"{where} fails on its problem of seed 1 ({type(error).__name__}: {error}); mend it first."
        ) from error
    if not isinstance(problem, Problem):
        raise ConfigError(f"{where}.problem must return a denken.types.Problem, not {type(problem).__name__}.")
    if problem != again:
        raise ConfigError(
            f"{where}.problem(1) gives another problem each time; draw from Random(f'{task.name}:{{seed}}') alone."
        )
    if not 0.0 <= getattr(score, "reward", -1.0) <= 1.0:
        raise ConfigError(f"{where}.score must return a denken.types.Score with a reward from 0 to 1.")
    return task  # type: ignore[no-any-return]
