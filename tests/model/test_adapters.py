"""Folders of adapters: what fits is read, what does not is refused with its name, and several in a row are one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from denken.errors import CheckpointError
from denken.model import adapters, tensorfile
from denken.model.adapters import Adapter, Settings

LAYERS = {"model.layers.0.self_attn.q_proj": (6, 4), "model.layers.0.mlp.up_proj": (8, 4), "lm_head": (9, 4)}
Q, UP = list(LAYERS)[:2]


def write(folder: Path, *, rank: int = 2, alpha: float = 6, base: str | None = "ORG/NAME", fill: float = 0.5) -> Path:
    pairs = {name: (torch.full((rank, LAYERS[name][1]), fill), torch.ones(LAYERS[name][0], rank)) for name in (Q, UP)}
    adapters.write(folder, pairs, rank=rank, alpha=alpha, base=base)
    return folder


def test_what_was_written_is_read(tmp_path: Path) -> None:
    found = Adapter.open(write(tmp_path / "run" / "adapter"), LAYERS, "x")
    assert found.settings == Settings(2, 3.0, "ORG/NAME")
    assert found.layers == {Q: (6, 4), UP: (8, 4)}
    a_KI, b_OK = found.read(Q)
    assert torch.equal(b_OK @ a_KI, torch.full((6, 4), 3.0))
    assert adapters.is_adapter(found.folder)
    assert not adapters.is_adapter(tmp_path)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"use_rslora": True}, "more than plain LoRA"),
        ({"use_dora": True}, "more than plain LoRA"),
        ({"modules_to_save": ["lm_head"]}, "more than plain LoRA"),
        ({"rank_pattern": {"q_proj": 4}}, "more than plain LoRA"),
        ({"init_lora_weights": "pissa_niter_4"}, "more than plain LoRA"),
        ({"bias": "all"}, "more than plain LoRA"),
        ({"peft_type": "IA3"}, "more than plain LoRA"),
        ({"r": 0}, "more than plain LoRA"),
        ({"r": 2.0}, "more than plain LoRA"),
        ({"r": 10**400}, "more than plain LoRA"),
        ({"lora_alpha": 10**400}, "more than plain LoRA"),
        ({"lora_alpha": True}, "more than plain LoRA"),
        ({"base_model_name_or_path": 7}, "base_model_name_or_path is 7"),
        ({"r": 3}, "rank 3, does not fit x; it says that it was trained on 'ORG/NAME'"),
    ],
    ids=str,
)
def test_settings_that_mean_something_else_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    file = write(tmp_path) / adapters.CONFIG
    file.write_text(json.dumps(json.loads(file.read_text()) | changed), "utf-8")
    with pytest.raises(CheckpointError, match=message):
        Adapter.open(tmp_path, LAYERS, "x")


def test_another_bases_adapter_is_refused_with_the_layer_and_its_own_base(tmp_path: Path) -> None:
    write(tmp_path)
    for others in ({Q: (6, 4)}, LAYERS | {UP: (8, 5)}, LAYERS | {UP: (7, 4)}, LAYERS | {UP: (8,)}, {}):
        with pytest.raises(
            CheckpointError, match=r"proj.*does not fit mine; it says that it was trained on 'ORG/NAME'"
        ):
            Adapter.open(tmp_path, others, "mine")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    whole = dict(tensorfile.read_tensors(write(tmp_path / "whole") / adapters.WEIGHTS, _names(tmp_path / "whole")))
    first = f"{adapters.PREFIX}{Q}{adapters.A}"
    cases: dict[str, tuple[dict[str, torch.Tensor], str]] = {
        "half": ({n: t for n, t in whole.items() if n != first}, "does not fit"),
        "strange": (whole | {"extra.weight": torch.ones(2)}, "extra.weight"),
        "empty": ({}, "no tensor in it"),
        "fp8": (whole | {first: whole[first].to(torch.float8_e4m3fn)}, "save it as F32"),
    }
    for name, (tensors, message) in cases.items():
        folder = shutil.copytree(tmp_path / "whole", tmp_path / name)
        tensorfile.write(folder / adapters.WEIGHTS, tensors, {})
        with pytest.raises(CheckpointError, match=message):
            Adapter.open(folder, LAYERS, "x")
    cut = shutil.copytree(tmp_path / "whole", tmp_path / "cut") / adapters.WEIGHTS
    cut.write_bytes(cut.read_bytes()[:-7])
    with pytest.raises(CheckpointError):
        Adapter.open(cut.parent, LAYERS, "x")
    with pytest.raises(CheckpointError, match="not finite"):
        Adapter.open(write(tmp_path / "nan", fill=float("nan")), LAYERS, "x").read(Q)
    adapters.write(tmp_path / "huge", {Q: (torch.ones(1, 4), torch.full((6, 1), 1e38))}, rank=1, alpha=1e9, base=None)
    with pytest.raises(CheckpointError, match="not finite"):
        Adapter.open(tmp_path / "huge", LAYERS, "x").read(Q)


def test_adapters_in_a_row_are_one(tmp_path: Path) -> None:
    """The second was trained on what the first had made; one of them leaves a layer as it is."""
    first = Adapter.open(write(tmp_path / "1"), LAYERS, "x")
    draw = torch.Generator().manual_seed(1)
    pairs = {Q: (torch.randn(3, 4, generator=draw), torch.randn(6, 3, generator=draw))}
    adapters.write(tmp_path / "2", pairs, rank=3, alpha=1, base=None)
    second = Adapter.open(tmp_path / "2", LAYERS, "x")
    adapters.joined([first, second], tmp_path / "both", "bundled")
    both = Adapter.open(tmp_path / "both", LAYERS, "x")
    assert (both.settings.rank, both.settings.base, set(both.layers)) == (5, "bundled", {Q, UP})
    for layer, parts in {Q: (first, second), UP: (first,)}.items():
        a_KI, b_OK = both.read(layer)
        expected = sum(b @ a for a, b in (part.read(layer) for part in parts))
        torch.testing.assert_close(b_OK @ a_KI, expected)


def _names(folder: Path) -> list[str]:
    return list(tensorfile.read_header(folder / adapters.WEIGHTS)[0])
