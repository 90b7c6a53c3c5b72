"""The network with fewer operations is the network: to the last bit in bf16, to rounding in fp32."""

from __future__ import annotations

import pytest
import torch
from small_models import tiny_model
from torch import nn

from denken.engine.engine import Engine
from denken.engine.fused import Fused
from denken.engine.native import Native
from denken.model.attention import Causal
from denken.model.config import ModelConfig
from denken.model.kernels.build import library
from denken.model.transformer import Transformer
from denken.types import SamplingParams

IDS = torch.arange(3, 90)[None]
POSITIONS = torch.arange(87)[None]
GREEDY = SamplingParams(temperature=0, max_tokens=8)


def network(family: str, dtype: torch.dtype, **shape: int | bool) -> Transformer:
    """Random, with norms and biases that do something."""
    config = ModelConfig(
        family,
        vocab_size=101,
        hidden_size=48,
        intermediate_size=40,
        num_hidden_layers=3,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=12,
        initializer_range=0.1,
        **shape,  # type: ignore[arg-type]
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Transformer(config).eval()
        for name, parameter in model.named_parameters():
            if "norm" in name or "bias" in name:
                nn.init.uniform_(parameter, 0.5, 1.5)
    return model.to(dtype)


SHAPES = [
    ("qwen3", {"tie_word_embeddings": True}),
    ("llama", {}),
    ("qwen2", {"attention_bias": True, "mlp_bias": True}),
]


@pytest.mark.parametrize(("family", "shape"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_fused_is_the_network(family: str, shape: dict[str, int | bool], dtype: torch.dtype) -> None:
    model = network(family, dtype, **shape)
    assert Fused.covers(model)
    expected = model.hidden(IDS, POSITIONS)
    found = Fused(model).hidden(IDS, POSITIONS, Causal())
    if dtype == torch.bfloat16:
        # One product of three matrices may add in another order than three products.
        assert float((found != expected).float().mean()) < 0.02
        torch.testing.assert_close(found, expected, atol=0.03, rtol=0.02)
    else:
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.skipif(library() is None, reason="no kernels here")
@pytest.mark.parametrize(("family", "shape"), SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_kernels_are_the_network_to_the_bit(family: str, shape: dict[str, int | bool], dtype: torch.dtype) -> None:
    model = network(family, dtype, **shape)
    assert Native.covers(model)
    expected = model.hidden(IDS, POSITIONS)
    found = Native(model).hidden(IDS, POSITIONS, Causal())
    if dtype == torch.float32:
        assert torch.equal(found, expected)
    else:
        # One product of three matrices may add in another order than three products.
        assert float((found != expected).float().mean()) < 0.02
        torch.testing.assert_close(found, expected, atol=0.03, rtol=0.02)


def test_latent_attention_experts_and_large_networks_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not Fused.covers(tiny_model("deepseek_v3"))
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    assert not Fused.covers(network("qwen3_moe", torch.float32, **experts))
    monkeypatch.setattr("denken.engine.fused.LARGEST", 1000)
    assert not Fused.covers(tiny_model())


def test_weights_changed_in_place_are_seen_even_if_nobody_says_so() -> None:
    old, new = tiny_model(seed=1), tiny_model(seed=2)
    subject = Engine(old, eos_ids=[], prefix_reuse=False)
    before = subject([[5, 6, 7]], GREEDY)[0].ids
    with torch.no_grad():
        for mine, theirs in zip(old.parameters(), new.parameters(), strict=True):
            mine.copy_(theirs)
    after = subject([[5, 6, 7]], GREEDY)[0].ids
    assert after == Engine(new, eos_ids=[])([[5, 6, 7]], GREEDY)[0].ids != before


def test_weights_replaced_are_seen_after_weights_changed() -> None:
    old, new = tiny_model(seed=1), tiny_model(seed=2)
    subject = Engine(old, eos_ids=[])
    subject([[5, 6, 7]], GREEDY)
    old.load_state_dict(new.state_dict(), assign=True)
    subject.weights_changed()
    assert subject([[5, 6, 7]], GREEDY)[0].ids == Engine(new, eos_ids=[])([[5, 6, 7]], GREEDY)[0].ids
