"""The router against an example worked by hand, and sorted experts against the plainest sum."""

from __future__ import annotations

import pytest
import torch

from denken.model import moe
from denken.model.config import ModelConfig
from denken.model.kernels import bf16
from denken.model.kernels.build import library
from denken.model.kernels.experts import experts
from denken.model.layers import Linear
from denken.model.moe import MixtureOfExperts, Router
from denken.model.quantized import Scheme, replace_linears
from denken.quantize import rounding


def config(**changes: object) -> ModelConfig:
    settings: dict = {
        "vocab_size": 7,
        "hidden_size": 6,
        "intermediate_size": 5,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "kv_lora_rank": 4,
        "qk_nope_head_dim": 2,
        "qk_rope_head_dim": 2,
        "v_head_dim": 2,
        "n_routed_experts": 6,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 4,
        "n_group": 3,
        "topk_group": 1,
        "routed_scaling_factor": 2.0,
        "initializer_range": 0.5,
    }
    return ModelConfig("deepseek_v3", **(settings | changes))


def router(scores: list[float], bias: list[float], **changes: object) -> Router:
    """A router whose sigmoid scores for the token (1, 0, 0, 0, 0, 0) are the given ones."""
    made = Router(config(**changes))
    with torch.no_grad():
        made.weight.zero_()
        made.weight[:, 0] = torch.tensor(scores).logit()
        made.e_score_correction_bias.copy_(torch.tensor(bias))
    return made


TOKEN = torch.eye(6)[:1]
SCORES = [0.9, 0.1, 0.6, 0.5, 0.4, 0.3]


def test_groups_are_ranked_by_their_two_best() -> None:
    # Groups sum to 1.0, 1.1 and 0.7: the second wins although the best expert (0.9) sits in the first.
    weights, chosen = router(SCORES, [0.0] * 6)(TOKEN)
    assert sorted(chosen[0].tolist()) == [2, 3]
    by_expert = dict(zip(chosen[0].tolist(), weights[0].tolist(), strict=True))
    assert by_expert[2] == pytest.approx(2.0 * 0.6 / 1.1)
    assert by_expert[3] == pytest.approx(2.0 * 0.5 / 1.1)


def test_the_bias_moves_the_choice_and_not_the_weights() -> None:
    weights, chosen = router(SCORES, [0.0, 0.3, 0.0, 0.0, 0.0, 0.0])(TOKEN)
    by_expert = dict(zip(chosen[0].tolist(), weights[0].tolist(), strict=True))
    assert by_expert == pytest.approx({0: 2.0 * 0.9, 1: 2.0 * 0.1})


def test_a_group_outside_is_out_even_where_all_inside_are_negative() -> None:
    _, chosen = router(SCORES, [-5.0, -5.0, -2.0, -2.0, -5.0, -5.0])(TOKEN)
    assert sorted(chosen[0].tolist()) == [2, 3]


def test_without_normalisation_scores_are_weights() -> None:
    weights, chosen = router(SCORES, [0.0] * 6, norm_topk_prob=False, n_group=1)(TOKEN)
    assert dict(zip(chosen[0].tolist(), weights[0].tolist(), strict=True)) == pytest.approx({0: 1.8, 2: 1.2})


def test_experts_run_over_exactly_their_tokens() -> None:
    torch.manual_seed(0)
    experts = MixtureOfExperts(config(topk_group=2))
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    hidden = torch.randn(3, 5, 6)
    weights, chosen = experts.gate(hidden.flatten(0, 1))
    expected = torch.stack(
        [
            sum(w * experts.experts[x](token) for w, x in zip(ws, xs, strict=True)) + experts.shared_experts(token)
            for token, ws, xs in zip(hidden.flatten(0, 1), weights, chosen.tolist(), strict=True)
        ]
    )
    assert len(set(chosen.flatten().tolist())) > 3
    torch.testing.assert_close(experts(hidden).flatten(0, 1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_every_precision_runs(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    experts = MixtureOfExperts(config())
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    hidden = torch.randn(1, 4, 6).to(dtype)
    exact = experts.double()(hidden.double())
    found = experts.to(dtype)(hidden)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), exact, rtol=0.05, atol=0.05)


def small_mixture(bits: int = 0) -> MixtureOfExperts:
    """In bf16, or with experts in whole numbers."""
    torch.manual_seed(0)
    made = MixtureOfExperts(config(hidden_size=64, moe_intermediate_size=96, topk_group=2))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    if bits:
        scheme = Scheme(bits, 32 if bits == 4 else None)
        plain = {name: layer for name, layer in made.experts.named_modules() if isinstance(layer, Linear)}
        rounded = {name: rounding.rounded(layer.weight.detach(), scheme) for name, layer in plain.items()}
        replace_linears(made.experts, dict.fromkeys(plain, scheme))
        for name, (codes, scale) in rounded.items():
            made.experts.get_submodule(name)._buffers.update(scheme.tensors(codes, scale))
    return made.bfloat16()


@pytest.mark.skipif(library() is None, reason="no kernels here")
@pytest.mark.parametrize("bits", [0, 8, 4])
@pytest.mark.parametrize("tokens", [1, 7, 90])
@torch.inference_mode()
def test_experts_in_one_call_say_what_they_say_one_by_one(
    bits: int, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixture, hidden = small_mixture(bits), torch.randn(1, tokens, 64).bfloat16()
    if not bits and not bf16.in_panels(64):
        pytest.skip("this processor multiplies no pairs of bf16")
    calls: list[int] = []
    monkeypatch.setattr(moe, "experts", lambda *given: calls.append(len(given[1])) or experts(*given))
    together = mixture(hidden)
    assert calls == [len(set(mixture.gate(hidden[0])[1].flatten().tolist()))]
    monkeypatch.setattr(moe, "MOST_ROWS", 0)
    assert torch.equal(mixture(hidden), together)
    assert len(calls) == 1


@pytest.mark.skipif(library() is None, reason="no kernels here")
@torch.inference_mode()
def test_who_listens_to_an_expert_hears_it() -> None:
    mixture, hidden = small_mixture(8), torch.randn(1, 40, 64).bfloat16()
    plain = mixture(hidden)
    heard: list[int] = []
    layer = mixture.experts[3].down_proj
    layer.register_forward_hook(lambda _, inputs, out: heard.append(len(out)) or out * 2)
    assert not torch.equal(mixture(hidden), plain)
    assert heard == [int((mixture.gate(hidden[0])[1] == 3).sum())]


def test_the_router_learns_through_its_weights() -> None:
    torch.manual_seed(0)
    experts = MixtureOfExperts(config())
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter, std=0.7)
    experts(torch.randn(1, 4, 6)).sum().backward()
    assert experts.gate.weight.grad.abs().sum() > 0
