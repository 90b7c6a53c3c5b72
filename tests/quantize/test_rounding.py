"""Scales and rounding, by hand; GPTQ against plain rounding where inputs move together."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from denken.model.quantized import INT8, Scheme, dequantise
from denken.quantize.gptq import gptq
from denken.quantize.rounding import nearest, rounded, scales

INT4 = Scheme(4, 32)


def lost(weight: Tensor, codes: Tensor, scale: Tensor, hessian: Tensor) -> float:
    """What the outputs are off by, squared: (w - q) H (w - q)^T, over all rows."""
    error = (weight - dequantise(codes, scale)).double()
    return float(((error @ hessian.double()) * error).sum())


def inputs(columns: int = 64, rank: int = 12) -> Tensor:
    """The H of inputs that depend on a few numbers and a little of their own, some much larger than others."""
    torch.manual_seed(0)
    x = torch.randn(4000, rank) @ torch.randn(rank, columns) + 0.1 * torch.randn(4000, columns)
    x *= torch.logspace(-1, 1, columns)
    return x.t() @ x


def test_rounding_by_hand() -> None:
    """Rows of one group: 7 / 7 = 1 as a scale, and what lies between two codes goes to the even one."""
    weight = torch.tensor([[7.0, -3.4, 0.5, 1.5]])
    assert nearest(weight, torch.tensor([[1.0]]), Scheme(4, 4)).tolist() == [[7, -3, 0, 2]]
    assert nearest(torch.tensor([[-9.0, 9.0]]), torch.tensor([[1.0]]), Scheme(4, 2)).tolist() == [[-8, 7]]


def test_a_large_number_is_cut_off_where_that_makes_the_others_finer() -> None:
    weight = torch.linspace(-1, 1, 32)[None].clone()
    weight[0, 0] = 1.6
    scale = scales(weight, INT4)
    assert scale.item() < 1.6 / 7
    plain = torch.tensor([[1.6 / 7]])
    identity = torch.eye(32)
    assert lost(weight, nearest(weight, scale, INT4), scale, identity) < lost(
        weight, nearest(weight, plain, INT4), plain, identity
    )
    important = torch.ones(32)
    important[0] = 1e6
    assert scales(weight, INT4, important).item() == pytest.approx(1.6 / 7, rel=0.01)


@pytest.mark.parametrize("scheme", [INT8, INT4, Scheme(4, 64)], ids=str)
def test_scales_can_be_stored_in_bf16_and_are_never_0(scheme: Scheme) -> None:
    weight = torch.randn(5, 64) * torch.tensor([1.0, 1e-3, 1e30, 0.0, 1e-45])[:, None]
    codes, scale = rounded(weight, scheme)
    assert scale.shape == (5, scheme.groups(64))
    assert torch.equal(scale.bfloat16().float(), scale)
    assert (scale > 0).all()
    assert not codes[3:].any()
    back = dequantise(codes, scale)
    assert ((back - weight).abs().amax(dim=1) <= 0.2 * weight.abs().amax(dim=1) + 1e-37).all()


@pytest.mark.parametrize("scheme", [INT8, INT4], ids=str)
def test_gptq_loses_less_than_rounding_where_inputs_move_together(scheme: Scheme) -> None:
    hessian, weight = inputs(), torch.randn(48, 64)
    ours = lost(weight, *gptq(weight, hessian, scheme), hessian)
    assert ours < 0.5 * lost(weight, *rounded(weight, scheme), hessian)


def test_gptq_by_hand() -> None:
    """Two inputs that are nearly one: what is lost of the first weight is given to the second.

    Both weights are 0.4 of a step, and rounding makes both 0. With equal inputs the output is w1 + w2 = 0.8 steps, and
    the nearest there is is 1.
    """
    hessian = torch.tensor([[1.001, 1.0], [1.0, 1.0]])
    weight = torch.tensor([[0.4, 0.4, 7.0, -7.0]])
    padded = torch.zeros(4, 4)
    padded[:2, :2], padded[2, 2], padded[3, 3] = hessian, 9.0, 9.0
    codes, scale = gptq(weight, padded, Scheme(4, 4), damp=1e-6)
    assert scale.item() == pytest.approx(1.0, rel=0.01)
    assert codes[0, :2].tolist() == [0, 1]
    assert rounded(weight, Scheme(4, 4))[0][0, :2].tolist() == [0, 0]


def test_inputs_that_were_never_seen_are_rounded_to_the_nearest() -> None:
    hessian, weight = inputs(), torch.randn(8, 64)
    hessian[10] = hessian[:, 10] = 0
    codes, scale = gptq(weight, hessian, INT4)
    assert torch.equal(codes[:, 10], nearest(weight, scale, INT4)[:, 10])
    nothing, plain = gptq(weight, torch.zeros(64, 64), INT4), rounded(weight, INT4)
    assert torch.equal(nothing[0], plain[0])


def test_the_same_inputs_give_the_same_codes() -> None:
    hessian, weight = inputs(200), torch.randn(16, 200)  # more columns than are passed on at once
    one, other = gptq(weight, hessian, INT8), gptq(weight.clone(), hessian.clone(), INT8)
    assert torch.equal(one[0], other[0])
    assert lost(weight, *one, hessian) < 0.5 * lost(weight, *rounded(weight, INT8), hessian)
