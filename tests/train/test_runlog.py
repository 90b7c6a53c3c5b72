"""What a run says and what it has cost."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from denken.config import CostSection
from denken.train import curves
from denken.train.ledger import Ledger, Price
from denken.train.runlog import RunLog, draw_curves, duration, read_metrics


def test_cutting_back_drops_later_records_and_a_torn_line(tmp_path: Path):
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in (1, 2, 3)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 4, "lo')
    log = RunLog(tmp_path, 10)
    log.cut_back(2)
    log.record({"step": 3, "loss": 0.5})
    assert [(r["step"], r["loss"]) for r in read_metrics(tmp_path / "metrics.jsonl")] == [(1, 1.0), (2, 1.0), (3, 0.5)]


def test_plain_lines_are_rare_where_there_is_no_terminal(tmp_path: Path):
    output = io.StringIO()
    with RunLog(tmp_path, 100, console=Console(file=output, width=200)) as log:
        for step in range(1, 51):
            log.progress(step, 2.0, 7000.0, 125.0)
    assert output.getvalue() == "step 1/100 (1%)  loss 2.0000  7,000 tokens/s  2 min 05 s left\n"


def test_a_terminal_gets_a_live_line(tmp_path: Path):
    output = io.StringIO()
    with RunLog(tmp_path, 4, console=Console(file=output, force_terminal=True, width=120)) as log:
        log.progress(2, 1.5, 10.0, 3.0)
    assert "step 2/4 (50%)" in output.getvalue()


def test_a_warning_is_given_once_whatever_its_numbers(tmp_path: Path):
    output = io.StringIO()
    log = RunLog(tmp_path, 1, console=Console(file=output))
    log.warn_once("3 documents dropped")
    log.warn_once("5 documents dropped")
    assert output.getvalue().count("dropped") == 1


@pytest.mark.parametrize(("seconds", "said"), [(42, "42 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (-1, "0 s")])
def test_durations(seconds: float, said: str):
    assert duration(seconds) == said


@pytest.mark.parametrize("draw", [draw_curves, curves.draw_curves])
def test_curves_of_no_records_draw_nothing(draw: Callable[..., None], tmp_path: Path):
    draw([], tmp_path / "curves.png")
    assert not (tmp_path / "curves.png").exists()


def test_flops_worked_by_hand():
    # 2 layers, 3 heads of 4 + 4 columns: attention is 2 * (4 + 4) a layer, head and pair.
    named = [
        ("embed_tokens.weight", torch.zeros(10, 6)),
        ("a.weight", torch.zeros(5, 6)),
        ("mlp.experts.0.weight", torch.zeros(4, 4)),
    ]
    config = {
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "head_dim": 4,
        "n_routed_experts": 8,
        "num_experts_per_tok": 2,
    }
    price = Price.of(named, config)
    assert (price.body, price.head, price.attention) == (30 + 16 / 4, 60, 2 * 2 * 3 * 8)
    assert price.flops(tokens=7, targets=2, context=11) == 6 * (34 * 7 + 60 * 2) + 3 * 96 * 11


def test_money(tmp_path: Path):
    ledger = Ledger(seconds=3600, core_seconds=7200)
    assert ledger.usd(CostSection(usd_per_core_hour=0.02)) == pytest.approx(0.04)
    ledger.write(tmp_path / "ledger.json", CostSection(usd_per_core_hour=0.02))
    assert json.loads((tmp_path / "ledger.json").read_text())["usd"] == pytest.approx(0.04)
