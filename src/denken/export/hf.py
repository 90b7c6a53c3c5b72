"""A folder that `transformers`, vLLM and whatever else reads Hugging Face's layout open, with the same logits.

A folder of denken's is nearly that already. What is added: the chat template, the ids that begin and end a text where
these programs look for them, one precision (fp8 becomes bf16, which every machine can compute in), and nothing that is
not the model's (multi-token-prediction layers, optimiser states). Weights go through tensor by tensor.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from denken import about
from denken.export.source import Source, replacing
from denken.model import checkpoint
from denken.model.config import ModelConfig

# The last is `engine/ngrams.py`'s: what a model is known to say, a smaller copy of it says as well.
COPIED = ("tokenizer.json", about.FILE, "README.md", "LICENSE", "draft.ngrams")


def export(folder: Path, out: Path, *, max_shard_bytes: int = 5_000_000_000) -> Path:
    """Writes the model of `folder` to the new folder `out`, and returns it.

    Raises CheckpointError or ConfigError where `folder` holds no whole model, or `out` is taken.
    """
    source = Source.open(folder)
    with replacing(Path(out)) as unfinished:
        unfinished.mkdir()
        write_texts(source, unfinished)
        checkpoint.write(
            checkpoint.blank(config_of(source)),
            source.weights.read,
            unfinished,
            dtype=source.weights.dtype,
            max_shard_bytes=max_shard_bytes,
        )
    return Path(out)


def write_texts(source: Source, out: Path) -> None:
    """All but the weights: config.json, tokenizer, generation's settings, template, model card, `about.json`."""
    about.read_about(source.folder)
    for name in COPIED:
        if (source.folder / name).is_file():
            shutil.copyfile(source.folder / name, out / name)
    _write(out / "config.json", config_of(source).to_hf())
    _write(out / "generation_config.json", _generation(source))
    _write(out / "tokenizer_config.json", _settings(source))
    if source.template:
        (out / "chat_template.jinja").write_text(source.template, encoding="utf-8")


def config_of(source: Source) -> ModelConfig:
    """The configuration with the ids that begin, end and pad a text, and without layers that are never built."""
    ends = source.eos_ids
    return replace(
        source.config,
        bos_token_id=source.bos_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=source.pad_id,
        num_nextn_predict_layers=0,
    )


def _generation(source: Source) -> dict[str, Any]:
    ids = {"bos_token_id": source.bos_id, "pad_token_id": source.pad_id}
    known = {name: id_ for name, id_ in ids.items() if id_ is not None}
    return {**source.generation, **known, "eos_token_id": list(source.eos_ids)}


def _settings(source: Source) -> dict[str, Any]:
    """The template stands here, too, for programs from before chat_template.jinja."""
    found = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": source.config.max_position_embeddings,
        "clean_up_tokenization_spaces": False,
        **source.settings,
    }
    return {**found, "chat_template": source.template} if source.template else found


def _write(file: Path, data: dict[str, Any]) -> None:
    file.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
