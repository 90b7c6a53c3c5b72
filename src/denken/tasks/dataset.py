"""Questions from a file as a task: your own, one question and its answer a line, or a published benchmark's.

    {"prompt": "What is half of 7?", "answer": "3.5"}
    {"prompt": "Write a function double(x).", "tests": "assert double(2) == 4"}

How answers are compared is the task's `check`:

- "math" (the default): the same number, fraction, tuple, list or set (`denken.tasks.verify.math`)
- "numeric": the same number; "exact": the same text
- "tests" (the default where the first question has tests): the answer's last block of Python code passes the
  question's unit tests (`denken.tasks.verify.code`), program and tests each locked in a process of its own

Files of published benchmarks (GSM8K, AIME, MMLU, ...) are read as they come: `denken.tasks.benchmark` lists them, with
the checks "choice", "words" and "expression" that some of them need. A .json file with a list of records works too.

Under the other checks nothing in an answer is ever run. A question may have a "thought", which works its answer out,
and a "language" ("de" or "en") that the thought should be in; the other keys of a line are not looked at. Where every
question has a thought, the task is `Traced`.

Seeds count through the file: seed `s` is question `s % len(task)`. A file holds either questions to learn from or
questions to be examined with, unless `held_out` divides it: then its last questions are those of the seeds that are
kept for evaluation, and the others those of all other seeds.
"""

from __future__ import annotations

import json
import math as numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from denken.errors import ConfigError, VerifierTimeout
from denken.tasks import benchmark
from denken.tasks.base import EVALUATION_SEEDS_FROM, Demonstration
from denken.tasks.verify import code, math
from denken.tasks.verify.process import MAX_ANSWER_CHARACTERS, Worker
from denken.types import Problem, Score

CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "numeric": lambda answer, expected: (
        math.number(answer) is not None and math.number(answer) == math.number(expected)
    ),
    "exact": lambda answer, expected: answer == expected,
    "math": math.equal,
    "choice": benchmark.same_letter,
    "words": benchmark.same_words,
    "expression": benchmark.comes_out_right,
}
TESTS = "tests"
TEST_SECONDS = 5.0
_WORKER = Worker()


@dataclass(frozen=True, slots=True)
class _Row:
    """One question. thought: None where its answer is not worked out."""

    prompt: str
    answer: str
    tests: str
    thought: str | None
    language: str | None


class JsonlTask:
    """The questions of one file.

    check: see above. held_out: the share of the questions, the last ones, that only evaluation sees.
    Raises ConfigError, with the line's number, for a file that cannot be read or a line that is no question.
    """

    def __init__(self, path: Path, check: str | None = None, name: str | None = None, held_out: float = 0.0) -> None:
        if check is not None and check not in (*CHECKS, TESTS):
            raise ConfigError(f"A check {check!r} does not exist; give one of {', '.join(CHECKS)}, {TESTS}.")
        if isinstance(held_out, bool) or not isinstance(held_out, int | float) or not 0.0 <= held_out < 1.0:
            raise ConfigError(f"held_out is {held_out!r}; give a share from 0 to below 1, such as 0.2.")
        self.path = Path(path)
        self._name = name or self.path.stem
        self._rows, self.check = _read(self.path, check)
        self._learnt = len(self._rows) - numbers.ceil(held_out * len(self._rows))
        if self._learnt < 1:
            raise ConfigError(f"{self.path} is too short to hold {held_out:g} of it out; give more questions.")
        self._divided = self._learnt < len(self._rows)
        if self.check == TESTS:
            _WORKER.call("denken.tasks.verify.code:ready", {})  # now, and not after hours of sampling

    @property
    def name(self) -> str:
        return self._name

    @property
    def divided(self) -> bool:
        """Whether questions to learn from and to be examined with are different ones (`held_out`)."""
        return self._divided

    def __len__(self) -> int:
        """How many questions an examination can ask: those held out, or all where none are."""
        return len(self._rows) - self._learnt if self._divided else len(self._rows)

    def problem(self, seed: int) -> Problem:
        row = self._row(seed)
        metadata = {TESTS: row.tests} if self.check == TESTS else {}
        if row.language is not None:
            metadata["language"] = row.language
        return Problem(self._name, row.prompt, row.answer, seed, metadata)

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for an answer that passes the check, else 0.0; outer white space never matters."""
        answer = answer.strip() if len(answer) <= 2 * MAX_ANSWER_CHARACTERS else ""
        if not 0 < len(answer) <= MAX_ANSWER_CHARACTERS:
            return Score(0.0, {"correct": 0.0})
        if self.check == TESTS:
            return _tested(problem.metadata[TESTS], answer)
        right = float(CHECKS[self.check](answer, problem.answer))
        return Score(right, {"correct": right})

    def worked(self) -> list[tuple[Problem, Demonstration]]:
        """The questions to learn from whose answers are worked out, as problems with their demonstrations."""
        shown = ((seed, self._rows[seed]) for seed in range(self._learnt))
        return [
            (self.problem(seed), Demonstration(row.thought, row.answer))
            for seed, row in shown
            if row.thought is not None
        ]

    def learnt(self) -> list[Problem]:
        """Every question to learn from, once."""
        return [self.problem(seed) for seed in range(self._learnt)]

    def _row(self, seed: int) -> _Row:
        if not self._divided:
            return self._rows[seed % len(self._rows)]
        if seed < EVALUATION_SEEDS_FROM:
            return self._rows[seed % self._learnt]
        return self._rows[self._learnt + (seed - EVALUATION_SEEDS_FROM) % (len(self._rows) - self._learnt)]


class TracedJsonlTask(JsonlTask):
    """Questions every one of which has a thought."""

    def demonstrate(self, problem: Problem) -> Demonstration:
        row = self._row(problem.seed)
        return Demonstration(row.thought or "", row.answer)


def load(path: Path, **settings: Any) -> JsonlTask:
    """The task of a file: a `TracedJsonlTask` where every question has a thought and an answer."""
    task = JsonlTask(path, **settings)
    every = all(row.thought is not None for row in task._rows)
    return TracedJsonlTask(path, **settings) if every else task


def _tested(tests: str, answer: str) -> Score:
    try:
        score = _WORKER.judge(
            "denken.tasks.verify.code:judge", {"tests": tests, "seconds": TEST_SECONDS}, answer, timeout=TEST_SECONDS
        )
    except VerifierTimeout:
        return Score(0.0, {"correct": 0.0, "timeout": 1.0})
    return Score(score, {"correct": score})


def _read(path: Path, check: str | None) -> tuple[list[_Row], str]:
    """The questions, and how they are judged: as asked, or by what they have."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"The questions in {path} cannot be read ({error}); give a JSONL file in UTF-8.") from error
    records = _listed(path, text) if path.suffix == ".json" else _lines(path, text)
    if not records:
        raise ConfigError(f'{path} holds no questions; write one {{"prompt": ..., "answer": ...}} a line.')
    first = records[0][1]
    if "prompt" not in first and (known := benchmark.question(first)) is not None:
        usual = check or known[2]
        # A few published questions have no answer, so that nobody could judge one.
        records = [(where, record) for where, record in records if record.get("answer", 0) not in (None, "")]
        return [_question(_translated(record, where), where, usual) for where, record in records], usual
    chosen = check or (TESTS if TESTS in first else "math")
    return [_question(record, where, chosen) for where, record in records], chosen


