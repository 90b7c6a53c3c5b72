"""int8 and int4 layers: packed by hand, read back, computed as they are written down, and refused where they lie."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from denken.errors import CheckpointError
from denken.model import checkpoint
from denken.model.config import ModelConfig
from denken.model.kernels import integers
from denken.model.quantized import INT8, QuantizedLinear, Scheme, dequantise, pack, to_hf, unpack
from denken.model.transformer import Transformer
from small_configs import SMALL_LATENT

INT4 = Scheme(4, 32)
SIZES: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.1,
}
QWEN2 = ModelConfig("qwen2", **SIZES, tie_word_embeddings=True)
LATENT = ModelConfig("deepseek_v3", **SMALL_LATENT | {"hidden_size": 64, "kv_lora_rank": 32})
Tensors = dict[str, Tensor]


def quantised(config: ModelConfig, scheme: Scheme, *names: str) -> Transformer:
    """A random model whose linear layers of these last names are rounded plainly."""
    torch.manual_seed(0)
    model = Transformer(config).eval()
    last = names or ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    layers = {
        name: scheme
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.rpartition(".")[2] in last and scheme.fits(module.in_features)
    }
    state = model.state_dict()
    for name in layers:
        weight = state.pop(f"{name}.weight")
        groups = weight.unflatten(1, (scheme.groups(weight.shape[1]), -1))
        scale = groups.abs().amax(dim=2) / scheme.levels[1]
        codes = (groups / scale[..., None]).round().flatten(1).to(torch.int8)
        state |= {f"{name}.{last}": tensor for last, tensor in scheme.tensors(codes, scale).items()}
    made = checkpoint.blank(config, layers)
    made.load_state_dict(state, assign=True)
    return made.eval()


def distance(ours: Tensor, theirs: Tensor) -> float:
    """The root mean square of the difference, in standard deviations of the logits."""
    return ((ours - theirs).square().mean().sqrt() / theirs.std()).item()


def test_eight_codes_make_a_word_the_first_in_the_lowest_bits() -> None:
    """By hand: 8 is added, so -8 -7 -1 0 1 2 6 7 are the digits 0 1 7 8 9 a e f, written from the right."""
    codes = torch.tensor([[-8, -7, -1, 0, 1, 2, 6, 7]], dtype=torch.int8)
    assert pack(codes).item() == 0xFEA98710 - (1 << 32)
    assert torch.equal(unpack(pack(codes)), codes)
    every = torch.arange(-8, 8, dtype=torch.int8).repeat(3, 4)
    assert torch.equal(unpack(pack(every)), every)
    assert pack(every).shape == (3, 8)


def test_a_layer_by_hand() -> None:
    """x = (127, -63.5) becomes the codes 127 and -64 (the even one), with a scale of 1."""
    layer = QuantizedLinear(2, 1, INT8, bias=True)
    layer.load_state_dict(
        {
            "weight": torch.tensor([[3, 5]], dtype=torch.int8),
            "weight_scale": torch.tensor([[0.5]]),
            "bias": torch.tensor([10.0]),
        }
    )
    assert layer(torch.tensor([[[127.0, -63.5]]])).item() == 0.5 * (127 * 3 - 64 * 5) + 10
    assert layer(torch.zeros(1, 2)).item() == 10


@pytest.mark.parametrize("scheme", [INT8, INT4, Scheme(4, 64)], ids=str)
def test_a_layer_is_the_arithmetic_that_is_written_down(scheme: Scheme) -> None:
    torch.manual_seed(1)
    low, high = scheme.levels
    codes = torch.randint(low, high + 1, (24, 128), dtype=torch.int8)
    scale = torch.rand(24, scheme.groups(128)) * 0.01
    layer = QuantizedLinear(128, 24, scheme)
    layer.load_state_dict(scheme.tensors(codes, scale))
    assert all(torch.equal(*pair) for pair in zip(layer.stored(), (codes, scale), strict=True))
    rows = torch.randn(2, 5, 128) * 3
    step = rows.abs().amax(dim=-1, keepdim=True) / 127
    wide = ((rows / step).round() * step).double() @ dequantise(codes, scale).double().t()
    torch.testing.assert_close(layer(rows).double(), wide, rtol=1e-5, atol=1e-4)
    ours = integers.reference(rows.flatten(0, 1), codes, scale[:, 0] if scheme.bits == 8 else scale)
    torch.testing.assert_close(layer(rows).flatten(0, 1), ours, rtol=1e-5, atol=1e-5)
    assert layer(rows.bfloat16()).dtype == torch.bfloat16


def test_scales_stay_fp32_and_what_was_loaded_counts() -> None:
    layer = QuantizedLinear(32, 8, INT4)
    rows = torch.randn(3, 32)
    assert not layer(rows).any()
    layer.load_state_dict(INT4.tensors(torch.ones(8, 32, dtype=torch.int8), torch.full((8, 1), 1 / 3)))
    before = layer(rows)
    assert before.any()
    assert layer.to(torch.bfloat16).weight_scale.dtype == torch.float32
    assert torch.equal(layer(rows), before)
    assert not list(layer.parameters())


@pytest.mark.parametrize("scheme", [INT8, INT4], ids=str)
def test_a_layer_that_computes_holds_its_numbers_once(scheme: Scheme) -> None:
    torch.manual_seed(2)
    low, high = scheme.levels
    tensors = scheme.tensors(
        torch.randint(low, high + 1, (24, 64), dtype=torch.int8), torch.rand(24, scheme.groups(64))
    )
    layer = QuantizedLinear(64, 24, scheme)
    layer.load_state_dict(tensors)
    before, weight = layer(torch.ones(1, 64)), layer.dequantised()
    assert all(buffer.is_meta for buffer in layer.buffers())
    assert torch.equal(layer.dequantised(), weight)
    state = layer.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in tensors.items())
    assert torch.equal(layer.to(torch.bfloat16)(torch.ones(1, 64)), before)


@pytest.mark.parametrize("scheme", [INT8, INT4], ids=str)
@pytest.mark.parametrize("max_shard_bytes", [10_000_000, 3_000])
def test_saved_is_loaded(scheme: Scheme, max_shard_bytes: int, tmp_path: Path) -> None:
    model = quantised(QWEN2, scheme)
    checkpoint.save(model, tmp_path, max_shard_bytes=max_shard_bytes)
    again = checkpoint.load(tmp_path)
    left, right = model.state_dict(), again.state_dict()
    assert left.keys() == right.keys()
    assert all(left[name].dtype == right[name].dtype and torch.equal(left[name], right[name]) for name in left)
    ids = torch.arange(12)[None]
    assert torch.equal(model(ids), again(ids))


def test_a_folder_can_be_had_whole(tmp_path: Path) -> None:
    model = quantised(QWEN2, INT4)
    checkpoint.save(model, tmp_path)
    whole, weights = checkpoint.load(tmp_path, whole=True), checkpoint.Weights.open(tmp_path)
    name = "model.layers.1.mlp.down_proj"
    assert weights.quantised[name] == INT4
    assert torch.equal(whole.get_submodule(name).weight, model.get_submodule(name).dequantised())
    assert weights.shapes.keys() == whole.state_dict().keys()
    for other, tensor in whole.state_dict().items():
        assert torch.equal(weights.read(other), tensor)


def test_the_rest_is_stored_in_the_precision_asked_for(tmp_path: Path) -> None:
    checkpoint.save(quantised(QWEN2, INT8), tmp_path, dtype=torch.bfloat16)
    assert checkpoint.Weights.open(tmp_path).dtype == torch.bfloat16
    stored = load_file(tmp_path / checkpoint.SINGLE)
    kinds = {name: stored[f"model.layers.0.self_attn.q_proj.{name}"].dtype for name in ("weight", "weight_scale")}
    assert kinds == {"weight": torch.int8, "weight_scale": torch.bfloat16}
    with pytest.raises(CheckpointError, match="cannot be saved as fp8"):
        checkpoint.save(quantised(QWEN2, INT8), tmp_path, dtype=torch.float8_e4m3fn)


def test_experts_are_quantised_and_what_is_read_directly_becomes_whole(tmp_path: Path) -> None:
    """DeepSeek's kv_b_proj is taken apart where its keys are absorbed, so it may be stored as codes, not stay so."""
    model = quantised(LATENT, INT8, "gate_proj", "up_proj", "o_proj", "kv_b_proj")
    checkpoint.save(model, tmp_path)
    loaded = checkpoint.load(tmp_path, dtype=torch.float32)
    attention = loaded.blocks[0].self_attn
    assert isinstance(attention.o_proj, QuantizedLinear)
    assert isinstance(attention.kv_b_proj, nn.Linear)
    experts = [name for name, m in loaded.named_modules() if isinstance(m, QuantizedLinear) and ".experts." in name]
    assert experts
    assert torch.equal(attention.kv_b_proj.weight, model.blocks[0].self_attn.kv_b_proj.dequantised())
    ids = torch.arange(20)[None]
    assert distance(loaded(ids), checkpoint.load(tmp_path, whole=True)(ids)) < 0.1


