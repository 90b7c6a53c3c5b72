"""denken train --task: what it chooses, and a whole small run of it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch
from rich.console import Console

from denken.config import Recipe
from denken.errors import ConfigError, DenkenError, UnknownNameError
from denken.evaluate.runner import Result
from denken.model import adapters
from denken.model import checkpoint as exported
from denken.model.adapters import layers_of
from denken.tasks import EVALUATION_SEEDS_FROM
from denken.train import defaults, owntask
from denken.train.defaults import Setting

ALWAYS_SEVEN = """
from denken.tasks import Demonstration
from denken.types import Problem, Score
class Seven:
    name = "seven"
    def problem(self, seed): return Problem(self.name, f"Number {seed % 50}, please: qzü 漢?", "7", seed)
    def score(self, problem, answer): return Score(float(answer == problem.answer))
    def demonstrate(self, problem): return Demonstration("7", "7")
"""
NEVER_RIGHT = ALWAYS_SEVEN.replace('"7", seed)', '"", seed)').replace("float(answer == problem.answer)", "0.0")
QUIET = Console(quiet=True)


def setting(parameters: int = 2_600_000, **changes: object) -> Setting:
    given = {"start": "bundled", "parameters": parameters, "context": 2048, "cores": 2, "bf16": True} | changes
    return Setting(**given)  # type: ignore[arg-type]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One process, few problems, and an empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(owntask, "cores", lambda: 1)
    monkeypatch.setattr(owntask, "MOST_PROBLEMS", 16)
    monkeypatch.setattr(owntask, "SAMPLED_PROBLEMS", 8)
    monkeypatch.setattr(owntask, "seconds_a_step", lambda *_: 1.0)
    return tmp_path


def flow(name: str, folder: Path, **changes: object) -> owntask._Flow:
    own = owntask.Own(**({"task": name, "model": "bundled", "minutes": 1.0, "lora": None, "seed": 1} | changes))  # type: ignore[arg-type]
    (folder / "run").mkdir()
    return owntask._Flow(own, folder / "run", QUIET)


def test_rates_fall_with_size_and_rise_with_adapters() -> None:
    sizes = [10**6, 2_600_000, 10**8, 5 * 10**8, 7 * 10**9]
    for rates in ([setting(n).rewards_lr() for n in sizes], [setting(n).worked_lr() for n in sizes]):
        assert rates == sorted(rates, reverse=True)
        assert rates[0] <= 5e-4
    assert setting().rewards_lr() == 3e-4
    assert 5e-6 <= setting(5 * 10**8).rewards_lr() <= 3e-5
    assert 1e-6 <= setting(7 * 10**9).rewards_lr() <= 5e-6
    assert setting(lora=8).rewards_lr() == pytest.approx(3e-3)


@pytest.mark.parametrize("parameters", [10**5, 2_600_000, 6 * 10**8, 7 * 10**9])
@pytest.mark.parametrize("context", [128, 300, 2048, 131_072])
def test_every_recipe_that_is_chosen_can_be_read(parameters: int, context: int, tmp_path: Path) -> None:
    chosen = setting(parameters, context=context)
    odd = 'mine "ä" \\ \n.jsonl'
    recipes = [
        defaults.worked_recipe(chosen, {"jsonl": odd}, longest=90, steps=7, batch_tokens=1024, minutes=1.0),
        defaults.rewards_recipe(
            chosen,
            {"task": odd, "config": {"held_out": 0.2}},
            start="run:01_worked",
            steps=3,
            problems=2,
            max_tokens=60,
            dynamic=True,
            minutes=None,
        ),
    ]
    for recipe in recipes:
        (tmp_path / "recipe.toml").write_text(defaults.to_toml(recipe, "two\nlines"), encoding="utf-8")
        read = Recipe.load(tmp_path / "recipe.toml")
        assert read.train.dtype == "bf16"
        assert max(read.data.widths) <= max(512, context)
        assert tomllib.loads((tmp_path / "recipe.toml").read_text(encoding="utf-8")) == recipe


def test_batches_get_smaller_before_steps_get_few() -> None:
    assert defaults.batch_tokens_for(50_000, 600, setting()) == 8192
    assert defaults.batch_tokens_for(1_000, 300, setting()) == 1024
    assert defaults.batch_tokens_for(10, 10, setting()) == 1024
    assert defaults.problems_for(1.0, 16, 600, setting()) == 16
    assert defaults.problems_for(10.0, 16, 100, setting()) == 5
    assert defaults.problems_for(100.0, 16, 10, setting()) == 2


def test_a_whole_run_makes_a_model_better_and_is_not_repeated(small: Path) -> None:
    (small / "seven.py").write_text(ALWAYS_SEVEN, encoding="utf-8")
    folder = owntask.train("seven.py", minutes=0.6, console=QUIET)
    assert folder == Path("runs/seven")
    results = json.loads((folder / "results.json").read_text())
    first, *_, last = results.values()
    assert first["greedy"]["solved"]["value"] == 0.0
    assert last["greedy"]["solved"]["value"] == 1.0
    assert "| before | 0.000 |" in (folder / "report.md").read_text()
    for name in ("seven.py", "own.json", "01_worked/recipe.toml", "01_worked/metrics.jsonl", "model/config.json"):
        assert (folder / name).is_file(), name
    kept = {path: path.stat().st_mtime_ns for path in (folder / "01_worked").rglob("*") if path.is_file()}
    assert owntask.train("seven.py", minutes=0.6, console=QUIET) == folder
    assert kept == {path: path.stat().st_mtime_ns for path in (folder / "01_worked").rglob("*") if path.is_file()}
    assert json.loads((folder / "results.json").read_text())["before"] == results["before"]
    with pytest.raises(ConfigError, match=r"with minutes 0.6, not 2"):
        owntask.train("seven.py", minutes=2, console=QUIET)


def test_where_nothing_is_ever_right_it_says_what_to_do(small: Path) -> None:
    (small / "never.py").write_text(NEVER_RIGHT.replace("def demonstrate", "def shown"), encoding="utf-8")
    with pytest.raises(DenkenError, match=r"(?s)None of 32 sampled answers.*demonstrate\(problem\).*easier"):
        owntask.train("never.py", minutes=0.1, console=QUIET)
    assert (small / "runs" / "never" / "before" / "sampled.jsonl").is_file()


def measured(value: float) -> owntask.Measured:
    from denken.evaluate.metrics import Estimate

    result = Result("t", {}, 8, 4, 0, Estimate(value, value, value, 0.0), value, {}, None, 0.0, 9.0, 1.0)
    return owntask.Measured(result, result, 20, 0.0)


def test_held_out_questions_are_never_learnt_from(small: Path) -> None:
    rows = [{"prompt": f"Wörter {i}, zqxj 漢字?", "answer": str(i)} for i in range(20)]
    (small / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    own = flow(str(small / "q.jsonl"), small)
    own.worked_source(measured(0.0))
    learnt = {json.loads(line)["messages"][0]["content"] for line in (small / "run/worked.jsonl").open()}
    examined = {own.task.problem(EVALUATION_SEEDS_FROM + i).prompt for i in range(100)}
    assert (len(learnt), len(examined)) == (16, 4)
    assert not learnt & examined
    assert own.config == {"held_out": 0.2}


def test_what_comes_first_depends_on_what_there_is(small: Path) -> None:
    (small / "q.jsonl").write_text('{"prompt": "a?", "answer": "1"}\n{"prompt": "b?", "answer": "2"}\n')
    own = flow(str(small / "q.jsonl"), small)
    assert own.worked_source(measured(0.3)) is None  # rewards can begin
    assert own.worked_source(measured(0.0)) == {"jsonl": str(small / "run/worked.jsonl")}
    (small / "seven.py").write_text(ALWAYS_SEVEN, encoding="utf-8")
    (small / "two").mkdir()
    traced = flow(str(small / "seven.py"), small / "two")
    assert traced.worked_source(measured(0.3)) == {"task": str(small / "two/run/seven.py")}
    assert traced.worked_source(measured(0.95)) is None
    assert all(problem.seed != 45 for problem, _ in traced.examples(64))


def test_a_file_that_needs_its_neighbours_stays_where_it_is(small: Path) -> None:
    text = "import pathlib\npathlib.Path(__file__).with_name('near.txt').read_text()\n" + ALWAYS_SEVEN
    (small / "seven.py").write_text(text, encoding="utf-8")
    (small / "near.txt").write_text("x")
    assert flow(str(small / "seven.py"), small).name == str(small / "seven.py")


@pytest.mark.parametrize(
    ("arguments", "kind", "said"),
    [
        ({"task": "none.py"}, UnknownNameError, "no file"),
        ({"task": "none.jsonl"}, ConfigError, "cannot be read"),
        ({"task": "countdwn"}, UnknownNameError, "did you mean"),
        ({"task": "countdown", "minutes": 0}, ConfigError, "more than 0"),
        ({"task": "countdown", "minutes": float("nan")}, ConfigError, "more than 0"),
        ({"task": "countdown", "model": "nowhere"}, UnknownNameError, "nowhere"),
    ],
)
def test_what_cannot_be_trained_is_said_at_once(arguments: dict, kind: type[Exception], said: str, small: Path) -> None:
    with pytest.raises(kind, match=said):
        owntask.train(**arguments, console=QUIET)
    assert not (small / "runs").exists()


def test_the_stages_leave_one_adapter_over_what_they_began_with(small: Path) -> None:
    """The second was trained on the first one's model, and the two together are what the last model is."""
    subject = flow("plain:sums", small, lora=2)
    start = Path(subject.setting.start)
    layers = layers_of(exported.load(start))
    draw = torch.Generator().manual_seed(0)
    for stage in ("01_worked", "02_rewards"):
        pairs = {
            name: (torch.randn(2, columns, generator=draw), torch.randn(rows, 2, generator=draw))
            for name, (rows, columns) in list(layers.items())[:5]
        }
        adapters.write(subject.folder / stage / "adapter", pairs, rank=2, alpha=4, base="whatever it was")
    subject.put_adapter()
    whole, first, second = (
        adapters.Adapter.open(subject.folder / place / "adapter", layers, start)
        for place in (".", "01_worked", "02_rewards")
    )
    assert (whole.settings.base, whole.settings.rank) == ("bundled", 4)
    for name in list(layers)[:5]:
        changes = [b @ a for a, b in (part.read(name) for part in (whole, first, second))]
        torch.testing.assert_close(changes[0], changes[1] + changes[2])
