"""Adapters as models of their own over HTTP: listed, asked by name at once, written down, on the page's list."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sqlalchemy import select
from starlette.testclient import TestClient

from denken import cli
from denken.assistant import Assistant, find_folder, load, named_adapter
from denken.errors import CheckpointError, ConfigError, UnknownNameError
from denken.model import adapters, checkpoint
from denken.model.adapters import layers_of
from denken.serve import tables
from denken.serve.app import create_app
from denken.serve.chats.chats import Chats
from denken.serve.keydesk import KeyDesk
from denken.serve.money import nano
from denken.serve.store import Store
from denken.tokenizer import Tokenizer
from denken.types import SamplingParams
from scripted import write_model


def write_adapter(base: Path, folder: Path, seed: int, *, named: bool = True) -> Path:
    """A random adapter that changes what is said."""
    draw = torch.Generator().manual_seed(seed)
    pairs = {
        name: (torch.randn(2, columns, generator=draw), torch.randn(rows, 2, generator=draw))
        for name, (rows, columns) in layers_of(checkpoint.load(base)).items()
        if name != "lm_head"
    }
    adapters.write(folder, pairs, rank=2, alpha=2, base=str(base) if named else None)
    return folder


@pytest.fixture(scope="module")
def base(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny", tokenizer)


@pytest.fixture(scope="module")
def two(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    runs = tmp_path_factory.mktemp("runs")
    folders = [write_adapter(base, runs / name / "adapter", seed) for seed, name in enumerate(("sums", "sorts"))]
    (folders[0] / "about.json").write_text(json.dumps({"summary": {"en": "Adds up."}}), "utf-8")
    return folders


@pytest.fixture
def models(base: Path, two: list[Path]) -> Iterator[list[Assistant]]:
    with load(base) as whole:
        yield [whole, whole.adapted(two[0].parent), whole.adapted(two[1], "maker/sorts")]


BODY = {"messages": [{"role": "user", "content": "Hi"}], "temperature": 0, "max_tokens": 12}


def test_adapters_are_models_of_their_own(models: list[Assistant], sqlite_store: Store) -> None:
    with (
        closing(KeyDesk(sqlite_store, keys_on=False, per_hour=nano("0.04"))) as desk,
        closing(Chats(sqlite_store, None)) as chats,
        TestClient(create_app(models, desk=desk, chats=chats), base_url="http://localhost:8000") as client,
    ):
        listed = client.get("/v1/models").json()["data"]
        assert [(m["id"], m["root"], m["parent"]) for m in listed] == [
            ("tiny", "tiny", None),
            ("sums", "tiny", "tiny"),
            ("maker/sorts", "tiny", "tiny"),
        ]
        shown = client.get("/app/state").json()["models"]
        assert [m["id"] for m in shown] == ["tiny", "sums", "maker/sorts"]
        assert [m["about"]["summary"] for m in shown] == [{}, {"en": "Adds up."}, {}]
        said = {}
        for model in (None, "sums", "maker/sorts", "tiny"):
            answer = client.post("/v1/chat/completions", json=BODY | ({"model": model} if model else {})).json()
            said[model] = (answer["choices"][0]["message"]["reasoning_content"], answer["model"])
        assert said[None] == said["tiny"]
        assert len(set(said.values())) == 3
        assert client.post("/v1/chat/completions", json=BODY | {"model": "sorts"}).status_code == 404
    with sqlite_store.read() as connection:
        lines = connection.execute(select(tables.requests.c.model, tables.requests.c.prompt_tokens)).all()
    assert sorted(model for model, _ in lines) == ["maker/sorts", "sums", "tiny", "tiny"]
    assert {tokens for _, tokens in lines} == {lines[0][1]}


def test_asked_at_once_each_answers_as_alone(models: list[Assistant], base: Path, two: list[Path]) -> None:
    """From threads, the same question over and over, against models that are loaded by themselves."""
    questions = ["Calculate the", "Hi", "think the Calculate"]
    alone = []
    for source in (base, *two):
        with load(source) as single:
            assert single.name in ("tiny", "sums", "sorts")
            alone.append([single.ask(question, params=_greedy(single)).thought for question in questions])
    assert len({tuple(each) for each in alone}) == 3
    found: dict[tuple[int, int, int], str] = {}

    def asks(model: int, turn: int) -> None:
        for number, question in enumerate(questions):
            found[model, turn, number] = models[model].ask(question, params=_greedy(models[model])).thought

    threads = [threading.Thread(target=asks, args=(model, turn)) for turn in range(3) for model in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 27
    assert all(thought == alone[model][number] for (model, _, number), thought in found.items())


def test_in_a_process_of_its_own_they_say_the_same(models: list[Assistant], base: Path, two: list[Path]) -> None:
    with load(base, apart=True) as whole:
        apart = [whole, *(whole.adapted(folder) for folder in two)]
        for one, other in zip(models, apart, strict=True):
            assert other.ask("Hi", params=_greedy(other)).thought == one.ask("Hi", params=_greedy(one)).thought
        with pytest.raises(ConfigError, match="before it is asked"):
            whole.adapted(two[0])
    cut = two[0].parent.with_name("cut")
    shutil.copytree(two[0], cut)
    (cut / "adapter_model.safetensors").write_bytes(b"{}")
    with load(base, apart=True) as whole, pytest.raises(CheckpointError):
        whole.adapted(cut)
    with load(two[0], apart=True) as adapted:
        assert (
            adapted.ask("Hi", params=_greedy(adapted)).thought == models[1].ask("Hi", params=_greedy(models[1])).thought
        )


def _greedy(model: Assistant) -> SamplingParams:
    return replace(model.defaults, temperature=0.0, max_tokens=16)


def test_one_engine_and_one_copy_of_the_weights_serve_them_all(models: list[Assistant]) -> None:
    assert len({id(model.engine) for model in models}) == 1
    prompt = models[0].tokenizer.encode("the the the")
    answers = {tuple(model.generate([prompt], _greedy(model))[0].ids) for model in models}
    assert len(answers) == 3


def test_what_is_no_adapter_of_it_is_refused_with_a_sentence(
    base: Path, two: list[Path], models: list[Assistant], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole, adapted, _ = models
    with pytest.raises(ConfigError, match=r"put .* over tiny itself"):
        adapted.adapted(two[1])
    with pytest.raises(UnknownNameError, match="holds no adapter"):
        whole.adapted(base)
    cut = shutil.copytree(two[0], tmp_path / "cut") / adapters.WEIGHTS
    cut.write_bytes(cut.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cut"):
        whole.adapted(cut.parent)
    with pytest.raises(UnknownNameError, match="is an adapter, and no model by itself"):
        find_folder(two[0])
    nameless = write_adapter(base, tmp_path / "nameless", 3, named=False)
    with pytest.raises(UnknownNameError, match="does not say what its base is"):
        load(nameless)
    with load(base, adapter=nameless) as model:
        assert (model.name, model.parent) == ("nameless", "tiny")
    elsewhere = write_adapter(base, tmp_path / "elsewhere", 3)
    settings = elsewhere / adapters.CONFIG
    settings.write_text(settings.read_text("utf-8").replace(json.dumps(str(base)), '"ORG/OTHER"'), "utf-8")
    whole.adapted(elsewhere)
    assert "trained on 'ORG/OTHER'; it is used over tiny" in caplog.text
    with pytest.raises(UnknownNameError, match=r"The base of the adapter .* is not here"):
        load(elsewhere)
    with pytest.raises(ConfigError, match="Two models are called 'sums'"):
        create_app([whole, adapted, whole.adapted(two[1], "sums")])


def test_an_adapter_alone_is_a_server_too(base: Path, two: list[Path], tmp_path: Path) -> None:
    """Loaded by its own folder, with the base that it names; no browser is offered half of it."""
    with load(two[0]) as model:
        assert (model.name, model.parent, model.about.summary) == ("sums", "tiny", {"en": "Adds up."})
        assert cli._device(model, str(two[0]), tmp_path) is None


def test_an_adapter_is_named_as_it_is_typed(two: list[Path], tmp_path: Path) -> None:
    assert named_adapter(str(two[0])) == (None, two[0])
    assert named_adapter(f"maker/x={two[0].parent}") == ("maker/x", two[0])
    odd = shutil.copytree(two[0], tmp_path / "a=b")
    assert named_adapter(str(odd)) == (None, odd)
    assert named_adapter(f"c={odd}") == ("c", odd)
    with pytest.raises(ConfigError, match="no name for a model"):
        named_adapter(f"two words={two[0]}")
    with pytest.raises(UnknownNameError, match="holds no adapter"):
        named_adapter("x=nowhere")