def test_several_schemes_in_one_folder(tmp_path: Path) -> None:
    model = quantised(QWEN2, INT4, "q_proj")
    layers = {"model.layers.0.mlp.up_proj": INT8, "model.layers.1.mlp.up_proj": INT8}
    state = model.state_dict()
    for name in layers:
        rows, columns = state.pop(f"{name}.weight").shape
        codes = torch.randint(-127, 128, (rows, columns), dtype=torch.int8)
        state |= {f"{name}.{last}": t for last, t in INT8.tensors(codes, torch.rand(rows, 1) * 0.01).items()}
    all_layers = layers | dict.fromkeys([n for n, m in model.named_modules() if isinstance(m, QuantizedLinear)], INT4)
    mixed = checkpoint.blank(QWEN2, all_layers)
    mixed.load_state_dict(state, assign=True)
    checkpoint.save(mixed, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["quantization_config"]["format"] == "mixed-precision"
    assert dict(checkpoint.Weights.open(tmp_path).quantised) == dict(sorted(all_layers.items()))
    assert torch.equal(checkpoint.load(tmp_path)(torch.arange(9)[None]), mixed(torch.arange(9)[None]))


def _cut(tensors: Tensors, name: str) -> None:
    tensors[name] = tensors[name][:, :-1].contiguous()


PACKED = "model.layers.0.mlp.up_proj.weight_packed"
SCALE, SHAPE = PACKED.replace("_packed", "_scale"), PACKED.replace("_packed", "_shape")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: _cut(t, PACKED), "speaks of"),
        (lambda t: _cut(t, SCALE), "speaks of"),
        (lambda t: t.update({SCALE: torch.ones(96, 8)}), "speaks of"),
        (lambda t: t.update({SCALE: torch.ones(96, 0)}), "speaks of"),
        (lambda t: t.update({SCALE: torch.ones(95, 2)}), "has shape"),
        (lambda t: t.update({SCALE: t[SCALE].to(torch.float8_e4m3fn)}), "fp8"),
        (lambda t: t.update({SCALE: t[SCALE].to(torch.int8)}), "stored as I8"),
        (lambda t: t.update({PACKED: t[PACKED].to(torch.int64)}), "stored as I64"),
        (lambda t: t.update({PACKED: t[PACKED].flatten()}), "has shape|speaks of"),
        (lambda t: t.update({SHAPE: torch.tensor([96, 1 << 40])}), "is not"),
        (lambda t: t.update({SHAPE: torch.tensor([96.0, 64.0])}), "stored as F32"),
        (lambda t: t.pop(SCALE), "missing"),
        (lambda t: t.pop(SHAPE), "missing"),
        (lambda t: t.update({SCALE.replace("_scale", "_zero_point"): torch.ones(1)}), "unexpected"),
        (lambda t: t.update({SCALE.replace("_scale", "_g_idx"): torch.ones(1)}), "unexpected"),
        (lambda t: t.update({"model.norm.weight_scale": torch.ones(1, 1)}), "unexpected"),
    ],
)
def test_damaged_layers_are_refused(change: Callable[[Tensors], None], said: str, tmp_path: Path) -> None:
    checkpoint.save(quantised(QWEN2, INT4), tmp_path)
    tensors = load_file(tmp_path / checkpoint.SINGLE)
    change(tensors)
    save_file(tensors, tmp_path / checkpoint.SINGLE)
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(tmp_path)


