"""denken distil: whole small runs with a teacher elsewhere and with one here, resumed, bounded, and kept apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from denken.config import EndpointSection, Recipe, SampleSection
from denken.errors import ConfigError, DenkenError
from denken.tasks import get
from denken.tasks.base import EVALUATION_SEEDS_FROM, training_seed_allowed
from denken.tokenizer import Tokenizer
from denken.train import distil
from denken.train.folder import BUNDLED
from denken.train.jsonl import JsonlSet
from denken.train.sample import Judges
from fake_teacher import TASK, FakeTeacher, Given, Record, right, said
from small_vocabulary import write_tokenizer

QUIET = Console(quiet=True)
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16}
PRICES = {"usd_in": 1.0, "usd_out": 10.0}


@pytest.fixture
def small(fake: FakeTeacher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeTeacher:
    """A new student of a few thousand weights, one process, few problems; a teacher, and a task in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(distil, "cores", lambda: 1)
    monkeypatch.setattr(distil, "MOST_PROBLEMS", 16)
    monkeypatch.setattr(distil, "SHAPE", distil.SHAPE | SMALL | {"intermediate_size": 64})
    monkeypatch.setattr(distil, "seconds_a_step", lambda *_: 0.3)
    (tmp_path / "more.py").write_text(TASK)
    return fake


def asked(fake: FakeTeacher, **changes: Any) -> distil.Asked:
    given = {"teacher": fake.url, "tasks": ("more.py",), "student": "new", "problems": 60, "minutes": 0.2}
    return distil.Asked(**given | {"max_tokens": 64} | changes)


def prompts(path: Path) -> list[str]:
    return [json.loads(line)["messages"][0]["content"] for line in path.read_text().splitlines()]


def test_a_whole_run_with_a_teacher_elsewhere(small: FakeTeacher, tmp_path: Path) -> None:
    def say(body: Record, number: int) -> Given:
        return said("wrong", "so") if number % 5 == 0 else right(body)

    small.say = say
    prices = EndpointSection(**PRICES, tell="Give the answer alone.")
    folder = distil.distil(asked(small), prices, console=QUIET)
    assert folder == Path("runs/distil-more")
    for name in (
        "recipe.toml",
        "metrics.jsonl",
        "curves.png",
        "ledger.json",
        "report.md",
        "report.html",
        "distil.json",
    ):
        assert (folder / name).is_file(), name
    assert (folder / "model/config.json").is_file()

    results = json.loads((folder / "results.json").read_text())
    assert results["teacher"]["solved"]["value"] == pytest.approx(13 / 16)
    assert results["teacher"]["usd"] == pytest.approx(1000 * 120e-6)
    assert set(results) == {"teacher", "after", "answers", "ledger"}
    chosen = results["answers"]
    assert chosen["samples"] == 60
    assert chosen["kept"] + chosen["held_out"] + sum(chosen["left_out"].values()) == 60
    assert chosen["left_out"]["wrong"] == 12
    assert chosen["held_out"] >= 1
    assert results["ledger"]["paid_usd"] == pytest.approx((16 + 60) * 120e-6)
    assert results["ledger"]["usd"] > results["ledger"]["paid_usd"]
    assert results["ledger"]["sampled"] == 600
    assert "| teacher | more | 0.812 |" in (folder / "report.md").read_text()

    learnt = folder / "data/distil-more.jsonl"
    assert len(JsonlSet(learnt)) == chosen["kept"]
    held_out = prompts(learnt.with_name("distil-more-held-out.jsonl"))
    task = get("more.py")
    examined = {task.problem(EVALUATION_SEEDS_FROM + i).prompt for i in range(16)}
    assert not set(prompts(learnt)) & (examined | set(held_out))
    assert "Give the answer alone." not in learnt.read_text()
    page = learnt.with_suffix(".md").read_text()
    for words in (f"`wise`, asked at `127.0.0.1:{small.port}`", "Give the answer alone.", "check them", "USD paid"):
        assert words in page

    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    looks = [line for line in metrics if "eval_loss" in line]
    assert [*looks[0]["eval_losses"]] == ["jsonl:distil-more-held-out"]
    steps = [line["loss"] for line in metrics if "loss" in line]
    assert steps[-1] < steps[0]

    # The time of the answers is not taken from learning.
    sampling = json.loads((folder / "data/sampling.json").read_text())["seconds"]
    minutes = Recipe.load(folder / "recipe.toml").train.minutes
    assert minutes == pytest.approx((1.3 * distil.LEARNING * 12 + sampling) / 60, abs=0.001)

    # What is done is not done again, and wants no server any more.
    small.listing = (500, {}, {})
    requests, kept = len(small.asked), learnt.read_bytes()
    assert distil.distil(asked(small), prices, console=QUIET) == folder
    assert (len(small.asked), learnt.read_bytes()) == (requests, kept)
    with pytest.raises(ConfigError, match="with samples 1, not 3"):
        distil.distil(asked(small, samples=3), prices, console=QUIET)


def test_stopped_while_asking_it_goes_on(small: FakeTeacher, monkeypatch: pytest.MonkeyPatch) -> None:
    from denken.train import sample

    real, stops = sample.stop_signals, [30]

    class Signals:
        def __enter__(self) -> Any:
            self.inner = real()
            self.inner.__enter__()
            return lambda: bool(stops) and len(small.asked) >= stops[0]

        def __exit__(self, *given: Any) -> None:
            self.inner.__exit__(*given)

    monkeypatch.setattr(sample, "stop_signals", Signals)
    assert distil.distil(asked(small), console=QUIET) is None
    folder = Path("runs/distil-more")
    assert not (folder / "data/distil-more.jsonl").exists()
    before = len(small.asked)
    assert 30 <= before < 16 + 60
    stops.clear()
    monkeypatch.setattr(distil, "run", lambda *_, **__: folder)  # learning is another test's
    assert distil.distil(asked(small), console=QUIET) is None
    assert len(small.asked) <= 16 + 60 + 8  # what was under way was asked for twice
    assert len(prompts(folder / "data/distil-more.jsonl")) >= 50


