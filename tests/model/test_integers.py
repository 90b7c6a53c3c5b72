"""Products with quantised weights: the arithmetic against integers written out, kernels against the arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from denken.errors import ConfigError
from denken.model.kernels import integers
from denken.model.kernels.integers import Int4, Int8, quantise_rows, reference

both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


def matrix(bits: int, outputs: int, inputs: int, group: int = 32) -> tuple[Tensor, Tensor]:
    """Random codes, the extremes among them, and scales."""
    most = 1 << (bits - 1)
    codes = torch.randint(-most, most, (outputs, inputs), dtype=torch.int8)
    codes[0] = -most
    scale = torch.rand(outputs, inputs // group) / most if bits == 4 else torch.rand(outputs) / most
    return codes, scale.bfloat16().float()


def written_out(x_NI: Tensor, codes_OI: Tensor, scale: Tensor) -> Tensor:
    """In integers and doubles."""
    codes_NI, scale_N1 = quantise_rows(x_NI)
    scale_OG = scale.view(len(codes_OI), -1).double()
    products_NOI = codes_NI.long()[:, None] * codes_OI.long()
    sums_NOG = products_NOI.unflatten(2, (scale_OG.shape[1], -1)).sum(dim=3)
    return (sums_NOG.double() * scale_OG).sum(dim=2) * scale_N1.double()


def test_a_rows_codes_by_hand() -> None:
    x = torch.tensor([[254.0, -5.0, 3.0, 0.4, -254.0], [0.0] * 5, [1.0, torch.inf, 0, 0, 0], [torch.nan, 1.0, 0, 0, 0]])
    codes, scale = quantise_rows(x)
    assert codes[0].tolist() == [127, -2, 2, 0, -127]  # 2.5 and 1.5 to the even
    assert codes[1].tolist() == [0] * 5
    assert scale[:2, 0].tolist() == [2.0, 0.0]
    assert scale[2:, 0].isnan().all()


@both_types
@pytest.mark.parametrize(("bits", "group"), [(8, 32), (4, 32), (4, 128)])
def test_reference_is_integers_written_out(dtype: torch.dtype, bits: int, group: int) -> None:
    codes, scale = matrix(bits, 37, 384, group)
    x = (3 * torch.randn(5, 384)).to(dtype)
    expected = written_out(x, codes, scale)
    found = reference(x, codes, scale)
    assert found.dtype == dtype
    close = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 1e-2, "rtol": 8e-3}
    torch.testing.assert_close(found.double(), expected, **close)


@pytest.mark.parametrize("bits", [8, 4])
def test_it_is_close_to_the_product_that_was_quantised(bits: int) -> None:
    weight = torch.randn(64, 256)
    grouped = weight.view(64, -1, 32) if bits == 4 else weight[:, None]
    scale = grouped.abs().amax(dim=2) / (7 if bits == 4 else 127)
    codes = (grouped / scale[..., None]).round().to(torch.int8).view(64, 256)
    x = torch.randn(9, 256)
    found = reference(x, codes, scale if bits == 4 else scale[:, 0])
    expected = x @ weight.t()
    assert (found - expected).norm() < (0.12 if bits == 4 else 0.02) * expected.norm()


def test_sums_are_exact_without_instructions_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = torch.full((3, 5000), -128, dtype=torch.int8)
    x = torch.ones(2, 5000)
    ours = integers._sums(quantise_rows(x)[0], codes)
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert torch.equal(integers._sums(quantise_rows(x)[0], codes), ours)
    assert ours[0, 0] == -128 * 127 * 5000


def test_the_smallest_numbers_stay_within_a_code() -> None:
    x = torch.tensor([[2.52e-43, -2.52e-43, 0.0]])
    codes, scale = quantise_rows(x)
    assert codes.abs().max() == 127
    assert scale > 0


@both_types
@pytest.mark.parametrize("bits", [8, 4])
def test_rows_that_are_not_finite_and_rows_of_zeros(bits: int, dtype: torch.dtype) -> None:
    codes, scale = matrix(bits, 19, 64)
    x = torch.randn(4, 64).to(dtype)
    x[1], x[2, 3], x[3, 60] = 0, torch.nan, torch.inf
    found = (Int4 if bits == 4 else Int8)(codes, scale)(x)
    assert found[0].isfinite().all()
    assert torch.equal(found[1], torch.zeros(19, dtype=dtype))
    assert found[2:].isnan().all()


def test_what_is_no_quantised_matrix_is_refused() -> None:
    codes, scale = matrix(4, 8, 64)
    for wrong in (lambda: Int8(codes, scale), lambda: Int4(codes, scale[:, 0]), lambda: Int4(codes[:, :63], scale)):
        with pytest.raises(ConfigError, match="no quantised matrix"):
            wrong()
    with pytest.raises(ConfigError, match="no quantised matrix"):
        Int8(codes.int(), scale[:, 0])
    with pytest.raises(ConfigError, match="at most"):
        Int8(torch.zeros(1, integers.LONGEST + 1, dtype=torch.int8), torch.ones(1))