def _weights(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda found: found["config_groups"]["group_0"]["weights"].update(changes)


def _inputs(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda found: found["config_groups"]["group_0"]["input_activations"].update(changes)


@pytest.mark.parametrize(
    ("scheme", "change", "said"),
    [
        (INT4, _weights(symmetric=False), "symmetric is False"),
        (INT4, _weights(symmetric=1), "symmetric is 1"),
        (INT4, _weights(num_bits=3), "3 bits"),
        (INT4, _weights(num_bits=8), "8 bits"),
        (INT4, _weights(group_size=16), "16"),
        (INT4, _weights(group_size=64), "speaks of"),
        (INT4, _weights(group_size=32.0), "32.0"),
        (INT4, _weights(group_size=[32]), "32"),
        (INT4, _weights(actorder="group"), "actorder is 'group'"),
        (INT4, _weights(type="float"), "type is 'float'"),
        (INT4, lambda found: found.update(format="marlin-24"), "pack-quantized"),
        (INT4, lambda found: found.update(config_groups={"W4A16": ["Linear"]}), "written out"),
        (INT4, lambda found: found.update(config_groups=[]), "expected an object"),
        (INT4, lambda found: found["config_groups"]["group_0"].update(weights=None), "expected an object"),
        (INT4, lambda found: found.update(kv_cache_scheme={"num_bits": 8}), "kv_cache_scheme"),
        (INT4, lambda found: found.update(sparsity_config={"format": "sparse-bitmask"}), "sparsity_config"),
        (INT8, _inputs(dynamic=False), "dynamic is False"),
        (INT8, _inputs(strategy="tensor"), "strategy is 'tensor'"),
        (INT8, lambda found: found["config_groups"]["group_0"].update(input_activations=None), "input_activations"),
        (INT8, lambda found: found["config_groups"]["group_0"].update(output_activations={}), "output_activations"),
        (INT8, _weights(strategy="tensor"), "tensor"),
    ],
)
def test_schemes_that_are_not_covered_are_refused(
    scheme: Scheme, change: Callable[[dict[str, Any]], None], said: str, tmp_path: Path
) -> None:
    checkpoint.save(quantised(QWEN2, scheme), tmp_path)
    data = json.loads((tmp_path / "config.json").read_text("utf-8"))
    found = data["quantization_config"]
    if found["format"] == "pack-quantized":
        found["config_groups"]["group_0"].pop("format")
    change(found)
    (tmp_path / "config.json").write_text(json.dumps(data), "utf-8")
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(tmp_path)


def test_a_strangers_patterns_are_never_run(tmp_path: Path) -> None:
    """Which layers are quantised is read from the tensors: a pattern that would take ages is not looked at."""
    checkpoint.save(quantised(QWEN2, INT4), tmp_path)
    data = json.loads((tmp_path / "config.json").read_text("utf-8"))
    slow = ["re:(a|a|aa|[a-z.]+)+$x"]
    data["quantization_config"]["ignore"] = slow
    data["quantization_config"]["config_groups"]["group_0"]["targets"] = slow
    (tmp_path / "config.json").write_text(json.dumps(data), "utf-8")
    assert checkpoint.load(tmp_path)(torch.arange(5)[None]).isfinite().all()


def test_whatever_the_codes_are_a_layer_computes() -> None:
    layer = QuantizedLinear(32, 4, INT4)
    layer.load_state_dict(
        {
            "weight_packed": torch.randint(-(1 << 31), 1 << 31, (4, 4), dtype=torch.int64).to(torch.int32),
            "weight_scale": torch.tensor([[1.0], [0.0], [-2.0], [1e30]]),
            "weight_shape": torch.tensor([4, 32]),
        }
    )
    assert layer(torch.randn(2, 32)).shape == (2, 4)


@pytest.mark.parametrize("scheme", [INT8, INT4], ids=str)
def test_transformers_reads_the_folder(scheme: Scheme, tmp_path: Path) -> None:
    """Of int4 they leave activations alone: theirs are our dequantised weights. Of int8 they round them, too, with a
    scale that is smaller by half a code."""
    pytest.importorskip("compressed_tensors")
    transformers = pytest.importorskip("transformers")
    model = quantised(QWEN2, scheme)
    checkpoint.save(model, tmp_path)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)(ids).logits
        whole = checkpoint.load(tmp_path, whole=True)(ids)
        ours = model(ids)
    if scheme.bits == 4:
        torch.testing.assert_close(theirs, whole, rtol=1e-4, atol=1e-4)
    assert distance(ours, theirs) < 0.03


def test_the_words_of_config_json() -> None:
    found = to_hf(quantised(QWEN2, INT4))
    assert found["ignore"] == ["lm_head"]
    assert found["config_groups"]["group_0"]["targets"] == ["Linear"]
    latent = to_hf(quantised(LATENT, INT8, "o_proj"))
    assert {"lm_head", "model.layers.1.mlp.gate", "model.layers.0.self_attn.kv_b_proj"} <= set(latent["ignore"])
