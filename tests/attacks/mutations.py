"""Model folders with one thing wrong: bytes, lengths, JSON values, in the files that a stranger's model consists of.

`mutate(folder, seed)` changes one file of a good folder and says how; `verdict(folder)` does what is done with a model
that is loaded, and says what came of it. Used by `test_mutations.py` on a few hundred and `benchmarks/hostile.py` on
10,000.
"""

from __future__ import annotations

import json
import random
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from denken import assistant
from denken.errors import CheckpointError, ConfigError, DenkenError
from denken.export.source import Source
from denken.model import checkpoint

TEXTS = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "about.json")
WEIGHTS = "model.safetensors"
NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    7,
    31,
    32,
    255,
    2**15,
    2**31 - 1,
    2**31,
    2**53,
    2**63 - 1,
    2**63,
    2**64,
    10**30,
    0.5,
    -0.0,
    1e308,
    1e-320,
)
WORDS = (
    "",
    "x",
    "F32",
    "BF16",
    "I64",
    "llama",
    "deepseek_v3",
    "yarn",
    "../../etc/passwd",
    "\x00",
    "\ud800",
    "é" * 3000,
    "<think>",
)
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], {"a": {}}, [1, 2, 3], [-1], ["x"])
# What JSON has that Python's writer does not write.
RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "-",
    "tru",
    '{"a":1,"a":2}',
    "[" * 5000,
    '{"a":' * 3000,
    "0x10",
    "1_000",
    "9" * 5000,
)


def mutate(folder: Path, seed: int) -> str:
    """Changes one file of the folder; the same seed changes the same. Returns what was done."""
    draw = random.Random(seed)
    name = draw.choices((WEIGHTS, *TEXTS), (6, 6, 5, 2, 2, 1))[0]
    file = folder / name
    raw = file.read_bytes()
    if name == WEIGHTS:
        how, changed = draw.choice((_header, _header, _length, _bytes, _size))(raw, draw)
    else:
        how, changed = draw.choice((_json, _json, _json, _raw_json, _bytes, _size))(raw, draw)
    file.write_bytes(changed)
    return f"{name}: {how}"


def verdict(folder: Path) -> str:
    """Whether the folder is "used" or "refused"; what it must not do is raised as AssertionError, with the reason.

    Loading refuses with a CheckpointError or a ConfigError. What is only known once it is asked (numbers that are none,
    a context too small for a question) is any error of ours.
    """
    refusals: tuple[type[DenkenError], ...] = (CheckpointError, ConfigError)
    try:
        Source.open(folder)
        with torch.no_grad():
            checkpoint.load(folder)(torch.tensor([[1, 2, 3]]))
        with assistant.load(folder, threads=1) as loaded:
            refusals = (DenkenError,)
            loaded.ask("Was ist 17 mal 23? <think>\u00e4\n", params=replace(loaded.defaults, max_tokens=3, seed=1))
    except refusals as error:
        _check_sentence(str(error))
        return "refused"
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__}: {str(error)[:300]}") from error
    return "used"


def _check_sentence(text: str) -> None:
    """A sentence for a person: words, an end, nothing of Python's in it."""
    assert re.search(r"[.?)]$", text), f"no end: {text[-200:]!r}"
    assert len(text.split()) >= 5, f"no sentence: {text!r}"
    assert len(text) < 3000, f"{len(text)} characters: {text[:200]!r}"
    assert "Traceback" not in text, text


def _bytes(raw: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A few bytes are others."""
    changed = bytearray(raw)
    # The beginning is where the structure is.
    places = [draw.randrange(min(len(raw), draw.choice((16, 400, len(raw))))) for _ in range(draw.randint(1, 4))]
    for place in places:
        changed[place] = draw.choice((0, 0x22, 0x7B, 0x7D, 0xFF, draw.randrange(256)))
    return f"bytes {places}", bytes(changed)


def _size(raw: bytes, draw: random.Random) -> tuple[str, bytes]:
    """Cut short, emptied, or with something behind the end."""
    if draw.random() < 0.7:
        length = draw.choice((0, 1, 7, 8, 9, draw.randrange(len(raw)), len(raw) - 1))
        return f"cut to {length}", raw[:length]
    more = draw.choice((b"\0", b"}", raw, b"x" * 1000))
    return f"{len(more)} bytes more", raw + more


def _length(raw: bytes, draw: random.Random) -> tuple[str, bytes]:
    """The header's length lies."""
    length = draw.choice(
        (0, 1, 2, 2**63, 2**64 - 1, len(raw), len(raw) - 8, len(raw) - 9, draw.randrange(len(raw) * 2))
    )
    return f"header length {length}", struct.pack("<Q", length) + raw[8:]


def _header(raw: bytes, draw: random.Random) -> tuple[str, bytes]:
    """The header says something else, and is as long as it says."""
    (length,) = struct.unpack("<Q", raw[:8])
    how, header = draw.choice((_json, _json, _raw_json))(raw[8 : 8 + length], draw)
    return f"header {how}", struct.pack("<Q", len(header)) + header + raw[8 + length :]


def _json(raw: bytes, draw: random.Random) -> tuple[str, bytes]:
    """A value somewhere is another, is gone, or has a neighbour."""
    data = json.loads(raw)
    holder, key, path = _somewhere(data, draw)
    act = draw.random()
    if act < 0.2:
        del holder[key]
        how = "gone"
    elif act < 0.3 and isinstance(holder, dict):
        how = f"renamed to {(other := draw.choice(WORDS))[:20]!r}"
        holder[other] = holder.pop(key)
    elif act < 0.4 and isinstance(holder, list):
        holder.append(holder[key])
        how = "twice"
    elif act < 0.5:
        _, other_key, other_path = other = _somewhere(data, draw)
        holder[key] = json.loads(json.dumps(other[0][other_key]))
        how = f"as {other_path}"
    elif act < 0.6 and isinstance(holder[key], int):
        holder[key] += draw.choice((-1, 1, 64))
        how = "moved a little"
    else:
        holder[key] = draw.choice(draw.choice((NUMBERS, WORDS, OTHERS)))
        how = f"set to {str(holder[key])[:20]!r}"
    return f"{path} {how}", json.dumps(data).encode()


def _somewhere(data: Any, draw: random.Random) -> tuple[Any, Any, str]:
    """A value's holder and key, at any depth."""
    holder, path = data, ""
    while True:
        keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = draw.choice(keys[:3] + keys[-3:] if len(keys) > 40 and draw.random() < 0.5 else keys)
        path += f"/{str(key)[:30]}"
        inner = holder[key]
        if not isinstance(inner, dict | list) or not inner or draw.random() < 0.25:
            return holder, key, path
        holder = inner


def _raw_json(raw: bytes, draw: random.Random) -> tuple[str, bytes]:
    """What no JSON writer would write stands where a value stood."""
    data = json.loads(raw)
    holder, key, path = _somewhere(data, draw)
    other = draw.choice(RAW)
    holder[key] = "\u2603 here"
    return f"{path} as {other[:12]}", json.dumps(data, ensure_ascii=False).replace('"\u2603 here"', other).encode()


Mutation = Callable[[bytes, random.Random], tuple[str, bytes]]
