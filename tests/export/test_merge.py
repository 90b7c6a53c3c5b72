"""Whole models merged: the sum, made in little memory; what does not belong together is refused."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import torch
from small_folders import write_model

from denken.config import LoraSection, OptimSection
from denken.errors import CheckpointError, ConfigError
from denken.export import merge
from denken.model import checkpoint, tensorfile
from denken.model.checkpoint import Weights
from denken.model.transformer import Transformer
from denken.train.lora import LoraOptimizer


def family(folder: Path, children: int = 2, **shape: int) -> tuple[Path, list[Path]]:
    """A base, and models that grew from it."""
    base = write_model(folder / "base", **shape)
    grown = []
    for number in range(children):
        model = checkpoint.load(base)
        torch.manual_seed(number + 1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.01)
        child = write_model(folder / f"child{number}", **shape)
        checkpoint.save(model, child)
        grown.append(child)
    return base, grown


def adapter(folder: Path, base: Path, *, rank: int = 3, alpha: float = 6, seed: int = 0) -> tuple[Path, Transformer]:
    """A folder of adapters as our trainer writes it in PEFT's format, and the network that it amounts to."""
    model: Transformer = checkpoint.load(base)
    optimizer = LoraOptimizer(model, OptimSection(), lora=LoraSection(rank=rank, alpha=alpha), seed=0)
    for name, master in optimizer.masters.items():
        draw = torch.Generator().manual_seed(len(name) + 1000 * seed)
        master.copy_(torch.randn(master.shape, generator=draw) * 0.05)
    optimizer.publish()
    optimizer.leave(folder)
    return folder / "adapter", model


def states(*folders: Path) -> list[dict[str, torch.Tensor]]:
    return [checkpoint.load(folder).state_dict() for folder in folders]


def test_a_merge_is_the_sum_of_its_parents(tmp_path: Path) -> None:
    base, (one, two) = family(tmp_path)
    (base / "about.json").write_text('{"thinks": "always"}', "utf-8")
    out = merge.merge([one, two], tmp_path / "out", "task", base=base, weights=[0.5, 2.0], scale=0.5)
    found, below, a, b = states(out, base, one, two)
    for name, tensor in found.items():
        expected = below[name] + 0.5 * (0.5 * (a[name] - below[name]) + 2.0 * (b[name] - below[name]))
        assert torch.allclose(tensor, expected, atol=1e-6), name
    assert (out / "about.json").is_file()
    card = (out / "README.md").read_text("utf-8")
    assert "license: mit" in card
    assert "child1`, weight 2\n" in card
    assert str(tmp_path) not in card


@pytest.mark.parametrize("method", ["linear", "slerp", "ties", "dare"])
def test_parents_that_are_the_same_stay_what_they_are(method: str, tmp_path: Path) -> None:
    base, _ = family(tmp_path, 0)
    out = merge.merge([base, base], tmp_path / "out", method, base=base if method in ("ties", "dare") else None)
    for name, tensor in states(out)[0].items():
        assert torch.allclose(tensor, states(base)[0][name], atol=1e-6), name


