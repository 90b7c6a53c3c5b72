"""The pure part: against sums worked by hand and against PyTorch's own indexing."""

import math

import pytest
import torch

from denken.model.attention import Packed
from denken.model.kernels import call
from denken.train.attend import DensePacked, packed
from denken.train.loss import IGNORE, cross_entropy, select_targets, sums_by_source


def test_cross_entropy_worked_by_hand():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0], [9.0, 9.0]])
    losses = cross_entropy(logits, torch.tensor([0, 1, IGNORE]))
    assert losses.tolist() == pytest.approx([math.log(2), math.log(4), 0.0])


def test_cross_entropy_of_bf16_logits_is_fp32():
    assert cross_entropy(torch.zeros(1, 4, dtype=torch.bfloat16), torch.tensor([0])).dtype == torch.float32


@pytest.mark.parametrize("multiple", [1, 4])
def test_selected_positions_and_their_gradient_equal_plain_indexing(multiple: int):
    hidden = torch.randn(2, 3, 5, requires_grad=True)
    targets = torch.tensor([[IGNORE, 4, 2], [1, IGNORE, IGNORE]])
    chosen, kept, index = select_targets(hidden, targets, multiple=multiple)
    assert index.tolist() == [1, 2, 3]
    assert kept[:3].tolist() == [4, 2, 1]
    assert chosen.shape[0] == -(-3 // multiple) * multiple
    assert (kept[3:] == IGNORE).all()
    weights = torch.randn(3, 5)
    (ours,) = torch.autograd.grad((chosen[:3] * weights).sum(), hidden)
    (theirs,) = torch.autograd.grad((hidden[targets != IGNORE] * weights).sum(), hidden)
    assert torch.equal(ours, theirs)


def test_sums_by_source_worked_by_hand():
    losses, targets = sums_by_source(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([0, 2, 0]), 3)
    assert losses.tolist() == [5.0, 0.0, 2.0]
    assert targets.tolist() == [2.0, 0.0, 1.0]


@pytest.mark.parametrize(("heads", "keys", "value_size"), [(4, 2, 8), (4, 4, 6), (6, 2, 8)])
def test_written_out_attention_is_the_models_packed_attention(heads: int, keys: int, value_size: int):
    torch.manual_seed(0)
    segments = torch.tensor([[0] * 5 + [1] * 7 + [-1] * 4, [0] * 16])
    shapes = ((heads, 8), (keys, 8), (keys, value_size))
    inputs = [torch.randn(2, 16, *shape, requires_grad=True) for shape in shapes]
    ours, theirs = (attend(0, *inputs, 0.3) for attend in (DensePacked(segments), Packed(segments)))
    assert torch.allclose(ours, theirs, atol=1e-6)
    weights = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad((ours * weights).sum(), inputs),
        torch.autograd.grad((theirs * weights).sum(), inputs),
        strict=True,
    ):
        assert torch.allclose(a, b, atol=1e-5)


def test_very_wide_rows_go_where_no_scores_are_written_out(monkeypatch: pytest.MonkeyPatch):
    segments = torch.zeros(1, 2048, dtype=torch.long)
    segments[:, 1500:] = 1
    inputs = [torch.randn(1, 2048, heads, 8) for heads in (4, 2, 2)]
    ours = packed(segments)
    if call.library() is not None:
        assert isinstance(ours, DensePacked)
        assert torch.allclose(ours(0, *inputs, 0.3), Packed(segments)(0, *inputs, 0.3), atol=1e-5)
        assert ours._bias is None
    monkeypatch.setattr(call, "library", lambda: None)
    assert isinstance(packed(segments), Packed)
