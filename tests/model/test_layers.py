"""The small layers: what is faster must be the same function."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from denken.model import layers
from denken.model.kernels.build import is_x86
from denken.model.layers import RMSNorm


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 9, 12), (2, 3, 4, 12), (0, 12)])
def test_rms_norm_is_pytorchs_to_the_bit(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = RMSNorm(12, 1e-6).to(dtype)
    norm.weight.data.uniform_(0.5, 2)
    x = (3 * torch.randn(shape)).to(dtype).requires_grad_()
    expected = F.rms_norm(x, (12,), norm.weight, 1e-6)
    with torch.no_grad():
        alone = norm(x)
    assert torch.equal(norm(x), alone)
    if is_x86():  # elsewhere PyTorch adds in another order
        assert torch.equal(alone, expected)
    torch.testing.assert_close(alone, expected)


@pytest.mark.parametrize("at_once", [1, 30, 1 << 17])
def test_rms_norms_gradients_are_pytorchs(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(layers._RMSNorm, "AT_ONCE", at_once)
    torch.manual_seed(0)
    norm = RMSNorm(6, 1e-6).double()
    norm.weight.data.uniform_(0.5, 2)
    # As queries arrive: a view whose rows do not lie side by side.
    x = torch.randn(2, 4, 3, 6, dtype=torch.float64).transpose(1, 2).requires_grad_()
    pull = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    ours = torch.autograd.grad((norm(x) * pull).sum(), (x, norm.weight))
    theirs = torch.autograd.grad((F.rms_norm(x, (6,), norm.weight, 1e-6) * pull).sum(), (x, norm.weight))
    torch.testing.assert_close(ours, theirs)


def test_a_frozen_norm_lets_gradients_through() -> None:
    norm = RMSNorm(6, 1e-6).requires_grad_(False)
    x = torch.randn(2, 6, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad is not None
    assert norm.weight.grad is None


def test_bf16_gradients_come_back_in_bf16() -> None:
    norm = RMSNorm(6, 1e-6).bfloat16()
    x = torch.randn(5, 6, dtype=torch.bfloat16, requires_grad=True)
    norm(x).sum().backward()
    assert x.grad is not None
    assert norm.weight.grad is not None
    assert x.grad.dtype == norm.weight.grad.dtype == torch.bfloat16
