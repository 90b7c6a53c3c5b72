"""Fixtures that many tests share: a small vocabulary in the bundled one's form, and the published ones."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from tokenizers import Tokenizer as Whole

from denken.tokenizer import Tokenizer
from small_vocabulary import FAMILY, write_tokenizer


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting brings in, some 800,000 objects, stays to the end: the collector need not look through it."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def no_store_of_yours(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Servers that a test starts keep their ledger in a folder of the tests."""
    os.environ["DENKEN_STORE"] = str(tmp_path_factory.mktemp("store") / "denken.db")


@pytest.fixture(scope="session")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = ["the", " the", "Calculate", " equals", "think", "\n", "\n\n", " Assistant", "ü", "中"]
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), words=words)


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    """A few hundred ids: bytes, some words, DeepSeek's control tokens."""
    return Tokenizer.load(tokenizer_folder)


@pytest.fixture(scope="session", params=["DeepSeek-R1", "DeepSeek-R1-Distill-Qwen-32B", "Qwen3-30B-A3B"])
def published_tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    """A vocabulary as its makers published it; skips where the files are not at hand."""
    folder = FAMILY / request.param
    if not (folder / "tokenizer.json").is_file():
        pytest.skip(f"{folder} is not at hand")
    return Tokenizer.load(folder)


@pytest.fixture(scope="session")
def published_whole(published_tokenizer: Tokenizer) -> Whole:
    """The same vocabulary as its makers' library reads it, control tokens in texts and all."""
    return Whole.from_file(str(published_tokenizer.folder / "tokenizer.json"))
