"""Folders of weights: saved = loaded, fp8 as DeepSeek stores it, and clear words for what does not fit."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from denken.errors import CheckpointError, ConfigError
from denken.model import checkpoint, fp8, tensorfile
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from small_configs import SMALL, SMALL_LATENT

DENSE = ModelConfig("qwen3", **SMALL, num_key_value_heads=2, eos_token_id=(3, 4))
TIED = ModelConfig("llama", **SMALL, tie_word_embeddings=True)
LATENT = ModelConfig(
    "deepseek_v3",
    **SMALL_LATENT,
    num_nextn_predict_layers=1,
)


def made(config: ModelConfig) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(config)
    for name, buffer in model.named_buffers():
        assert name.endswith("e_score_correction_bias")
        torch.nn.init.normal_(buffer)
    return model


def change_weights(folder: Path, change: object) -> None:
    """Passes the tensors of model.safetensors through `change` and writes what it leaves."""
    tensors = load_file(folder / checkpoint.SINGLE)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, folder / checkpoint.SINGLE)


def change_config(folder: Path, **changes: object) -> None:
    data = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(data | changes), "utf-8")


def assert_same_state(a: Transformer, b: Transformer) -> None:
    left, right = a.state_dict(), b.state_dict()
    assert left.keys() == right.keys()
    for name in left:
        assert left[name].dtype == right[name].dtype
        assert torch.equal(left[name], right[name]), name


@pytest.mark.parametrize("config", [DENSE, TIED, LATENT], ids=["dense", "tied", "latent"])
@pytest.mark.parametrize("max_shard_bytes", [10_000_000, 9_000, 1])
def test_saved_is_loaded(config: ModelConfig, max_shard_bytes: int, tmp_path: Path) -> None:
    model = made(config)
    checkpoint.save(model, tmp_path, max_shard_bytes=max_shard_bytes)
    loaded = checkpoint.load(tmp_path)
    assert loaded.config == checkpoint.read_config(tmp_path) == config
    assert_same_state(loaded, model)
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert (tmp_path / checkpoint.INDEX).exists() == (max_shard_bytes < 10_000_000)
    assert not list(tmp_path.glob(".*"))


def test_loaded_weights_do_not_hang_on_the_file(tmp_path: Path) -> None:
    model = made(DENSE)
    checkpoint.save(model, tmp_path)
    loaded = checkpoint.load(tmp_path)
    (tmp_path / checkpoint.SINGLE).write_bytes(b"")
    assert_same_state(loaded, model)


def test_precision_on_disk_and_in_memory(tmp_path: Path) -> None:
    model = made(LATENT)
    checkpoint.save(model, tmp_path, dtype=torch.bfloat16)
    assert json.loads((tmp_path / "config.json").read_text("utf-8"))["dtype"] == "bfloat16"
    kept, widened = checkpoint.load(tmp_path), checkpoint.load(tmp_path, dtype=torch.float32)
    bias = "model.layers.1.mlp.gate.e_score_correction_bias"
    assert {t.dtype for name, t in kept.state_dict().items() if name != bias} == {torch.bfloat16}
    assert {t.dtype for t in widened.state_dict().values()} == {torch.float32}
    # The router's bias never leaves fp32.
    assert torch.equal(kept.state_dict()[bias], model.state_dict()[bias])
    assert torch.equal(widened.head_weight, model.head_weight.bfloat16().float())
    with pytest.raises(CheckpointError, match="bfloat16"):
        checkpoint.save(model, tmp_path, dtype=torch.int8)


def test_mixed_precision_files_become_one(tmp_path: Path) -> None:
    checkpoint.save(made(DENSE), tmp_path, dtype=torch.bfloat16)
    change_weights(tmp_path, lambda t: t.update({n: x.float() for n, x in t.items() if "norm" in n}))
    model = checkpoint.load(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert model(torch.tensor([[1, 2]])).isfinite().all()


def test_fp8_blocks_of_odd_sizes() -> None:
    torch.manual_seed(0)
    weight = torch.randn(300, 130) * torch.logspace(-3, 2, 300)[:, None]
    codes, scale = fp8.quantise(weight)
    assert (codes.dtype, codes.shape, scale.shape) == (torch.float8_e4m3fn, (300, 130), (3, 2))
    back = fp8.dequantise(codes, scale)
    for row in range(3):
        for column in range(2):
            block = (slice(128 * row, 128 * row + 128), slice(128 * column, 128 * column + 128))
            assert torch.equal(back[block], codes[block].float() * scale[row, column])
            largest = weight[block].abs().max()
            assert scale[row, column] == largest / 448
            # e4m3 has three bits of mantissa: half a step is one part in sixteen, or the smallest step.
            allowed = (weight[block].abs() / 16).clamp(min=largest / 448 * 2**-10)
            assert ((back[block] - weight[block]).abs() <= 1.001 * allowed).all()
    assert torch.equal(fp8.dequantise(*fp8.quantise(torch.zeros(5, 5))), torch.zeros(5, 5))


def test_fp8_folders(tmp_path: Path) -> None:
    model = made(LATENT)
    checkpoint.save(model, tmp_path, dtype=torch.float8_e4m3fn, max_shard_bytes=9_000)
    entries = checkpoint._Files.open(tmp_path).entries
    projection = "model.layers.0.self_attn.o_proj.weight"
    assert (entries[projection].dtype, entries[projection + "_scale_inv"].dtype) == ("F8_E4M3", "F32")
    for name in ("lm_head.weight", "model.embed_tokens.weight", "model.norm.weight", "model.layers.1.mlp.gate.weight"):
        assert entries[name].dtype == "BF16"
    loaded = checkpoint.load(tmp_path, dtype=torch.float32)
    for name, tensor in loaded.state_dict().items():
        stored = model.state_dict()[name]
        if entries[name].dtype == "F8_E4M3":
            stored = fp8.dequantise(*fp8.quantise(stored))
        elif not name.endswith("e_score_correction_bias"):
            stored = stored.bfloat16().float()
        assert torch.equal(tensor, stored), name
    assert checkpoint.load(tmp_path).head_weight.dtype == torch.bfloat16


def test_fp8_without_its_scales_is_refused(tmp_path: Path) -> None:
    checkpoint.save(made(DENSE), tmp_path, dtype=torch.float8_e4m3fn)
    name = "model.layers.1.mlp.up_proj.weight_scale_inv"
    change_weights(tmp_path, lambda t: t.update({name: torch.ones(2, 1)}))
    with pytest.raises(CheckpointError, match=r"shape \[1, 1\], found \[2, 1\]"):
        checkpoint.load(tmp_path)
    change_weights(tmp_path, lambda t: t.pop(name))
    with pytest.raises(CheckpointError, match="found none"):
        checkpoint.load(tmp_path)


def test_other_quantisations_are_refused(tmp_path: Path) -> None:
    checkpoint.save(made(DENSE), tmp_path)
    change_config(tmp_path, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(CheckpointError, match="'gptq'"):
        checkpoint.load(tmp_path)
    change_config(tmp_path, quantization_config=None)
    change_weights(tmp_path, lambda t: t.update({"model.norm.weight": t["model.norm.weight"].to(torch.int8)}))
    with pytest.raises(CheckpointError, match="stored as I8"):
        checkpoint.load(tmp_path)


def test_multi_token_prediction_layers_stay_unread(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = made(LATENT)
    checkpoint.save(model, tmp_path)
    extra = {
        "model.layers.2.eh_proj.weight": torch.zeros(32, 64),
        "model.layers.2.self_attn.o_proj.weight": torch.zeros(2, 2).to(torch.float8_e4m3fn),
        "model.layers.2.self_attn.o_proj.weight_scale_inv": torch.ones(1, 1),
    }
    change_weights(tmp_path, lambda t: t.update(extra))
    with caplog.at_level(logging.INFO, logger="denken"):
        assert_same_state(checkpoint.load(tmp_path), model)
    assert "3 tensors are not part of the model" in caplog.text
    assert checkpoint.skipped_tensors(tmp_path) == tuple(sorted(extra))
    change_config(tmp_path, num_nextn_predict_layers=0)
    with pytest.raises(CheckpointError, match=r"unexpected: 'model\.layers\.2"):
        checkpoint.load(tmp_path)


def test_tied_heads(tmp_path: Path) -> None:
    model = made(TIED)
    checkpoint.save(model, tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / checkpoint.SINGLE)
    change_weights(tmp_path, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    assert_same_state(checkpoint.load(tmp_path), model)
    change_weights(tmp_path, lambda t: t["lm_head.weight"].add_(1))
    with pytest.raises(CheckpointError, match="set tie_word_embeddings to false"):
        checkpoint.load(tmp_path)
    change_config(tmp_path, tie_word_embeddings=False)
    assert torch.equal(checkpoint.load(tmp_path).head_weight, model.head_weight + 1)
    change_weights(tmp_path, lambda t: t.pop("lm_head.weight"))
    with pytest.raises(CheckpointError, match="set tie_word_embeddings to true"):
        checkpoint.load(tmp_path)


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    checkpoint.save(made(DENSE), tmp_path)
    change_config(tmp_path, intermediate_size=41)
    with pytest.raises(CheckpointError, match=r"mlp\.gate_proj\.weight has shape \[40, 32\].* asks for \[41, 32\]"):
        checkpoint.load(tmp_path)
    change_config(tmp_path, intermediate_size=40, num_hidden_layers=3)
    with pytest.raises(CheckpointError, match=r"missing: 'model\.layers\.2\..* and 7 more"):
        checkpoint.load(tmp_path)
    change_config(tmp_path, num_hidden_layers=1000)
    with pytest.raises(CheckpointError, match="at least 8000 tensors"):
        checkpoint.load(tmp_path)
    change_config(tmp_path, num_hidden_layers=2, model_type="qwen4")
    with pytest.raises(ConfigError, match="qwen4"):
        checkpoint.load(tmp_path)


def test_what_is_no_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a folder"):
        checkpoint.load(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"config\.json cannot be read"):
        checkpoint.load(tmp_path)
    (tmp_path / "config.json").write_text("{", "utf-8")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        checkpoint.read_config(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(DENSE.to_hf()), "utf-8")
    with pytest.raises(CheckpointError, match="neither"):
        checkpoint.load(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(CheckpointError, match="pickle"):
        checkpoint.load(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    checkpoint.save(made(DENSE), tmp_path)
    path = tmp_path / checkpoint.SINGLE
    raw = path.read_bytes()
    for length in (0, 5, 100, len(raw) // 2, len(raw) - 1):
        path.write_bytes(raw[:length])
        with pytest.raises(CheckpointError, match=r"model\.safetensors"):
            checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    "name", ["../other.safetensors", "/etc/passwd", "a/b.safetensors", "..", "model.bin", "", 7, "x\n.safetensors"]
)
def test_shards_stay_in_the_folder(name: object, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    checkpoint.save(made(DENSE), folder, max_shard_bytes=1)
    os.replace(folder / "model-00001-of-00025.safetensors", tmp_path / "other.safetensors")
    index = json.loads((folder / checkpoint.INDEX).read_text("utf-8"))
    first = next(n for n, file in index["weight_map"].items() if "00001" in file)
    index["weight_map"][first] = name
    (folder / checkpoint.INDEX).write_text(json.dumps(index), "utf-8")
    with pytest.raises(CheckpointError, match=r"must be a \.safetensors file in the folder"):
        checkpoint.load(folder)


def test_incomplete_and_mixed_shards_are_refused(tmp_path: Path) -> None:
    checkpoint.save(made(DENSE), tmp_path / "a", max_shard_bytes=20_000)
    checkpoint.save(made(DENSE), tmp_path / "b", max_shard_bytes=20_000)
    shard = sorted(path.name for path in (tmp_path / "a").glob("model-*"))[1]
    os.replace(tmp_path / "b" / shard, tmp_path / "a" / shard)
    with pytest.raises(CheckpointError, match="different saves"):
        checkpoint.load(tmp_path / "a")
    with pytest.raises(CheckpointError, match="missing or is not a file"):
        checkpoint.load(tmp_path / "b")
    tensorfile.write(tmp_path / "b" / shard, {"x": torch.zeros(1)}, {})
    with pytest.raises(CheckpointError, match=r"which model\.safetensors\.index\.json promises"):
        checkpoint.load(tmp_path / "b")


def test_an_earlier_save_leaves_nothing_behind(tmp_path: Path) -> None:
    model = made(DENSE)
    checkpoint.save(model, tmp_path, max_shard_bytes=9_000)
    (tmp_path / "tokenizer.json").write_text("{}", "utf-8")
    checkpoint.save(model, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors", "tokenizer.json"]
    checkpoint.save(model, tmp_path, max_shard_bytes=30_000)
    assert not (tmp_path / checkpoint.SINGLE).exists()
    assert_same_state(checkpoint.load(tmp_path), model)


def test_a_save_that_fails_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = made(DENSE)
    checkpoint.save(old, tmp_path)
    write = tensorfile.write

    def full_disk(path: Path, *arguments: object) -> None:
        write(path, *arguments)  # type: ignore[arg-type]
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensorfile, "write", full_disk)
    torch.manual_seed(1)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(Transformer(DENSE), tmp_path)
    assert_same_state(checkpoint.load(tmp_path), old)
