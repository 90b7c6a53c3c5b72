"""Networks with experts or latent attention in one call a step: what their own layers say."""

from __future__ import annotations

import pytest
import torch
from small_models import Cheap, quantise

from denken.engine.engine import Engine
from denken.engine.native import Native
from denken.engine.sparse import Sparse
from denken.model.config import ModelConfig
from denken.model.kernels.build import library
from denken.model.transformer import Transformer
from denken.types import Completion, SamplingParams

pytestmark = pytest.mark.skipif(library() is None, reason="no kernels here")
PROMPTS = [[5, 9, 3], list(range(40)), [7, 7], list(range(40)), [*range(33), 70, 71]]
SHAPE = {
    "vocab_size": 101,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "moe_intermediate_size": 32,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "initializer_range": 0.2,
    "tie_word_embeddings": False,
}
LATENT = {
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 12,
    "qk_rope_head_dim": 8,
    "v_head_dim": 10,
    "first_k_dense_replace": 1,
    "n_shared_experts": 2,
}
# As DeepSeek-V3 and V2 are, and V3 without what may be left out; Qwen3's; and latents without experts.
SHAPES = {
    "v3": ("deepseek_v3", LATENT | {"q_lora_rank": 24, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5}),
    "v3 plain": ("deepseek_v3", LATENT | {"norm_topk_prob": False, "rope_interleave": False, "n_shared_experts": 0}),
    "v2": ("deepseek_v2", LATENT | {"q_lora_rank": None, "n_group": 2, "topk_group": 1, "norm_topk_prob": False}),
    "dense": ("deepseek_v3", LATENT | {"first_k_dense_replace": 3}),
    "qwen3_moe": ("qwen3_moe", {"num_key_value_heads": 2, "head_dim": 16, "norm_topk_prob": True}),
}


def network(shape: str, dtype: torch.dtype, bits: int = 0) -> Transformer:
    """Random; its layers in whole numbers where bits are given."""
    family, own = SHAPES[shape]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(3)
        model = Transformer(ModelConfig(family, **(SHAPE | own))).eval().to(dtype)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(std=0.1)
        if bits:
            quantise(model, bits)
        return model


def engines(model: Transformer, monkeypatch: pytest.MonkeyPatch, **options: object) -> tuple[Engine, Engine]:
    """One whose decoding is native, and one that goes through the network's layers."""
    subject = Engine(model, eos_ids=[5], **options)  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(Sparse, "_decoder", lambda self: None)
        layers = Engine(model, eos_ids=[5])
    for engine, decodes in ((subject, True), (layers, False)):
        stand_in = engine._runner.model
        assert isinstance(stand_in, Sparse)
        assert (stand_in.decoder is not None) == decodes
    return subject, layers


def assert_alike(found: list[Completion], expected: list[Completion], near: float) -> None:
    """The same ids, as long as no other was as likely: until then, log-probabilities are alike."""
    for own, other in zip(found, expected, strict=True):
        same = [a == b for a, b in zip(own.ids, other.ids, strict=False)]
        count = same.index(False) if False in same else len(same)
        assert count >= len(same) - (0 if near < 1e-3 else len(same) // 2)
        pairs = zip(own.logprobs[:count], other.logprobs[:count], strict=True)
        assert all(abs(a - b) < near for a, b in pairs)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("dtype", "bits"), [(torch.float32, 0), (torch.bfloat16, 0), (torch.bfloat16, 8)])
@pytest.mark.parametrize("ahead", [False, True])
def test_what_is_decoded_in_one_call_is_what_the_layers_say(
    shape: str, dtype: torch.dtype, bits: int, ahead: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject, layers = engines(network(shape, dtype, bits), monkeypatch, ahead=ahead)
    params = SamplingParams(temperature=0, max_tokens=14)
    near = 1e-4 if dtype == torch.float32 else 0.06
    for prompts in (PROMPTS, [PROMPTS[1]] * 5):  # the second with a beginning that stands apart
        assert_alike(subject(prompts, params), layers(prompts, params), near)


def test_experts_in_groups_of_int4_too(monkeypatch: pytest.MonkeyPatch) -> None:
    subject, layers = engines(network("qwen3_moe", torch.bfloat16, 4), monkeypatch, ahead=True)
    params = SamplingParams(temperature=0, max_tokens=14)
    assert_alike(subject(PROMPTS, params), layers(PROMPTS, params), 0.06)


@pytest.mark.parametrize("shape", ["v3", "qwen3_moe"])
def test_company_threads_and_guesses_change_nothing(shape: str) -> None:
    """To the bit: alone, together, on three threads, with guesses."""
    model, threads = network(shape, torch.float32), torch.get_num_threads()
    params = [SamplingParams(temperature=0.8, seed=i, max_tokens=20) for i in range(2 * len(PROMPTS))]
    prompts = PROMPTS * 2

    def said(engine: Engine, *given: object) -> list[tuple[object, ...]]:
        return [(out.ids, out.logprobs) for out in engine(*given)]  # type: ignore[arg-type]

    try:
        torch.set_num_threads(1)
        alone = Engine(model, eos_ids=[5])
        expected = [said(alone, [prompt], [own])[0] for prompt, own in zip(prompts, params, strict=True)]
        for guesses in (None, Cheap()):
            for count in (1, 3):
                torch.set_num_threads(count)
                engine = Engine(model, eos_ids=[5], ahead=True, speculation=guesses)
                assert said(engine, prompts, params) == expected
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("head", [None, "int8"])
def test_weights_that_change_are_seen(head: str | None) -> None:
    model = network("v3", torch.bfloat16)
    assert not Native.covers(model)
    engine = Engine(model, eos_ids=[], head=head)  # type: ignore[arg-type]
    params = SamplingParams(temperature=0, max_tokens=6)
    hidden = torch.randn(3, 64).bfloat16()
    before = engine([[5, 9, 3]], params)
    for _ in range(2):
        expected = hidden.float() @ model.head_weight.detach().float().t()
        near = 0.02 * float(expected.abs().max()) if head else 1e-4
        torch.testing.assert_close(engine._runner.model.logits(hidden), expected, atol=near, rtol=1e-4)
        with torch.no_grad():
            model.head_weight.copy_(model.head_weight.roll(1, dims=0))
        after = engine([[5, 9, 3]], params)
    assert after[0].ids != before[0].ids


def test_layers_that_kernels_cannot_take_run_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns that are no whole vectors, in bf16."""
    monkeypatch.setitem(SHAPES, "narrow", ("deepseek_v3", LATENT | {"kv_lora_rank": 20}))
    model = network("narrow", torch.bfloat16)
    engine = Engine(model, eos_ids=[])
    stand_in = engine._runner.model
    assert isinstance(stand_in, Sparse)
    assert stand_in.decoder is None
    assert len(engine([[5, 9, 3]], SamplingParams(temperature=0, max_tokens=6))[0].ids) == 6
