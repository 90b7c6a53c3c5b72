"""`denken doctor`: it tells the truth about kernels, and what to do where there are none."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from denken import doctor
from denken.cli import app
from denken.model.kernels import build, call, integers


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SECONDS", 0.0)
    monkeypatch.setattr(doctor, "BYTES", 1 << 20)


def without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (build, call, integers):
        monkeypatch.setattr(module, "library", lambda: None)


def test_as_json_it_is_one_object_and_the_exit_code_is_0() -> None:
    done = CliRunner().invoke(app, ["doctor", "--json"])
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert told["threads"] == torch.get_num_threads()
    assert told["kernels"] == integers.path()
    assert (told["why"] is None) == (build.library() is not None)
    assert any("denken quantize" in advice["command"] for advice in told["advice"])


def test_as_text_it_names_what_is_used() -> None:
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert integers.path() in done.stdout
    assert torch.__version__ in done.stdout


def test_without_a_compiler_it_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernels(monkeypatch)
    monkeypatch.delenv(build.SWITCH, raising=False)
    monkeypatch.setattr(build, "suits", lambda: True)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    report = doctor.examine()
    assert report.kernels == "PyTorch"
    assert not report.compresses
    assert report.why == "there is no C++ compiler"
    assert "apt-get install g++" in [advice.command for advice in report.advice]


def test_what_switches_kernels_off_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    without_kernels(monkeypatch)
    monkeypatch.setenv(build.SWITCH, "none")
    report = doctor.examine()
    assert report.why == "DENKEN_KERNELS=none is set"
    assert report.advice[0].command == "unset DENKEN_KERNELS"


def test_the_most_tokens_are_bandwidth_over_bytes() -> None:
    for compresses, bf16 in ((False, 10), (True, 10 * 16 / 12.1)):
        report = doctor.Report("", (), 2, 2, 0, 0, 30e9, None, "", None, compresses, "", ())
        assert report.most_tokens(1.5e9) == pytest.approx({"bf16": bf16, "int8": 20, "int4": 30 / 1.5 / 4.5 * 8})
