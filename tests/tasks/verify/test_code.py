"""Programs judged by unit tests: right ones pass, and nothing a program does makes a wrong one right."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from denken.errors import ConfigError, VerifierTimeout
from denken.tasks import get
from denken.tasks.verify import code, program
from denken.tasks.verify.process import Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the locks are Linux's")
DOUBLE = "assert double(2) == 4\nassert double(0) == 0\nassert double(-1.5) == -3.0\nassert double('a') == 'aa'"


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def passes(worker: Worker, answer: str, tests: str = DOUBLE, seconds: float = 5.0) -> bool:
    score = worker.judge(
        "denken.tasks.verify.code:judge", {"tests": tests, "seconds": seconds}, answer, timeout=seconds
    )
    assert score in (0.0, 1.0)
    return score == 1.0


@pytest.mark.parametrize(
    ("answer", "tests"),
    [
        ("def double(x): return 2 * x", DOUBLE),
        ("I double it:\n\n```python\ndef double(x):\n    return x + x\n```\n\nThat is all.", DOUBLE),
        ("```\nx = 1\n```\nBetter:\n```py\ndouble = lambda x: x * 2\n```", DOUBLE),
        ("import functools, operator\ndef double(x): return functools.reduce(operator.add, [x, x])", DOUBLE),
        ("print('hello')\ndef double(x):\n    print(x)\n    return 2 * x", DOUBLE),
        ("class A:\n    def __call__(self, x): return 2 * x\ndouble = A()", DOUBLE),
        ("def f(n): return 1 if n == 0 else n * f(n - 1)", "import math\nassert f(500) == math.factorial(500)"),
        ("import math\ndef f(n): return math.factorial(n)", "import math\nassert f(3000) == math.factorial(3000)"),
        ("def f(xs): xs.sort()", "xs = [3, 1, 2]\nf(xs)\nassert xs == [1, 2, 3]"),
        ("def f(d): d['a'] = 1", "d = {'b': 2}\nf(d)\nassert d == {'a': 1, 'b': 2}"),
        (
            "def f(): return {(1, 'a'): {2, 3}, None: [b'x', 1j, 0.1]}",
            "assert f() == {(1, 'a'): {2, 3}, None: [b'x', 1j, 0.1]}",
        ),
        ("def f(x): return (x, [x])", "assert f(1) == (1, [1])\nassert isinstance(f(1), tuple)"),
        ("def f():\n    yield 1\n    yield 2", "assert list(f()) == [1, 2]\nassert sorted(f()) == [1, 2]"),
        (
            "def f():\n    n = 0\n    while True:\n        yield n\n        n += 1",
            "import itertools\nassert list(itertools.islice(f(), 3)) == [0, 1, 2]\nassert next(f()) == 0",
        ),
        (
            "def f(x):\n    if x < 0: raise ValueError(x)\n    return x",
            "try:\n    f(-1)\nexcept ValueError:\n    pass\nelse:\n    assert False\nassert f(1) == 1",
        ),
        (
            "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
            "    def pop(self): return self.items.pop()\n    def __len__(self): return len(self.items)",
            "s = Stack()\ns.push(1)\ns.push(2)\nassert len(s) == 2\nassert s.pop() == 2\nassert s.items == [1]",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n    y: int\n"
            "def f(p): return P(p.y, p.x)",
            "assert f(P(1, 2)) == P(2, 1)\nassert f(P(1, 2)).x == 2",
        ),
        ("def f(x): return x + 1", "def check(candidate):\n    assert candidate(1) == 2\n\ncheck(f)"),
        ("def f(x): return x + 1", "def test_one():\n    assert f(1) == 2\ndef test_two():\n    assert f(2) == 3"),
        (
            "def f(x): return x / 3",
            "import math\nassert math.isclose(f(1), 0.3333333333333333)\nassert abs(f(1) - 1/3) < 1e-9",
        ),
        ("def f(): return float('inf')", "assert f() == float('inf')"),
        ("ANSWER = 42", "assert ANSWER == 42"),
        ("def f(g, x): return g(g(x))\ndef h(x): return x + 1", "assert f(h, 1) == 3"),
        ("def grüße(name): return f'Grüße, {name} 😀'", "assert grüße('Öl') == 'Grüße, Öl 😀'"),
    ],
)
def test_right_programs_pass(worker: Worker, answer: str, tests: str) -> None:
    assert passes(worker, answer, tests)


WRONG = {
    "nothing": "",
    "no code": "```python\n```",
    "words": "I cannot do that.",
    "wrong": "def double(x): return 3 * x",
    "half right": "def double(x): return 4",
    "another name": "def doubled(x): return 2 * x",
    "the wrong block": "```python\ndef double(x): return 2 * x\n```\n```python\nx = 1\n```",
    "not closed": "```python\ndef double(x): return 2 * x",
    "no Python": "def double(x) return 2 * x",
    "equal to all": "class E:\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: 0\ndef double(x): return E()",
    "equal to all, by type": "class E(int):\n    def __eq__(s, o): return True\ndef double(x): return E(5)",
    "equal to all, in a list": "class E:\n    __eq__ = lambda s, o: True\ndef double(x): return [E()]",
    "str that is equal": "class E(str):\n    __eq__ = lambda s, o: True\ndef double(x): return E('x')",
    "nan": "def double(x): return float('nan')",
    "assert is gone": "import builtins\nbuiltins.AssertionError = Exception\ndef double(x): raise AssertionError",
    "exit": "import os\nos._exit(0)",
    "exit later": "import os\ndef double(x): os._exit(0)",
    "SystemExit": "import sys\nsys.exit(0)",
    "SystemExit later": "def double(x): raise SystemExit(0)",
    "StopIteration": "def double(x): raise StopIteration",
    "GeneratorExit": "def double(x): raise GeneratorExit",
    "KeyboardInterrupt": "def double(x): raise KeyboardInterrupt",
    "its own verdict": "import os\nos.write(3, b'1.0')\nos.write(3, b'1.0\\n')\nos._exit(0)",
    "its own line": "import os\nos.write(3, b'[\"value\", [\"int\", 4], []]\\n' * 9)\ndef double(x): return 0",
    "a hostile line": "import os\nos.write(3, b'[' * 100000 + b'\\n')",
    "an endless line": "import os\nwhile True: os.write(3, b'9' * 65536)",
    "lines": "import os\nwhile True: os.write(3, b'[]\\n' * 9999)",
    "pickle": "import os\nos.write(3, b'cos\\nsystem\\n(S\"true\"\\ntR.\\n')",
    "a huge value": "def double(x): return [0] * 10**6",
    "a deep value": "def double(x):\n    a = []\n    for _ in range(10**5): a = [a]\n    return a",
    "a round value": "def double(x):\n    a = []\n    a.append(a)\n    return a",
    "a huge number": "def double(x): return 10 ** 60000",
    "memory": "def double(x): return bytearray(10 ** 12)",
    "recursion": "def double(x): return double(x)",
    "built-ins": "import builtins\nbuiltins.len = builtins.abs = builtins.print = lambda *a: 4\nint.__eq__ = 1",
    "the frames": "import sys\nf = sys._getframe()\nwhile f.f_back: f = f.f_back\nf.f_globals.clear()\ndouble = int",
    "the parser dies": "(" * 5000 + ")" * 5000,
    "null byte": "def double(x): return 2 * x\0",
    "shadowed": "def double(x): return 2 * x\ndel double",
    "import": "import antigravity_that_is_not_there\ndef double(x): return 2 * x",
    "a signal": "import signal, os\nos.kill(os.getppid(), 9)\ndef double(x): return 0",
    "ctypes": "import ctypes\nctypes.string_at(0)",
    "threads": "import _thread\nwhile True: _thread.start_new_thread(lambda: None, ())",
}  # fmt: skip


@pytest.mark.parametrize("answer", WRONG.values(), ids=WRONG)
def test_wrong_programs_do_not_pass(worker: Worker, answer: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(VerifierTimeout):
        assert not passes(worker, answer, seconds=1.0)
    assert time.monotonic() - started < 30
    assert passes(worker, "def double(x): return 2 * x"), "the next program suffers from this one"


@pytest.mark.parametrize(
    "attack",
    [
        "open({mark!r}, 'w').write('x')",
        "open({kept!r}).read()",
        "__import__('os').mkdir({mark!r})",
        "__import__('os').remove({kept!r})",
        "__import__('os').system('touch ' + {mark!r})",
        "__import__('os').fork()",
        "__import__('os').listdir('/')",
        "__import__('os').kill(1, 0)",
        "__import__('subprocess').run(['touch', {mark!r}])",
        "__import__('socket').socket()",
        "__import__('ctypes').CDLL(None).unlink({kept!r}.encode())",
        "__import__('shutil').rmtree({folder!r})",
    ],
)
def test_programs_touch_nothing_outside(worker: Worker, tmp_path: Path, attack: str) -> None:
    kept, mark = tmp_path / "kept", tmp_path / "mark"
    kept.write_text("mine")
    line = attack.format(mark=str(mark), kept=str(kept), folder=str(tmp_path))
    passes(worker, f"{line}\ndef double(x): return 2 * x")
    tried = f"try:\n    {line}\nexcept BaseException:\n    pass\ndef double(x): return 2 * x"
    passes(worker, tried)
    assert kept.read_text() == "mine"
    assert not mark.exists()


@pytest.mark.parametrize(
    "answer", ["while True: pass", "import time\ntime.sleep(99)", "def double(x):\n    while True: pass", "9**9**9"]
)
def test_time_ends(worker: Worker, answer: str) -> None:
    started = time.monotonic()
    with contextlib.suppress(VerifierTimeout):  # or the limit on memory or processor time came first
        assert not passes(worker, answer, seconds=0.3)
    assert time.monotonic() - started < 10


def test_a_program_leaves_nothing_to_the_next(worker: Worker) -> None:
    assert passes(worker, "import math\nmath.kept = 1\ndef double(x): return 2 * x")
    assert not passes(worker, "import math\ndef double(x): return math.kept * 2 * x")


def test_a_program_cannot_reach_the_tests_of_its_process(worker: Worker) -> None:
    """Its process has never seen them: not in its modules, not in its objects."""
    seek = (
        "import gc\ndef double(x):\n    seen = [o for o in gc.get_objects() if isinstance(o, (str, bytes))]\n"
        "    held = [v for d in gc.get_objects() if isinstance(d, dict) for v in d.values() if isinstance(v, str)]\n"
        "    return sum('SECRET' + '-7' in str(o) for o in seen + held)"
    )
    assert passes(worker, seek, "secret = 'SECRET-7'\nassert double(2) == 0")


@pytest.mark.parametrize(
    ("tests", "said"),
    [
        ("", "assert nothing"),
        ("x = 1", "assert nothing"),
        ("assert f(1) ==", "no Python"),
        ("assert 1 == 1", "ask for nothing"),
        ("assert f(1) == 1\0", "no Python"),
        ("(" * 10_000, "no Python"),
    ],
)
def test_tests_that_test_nothing_are_refused(tests: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        code.check_tests(tests)


def test_values_cross_as_they_are() -> None:
    for value in (None, True, 1, -1.5, float("inf"), "ä\ud800", [1, (2, {3}), {"a": None}], b"\0", 1j, frozenset({1})):
        told = program.encode(value, lambda _: 0)
        assert program.decode(told, lambda _: 0) == value
        assert type(program.decode(told, lambda _: 0)) is type(value)
    for told in (
        ["int", "1"],
        ["bool", 1],
        ["str", 1],
        ["object", "1"],
        ["lambda", 1],
        [],
        5,
        ["list", 3],
        ["int", True],
    ):
        with pytest.raises((ValueError, TypeError)):
            program.decode(told, lambda _: 0)


def test_without_locks_there_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program.sandbox, "_CALLS", {})
    assert not program.locks_hold()
    monkeypatch.undo()
    assert program.locks_hold()


def test_questions_with_tests(tmp_path: Path) -> None:
    path = tmp_path / "programs.jsonl"
    path.write_text('{"prompt": "Write double(x).", "tests": "assert double(2) == 4"}\n', encoding="utf-8")
    task = get(str(path))
    problem = task.problem(0)
    assert task.score(problem, "```python\ndef double(x): return 2 * x\n```").reward == 1.0
    assert task.score(problem, "def double(x): return 5").reward == 0.0
    assert task.score(problem, "").reward == 0.0
    assert task.score(problem, "x" * 30_000).reward == 0.0
    assert "assert" not in problem.prompt
