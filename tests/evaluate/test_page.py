"""The report as one HTML file, whatever a model wrote."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

from denken.evaluate import budgets, page, plots, report
from denken.evaluate.cost import Price
from denken.evaluate.metrics import Estimate
from denken.evaluate.runner import Result

HOSTILE = "</script><script>alert(1)</script><!-- <img src=x onerror=alert(2)> @DATA@"


def result(level=None) -> Result:
    return Result("gcd", {}, 30, 1, 45, Estimate(0.5, 0.4, 0.6, 0.1), 0.5, {1: 0.5}, None, 0.0, 9.0, 1.0, level)


def record(seed: int, right: bool, **fields) -> dict:
    said = {"task": "gcd", "config": {}, "seed": seed, "sample": 0, "prompt": "gcd?", "expected": "4", "thought": "hm"}
    return {**said, "answer": "4" if right else HOSTILE, "reward": float(right), "cut": False, "tokens": 9, **fields}


def written(tmp_path: Path, *records: dict, results=None, title="A model") -> tuple[str, dict]:
    transcript, made = tmp_path / "answers.jsonl", tmp_path / "index.html"
    transcript.write_text("".join(json.dumps(line) + "\n" for line in ({"settings": {}}, *records)))
    picture = tmp_path / "plot.png"
    picture.write_bytes(b"\x89PNG")
    page.write(results or [result()], transcript, [picture, tmp_path / "absent.png"], made, title)
    text = made.read_text()
    return text, json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_what_a_model_wrote_stays_text(tmp_path: Path) -> None:
    text, data = written(tmp_path, record(45, False, prompt=HOSTILE, thought=HOSTILE), title=HOSTILE)
    assert text.count("<script") == 2
    assert "<img src=x" not in text
    assert data["answers"][0]["answers"][0]["answer"] == HOSTILE
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_only_its_own_script_and_style_may_run(tmp_path: Path) -> None:
    text, _ = written(tmp_path)
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    for tag, name in (("style", "style-src"), ("script", "script-src")):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inner.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert not re.search(r"""(?:src|href)=["'](?!data:)""", text)
    assert text.count("data:image/png;base64,") == 1


def test_wrong_answers_come_first_and_the_rest_is_counted(tmp_path: Path) -> None:
    others = [record(1000, False), record(46, False, task="lcm"), record(46, False, config={"x": 1})]
    _, data = written(tmp_path, *others, *(record(45 + at, at % 2 == 0) for at in range(30)))
    (shown,) = data["answers"]
    assert [one["right"] for one in shown["answers"]] == [False] * 15 + [True] * 5
    assert shown["answers"][0]["seed"] == 46
    assert shown["left"] == 10
    assert data["rows"] == report.rows([result()])
    assert data["header"] == report.header([result()])


def test_long_texts_are_cut_and_say_so(tmp_path: Path) -> None:
    _, data = written(tmp_path, record(45, False, thought="x" * 5_000))
    assert data["answers"][0]["answers"][0]["thought"].endswith("(1000 more characters)")


def test_a_suite_by_kinds_of_data_sets(tmp_path: Path) -> None:
    results = [result("easy"), result("hard")]
    assert list(plots.by_category(results[:1])) == ["arithmetic"]
    ours, *theirs = plots.by_category(results[:1])["arithmetic"]
    assert (ours, len(theirs)) == (0.5, 2)
    assert plots.by_category([result()]) == {}
    assert plots.theirs(results[:1]) == list(zip(("DeepSeek-R1", "o3-mini"), theirs, strict=True))
    assert plots.theirs([result()]) == []
    priced = [replace(each, prompt_tokens=9.0, price=Price(usd_in=1.0)) for each in results]
    assert not budgets.plot_cost([], results, tmp_path / "cost.png")
    assert budgets.plot_cost([], priced, tmp_path / "cost.png")
    assert (tmp_path / "cost.png").read_bytes().startswith(b"\x89PNG")
    plots.radar(results, tmp_path / "radar.png", "A model")
    assert (tmp_path / "radar.png").read_bytes().startswith(b"\x89PNG")
