"""The update: Muon's iteration, its sharing among processes, masters under bf16, the schedule."""

import pytest
import torch
from torch import nn

from denken.config import OptimSection
from denken.errors import CheckpointError
from denken.train.optim import AdamW, Muon, Optimizer, is_hidden_matrix, lr_factor, orthogonalise


class Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed_tokens = nn.Embedding(7, 4)
        self.up = nn.Linear(4, 6, bias=False)
        self.down = nn.Linear(6, 4, bias=False)
        self.norm = nn.LayerNorm(4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embed_tokens(ids)
        return self.norm(x + self.down(torch.tanh(self.up(x)))).square().mean() + x.sum()


@pytest.mark.parametrize("shape", [(2, 16, 16), (1, 12, 30), (3, 30, 12)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_singular_values_come_close_to_one(shape: tuple[int, int, int], dtype: torch.dtype):
    torch.manual_seed(0)
    matrices = torch.randn(shape)
    result = orthogonalise(matrices, dtype=dtype).float()
    assert result.shape == shape
    values = torch.linalg.svdvals(result)
    assert values.max() < 1.3
    assert values.median() > 0.6
    # It turns singular values, not singular vectors: the polar factor stays the nearest direction.
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(result.flatten(1), (u @ v).flatten(1)).min() > 0.95


def test_processes_that_share_muon_make_the_update_of_one():
    torch.manual_seed(0)
    shapes = {"a": (4, 6), "b": (4, 6), "c": (6, 4), "d": (3, 5, 5)}
    start = {name: torch.randn(shape) for name, shape in shapes.items()}
    gradients = {name: torch.randn(shape) for name, shape in shapes.items()}
    alone = {name: tensor.clone() for name, tensor in start.items()}
    Muon(alone, momentum=0.9, weight_decay=0.1).step(gradients, 0.02)

    # Two ranks in one process: each exchange adds the other's share, computed by running both in turn.
    parts: list[torch.Tensor] = []
    for rank in range(2):
        copy = {name: tensor.clone() for name, tensor in start.items()}
        Muon(copy, momentum=0.9, weight_decay=0.1, rank=rank, world=2).step(
            gradients, 0.02, lambda update: parts.append(update.clone())
        )
    shared = {name: tensor.clone() for name, tensor in start.items()}
    Muon(shared, momentum=0.9, weight_decay=0.1, rank=0, world=2).step(
        gradients, 0.02, lambda update: update.copy_(parts[0] + parts[1])
    )
    for name in shapes:
        assert torch.equal(alone[name], shared[name])
        assert not torch.equal(alone[name], start[name])


def test_muon_leaves_embeddings_norms_head_and_router_to_adamw():
    matrix, vector = torch.zeros(4, 4), torch.zeros(4)
    assert is_hidden_matrix("model.layers.0.self_attn.q_proj.weight", matrix)
    assert is_hidden_matrix("model.layers.0.mlp.gate_proj.weight", matrix)
    for name in ("model.embed_tokens.weight", "lm_head.weight", "model.layers.3.mlp.gate.weight"):
        assert not is_hidden_matrix(name, matrix)
    assert not is_hidden_matrix("model.norm.weight", vector)


def run(model: Tiny, optimizer: Optimizer, steps: int) -> None:
    for _ in range(steps):
        model(torch.tensor([1, 2, 5])).backward()
        optimizer.collect()
        optimizer.step(1.0)


def test_masters_keep_steps_that_bf16_would_lose():
    model = Tiny()
    optim = OptimSection(name="adamw", lr=1e-5)
    optimizer = Optimizer(model, optim, dtype=torch.bfloat16)
    before = {name: tensor.clone() for name, tensor in optimizer.masters.items()}
    run(model, optimizer, 3)
    weight = optimizer.masters["norm.weight"]
    assert not torch.equal(weight, before["norm.weight"])
    assert torch.equal(model.norm.weight.float(), torch.ones(4))  # 1 - 3e-5 rounds to 1
    assert model.up.weight.dtype == torch.bfloat16


def test_adamw_worked_by_hand():
    weight = torch.tensor([2.0, -1.0])
    adamw = AdamW({"w": weight}, betas=(0.9, 0.95), weight_decay=0.1)
    expected, means, squares = [2.0, -1.0], [0.0, 0.0], [0.0, 0.0]
    for step, gradients in enumerate(([0.5, -3.0], [0.25, 1.0], [-4.0, 0.0]), start=1):
        adamw.step({"w": torch.tensor(gradients)}, 0.01)
        for i, g in enumerate(gradients):
            means[i] = 0.9 * means[i] + 0.1 * g
            squares[i] = 0.95 * squares[i] + 0.05 * g * g
            mean, square = means[i] / (1 - 0.9**step), squares[i] / (1 - 0.95**step)
            expected[i] = expected[i] * (1 - 0.01 * 0.1) - 0.01 * mean / (square**0.5 + 1e-8)
    assert weight.tolist() == pytest.approx(expected, rel=1e-5)


def test_what_is_decayed_and_at_which_rate():
    optimizer = Optimizer(Tiny(), OptimSection(name="adamw", lr=0.01, adam_lr=0.001, weight_decay=0.5))
    matrices, others = optimizer.adamw
    assert (set(matrices.named), matrices.weight_decay) == ({"up.weight", "down.weight"}, 0.5)
    assert (set(others.named), others.weight_decay) == ({"embed_tokens.weight", "norm.weight", "norm.bias"}, 0.0)
    assert optimizer.adamw_lr == [0.01, 0.001]


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_restored_momenta_make_the_same_steps(name: str):
    optim = OptimSection.model_validate({"name": name, "lr": 0.01, "weight_decay": 0.1})
    straight = Tiny()
    optimizer = Optimizer(straight, optim)
    run(straight, optimizer, 2)
    resumed = Tiny()
    again = Optimizer(resumed, optim)
    with torch.no_grad():
        for key, master in again.masters.items():
            master.copy_(optimizer.masters[key])
    again.restore({key: tensor.clone() for key, tensor in optimizer.state().items()})
    run(straight, optimizer, 2)
    run(resumed, again, 2)
    for a, b in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_momenta_of_another_shape_are_refused():
    optimizer = Optimizer(Tiny(), OptimSection())
    with pytest.raises(CheckpointError, match=r"up\.weight has shape \(2, 2\)"):
        optimizer.restore({"muon.up.weight": torch.zeros(2, 2)})


def test_clipping_bounds_the_gradient():
    model = Tiny()
    optimizer = Optimizer(model, OptimSection(grad_clip=0.5))
    optimizer.gradient.fill_(3.0)
    before = model.norm.bias.detach().clone()
    norm = optimizer.step(1.0)
    assert norm == pytest.approx(3.0 * optimizer.gradient.numel() ** 0.5)
    assert optimizer.gradient.abs().max() == 0
    assert not torch.equal(model.norm.bias, before)


def test_schedules():
    wsd = OptimSection(warmup=10, schedule="wsd", decay_fraction=0.5, min_lr_fraction=0.2)
    assert lr_factor(0, 100, wsd) == pytest.approx(0.1)
    assert lr_factor(9, 100, wsd) == lr_factor(50, 100, wsd) == 1.0
    assert lr_factor(75, 100, wsd) == pytest.approx(0.6)
    assert lr_factor(100, 100, wsd) == pytest.approx(0.2)
    cosine = OptimSection(warmup=0, schedule="cosine")
    assert [lr_factor(step, 100, cosine) for step in (0, 50, 100)] == pytest.approx([1.0, 0.5, 0.0])
    linear = OptimSection(warmup=0, schedule="linear")
    assert lr_factor(25, 100, linear) == pytest.approx(0.75)
