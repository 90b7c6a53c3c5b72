"""Safetensors files: what is written reads back, here and in the format's own library; what lies is refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from denken.errors import CheckpointError
from denken.model import tensorfile

TENSORS = {
    "a": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "b": torch.tensor([1.5, -2.0, 3.0], dtype=torch.bfloat16),
    "c": torch.tensor([[0.5], [448.0], [-1.0]]).to(torch.float8_e4m3fn),
    "empty": torch.zeros(0, 4),
    "scalar": torch.tensor(2.0, dtype=torch.float16),
}


def raw_file(path: Path, header: object, numbers: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + numbers)
    return path


def entry(dtype: object = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_a_file_is_read_and_not_mapped(tmp_path: Path) -> None:
    """Mapped pages count as memory of the process: a model would take twice its size while it is loaded."""
    tensorfile.write(tmp_path / "f", TENSORS, {})
    maps = Path("/proc/self/maps")
    for _, tensor in tensorfile.read_tensors(tmp_path / "f", TENSORS):
        assert not maps.exists() or str(tmp_path / "f") not in maps.read_text()
        tensor.zero_()
    assert torch.equal(dict(tensorfile.read_tensors(tmp_path / "f", ["a"]))["a"], TENSORS["a"]), (
        "what is changed is ours"
    )


def test_a_file_that_shrinks_while_it_is_read_is_named(tmp_path: Path) -> None:
    tensorfile.write(tmp_path / "f", TENSORS, {})
    reading = tensorfile.read_tensors(tmp_path / "f", sorted(TENSORS))
    next(reading)
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(CheckpointError, match="cut short"):
        list(reading)


def test_ours_reads_there_and_theirs_here(tmp_path: Path) -> None:
    tensorfile.write(tmp_path / "ours", TENSORS, {"format": "pt"})
    save_file(TENSORS, tmp_path / "theirs")
    for tensors in (
        load_file(tmp_path / "ours"),
        dict(tensorfile.read_tensors(tmp_path / "ours", TENSORS)),
        dict(tensorfile.read_tensors(tmp_path / "theirs", TENSORS)),
    ):
        assert tensors.keys() == TENSORS.keys()
        for name, tensor in tensors.items():
            assert tensor.dtype == TENSORS[name].dtype
            assert tensor.shape == TENSORS[name].shape
            assert torch.equal(tensor.float(), TENSORS[name].float())
    for name in ("ours", "theirs"):
        entries, _ = tensorfile.read_header(tmp_path / name)
        assert {name: entry.shape for name, entry in entries.items()} == {n: tuple(t.shape) for n, t in TENSORS.items()}
    assert tensorfile.read_header(tmp_path / "ours")[1] == {"format": "pt"}


def test_views_and_shared_memory_are_written_out(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensorfile.write(tmp_path / "f", {"turned": base.T, "part": base[1], "again": base}, {})
    found = load_file(tmp_path / "f")
    assert torch.equal(found["turned"], base.T)
    assert torch.equal(found["part"], base[1])


@pytest.mark.parametrize(
    ("header", "numbers", "says"),
    [
        ({"x": entry()}, bytes(7), "cut short"),
        ({"x": entry()}, bytes(9), "cut short or appended"),
        ({"x": entry(offsets=[0, 4])}, bytes(4), "takes 8 bytes"),
        ({"x": entry(offsets=[8, 0])}, bytes(8), "takes 8 bytes"),
        ({"x": entry(offsets=[-8, 0])}, b"", "malformed"),
        ({"x": entry(offsets=[4, 12])}, bytes(12), "gap"),
        ({"x": entry(), "y": entry(offsets=[4, 12])}, bytes(12), "overlaps"),
        ({"x": entry(), "y": entry()}, bytes(8), "overlaps"),
        ({"x": entry(), "y": entry(offsets=[16, 24])}, bytes(24), "gap"),
        ({"x": entry(dtype="F99")}, bytes(8), "unknown dtype"),
        ({"x": entry(dtype=["F32"])}, bytes(8), "unknown dtype"),
        ({"x": entry(shape=[2.0])}, bytes(8), "malformed"),
        ({"x": entry(shape=[True, 2])}, bytes(8), "malformed"),
        ({"x": entry(shape=[-2, -1])}, bytes(8), "malformed"),
        ({"x": entry(shape=[1 << 62, 1 << 62])}, bytes(8), "takes"),
        ({"x": entry(shape=2)}, bytes(8), "malformed"),
        ({"x": entry() | {"more": 1}}, bytes(8), "nothing else"),
        ({"x": [1]}, bytes(8), "must give dtype"),
        ({"__metadata__": {"a": 1}}, b"", "strings"),
        ({"__metadata__": "pt"}, b"", "strings"),
        (b'{"x": {}, "x": {}}', b"", "twice"),
        (b'{"x": NaN}', b"", "not JSON"),
        (b"[" * 100_000, b"", "not valid JSON"),
        (b'{"x": ' + b"9" * 5000 + b"}", b"", "not valid JSON"),
        (b"[1, 2]", b"", "object is expected"),
        (b"\xff\xfe{}", b"", "not valid JSON"),
    ],
)
def test_lying_headers_are_refused(header: object, numbers: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=says):
        tensorfile.read_header(raw_file(tmp_path / "f", header, numbers))


@pytest.mark.parametrize(
    "raw", [b"", b"\x00" * 7, struct.pack("<Q", 1 << 63) + b"{}", struct.pack("<Q", 3) + b"{}", bytes(8) + b"{}"]
)
def test_lying_lengths_are_refused(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(raw)
    with pytest.raises(CheckpointError):
        tensorfile.read_header(tmp_path / "f")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(CheckpointError, match="missing or is not a file"):
            tensorfile.read_header(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_anywhere_is_refused_or_harmless(data: st.DataObject, tmp_path: Path) -> None:
    """Bytes of the header changed at random, or the file cut: never another error, never a tensor of another size."""
    tensorfile.write(tmp_path / "f", TENSORS, {"format": "pt"})
    raw = bytearray((tmp_path / "f").read_bytes())
    header_end = 8 + struct.unpack("<Q", raw[:8])[0]
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, header_end - 1))] = data.draw(st.integers(0, 255))
    keep = data.draw(st.one_of(st.just(len(raw)), st.integers(0, len(raw))))
    (tmp_path / "f").write_bytes(raw[:keep])
    try:
        entries, _ = tensorfile.read_header(tmp_path / "f")
        found = dict(tensorfile.read_tensors(tmp_path / "f", entries))
    except CheckpointError:
        return
    assert keep == len(raw)
    assert all(tuple(tensor.shape) == entries[name].shape for name, tensor in found.items())
