"""ONNX Runtime agrees with the model: all at once, token by token with the cache, and with padding beside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from small_folders import write_model

from denken.errors import ConfigError
from denken.export import onnx
from denken.model import checkpoint
from denken.model.rope import RopeScaling
from small_configs import SMALL_LATENT

pytest.importorskip("onnxscript")
onnxruntime = pytest.importorskip("onnxruntime")

LLAMA3 = RopeScaling("llama3", 8.0, original_max_position_embeddings=16)
CASES = {
    "llama": {"rope_scaling": LLAMA3, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
    "qwen2": {},
    "qwen3": {"head_dim": 10, "num_key_value_heads": 1},
}


class Session:
    """The file, asked step by step."""

    def __init__(self, file: Path) -> None:
        self.session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        self.cache = [entry for entry in self.session.get_inputs() if entry.name.startswith("past_key_values.")]

    def begin(self, rows: int) -> list:
        return [np.zeros((rows, entry.shape[1], 0, entry.shape[3]), np.float32) for entry in self.cache]

    def step(self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, past: list) -> tuple:
        fed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "position_ids": positions.numpy()}
        fed |= {entry.name: value for entry, value in zip(self.cache, past, strict=True)}
        logits, *present = self.session.run(None, fed)
        return torch.from_numpy(logits), present


@pytest.mark.parametrize("family", CASES)
def test_onnx_runtime_agrees(family: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", family, **CASES[family])
    out = onnx.export(folder, tmp_path / "out")
    assert {"model.onnx", "config.json", "tokenizer.json", "chat_template.jinja"} <= {p.name for p in out.iterdir()}
    session = Session(out / "model.onnx")
    model = checkpoint.load(folder).eval()
    ids = torch.randint(0, 250, (3, 11), generator=torch.Generator().manual_seed(0))
    ones, positions = torch.ones(3, 11, dtype=torch.long), torch.arange(11).expand(3, -1)
    with torch.no_grad():
        expected = model(ids)
    whole, _ = session.step(ids, ones, positions, session.begin(3))
    assert (whole - expected).abs().max() < 1e-4
    parts, past = [], session.begin(3)
    for begin, end in ((0, 7), (7, 8), (8, 11)):
        logits, past = session.step(ids[:, begin:end], ones[:, :end], positions[:, begin:end], past)
        parts.append(logits)
    assert (torch.cat(parts, dim=1) - expected).abs().max() < 1e-4
    # Padded on the left by two, as batches of prompts are.
    padded = torch.cat((torch.zeros(3, 2, dtype=torch.long), ids), dim=1)
    mask = torch.cat((torch.zeros(3, 2, dtype=torch.long), ones), dim=1)
    shifted = torch.cat((torch.zeros(3, 2, dtype=torch.long), positions), dim=1)
    logits, _ = session.step(padded, mask, shifted, session.begin(3))
    assert (logits[:, 2:] - expected).abs().max() < 1e-4


def test_what_is_not_covered_is_said(tmp_path: Path) -> None:
    latent = {name: value for name, value in SMALL_LATENT.items() if name != "vocab_size"}
    folder = write_model(tmp_path / "latent", "deepseek_v3", **latent)
    with pytest.raises(ConfigError, match="use --format hf"):
        onnx.export(folder, tmp_path / "out")
    folder = write_model(tmp_path / "dynamic", "llama", rope_scaling=RopeScaling("dynamic", 2.0))
    with pytest.raises(ConfigError, match="dynamically"):
        onnx.export(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
