"""kill -9 anywhere, then the same command: the run ends as if nothing had happened. More: benchmarks/resume.py."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

import killing

# What a run was doing when it was killed; which of the times that it did so is drawn.
PLACES = {
    "grpo": ("generate ends", "optimizer.safetensors is written", "half a line is in rollouts.jsonl"),
    "sft": ("learn ends", "checkpoints/step-.* gets its name", "/model gets its name"),
}


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return killing.recipes(tmp_path_factory.mktemp("recipes"))


@pytest.mark.parametrize("kind", ["grpo", "sft"])
def test_a_killed_run_ends_as_if_nothing_had_happened(kind: str, paths: dict[str, Path], tmp_path: Path):
    assert killing.train(paths[kind], tmp_path / "straight", events=tmp_path / "events") == 0
    expected = killing.prints(tmp_path / "straight")
    assert {"model", "metrics.jsonl", "state.json"} < expected.keys()
    assert len({name.split("/")[-1] for name in expected if name.endswith(".safetensors")}) >= 3
    events = (tmp_path / "events").read_text().splitlines()
    rng = Random(kind)
    for place in PLACES[kind]:
        kill_at = rng.choice([n for n, event in enumerate(events, 1) if re.search(f"{place}$", event)])
        run = tmp_path / f"killed-{kill_at}"
        assert killing.train(paths[kind], run, kill_at=kill_at) == killing.KILLED
        assert killing.train(paths[kind], run) == 0
        assert killing.prints(run) == expected, f"killed at {events[kill_at - 1]!r}, event {kill_at}"
