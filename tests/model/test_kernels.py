"""Native kernels against PyTorch's own way, at odd sizes; rows in any company, any number of threads; doing without."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import platform
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from denken.engine import sampler
from denken.model import layers
from denken.model.head import head_logprobs
from denken.model.kernels import bf16, build, call, elementwise, softmax
from denken.model.kernels.attention import Attention, Stretch, attend, to_table
from denken.model.kernels.products import Packed, Product, multiply
from denken.model.kernels.rows import (
    BEHIND,
    PART,
    Begun,
    Strip,
    Tables,
    attend_rows,
    columns,
    copy_rows,
    read_blocks,
    write_blocks,
)
from denken.model.rope import rotate
from denken.train.attend import Lanes, SharedPrompts, packed
from denken.types import SamplingParams

native = pytest.mark.skipif(build.library() is None, reason="no compiler, or no kernels for this processor")
X86 = build.is_x86()
both_types = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@pytest.fixture(autouse=True)
def same_numbers() -> None:
    torch.manual_seed(0)


@contextmanager
def without_kernels() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(call, "library", lambda: None)
        yield


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@native
@pytest.mark.parametrize(("n", "k", "m"), [(1, 1, 1), (13, 7, 33), (5, 300, 31), (97, 513, 65), (3, 40, 4200)])
def test_products_of_any_strides(n: int, k: int, m: int) -> None:
    a, b = torch.randn(n, k), torch.randn(k, m)
    expected = (a.double() @ b.double()).float()
    for left in (a, a.t().contiguous().t()):
        for right in (b, b.t().contiguous().t()):
            torch.testing.assert_close(multiply(left, right), expected, atol=1e-4, rtol=1e-5)
            added = multiply(left, right, torch.ones(n, m), add=True)
            torch.testing.assert_close(added, expected + 1, atol=1e-4, rtol=1e-5)
    assert torch.equal(Packed(b)(a), multiply(a, b))
    assert Packed(b)(a[:0]).shape == (0, m)
    halves = b.bfloat16().float()
    assert Packed(halves).numbers.dtype == torch.int32
    assert torch.equal(Packed(halves)(a), multiply(a, halves))
    assert torch.equal(Packed(halves)(a.t().contiguous().t()), multiply(a, halves))
    assert torch.equal(multiply(a[:, :0], b[:0]), torch.zeros(n, m))


@native
@pytest.mark.parametrize(("inputs", "outputs"), [(1543, 103), (4500, 9), (31, 4), (1546, 103), (768, 96), (2, 33)])
def test_products_with_bf16_matrices(inputs: int, outputs: int) -> None:
    """The rows of few have one order of sums, those of many another; no company and no thread changes either."""
    weights = [torch.randn(outputs, inputs).bfloat16(), torch.randn(outputs + 2, inputs).bfloat16()]
    bias = torch.randn(outputs).bfloat16()
    table = torch.tensor([bf16.row(weights[0], bias), bf16.row(weights[1])])
    most = min(bf16.most_rows(), 1100)
    x = torch.randn(most, inputs).bfloat16()

    def product(rows: int) -> Tensor:
        return bf16.side_by_side(x[:rows], table, 2 * outputs + 2, torch.float32)

    expected = x.double() @ torch.cat(weights).double().t()
    expected[:, :outputs] += bias.double()
    for sizes in ((0, 1, 2, 8, 9, 11), (12, 21, 31, 34, 47, most)):
        whole = product(sizes[-1])
        torch.testing.assert_close(whole, expected[: len(whole)].float(), atol=1e-3, rtol=1e-4)
        for rows in sizes:
            with on_threads(2 if rows % 2 else 1):
                assert torch.equal(product(rows), whole[:rows])
    whole = product(most)
    rounded = bf16.side_by_side(x, table, 2 * outputs + 2, torch.bfloat16)
    assert torch.equal(rounded, whole.bfloat16())


@native
@pytest.mark.parametrize(("inputs", "outputs"), [(2, 1), (48, 33), (192, 384), (192, 1024), (514, 70), (768, 97)])
def test_turned_bf16_matrices_give_a_row_the_same_in_any_company_and_as_learnt(inputs: int, outputs: int) -> None:
    if not bf16.in_panels(inputs):
        pytest.skip("this processor multiplies no pairs of bf16")
    weight, bias = torch.randn(outputs, inputs).bfloat16(), torch.randn(outputs).bfloat16()
    x = torch.randn(1100, inputs).bfloat16()
    learnt = bf16.Product.apply(x, weight, bias, bf16.ALWAYS)
    expected = x.double() @ weight.double().t() + bias.double()
    torch.testing.assert_close(learnt.double(), expected, atol=1e-2, rtol=1e-2)
    for rows in (0, 1, 2, 4, 5, 11, 12, 23, 513, 1100):
        with on_threads(2 if rows % 2 else 1):
            assert torch.equal(bf16.Turned(weight, bias)(x[:rows]), learnt[:rows])
            assert torch.equal(bf16.Product.apply(x[:rows], weight, bias, bf16.ALWAYS), learnt[:rows])
    assert not bf16.in_panels(inputs + 1)


@native
def test_products_with_bf16_matrices_are_learnt_through() -> None:
    if not bf16.in_panels(64):
        pytest.skip("this processor multiplies no pairs of bf16")
    x, weight, bias = torch.randn(2, 7, 64), torch.randn(40, 64), torch.randn(40)
    grads = []
    for product in (lambda *given: bf16.Product.apply(*given, bf16.ALWAYS), torch.nn.functional.linear):
        given = [tensor.bfloat16().requires_grad_() for tensor in (x, weight, bias)]
        product(*given).float().square().sum().backward()
        grads.append([tensor.grad for tensor in given])
    for own, theirs in zip(*grads, strict=True):
        assert own.dtype == torch.bfloat16
        torch.testing.assert_close(own, theirs, atol=0.05 * float(theirs.float().abs().max()), rtol=0.05)


@native
@pytest.mark.parametrize(("heads", "plain", "latent", "value"), [(16, 128, 512, 128), (3, 9, 48, 5), (2, 64, 144, 70)])
def test_products_of_each_head_with_a_matrix_of_its_own(heads: int, plain: int, latent: int, value: int) -> None:
    up_HXC = torch.randn(heads, plain + value, latent).bfloat16()
    query, seen = torch.randn(35, heads, plain + 8).bfloat16()[..., :plain], torch.randn(35, heads, latent).bfloat16()
    for x, matrices in ((query, up_HXC[:, :plain].transpose(1, 2)), (seen, up_HXC[:, plain:])):
        expected = torch.einsum("nhi,hoi->nho", x.double(), matrices.double())
        for rows in (0, 1, 2, 7, 35):
            with on_threads(2 if rows % 2 else 1):
                found = bf16.by_heads(x[:rows], matrices)
            torch.testing.assert_close(
                found.double(), expected[:rows], atol=0.02 * float(expected.abs().max()), rtol=0.01
            )


@native
def test_a_rows_product_is_the_same_in_any_company_on_any_threads() -> None:
    a, b = torch.randn(130, 300), torch.randn(300, 70)
    whole = multiply(a, b)
    assert all(torch.equal(multiply(a[i : i + 1], b)[0], whole[i]) for i in (0, 64, 129))
    with on_threads(3):
        assert torch.equal(multiply(a, b), whole)
        assert torch.equal(multiply(a[40:73], b), whole[40:73])


@native
def test_products_have_gradients() -> None:
    x, weight = torch.randn(2, 9, 12, requires_grad=True), torch.randn(7, 12, requires_grad=True)
    pull = torch.randn(2, 9, 7)
    ours = torch.autograd.grad(Product.apply(x, weight), (x, weight), pull)
    theirs = torch.autograd.grad(F.linear(x, weight), (x, weight), pull)
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (alone,) = torch.autograd.grad(Product.apply(x, weight.detach()).sum(), x)  # an expanded gradient
    torch.testing.assert_close(alone, weight.detach().sum(0).expand_as(x), atol=1e-5, rtol=1e-5)


@native
@both_types
@pytest.mark.parametrize("size", [1, 5, 8, 12, 33, 48, 64, 300, 672, 1000, 4096, 8192])
def test_norm_is_pytorchs_to_the_bit(dtype: torch.dtype, size: int) -> None:
    x, weight = (3 * torch.randn(37, size + 3)).to(dtype)[:, :size], torch.rand(size).add(0.5).to(dtype)
    turned = x.t().contiguous().t()
    assert torch.equal(elementwise.Norm.apply(turned, weight, 1e-6), elementwise.norm(x, weight, 1e-6))
    assert_pytorchs(elementwise.norm(x, weight, 1e-6), F.rms_norm(x.contiguous(), (size,), weight, 1e-6))


def assert_pytorchs(found: Tensor, expected: Tensor) -> None:
    """To the bit, but where PyTorch's own kernels add in another order."""
    if X86:
        assert torch.equal(found, expected)
    torch.testing.assert_close(found, expected)


