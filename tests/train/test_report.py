"""The report of a run: everything on one page, and nothing that a model writes becomes part of the page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from denken.train import report
from denken.train.jsonl import provenance, write
from denken.train.runlog import RunLog

HOSTILE = [
    "</pre></details><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    '"><svg onload=alert(1)>',
    "<style>body{display:none}</style>",
    '<a href="javascript:alert(1)">x</a>',
    "<!-- ",
    "&lt;script&gt;",
    "\u202egnp.exe\u2066\x00\x1b[2J\ufeff\u200b",
    "\ud800",
    "<iframe src=https://example.org></iframe>",
    "<" * 50_000,
    "]]><!DOCTYPE html><meta http-equiv=refresh content='0;url=https://example.org'>",
]
TAGS = set("html head meta title style body h1 h2 p img div table tr th td details summary pre b".split())  # noqa: SIM905
ATTRIBUTES = {"lang", "charset", "http-equiv", "content", "name", "class", "alt", "src"}


class Reader(HTMLParser):
    """What a browser would make of a page: its tags, its attributes, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.said = ""
        self.comments = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.said += data

    def handle_comment(self, data: str) -> None:
        self.comments += 1


def rollout(step: int, **changes: Any) -> dict[str, Any]:
    return {
        "step": step,
        "task": "game:countdown",
        "prompt": "Make 24",
        "thought": "4 * 6",
        "answer": "4*6",
        "tokens": 9,
        "reward": 1.0,
        "parts": {"accuracy": 1.0},
    } | changes


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "02_r1_zero"
    folder.mkdir()
    metrics = [
        {"step": 1, "loss": 0.5, "reward": 0.1, "eval_accuracy": {"game:countdown": 0.25}, "length": 100.0},
        {"step": 2, "loss": 0.4, "reward": 0.6, "eval_accuracy": {"game:countdown": 0.75}, "parity_max": 3e-6},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in metrics))
    (folder / "rollouts.jsonl").write_text("".join(json.dumps(rollout(step)) + "\n" for step in range(60)))
    cost = {"seconds": 90.0, "core_seconds": 180.0, "tokens": 12345, "sampled": 678, "flops": 1e12, "usd": 0.001}
    (folder / "ledger.json").write_text(json.dumps(cost | {"joules": 7200.0, "usd_per_core_hour": 0.02}))
    (folder / "environment.json").write_text(json.dumps({"cpu": "AMD EPYC"}))
    (folder / "recipe.toml").write_text('name = "02_r1_zero"\n')
    (folder / "curves.png").write_bytes(b"\x89PNG\r\n\x1a\n123")
    return folder


def test_everything_of_a_run_is_on_one_page(run: Path):
    page = report.write(run).read_text()
    read = Reader(page)
    for expected in (
        "2 steps, 1 min 30 s on 2 cores, 12,345 tokens learnt from, 678 sampled",
        "game:countdown from 0.25 to 0.75",
        "largest |log p sampler - log p trainer|3e-06",
        "0.0020 kWh",
        "147,000 H800-hours, 294,000 USD",
        "2,788,000 H800-hours, 5,576,000 USD",
        "AMD EPYC",
        'name = "02_r1_zero"',
    ):
        assert expected in read.said or expected in re.sub(r"3e-063e-06", "3e-06", read.said), expected
    assert page.count("<details>") == report.SHOWN
    assert "step 59," in read.said
    assert '<img alt="curves" src="data:image/png;base64,iVBORw0KGgox' in page
    assert 'name="viewport"' in page


def test_a_page_asks_nothing_of_anybody(run: Path):
    page = report.write(run).read_text()
    read = Reader(page)
    assert set(read.tags) <= TAGS
    assert all(value.startswith("data:image/png") for name, value in read.attributes if name == "src" and value)
    assert "default-src 'none'" in page
    assert "url(" not in report.STYLE
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.parametrize("hostile", HOSTILE, ids=range(len(HOSTILE)))
def test_nothing_that_a_model_writes_becomes_part_of_the_page(run: Path, hostile: str):
    record = rollout(1, prompt=hostile, thought=hostile, answer=hostile, task=hostile, parts={hostile: 1.0})
    (run / "rollouts.jsonl").write_text(json.dumps(record) + "\n")
    messages = [{"role": "user", "content": hostile}, {"role": "assistant", "content": hostile}]
    write(run / "data/own.jsonl", [{"messages": messages if "\ud800" not in hostile else [], "task": "plain:sums"}])
    provenance(run / "data/own.jsonl", "own", [("model", hostile.encode("utf-8", "replace").decode())], {})
    (run / "environment.json").write_text(json.dumps({hostile: hostile}))
    page = report.write(run).read_text()
    read = Reader(page)
    assert set(read.tags) <= TAGS
    assert {name for name, _ in read.attributes} <= ATTRIBUTES
    assert read.comments == 0
    assert not any(value.startswith("http") for name, value in read.attributes if value)
    assert not set(page) & set("\u202e\u2066\x00\x1b\ufeff\u200b")
    assert len(page) < 500_000


def test_a_run_that_has_just_begun_has_a_page(tmp_path: Path):
    assert "Nothing has been logged yet" in report.write(tmp_path).read_text()


@pytest.mark.parametrize("name", ["metrics.jsonl", "rollouts.jsonl", "ledger.json", "environment.json"])
@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"a"\n', "\x00", "[" * 100_000, '{"step": 1, "parts": [1]}'])
def test_a_damaged_file_is_left_out(run: Path, name: str, content: str):
    (run / name).write_text(content)
    assert "02_r1_zero" in report.write(run).read_text()


def test_the_report_is_written_with_the_curves(tmp_path: Path):
    log = RunLog(tmp_path, 10)
    log.record({"step": 1, "loss": 1.0, "lr": 0.1, "tokens_per_s": 5.0})
    log.curves()
    assert not (tmp_path / "report.html").exists(), "not more often than once a minute"
    log.curves(final=True)
    assert "data:image/png" in (tmp_path / "report.html").read_text()
