"""Two processes, started by the run itself or by torchrun, make the curve of one; with everything shared out too."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import killing
from denken.model.checkpoint import load
from denken.train import checkpoint

BY_TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "denken")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small recipes, with AdamW: Muon's products are in bf16, where the order of a sum shows."""
    paths = killing.recipes(tmp_path_factory.mktemp("recipes"))
    for path in paths.values():
        text = (
            path.read_text()
            .replace("[optim]", '[optim]\nname = "adamw"\ndecay_fraction = 0')
            .replace("[train]", "[train]\nlanes = 2\nkeep = 9")
        )
        path.write_text(text.replace("lr = 0.01", "lr = 0.003"))
    return paths


@pytest.fixture(scope="module")
def alone(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What one process makes of them."""
    folder = tmp_path_factory.mktemp("alone")
    for kind, path in paths.items():
        assert killing.train(path, folder / kind) == 0
    return {kind: folder / kind for kind in paths}


@pytest.fixture(scope="module")
def together(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What two processes of torchrun make of them, whole and sharing: a chain by one command."""
    folder = tmp_path_factory.mktemp("together")
    chain = {name: paths[name].read_text() for name in ("sft", "grpo")}
    shared = {f"{name}_shared": text.replace("[train]", "[train]\nshard = true") for name, text in chain.items()}
    chain |= shared
    for number, (name, text) in enumerate(chain.items()):
        (folder / "recipes" / f"{number}_{name}").mkdir(parents=True)
        text = re.sub('name = "(sft|grpo)"', f'name = "{name}"', text)
        (folder / "recipes" / f"{number}_{name}" / "recipe.toml").write_text(text)
    command = [sys.executable, *BY_TORCHRUN, "train", str(folder / "recipes"), "--runs", str(folder)]
    done = subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return {name: folder / name for name in chain}


def records(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def same_curves(one: Path, two: Path, *names: str) -> None:
    ours, theirs = records(one), records(two)
    for name in names:
        curve, other = ([(r["step"], r[name]) for r in each if name in r] for each in (ours, theirs))
        assert len(curve) > 1 or name == "eval_loss"
        assert [step for step, _ in curve] == [step for step, _ in other]
        assert [value for _, value in other] == pytest.approx([value for _, value in curve], rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("kind", ["sft", "sft_shared"])
def test_two_that_learn_from_a_set_make_the_curve_of_one(kind: str, alone: dict[str, Path], together: dict[str, Path]):
    same_curves(alone["sft"], together[kind], "loss", "eval_loss", "grad_norm", "tokens")
    assert json.loads((together[kind] / "environment.json").read_text())["processes"] == 2


@pytest.mark.parametrize("kind", ["grpo", "grpo_shared"])
def test_two_that_learn_from_rewards_make_the_curve_of_one(
    kind: str, alone: dict[str, Path], together: dict[str, Path]
):
    same_curves(alone["grpo"], together[kind], "reward", "loss", "kl", "grad_norm", "sampled", "length")
    ours, theirs = (checkpoint.load(run / "checkpoints/step-7").tensors for run in (alone["grpo"], together[kind]))
    for part in ("weights", "reference"):
        for name, tensor in ours[part].items():
            assert torch.allclose(tensor, theirs[part][name], atol=1e-5), name
    exported = [load(run / "model", dtype=torch.float32).state_dict() for run in (alone["grpo"], together[kind])]
    for name, tensor in exported[0].items():
        assert torch.allclose(tensor, exported[1][name], atol=1e-5), name


def test_what_two_shared_one_goes_on_with(alone: dict[str, Path], together: dict[str, Path], tmp_path: Path):
    """From its step 4, as if the two had been stopped there."""
    half = tmp_path / "half"
    shutil.copytree(together["grpo_shared"], half)
    for step in (6, 7):
        shutil.rmtree(half / f"checkpoints/step-{step}")
    assert killing.train(half / "recipe.toml", half) == 0
    assert max(records(half), key=lambda record: record["step"])["step"] == 7
    same_curves(alone["grpo"], half, "reward", "loss", "length")
