"""Sets that a model makes itself: what is kept and why, the same set after a kill, and provenance beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from denken.chat.message import Message
from denken.chat.template import render
from denken.config import Recipe, SampleSection
from denken.errors import ConfigError, UnknownNameError
from denken.rollout import Local, Reply, prompt_ids, read
from denken.tasks import get
from denken.tasks.base import training_seed_allowed
from denken.tokenizer import Tokenizer
from denken.train import rejection
from denken.train.data import Document, documents
from denken.train.folder import BUNDLED
from denken.train.jsonl import JsonlSet
from denken.train.sample import Asked, Judges, licence, make_set, params_of, sample_chunk, set_path
from denken.types import Completion, Generate, Problem, Rollout, Score
from fakes import FakeGenerate

RECIPE = """
name = "own"
seed = 5
[sample]
model = "bundled"
tasks = [{ task = "plain:sums" }]
problems = 6
samples = 2
temperature = 0.6
max_tokens = 96
batch = 4
keep_per_problem = 2
others = 3
[train]
epochs = 1
threads = 1
init_from = "bundled"
batch_tokens = 512
micro_tokens = 512
"""


def section(**changes: Any) -> SampleSection:
    given = {"model": "bundled", "tasks": [{"task": "plain:sums"}], "problems": 4, "samples": 2} | changes
    return SampleSection.model_validate(given)


def asked(generate: Generate, tokenizer: Tokenizer, name: str, settings: SampleSection) -> Asked:
    """A model here."""
    return Asked(Local(tokenizer, generate, params_of(settings, 1)), tokenizer, name, settings, 1)


def said(tokenizer: Tokenizer, thought: str, answer: str) -> tuple[int, ...]:
    """What a model would generate behind the prompt, the end included."""
    whole = render([Message("user", "?"), Message("assistant", answer, reasoning_content=thought)], tokenizer)
    return tuple(id_ for id_, learnt in zip(whole.ids, whole.loss_mask, strict=True) if learnt)


def test_right_answers_are_kept_and_wrong_ones_counted(tokenizer: Tokenizer):
    judges = Judges(section(), seed=1)
    problems = [judges.draw(index) for index in range(2)]
    wanted = [said(tokenizer, "so", problem.answer) for problem in problems]
    endless = Completion(tuple(tokenizer.encode("and so on")), finish_reason="length")
    generate = FakeGenerate([wanted[0], said(tokenizer, "hm", "wrong"), wanted[1], endless])
    made = sample_chunk(asked(generate, tokenizer, "m@step-3", section()), judges, range(2))
    assert [record["messages"][1]["content"] for record in made["kept"]] == [p.answer for p in problems]
    assert made["counts"] == {rejection.WRONG: 1, rejection.CUT: 1}
    first = made["kept"][0]
    assert (first["task"], first["seed"], first["reward"]) == ("plain:sums", problems[0].seed, 1.0)
    assert (first["model"], first["license"]) == ("m@step-3", "MIT")
    assert first["sampling"]["sample"] == 0
    assert made["sampled"] == sum(map(len, (*wanted, said(tokenizer, "hm", "wrong"), endless.ids)))


def test_what_is_learnt_is_what_was_sampled(tokenizer: Tokenizer, tmp_path: Path):
    """The ids of a record, rendered for training, are the ids that the model generated."""
    judges = Judges(section(), seed=1)
    problem = judges.draw(0)
    ids = said(tokenizer, "a line\nand another", problem.answer)
    chunk = sample_chunk(asked(FakeGenerate([ids, ids]), tokenizer, "m", section()), judges, [0])
    (tmp_path / "set.jsonl").write_text(json.dumps(chunk["kept"][0]) + "\n")
    document: Document = next(
        documents({"sources": [{"jsonl": str(tmp_path / "set.jsonl")}]}, tokenizer, seed=0, start=0)
    )
    assert document.ids == prompt_ids(problem, tokenizer) + ids
    assert tuple(i for i, learnt in zip(document.ids, document.loss_mask, strict=True) if learnt) == ids


def test_problems_are_a_function_of_seed_and_number_and_never_the_evaluations():
    one, two = Judges(section(), seed=1), Judges(section(), seed=1)
    assert [one.draw(index) for index in range(20)] == [two.draw(index) for index in (*range(20),)]
    assert all(training_seed_allowed(one.draw(index).seed) for index in range(200))


@pytest.mark.parametrize(
    ("changes", "reply", "reward", "reason"),
    [
        ({}, Reply("so", "7", False), 1.0, None),
        ({}, Reply("so", "7", False), 0.5, rejection.WRONG),
        ({"reward": 0.5}, Reply("so", "7", False), 0.5, None),
        ({"keep": "all"}, Reply("so", "7", False), 0.0, None),
        ({}, Reply("so", "7", True), 1.0, rejection.CUT),
        ({}, Reply("so", "7", False, tags_in_place=False), 1.0, rejection.TAGS),
        ({"keep": "all"}, Reply("so", "", False), 0.0, rejection.TAGS),
        ({"max_thought": 4}, Reply("so", "7", False), 1.0, rejection.LONG),
        ({"language": 0.9}, Reply("the sum is also gerade die Summe und fertig", "7", False), 1.0, rejection.MIXED),
        ({"language": 0.9}, Reply("the sum of both is seven", "7", False), 1.0, None),
    ],
)
def test_every_ground_for_leaving_out(changes: dict[str, Any], reply: Reply, reward: float, reason: str | None):
    problem = Problem("plain:sums", "What is 3 plus 4?", "7", 1000, {"language": "en"})
    rollout = Rollout(problem, Completion((1, 2), finish_reason="stop"), Score(reward))
    assert rejection.reason(rollout, reply, 5, section(**changes)) == reason
    cut = replace(rollout, completion=Completion((1, 2), finish_reason="length"))
    assert rejection.reason(cut, reply, 5, section(**changes)) == rejection.CUT


def test_repetitions_and_more_than_enough_are_left_out():
    def record(question: str, thought: str) -> dict[str, Any]:
        return {"messages": [{"content": question}, {"reasoning_content": thought, "content": "7"}]}

    counts: Counter[str] = Counter()
    records = [record("a", "1"), record("a", "1"), record("b", "1"), record("a", "2"), record("a", "3")]
    kept = list(rejection.chosen(records, 2, counts))
    assert kept == [records[0], records[2], records[3]]
    assert counts == {rejection.TWICE: 1, rejection.ENOUGH: 1}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's own set, made without interruption."""
    folder = tmp_path_factory.mktemp("runs") / "own"
    (folder.parent / "recipe.toml").write_text(RECIPE)
    assert make_set(Recipe.load(folder.parent / "recipe.toml"), folder.parent, folder)
    return folder