@pytest.mark.parametrize("kind", ["whole", "adapters"])
def test_memory_is_a_shard_and_a_tensor_of_each(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base, grown = family(tmp_path, 3 if kind == "whole" else 0, num_hidden_layers=6)
    checkpoint.save(checkpoint.load(base), base, max_shard_bytes=50_000)
    if kind == "adapters":
        grown = [adapter(tmp_path / str(seed), base, seed=seed)[0] for seed in range(3)]
    largest = max(torch.Size(shape).numel() for shape in Weights.open(base).shapes.values()) * 4
    total = sum(torch.Size(shape).numel() for shape in Weights.open(base).shapes.values()) * 4
    shard = 2 * largest
    alive, most, reads = [0], [0], [0]
    read, read_tensors = Weights.read, tensorfile.read_tensors

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        size = tensor.numel() * 4
        alive[0] += size
        most[0] = max(most[0], alive[0])
        reads[0] += 1

        def gone() -> None:
            alive[0] -= size

        weakref.finalize(tensor, gone)
        return tensor

    def low_rank(path: Path, names: Iterable[str]) -> Iterator[tuple[str, torch.Tensor]]:
        for name, tensor in read_tensors(path, names):
            yield name, counted(tensor) if path.name == "adapter_model.safetensors" else tensor

    monkeypatch.setattr(Weights, "read", lambda weights, *which: counted(read(weights, *which)))
    monkeypatch.setattr(tensorfile, "read_tensors", low_rank)
    out = merge.merge(grown, tmp_path / "out", "ties", base=base, max_shard_bytes=shard)
    assert min(len(list(folder.glob("*.safetensors"))) for folder in (base, out)) > 3
    tensors = len(Weights.open(base).shapes)
    assert reads[0] == 4 * tensors + (3 * 2 * 7 * 6 if kind == "adapters" else 0), "each is read once"
    assert most[0] <= 4 * largest < total / 2
    assert checkpoint.load(out)(torch.tensor([[1, 2]])).isfinite().all()


@pytest.mark.parametrize("method", ["ties", "dare"])
def test_adapters_merge_as_the_models_that_they_amount_to(method: str, tmp_path: Path) -> None:
    """Over several files, from a base in several files, adapters of different ranks and whole models in one merge."""
    base, (whole,) = family(tmp_path, 1, num_hidden_layers=3)
    checkpoint.save(checkpoint.load(base), base, max_shard_bytes=50_000)
    parents, models = [], []
    for seed, rank in enumerate((2, 5)):
        folder, model = adapter(tmp_path / str(rank), base, rank=rank, seed=seed)
        same = write_model(tmp_path / f"merged{rank}", num_hidden_layers=3)
        checkpoint.save(model, same)
        parents.append(folder)
        models.append(same)
    found, expected = (
        merge.merge([*some, whole], tmp_path / name, method, base=base, scale=1.5, density=0.5, max_shard_bytes=50_000)
        for name, some in {"from_adapters": parents, "from_models": models}.items()
    )
    assert len(list(found.glob("*.safetensors"))) > 3
    for name, tensor in states(found)[0].items():
        apart = (tensor - states(expected)[0][name]).abs() > 1e-5
        # What is trimmed hangs on the last bit where two changes are equally large.
        assert apart.float().mean() <= (0.001 if method == "ties" else 0), name


def test_adapters_are_their_base_with_the_change(tmp_path: Path) -> None:
    """What our trainer writes in PEFT's format, merged alone with weight 1, is the network that it trained."""
    base, _ = family(tmp_path, 0)
    _, model = adapter(tmp_path, base)
    out = merge.merge([tmp_path / "adapter"], tmp_path / "out", "task", base=base)
    for name, tensor in states(out)[0].items():
        assert torch.allclose(tensor, model.state_dict()[name], atol=1e-5), name
    moved = [name for name, tensor in states(base)[0].items() if not torch.equal(tensor, states(out)[0][name])]
    assert len(moved) == 14
    with pytest.raises(ConfigError, match="--base"):
        merge.merge([tmp_path / "adapter", base], tmp_path / "other", "linear")
    other = write_model(tmp_path / "wider", hidden_size=32)
    with pytest.raises(CheckpointError, match="name the base"):
        merge.merge([tmp_path / "adapter"], tmp_path / "other", "task", base=other)
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text("utf-8"))
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(settings | {"use_rslora": True}), "utf-8")
    with pytest.raises(CheckpointError, match="more than plain LoRA"):
        merge.merge([tmp_path / "adapter"], tmp_path / "other", "task", base=base)


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    base, (child,) = family(tmp_path, 1)
    for words, shape in {
        "intermediate_size is 100": {"intermediate_size": 100},
        "rope_theta": {"rope_theta": 5e5},
    }.items():
        other = write_model(tmp_path / words[:4], **shape)
        with pytest.raises(CheckpointError, match=words):
            merge.merge([base, other], tmp_path / "out", "linear")
    file = child / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace("Hallo", "Hello"), "utf-8")
    with pytest.raises(CheckpointError, match="different vocabularies"):
        merge.merge([base, child], tmp_path / "out", "linear")
    for words, given in {
        "there is one model|There is one model": ([base], "linear"),
        "with --base": ([base, base], "ties"),
    }.items():
        with pytest.raises(ConfigError, match=words):
            merge.merge(given[0], tmp_path / "out", given[1])
    with pytest.raises(ConfigError, match="one weight a model"):
        merge.merge([base, base], tmp_path / "out", "linear", weights=[1.0])
    assert not (tmp_path / "out").exists()
