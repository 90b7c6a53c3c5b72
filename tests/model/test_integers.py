"""Products with quantised weights: the arithmetic against integers written out, kernels against the arithmetic."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

from denken.errors import ConfigError
from denken.model.kernels import build, integers, shared
from denken.model.kernels.integers import Int4, Int8, quantise_rows, reference, side_by_side, whole_numbers

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


native = pytest.mark.skipif(build.library() is None, reason="no compiler, or no kernels for this processor")
SHAPES = [(1, 1, 32), (16, 1, 64), (5, 3, 96), (33, 2, 256), (48, 12, 1024), (17, 13, 384), (100, 40, 672)]


@native
@both_types
@pytest.mark.parametrize(("outputs", "rows", "inputs"), SHAPES)
def test_kernels_are_the_reference_to_the_bit(dtype: torch.dtype, outputs: int, rows: int, inputs: int) -> None:
    for bits, group in [(8, 0), (4, 32), (4, inputs), (4, 8)]:
        codes, scale = matrix(bits, outputs, inputs, group or 1)
        x = (3 * torch.randn(rows, inputs + 3)).to(dtype)[:, :inputs]
        x[rows // 2, : inputs // 2] = 0
        product = (Int4 if bits == 4 else Int8)(codes, scale)
        assert torch.equal(product(x), reference(x, codes, scale))
        assert product.packed is not None
        assert all(torch.equal(a, b) for a, b in zip(product.codes(), (codes, scale), strict=True))


@native
@pytest.mark.parametrize("inputs", [1, 3, 7, 150, 4999])
def test_channels_of_any_length_and_scales_of_any_type(inputs: int) -> None:
    codes, scale = matrix(8, 21, inputs)
    x = torch.randn(14, inputs)
    for given, kind in [(scale, torch.bfloat16), (scale.half().float(), None), (torch.rand(21), torch.float32)]:
        product = Int8(codes, given)
        assert product.packed is not None
        assert kind in (None, product.packed.scales.dtype)
        assert torch.equal(product(x), reference(x, codes, given))
    halves = torch.tensor([1.0 + 2**-10, -(2.0**-24), 3 * 2.0**-20, 65504.0, 0.0] + [0.1] * 16).half().float()
    product = Int8(codes, halves)
    assert product.packed is not None
    assert product.packed.scales.dtype == torch.float16
    assert torch.equal(product(x), reference(x, codes, halves))


@native
@pytest.mark.parametrize("bits", [8, 4])
def test_a_row_is_the_same_in_any_company_on_any_threads(bits: int) -> None:
    codes, scale = matrix(bits, 530, 640)
    x = torch.randn(150, 640)
    product = (Int4 if bits == 4 else Int8)(codes, scale)
    whole = product(x)
    assert all(torch.equal(product(x[i : i + n]), whole[i : i + n]) for i, n in [(0, 1), (3, 2), (70, 7), (130, 20)])
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(product(x), whole)
        assert torch.equal(product(x[149:]), whole[149:])
    finally:
        torch.set_num_threads(before)


@native
def test_matrices_side_by_side_with_a_bias_are_each_alone() -> None:
    products = [Int8(*matrix(8, outputs, 96)) for outputs in (40, 16, 7)]
    bias = torch.randn(16).bfloat16().float()
    rows = [p.packed.row(bias if i == 1 else None) for i, p in enumerate(products) if p.packed is not None]
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(5, 96).to(dtype)
        expected = [product(x) for product in products]
        expected[1] = expected[1] + bias.to(dtype)
        assert torch.equal(side_by_side(x, torch.tensor(rows), 63, 0), torch.cat(expected, dim=1))


@native
@pytest.mark.parametrize(
    ("kind", "name"),
    [("haswell", "AVX2"), ("x86-64-v2", "plain C++")] if build.is_x86() else [("armv8-a", "NEON")],
)
def test_lesser_processors_get_the_same_bits(tmp_path: Path, kind: str, name: str) -> None:
    """The kernels compiled for a processor with less, called as they are here."""
    compiler = shutil.which("g++") or shutil.which("clang++") or "c++"
    options = [f"-march={kind}" if option == "-march=native" else option for option in build.OPTIONS]
    options += [*build.OPTIONS_OF["integers.cpp"], "-w", "-shared"]
    made = tmp_path / "lesser.so"
    subprocess.run([compiler, *options, str(build.SOURCES / "integers.cpp"), "-o", str(made)], check=True)
    lesser = ctypes.CDLL(str(made))
    lesser.denken_integers_path.restype = ctypes.c_char_p
    assert lesser.denken_integers_path().decode() == name
    for bits in (8, 4):
        codes, scale = matrix(bits, 37, 256)
        product = (Int4 if bits == 4 else Int8)(codes, scale)
        assert product.packed is not None
        table = torch.tensor([product.packed.row()])
        for dtype, function in [(torch.float32, "fp32"), (torch.bfloat16, "bf16")]:
            x = (3 * torch.randn(9, 256)).to(dtype)
            out = torch.empty(9, 37, dtype=dtype)
            call = getattr(lesser, f"denken_integers_{function}")
            call.argtypes = integers._MULTIPLY
            call(x.data_ptr(), 256, 9, table.data_ptr(), 1, out.data_ptr(), 37, 1)
            assert torch.equal(out, product(x))


def test_without_kernels_everything_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, scale = matrix(4, 20, 64)
    x = torch.randn(3, 64)
    ours = Int4(codes, scale)(x)
    monkeypatch.setattr(integers, "library", lambda: None)
    product = Int4(codes, scale)
    assert product.packed is None
    assert integers.path() == "PyTorch"
    assert torch.equal(product(x), ours)
    assert all(torch.equal(a, b) for a, b in zip(product.codes(), (codes, scale), strict=True))


@native
@pytest.mark.parametrize("bits", [8, 4])
def test_weights_that_are_shared_are_packed_once_and_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int
) -> None:
    weight_OI, x_NI = torch.randn(1030, 2048), torch.randn(3, 2048)
    alone = whole_numbers(weight_OI, bits)(x_NI)
    folder = tmp_path / "weights"
    monkeypatch.setenv(shared.SWITCH, str(folder))
    first = whole_numbers(weight_OI, bits)
    monkeypatch.setattr(shared, "_write", None)  # nobody packs again
    second = whole_numbers(weight_OI, bits)
    assert len(list(folder.iterdir())) == 1
    assert Path("/proc/self/maps").read_text().count(str(folder)) == 2
    assert torch.equal(first(x_NI), alone)
    assert torch.equal(second(x_NI), alone)
    assert torch.equal(first.codes()[0], second.codes()[0])


@native
def test_shared_weights_are_no_use_where_others_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setenv(shared.SWITCH, str(tmp_path))
    with pytest.raises(ConfigError, match="yours alone"):
        whole_numbers(torch.randn(1030, 2048), 8)
