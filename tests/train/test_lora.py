"""Adapters: gradients by hand, the merged network, PEFT's files, runs that learn from texts and from rewards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from denken.config import LoraSection, OptimSection, Recipe
from denken.engine.engine import Engine
from denken.errors import ConfigError
from denken.model import checkpoint as exported
from denken.model.adapters import Settings, read_settings
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.train import lora, run
from denken.train.lora import A, B, LoraOptimizer
from denken.types import SamplingParams
from small_configs import SMALL, SMALL_LATENT

BUNDLED = exported.__file__.replace("model/checkpoint.py", "bundled")
ADAMW = OptimSection(name="adamw", lr=0.01, grad_clip=0)


def network(**changes: object) -> Transformer:
    torch.manual_seed(3)
    return Transformer(ModelConfig.from_hf({"model_type": "qwen3", "head_dim": 8, **SMALL, **changes}))


def adapters(model: Transformer, dtype: torch.dtype = torch.float32, rank: int = 3) -> LoraOptimizer:
    return LoraOptimizer(model, ADAMW, lora=LoraSection(rank=rank, alpha=6), seed=1, dtype=dtype, stats=2)


def loss_of(model: Transformer) -> torch.Tensor:
    ids_BT = torch.tensor([[1, 2, 3, 4, 5]])
    return model(ids_BT).float().logsumexp(-1).sum() + model(ids_BT).float()[..., 7].sum()


def test_it_begins_as_the_network_was_and_moves_only_adapters() -> None:
    model = network()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = adapters(model)
    optimizer.publish()
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    for _ in range(3):
        loss_of(model).backward()
        optimizer.collect()
        optimizer.step(1.0)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {f"{name}.weight" for name in optimizer.adapted}
    assert not any("embed" in name or "norm" in name for name in moved)
    for name in optimizer.adapted:
        change = model.get_submodule(name).weight - before[f"{name}.weight"]
        assert torch.linalg.matrix_rank(change.detach(), atol=1e-4) <= 3
    assert optimizer.size == sum(master.numel() for master in optimizer.masters.values())
    assert optimizer.size < sum(p.numel() for p in model.parameters()) / 2


def test_gradients_are_those_of_adapters_beside_the_weights() -> None:
    """Against autograd through W + s B A written out."""
    model = network()
    optimizer = adapters(model)
    for name, master in optimizer.masters.items():
        master.copy_(torch.randn_like(master, generator=None) * 0.1)
        assert name
    optimizer.publish()
    loss_of(model).backward()
    leaves = {name: master.clone().requires_grad_() for name, master in optimizer.masters.items()}
    merged = {
        f"{name}.weight": optimizer.base[name] + optimizer.scale * leaves[name + B] @ leaves[name + A]
        for name in optimizer.adapted
    }
    ids_BT = torch.tensor([[1, 2, 3, 4, 5]])
    logits = torch.func.functional_call(model, merged, (ids_BT,)).float()
    (logits.logsumexp(-1).sum() + logits[..., 7].sum()).backward()
    for name, leaf in leaves.items():
        torch.testing.assert_close(optimizer.gradients[name], leaf.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_any_family_and_either_type(dtype: torch.dtype) -> None:
    for model in (
        network(),
        Transformer(ModelConfig.from_hf({"model_type": "deepseek_v3", "n_group": 1, "topk_group": 1, **SMALL_LATENT})),
    ):
        optimizer = adapters(model, dtype)
        assert {p.dtype for p in model.parameters()} == {dtype}
        before = float(loss_of(model).detach())
        for _ in range(5):
            loss_of(model).backward()
            optimizer.collect()
            optimizer.step(1.0)
        assert float(loss_of(model).detach()) < before
        assert all(p.grad is None for p in model.parameters())


def test_the_engine_samples_from_what_the_adapters_amount_to() -> None:
    model = network()
    optimizer = adapters(model)
    engine = Engine(model, eos_ids={0}, cache_tokens=512)
    params = SamplingParams(temperature=1.0, top_p=1.0, max_tokens=12, seed=5)
    first = engine([[1, 2, 3]], params)[0]
    loss_of(model).backward()
    optimizer.step(20.0)
    engine.weights_changed()
    second = engine([[1, 2, 3]], params)[0]
    ids = [1, 2, 3, *second.ids]
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).float().log_softmax(-1)[0]
    ours = [float(logprobs[2 + i, id_]) for i, id_ in enumerate(second.ids)]
    assert ours == pytest.approx(second.logprobs, abs=1e-5)
    assert first.logprobs != second.logprobs


def test_peft_can_read_what_is_saved(tmp_path: Path) -> None:
    optimizer = adapters(network())
    optimizer.leave(tmp_path)
    tensors = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (settings["peft_type"], settings["r"], settings["lora_alpha"]) == ("LORA", 3, 6.0)
    assert {"q_proj", "o_proj", "gate_proj", "down_proj"} <= set(settings["target_modules"])
    name = "base_model.model.model.layers.1.self_attn.q_proj"
    assert tensors[f"{name}.lora_A.weight"].shape == (3, 32)
    assert tensors[f"{name}.lora_B.weight"].shape == (32, 3)
    assert len(tensors) == 2 * len(optimizer.adapted)


RECIPE = """
name = "{name}"
[optim]
name = "adamw"
lr = 0.003
warmup = 1
decay_fraction = 0
[train]
steps = {steps}
dtype = "fp32"
threads = 1
batch_tokens = 512
micro_tokens = 512
init_from = "{start}"
lora = {{ rank = 2, alpha = 4 }}
checkpoint_every = 2
"""
TEXTS = '\n[data]\nsources = [{ task = "plain:sums" }]\n'
REWARDS = (
    '\n[rl]\nproblems = 2\ngroup = 4\nmax_tokens = 40\ntasks = [{ task = "plain:sums" }]\n[reward]\naccuracy = 1.0\n'
    "format = 1.0\n"
)


def write(folder: Path, name: str, kind: str, steps: int = 4, start: str = BUNDLED) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(RECIPE.format(name=name, steps=steps, start=start) + kind, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", [TEXTS, REWARDS], ids=["texts", "rewards"])
def test_a_run_keeps_adapters_and_exports_them_merged(kind: str, tmp_path: Path) -> None:
    whole = run(write(tmp_path, "whole", kind), run_dir=tmp_path / "whole")
    parts = run(write(tmp_path, "parts", kind, steps=2), run_dir=tmp_path / "parts")
    parts = run(write(tmp_path, "parts", kind), run_dir=parts)
    weights = [load_file(folder / "checkpoints" / "step-4" / "weights.safetensors") for folder in (whole, parts)]
    assert lora.holds_adapters(weights[0])
    assert all(name.endswith((A, B)) for name in weights[0])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    base, model = exported.load(Path(BUNDLED), dtype=torch.float32), exported.load(whole / "model", dtype=torch.float32)
    saved = load_file(whole / "adapter" / "adapter_model.safetensors")
    assert read_settings(whole / "adapter") == Settings(2, 2.0, "bundled")
    for name, module in base.named_modules():
        if lora.is_adapted(name, module):
            change = saved[f"base_model.model.{name}{B}"] @ saved[f"base_model.model.{name}{A}"] * 2.0
            torch.testing.assert_close(model.get_submodule(name).weight, module.weight + change, rtol=0, atol=1e-5)
    if kind == REWARDS:
        metrics = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
        assert max(line["parity_max"] for line in metrics if "parity_max" in line) < 1e-3


def test_a_run_starts_from_a_run_of_adapters(tmp_path: Path) -> None:
    first = run(write(tmp_path, "first", TEXTS, steps=2), run_dir=tmp_path / "first")
    second = run(write(tmp_path, "second", TEXTS, steps=2, start="run:first"), run_dir=tmp_path / "second")
    assert exported.load(second / "model") is not None
    assert read_settings(second / "adapter").base == str(first / "model")
    assert first != second


def test_adapters_need_weights_to_adapt(tmp_path: Path) -> None:
    text = RECIPE.format(name="x", steps=2, start="y").replace('init_from = "y"\n', "") + TEXTS
    (tmp_path / "x.toml").write_text(text + '[model]\nmodel_type = "qwen3"\n[tokenizer]\npath = "z"\n')
    with pytest.raises(ConfigError, match="give init_from too"):
        Recipe.load(tmp_path / "x.toml")
