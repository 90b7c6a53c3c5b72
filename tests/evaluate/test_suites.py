"""Suites: the published configurations and items, and who keeps up with whom."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from denken.errors import ConfigError, UnknownNameError
from denken.evaluate import evaluate, plots, report, suites
from denken.evaluate.metrics import Estimate
from denken.evaluate.published import counting, published
from denken.evaluate.runner import Result
from denken.tasks import get
from denken.tasks.base import training_seed_allowed
from denken.types import Completion, Problem, Score

GYM = Path(__file__).parents[2].parent / "shared" / "data" / "reasoning-gym"


def result(task: str, solved: float, level="hard", score: float | None = None) -> Result:
    estimate = Estimate(solved, solved, solved, 0.0)
    shown = solved if score is None else score
    return Result(task, {}, 500, 1, 900_000_000, estimate, shown, {1: solved}, None, 0.0, 10.0, 1.0, level)


def test_a_suite_is_its_data_sets_at_the_published_configurations() -> None:
    (hard,) = suites.parts(["gym-hard"])
    assert (hard.level, hard.problems, hard.seed_from, len(hard.named)) == ("hard", 50, 45, 100)
    assert dict(hard.named)["ab"] == {"length": 25}
    easy, hard = suites.parts(["gym-fresh"], problems=7)
    assert (easy.level, hard.level, easy.problems, len(easy.named)) == ("easy", "hard", 7, 101)
    assert {suites.category(name, "easy") for name, _ in easy.named} >= {"algebra", "games", "logic"}
    assert suites.category("chain_sum", "hard") == "arithmetic"
    assert suites.category("plain:sums", "hard") == ""


def test_data_sets_of_a_suite_have_published_scores_beside_them() -> None:
    for level in suites.LEVELS:
        names = [name for name, _ in suites.data_sets(level)]
        for model, _ in report.BESIDE:
            assert sum(counting(name, model, level) is not None for name in names) >= len(names) - 2


def test_nothing_of_a_suite_is_ever_learnt_from() -> None:
    for name in suites.NAMES:
        for part in suites.parts([name]):
            assert not any(map(training_seed_allowed, range(part.seed_from, part.seed_from + part.problems)))


@pytest.mark.skipif(not GYM.is_dir(), reason="the published configurations are not here")
def test_the_configurations_are_those_of_the_published_runs() -> None:
    yaml = pytest.importorskip("yaml")
    for level in suites.LEVELS:
        given = yaml.safe_load((GYM / f"{level}.yaml").read_text())
        theirs = {
            s["dataset"]: (c["category"], s.get("params") or {}) for c in given["categories"] for s in c["datasets"]
        }
        ours = {name: (suites.category(name, level), config) for name, config in suites.data_sets(level)}
        assert ours == theirs
        remade = json.loads((GYM / "regenerates_with_0.1.25.json").read_text())[level]
        otherwise = {name for name, how in remade.items() if how == "differs" or how.startswith("error")}
        assert suites.REMADE[level] == otherwise


def test_tasks_are_named_one_by_one_or_as_one_suite() -> None:
    (part,) = suites.parts(["gcd", "chain_sum"])
    assert (part.level, part.problems, [task.name for task in part.tasks()]) == (None, 100, ["gcd", "chain_sum"])
    assert suites.remade(part) == ""
    with pytest.raises(ConfigError, match="measure it alone"):
        suites.parts(["gcd", "gym-easy"])
    with pytest.raises(UnknownNameError):
        suites.parts(["gym-esy"])
    (easy,) = suites.parts(["gym-easy"])
    assert "spiral_matrix" in suites.remade(easy)
    assert "gcd" not in suites.remade(easy)


def test_some_of_a_suite_is_asked_as_the_suite_asks_it() -> None:
    whole = dict(suites.data_sets("hard"))
    (part,) = suites.parts(["gym-fresh-hard", "gcd", "ab"])
    assert (part.level, part.problems) == ("hard", suites.FRESH_ITEMS)
    assert dict(part.named) == {name: whole[name] for name in ("gcd", "ab")}
    assert [part.level for part in suites.parts(["gym-fresh", "gcd"])] == ["easy", "hard"]
    with pytest.raises(ConfigError, match="no data set 'plain:sums'"):
        suites.parts(["gym-fresh-hard", "plain:sums"])
    with pytest.raises(UnknownNameError):
        suites.parts(["gym-fresh-hard", "gdc"])


def test_who_keeps_up() -> None:
    """At least as good as the better of the two; where that one is nearly perfect, 98 % are enough."""
    theirs = [counting("ab", model, "hard") for model, _ in report.BESIDE]
    assert max(theirs) < 0.98
    assert min(theirs) < max(theirs)
    assert report.keeps_up(result("ab", max(theirs))) is True
    assert report.keeps_up(result("ab", max(theirs) - 0.01)) is False
    assert counting("gcd", "deepseek-r1", "easy") == 1.0
    assert report.keeps_up(result("gcd", 0.98, "easy")) is True
    assert report.keeps_up(result("gcd", 0.979, "easy")) is False
    assert [counting("spiral_matrix", model, "hard") for model, _ in report.BESIDE] == [0.0, 0.0]
    assert report.keeps_up(result("spiral_matrix", 0.0)) is False
    assert report.keeps_up(result("spiral_matrix", 0.002)) is True
    # Partial marks of ours do not count, and a task of no suite is not compared.
    assert report.keeps_up(result("countdown", 0.1, score=1.0)) is False
    assert report.keeps_up(result("countdown", 1.0, None)) is None


def test_easy_is_held_against_the_mean_and_hard_against_the_one_that_was_drawn() -> None:
    easy, hard = published("maze", "deepseek-r1"), published("maze", "deepseek-r1", "hard")
    assert counting("maze", "deepseek-r1", "easy") == easy.mean < easy.best
    assert counting("maze", "deepseek-r1", "hard") == hard.best


def test_the_report_of_a_suite(tmp_path: Path) -> None:
    results = [result("gcd", 1.0, "easy"), result("gcd", 1.0), result("countdown", 0.5), result("no_such_set", 1.0)]
    text = report.markdown(results)
    assert "- easy: at least as good as DeepSeek-R1 and o3-mini on 1 of 1 data sets.\n" in text
    assert "on 1 of 2 data sets" in text
    assert "500 problems from seed 900000000" in text
    assert text.count("the hard configurations") == 1
    assert [line.split("|")[-2].strip() for line in text.splitlines() if line.startswith("| ")][2:] == [
        "yes", "yes", "no", "-",
    ]  # fmt: skip
    loaded = json.loads(report.to_json(results))["results"]
    assert [one["keeps_up"] for one in loaded] == [True, True, False, None]
    assert loaded[2]["published"]["deepseek-r1"] == 0.791
    with (tmp_path / "table.txt").open("w") as file:
        Console(file=file, width=200).print(report.table(results))
    assert "keeps up" in (tmp_path / "table.txt").read_text()
    plots.plot(results, tmp_path / "suite.png")
    assert (tmp_path / "suite.png").read_bytes().startswith(b"\x89PNG")


class Barren:
    """A task that has no problem of any seed."""

    name = "barren"

    def problem(self, seed: int) -> Problem:
        raise ConfigError(f"barren has no item for seed {seed}.")

    def score(self, problem: Problem, answer: str) -> Score:
        raise AssertionError


def test_a_data_set_that_makes_no_problems_is_left_out_and_said(tokenizer) -> None:
    def nobody(prompts, params):
        raise AssertionError("nothing is to be asked")

    said: list[str] = []
    assert evaluate(nobody, tokenizer, [Barren()], progress=False, leave_out=said.append) == []
    assert said == ["barren is left out: barren has no item for seed 900000000."]
    with pytest.raises(ConfigError, match="no item"):
        evaluate(nobody, tokenizer, [Barren(), get("gcd")], progress=False)


class Gaps(Barren):
    """Every third problem cannot be made."""

    name = "gaps"

    def problem(self, seed: int) -> Problem:
        return super().problem(seed) if seed % 3 == 0 else Problem("gaps", "What?", "x", seed)

    def score(self, problem: Problem, answer: str) -> Score:
        return Score(0.0, {"correct": 0.0})


def test_problems_that_cannot_be_made_leave_the_others(tokenizer) -> None:
    said: list[str] = []
    options = {"problems": 9, "progress": False, "leave_out": said.append}
    (result,) = evaluate(lambda prompts, _: [Completion((0,))] * len(prompts), tokenizer, [Gaps()], **options)
    assert (result.problems, result.left_out) == (6, 3)
    assert said == ["3 of 9 problems of gaps are left out: barren has no item for seed 900000000."]


class Deaf:
    """A model of a small context, which would raise at what is longer; it never answers."""

    context = 40

    def __call__(self, prompts, params):
        assert all(len(ids) < self.context for ids in prompts)
        return [Completion((0,), finish_reason="length") for _ in prompts]


class Lengths:
    """Every other question is longer than that."""

    name = "lengths"

    def problem(self, seed: int) -> Problem:
        return Problem("lengths", "word " * (200 if seed % 2 else 2), "x", seed)

    def score(self, problem: Problem, answer: str) -> Score:
        return Score(0.0, {"correct": 0.0})


def test_a_question_that_the_context_cannot_hold_is_not_answered(tokenizer) -> None:
    (measured,) = evaluate(Deaf(), tokenizer, [Lengths()], problems=4, progress=False)
    assert (measured.problems, measured.solved.value, measured.cut, measured.tokens) == (4, 0.0, 1.0, 0.5)