@native
@both_types
def test_gradients_of_norm_swiglu_and_turn_are_pytorchs(dtype: torch.dtype) -> None:
    close = {"atol": 2e-5, "rtol": 1e-4} if dtype == torch.float32 else {"atol": 0.05, "rtol": 0.02}
    norm = layers.RMSNorm(40, 1e-5).to(dtype)
    norm.weight.data.uniform_(0.5, 2)
    x = torch.randn(2, 70, 3, 40).to(dtype).requires_grad_()
    other = torch.randn(2, 70, 3, 40).to(dtype).requires_grad_()
    angle = torch.randn(1, 70, 1, 20)

    def everything() -> list[Tensor]:
        outs = [norm(x), layers.swiglu(x, other), rotate(x, angle.cos(), angle.sin())]
        pulls = [torch.linspace(-1, 1, out.numel()).view(out.shape).to(dtype) for out in outs]
        return [*outs, *torch.autograd.grad(outs, (x, other, norm.weight), pulls)]

    ours = everything()
    with without_kernels():
        theirs = everything()
    assert_pytorchs(ours[0], theirs[0])
    assert_pytorchs(ours[2], theirs[2])
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, **close)


@native
def test_gradients_that_come_in_pieces_of_wider_ones() -> None:
    """As behind a concatenation: what is made contiguous for a kernel must live until it has been read."""
    x, other = (torch.randn(300, 200, requires_grad=True) for _ in range(2))
    norm = layers.RMSNorm(200, 1e-5)
    pull = torch.randn(300, 400)

    def gradients() -> list[Tensor]:
        joined = torch.cat((norm(x), layers.swiglu(x, other)), dim=-1)
        return list(torch.autograd.grad(joined, (x, other, norm.weight), pull))

    ours = [gradients() for _ in range(8)]
    with without_kernels():
        theirs = gradients()
    for found in ours:
        for one, expected in zip(found, theirs, strict=True):
            torch.testing.assert_close(one, expected, atol=2e-4, rtol=1e-4)


