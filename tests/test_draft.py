"""`denken draft`: what the model in the box says of a task is counted, found again by `load`, and guessed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
from typer.testing import CliRunner

from denken import draft as drafting
from denken.assistant import BUNDLED, Assistant, load
from denken.cli import app
from denken.engine import ngrams
from denken.engine.speculate import Speculation
from denken.errors import CheckpointError, ConfigError
from denken.types import SamplingParams

RECIPE = """
name = "sums"
train = { steps = 1, init_from = "bundled" }
[data]
sources = [{ task = "gcd" }, { task = "chain_sum", config = { min_terms = 5, max_terms = 5 } }]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in the box without its own table."""
    folder = tmp_path_factory.mktemp("draft") / "model"
    shutil.copytree(BUNDLED, folder, ignore=shutil.ignore_patterns("*.ngrams"))
    return folder


@pytest.fixture
def assistant(folder: Path) -> Iterator[Assistant]:
    with load(folder, threads=1) as opened:
        yield opened


def test_a_folder_gets_its_table_and_guesses_from_it(folder: Path, tmp_path: Path) -> None:
    own = tmp_path / "model"
    shutil.copytree(folder, own)
    done = CliRunner().invoke(app, ["draft", str(own), "--task", "gcd", "--answers", "40", "--threads", "1"])
    assert done.exit_code == 0, done.output
    assert "contexts of" in done.output
    question = "Find the Greatest Common Divisor (GCD) of these numbers: 84, 36."
    answers = []
    for place in (folder, own):
        with load(place, threads=1) as opened:
            assert isinstance(opened.speculation, Speculation)
            assert bool(opened.speculation._guesses.known) == (place == own)
            answers.append(opened.ask(question, params=SamplingParams(temperature=0)))
    assert answers[0].text == answers[1].text == "12"
    assert answers[0].thought == answers[1].thought
    (own / ngrams.FILE).write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match=r"draft\.ngrams"):
        load(own)


def test_recipes_name_tasks_at_their_settings(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    gcd, sums = drafting.planned([], recipe, [], 10).tasks
    assert (gcd.name, sums.name) == ("gcd", "chain_sum")
    assert sums.problem(7).prompt.count("+") + sums.problem(7).prompt.count("-") >= 4
    assert len(drafting.planned([], None, [], 10).tasks) > 10


def test_texts_are_read_instead(assistant: Assistant, tmp_path: Path) -> None:
    texts, out = tmp_path / "texts.txt", tmp_path / "table"
    texts.write_text("17*23=391\n" * 50, encoding="utf-8")
    table, ids = drafting.draft(assistant, drafting.planned([], None, [texts], 10), out, progress=False)
    assert numpy.array_equal(ngrams.read(out, assistant.tokenizer.vocab_size).contexts_N, table.contexts_N)
    assert ids > 200
    texts.write_text("Nothing twice here.", encoding="utf-8")
    with pytest.raises(ConfigError, match="8 times"):
        drafting.draft(assistant, drafting.planned([], None, [texts], 10), out, progress=False)
    with pytest.raises(ConfigError, match="--out"):
        drafting.draft(assistant, drafting.planned(["gcd"], None, [], 10**6), tmp_path / "none" / "table")
    with pytest.raises(ConfigError, match="not both"):
        drafting.planned(["gcd"], None, [texts], 10)


def test_asking_can_be_stopped_and_what_was_answered_is_counted(
    assistant: Assistant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said, calls = drafting.said, []

    def stopped(*given: object) -> object:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return said(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(drafting, "said", stopped)
    plan = drafting.planned(["gcd", "chain_sum"], None, [], 40)
    table, _ = drafting.draft(assistant, plan, tmp_path / "table", progress=False)
    assert len(calls) == 2
    assert len(table.ids_N)
