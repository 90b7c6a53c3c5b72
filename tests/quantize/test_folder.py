"""`denken quantize` from end to end on small random models: what is written, what is measured, what is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_folders import write_model

from denken.assistant import Assistant, load
from denken.errors import ConfigError
from denken.export import hf
from denken.model import checkpoint
from denken.model.quantized import INT8, QuantizedLinear, Scheme
from denken.quantize import calibration, check
from denken.quantize import folder as folder_module
from denken.quantize.calibration import Text
from denken.quantize.folder import FILE, TASKS, Plan, quantize, scheme
from denken.quantize.layers import Quantiser, planned
from denken.quantize.rounding import rounded
from denken.tasks.base import EVALUATION_SEEDS_FROM, training_seed_allowed
from denken.tokenizer import Tokenizer
from denken.types import Completion, SamplingParams

INT4 = Scheme(4, 32)
FEW = ("gcd", "products")
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 32,
    "kv_lora_rank": 32,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 16,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}


class Brief:
    """A loaded model that is cut short: a random one never ends by itself."""

    def __init__(self, assistant: Assistant) -> None:
        self.tokenizer, self._engine = assistant.tokenizer, assistant.engine

    def engine(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams | Sequence[SamplingParams]
    ) -> list[Completion]:
        each = [params] * len(prompts) if isinstance(params, SamplingParams) else params
        return self._engine(prompts, [replace(one, max_tokens=6) for one in each])


@contextmanager
def opened(folder: Path) -> Iterator[Any]:
    with load(folder) as assistant:
        yield Brief(assistant)


def never(folder: Path) -> Any:
    raise AssertionError("the model was loaded")


@pytest.fixture(autouse=True)
def few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_module, "CALIBRATED_WITH", 8)
    monkeypatch.setattr(folder_module, "MEASURED_WITH", 4)


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    torch.manual_seed(3)
    return [torch.randint(5, 280, (60,)).tolist() for _ in range(8)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), dtype=torch.bfloat16)


def read_all(folder: Path, how: Scheme, method: str, texts: list[list[int]]) -> dict[str, torch.Tensor]:
    weights = checkpoint.Weights.open(folder)
    plan = planned(weights.config, how)
    quantiser = Quantiser(weights, plan, method, texts)  # type: ignore[arg-type]
    return {name: quantiser.read(name) for name in checkpoint.blank(weights.config, plan).state_dict()}


def outputs(folder: Path, tensors: dict[str, torch.Tensor] | None, how: Scheme, texts: list[list[int]]) -> torch.Tensor:
    """The hidden states of all texts, of the model in a folder or of what it becomes with these tensors."""
    found = checkpoint.load(folder, dtype=torch.float32)
    if tensors is not None:
        found = checkpoint.blank(found.config, planned(found.config, how))
        floats = {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
        found.load_state_dict(floats, assign=True)
    with torch.inference_mode():
        return torch.cat([found.hidden(torch.tensor([text])) for text in texts], dim=1)


def test_rounding_is_done_layer_by_layer(model: Path) -> None:
    tensors = read_all(model, INT4, "round", [])
    weights = checkpoint.Weights.open(model)
    name = "model.layers.1.mlp.down_proj"
    codes, scale = rounded(weights.read(f"{name}.weight", torch.float32), INT4)
    stored = INT4.tensors(codes, scale)
    assert torch.equal(tensors[f"{name}.weight_packed"], stored["weight_packed"])
    assert torch.equal(tensors[f"{name}.weight_scale"], scale)
    assert tensors["model.embed_tokens.weight"].dtype == torch.bfloat16
    assert tensors["model.layers.0.input_layernorm.weight"].dtype == torch.bfloat16


@pytest.mark.parametrize(("family", "shape"), [("qwen3", {}), ("qwen2", {}), ("deepseek_v3", LATENT)])
def test_gptq_is_nearer_to_the_model_than_rounding(
    family: str, shape: dict[str, int], texts: list[list[int]], tmp_path: Path
) -> None:
    folder = write_model(tmp_path, family, **shape)
    wanted = outputs(folder, None, INT4, texts)
    off = {
        method: float((outputs(folder, read_all(folder, INT4, method, texts), INT4, texts) - wanted).square().mean())
        for method in ("round", "gptq")
    }
    assert off["gptq"] < off["round"]


def test_gptq_is_the_same_each_time(model: Path, texts: list[list[int]]) -> None:
    one, other = (read_all(model, INT8, "gptq", texts) for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_what_is_read_directly_and_routers_stay(texts: list[list[int]], tmp_path: Path) -> None:
    folder = write_model(tmp_path, "deepseek_v3", **LATENT)
    names = planned(checkpoint.read_config(folder), INT4)
    assert "model.layers.1.mlp.experts.3.down_proj" in names
    assert not any(name.endswith(("kv_b_proj", "lm_head", "gate")) for name in names)


def test_from_end_to_end(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "small"
    report = quantize(model, out, Plan(INT4, tasks=FEW, problems=2), opened, progress=False)
    assert report.after.size < report.before.size
    assert report.after.size == check.size_of(out)
    assert set(report.after.right) == set(FEW)
    assert report.surprise is not None
    data = json.loads((out / FILE).read_text("utf-8"))
    assert data["from"] == model.name
    assert data["calibration"]["tokens"] > 0
    assert data["log_perplexity"]["change"]["value"] == pytest.approx(report.surprise.value)
    assert data["solved"]["all"]["problems"] == 4
    card = (out / "README.md").read_text("utf-8")
    assert card.startswith("---\nlicense: mit")
    assert "| all, 4 problems |" in card
    loaded = checkpoint.load(out)
    layers = [module for module in loaded.modules() if isinstance(module, QuantizedLinear)]
    assert len(layers) == 14
    with load(out) as assistant:
        assert isinstance(assistant.ask("What is 17 times 23?").text, str)
    assert json.loads((out / "config.json").read_text("utf-8"))["quantization_config"]["format"] == "pack-quantized"
    with pytest.raises(ConfigError, match="is quantised already"):
        quantize(out, tmp_path / "smaller", Plan(INT8), never)
    whole = hf.export(out, tmp_path / "whole")
    weight = checkpoint.Weights.open(whole).read("model.layers.0.mlp.up_proj.weight", torch.float32)
    layer = layers[0] if layers[0].out_features == 96 else loaded.blocks[0].mlp.up_proj
    assert torch.equal(weight, layer.dequantised().bfloat16().float())


def test_a_file_calibrates_without_the_model_being_loaded(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_text("What is 17 and what is not? " * 200, encoding="utf-8")
    plan = Plan(INT8, calibration=file, check=False)
    report = quantize(model, tmp_path / "small", plan, never, progress=False)
    assert report.after.size < report.before.size
    assert check.rows(report)[0][0] == "weights, MB"
    assert len(check.rows(report)) == 1


def test_what_stops_leaves_nothing(model: Path, tmp_path: Path) -> None:
    @contextmanager
    def stopped(folder: Path) -> Iterator[Any]:
        if folder != model:
            raise KeyboardInterrupt
        with opened(folder) as brief:
            yield brief

    with pytest.raises(KeyboardInterrupt):
        quantize(model, tmp_path / "small", Plan(INT8, tasks=FEW, problems=1), stopped, progress=False)
    assert not list(tmp_path.iterdir())
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(ConfigError, match="is there already"):
        quantize(model, tmp_path / "taken", Plan(INT8, "round", check=False), never)


def test_what_cannot_be_done_is_said_at_once(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--group is for int4"):
        scheme(8, 32)
    with pytest.raises(ConfigError, match="32, 64, 128"):
        scheme(4, 48)
    assert (scheme(4), scheme(4, 128), scheme(8)) == (INT4, Scheme(4, 128), INT8)
    with pytest.raises(ConfigError, match="--type int8"):
        quantize(model, tmp_path / "small", Plan(Scheme(4, 128)), never)
    short = tmp_path / "short.txt"
    short.write_text("What", encoding="utf-8")
    with pytest.raises(ConfigError, match="give two or more"):
        quantize(model, tmp_path / "small", Plan(INT8, calibration=short), never)


def test_texts_are_apart_from_what_is_examined() -> None:
    """Calibration, perplexity and tasks each have seeds of their own."""
    starts = (calibration.CALIBRATION_SEEDS_FROM, calibration.MEASURED_SEEDS_FROM, EVALUATION_SEEDS_FROM)
    assert sorted(starts) == list(starts)
    assert all(later - earlier > 10**7 for earlier, later in itertools.pairwise(starts))
    assert all(training_seed_allowed(start + 10**6) for start in starts[:2])
    assert len(set(TASKS)) == len(TASKS)


def test_texts_of_a_file(model: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(model)
    said = {"messages": [{"role": "user", "content": "What is 17"}, {"role": "assistant", "content": "17"}]}
    file = tmp_path / "set.jsonl"
    file.write_text(f"{json.dumps(said)}\n" * 10, encoding="utf-8")
    calibrated, measured = calibration.texts_of(file, tokenizer)
    assert (len(calibrated), len(measured)) == (8, 2)
    file.write_text(json.dumps(said | {"seed": EVALUATION_SEEDS_FROM}) + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="kept for evaluation"):
        calibration.texts_of(file, tokenizer)


def test_texts_are_taken_evenly_where_there_are_too_many() -> None:
    texts = [Text((number,) * 1000) for number in range(200)]
    kept = calibration.within(texts)
    assert sum(len(text.ids) for text in kept) <= calibration.MOST_TOKENS
    assert {text.ids[0] // 50 for text in kept} == {0, 1, 2, 3}


def test_surprise_is_that_of_what_was_said(model: Path) -> None:
    network = checkpoint.load(model, dtype=torch.float32)
    ids = (5, 9, 7, 3, 11)
    (found,) = check.surprise(network, [Text(ids, 3)])
    with torch.inference_mode():
        logprobs = network(torch.tensor([ids]))[0].log_softmax(dim=-1)
    assert found == pytest.approx(-float(logprobs[2, 3] + logprobs[3, 11]), rel=1e-4)