@native
@both_types
def test_norm_and_turn_at_once_are_the_two(dtype: torch.dtype) -> None:
    x, weight = torch.randn(9, 5, 24).to(dtype), torch.rand(5, 24).to(dtype)
    cos, sin = (f(torch.randn(9, 12)) for f in (torch.cos, torch.sin))
    normed = torch.stack([elementwise.norm(x[:, h], weight[h], 1e-6) for h in range(5)], dim=1)
    assert torch.equal(elementwise.norm_turned(x, weight, 1e-6, cos, sin), elementwise.turned(normed, cos, sin))
    assert torch.equal(elementwise.norm_turned(x, None, 1e-6, cos, sin), elementwise.turned(x, cos, sin))


SHAPES = [  # query heads, key heads, columns, prompts, lanes
    (6, 2, 12, [5, 9], [Lanes(3, 16, (0, 1, 1)), Lanes(1, 7, (0,))]),
    (4, 2, 64, [31], [Lanes(3, 40, (0, 0, 0))]),
    (3, 3, 8, [1, 3], [Lanes(2, 33, (1, 0))]),
    (16, 1, 40, [4], [Lanes(2, 5, (0, 0))]),
]


@native
@both_types
@pytest.mark.parametrize(("heads", "keys", "size", "lengths", "lanes"), SHAPES)
def test_attention_and_its_gradients_are_those_written_out(
    dtype: torch.dtype, heads: int, keys: int, size: int, lengths: list[int], lanes: list[Lanes]
) -> None:
    width = max(lengths) + 3
    shared = SharedPrompts(lengths, width, lanes, filling=5)
    tokens = sum(shared.sizes)
    query, key, value = (torch.randn(1, tokens, h, size).to(dtype).requires_grad_() for h in (heads, keys, keys))
    seen = torch.ones(tokens)
    seen[tokens - 5 :] = 0
    pull = torch.randn(1, tokens, heads, size).to(dtype) * seen[:, None, None].to(dtype)

    def everything() -> list[Tensor]:
        out = shared(0, query, key, value, size**-0.5)
        return [out, *torch.autograd.grad(out, (query, key, value), pull)]

    ours = everything()
    with on_threads(3):
        assert all(torch.equal(a, b) for a, b in zip(everything(), ours, strict=True))
    with without_kernels():
        theirs = everything()
    for found, expected in zip(ours, theirs, strict=True):
        if dtype == torch.float32:
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
        else:
            # A score between two bf16 numbers may be rounded to either.
            torch.testing.assert_close(found, expected, atol=0.15, rtol=0.02)
            assert (found.float() - expected.float()).abs().mean() <= 2e-3 * expected.float().abs().mean()


