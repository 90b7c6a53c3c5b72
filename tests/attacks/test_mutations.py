"""A stranger's model with something wrong in it is used or refused with a sentence: a few hundred of the 10,000."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mutations import TEXTS, mutate, verdict
from small_folders import write_model

from denken import assistant
from denken.model.quantized import INT8, Scheme
from denken.quantize.folder import Plan, quantize

SHAPE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whole(tmp_path_factory.mktemp("good") / "model")


def whole(folder: Path) -> Path:
    """A small model with every file that there can be."""
    write_model(folder, "qwen3", **SHAPE)
    (folder / "generation_config.json").write_text('{"temperature": 0.6, "top_p": 0.95, "eos_token_id": [264, 3]}')
    (folder / "about.json").write_text('{"thinks": "always", "summary": {"en": "Small."}, "examples": {"en": ["Hi?"]}}')
    assert all((folder / name).is_file() for name in TEXTS)
    return folder


def try_all(seeds: range, good: Path, tmp_path: Path) -> None:
    """Every mutation is used or refused with a sentence, and enough of them are either."""
    counts = {"used": 0, "refused": 0}
    for seed in seeds:
        folder = tmp_path / str(seed)
        shutil.copytree(good, folder)
        how = mutate(folder, seed)
        try:
            counts[verdict(folder)] += 1
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, {how}: {error}") from error
        shutil.rmtree(folder)
    assert counts["refused"] > 10, counts
    assert counts["used"] > 0, counts


@pytest.mark.parametrize("block", range(6))
def test_mutated_folders_are_used_or_refused_with_a_sentence(block: int, good: Path, tmp_path: Path) -> None:
    try_all(range(1_000_000 + block * 50, 1_000_000 + (block + 1) * 50), good, tmp_path)


@pytest.mark.parametrize("scheme", [INT8, Scheme(4, 32)], ids=str)
def test_mutated_quantised_folders_are_used_or_refused_with_a_sentence(scheme: Scheme, tmp_path: Path) -> None:
    write_model(tmp_path / "model", **SHAPE | {"hidden_size": 32, "intermediate_size": 32})
    good = tmp_path / "good"
    quantize(tmp_path / "model", good, Plan(scheme, "round", check=False), assistant.load, progress=False)
    (good / "about.json").write_text('{"thinks": "always"}')
    try_all(range(2_000_000, 2_000_024), good, tmp_path)


def test_the_good_folder_is_used(good: Path) -> None:
    assert verdict(good) == "used"
