"""Log-probabilities without logits: the same numbers and gradients as with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from denken.model import head
from denken.model.head import head_logprobs


def case(dtype: torch.dtype, rows: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    hidden = torch.randn(rows, 5, dtype=dtype, requires_grad=True)
    weight = (2 * torch.randn(11, 5, dtype=dtype)).requires_grad_()
    return hidden, weight, torch.randint(11, (rows,))


def spelt_out(hidden: Tensor, weight: Tensor, ids: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    logprobs = (hidden @ weight.T / temperature).log_softmax(dim=1)
    return logprobs.gather(1, ids[:, None])[:, 0], -(logprobs.exp() * logprobs).sum(dim=1)


@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("at_once", [1, 22, 33, 1 << 19])
def test_values_and_gradients_are_those_of_a_softmax(
    monkeypatch: pytest.MonkeyPatch, temperature: float, at_once: int
) -> None:
    monkeypatch.setattr(head, "AT_ONCE", at_once)
    hidden, weight, ids = case(torch.float64)
    pull = torch.randn(len(ids), dtype=torch.float64)
    ours, entropy = head_logprobs(hidden, weight, ids, temperature=temperature)
    theirs, expected = spelt_out(hidden, weight, ids, temperature)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(entropy, expected)
    torch.testing.assert_close(
        torch.autograd.grad(ours @ pull, (hidden, weight)), torch.autograd.grad(theirs @ pull, (hidden, weight))
    )


def test_bf16_is_multiplied_and_added_up_in_fp32() -> None:
    hidden, weight, ids = case(torch.bfloat16)
    ours, entropy = head_logprobs(hidden, weight, ids)
    theirs, expected = spelt_out(hidden.float(), weight.float(), ids, 1.0)
    assert ours.dtype == entropy.dtype == torch.float32
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(entropy, expected)
    grads = torch.autograd.grad(ours.sum(), (hidden, weight))
    assert [grad.dtype for grad in grads] == [torch.bfloat16] * 2


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight, ids = case(torch.float32)
    head_logprobs(hidden, weight.detach(), ids)[0].sum().backward()
    assert hidden.grad is not None


def test_logits_too_large_to_exponentiate() -> None:
    hidden, weight = torch.tensor([[1000.0]]), torch.tensor([[1.0], [0.0]])
    logprobs, entropy = head_logprobs(hidden, weight, torch.tensor([1]))
    assert logprobs.tolist() == [-1000.0]
    assert entropy.tolist() == [0.0]


def test_no_rows() -> None:
    hidden, weight, ids = case(torch.float32, rows=0)
    logprobs, entropy = head_logprobs(hidden, weight, ids)
    assert logprobs.shape == entropy.shape == (0,)
    logprobs.sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()
