"""Models fetched from a hub on this machine: whole or not at all, on from where they stopped, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fake_hub import NAME, Hub, serving
from rich.progress import Progress
from small_folders import write_model

from denken.errors import CheckpointError, ConfigError
from denken.model import checkpoint
from denken.shelf import pull as pulling
from denken.shelf.pull import pull
from denken.shelf.shelf import Shelf

ASKED = f"hf:{NAME}"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    with serving(Hub()) as hub:
        hub.put(write_model(tmp_path / "theirs"))
        hub.files |= {"pytorch_model.bin": b"pickle", "modeling.py": b"import os", "onnx/model.onnx": b"x"}
        yield hub


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf")


def left(shelf: Shelf) -> list[str]:
    return sorted(str(path.relative_to(shelf.root)) for path in shelf.root.rglob("*") if path.is_file())


def test_a_model_comes_whole_and_nothing_else_does(hub: Hub, shelf: Shelf, tmp_path: Path) -> None:
    with Progress(disable=True) as progress:
        folder = pull(ASKED, shelf, progress=progress, endpoint=hub.url)
        assert all(task.completed == task.total for task in progress.tasks)
        assert {"model.safetensors", "config.json"} <= {task.description for task in progress.tasks}
    assert folder == shelf.folder(NAME)
    assert {path.name for path in folder.iterdir()} == {
        "README.md", "config.json", "model.safetensors", "pulled.json", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    theirs, ours = checkpoint.load(tmp_path / "theirs"), checkpoint.load(folder)
    assert torch.equal(theirs.head_weight, ours.head_weight)
    came = json.loads((folder / "pulled.json").read_text("utf-8"))
    assert (came["from"], came["revision"], len(came["files"])) == (ASKED, hub.revision, 5)
    assert not list(shelf.root.rglob(".*"))
    hub.asked.clear()
    assert pull(ASKED, shelf, endpoint=hub.url) == folder
    assert not hub.asked


def test_a_cut_download_goes_on_where_it_stopped(hub: Hub, shelf: Shelf) -> None:
    hub.cut["model.safetensors"] = 50_000
    with pytest.raises(ConfigError, match=r"goes on where it stopped"):
        pull(ASKED, shelf, endpoint=hub.url)
    assert not shelf.folder(NAME).exists()
    assert shelf.names() == []
    hub.asked.clear()
    pull(ASKED, shelf, endpoint=hub.url)
    assert hub.asked == [("model.safetensors", "bytes=50000-")]
    assert checkpoint.load(shelf.folder(NAME))


def test_what_was_begun_of_another_version_is_not_gone_on_with(hub: Hub, shelf: Shelf, tmp_path: Path) -> None:
    hub.cut["model.safetensors"] = 50_000
    with pytest.raises(ConfigError):
        pull(ASKED, shelf, endpoint=hub.url)
    hub.put(write_model(tmp_path / "newer", tie_word_embeddings=True))
    hub.revision = "b" * 40
    folder = pull(ASKED, shelf, endpoint=hub.url)
    assert ("model.safetensors", None) in hub.asked[-3:]
    assert checkpoint.read_config(folder).tie_word_embeddings
    # A newer revision takes the place of the older one.
    hub.put(write_model(tmp_path / "newest"))
    hub.revision = "c" * 40
    assert not checkpoint.read_config(pull(ASKED, shelf, endpoint=hub.url)).tie_word_embeddings
    assert all(not Path(name).name.startswith(".") for name in left(shelf))


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_bytes_that_are_not_those_of_the_hash_are_thrown_away(name: str, hub: Hub, shelf: Shelf) -> None:
    hub.spoilt.add(name)
    with pytest.raises(CheckpointError, match=f"{name} arrived damaged"):
        pull(ASKED, shelf, endpoint=hub.url)
    assert not any(name in path for path in left(shelf))
    hub.spoilt.clear()
    pull(ASKED, shelf, endpoint=hub.url)


def test_shards_are_those_that_the_index_names(hub: Hub, shelf: Shelf, tmp_path: Path) -> None:
    model = checkpoint.load(tmp_path / "theirs")
    checkpoint.save(model, tmp_path / "shards", max_shard_bytes=50_000)
    del hub.files["model.safetensors"]
    hub.put(tmp_path / "shards")
    hub.files["consolidated.safetensors"] = b"the same again, in one file"
    folder = pull(ASKED, shelf, endpoint=hub.url)
    assert torch.equal(checkpoint.load(folder).head_weight, model.head_weight)
    assert not (folder / "consolidated.safetensors").exists()


def test_what_cannot_be_used_is_refused_before_its_weights_come(hub: Hub, shelf: Shelf) -> None:
    config = json.loads(hub.files["config.json"])
    hub.files["config.json"] = json.dumps(config | {"model_type": "mamba"}).encode()
    with pytest.raises(ConfigError, match="mamba"):
        pull(ASKED, shelf, endpoint=hub.url)
    assert "model.safetensors" not in dict(hub.asked)
    hub.files["config.json"] = json.dumps(config | {"hidden_size": 32}).encode()
    with pytest.raises(CheckpointError, match="do not belong together"):
        pull(ASKED, shelf, endpoint=hub.url)
    assert shelf.names() == []


def test_repositories_that_are_no_models(hub: Hub, shelf: Shelf) -> None:
    weights = hub.files.pop("model.safetensors")
    with pytest.raises(CheckpointError, match="Pickled weights can run code"):
        pull(ASKED, shelf, endpoint=hub.url)
    hub.files["model.safetensors.index.json"] = b'{"weight_map": {"a": "../../x.safetensors"}}'
    with pytest.raises(CheckpointError, match="which is not there"):
        pull(ASKED, shelf, endpoint=hub.url)
    hub.files |= {"model.safetensors": weights}
    del hub.files["tokenizer.json"]
    with pytest.raises(CheckpointError, match="no model in Hugging Face's layout"):
        pull(ASKED, shelf, endpoint=hub.url)


def test_errors_say_what_to_do(hub: Hub, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(asked: str) -> str:
        with pytest.raises(ConfigError) as raised:
            pull(asked, shelf, endpoint=hub.url)
        return str(raised.value)

    for wrong in ("acme/small-1", "hf:small", "hf:../../etc/passwd", "hf:acme/../x", f"{ASKED}@../x y"):
        assert "write hf:ORG/NAME" in refused(wrong)
    assert "There is no model acme/other" in refused("hf:acme/other")
    assert "no revision 'v2'" in refused(f"{ASKED}@v2")
    hub.gated = True
    assert f"accept its terms: do that at https://huggingface.co/{NAME}" in refused(ASKED)
    hub.failing = 500
    assert "The Hub answered 500" in refused(ASKED)
    hub.gated, hub.failing = False, 0
    monkeypatch.setattr(pulling, "SPARE", 1 << 60)
    assert "make room" in refused(ASKED)
    hub.url = "http://127.0.0.1:9"
    assert "cannot be reached" in refused(ASKED)


def test_one_process_fetches_at_a_time(hub: Hub, shelf: Shelf) -> None:
    import fcntl

    part = shelf.folder(NAME).with_name(f".{shelf.folder(NAME).name}.part")
    part.mkdir(parents=True)
    with (part / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="Another process"):
            pull(ASKED, shelf, endpoint=hub.url)
    pull(ASKED, shelf, endpoint=hub.url)


def test_offline_by_choice_is_said(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="HF_HUB_OFFLINE is set"):
        pull(ASKED, shelf, endpoint="http://127.0.0.1:9")
