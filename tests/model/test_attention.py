"""Attention: absorbed = expanded, packed = alone, and nobody sees the future."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from denken.model.attention import CacheLayout, Causal, Packed
from denken.model.config import ModelConfig
from denken.model.rope import RopeScaling
from denken.model.transformer import Transformer
from small_configs import SMALL, SMALL_LATENT

LATENT = ModelConfig(
    "deepseek_v3",
    **SMALL_LATENT,
    rope_scaling=RopeScaling("yarn", 4.0, original_max_position_embeddings=8, mscale=1.0, mscale_all_dim=0.8),
)
GROUPED = ModelConfig("qwen3", **SMALL, num_key_value_heads=2, tie_word_embeddings=True)


@pytest.fixture(params=[GROUPED, LATENT], ids=["grouped", "latent"])
def model(request: pytest.FixtureRequest) -> Transformer:
    torch.manual_seed(0)
    return Transformer(request.param)


class Absorbed:
    """Attention over the latent itself, in the plainest words, as a cache would see it."""

    latent = True

    def __call__(self, layer: int, query_BTHD: Tensor, key_BTKD: Tensor, value: Tensor | None, scale: float) -> Tensor:
        assert value is None
        assert key_BTKD.shape[2:] == (1, LATENT.kv_lora_rank + LATENT.qk_rope_head_dim)
        scores_BHTT = torch.einsum("bthd,bsd->bhts", query_BTHD, key_BTKD[:, :, 0]) * scale
        future_TT = torch.ones(scores_BHTT.shape[-2:], dtype=torch.bool).triu(1)
        weights_BHTT = scores_BHTT.masked_fill(future_TT, -torch.inf).softmax(-1)
        return torch.einsum("bhts,bsc->bthc", weights_BHTT, key_BTKD[:, :, 0, : LATENT.kv_lora_rank])


def test_absorbed_is_expanded() -> None:
    torch.manual_seed(1)
    model = Transformer(LATENT)
    ids = torch.randint(0, 61, (2, 20))
    expanded = model(ids)
    assert expanded.std() > 0.1
    torch.testing.assert_close(model(ids, attend=Absorbed()), expanded, rtol=0, atol=1e-5)


def test_a_token_does_not_see_the_future(model: Transformer) -> None:
    ids = torch.randint(0, 61, (1, 12))
    changed = ids.clone()
    changed[0, 8] = (ids[0, 8] + 1) % 61
    before, after = model(ids)[0], model(changed)[0]
    torch.testing.assert_close(before[:8], after[:8], rtol=0, atol=1e-6)
    assert (before[8:] - after[8:]).abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("window", [3, 8, 256])
def test_packed_is_each_document_alone(model: Transformer, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packed, "window", window)
    lengths = [[5, 9, 1], [2, 11]]  # rows of 16: one token of padding in the first, three in the second
    ids = torch.randint(0, 61, (2, 16))
    segments, positions = torch.full((2, 16), -1), torch.zeros(2, 16, dtype=torch.long)
    spans = []
    for row, row_lengths in enumerate(lengths):
        start = 0
        for number, length in enumerate(row_lengths):
            segments[row, start : start + length] = number
            positions[row, start : start + length] = torch.arange(length)
            spans.append((row, slice(start, start + length)))
            start += length
    packed = model(ids, positions, Packed(segments))
    assert packed.isfinite().all()
    for row, span in spans:
        alone = model(ids[row : row + 1, span])[0]
        torch.testing.assert_close(packed[row, span], alone, rtol=0, atol=1e-5)


def test_packed_gradients_are_the_documents_own(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packed, "window", 4)
    ids = torch.randint(0, 61, (1, 12))
    segments = torch.tensor([[0] * 7 + [1] * 4 + [-1]])
    positions = torch.tensor([[*range(7), *range(4), 0]])

    def gradients(loss: Tensor) -> list[Tensor]:
        model.zero_grad()
        loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    packed = model(ids, positions, Packed(segments))
    together = gradients(packed[:, :11].square().sum())
    apart = gradients(model(ids[:, :7]).square().sum() + model(ids[:, 7:11]).square().sum())
    assert len(together) == len(apart)
    for a, b in zip(together, apart, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_packed_skips_what_no_query_of_a_window_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Packed, "window", 4)
    packed = Packed(torch.tensor([[0, 0, 0, 1, 1, 1, 2, 2], [5, 5, 5, 5, 6, 6, 6, 6]]))
    assert [(q.start, q.stop, k.start, k.stop) for q, k, _ in packed.windows] == [(0, 4, 0, 4), (4, 8, 3, 8)]


def test_positions_matter_only_by_their_distance(model: Transformer) -> None:
    ids = torch.randint(0, 61, (1, 10))
    positions = torch.arange(10)[None]
    torch.testing.assert_close(model(ids, positions + 7), model(ids, positions), rtol=0, atol=2e-4)
    assert (model(ids, positions * 2) - model(ids, positions)).abs().max() > 1e-3


def test_causal_is_the_default(model: Transformer) -> None:
    ids = torch.randint(0, 61, (2, 6))
    assert torch.equal(model(ids), model.logits(model.hidden(ids, torch.arange(6)[None], Causal())))


def test_cache_layouts() -> None:
    assert Transformer(GROUPED).cache_layout == CacheLayout(layers=2, kv_heads=2, key_size=8, value_size=8)
    assert Transformer(LATENT).cache_layout == CacheLayout(2, kv_heads=1, key_size=14, value_size=0, latent_size=10)


def test_autocast_trains_masters_in_half_precision(model: Transformer) -> None:
    ids = torch.randint(0, 61, (2, 16))
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(ids)
    assert logits.dtype == torch.bfloat16
    logits.float().square().mean().backward()
    unused = [
        name for name, p in model.named_parameters() if (p.grad is None or not p.grad.any()) and ".experts." not in name
    ]
    assert unused == []
    exact = model(ids)
    assert (logits.float() - exact).square().mean() < 0.01 * exact.square().mean()


def test_casting_the_model_leaves_its_frequencies_alone() -> None:
    torch.manual_seed(0)
    model = Transformer(GROUPED)
    positions = torch.tensor([[3000]])
    before = model.rotary(positions)
    after = model.to(torch.bfloat16).rotary(positions)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert model(torch.tensor([[1, 2]])).dtype == torch.bfloat16