@native
@both_types
def test_attention_in_packed_rows_is_that_written_out(dtype: torch.dtype) -> None:
    segments = torch.tensor([[0] * 9 + [1] * 21 + [-1] * 7, [5] * 37, [2, 3, 4] + [6] * 34])
    attend_to = packed(segments)
    query, key, value = (torch.randn(3, 37, h, 12).to(dtype).requires_grad_() for h in (4, 2, 2))
    pull = torch.randn(3, 37, 4, 12).to(dtype)

    def everything() -> list[Tensor]:
        out = attend_to(0, query, key, value, 0.3)
        return [out, *torch.autograd.grad(out, (query, key, value), pull)]

    ours = everything()
    with without_kernels():
        theirs = everything()
    close = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.06, "rtol": 0.02}
    for found, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(found, expected, **close)


def strip(rows: int, keys: int, size: int, stride: int, dtype: torch.dtype) -> Strip:
    """Of any numbers; in int8 any bytes, of which some are scales that are no numbers."""
    count = rows * keys * columns(size, dtype) * stride + BEHIND
    if dtype == torch.int8:
        return Strip(*(torch.randint(-128, 128, (count,), dtype=dtype) for _ in range(2)), stride)
    return Strip(*(torch.randn(count).to(dtype) for _ in range(2)), stride)


@native
@both_types
@pytest.mark.parametrize(("heads", "keys", "size"), [(6, 2, 12), (4, 4, 64), (14, 1, 40), (6, 1, 136)])
def test_decoding_is_reading_is_learning_to_the_bit(dtype: torch.dtype, heads: int, keys: int, size: int) -> None:
    """One token a row over keys in rows and in a shared beginning, whatever its neighbours' lengths."""
    rows, begun = 5, 16
    lengths = [3, 40, 164, 1, 17]
    scale = size**-0.5
    texts = [[torch.randn(begun + n, h, size).to(dtype) for h in (heads, keys, keys)] for n in lengths]
    for text in texts[1:]:
        text[1][:begun], text[2][:begun] = texts[0][1][:begun], texts[0][2][:begun]
    expected = []
    for query, key, value in texts:
        whole = to_table([Stretch(0, len(query), 0, 0, 0)])
        out = attend(query, key, value, whole, scale)
        late = to_table([Stretch(0, len(query) - 7, 0, 7, 7)])
        assert torch.equal(attend(query[7:], key, value, late, scale), out[7:])
        expected.append(out[-1])
    own, slot = strip(rows, keys, size, 192, dtype), strip(1, keys, size, 32, dtype)
    for row, (_, key, value) in enumerate(texts):
        places = torch.arange(begun, len(key) - 1)
        copy_rows(key, value, own, places, torch.full_like(places, row), places - begun)
    first = torch.arange(begun)
    copy_rows(texts[0][1], texts[0][2], slot, first, torch.zeros_like(first), first)
    apart = Begun(slot, torch.zeros(rows, dtype=torch.long), torch.tensor([begun]))
    new = [torch.stack([text[i][-1] for text in texts]) for i in range(3)]
    blocks = [torch.zeros(9, keys, size, dtype=dtype) for _ in range(2)]
    places = torch.tensor([8, 0, 3, 2, 5])
    found = attend_rows(*new, own, torch.tensor(lengths), *blocks, places, apart, torch.arange(rows), scale)
    assert torch.equal(found, torch.stack(expected))
    assert torch.equal(blocks[0][places], new[1])
    assert torch.equal(blocks[1][places], new[2])


def rounded(x: Tensor) -> Tensor:
    """As rows in int8 hold a token's key or value of each head."""
    scale = x.float().abs().amax(-1, keepdim=True) / 127
    return (x.float() / scale.where(scale > 0, 1)).round() * scale


