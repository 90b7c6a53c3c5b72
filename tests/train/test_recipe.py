"""Recipes: what is mistyped is named, with what was probably meant."""

from pathlib import Path

import pytest

from denken.config import Recipe, parse
from denken.errors import ConfigError

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
    ],
)
def test_a_bad_recipe_is_named(tmp_path: Path, old: str, new: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new))
    assert message in str(caught.value)
    assert "recipe.toml" in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"cannot be read"):
        Recipe.load(tmp_path / "none.toml")


def test_a_recipe_comes_back_from_json(tmp_path: Path):
    recipe = load(tmp_path, GOOD)
    assert parse(Recipe, recipe.model_dump(mode="json"), where="json") == recipe
