"""A server's model under examination, by the command that examines models here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from denken.cli import app
from denken.errors import DenkenError
from fake_teacher import TASK, FakeTeacher, right, said


def examine(fake: FakeTeacher, folder: Path, *options: str) -> Result:
    (folder / "more.py").write_text(TASK)
    asked = ["eval", fake.url, str(folder / "more.py"), "--problems", "6", "--out", str(folder / "out"), *options]
    return CliRunner().invoke(app, asked)


def test_a_server_stands_in_the_same_report(fake: FakeTeacher, tmp_path: Path) -> None:
    fake.say = lambda body, number: right(body) if number != 3 else said("wrong", "hm")
    done = examine(fake, tmp_path, "--temperature", "0.5", "--max-tokens", "77")
    assert done.exit_code == 0, done.output
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert result["solved"]["value"] == pytest.approx(5 / 6)
    assert result["tokens"] == 10
    assert (result["price"], result["usd_each"]) == (None, None)
    assert {(body["model"], body["temperature"], body["max_tokens"]) for body in fake.asked} == {("wise", 0.5, 77)}
    assert "wise@127.0.0.1" in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()[0]
    assert "hm" in (tmp_path / "out" / "index.html").read_text()
    # What was answered is not asked again, and another setting is not mixed in.
    assert examine(fake, tmp_path, "--temperature", "0.5", "--max-tokens", "77").exit_code == 0
    assert len(fake.asked) == 6
    assert examine(fake, tmp_path, "--temperature", "0.6", "--max-tokens", "77").exit_code != 0


def test_no_answer_is_no_wrong_answer(fake: FakeTeacher, tmp_path: Path) -> None:
    fake.say = lambda body, number: (400, {}, {"error": {"message": "not now"}}) if number == 2 else right(body)
    done = examine(fake, tmp_path)
    assert isinstance(done.exception, DenkenError)
    assert "1 of 6 questions of more got no answer" in str(done.exception)
    assert "not now" in str(done.exception)
    assert examine(fake, tmp_path).exit_code == 0
    assert len(fake.asked) == 7
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert result["solved"]["value"] == 1.0


def test_what_belongs_to_a_server_is_said_of_a_server(fake: FakeTeacher, tmp_path: Path) -> None:
    fake.models = [{"id": "wise"}, {"id": "other"}]
    assert "--served-model" in str(examine(fake, tmp_path).exception)
    assert examine(fake, tmp_path, "--served-model", "other").exit_code == 0
    assert fake.asked[-1]["model"] == "other"
    assert "--budget is for models here" in str(examine(fake, tmp_path, "--budget", "9").exception)
    assert "models here" in str(examine(fake, tmp_path, "--served-model", "other", "--budgets", "9,20").exception)
    assert "--budgets is 'few'" in str(examine(fake, tmp_path, "--budgets", "few").exception)
    priced = ["--served-model", "other", "--usd-in", "1", "--usd-out", "10"]
    assert examine(fake, tmp_path, *priced).exit_code == 0
    (result,) = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert result["usd_each"] == pytest.approx((result["prompt_tokens"] + 10 * result["tokens"]) / 1e6)
    here = CliRunner().invoke(app, ["eval", "bundled", "gcd", "--key-env", "KEY"])
    assert "address" in str(here.exception)
