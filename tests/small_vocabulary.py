"""Tokenizer files for tests: a small one in the bundled vocabulary's form, and where the published ones lie."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from denken.chat import template
from denken.tokenizer import byte_characters

FAMILY = Path(__file__).parents[2] / "shared" / "data" / "family"
LLAMA_3_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL_NAMES = (
    template.BOS,
    template.EOS,
    "<｜▁pad▁｜>",
    template.USER,
    template.ASSISTANT,
    template.THINK,
    template.END_THINK,
    "<search>",
    "</search>",
    "<information>",
    "</information>",
    template.CALLS_BEGIN,
    template.CALLS_END,
    template.CALL_BEGIN,
    template.CALL_END,
    template.CALL_SEP,
    template.OUTPUTS_BEGIN,
    template.OUTPUTS_END,
    template.OUTPUT_BEGIN,
    template.OUTPUT_END,
)


def write_tokenizer(folder: Path, *, words: Sequence[str] = (), control: Sequence[str] = CONTROL_NAMES) -> Path:
    """A byte-level tokenizer.json: 256 bytes, whole words, no merges, control tokens as added special tokens."""
    characters = {byte: character for character, byte in byte_characters().items()}
    entries = [characters[byte] for byte in range(256)]
    entries += ["".join(characters[byte] for byte in word.encode()) for word in words]
    vocab = {entry: id_ for id_, entry in enumerate(dict.fromkeys(entries))}
    added = [{"id": len(vocab) + i, "content": name} for i, name in enumerate(control)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    split = {"type": "Split", "pattern": {"Regex": LLAMA_3_WORDS}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [token | flags for token in added],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "ignore_merges": True},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(spec), encoding="utf-8")
    return folder
