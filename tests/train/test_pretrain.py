"""The loop as a whole: resumed = uninterrupted, two processes = one, and what it says when something is wrong."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import pytest
import torch

import killing
from denken.errors import CheckpointError, ConfigError, DenkenError
from denken.model.checkpoint import load
from denken.tokenizer import Tokenizer
from denken.train import folder, pretrain
from denken.train.pretrain import Trainer, train
from denken.train.runlog import draw_curves

RECIPE = """
name = "tiny"
seed = 3
[model]
model_type = "qwen3"
vocab_size = {vocab_size}
hidden_size = 16
intermediate_size = 24
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
head_dim = 8
max_position_embeddings = 512
tie_word_embeddings = true
[tokenizer]
path = {tokenizer}
[data]
widths = [256, 512]
open_rows = 2
sources = [{{ task = "plain:sums" }}, {{ task = "plain:letters" }}]
[optim]
warmup = 2
lr = 0.02
[train]
steps = 12
batch_tokens = 1024
micro_tokens = 512
threads = 1
checkpoint_every_s = 0
checkpoint_every = 3
log_every = 1
"""

# Where the kernel kills it: in step 8, or while step 9 is being saved; and which time it is.
KILLED_AT = {"update begins": 8, ".step-9/weights.safetensors is written": 1}


@pytest.fixture(scope="module")
def recipe_text(tokenizer_folder: Path) -> str:
    vocab_size = Tokenizer.load(tokenizer_folder).vocab_size
    return RECIPE.format(vocab_size=vocab_size, tokenizer=json.dumps(str(tokenizer_folder)))


@pytest.fixture
def recipe(tmp_path: Path, recipe_text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(recipe_text)
    return path


def change(recipe: Path, *changes: tuple[str, str]) -> None:
    text = recipe.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text)


def weights_hash(run: Path, step: int = 12) -> str:
    return hashlib.sha256((run / f"checkpoints/step-{step}/weights.safetensors").read_bytes()).hexdigest()


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in metrics(run)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, recipe_text: str) -> Path:
    """The run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("straight")
    (folder / "recipe.toml").write_text(recipe_text)
    return train(folder / "recipe.toml", run_dir=folder / "run")


def test_a_run_learns_and_leaves_what_it_should(straight: Path):
    assert [record["step"] for record in metrics(straight)] == list(range(1, 13))
    assert losses(straight)[-1] < losses(straight)[0] - 0.5
    assert set(metrics(straight)[-1]["losses"]) == {"plain:sums", "plain:letters"}
    assert (straight / "curves.png").is_file()
    ledger = json.loads((straight / "ledger.json").read_text())
    assert ledger["tokens"] == metrics(straight)[-1]["tokens"] > 0
    assert ledger["usd"] == pytest.approx(ledger["core_seconds"] / 3600 * 0.02)
    assert json.loads((straight / "environment.json").read_text())["torch"] == torch.__version__
    assert sorted(path.name for path in (straight / "checkpoints").iterdir()) == ["step-12", "step-9"]


