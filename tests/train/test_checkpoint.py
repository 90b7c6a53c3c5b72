"""Checkpoints under damage: a torn, flipped or missing file is named, and the one before is used."""

from pathlib import Path

import pytest
import torch

from denken.errors import CheckpointError
from denken.train.checkpoint import load, load_latest, save


def write(folder: Path, *steps: int, keep: int = 9) -> None:
    for step in steps:
        weights = {"w": torch.full((3, 5), float(step)), "b": torch.arange(4, dtype=torch.uint8)}
        save(folder, step, {"step": step}, {"weights": weights, "empty": {}}, keep=keep)


def test_what_is_read_is_what_was_written(tmp_path: Path):
    write(tmp_path, 4)
    saved = load(tmp_path / "step-4")
    assert saved.state == {"step": 4}
    assert torch.equal(saved.tensors["weights"]["w"], torch.full((3, 5), 4.0))
    assert saved.tensors["weights"]["b"].dtype == torch.uint8
    assert saved.tensors["empty"] == {}


def test_only_the_newest_are_kept_and_numbers_sort_as_numbers(tmp_path: Path):
    write(tmp_path, 8, 9, 10, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-10", "step-9"]


def test_no_checkpoint_is_not_an_error(tmp_path: Path):
    assert load_latest(tmp_path / "none", print) is None


@pytest.mark.parametrize("file", ["weights.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncated", "flipped", "missing"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path: Path, file: str, damage: str):
    write(tmp_path, 1, 2)
    target = tmp_path / "step-2" / file
    content = bytearray(target.read_bytes())
    if damage == "missing":
        target.unlink()
    else:
        content[len(content) // 2] ^= 0xFF
        target.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    warnings: list[str] = []
    saved = load_latest(tmp_path, warnings.append)
    assert saved is not None
    assert saved.state["step"] == 1
    assert len(warnings) == 1
    assert "step-2 is damaged" in warnings[0]


def test_if_none_is_usable_the_error_says_what_to_do(tmp_path: Path):
    write(tmp_path, 1, 2)
    for step in (1, 2):
        (tmp_path / f"step-{step}" / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"None of the 2 checkpoints .* is usable\. To start over"):
        load_latest(tmp_path, lambda _: None)


def test_a_crash_while_writing_leaves_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, 1)

    def crash(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("denken.train.checkpoint._flush", crash)
        with pytest.raises(OSError, match="no space"):
            write(tmp_path, 2)
    saved = load_latest(tmp_path, pytest.fail)
    assert saved is not None
    assert saved.state["step"] == 1
    write(tmp_path, 3)
    assert not list(tmp_path.glob(".step-*"))


def test_a_manifest_that_lists_another_folder_is_damage(tmp_path: Path):
    write(tmp_path, 1)
    (tmp_path / "step-1" / "manifest.json").write_text('{"files": {"../../etc/passwd": {"bytes": 1, "sha256": ""}}}')
    with pytest.raises(CheckpointError, match="damaged"):
        load(tmp_path / "step-1")
