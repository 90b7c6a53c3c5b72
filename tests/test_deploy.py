"""The files under docs/deploy name commands and options that exist, and take rights away rather than give them."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import test_readme

DEPLOY = Path(__file__).parents[1] / "docs" / "deploy"
UNIT = (DEPLOY / "denken.service").read_text(encoding="utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def command_lines() -> list[list[str]]:
    """What is started, without the program."""
    (start,) = re.findall(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)
    (arguments,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    return [shlex.split(start)[1:], json.loads(arguments)]


@pytest.mark.parametrize("words", command_lines(), ids=["denken.service", "Dockerfile"])
def test_what_is_started_can_be_parsed(words):
    command = test_readme.COMMANDS[words[0]]
    command.make_context(words[0], words[1:], resilient_parsing=False)


def test_replies_get_their_grace_time_before_they_are_killed():
    (stop,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)
    page = (DEPLOY.parent / "operate.md").read_text(encoding="utf-8")
    (docker,) = re.findall(r"--stop-timeout (\d+)", page)
    for words, seconds in zip(command_lines(), (stop, docker), strict=True):
        assert float(words[words.index("--grace") + 1]) < float(seconds)


def test_neither_runs_as_root():
    assert "DynamicUser=yes" in UNIT
    assert "NoNewPrivileges=yes" in UNIT
    last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
    assert re.search(r"^USER \d{4,}$", last_stage, re.MULTILINE)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_reads_the_unit_and_finds_it_locked_down(tmp_path):
    unit = tmp_path / "denken.service"
    unit.write_text(UNIT.replace("/opt/denken/bin/denken", sys.executable), encoding="utf-8")
    verified = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    complaints = [line for line in verified.stderr.splitlines() if "denken.service" in line]
    assert not complaints
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", rated.stdout)
    if exposure is None:
        pytest.skip(f"this systemd does not rate units: {rated.stderr[:200]}")
    assert float(exposure[1]) < 2.5
