"""What is examined among what was learnt."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from denken.cli import app
from denken.errors import ConfigError, UnknownNameError
from denken.evaluate import suites
from denken.tasks import get
from denken.train.contamination import STRETCH, Examined, Overlap, learnt, questions, table

LONG = "The quick brown fox jumps over the lazy dog while {} hungry wolves watch from the edge of the dark forest."


def overlap(asked: list[tuple[str, str]], *texts: str) -> list[Overlap]:
    return Examined(asked).overlap(texts)


def test_a_question_that_was_learnt_is_found_whatever_its_case_and_marks() -> None:
    assert overlap([("gcd", "What is gcd(4, 6)?"), ("gcd", "What is gcd(4, 8)?")], "what is GCD (4; 6)") == [
        Overlap("gcd", 2, 1, 1)
    ]


def test_a_stretch_of_a_questions_own_is_found_in_a_longer_text() -> None:
    asked = [("tale", LONG.format("three"))]
    within = f"Once upon a time. {LONG.format('three')} And so on, for many more words."
    assert overlap(asked, within) == [Overlap("tale", 1, 0, 1)]
    shorter = " ".join(LONG.format("three").split()[: STRETCH - 1])
    assert overlap(asked, shorter) == [Overlap("tale", 1, 0, 0)]


def test_the_wording_that_all_questions_of_a_task_share_says_nothing() -> None:
    asked = [("tale", f"{LONG.format('some')} What is {number} + 1?") for number in range(5)]
    assert overlap(asked, f"{LONG.format('some')} What is 77 + 1?") == [Overlap("tale", 5, 0, 0)]
    # The same words in another task's only question are its own.
    assert overlap([*asked, ("other", LONG.format("some"))], LONG.format("some"))[1] == Overlap("other", 1, 1, 1)


def test_what_is_examined_is_what_eval_asks() -> None:
    asked = list(questions(suites.parts(["gcd"], problems=3)))
    assert asked == [("gcd", get("gcd").problem(900_000_000 + at).prompt) for at in range(3)]


RECIPE = """
name = "small"
seed = 3
{}
[[data.sources]]
task = "plain:sums"
"""


def test_a_recipe_is_read_by_the_documents_that_it_draws(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(RECIPE.format('[train]\nsteps = 2\ninit_from = "bundled"'))
    texts = list(learnt(tmp_path, 20))
    assert len(texts) == 40
    assert texts == list(learnt(tmp_path / "recipe.toml", 20))
    (found,) = overlap([("plain:sums", texts[0]), ("plain:sums", "Nobody asks this.")], *texts)
    assert (found.questions, found.same) == (2, 1)


def test_of_reinforcement_learning_it_is_the_questions(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        'name = "small"\nseed = 3\n[train]\nsteps = 2\ninit_from = "bundled"\n[[rl.tasks]]\ntask = "gcd"\n'
    )
    texts = list(learnt(tmp_path, 5))
    assert len(texts) == 5
    assert all("greatest common divisor" in text.lower() for text in texts)


def test_a_set_is_read_line_by_line_and_what_is_neither_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    said = [{"role": "user", "content": "6 times 7?"}, {"role": "assistant", "content": "42"}]
    path.write_text(json.dumps({"messages": said}) + "\n")
    assert list(learnt(path, 10)) == ["6 times 7?", "42"]
    with pytest.raises(UnknownNameError, match="no recipe"):
        list(learnt(tmp_path / "absent.toml", 1))
    path.write_text("[1]\n")
    with pytest.raises(ConfigError):
        list(learnt(path, 1))


def test_the_command_says_what_it_found(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    said = [{"role": "user", "content": get("gcd").problem(900_000_001).prompt}, {"role": "assistant", "content": "4"}]
    path.write_text(json.dumps({"messages": said}) + "\n")
    done = CliRunner().invoke(app, ["contamination", str(path), "gcd", "lcm", "--problems", "4"])
    assert done.exit_code == 0, done.output
    lines = [line for line in done.output.splitlines() if "│" in line]
    assert [cell.strip() for cell in lines[0].split("│")[1:4]] == ["gcd", "4", "1 (25.0%)"]
    assert [cell.strip() for cell in lines[1].split("│")[1:4]] == ["all", "8", "1 (12.5%)"]


def test_the_most_affected_come_first() -> None:
    drawn = table([Overlap("a", 10, 1, 5), Overlap("b", 10, 2, 2), Overlap("c", 10, 0, 0)])
    assert list(drawn.columns[0].cells) == ["b", "a", "all"]
    assert list(drawn.columns[2].cells)[-1] == "3 (10.0%)"
