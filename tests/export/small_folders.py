"""Model folders for tests of what leaves: small random models with a vocabulary and what stands beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from denken.model import checkpoint
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.tokenizer import Tokenizer
from small_vocabulary import write_tokenizer

WORDS = ("What", " is", "Hallo", " and", "ß", " 17", "\n\n")


def write_model(folder: Path, family: str = "qwen3", *, dtype: torch.dtype = torch.float32, **shape: Any) -> Path:
    """A random model of a family, every bias and norm of it random, with a tokenizer of `WORDS`."""
    write_tokenizer(folder, words=WORDS)
    size = Tokenizer.load(folder).vocab_size
    sizes = {
        "vocab_size": size + 3,  # embeddings are often padded to a round number of rows
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.15,
    }
    torch.manual_seed(0)
    model = Transformer(ModelConfig(family, **(sizes | shape)))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    checkpoint.save(model.to(dtype), folder)
    settings = {"bos_token": "<｜begin▁of▁sentence｜>", "eos_token": {"content": "<｜end▁of▁sentence｜>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n\n# A model\n", encoding="utf-8")
    return folder
