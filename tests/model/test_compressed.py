"""Layers of bf16 in twelve bits a number: exactly the numbers, exactly the products, and all layers or none."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from denken.assistant import BUNDLED, load
from denken.engine.engine import Engine
from denken.model import adapters, compressed
from denken.model.adapters import layers_of
from denken.model.compressed import compress, compressed_layers
from denken.model.config import ModelConfig
from denken.model.kernels import bf16
from denken.model.kernels.build import library
from denken.model.transformer import Transformer
from denken.types import SamplingParams

pytestmark = pytest.mark.skipif(
    library() is None or not bf16.in_panels(2), reason="this processor multiplies no pairs of bf16"
)
SHAPE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "initializer_range": 0.1,
    "tie_word_embeddings": False,
}
LATENT = {
    "q_lora_rank": 32,
    "kv_lora_rank": 48,
    "qk_nope_head_dim": 24,
    "qk_rope_head_dim": 16,
    "v_head_dim": 16,
    "first_k_dense_replace": 1,
    "n_shared_experts": 2,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
}
FAMILIES = {"qwen2": SHAPE, "qwen3": SHAPE, "deepseek_v3": SHAPE | LATENT}


def network(family: str) -> Transformer:
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = Transformer(ModelConfig(family, **FAMILIES[family])).to(torch.bfloat16).eval()
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.data.uniform_(-0.3, 0.3)
        return model


def with_odd(weight: Tensor, share: float) -> Tensor:
    """Some numbers of any bits at all, but none that are not finite: a sum with one is not equal to itself."""
    bits = torch.randint(-(1 << 15), 1 << 15, weight.shape, dtype=torch.int16)
    odd = bits.view(torch.bfloat16)
    odd = torch.where(odd.isfinite() & (odd.abs() < 1e30), odd, 0)
    return torch.where(torch.rand(weight.shape) < share, odd, weight)


def compresses(weight: Tensor) -> bool:
    return bf16.codes_of(weight) is not None


def compressed_of(weight: Tensor, bias: Tensor | None = None) -> bf16.Compressed:
    """Also of one for which that is not worth it."""
    codes = bf16.codes_of(weight)
    return bf16.Compressed(weight, torch.arange(16, dtype=torch.uint8) + 56 if codes is None else codes, bias)


@pytest.mark.parametrize("share", [0.0, 0.002, 1.0])
@pytest.mark.parametrize(("inputs", "outputs"), [(2, 32), (48, 96), (514, 64), (1536, 32)])
def test_products_are_those_of_the_matrix_to_the_bit(inputs: int, outputs: int, share: float) -> None:
    weight = with_odd((torch.randn(outputs, inputs) * 0.02).bfloat16(), share)
    bias, x = torch.randn(outputs).bfloat16(), torch.randn(1030, inputs).bfloat16()
    subject = compressed_of(weight, bias)
    expected = bf16.Product.apply(x, weight, bias, bf16.ALWAYS)
    for rows in (0, 1, 2, 7, 11, 12, 23, 513, 1030):
        assert torch.equal(subject(x[:rows]), expected[:rows])
    # Two side by side, and sums that are not rounded.
    other = compressed_of(weight.flip(0))
    both = bf16.side_by_side(x[:9], torch.cat((subject.table, other.table)), 2 * outputs, torch.float32)
    assert torch.equal(both[:, :outputs].bfloat16(), expected[:9])
    assert torch.equal(both[:, outputs:].bfloat16(), bf16.Product.apply(x[:9], weight.flip(0), None, bf16.ALWAYS))


def test_what_is_worth_it_is_compressed_to_three_quarters() -> None:
    weight = (torch.randn(320, 1000) * 0.02).bfloat16()
    assert compresses(weight)
    assert 0.75 <= compressed_of(weight).bytes / (2 * weight.numel()) < 0.77
    assert compresses(with_odd(weight, 0.001))
    for refused in (with_odd(weight, 0.1), weight[:31], weight[:, :999], weight.float(), weight.half()):
        assert not compresses(refused.contiguous())
    # As a pruned matrix is.
    assert compresses(weight * (torch.rand(weight.shape) < 0.5))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_compressed_network_says_what_it_said_to_the_bit(family: str) -> None:
    """A small one, whose products are those of panels before and behind."""
    model = network(family)
    subject = copy.deepcopy(model)
    names = layers_of(model)
    assert compress(subject, 0)
    assert layers_of(subject) == names
    replaced = compressed_layers(subject)
    assert len(replaced) == len(names) - 1 - (3 if family == "deepseek_v3" else 0)
    assert compressed.bytes_of(subject) < 0.95 * compressed.bytes_of(model)
    ids = torch.arange(40)[None]
    with torch.inference_mode():
        assert torch.equal(subject.hidden(ids), model.hidden(ids))
    prompts = [[5, 9, 3], list(range(40)), [7] * 9]
    for temperature in (0.0, 1.0):
        params = SamplingParams(temperature=temperature, max_tokens=30, seed=3)
        found, expected = (Engine(each, eos_ids=[], ahead=True)(prompts, params) for each in (subject, model))
        assert [one.ids for one in found] == [one.ids for one in expected]
        assert [one.logprobs for one in found] == [one.logprobs for one in expected]


def test_all_layers_are_compressed_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network("qwen3")
    odd = model.blocks[1].mlp.up_proj
    odd.weight.data = with_odd(odd.weight.data, 0.5)
    assert not compress(model, 0)
    assert not compressed_layers(model)
    assert not compress(network("qwen3").float(), 0)
    model = network("qwen3")
    with monkeypatch.context() as patched:
        patched.setattr("denken.model.kernels.call.library", lambda: None)  # there is no compiler
        assert not compress(model, 0)
    assert compress(model, 0)
    # What is small stays as it is, and then nothing is left to be done.
    assert not compress(network("qwen3"))
    assert not compress(model, 0)


def test_a_large_folder_is_loaded_compressed_and_answers_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    question = "What is 17 times 23?"
    params = SamplingParams(temperature=0)
    with load(BUNDLED, threads=1) as plain:
        expected = plain.ask(question, params=params)
    monkeypatch.setattr(compressed.compress, "__defaults__", (1 << 20,))
    with load(BUNDLED, threads=1) as subject:
        assert compressed_layers(subject.engine._model)
        found = subject.ask(question, params=params)
    assert (found.text, found.thought) == (expected.text, expected.thought)


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_over_a_compressed_network_are_those_over_the_network(family: str, tmp_path: Path) -> None:
    model = network(family)
    draw = torch.Generator().manual_seed(2)
    pairs = {
        name: (torch.randn(4, inputs, generator=draw) * 0.1, torch.randn(outputs, 4, generator=draw) * 0.1)
        for name, (outputs, inputs) in layers_of(model).items()
        if name != "lm_head"
    }
    adapters.write(tmp_path, pairs, rank=4, alpha=8.0, base=None)
    subject = copy.deepcopy(model)
    assert compress(subject, 0)
    said = []
    for each in (subject, model):
        engine = Engine(each, eos_ids=[])
        own = engine.learn(tmp_path)
        params = SamplingParams(temperature=0, max_tokens=12)
        said.append([engine([[5, 9, 3], list(range(20))], params, adapter=number) for number in (0, own)])
    assert [[one.ids for one in found] for found in said[0]] == [[one.ids for one in found] for found in said[1]]
    assert said[0][0][0].ids != said[0][1][0].ids
