"""Chains of recipes: their order, what is skipped, what goes on, what lies ahead."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import denken.train
from denken.cli import app
from denken.config import Recipe
from denken.errors import ConfigError, UnknownNameError
from denken.tokenizer import Tokenizer
from denken.train import pipeline, pretrain

SHAPE = """
[model]
model_type = "qwen3"
vocab_size = {vocab_size}
hidden_size = 16
intermediate_size = 24
num_hidden_layers = 2
num_attention_heads = 2
max_position_embeddings = 256
tie_word_embeddings = true
[tokenizer]
path = {tokenizer}
"""
LEARN = """
name = "{name}"
{shape}
[data]
widths = [256]
save_documents = 3
sources = [{{ task = "plain:sums" }}]
[train]
steps = {steps}
batch_tokens = 256
micro_tokens = 256
threads = 1
log_every = 1
checkpoint_every_s = 0
{more}
"""
SAMPLE = """
name = "c_sampled"
[sample]
model = "run:b_second"
tasks = [{ task = "plain:sums" }]
problems = 4
samples = 2
max_tokens = 8
others = 4
[train]
init_from = "run:a_first"
init_layers = [1]
epochs = 2
batch_tokens = 256
micro_tokens = 256
threads = 1
[data]
widths = [256]
"""


@pytest.fixture
def recipes(tmp_path: Path, tokenizer_folder: Path) -> Path:
    """Two numbered folders with three recipes, and what is no part of the chain."""
    vocab_size = Tokenizer.load(tokenizer_folder).vocab_size
    shape = SHAPE.format(vocab_size=vocab_size, tokenizer=json.dumps(str(tokenizer_folder)))
    root = tmp_path / "recipes"
    for folder in ("01_one", "02_two", "bundled"):
        (root / folder).mkdir(parents=True)
    (root / "01_one/recipe.toml").write_text(LEARN.format(name="a_first", shape=shape, steps=4, more=""))
    second = LEARN.format(name="b_second", shape="", steps=400, more='init_from = "run:a_first"')
    (root / "02_two/before.toml").write_text(second)
    (root / "02_two/recipe.toml").write_text(SAMPLE)
    (root / "02_two/stages.toml").write_text("no recipe")
    (root / "bundled/recipe.toml").write_text("no recipe")
    (root / "stages.toml").write_text("no recipe")
    return root


def test_the_order_of_a_chain(recipes: Path, tmp_path: Path):
    names = [stage.recipe.name for stage in pipeline.stages(recipes, runs=tmp_path / "runs")]
    assert names == ["a_first", "b_second", "c_sampled"]
    names = [stage.recipe.name for stage in pipeline.stages(recipes / "02_two", runs=tmp_path / "runs")]
    assert names == ["b_second", "c_sampled"]
    assert pipeline.files(recipes / "01_one") == [recipes / "01_one/recipe.toml"]
    assert pipeline.files(recipes / "01_one/recipe.toml") == [recipes / "01_one/recipe.toml"]


def test_what_is_no_chain_says_so(tmp_path: Path, recipes: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownNameError, match="holds no recipe"):
        pipeline.stages(tmp_path / "empty", runs=tmp_path)
    with pytest.raises(UnknownNameError, match="There is no recipe"):
        pipeline.stages(tmp_path / "none", runs=tmp_path)
    (recipes / "03_again").mkdir()
    (recipes / "03_again/recipe.toml").write_text((recipes / "01_one/recipe.toml").read_text())
    with pytest.raises(ConfigError, match="are both called 'a_first'"):
        pipeline.stages(recipes, runs=tmp_path)


def run(recipes: Path, runs: Path, scale: float = 1.0) -> tuple[bool, str]:
    console = Console(record=True, width=200, file=Path(os.devnull).open("w"))  # noqa: SIM115
    return pipeline.train(pipeline.stages(recipes, runs=runs, scale=scale), scale=scale, console=console), (
        console.export_text()
    )


def test_a_chain_at_reduced_length_runs_from_end_to_end(recipes: Path, tmp_path: Path):
    """Nothing right is said after two steps; the chain can be tried all the same."""
    done, said = run(recipes, tmp_path / "runs", scale=0.01)
    assert done, said
    steps = [
        max(int(p.name[5:]) for p in (tmp_path / "runs" / name / "checkpoints").iterdir())
        for name in ("a_first", "b_second")
    ]
    assert steps == [2, 4]
    student = json.loads((tmp_path / "runs/c_sampled/model/config.json").read_text())
    assert student["num_hidden_layers"] == 1
    assert json.loads((tmp_path / "runs/c_sampled/environment.json").read_text())["scale"] == 0.01
    own = tmp_path / "runs/c_sampled/data/c_sampled.jsonl"
    assert [json.loads(line)["task"].split(":")[0] for line in own.read_text().splitlines()][-2:] == ["smalltalk"] * 2
    assert json.loads((tmp_path / "runs/c_sampled/ledger.json").read_text())["sampled"] > 0
    documents = (tmp_path / "runs/a_first/data/a_first.jsonl").read_text().splitlines()
    assert [json.loads(line)["task"] for line in documents] == ["plain:sums"] * 2
    assert "SHA-256" in (tmp_path / "runs/a_first/data/a_first.md").read_text()

    done, said = run(recipes, tmp_path / "runs", scale=0.01)
    assert done
    assert said.count("skipped") == 3


def test_a_chain_that_was_stopped_goes_on(recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (recipes / "02_two/recipe.toml").unlink()
    before = (recipes / "02_two/before.toml").read_text()
    (recipes / "02_two/before.toml").write_text(before.replace("steps = 400", "steps = 4"))
    step = pretrain.Trainer.step

    def interrupted(self: pretrain.Trainer, **flags: Any) -> Any:
        if self.recipe.name == "b_second" and self.done == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, **flags)

    with monkeypatch.context() as patched:
        patched.setattr(pretrain.Trainer, "step", interrupted)
        done, said = run(recipes, tmp_path / "runs")
    assert not done
    assert "The chain stops in b_second; resume with the same command." in said
    done, said = run(recipes, tmp_path / "runs")
    assert done
    assert "a_first is finished, 4 steps; skipped" in said
    lines = (tmp_path / "runs/b_second/metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4]


def test_a_plan_shows_what_lies_ahead_and_does_nothing(recipes: Path, tmp_path: Path):
    path = recipes / "01_one/recipe.toml"
    path.write_text(path.read_text() + "[expect]\nminutes = 90\n[cost]\nusd_per_core_hour = 0.1\n")
    chain = pipeline.stages(recipes, runs=tmp_path / "runs")
    first, second, third = (pipeline.estimate(stage, chain) for stage in chain)
    assert (first.steps, first.hours, first.measured) == (4, 1.5, True)
    assert first.usd == pytest.approx(1.5 * 2 * 0.1)
    assert second.steps == 400
    assert second.tokens == 400 * 256
    assert not second.measured
    assert 0 < (second.hours or 0) < 1
    assert third.steps is None
    assert third.hours
    half = pipeline.estimate(pipeline.stages(recipes, runs=tmp_path, scale=0.5)[0], chain, scale=0.5)
    assert (half.steps, half.hours) == (2, 0.75)
    result = CliRunner().invoke(app, ["train", str(recipes), "--plan", "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 0
    for expected in ("a_first", "b_second", "c_sampled", "1.50", "to do", "left to do"):
        assert expected in result.stdout
    assert not (tmp_path / "runs").exists()


def test_what_is_finished_is_shown_as_it_was(recipes: Path, tmp_path: Path):
    chain = pipeline.stages(recipes / "01_one", runs=tmp_path / "runs")
    assert pipeline.train(chain, console=Console(quiet=True))
    then = pipeline.estimate(chain[0], chain)
    assert then.state == "finished"
    assert then.measured
    assert then.tokens == json.loads((tmp_path / "runs/a_first/ledger.json").read_text())["tokens"]
    longer = Recipe.load(recipes / "01_one/recipe.toml")
    longer = longer.model_copy(update={"train": longer.train.model_copy(update={"steps": 8})})
    stage = pipeline.Stage(chain[0].path, longer, chain[0].folder)
    assert not pipeline.finished(stage)
    assert pipeline.estimate(stage, [stage]).state == "at step 4"


def test_a_scale_that_is_none_is_refused(recipes: Path, tmp_path: Path):
    for scale in (0.0, -1.0, 2.0, float("nan")):
        with pytest.raises(ConfigError, match="scale"):
            pipeline.stages(recipes, runs=tmp_path, scale=scale)


def test_the_command_line_says_that_it_stopped(recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(denken.train, "run", lambda *_, **__: None)
    result = CliRunner().invoke(app, ["train", str(recipes / "01_one"), "--runs", str(tmp_path / "runs")])
    assert result.exit_code == 130
    result = CliRunner().invoke(app, ["train", str(recipes), "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, ConfigError)
    assert "--runs, not --out" in str(result.exception)


def test_a_chain_ends_with_its_table(recipes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Measured for what it is: the stages are said to be finished, the models are the one in the box."""
    rows = '[[rows]]\nname = "box"\nmodel = "bundled"\n[[columns]]\nname = "sums"\ntask = "plain:sums"\n'
    (recipes / "stages.toml").write_text("problems = 200\nmax_tokens = 64\n" + rows)
    monkeypatch.setattr(pipeline, "train", lambda *_, **__: True)
    runs = tmp_path / "runs"
    result = CliRunner().invoke(app, ["train", str(recipes), "--runs", str(runs), "--scale", "0.01"])
    assert result.exit_code == 0, result.output
    cells = json.loads((runs / "table/stages.json").read_text())["cells"]
    assert [(cell["row"], cell["column"], cell["problems"]) for cell in cells] == [("box", "sums", 2)]
    assert "| box |" in (runs / "table/stages.md").read_text()
