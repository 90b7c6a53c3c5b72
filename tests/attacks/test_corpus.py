"""The corpus of `answers.toml` before every judge: nothing false is right, nothing odd but honest is wrong.

While a judge reads an answer, Python's audit events tell on it: code that is compiled or run, files that are opened,
processes, sockets. Time is processor time, so that a busy machine does not make a judge look slow.
"""

from __future__ import annotations

import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from denken import tasks
from denken.chat.template import END_THINK, EOS, THINK
from denken.reward import format_reward
from denken.rollout import read
from denken.tasks.dataset import JsonlTask
from denken.tasks.gym import GymTask
from denken.tasks.verify import arithmetic, math
from denken.tokenizer import Tokenizer
from denken.types import Completion, Problem

CORPUS: dict[str, Any] = tomllib.loads((Path(__file__).parent / "answers.toml").read_text(encoding="utf-8"))
JUDGES = [name for name in CORPUS if name not in ("anyone", "completions")]
SECONDS = 1.0
# What text must never make happen.
TELLTALES = ("exec", "compile", "open", "import", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pty.")

_heard: list[str] | None = None


def _listen(event: str, _: tuple[Any, ...]) -> None:
    if _heard is not None and event.startswith(TELLTALES):
        _heard.append(event)


sys.addaudithook(_listen)


@contextmanager
def overheard() -> Iterator[list[str]]:
    """What happens inside, event by event."""
    global _heard
    _heard = heard = []
    try:
        yield heard
    finally:
        _heard = None


def spelt(answer: Any, mark: Path) -> str:
    """A line of the corpus as the judge gets it."""
    if isinstance(answer, list):
        begin, repeated, times, end = answer
        return str(begin + repeated * times + end)
    return str(answer).replace("{mark}", str(mark))


def judge(name: str, folder: Path) -> Callable[[str], float]:
    """The judge of a table: its task scores answers to its one problem."""
    table = CORPUS[name]
    task_name, _, check = table["task"].partition(":")
    if task_name == "jsonl":
        (folder / "questions.jsonl").write_text('{"prompt": "?", "answer": "1"}', encoding="utf-8")
        task: Any = JsonlTask(folder / "questions.jsonl", check)
    else:
        task = tasks.get(table["task"]) if check else GymTask(task_name)
    problem = Problem(task.name, "?", table["answer"], 7, table.get("metadata", {}))
    return lambda answer: float(task.score(problem, answer).reward)


def test_there_are_many_attacks_of_many_kinds() -> None:
    wrong = {str(answer) for table in CORPUS.values() for answer in table["wrong"]}
    right = {(name, str(answer)) for name, table in CORPUS.items() for answer in table.get("right", [])}
    assert len(wrong) >= 800
    assert len(CORPUS["anyone"]["wrong"]) >= 100
    assert len(right) >= 150
    for table in CORPUS.values():
        assert len({str(answer) for answer in table["wrong"]}) == len(table["wrong"]), "an attack stands there twice"


@pytest.mark.parametrize("name", JUDGES)
def test_nothing_false_is_right_nothing_hangs_and_nothing_happens(name: str, tmp_path: Path) -> None:
    score, mark = judge(name, tmp_path), tmp_path / "made-by-an-answer"
    assert score(CORPUS[name]["answer"]) == 1.0
    score("x")
    for answer in [*CORPUS["anyone"]["wrong"], *CORPUS[name]["wrong"]]:
        text, started = spelt(answer, mark), time.process_time()
        with overheard() as heard:
            reward = score(text)
        assert reward == 0.0, f"{name} takes {text[:80]!r} for {CORPUS[name]['answer']!r}"
        assert time.process_time() - started < SECONDS, f"{name} thinks too long about {text[:80]!r}"
        assert not heard, f"{name} did {heard} over {text[:80]!r}"
    assert not mark.exists()


@pytest.mark.parametrize("name", JUDGES)
def test_odd_but_honest_answers_are_right(name: str, tmp_path: Path) -> None:
    score = judge(name, tmp_path)
    for answer in CORPUS[name]["right"]:
        assert score(answer) == 1.0, f"{name} does not take {answer!r} for {CORPUS[name]['answer']!r}"


@pytest.mark.parametrize("name", [name for name in JUDGES if CORPUS[name]["task"] != "jsonl:exact"])
def test_a_right_answer_with_something_hidden_in_it_is_not_one(name: str, tmp_path: Path) -> None:
    """Every right answer, with a character put where nobody sees it, or repeated. (Around a box anything may stand.)"""
    score = judge(name, tmp_path)
    for bare in [answer.strip() for answer in CORPUS[name]["right"] if "\\boxed" not in answer]:
        for hidden in (
            "\u200b",
            "\u200d",
            "\u202e",
            "\u2066",
            "\ufeff",
            "\u00ad",
            "\0",
            "\u0301",
            "\ue000",
            "\U000e0041",
        ):
            for at in {0, len(bare) // 2, len(bare)}:
                text = bare[:at] + hidden + bare[at:]
                assert score(text) == 0.0, f"{name} takes {text!r} for {CORPUS[name]['answer']!r}"
        for text in (f"{bare} or {bare}", f"{bare}\n\n{bare}", f"{bare}</think>{bare}", f"<think>{bare}</think>"):
            assert score(text) == 0.0, f"{name} takes {text!r} for {CORPUS[name]['answer']!r}"


def test_the_expected_answer_is_never_taken_from_what_was_said(tmp_path: Path) -> None:
    """Judges of one task know one answer each: another problem's is wrong."""
    for name in JUDGES:
        score = judge(name, tmp_path)
        for other in JUDGES:
            if CORPUS[other]["answer"] not in [CORPUS[name]["answer"], *CORPUS[name]["right"]]:
                assert score(CORPUS[other]["answer"]) == 0.0, (name, other)


@pytest.mark.parametrize("digits", [1, 29, 30, 31, 200, 4_299, 4_301, 19_999, 100_000])
def test_digits_without_end(digits: int) -> None:
    """Python refuses to read more than 4,300 digits as a number, by raising; judges must not."""
    text, started = "7" * digits, time.process_time()
    for answer in (
        text,
        f"-{text}",
        f"0.{text}",
        f"{text}/{text}",
        f"1e{text}",
        f"\\frac{{{text}}}{{1}}",
        f"({text}, 2)",
    ):
        math.equal(answer, "5")
        assert math.number(answer) != 5
        with pytest.raises(arithmetic.NotArithmetic) if digits > 30 else overheard():
            arithmetic.evaluate(text)
    assert time.process_time() - started < SECONDS


def completion(text: str, tokenizer: Tokenizer) -> Completion:
    tokens = {"[[close]]": END_THINK, "[[open]]": THINK, "[[eos]]": EOS}
    ids: list[int] = []
    for piece in re.split(r"(\[\[\w+\]\])", text):
        ids += [tokenizer.control(tokens[piece])] if piece in tokens else tokenizer.encode(piece)
    return Completion(tuple(ids), finish_reason="stop" if text.endswith("[[eos]]") else "length")


def test_answers_inside_thoughts_and_thoughts_inside_answers(tokenizer_folder: Path, tmp_path: Path) -> None:
    tokenizer, score, table = Tokenizer.load(tokenizer_folder), judge("countdown", tmp_path), CORPUS["completions"]
    for text in table["wrong"]:
        assert score(read(completion(text, tokenizer), tokenizer).answer) == 0.0, text
    for text in table["misformed"]:
        said = completion(text, tokenizer)
        assert format_reward(read(said, tokenizer), said) == 0.0, text
    for text in table["right"]:
        said = completion(text, tokenizer)
        reply = read(said, tokenizer)
        assert (score(reply.answer), format_reward(reply, said)) == (1.0, 1.0), text


def test_a_judge_that_runs_its_answer_would_be_told_on(tmp_path: Path) -> None:
    """The audit hook hears what it is there to hear."""
    with overheard() as heard:
        eval("open(path, 'w').close()", {"path": tmp_path / "x"})  # noqa: S307  on purpose
    assert {"compile", "exec", "open"} <= set(heard)
