"""What a run has cost: energy where it can be read, and what sampling cost before the first step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from denken.config import CostSection
from denken.train.ledger import Energy, Ledger


def counter(folder: Path, name: str, value: object, full: int = 1_000_000_000) -> None:
    (folder / name).mkdir(exist_ok=True)
    (folder / name / "energy_uj").write_text(f"{value}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{full}\n")


def test_energy_is_the_packages_and_survives_a_full_counter(tmp_path: Path):
    counter(tmp_path, "intel-rapl:0", 5_000_000)
    counter(tmp_path, "intel-rapl:1", 999_000_000)
    counter(tmp_path, "intel-rapl:0:0", 1)  # a part of package 0, which counts it already
    energy = Energy(tmp_path)
    counter(tmp_path, "intel-rapl:0", 7_000_000)
    counter(tmp_path, "intel-rapl:1", 500_000)
    counter(tmp_path, "intel-rapl:0:0", 900_000_000)
    assert energy.since() == pytest.approx(2.0 + 1.5)
    assert energy.since() == 0.0


def test_energy_that_cannot_be_read_is_none(tmp_path: Path):
    assert Energy(tmp_path / "none").since() == 0.0
    counter(tmp_path, "intel-rapl:0", "secret")
    energy = Energy(tmp_path)
    counter(tmp_path, "intel-rapl:0", 5_000_000)
    assert energy.since() == 0.0, "what went before is unknown"


def test_a_ledger_begins_with_what_its_set_has_cost(tmp_path: Path):
    assert Ledger.spent(tmp_path) == Ledger()
    (tmp_path / "data").mkdir()
    (tmp_path / "data/sampling.json").write_text(json.dumps({"seconds": 3.0, "core_seconds": 6.0, "sampled": 70}))
    ledger = Ledger.spent(tmp_path)
    ledger.tick(2.0, 4)
    assert (ledger.seconds, ledger.core_seconds, ledger.sampled) == (5.0, 14.0, 70)
    ledger.write(tmp_path / "ledger.json", CostSection(usd_per_core_hour=3600.0))
    assert json.loads((tmp_path / "ledger.json").read_text())["usd"] == 14.0