def test_a_set_is_whole_with_its_provenance(made: Path):
    records = [json.loads(line) for line in set_path(made).read_text().splitlines()]
    own = [record for record in records if record["model"].startswith("bundled@")]
    assert len(own) >= 3, "the bundled model adds small numbers"
    assert all(record["reward"] == 1.0 for record in own)
    assert [record["model"] for record in records if record not in own] == ["worked example"] * 3
    assert len(JsonlSet(set_path(made))) == len(records)
    page = set_path(made).with_suffix(".md").read_text()
    for expected in ("SHA-256 of its weights", "temperature 0.6", "| plain:sums |", "core-hours"):
        assert expected in page
    cost = json.loads((made / "data/sampling.json").read_text())
    assert cost["sampled"] > 0
    assert cost["sampling_flops"] > 0
    assert not list(made.glob("data/.*chunks*"))


# Is killed by the kernel when its second chunk is about to be written.
VICTIM = """
import os, signal, sys
from pathlib import Path
from denken.config import Recipe
from denken.train import sample
whole, count = sample._write_whole, []
def dying(path, values):
    count.append(path)
    if len(count) == 2:
        path.with_name(f".{path.name}.part").write_text("{")
        os.kill(os.getpid(), signal.SIGKILL)
    whole(path, values)
sample._write_whole = dying
base, folder = Path(sys.argv[1]), Path(sys.argv[2])
sample.make_set(Recipe.load(base / "recipe.toml"), base, folder)
"""


def test_a_killed_sampling_goes_on_and_makes_the_same_set(made: Path, tmp_path: Path):
    folder = tmp_path / "own"
    victim = subprocess.run([sys.executable, "-c", VICTIM, str(made.parent), str(folder)], capture_output=True)
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    assert len(list(folder.glob("data/.chunks-*/0*.json"))) == 1
    assert make_set(Recipe.load(made.parent / "recipe.toml"), made.parent, folder)
    assert set_path(folder).read_bytes() == set_path(made).read_bytes()


