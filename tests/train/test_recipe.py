"""Recipes: what is mistyped is named, with what was probably meant."""

from pathlib import Path

import pytest

from denken.config import Recipe, parse
from denken.errors import ConfigError, UnknownNameError
from denken.train.shape import model_config

GOOD = """
name = "small"
[model]
model_type = "qwen3"
hidden_size = 64
[tokenizer]
path = "somewhere"
[data]
width = 64
tasks = ["a"]
[train]
steps = 10
"""
SHAPE = {
    "model_type": "qwen3",
    "vocab_size": 300,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}


def load(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return Recipe.load(path)


def test_a_good_recipe(tmp_path: Path):
    recipe = load(tmp_path, GOOD)
    assert recipe.data.widths == (64,)
    assert recipe.data.sources == {"tasks": ["a"]}
    assert recipe.model["hidden_size"] == 64
    assert recipe.train.total_steps == 10


def test_tokens_are_a_budget_too(tmp_path: Path):
    recipe = load(tmp_path, GOOD.replace("steps = 10", "tokens = 100_000\nbatch_tokens = 8192"))
    assert recipe.train.total_steps == 13


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("steps = 10", "stesp = 10", "'train.stesp'; did you mean 'steps'"),
        ('name = "small"', 'nmae = "small"', "'nmae'; did you mean 'name'"),
        ("[train]", "[optim]\nwarm_up = 3\n[train]", "'optim.warm_up'; did you mean 'warmup'"),
        ("[train]", "[optim]\nzzz = 3\n[train]", "known keys are adam_lr, betas"),
        ('path = "somewhere"', "", "'tokenizer.path' is missing"),
        ("steps = 10", "steps = 10\ntokens = 9", "either steps or tokens"),
        ("steps = 10", "steps = -1", "train.steps: input should be greater"),
        ("width = 64", "width = 64\nwidths = [1, 2]", "either width or widths"),
        ("width = 64", "widths = [128, 64]", "smallest first"),
        ("steps = 10", 'steps = 10\ndtype = "fp8"', "train.dtype"),
        ('name = "small"', 'name = "../up"', "name: string should match"),
        ("steps = 10", "steps = ", "not valid TOML"),
        ("steps = 10", f"steps = {'[' * 100_000}", "not valid TOML"),
        ("width = 64", "widths = 64", "data.widths: input should be a list"),
        ("steps = 10", "steps = 10\nthreads = 100_000", "train.threads: input should be less"),
    ],
)
def test_a_bad_recipe_is_named(tmp_path: Path, old: str, new: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert message in str(caught.value)
    assert "recipe.toml" in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path: Path):
    with pytest.raises(UnknownNameError, match=r"no recipe '.*none\.toml'; give the path"):
        Recipe.load(tmp_path / "none.toml")
    (tmp_path / "second").mkdir()
    for file in ("first.toml", "second/recipe.toml"):
        (tmp_path / file).write_text(GOOD)
    for typed, meant in (("frist.toml", "first.toml"), ("secnod", "second")):
        with pytest.raises(UnknownNameError, match=f"did you mean '.*{meant}'"):
            Recipe.load(tmp_path / typed)
    with pytest.raises(ConfigError, match=r"cannot be read \(Is a directory\)"):
        Recipe.load(tmp_path)


def test_a_recipe_that_is_no_text(tmp_path: Path):
    path = tmp_path / "recipe.toml"
    path.write_bytes(b"\xff\xfen\x00")
    with pytest.raises(ConfigError, match=r"recipe\.toml is not UTF-8"):
        Recipe.load(path)


def test_the_bundled_recipes_network_is_read():
    recipe = Recipe.load(Path(__file__).parents[2] / "recipes" / "bundled" / "recipe.toml")
    assert model_config(recipe.model).hidden_size == recipe.model["hidden_size"]


def test_a_config_json_can_be_copied_into_a_recipe():
    config = model_config(SHAPE)
    assert model_config(config.to_hf()) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tie_word_embedding": True}, "no key 'tie_word_embedding'; did you mean 'tie_word_embeddings'"),
        ({"zzz": True}, r"no key 'zzz'; a qwen3 has .*hidden_size"),
        ({"kv_lora_rank": 8}, "no key 'kv_lora_rank'"),
        ({"hidden_size": None, "hiden_size": 64}, "no 'hidden_size'.* Is 'hiden_size' meant to be 'hidden_size'"),
        ({"model_type": "qwen4"}, "Did you mean 'qwen3'"),
    ],
)
def test_a_key_of_the_network_that_nothing_reads_is_named(change: dict[str, object], message: str):
    values = {key: value for key, value in (SHAPE | change).items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        model_config(values)


def test_a_recipe_comes_back_from_json(tmp_path: Path):
    recipe = load(tmp_path, GOOD)
    assert parse(Recipe, recipe.model_dump(mode="json"), where="json") == recipe
