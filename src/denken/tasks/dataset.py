"""Your own questions as a task: a JSONL file with one question and its answer a line.

    {"prompt": "What is half of 7?", "answer": "3.5"}

How answers are compared is the task's `check`: "numeric" (one number), "exact" (the same text) or "math" (the same
number, fraction, tuple, list or set; `denken.tasks.verify.math`). Nothing in an answer is ever run.

Seeds count through the file: seed `s` is question `s % len(task)`. A file holds either questions to learn from or
questions to be examined with; keep two files where you want both, since seeds do not divide a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from denken.errors import ConfigError
from denken.tasks.verify import math
from denken.tasks.verify.process import MAX_ANSWER_CHARACTERS
from denken.types import Problem, Score

CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "numeric": lambda answer, expected: (
        math.number(answer) is not None and math.number(answer) == math.number(expected)
    ),
    "exact": lambda answer, expected: answer == expected,
    "math": math.equal,
}


class JsonlTask:
    """The questions of one file.

    Raises ConfigError, with the line's number, for a file that cannot be read or a line that is no question.
    """

    def __init__(self, path: Path, check: str = "math", name: str | None = None) -> None:
        if check not in CHECKS:
            raise ConfigError(f"A check {check!r} does not exist; give one of {', '.join(CHECKS)}.")
        self.path = Path(path)
        self.check = check
        self._name = name or self.path.stem
        self._problems = _read(self.path, check)

    @property
    def name(self) -> str:
        return self._name

    def __len__(self) -> int:
        return len(self._problems)

    def problem(self, seed: int) -> Problem:
        prompt, answer = self._problems[seed % len(self._problems)]
        return Problem(self._name, prompt, answer, seed)

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for an answer that passes the check, else 0.0; outer white space never matters."""
        answer = answer.strip()
        right = 0 < len(answer) <= MAX_ANSWER_CHARACTERS and CHECKS[self.check](answer, problem.answer)
        return Score(float(right), {"correct": float(right)})


def _read(path: Path, check: str) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The questions in {path} cannot be read ({error}); give a JSONL file in UTF-8.") from error
    found = [_question(line, f"{path}, line {at}", check) for at, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise ConfigError(f'{path} holds no questions; write one {{"prompt": ..., "answer": ...}} a line.')
    return found


def _question(line: str, where: str, check: str) -> tuple[str, str]:
    try:
        record = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ConfigError(f"{where}: this is not JSON ({error}).") from error
    if not isinstance(record, dict) or not {"prompt", "answer"} <= record.keys():
        raise ConfigError(f'{where}: a question is an object with "prompt" and "answer".')
    prompt, answer = record["prompt"], record["answer"]
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(prompt, str) or not isinstance(answer, str) or not prompt.strip() or not answer.strip():
        raise ConfigError(f'{where}: "prompt" is text that is not empty, "answer" such text or a number.')
    if check == "numeric" and math.number(answer) is None:
        raise ConfigError(f'{where}: the answer {answer[:40]!r} is no number; correct it, or use the check "math".')
    return prompt, answer.strip()
