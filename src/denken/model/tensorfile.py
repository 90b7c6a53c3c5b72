"""One safetensors file: its header checked before anything trusts it, and written whole or not at all.

The format (huggingface/safetensors, "Format"): eight bytes little-endian N, N bytes of JSON that give each tensor's
dtype, shape and place, then the numbers. Files come from strangers, so every claim of the header is held against the
others and against the file's length. Folders of such files are `checkpoint.py`'s.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from denken.errors import CheckpointError, quoted

LONGEST_HEADER = 100_000_000  # bytes; the format's own limit
LONGEST_JSON = 256 << 20  # bytes; an index of R1's 91,991 tensors takes 9 MB

_BITS = {
    **{"BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8},
    **{"I16": 16, "U16": 16, "F16": 16, "BF16": 16},
    **{"I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64},
}
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
}
INTEGERS = {"I8": torch.int8, "I32": torch.int32, "I64": torch.int64}  # codes of quantised layers
_READ = DTYPES | INTEGERS
_NAMES = {dtype: name for name, dtype in _READ.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """What a header says of one tensor: its dtype in the format's words, its shape, its bytes in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def parse_json(raw: bytes, what: str) -> dict[str, Any]:
    """Strict JSON of an object: UTF-8, no key twice, no NaN; CheckpointError naming `what` otherwise."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key appears twice")
        return found

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    try:
        data = json.loads(raw.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is not valid JSON ({error}); fetch or write it again.") from error
    if not isinstance(data, dict):
        raise CheckpointError(f"{what} holds a JSON {type(data).__name__} where an object is expected.")
    return data


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size; CheckpointError where it cannot be read."""
    try:
        with open(path, "rb") as file:
            raw = file.read(LONGEST_JSON + 1)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); give the folder of a whole model.") from error
    if len(raw) > LONGEST_JSON:
        raise CheckpointError(f"{path} is longer than {LONGEST_JSON >> 20} MiB; this is no configuration or index.")
    return parse_json(raw, str(path))


def read_header(path: Path) -> tuple[dict[str, Entry], dict[str, str]]:
    """The tensors of a file by name, and its metadata.

    Raises CheckpointError unless lengths, names, dtypes, shapes and offsets all agree with each other and with the
    file's size, without overlaps, gaps or bytes left over.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing or is not a file; fetch the model again.")
    size = path.stat().st_size
    with open(path, "rb") as file:
        prefix = file.read(8)
        if len(prefix) < 8:
            raise CheckpointError(f"{path} has {size} bytes, too few for a safetensors file; fetch or save it again.")
        (length,) = struct.unpack("<Q", prefix)
        if not 2 <= length <= min(LONGEST_HEADER, size - 8):
            raise CheckpointError(
                f"{path} claims a header of {length} bytes in a file of {size}; it is damaged, cut short "
                "or not a safetensors file. Fetch or save it again."
            )
        data = parse_json(file.read(length), f"The header of {path}")
    metadata = data.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise CheckpointError(f"{path}: the header's __metadata__ must map names to strings.")
    entries = {name: _entry(path, name, found) for name, found in data.items()}
    _check_layout(path, entries, size - 8 - length)
    return entries, metadata


def _entry(path: Path, name: str, found: Any) -> Entry:
    if not isinstance(found, dict) or found.keys() != {"dtype", "shape", "data_offsets"}:
        raise CheckpointError(
            f"{path}: tensor {quoted(name)} must give dtype, shape and data_offsets, and nothing else."
        )
    dtype, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise CheckpointError(f"{path}: tensor {quoted(name)} has the unknown dtype {quoted(dtype)}.")
    if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or len(shape) > 16:
        raise CheckpointError(f"{path}: tensor {quoted(name)} has a malformed shape or data_offsets.")
    begin, end = offsets
    needed = math.prod(shape) * _BITS[dtype] // 8
    if end - begin != needed:
        raise CheckpointError(
            f"{path}: tensor {quoted(name)} of shape {shape} in {dtype} takes {needed} bytes, "
            f"but the header gives it {end - begin}; the file is damaged."
        )
    return Entry(dtype, tuple(shape), begin, end)


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(i) is int and 0 <= i < 1 << 63 for i in value)


def _check_layout(path: Path, entries: Mapping[str, Entry], size: int) -> None:
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            what = "overlaps the tensor before it" if entry.begin < position else "leaves a gap before it"
            raise CheckpointError(f"{path}: tensor {quoted(name)} {what}; the file is damaged.")
        position = entry.end
    if position != size:
        raise CheckpointError(
            f"{path} holds {size} bytes of tensors where its header describes {position}; "
            "it was cut short or appended to. Fetch or save it again."
        )


def read_tensors(path: Path, names: Iterable[str]) -> Iterator[tuple[str, Tensor]]:
    """Tensors by name, one at a time, each in memory of its own.

    The file is read, not mapped: mapped pages would count as this process's memory beside the tensors made of them.
    """
    entries, _ = read_header(path)
    with open(path, "rb", buffering=0) as file:
        numbers = path.stat().st_size - max((entry.end for entry in entries.values()), default=0)
        for name in names:
            entry = entries.get(name)
            dtype = None if entry is None else _READ.get(entry.dtype)
            if entry is None or dtype is None:
                raise CheckpointError(f"{path} has no tensor {quoted(name)} that can be read; fetch or save it again.")
            tensor = torch.empty(entry.shape, dtype=dtype)
            bytes_: Any = tensor.reshape(-1).view(torch.uint8).numpy()
            room = memoryview(bytes_)
            file.seek(numbers + entry.begin)
            while len(room):
                count = file.readinto(room)
                if not count:
                    raise CheckpointError(f"{path} was cut short while it was read; fetch or save it again.")
                room = room[count:]
            yield name, tensor


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a file and waits until it is on the disk. Tensors: on the CPU, in one of `DTYPES` or `INTEGERS`."""
    # Widest first, as other writers do: every tensor then starts at a multiple of its own width.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    position = 0
    for name in order:
        tensor = tensors[name]
        size = tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [position, position + size],
        }
        position += size
    raw = json.dumps(header, separators=(",", ":")).encode()
    raw += b" " * (-len(raw) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for name in order:
            numbers: Any = tensors[name].contiguous().reshape(-1).view(torch.uint8).numpy()
            file.write(numbers)
        file.flush()
        os.fsync(file.fileno())