def test_a_budget_ends_the_asking_and_what_came_is_learnt(
    small: FakeTeacher, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path("runs/distil-more")
    monkeypatch.setattr(distil, "run", lambda *_, **__: folder)
    bounds = EndpointSection(**PRICES, usd=0.006)
    assert distil.distil(asked(small), bounds, console=QUIET) is None
    spent = sum(json.loads(line)["usd"] for line in (folder / "data/asked.jsonl").read_text().splitlines())
    assert 0.006 - 2 * 700e-6 <= spent <= 0.006
    assert json.loads((folder / "teacher/counts.json").read_text()) == 5  # a tenth of the money
    assert len(small.asked) == round(spent / 120e-6)
    selection = json.loads((folder / "data/selection.json").read_text())
    assert selection["left_out"]["not asked: the money is spent"] > 0
    assert selection["kept"] > 20


def test_a_teacher_that_knows_nothing_is_said_before_money_is_spent(small: FakeTeacher) -> None:
    small.say = lambda body, number: said("The answer is 4.", "so")
    with pytest.raises(DenkenError, match=r"solved none of 16 problems.*--tell"):
        distil.distil(asked(small), console=QUIET)
    assert len(small.asked) == 16


def test_a_teacher_here_and_a_student_with_its_own_vocabulary(small: FakeTeacher, tmp_path: Path) -> None:
    """The bundled model teaches a small one whose tokenizer is another, and none is asked elsewhere."""
    import torch

    from denken.model import checkpoint as exported
    from denken.model.transformer import Transformer
    from denken.train.shape import model_config

    student = tmp_path / "student"
    tokenizer = Tokenizer.load(write_tokenizer(student, words=["the", " the"]))
    torch.manual_seed(1)
    exported.save(Transformer(model_config(distil.SHAPE | {"vocab_size": tokenizer.vocab_size})), tmp_path / "made")
    for file in (tmp_path / "made").iterdir():
        file.rename(student / file.name)
    given = asked(small, teacher="bundled", tasks=("plain:sums",), student=str(student), problems=40)
    folder = distil.distil(given, out=Path("runs/here"), console=QUIET)
    assert folder is not None
    results = json.loads((folder / "results.json").read_text())
    assert results["before"]["solved"]["value"] == 0.0
    assert results["teacher"]["solved"]["value"] > 0.5
    assert results["answers"]["kept"] >= 10
    assert results["ledger"]["paid_usd"] == 0.0
    assert (folder / "model/tokenizer.json").read_bytes() == (student / "tokenizer.json").read_bytes()
    assert small.asked == []


def test_what_cannot_be_used_is_said_at_once(small: FakeTeacher, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no weights to adapt"):
        distil.distil(asked(small, lora=8), console=QUIET)
    with pytest.raises(ConfigError, match="no time"):
        distil.distil(asked(small, minutes=0), console=QUIET)
    with pytest.raises(ConfigError, match="teacher holds a password"):
        distil.distil(asked(small, teacher="http://me:word@127.0.0.1/v1"), console=QUIET)
    with pytest.raises(ConfigError, match="solved by searching"):
        distil.distil(asked(small, tasks=("search_qa",)), out=tmp_path / "other", console=QUIET)
    assert small.asked == []


def test_a_files_questions_come_in_turn_and_never_those_held_out(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}?", "answer": str(i)} for i in range(60)]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    tasks = [{"task": str(tmp_path / "q.jsonl"), "config": {"held_out": 0.2}}]
    section = SampleSection.model_validate({"model": "bundled", "tasks": tasks, "problems": 96, "apart": 100})
    judges = Judges(section, 1)
    drawn = [judges.draw(index) for index in range(96)]
    assert [problem.prompt for problem in drawn] == 2 * [f"{i}?" for i in range(48)]
    assert all(training_seed_allowed(problem.seed) for problem in drawn)
    assert len({problem.seed for problem in drawn}) == 96
    assert not any(judges.examined(problem) for problem in drawn)
    assert all(judges.examined(judges.tasks[0].problem(EVALUATION_SEEDS_FROM + i)) for i in range(12))


def test_an_address_in_a_recipe_needs_no_command(small: FakeTeacher, tmp_path: Path) -> None:
    """The recipe that a run leaves is one that `denken train` reads; an endpoint belongs to an address."""
    text = f"""
name = "own"
[sample]
model = "{small.url}"
tasks = [{{ task = "{tmp_path / "more.py"}" }}]
problems = 6
endpoint = {{ concurrency = 2 }}
[train]
epochs = 1
init_from = "{BUNDLED}"
"""
    (tmp_path / "recipe.toml").write_text(text)
    recipe = Recipe.load(tmp_path / "recipe.toml")
    from denken.train.sample import make_set, set_path

    assert make_set(recipe, tmp_path, tmp_path / "runs/own")
    assert len(prompts(set_path(tmp_path / "runs/own"))) == 6
    (tmp_path / "recipe.toml").write_text(text.replace(small.url, "bundled"))
    with pytest.raises(ConfigError, match="give its address as model"):
        Recipe.load(tmp_path / "recipe.toml")
