"""PEFT reads what we write and we read what it writes, to the same logits; what leaves with an adapter is the merge."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from small_folders import write_model

from denken import cli
from denken.config import LoraSection, OptimSection
from denken.engine.engine import Engine
from denken.export import hf, merge
from denken.model import checkpoint
from denken.model.transformer import Transformer
from denken.train.lora import LoraOptimizer
from denken.types import SamplingParams

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="PEFT is not installed")
IDS = [[5, 17, 40, 3, 99, 21, 8]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("base") / "base")


def trained(base: Path, folder: Path, rank: int = 3) -> tuple[Path, Transformer]:
    """A run's adapter over the base, and the network that the trainer holds then."""
    model = checkpoint.load(base)
    section = LoraSection(rank=rank, alpha=6)
    optimizer = LoraOptimizer(model, OptimSection(), lora=section, seed=0, base=str(base))
    draw = torch.Generator().manual_seed(rank)
    for master in optimizer.masters.values():
        master.copy_(torch.randn(master.shape, generator=draw) * 0.1)
    optimizer.publish()
    optimizer.leave(folder)
    return folder / "adapter", model


@needs_peft
@torch.no_grad()
def test_peft_finds_the_trainers_network_in_what_it_leaves(base: Path, tmp_path: Path) -> None:
    """By the base's name alone, as somebody who got only the folder."""
    from peft import AutoPeftModelForCausalLM

    folder, model = trained(base, tmp_path)
    theirs = AutoPeftModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    ids = torch.tensor(IDS)
    torch.testing.assert_close(theirs(ids).logits, model(ids), atol=1e-4, rtol=1e-4)


@needs_peft
@torch.no_grad()
def test_what_peft_leaves_is_merged_and_served_alike(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(1)
    config = LoraConfig(r=5, lora_alpha=9, target_modules=["q_proj", "v_proj", "down_proj"], init_lora_weights=False)
    whole = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    theirs = get_peft_model(whole, config)
    theirs.save_pretrained(str(tmp_path / "theirs"))
    expected = theirs(torch.tensor(IDS)).logits
    out = merge.merge([tmp_path / "theirs"], tmp_path / "out", "task", base=base)
    torch.testing.assert_close(checkpoint.load(out)(torch.tensor(IDS)), expected, atol=1e-4, rtol=1e-4)
    engine = Engine(checkpoint.load(base), eos_ids=[])
    number = engine.learn(tmp_path / "theirs")
    params = SamplingParams(temperature=1.0, top_p=1.0, seed=4, max_tokens=1)
    (completion,) = engine(IDS, params, adapter=number)
    logprobs = expected[0, -1].log_softmax(-1)
    assert completion.logprobs[0] == pytest.approx(float(logprobs[completion.ids[0]]), abs=1e-4)


def test_what_leaves_with_an_adapter_is_the_merged_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = trained(base, tmp_path / "run")
    with merge.with_adapter(base, folder, tmp_path / "deep" / "whole") as merged:
        assert merged.name == "run"
        hf.export(merged, tmp_path / "deep" / "whole")
    found = checkpoint.load(tmp_path / "deep" / "whole").state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-5)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["whole"]
    # The command itself, which takes the run's folder as well.
    command = ["denken", "export", str(base), str(tmp_path / "typed"), "--adapter", str(tmp_path / "run")]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    assert all(torch.equal(t, found[n]) for n, t in checkpoint.load(tmp_path / "typed").state_dict().items())