@native
@both_types
@pytest.mark.parametrize(("heads", "keys", "size"), [(6, 2, 12), (4, 4, 64), (14, 1, 40), (4, 2, 48), (6, 1, 136)])
def test_rows_in_int8_are_what_was_rounded_and_that_is_near(
    dtype: torch.dtype, heads: int, keys: int, size: int
) -> None:
    """Over rows and a shared beginning. The tolerance: of random keys and values 1.5 % of what is seen, as a mean
    square, where bf16's rounding of everything is not added."""
    begun, lengths = 20, [3, 40, 164, 1, 17]
    texts = [[torch.randn(begun + n, h, size).to(dtype) for h in (heads, keys, keys)] for n in lengths]
    for text in texts:
        text[1][:begun], text[2][:begun] = texts[0][1][:begun], texts[0][2][:begun]
    texts[2][1][30], texts[2][2][31] = 0, 0
    own, slot = strip(5, keys, size, 192, torch.int8), strip(1, keys, size, 32, torch.int8)
    for row, (_, key, value) in enumerate(texts):
        places = torch.arange(begun, len(key) - 1)
        copy_rows(key, value, own, places, torch.full_like(places, row), places - begun)
    first = torch.arange(begun)
    copy_rows(texts[0][1], texts[0][2], slot, first, torch.zeros_like(first), first)
    apart = Begun(slot, torch.zeros(5, dtype=torch.long), torch.tensor([begun]))
    new = [torch.stack([text[i][-1] for text in texts]) for i in range(3)]
    blocks = [torch.zeros(9, keys, size, dtype=dtype) for _ in range(2)]
    rest = (torch.tensor(lengths), *blocks, torch.tensor([8, 0, 3, 2, 5]), apart, torch.arange(5), size**-0.5)
    found = attend_rows(*new, own, *rest)

    def read(change: Callable[[Tensor], Tensor]) -> Tensor:
        whole = [to_table([Stretch(0, len(text[0]), 0, 0, 0)]) for text in texts]
        changed = [(q.float(), change(k).contiguous(), change(v).contiguous()) for q, k, v in texts]
        return torch.stack([attend(*text, table, size**-0.5)[-1] for text, table in zip(changed, whole, strict=True)])

    wide = dtype == torch.float32
    close = {"atol": 4e-4, "rtol": 1e-4} if wide else {"atol": 0.03, "rtol": 0.02}
    torch.testing.assert_close(found.float(), read(rounded), **close)
    exact = read(Tensor.float)
    off = ((found.float() - exact).square().mean() / exact.square().mean()).sqrt()
    assert 0 < off < (0.015 if wide else 0.02)
    new[1][1, 0, 3] = torch.nan
    assert attend_rows(*new, own, *rest).isnan().flatten(1).any(1).tolist() == [False, True, False, False, False]


@native
@pytest.mark.parametrize("kind", ["native", *(["haswell", "x86-64-v2"] if X86 else ["armv8-a"])])
def test_codes_are_the_same_on_lesser_processors(tmp_path: Path, kind: str) -> None:
    source, made = tmp_path / "codes.cpp", tmp_path / "codes.so"
    source.write_text(
        '#include "codes.h"\n'
        "EXPORT float to(const float* x, index_t size, code* out) { return encode(x, size, out); }\n"
    )
    compiler = shutil.which("g++") or shutil.which("clang++") or "c++"
    options = [f"-march={kind}" if option == "-march=native" else option for option in build.OPTIONS]
    options += ["-w", "-shared", f"-I{build.SOURCES}"]
    subprocess.run([compiler, *options, str(source), "-o", str(made)], check=True, capture_output=True)
    lesser = ctypes.CDLL(str(made))
    lesser.to.restype = ctypes.c_float
    x = torch.randn(67)
    codes = torch.zeros(80, dtype=torch.int8)
    scale = lesser.to(ctypes.c_void_p(x.data_ptr()), ctypes.c_int64(67), ctypes.c_void_p(codes.data_ptr()))
    assert scale == (x.abs().max() / 127).item()
    assert torch.equal(codes[:67].float(), (x * (127 / x.abs().max())).round())