def test_its_curves_can_be_drawn(straight: Path, tmp_path: Path):
    """With a look at unseen documents among them."""
    draw_curves([*metrics(straight), {"step": 12, "eval_loss": 2.0}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 30_000


def test_the_model_folder_is_what_was_trained(straight: Path):
    model = load(straight / "model", dtype=torch.float32)
    saved = pretrain.checkpoint.load(straight / "checkpoints/step-12").tensors["weights"]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, saved[name].bfloat16().float())
    assert Tokenizer.load(straight / "model").encode("a")


def test_killed_and_resumed_is_uninterrupted(straight: Path, recipe: Path, tmp_path: Path):
    run = tmp_path / "run"
    for event, time in KILLED_AT.items():
        assert killing.train(recipe, run, kill_at=time, of=event) == killing.KILLED
        assert max(int(path.name[5:]) for path in (run / "checkpoints").glob("step-*")) == 6
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 8, "lo')  # a torn last line
    train(recipe, run_dir=run)
    assert weights_hash(run) == weights_hash(straight)
    assert losses(run) == losses(straight)
    ours, theirs = (
        json.loads((folder / "checkpoints/step-12/state.json").read_text())["lanes"] for folder in (run, straight)
    )
    assert ours == theirs


def test_a_truncated_checkpoint_is_named_and_the_one_before_is_used(
    straight: Path, recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run = tmp_path / "run"
    change(recipe, ("steps = 12", "steps = 9"), ("lr = 0.02", 'lr = 0.02\nschedule = "linear"'))
    train(recipe, run_dir=run)
    with (run / "checkpoints/step-9/weights.safetensors").open("r+b") as stream:
        stream.truncate(1000)
    capsys.readouterr()
    train(recipe, run_dir=run)
    said = capsys.readouterr().err
    assert "step-9 is damaged: weights.safetensors has 1000 bytes" in said
    assert "Resuming tiny at step 6" in said
    assert len(losses(run)) == 9


def test_two_processes_make_the_curve_of_one(straight: Path, recipe: Path, tmp_path: Path):
    change(recipe, ("steps = 12", "steps = 5\nlanes = 2"), ("threads = 1", 'threads = 1\ndtype = "fp32"'))
    one = train(recipe, run_dir=tmp_path / "one")
    change(recipe, ("lanes = 2", "lanes = 2\nprocesses = 2"))
    two = train(recipe, run_dir=tmp_path / "two")
    assert losses(two) == pytest.approx(losses(one), rel=1e-4)
    assert [record["tokens"] for record in metrics(two)] == [record["tokens"] for record in metrics(one)]
    saved = [pretrain.checkpoint.load(run / "checkpoints/step-5").tensors["weights"] for run in (one, two)]
    for name, tensor in saved[0].items():
        assert torch.allclose(tensor, saved[1][name], atol=2e-3), name


def test_a_signal_stops_after_the_step_and_saves(
    straight: Path,
    recipe: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    step = Trainer.step

    def interrupted(self: Trainer, **flags: bool) -> pretrain.StepResult:
        if self.done == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, **flags)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        run = train(recipe, run_dir=tmp_path / "run")
    stopped_at = metrics(run)[-1]["step"]
    assert stopped_at in (5, 6)
    assert "resume with the same command" in capsys.readouterr().err
    assert (run / f"checkpoints/step-{stopped_at}/manifest.json").is_file()
    train(recipe, run_dir=run)
    assert weights_hash(run) == weights_hash(straight)


def test_minutes_end_a_run_that_has_nothing_to_go_on_with(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    change(recipe, ("steps = 12", "steps = 1000\nminutes = 0.01"))
    run = train(recipe, run_dir=tmp_path / "run")
    assert 0 < metrics(run)[-1]["step"] < 1000
    assert (run / "model/config.json").is_file()
    said = capsys.readouterr().err
    assert "the 0.01 minutes are used up" in said
    assert "resume" not in said


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_checkpoint(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    learn = Trainer.learn

    def poisoned(self: Trainer, batch: pretrain.Batch) -> None:
        learn(self, batch)
        if self.done == 4:
            self.optimizer.stats[1] = float("nan")

    monkeypatch.setattr(Trainer, "learn", poisoned)
    with pytest.raises(DenkenError, match=r"became nan in step 5; the last checkpoint is kept\. Lower lr"):
        train(recipe, run_dir=tmp_path / "run")
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-3"]


def test_what_the_recipe_changed_is_said(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    change(recipe, ("steps = 12", "steps = 3"))
    run = train(recipe, run_dir=tmp_path / "run")
    change(recipe, ("steps = 3", "steps = 5"), ("lr = 0.02", "lr = 0.01"), ('{ task = "plain:letters" }', ""))
    train(recipe, run_dir=run)
    said = " ".join(capsys.readouterr().err.split())
    assert "[data] has changed since the checkpoint: sources" in said
    assert "[optim] has changed since the checkpoint: lr" in said
    assert "[train] has changed since the checkpoint: steps" in said
    assert len(losses(run)) == 5
    change(recipe, ("hidden_size = 16", "hidden_size = 32"))
    with pytest.raises(ConfigError, match=r"another \[model\] \(changed: hidden_size\).*init_from"):
        train(recipe, run_dir=run)


def test_a_new_stage_starts_from_weights(straight: Path, recipe: Path, tmp_path: Path):
    for n, source in enumerate((straight, straight / "model", straight / "checkpoints/step-12")):
        path = tmp_path / f"{n}.toml"
        path.write_text(recipe.read_text().replace("steps = 12", f"steps = 1\ninit_from = {json.dumps(str(source))}"))
        run = train(path, run_dir=tmp_path / str(n))
        assert losses(run)[0] < losses(straight)[0] - 0.5
    change(recipe, ("steps = 12", f"steps = 1\ninit_from = {json.dumps(str(straight))}"), ("= 24", "= 32"))
    with pytest.raises(CheckpointError, match=r"gate_proj\.weight.*wants \(32, 16\)"):
        train(recipe, run_dir=tmp_path / "other")


def test_unseen_documents_are_looked_at(recipe: Path, tmp_path: Path):
    change(recipe, ("steps = 12", "steps = 2\neval_every = 2\neval_documents = 6"))
    run = train(recipe, run_dir=tmp_path / "run")
    looked = [record for record in metrics(run) if "eval_loss" in record]
    assert [record["step"] for record in looked] == [2]
    assert 1 < looked[0]["eval_loss"] < 10
    assert (run / "curves.png").is_file()


def test_recipes_that_cannot_be_trained(recipe: Path, tmp_path: Path):
    good = recipe.read_text()
    for old, new, message in (
        ("max_position_embeddings = 512", "max_position_embeddings = 128", "longer than the model's context of 128"),
        ("vocab_size = ", "vocab_size = 9 #", r"set vocab_size = \d+"),
        ("steps = 12", "steps = 12\nlanes = 3\nprocesses = 2", "lanes = 3 cannot be dealt to 2 processes"),
    ):
        recipe.write_text(good.replace(old, new))
        with pytest.raises(ConfigError, match=message):
            train(recipe, run_dir=tmp_path / "run")


def test_a_second_run_in_the_same_folder_is_refused(recipe: Path, tmp_path: Path):
    (tmp_path / "run").mkdir()
    with (
        folder.only_one(tmp_path / "run"),
        pytest.raises(ConfigError, match="Another process is training into"),
    ):
        train(recipe, run_dir=tmp_path / "run")


def test_a_run_needs_a_folder_of_its_own(recipe: Path):
    for place in (recipe, recipe / "run"):
        with pytest.raises(ConfigError, match=r"recipe\.toml.* cannot be made"):
            train(recipe, run_dir=place)


def test_starting_over_needs_an_empty_folder(straight: Path, recipe: Path):
    with pytest.raises(ConfigError, match="already holds a run"):
        train(recipe, run_dir=straight, resume=False)
