"""Models by name: what is here, what there is to know of it, and taking it away."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from small_folders import write_model
from typer.testing import CliRunner

from denken.assistant import BUNDLED, find_folder
from denken.cli import app
from denken.errors import UnknownNameError
from denken.shelf.shelf import PULLED, Shelf, default_root, details, listed


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    monkeypatch.setenv("DENKEN_MODELS", str(tmp_path / "shelf"))
    shelf = Shelf()
    for name, family in (("acme/small", "qwen2"), ("acme/other", "llama")):
        folder = write_model(shelf.folder(name), family)
        (folder / PULLED).write_text(json.dumps({"from": f"hf:{name}", "revision": "abc", "fetched": "today"}), "utf-8")
    write_model(shelf.root / "acme" / ".half.part")
    return shelf


def test_where_the_shelf_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DENKEN_MODELS", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert default_root() == Path("/data/denken/models")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert default_root() == Path.home() / ".local/share/denken/models"


def test_everything_that_can_be_named_is_listed(shelf: Shelf, tmp_path: Path) -> None:
    write_model(tmp_path / "runs" / "mine" / "model")
    (shelf.folder("acme/other") / "config.json").write_text("{}", "utf-8")
    found = {model.name: model for model in listed(shelf, BUNDLED, tmp_path / "runs")}
    made = str(tmp_path / "runs" / "mine" / "model")
    assert set(found) == {"bundled", "acme/small", "acme/other", made}
    small = found["acme/small"]
    assert (small.family, small.context, small.licence, small.problem) == ("qwen2", 256, "mit", None)
    assert small.size > (small.folder / "model.safetensors").stat().st_size
    assert "model_type" in (found["acme/other"].problem or "")


def test_what_there_is_to_know_of_a_model(shelf: Shelf) -> None:
    bundled = dict(details("bundled", BUNDLED))
    assert (bundled["family"], bundled["context"], bundled["licence"]) == ("qwen3", "2,048 tokens", "mit")
    assert bundled["parameters"].startswith("2,")
    assert dict(details("acme/small", shelf.find("acme/small")))["from"] == "hf:acme/small at abc"


def test_a_model_is_found_by_its_name_wherever_one_is_asked_for(shelf: Shelf) -> None:
    assert find_folder("acme/small") == find_folder("hf:acme/small") == shelf.folder("acme/small")
    with pytest.raises(UnknownNameError, match=r"did you mean acme/small\?.*denken pull"):
        find_folder("hf:acme/smal")
    for wrong in ("../../etc", "acme", "acme/.half.part", "/etc/passwd"):
        with pytest.raises(UnknownNameError):
            shelf.find(wrong)


def test_removing_takes_one_model_away(shelf: Shelf) -> None:
    size = shelf.find("acme/small").joinpath("model.safetensors").stat().st_size
    assert shelf.remove("acme/small") > size
    assert shelf.names() == ["acme/other"]
    with pytest.raises(UnknownNameError):
        shelf.remove("acme/small")
    assert shelf.folder("acme/other").is_dir()


def test_the_commands(shelf: Shelf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    shown = run.invoke(app, ["models", "list"]).output
    assert "acme/small" in shown
    assert "qwen2" in shown
    assert "licence    mit" in run.invoke(app, ["models", "show", "acme/small"]).output
    assert "were freed" in run.invoke(app, ["models", "remove", "acme/small"]).output
    assert isinstance(run.invoke(app, ["models", "remove", "acme/small"]).exception, UnknownNameError)
    assert "acme/small" not in run.invoke(app, ["models", "list"]).output
