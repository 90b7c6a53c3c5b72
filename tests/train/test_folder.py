"""Where a run's weights come from: folders, other runs, the bundled model, and every second layer of a larger one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from denken.config import Recipe
from denken.errors import CheckpointError, ConfigError, UnknownNameError
from denken.model import checkpoint as exported
from denken.model.config import ModelConfig
from denken.model.quantized import INT8
from denken.model.transformer import Transformer
from denken.tokenizer import Tokenizer
from denken.train.folder import complete, model_folder, resolve, resolve_weights, start_from
from denken.train.pretrain import train

SHAPE = {
    "model_type": "qwen3",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
}
RECIPE = """
name = "student"
[data]
widths = [256]
sources = [{ task = "plain:sums" }]
[train]
steps = 1
batch_tokens = 256
threads = 1
"""


@pytest.fixture
def teacher(tmp_path: Path, tokenizer_folder: Path) -> Path:
    """A run of the name `teacher`, as training leaves it but for its checkpoints."""
    torch.manual_seed(5)
    shape = SHAPE | {"vocab_size": Tokenizer.load(tokenizer_folder).vocab_size}
    folder = tmp_path / "runs/teacher/model"
    exported.save(Transformer(ModelConfig.from_hf(shape)), folder)
    (folder / "tokenizer.json").write_bytes((tokenizer_folder / "tokenizer.json").read_bytes())
    return folder


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE + text)
    return path


def test_a_run_beside_this_one_gives_weights_shape_and_tokenizer(teacher: Path, tmp_path: Path):
    path = recipe(tmp_path, 'init_from = "run:teacher"\n[optim]\nlr = 1e-9\nadam_lr = 1e-9\n')
    run = train(path, run_dir=tmp_path / "runs/student")
    config = json.loads((run / "model/config.json").read_text())
    assert config["num_hidden_layers"] == 4
    assert Tokenizer.load(run / "model").vocab_size == config["vocab_size"]
    before, after = (dict(exported.load(folder).named_parameters()) for folder in (teacher, run / "model"))
    for name, weight in before.items():
        torch.testing.assert_close(after[name].float(), weight.float(), atol=2e-3, rtol=1e-2)


def test_a_student_takes_every_second_layer(teacher: Path, tmp_path: Path):
    path = recipe(tmp_path, 'init_from = "run:teacher"\ninit_layers = [0, 2]\n')
    whole = complete(Recipe.load(path), tmp_path, tmp_path / "runs/student")
    assert whole.model["num_hidden_layers"] == 2
    student = Transformer(ModelConfig.from_hf(whole.model))
    start_from(student, teacher, [0, 2])
    big, small = dict(exported.load(teacher).named_parameters()), dict(student.named_parameters())
    for new, old in ((0, 0), (1, 2)):
        name = "model.layers.{}.mlp.down_proj.weight"
        assert torch.equal(small[name.format(new)], big[name.format(old)].float())
    assert torch.equal(small["model.embed_tokens.weight"], big["model.embed_tokens.weight"].float())


def test_a_layer_that_is_not_there_is_named(teacher: Path):
    student = Transformer(ModelConfig.from_hf(SHAPE | {"vocab_size": 300, "num_hidden_layers": 2}))
    with pytest.raises(ConfigError, match=r"names layer 4, and .* has layers 0 to 3"):
        start_from(student, teacher, [0, 4])


def test_a_quantised_model_is_no_start(tmp_path: Path):
    layer = "model.layers.0.mlp.up_proj"
    config = ModelConfig("qwen3", 61, 32, 64, 1, 4, head_dim=8)
    model = exported.blank(config, {layer: INT8})
    exported.save(model.to_empty(device="cpu"), tmp_path)
    with pytest.raises(ConfigError, match="cannot learn; train the model that it was made from"):
        start_from(Transformer(config), tmp_path)


def test_layers_of_nothing_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match="init_layers are layers of init_from"):
        Recipe.load(recipe(tmp_path, 'init_layers = [0]\n[model]\na = 1\n[tokenizer]\npath = "x"\n'))


def test_a_network_must_come_from_somewhere(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no \[model\]; add it, or take both from init_from"):
        Recipe.load(recipe(tmp_path, ""))
    with pytest.raises(ConfigError, match=r"no \[tokenizer\]"):
        Recipe.load(recipe(tmp_path, "[model]\na = 1\n"))


def test_the_bundled_model_is_a_name(tmp_path: Path):
    folder = resolve_weights("bundled", tmp_path, tmp_path / "runs/student")
    assert (folder / "config.json").is_file()
    assert model_folder(folder) == folder


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("run:techer", "no run 'techer' in .*; did you mean 'run:teacher'"),
        ("run:zzz", "no run 'zzz' in .*; train that recipe first"),
        ("run:", "no run ''"),
        ("run:..", "no run '..'"),
        ("run:teacher/data/x.jsonl", r"teacher holds no data/x\.jsonl; train that recipe first"),
        ("nowhere", "there is no such file or folder"),
    ],
)
def test_what_is_not_there_is_named(teacher: Path, tmp_path: Path, spec: str, message: str):
    with pytest.raises(UnknownNameError, match=message):
        resolve(spec, tmp_path, tmp_path / "runs/student")


def test_a_run_without_a_model_says_so(tmp_path: Path):
    (tmp_path / "runs/empty").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"no config\.json in it or in its folder"):
        model_folder(resolve("run:empty", tmp_path, tmp_path / "runs/student"))


def test_a_run_names_itself(tmp_path: Path):
    own = tmp_path / "runs/student"
    (own / "data").mkdir(parents=True)
    assert resolve("run:self/data", tmp_path, own) == own / "data"