@native
@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (torch.float32, torch.float32),
        (torch.float32, torch.bfloat16),
        (torch.float32, torch.int8),
        (torch.bfloat16, torch.bfloat16),
        (torch.bfloat16, torch.int8),
    ],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_several_tokens_of_a_row_are_as_one_after_the_other(
    dtype: torch.dtype, kept: torch.dtype, threads: int
) -> None:
    heads, keys, size, stride, counts, before = 4, 2, 24, 64, [1, 8, 3], [7, 30, 0]
    seats = torch.arange(3).repeat_interleave(torch.tensor(counts))
    lengths = torch.tensor([b + 1 + i for b, count in zip(before, counts, strict=True) for i in range(count)])
    new = [torch.randn(12, h, size).to(dtype) for h in (heads, keys, keys)]
    places = torch.randperm(20)[:12]

    def memory() -> tuple[Strip, list[Tensor]]:
        torch.manual_seed(1)
        held = strip(3, keys, size, stride, kept)
        texts = [torch.randn(3 * stride, keys, size).to(dtype) for _ in range(2)]
        places = torch.arange(3 * stride)
        copy_rows(*texts, held, places, places // stride, places % stride)
        return held, [torch.zeros(20, keys, size, dtype=dtype) for _ in range(2)]

    with on_threads(threads):
        rows, blocks = memory()
        order = torch.arange(12)
        found = attend_rows(*new, rows, lengths, *blocks, places, None, order, 0.3, seats)
        own_rows, own_blocks = memory()
        for token in range(12):
            one = slice(token, token + 1)
            args = (own_rows, lengths[one], *own_blocks, places[one], None, order[:1], 0.3, seats[one])
            assert torch.equal(attend_rows(*(x[one].contiguous() for x in new), *args)[0], found[token])
    for ours, theirs in zip(
        [rows.keys, rows.values, *blocks], [own_rows.keys, own_rows.values, *own_blocks], strict=True
    ):
        assert torch.equal(ours, theirs)


@native
@both_types
@pytest.mark.parametrize("kept", [None, torch.int8])
@pytest.mark.parametrize("threads", [1, 2])
def test_many_heads_over_one_key_head_are_as_a_few_at_a_time(
    dtype: torch.dtype, kept: torch.dtype | None, threads: int
) -> None:
    """As latent attention asks; keys that are values, too, lie in the blocks once."""
    heads, size, lengths = 70, 40, torch.tensor([150, 3])
    query, key = torch.randn(2, heads, size).to(dtype), torch.randn(2, 1, size).to(dtype)
    rows = strip(2, 1, size, 160, kept or dtype)
    texts = torch.randn(320, 1, size).to(dtype)
    copy_rows(texts, texts, rows, torch.arange(320), torch.arange(320) // 160, torch.arange(320) % 160)
    blocks, places, order = torch.zeros(9, 1, size, dtype=dtype), torch.tensor([4, 7]), torch.arange(2)

    def seen(some: slice) -> Tensor:
        own = query[:, some].contiguous()
        return attend_rows(own, key, key, rows, lengths, blocks, blocks, places, None, order, 0.2)

    with on_threads(threads):
        found = seen(slice(None))
        for first in range(0, heads, 7):
            assert torch.equal(seen(slice(first, first + 7)), found[:, first : first + 7])
    assert torch.equal(blocks[places], key)


@native
def test_tokens_that_nobody_sees_get_nothing() -> None:
    query, key, value = (torch.randn(6, 2, 8, requires_grad=True) for _ in range(3))
    out = Attention.apply(query, key, value, to_table([Stretch(1, 3, 0, 0, 1)]), 0.5)
    assert torch.equal(out[[0, 4, 5]], torch.zeros(3, 2, 8))
    for grad in torch.autograd.grad(out.sum(), (query, key, value)):
        assert torch.equal(grad[[0, 4, 5]], torch.zeros(3, 2, 8))


@native
@both_types
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_log_probabilities_and_gradients_are_a_softmaxs(dtype: torch.dtype, temperature: float) -> None:
    hidden = torch.randn(300, 24).to(dtype).requires_grad_()
    weight = torch.randn(1003, 24).to(dtype).requires_grad_()
    ids, pull = torch.randint(1003, (300,)), torch.randn(300)

    def everything() -> list[Tensor]:
        logprobs, entropy = head_logprobs(hidden, weight, ids, temperature=temperature)
        return [logprobs, entropy, *torch.autograd.grad(logprobs @ pull, (hidden, weight))]

    ours = everything()
    with without_kernels():
        theirs = everything()
    for found, expected in zip(ours, theirs, strict=True):
        wide = dtype == torch.float32 or found.dtype == torch.float32
        close = {"atol": 2e-5, "rtol": 1e-4} if wide else {"atol": 0.02, "rtol": 0.02}
        torch.testing.assert_close(found, expected, **close)


@native
@pytest.mark.parametrize("size", [1, 15, 16, 255, 257, 1000])
def test_draws_are_pytorchs(size: int) -> None:
    logits = 3 * torch.randn(64, size)
    logits[3, : size // 2] = -torch.inf
    params = [SamplingParams(temperature=t, top_p=1.0) for t in torch.linspace(0.3, 1.5, 64).tolist()]
    noise = [*torch.rand(62, dtype=torch.float64).tolist(), 0.0, 1 - 2**-32]
    ours = sampler._plain(logits, params, noise)
    with without_kernels():
        theirs = sampler._plain(logits, params, noise)
    assert [choice.id for choice in ours] == [choice.id for choice in theirs]
    assert [choice.logprob for choice in ours] == pytest.approx([choice.logprob for choice in theirs], abs=1e-5)


@native
def test_a_draw_never_falls_on_an_id_that_cannot_be_drawn_and_numbers_that_are_none_are_seen() -> None:
    logits = torch.full((2, 40), -torch.inf)
    logits[:, 7] = 0
    plain = [softmax.manner(1.0, 0, 1.0, 0.0)] * 2
    ids, logprobs, kept = softmax.draw(logits, plain, [0.0, 1 - 2**-32])
    assert ids == [7, 7]
    assert logprobs == [0.0, 0.0]
    assert kept == [0, 0]
    logits[0, 3] = torch.nan
    assert not torch.isfinite(torch.tensor(softmax.draw(logits, plain, [0.5, 0.5])[1][0]))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder, and sources that take little time to compile."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "small.cpp").write_text('extern "C" int denken_small() { return 1; }\n')
    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def compiled_anew() -> bool:
    """Whether a process that asks for the first time would get kernels."""
    return build.library.__wrapped__() is not None


def test_doing_without(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    code = "from denken.model.kernels.build import library; print(library() is not None)"
    told = os.environ | {"DENKEN_KERNELS": "none"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=told)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
    assert not cache.exists()
    (tmp_path / "no-compiler").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "no-compiler"))
    assert not compiled_anew()
    assert capfd.readouterr() == ("", "")


@native
def test_it_is_compiled_once_and_not_taken_from_where_others_may_write(
    cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert compiled_anew()
    folder = cache / "denken" / "kernels"
    (made,) = folder.iterdir()
    before = made.stat().st_mtime_ns
    assert compiled_anew()
    assert [path.stat().st_mtime_ns for path in folder.iterdir()] == [before]
    assert not stat.S_IMODE(folder.stat().st_mode) & 0o077
    made.chmod(0o777)
    assert not compiled_anew()
    made.chmod(0o755)
    folder.chmod(0o777)
    assert not compiled_anew()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("machine", "capability", "system", "suits"),
    [
        ("x86_64", "AVX512", "linux", True),
        ("x86_64", "DEFAULT", "linux", False),
        ("aarch64", "DEFAULT", "linux", True),
        ("arm64", "DEFAULT", "darwin", False),
        ("riscv64", "DEFAULT", "linux", False),
    ],
)
def test_processors_that_kernels_suit(
    monkeypatch: pytest.MonkeyPatch, machine: str, capability: str, system: str, suits: bool
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    assert build.suits() is suits


def behind_room(shape: tuple[int, ...], value: float, dtype: torch.dtype) -> Tensor:
    """Numbers with as many behind them as kernels may read."""
    count = math.prod(shape)
    return torch.full((count + BEHIND,), value, dtype=dtype)[:count].view(shape)


@native
@both_types
@pytest.mark.parametrize(("heads", "keys", "size"), [(6, 2, 12), (1, 1, 64), (14, 2, 40), (6, 1, 136)])
@pytest.mark.parametrize("parts", [1, 3])
def test_blocks_that_are_read_themselves_are_rows_to_the_bit(
    dtype: torch.dtype, heads: int, keys: int, size: int, parts: int
) -> None:
    """Texts of any length, behind a shared beginning and with several new tokens; in blocks of one part and of three,
    in any order."""
    block, stride, counts, before = parts * PART, 160, [1, 3, 2, 1], [147, 30, 0, 64]
    seats = torch.arange(4).repeat_interleave(torch.tensor(counts))
    spots = [list(range(b + count)) for b, count in zip(before, counts, strict=True)]
    tables = torch.randperm(48)[: 4 * 12].view(4, 12)
    held, slot = strip(4, keys, size, stride, dtype), strip(1, keys, size, 32, dtype)
    blocks = [behind_room((48 * parts, keys, *shape), torch.nan, dtype) for shape in ((size, PART), (PART, size))]

    def place(row: int, token: int) -> int:
        return int(tables[row, token // block]) * block + token % block

    for row, count in enumerate(before):
        texts = [torch.randn(count, keys, size).to(dtype) for _ in range(2)]
        places = torch.tensor([place(row, i) for i in spots[row][:count]], dtype=torch.long)
        copy_rows(*texts, held, torch.arange(count), torch.full((count,), row), torch.arange(count))
        write_blocks(*texts, *blocks, places)
        for found, text in zip(read_blocks(*blocks, places), texts, strict=True):
            assert torch.equal(found, text)
    first = [torch.randn(20, keys, size).to(dtype) for _ in range(2)]
    copy_rows(*first, slot, torch.arange(20), torch.zeros(20, dtype=torch.long), torch.arange(20))
    new = [torch.randn(7, h, size).to(dtype) for h in (heads, keys, keys)]
    ends = [i for row, own in enumerate(spots) for i in own[before[row] :]]
    places = torch.tensor([place(int(row), i) for row, i in zip(seats, ends, strict=True)])
    lengths, order = torch.tensor(ends) + 1, torch.arange(7)
    straight = [torch.zeros(48 * block, keys, size, dtype=dtype) for _ in range(2)]
    for begun in (None, Begun(slot, torch.zeros(7, dtype=torch.long), torch.tensor([20]))):
        for threads in (1, 2):
            with on_threads(threads):
                expected = attend_rows(*new, held, lengths, *straight, places, begun, order, 0.3, seats)
                strips = Strip(*blocks, stride)
                args = (lengths, *blocks, places, begun, order, 0.3, seats, Tables(tables, block))
                assert torch.equal(attend_rows(*new, strips, *args), expected)
    for found, written in zip(read_blocks(*blocks, places), new[1:], strict=True):
        assert torch.equal(found, written)


GUARDED = """
import ctypes, math, mmap, sys, torch
from denken.model.kernels.rows import BEHIND, PART, Strip, Tables, attend_rows
libc, size, areas = ctypes.CDLL(None), int(sys.argv[1]), []

def before_a_page_of_nobodys(shape, dtype):
    bytes_, room = math.prod(shape) * dtype.itemsize, BEHIND * dtype.itemsize
    whole = -(-(bytes_ + room) // mmap.PAGESIZE) * mmap.PAGESIZE
    areas.append(mmap.mmap(-1, whole + mmap.PAGESIZE))
    raw = torch.frombuffer(areas[-1], dtype=torch.uint8)
    assert libc.mprotect(ctypes.c_void_p(raw.data_ptr() + whole), mmap.PAGESIZE, 0) == 0
    return raw[whole - room - bytes_ : whole - room].view(dtype).view(shape)

for dtype in (torch.float32, torch.bfloat16):
    for rows in (1, 3, 13):
        blocks = [before_a_page_of_nobodys((2, 2, *shape), dtype) for shape in ((size, PART), (PART, size))]
        new = [torch.randn(rows, heads, size).to(dtype) for heads in (4, 2, 2)]
        seats, lengths = torch.zeros(rows, dtype=torch.long), torch.arange(32 - rows, 32) + 1
        seen = attend_rows(*new, Strip(*blocks, 32), lengths, *blocks, lengths - 1, None, torch.arange(rows), 0.3,
                           seats, Tables(torch.tensor([[0, 1]]), PART))
        assert torch.isfinite(seen).all()
"""


@native
@pytest.mark.skipif(not hasattr(mmap, "MAP_PRIVATE"), reason="no pages can be taken away here")
@pytest.mark.parametrize("size", [12, 16, 48, 80, 128])
def test_attention_reads_no_further_behind_blocks_than_it_says(size: int) -> None:
    """In a process of its own, which would end where it did."""
    done = subprocess.run([sys.executable, "-c", GUARDED, str(size)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
