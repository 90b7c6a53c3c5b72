"""Answers that try to be judged right without being right, to hang the judge, or to make it do something.

Each hostile answer goes through every judge of our own and through library judges in their locked-down process.
`{mark}` stands for a file that the answer would create or remove: after the test it must be as it was.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import pytest

from denken.errors import VerifierTimeout
from denken.tasks.gym import GymTask
from denken.tasks.verify import arithmetic, math
from denken.tasks.verify.process import Worker

CODE = [
    "__import__('os').system('touch {mark}')",
    "__import__('os').mkdir('{mark}')",
    "__import__('pathlib').Path('{mark}').touch()",
    "open('{mark}', 'w').write('x')",
    "exec(\"open('{mark}','w')\")",
    "eval(\"__import__('os').system('touch {mark}')\")",
    "[c for c in ().__class__.__base__.__subclasses__()][100]('{mark}')",
    "(lambda: __import__('os').system('touch {mark}'))()",
    "[__import__('os').system('touch {mark}')]",
    "[[__import__('os').system('touch {mark}')]]",
    "\"{{}}\".format(open('{mark}','w'))",
    "f\"{{__import__('os').mkdir('{mark}')}}\"",
    "breakpoint()",
    "exit(1)",
    "quit()",
    "__import__('os')._exit(0)",
    "__import__('os').kill(__import__('os').getppid(), 9)",
    "__import__('os').write(3, b'1.0')",
    "__import__('socket').create_connection(('127.0.0.1', 1))",
    "import os; os.system('touch {mark}')",
    "().__class__.__mro__[1].__subclasses__()",
    "Symbol('x').func.__globals__",
    'S(\'__import__("os").mkdir("{mark}")\')',
    'sympify(\'__import__("os").mkdir("{mark}")\')',
    "sys.exit()",
    "globals()",
    "print(1)",
    "[].append(1)",
    "x.__class__",
    "Integral(x, x)",
    "while True: pass",
    "[0 for _ in iter(int, 1)]",
    "$(touch {mark})",
    "`touch {mark}`",
    "; touch {mark}",
    "{mark}",
    "<script>fetch('//x')</script>",
    "!!python/object/apply:os.system ['touch {mark}']",
    "cos\nsystem\n(S'touch {mark}'\ntR.",
]
ARITHMETIC = [
    "9**9**9",
    "9**9**9**9**9",
    "3**2 + 1",
    "7//2",
    "10^3",
    "2<<100000000",
    "1e9",
    "1e999999",
    "0x1F",
    "0b11",
    "1_000",
    "007",
    "٣ + ٤",
    "３ + ４",
    "²",
    "1j",
    "nan",
    "inf",
    "-inf",
    "Infinity",
    "1/0",
    "1/(2-2)",
    "max(1, 2)",
    "3 == 3",
    "True",
    "1 if 1 else 2",
    "(1, 2)",
    "3 4",
    "3 +",
    "+ 3 4",
    ")(",
    "(" * 100,
    "((((((((((3",
    "-" * 1_000 + "3",
    "(" * 100_000 + "1" + ")" * 100_000,
    "9" * 5_000,
    "9" * 100_000,
    "*".join(["9" * 30] * 60),
    "/".join(["7"] * 900),
    "3 + 4 # 24",
    "3 + 4 = 7",
    "24\x00",
    "\x00",
    "24\u200b",
    "\u202e42",
    "24; 24",
    "[" * 100_000,
    "{" * 100_000,
    '{"a":' * 20_000,
    "A" * 1_000_000,
    "1," * 500_000,
    "\n" * 1_000_000,
    "\ud800",
    "",
    " ",
]
THOUGHTS = [
    "<think>{answer}</think>",
    "{answer}\n\nNo, that is wrong: 0",
    "0 or {answer}",
    "The answer might be {answer}, or any other number",
    "<answer>{answer}</answer><answer>0</answer>",
    "\\boxed{{{answer}}} \\boxed{{0}}",
]
HOSTILE = CODE + ARITHMETIC
OURS = ["countdown", "puzzle24", "chain_sum", "number_sorting", "prime_factorization", "word_sorting", "gsm_symbolic"]
# The nine whose judges run an answer as code, and some that only parse it.
LIBRARY = ["spiral_matrix", "string_insertion", "n_queens", "binary_matrix", "polynomial_multiplication"]
LIBRARY += ["simple_integration", "intermediate_integration", "complex_arithmetic", "decimal_arithmetic", "boxnet"]


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "made-by-an-answer"


def spelt(answer: str, mark: Path) -> str:
    return answer.replace("{mark}", str(mark))


def test_there_are_many_kinds_of_attack() -> None:
    assert len(set(HOSTILE)) >= 60


@pytest.mark.parametrize("name", OURS)
def test_our_judges_say_no_quickly_and_do_nothing(name: str, mark: Path) -> None:
    task = GymTask(name)
    problem = task.problem(900_000_007)
    assert task.score(problem, problem.answer).reward == 1.0
    started = time.process_time()
    for answer in HOSTILE:
        assert task.score(problem, spelt(answer, mark)).reward == 0.0, answer[:60]
    for answer in THOUGHTS:
        assert task.score(problem, answer.format(answer=problem.answer)).reward == 0.0, answer
    assert time.process_time() - started < 3
    assert not mark.exists()


@pytest.mark.parametrize("name", LIBRARY)
def test_library_judges_say_no_and_do_nothing(name: str, mark: Path) -> None:
    task = GymTask(name)
    problem = task.problem(900_000_007)
    if problem.answer:
        assert task.score(problem, problem.answer).reward == 1.0
    for answer in [*CODE[::3], *ARITHMETIC[::9]]:
        assert task.score(problem, spelt(answer, mark)).parts["correct"] == 0.0, answer[:60]
    assert not mark.exists()


@pytest.mark.parametrize("answer", HOSTILE, ids=range(len(HOSTILE)))
def test_arithmetic_and_mathematics_read_nothing_into_it(answer: str, mark: Path) -> None:
    started = time.process_time()
    try:
        value = arithmetic.evaluate(spelt(answer, mark))
    except arithmetic.NotArithmetic:
        value = None
    assert value is None or answer in ("/".join(["7"] * 900),)
    for expected in ("24", "1/2", "(4, 9)", "\\sqrt{2}"):
        assert not math.equal(spelt(answer, mark), expected)
    assert time.process_time() - started < 1
    assert not mark.exists()


def test_numbers_used_twice_or_not_at_all_are_seen() -> None:
    assert arithmetic.uses_each_once("(3 + 4) * 3", [3, 4, 3])
    for text, numbers in (
        ("3 + 4 + 3", [3, 4]),
        ("3 + 4", [3, 4, 5]),
        ("34", [3, 4]),
        ("3.4", [3, 4]),
        ("3.0 + 4", [3, 4]),
        ("3 + 4 + 0", [3, 4]),
        ("-(-3) + 4 * 1", [3, 4]),
    ):
        assert not arithmetic.uses_each_once(text, numbers)


class TestInsideTheProcess:
    """What happens to text that does run inside a judge: this judge runs it on purpose."""

    @pytest.fixture(scope="class")
    def worker(self):
        worker = Worker()
        yield worker
        worker.close()

    @staticmethod
    def judge(worker: Worker, answer: str, *, timeout: float = 5.0) -> float:
        return worker.judge("judge_that_evaluates:worst", {}, answer, timeout=timeout)

    def test_it_judges(self, worker: Worker) -> None:
        assert self.judge(worker, "0.25") == 0.25

    @pytest.mark.skipif(sys.platform != "linux", reason="the filter of system calls is Linux's")
    @pytest.mark.parametrize(
        "attack",
        [
            "open({mark!r}, 'w') and 1",
            "os.mkdir({mark!r}) or 1",
            "os.symlink('/', {mark!r}) or 1",
            "os.remove({kept!r}) or 1",
            "os.rename({kept!r}, {mark!r}) or 1",
            "os.truncate({kept!r}, 0) or 1",
            "os.chmod({kept!r}, 0) or 1",
            "1 if os.listdir('/') else 0",
            "1 if open({kept!r}).read() else 0",
            "os.fork() + 1",
            "1 if os.system('true') == 0 else 0",
            "os.kill(os.getppid(), 9) or 1",
            "os.killpg(0, 9) or 1",
            "__import__('socket').socket() and 1",
            "__import__('ctypes').CDLL(None).unlink({kept!r}.encode()) + 1",
        ],
    )
    def test_nothing_outside_can_be_touched(self, worker: Worker, tmp_path: Path, attack: str) -> None:
        kept, mark = tmp_path / "kept", tmp_path / "mark"
        kept.write_text("mine")
        assert self.judge(worker, attack.format(mark=str(mark), kept=str(kept))) == 0.0
        assert kept.read_text() == "mine"
        assert kept.stat().st_mode & 0o400
        assert not os.path.lexists(mark)
        assert self.judge(worker, "1") == 1.0

    @pytest.mark.parametrize(
        "attack",
        ["9**9**9**9", "[0 for _ in iter(int, 1)]", "'a' * 10**12 and 1", "[[0] * 10**8 for _ in range(10**6)]"],
    )
    def test_time_and_memory_end(self, worker: Worker, attack: str) -> None:
        started = time.monotonic()
        with contextlib.suppress(VerifierTimeout):
            assert self.judge(worker, attack, timeout=0.5) == 0.0
        assert time.monotonic() - started < 30
        assert self.judge(worker, "1") == 1.0

    @pytest.mark.parametrize(
        "attack",
        ["os._exit(0)", "os.abort()", "float('nan')", "float('inf') - float('inf')", "'x'", "None", "[]", "-5"],
    )
    def test_whatever_is_no_score_is_none(self, worker: Worker, attack: str) -> None:
        assert self.judge(worker, attack) == 0.0

    def test_scores_end_at_one(self, worker: Worker) -> None:
        assert self.judge(worker, "59.42") == 1.0

    def test_one_answer_cannot_change_the_judge_of_the_next(self, worker: Worker) -> None:
        poison = "CALLS.update(count=100) or 0.5"
        assert self.judge(worker, poison) == 0.5
        assert self.judge(worker, "CALLS['count'] / 10") == 0.1

    def test_a_dead_server_is_replaced(self, worker: Worker) -> None:
        assert worker._process is not None
        worker._process.kill()
        worker._process.wait()
        assert self.judge(worker, "1") == 1.0