def test_two_processes_make_the_same_set(made: Path, tmp_path: Path):
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("threads = 1", "threads = 1\nprocesses = 2"))
    assert make_set(Recipe.load(tmp_path / "recipe.toml"), tmp_path, tmp_path / "own")
    assert set_path(tmp_path / "own").read_bytes() == set_path(made).read_bytes()


def test_a_request_to_stop_keeps_what_is_done(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    calls = []

    def once(*arguments: Any) -> dict[str, Any]:
        calls.append(arguments)
        if len(calls) == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return sample_chunk(*arguments)

    monkeypatch.setattr("denken.train.sample.sample_chunk", once)
    recipe, folder = Recipe.load(made.parent / "recipe.toml"), tmp_path / "own"
    assert not make_set(recipe, made.parent, folder)
    assert not set_path(folder).exists()
    assert make_set(recipe, made.parent, folder)
    assert len(calls) == 3
    assert set_path(folder).read_bytes() == set_path(made).read_bytes()


def test_nothing_right_is_an_error_that_says_why(tmp_path: Path):
    text = RECIPE.replace("plain:sums", "game:countdown").replace("max_tokens = 96", "max_tokens = 4")
    (tmp_path / "recipe.toml").write_text(text)
    recipe = Recipe.load(tmp_path / "recipe.toml")
    with pytest.raises(ConfigError, match=r"Of 12 answers none is kept .12 cut off"):
        make_set(recipe, tmp_path, tmp_path / "own")
    assert make_set(recipe, tmp_path, tmp_path / "own", fill=True)
    assert len(JsonlSet(set_path(tmp_path / "own"))) > 3


def test_a_model_that_is_not_there_is_named_at_once(tmp_path: Path):
    (tmp_path / "recipe.toml").write_text(RECIPE.replace('model = "bundled"', 'model = "run:none"'))
    with pytest.raises(UnknownNameError, match="train that recipe first"):
        make_set(Recipe.load(tmp_path / "recipe.toml"), tmp_path, tmp_path / "own")


def test_the_bundled_vocabulary_says_again_what_was_read():
    tokenizer, task = Tokenizer.load(BUNDLED), get("plain:sums")
    shown = task.demonstrate(task.problem(3))
    ids = said(tokenizer, shown.thought, shown.answer)
    reply = read(Completion(ids), tokenizer)
    assert said(tokenizer, reply.thought.strip("\n"), reply.answer) == ids


def test_answers_that_were_searched_for_are_kept_with_what_was_found(tokenizer: Tokenizer, tmp_path: Path):
    file = tmp_path / "pages.py"
    file.write_text(
        """
from denken.types import Problem, Score

class Pages:
    name = "pages"

    def problem(self, seed):
        return Problem(self.name, f"Where is {seed}?", "Lund", seed)

    def score(self, problem, answer):
        return Score(float(answer == problem.answer))

    def lookup(self, problem):
        return lambda query: f"[1] {query}: Lund"
"""
    )
    settings = section(tasks=[{"task": str(file)}], problems=1, samples=1, max_thought=40)
    judges = Judges(settings, seed=1)
    controls = [tokenizer.control(name) for name in ("<search>", "</search>")]
    search = (controls[0], *tokenizer.encode("where"), controls[1])
    generate = FakeGenerate([search, said(tokenizer, "So.", "Lund")])
    made = sample_chunk(asked(generate, tokenizer, "m", settings), judges, range(1))
    (record,) = made["kept"]
    thought = "<search>where</search>\n<information>\n[1] where: Lund\n</information>\nSo."
    assert record["messages"][1] == {"role": "assistant", "reasoning_content": thought, "content": "Lund"}
    assert made["sampled"] == len(search) + len(said(tokenizer, "So.", "Lund"))
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(record))
    document = next(documents({"sources": [{"jsonl": str(path)}]}, tokenizer, seed=1, start=0))
    assert document.ids[: len(generate.prompts[1])] == generate.prompts[1]
    learnt = [id_ for id_, counts in zip(document.ids, document.loss_mask, strict=True) if counts]
    assert tuple(learnt) == (*search, *said(tokenizer, "So.", "Lund"))


def test_a_question_stands_under_the_licence_of_whoever_worded_it() -> None:
    assert [licence(name) for name in ("plain:sums", "fields:sums", "game:countdown")] == ["MIT"] * 3
    assert [licence(name) for name in ("gcd", "own.jsonl")] == ["Apache-2.0", "unknown"]
