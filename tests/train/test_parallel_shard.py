"""A sharded network: gradients, updates, checkpoints and generation are those of one that is whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from denken.config import OptimSection
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.train.optim import Optimizer
from denken.train.parallel import Mesh, launch
from denken.train.shard import ShardedOptimizer
from small_configs import SMALL_LATENT

# Sizes that two processes cannot halve: 97 rows, 45 rows, one row.
SIZES = {
    "family": "qwen3",
    "tie_word_embeddings": True,
    "vocab_size": 97,
    "hidden_size": 30,
    "intermediate_size": 45,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 10,
    "initializer_range": 0.2,
}
OPTIM = {
    "adamw": OptimSection(name="adamw", lr=1e-2, weight_decay=0.1),
    "muon": OptimSection(name="muon", lr=1e-2, grad_clip=0.5),
}
ROWS = torch.randint(0, 97, (8, 12), generator=torch.Generator().manual_seed(5))


EXPERTS = {"family": "deepseek_v3", **SMALL_LATENT, "vocab_size": 97, "moe_intermediate_size": 7}


@dataclass(frozen=True)
class Case:
    """start: the case whose checkpoint it goes on from. uneven: one process has all the rows, the other none."""

    sharded: bool = True
    optim: str = "adamw"
    dtype: torch.dtype = torch.float32
    sizes: Mapping[str, Any] = field(default_factory=lambda: SIZES)
    count: int = 6
    start: str | None = None
    uneven: bool = False


MUON = Case(optim="muon")
BF16 = replace(MUON, dtype=torch.bfloat16)
ALONE = {
    "alone": Case(sharded=False),
    "alone muon": replace(MUON, sharded=False),
    "alone half": replace(MUON, sharded=False, count=3),
    "alone experts": Case(sharded=False, sizes=EXPERTS, count=3),
}
TOGETHER = {
    "plain": Case(sharded=False),
    "plain bf16": replace(BF16, sharded=False),
    "sharded": Case(),
    "sharded muon": MUON,
    "sharded bf16": BF16,
    "sharded half": replace(MUON, count=3),
    "sharded from half": replace(MUON, count=3, start="sharded half"),
    "sharded from alone": replace(MUON, count=3, start="alone half"),
    "sharded experts": Case(sizes=EXPERTS, count=3),
    "sharded uneven": Case(uneven=True),
    "sharded uneven experts": Case(uneven=True, sizes=EXPERTS, count=3),
}
ALONE_AFTERWARDS = {"alone from sharded": replace(MUON, sharded=False, count=3, start="sharded half")}


def made(mesh: Mesh, case: Case) -> Optimizer:
    torch.manual_seed(1)
    model = Transformer(ModelConfig(**case.sizes))
    kind = ShardedOptimizer if case.sharded else Optimizer
    return kind(model, OPTIM[case.optim], dtype=case.dtype, stats=1, rank=mesh.rank, world=mesh.world)


def step(optimizer: Optimizer, mesh: Mesh, batches: Sequence[Tensor]) -> float:
    """One update from this process's batches; the mean loss over all processes before it."""
    for batch in batches:
        logits_BTV = optimizer.model.logits(optimizer.model.hidden(batch)[:, :-1]).float()
        loss = F.cross_entropy(logits_BTV.mT, batch[:, 1:], reduction="sum")
        loss.backward()
        optimizer.collect()
        optimizer.stats[0] += float(loss.detach())
    optimizer.reduce(mesh.sum_)
    loss = float(optimizer.stats[0]) / ROWS[:, 1:].numel()
    optimizer.gradient.div_(ROWS[:, 1:].numel())
    optimizer.step(1.0, mesh.sum_)
    return loss