def _lines(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    """The records of a file with one a line, each with where it stands."""
    at = ((f"{path}, line {number}", line) for number, line in enumerate(text.split("\n"), 1) if line.strip())
    return [(where, _record(line, where)) for where, line in at]


def _listed(path: Path, text: str) -> list[tuple[str, dict[str, Any]]]:
    """The records of a file that is one list."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON ({error}).") from error
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise ConfigError(f"{path} is no list of questions; give such a list, or a JSONL file with one a line.")
    return [(f"{path}, question {number}", record) for number, record in enumerate(found, 1)]


def _translated(record: dict[str, Any], where: str) -> dict[str, Any]:
    """A record of a published benchmark, as one of ours."""
    known = benchmark.question(record)
    if known is None:
        raise ConfigError(f"{where}: this is no question of the kind that the file begins with; correct or remove it.")
    return {"prompt": known[0], "answer": known[1]}


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: this is not JSON ({error}).") from error
    if not isinstance(record, dict):
        raise ConfigError(f'{where}: a question is an object with "prompt" and "answer".')
    return record


def _question(record: dict[str, Any], where: str, check: str) -> _Row:
    needed = TESTS if check == TESTS else "answer"
    if not {"prompt", needed} <= record.keys():
        raise ConfigError(f'{where}: a question is an object with "prompt" and "{needed}".')
    prompt, answer, tests = record["prompt"], record.get("answer", ""), record.get(TESTS, "")
    if isinstance(answer, int | float) and not isinstance(answer, bool):
        answer = str(answer)
    if not isinstance(prompt, str) or not isinstance(answer, str) or not prompt.strip():
        raise ConfigError(f'{where}: "prompt" is text that is not empty, "answer" such text or a number.')
    if check != TESTS and not answer.strip():
        raise ConfigError(f'{where}: "answer" is text that is not empty, or a number.')
    if check == "numeric" and math.number(answer) is None:
        raise ConfigError(f'{where}: the answer {answer[:40]!r} is no number; correct it, or use the check "math".')
    if check == TESTS:
        if not isinstance(tests, str):
            raise ConfigError(f'{where}: "tests" is Python as text.')
        try:
            code.check_tests(tests)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from error
    thought, language = record.get("thought"), record.get("language")
    if thought is not None and (not isinstance(thought, str) or not answer.strip()):
        raise ConfigError(f'{where}: "thought" is text, and belongs to a question with an "answer".')
    if language not in (None, "de", "en"):
        raise ConfigError(f'{where}: "language" is "de" or "en", or left out.')
    return _Row(prompt, answer.strip(), tests, thought, language)