def run(mesh: Mesh, name: str, case: Case, folder: Path) -> None:
    """Learn; save losses, weights, momenta, and how many numbers of masters, momenta and gradients each holds."""
    optimizer = made(mesh, case)
    if case.start:
        with torch.no_grad():
            for key, rows in optimizer.own(load_file(folder / case.start / "weights.safetensors")).items():
                optimizer.masters[key].copy_(rows)
        optimizer.publish()
        optimizer.restore(load_file(folder / case.start / "optimizer.safetensors"))
    batches = list(ROWS[mesh.rank :: mesh.world].split(2))
    if case.uneven:
        batches = [] if mesh.rank else list(ROWS.split(1))
    with optimizer.whole() if case.uneven else nullcontext():
        losses = [step(optimizer, mesh, batches) for _ in range(case.count)]
    masters = sum(master.numel() for master in optimizer.masters.values())
    momenta = [momentum.numel() for momentum in Optimizer.state(optimizer).values() if momentum.ndim]
    held = torch.tensor(mesh.gather((masters, sum(momenta), optimizer.gradient.numel())))
    weights, state = optimizer.weights(), optimizer.state()
    if mesh.main:
        (folder / name).mkdir()
        save_file(weights, folder / name / "weights.safetensors")
        save_file(state, folder / name / "optimizer.safetensors")
        save_file({"losses": torch.tensor(losses), "held": held}, folder / name / "figures.safetensors")
    mesh.wait()  # A later case may start from these files.


def cases(mesh: Mesh, folder: str, cases: Mapping[str, Case]) -> None:
    for name, case in cases.items():
        run(mesh, name, case, Path(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What all cases have saved."""
    folder = tmp_path_factory.mktemp("cases")
    cases(Mesh(), str(folder), ALONE)
    launch(cases, 2, 1, str(folder), TOGETHER)
    cases(Mesh(), str(folder), ALONE_AFTERWARDS)
    return folder


def losses(folder: Path, name: str) -> list[float]:
    return load_file(folder / name / "figures.safetensors")["losses"].tolist()


def apart(folder: Path, one: str, other: str) -> float:
    """The largest difference of any weight."""
    weights, others = (load_file(folder / name / "weights.safetensors") for name in (one, other))
    assert weights.keys() == others.keys()
    return max(float((weights[name] - others[name]).abs().max()) for name in weights)


def test_two_that_share_make_the_curve_of_one_that_is_whole(folder: Path):
    assert losses(folder, "alone")[-1] < losses(folder, "alone")[0] - 0.5
    for name in ("plain", "sharded"):
        assert losses(folder, name) == pytest.approx(losses(folder, "alone"), rel=1e-5)
        assert apart(folder, "alone", name) < 1e-4
    assert losses(folder, "sharded experts") == pytest.approx(losses(folder, "alone experts"), rel=1e-5)


def test_muon_sees_whole_matrices(folder: Path):
    """Its products are in bf16, where the order of a sum shows; steps are of 0.01."""
    assert losses(folder, "sharded muon") == pytest.approx(losses(folder, "alone muon"), rel=1e-4)
    assert apart(folder, "alone muon", "sharded muon") < 2e-3
    assert losses(folder, "sharded bf16") == pytest.approx(losses(folder, "plain bf16"), rel=2e-3)


def test_each_holds_about_half(folder: Path):
    whole, parts = (load_file(folder / name / "figures.safetensors")["held"] for name in ("plain", "sharded"))
    assert whole[0].tolist() == whole[1].tolist()
    assert parts.sum(0).tolist() == whole[0].tolist()
    assert (parts.max(0).values <= 0.52 * whole[0]).all()


def test_a_checkpoint_fits_any_number_of_processes(folder: Path):
    straight = losses(folder, "sharded muon")
    assert losses(folder, "sharded half") == straight[:3]
    assert losses(folder, "sharded from half") == straight[3:]
    assert apart(folder, "sharded muon", "sharded from half") == 0
    # Here a single process takes over, or hands over to two.
    assert losses(folder, "alone from sharded") == pytest.approx(straight[3:], rel=1e-4)
    assert losses(folder, "sharded from alone") == pytest.approx(straight[3:], rel=1e-4)
    plain, shared = (load_file(folder / name / "optimizer.safetensors") for name in ("alone half", "sharded half"))
    assert {key: value.shape for key, value in plain.items()} == {key: value.shape for key, value in shared.items()}


def test_processes_may_learn_from_different_numbers_of_batches(folder: Path):
    assert losses(folder, "sharded uneven") == pytest.approx(losses(folder, "alone"), rel=1e-5)
    assert apart(folder, "alone", "sharded uneven") < 1e-4
    assert losses(folder, "sharded uneven experts") == pytest.approx(losses(folder, "alone experts"), rel=1e-5)
