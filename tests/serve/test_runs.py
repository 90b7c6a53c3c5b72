"""Training runs on the page: what is read of folders that others write, and what is not, whatever lies there."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from denken.serve import runfiles, runs
from denken.serve.app import create_app
from denken.serve.failure import Failure
from denken.serve.runfiles import Series
from denken.serve.runs import Runs

RECIPE = '[rl]\nalgorithm = "grpo"\n\n[train]\nsteps = 10\n'


def metrics(*steps: int, **more: object) -> str:
    return "".join(
        json.dumps({"step": step, "reward": step / 10, "length": 100 + step, "loss": 1 / (step + 1)} | more) + "\n"
        for step in steps
    )


def rollout(step: int, **more: object) -> str:
    values = {"step": step, "task": "gcd", "prompt": "?", "expected": "2", "thought": "t", "answer": f"a{step}"}
    return json.dumps(values | {"tokens": 7, "reward": 1.0, "parts": {"accuracy": 1.0}, "advantage": 0.5} | more) + "\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


def make(root: Path, name: str = "r1", log: str | bytes = "", rollouts: str | bytes = "", recipe: str = RECIPE) -> Path:
    folder = root / name
    folder.mkdir()
    for file, content in (("metrics.jsonl", log), ("rollouts.jsonl", rollouts), ("recipe.toml", recipe)):
        (folder / file).write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def append(folder: Path, text: str, file: str = "metrics.jsonl") -> None:
    with (folder / file).open("a", encoding="utf-8") as stream:
        stream.write(text)


@pytest.fixture
def page(root: Path, speaker: object) -> TestClient:
    return TestClient(
        create_app(speaker, runs=Runs(root)), base_url="http://localhost:8000", raise_server_exceptions=False
    )


def test_a_run_says_what_it_is_and_how_it_goes(root, page):
    folder = make(root, log=metrics(1, 2, 3), rollouts=rollout(1) + rollout(2) + rollout(2))
    (folder / "ledger.json").write_text(json.dumps({"usd": 0.25, "tokens": 900, "seconds": 12.5, "else": "no"}))
    listed = page.get("/app/runs").json()["runs"]
    assert [(run["name"], run["kind"], run["step"], run["steps"], run["cost_usd"]) for run in listed] == [
        ("r1", "grpo", 3, 10, 0.25)
    ]
    shown = page.get("/app/runs/r1").json()
    assert shown["series"]["reward"] == [[1, 0.1], [2, 0.2], [3, 0.3]]
    assert shown["series"]["length"] == [[1, 101], [2, 102], [3, 103]]
    assert set(shown["series"]) == {"reward", "length", "loss"}
    assert shown["ledger"] == {"usd": 0.25, "tokens": 900, "seconds": 12.5}
    assert shown["recipe"] == RECIPE
    said = page.get("/app/runs/r1/rollouts").json()
    assert (said["steps"], said["step"], len(said["samples"])) == ([1, 2], 2, 2)
    assert said["samples"][0]["answer"] == "a2"
    assert said["samples"][0]["parts"] == {"accuracy": 1.0}
    assert page.get("/app/runs/r1/rollouts?step=1").json()["samples"][0]["answer"] == "a1"
    assert page.get("/app/runs/r1/rollouts?step=9").status_code == 404
    assert page.get("/app/runs/r1/rollouts?step=-1").status_code == 400


def test_the_kinds_of_runs_and_their_steps(root):
    make(root, "texts", recipe="[train]\ntokens = 8192\nbatch_tokens = 1000\n")
    make(root, "own", recipe="[sample]\n[train]\nepochs = 1\n")
    make(root, "odd", recipe="[[[ no recipe")
    found = {run["name"]: (run["kind"], run["steps"]) for run in Runs(root).list()}
    assert found == {"texts": ("learn", 8), "own": ("sample", None), "odd": ("learn", None)}


def test_only_what_is_new_is_read(root, monkeypatch):
    folder = make(root, log=metrics(*range(1, 101)))
    shown = Runs(root)
    shown.run("r1")
    parsed = []
    whole = runfiles.record
    monkeypatch.setattr(runs.runfiles, "record", lambda line: parsed.append(line) or whole(line))
    monkeypatch.setattr(runs, "_summary", lambda *_: {"steps": 10, "step": 1, "updated": 0, "patience": 1})
    append(folder, metrics(101))
    assert shown.run("r1")["series"]["reward"][-1] == [101, 10.1]
    assert sum(b"step" in line for line in parsed) == 1


def test_a_torn_line_is_left_for_later(root):
    line = metrics(2)
    folder = make(root, log=metrics(1) + line[:20])
    shown = Runs(root)
    assert shown.run("r1")["series"]["reward"] == [[1, 0.1]]
    append(folder, line[20:])
    assert shown.run("r1")["series"]["reward"] == [[1, 0.1], [2, 0.2]]


@pytest.mark.parametrize("resumed", [metrics(1), metrics(1) + metrics(2, seconds=99) + metrics(3, 4, 5)])
def test_a_log_that_was_cut_back_is_read_anew(root, resumed):
    """As `RunLog.cut_back` does it: shorter at first, or longer again before anybody looked."""
    folder = make(root, log=metrics(1, 2, 3))
    shown = Runs(root)
    shown.run("r1")
    (folder / "new").write_text(resumed)
    os.replace(folder / "new", folder / "metrics.jsonl")
    steps = [step for step, _ in shown.run("r1")["series"]["reward"]]
    assert steps == [json.loads(line)["step"] for line in resumed.splitlines()]


def test_long_runs_are_thinned_and_keep_their_shape(root):
    make(root, log=metrics(*range(1, 5001)))
    points = Runs(root).run("r1")["series"]["reward"]
    assert 500 <= len(points) <= 1001
    assert points[-1][0] == 5000
    assert points == sorted(points)
    assert sum(value for _, value in points) / len(points) == pytest.approx(250, rel=0.01)


def test_a_thinned_curve_is_the_mean_of_what_it_stands_for():
    series = Series(most=4)
    for step in range(1, 18):
        series.add(step, float(step))
    assert series.stride == 4
    assert series.points() == [[4, 2.5], [8, 6.5], [12, 10.5], [16, 14.5], [17, 17.0]]


def test_a_log_too_long_for_one_request_takes_several(root, monkeypatch):
    monkeypatch.setattr(runfiles, "CHUNK_BYTES", 2000)
    monkeypatch.setattr(runfiles, "CHUNKS", 2)
    make(root, log=metrics(*range(1, 201)), rollouts="".join(rollout(step) for step in range(1, 101)))
    shown = Runs(root)
    first = shown.run("r1")
    assert not first["complete"]
    for _ in range(50):
        last = shown.run("r1")
        if last["complete"]:
            break
    assert [step for step, _ in last["series"]["reward"]] == list(range(1, 201))
    for _ in range(50):
        said = shown.rollouts("r1", None)
        if said["complete"]:
            break
    assert said["steps"] == list(range(1, 101))
    assert said["samples"][0]["answer"] == "a100"


def test_a_line_that_is_too_long_is_passed_over(root, monkeypatch):
    monkeypatch.setattr(runfiles, "CHUNK_BYTES", 1000)
    make(root, log=metrics(1) + '{"step": 2, "x": "' + "x" * 5000 + '"}\n' + metrics(3))
    shown = Runs(root)
    while not (found := shown.run("r1"))["complete"]:
        pass
    assert [step for step, _ in found["series"]["reward"]] == [1, 3]


def test_steps_with_samples_are_thinned(root, monkeypatch):
    monkeypatch.setattr(runs, "MOST_STEPS_LISTED", 10)
    make(root, rollouts="".join(rollout(step) for step in range(1, 101)))
    said = Runs(root).rollouts("r1", None)
    assert len(said["steps"]) <= 10
    assert (said["steps"][0], said["steps"][-1]) == (1, 100)
    for step in said["steps"]:
        assert [sample["answer"] for sample in Runs(root).rollouts("r1", step)["samples"]] == [f"a{step}"]


@pytest.mark.parametrize(
    "name", ["..", ".", ".hidden", "a/b", "..%2f..", "%2e%2e", "a%00b", "x" * 200, "r1%0a", "C:", "r1/../r1", "é"]
)
def test_names_lead_nowhere_else(root, page, name):
    make(root, log=metrics(1))
    (root.parent / "metrics.jsonl").write_text(metrics(1))
    if name not in (".", "r1/../r1"):  # which a client makes into another address before it asks
        for path in (f"/app/runs/{name}", f"/app/runs/{name}/rollouts"):
            assert page.get(path).status_code == 404, path
    with pytest.raises(Failure):
        Runs(root).run(name)
    with pytest.raises(Failure):
        Runs(root).rollouts(name, None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs links and pipes")
def test_links_pipes_and_folders_are_not_opened(root, page):
    secret = make(root.parent, "outside", log=metrics(1), rollouts=rollout(1, answer="SECRET"), recipe="SECRET = 1")
    (root / "linked").symlink_to(secret)
    folder = make(root, "r1", log=metrics(1))
    for name in ("recipe.toml", "rollouts.jsonl"):
        (folder / name).unlink()
        (folder / name).symlink_to(secret / name)
    os.mkfifo(folder / "ledger.json")  # which would never end
    (folder / "environment.json").mkdir()
    assert [run["name"] for run in page.get("/app/runs").json()["runs"]] == ["r1"]
    assert page.get("/app/runs/linked").status_code == 404
    assert page.get("/app/runs/r1").json()["recipe"] == ""
    assert page.get("/app/runs/r1/rollouts").json()["samples"] == []
    os.mkfifo(root / "r1" / "pipe")
    os.replace(root / "r1" / "pipe", folder / "metrics.jsonl")
    assert page.get("/app/runs/r1").status_code == 404


NONSENSE = [
    b"\xff\xfe\x00" * 1000,
    b"\n" * 100_000,
    b"[" * 100_000 + b"\n",
    b'{"step": ' + b"9" * 5000 + b"}\n",
    b'{"step": 1e400, "reward": 1}\n',
    b'{"step": true, "reward": 1}\n{"step": -1, "reward": 1}\n{"step": [1]}\n{"step": "1"}\n',
    b'{"step": 1, "reward": NaN, "loss": Infinity, "length": "long"}\n',
    b'{"step": 1, "reward": ' + b"9" * 400 + b', "eval_accuracy": {"a": NaN, "b": "x"}}\n',
    b'{"step": 1, "reward": {}, "eval_accuracy": [1, 2]}\n"step"\nnull\n5\n',
]


@pytest.mark.parametrize("log", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_in_a_log_harms_nobody(root, page, log):
    folder = make(root, log=log + metrics(5).encode(), rollouts=log + rollout(5).encode())
    (folder / "ledger.json").write_bytes(log)
    (folder / "recipe.toml").write_bytes(log)
    assert page.get("/app/runs").status_code == 200
    shown = page.get("/app/runs/r1")
    assert shown.status_code == 200
    assert shown.json()["series"].get("reward", [[5, 0.5]])[-1] == [5, 0.5]
    assert page.get("/app/runs/r1/rollouts").status_code == 200


def test_what_a_model_said_can_be_sent_whatever_it_is(root, page):
    wild = rollout(
        1,
        thought="\ud800 half a character",
        answer="x" * 50_000,
        prompt=["no", "text"],
        reward=float("nan"),
        parts={"a": float("inf"), "b": 1, "\udfff": 2, "c": "x"},
        cut="yes",
    )
    make(root, rollouts=wild)
    response = page.get("/app/runs/r1/rollouts")
    assert response.status_code == 200
    (sample,) = response.json()["samples"]
    assert sample["thought"] == "? half a character"
    assert len(sample["answer"]) == runs.MOST_CHARACTERS + 2
    assert (sample["prompt"], sample["reward"], sample["cut"]) == ("", None, False)
    assert sample["parts"] == {"b": 1, "?": 2}


def test_a_run_is_running_while_its_log_grows(root):
    lines = [json.dumps({"step": step, "loss": 1.0, "seconds": 100.0 * step}) + "\n" for step in (1, 2)]
    folder = make(root, log="".join(lines))
    now = time.time()
    at = {"after": 0.0}
    shown = Runs(root, clock=lambda: now + at["after"])
    for at["after"], running in ((1, True), (400, True), (600, False)):  # a step takes 100 s
        assert shown.list()[0]["running"] is running
    append(folder, json.dumps({"step": 10, "loss": 1.0, "seconds": 1000.0}) + "\n")
    at["after"] = 1
    assert shown.list()[0]["running"] is False  # its ten steps are done


def test_the_list_is_the_newest_first_and_leaves_out_what_is_no_run(root, monkeypatch):
    for age, name in ((300, "old"), (100, "new"), (200, "middle")):
        folder = make(root, name, log=metrics(1))
        for file in folder.iterdir():
            os.utime(file, (time.time() - age,) * 2)
    (root / "empty").mkdir()
    (root / "file").write_text("")
    assert [run["name"] for run in Runs(root).list()] == ["new", "middle", "old"]
    monkeypatch.setattr(runfiles, "MOST_RUNS", 2)
    assert [run["name"] for run in Runs(root).list()] == ["new", "middle"]
    assert Runs(root / "nowhere").list() == []


def test_curves_are_kept_of_a_few_runs(root, monkeypatch):
    monkeypatch.setattr(runs, "KEPT", 3)
    for number in range(6):
        make(root, f"r{number}", log=metrics(1))
    shown = Runs(root)
    for number in range(6):
        shown.run(f"r{number}")
    assert len(shown._kept) == 3
    assert shown.run("r0")["series"]["reward"] == [[1, 0.1]]


def test_many_may_look_while_it_is_written(root):
    folder = make(root, log=metrics(1))
    shown, found = Runs(root), []

    def look() -> None:
        for _ in range(30):
            found.append([step for step, _ in shown.run("r1")["series"]["reward"]])

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for step in range(2, 40):
        append(folder, metrics(step))
    for thread in threads:
        thread.join(30)
    assert len(found) == 120
    assert all(steps == list(range(1, len(steps) + 1)) for steps in found)
    assert [step for step, _ in shown.run("r1")["series"]["reward"]] == list(range(1, 40))


def test_a_server_without_a_folder_says_so(client):
    for path in ("/app/runs", "/app/runs/r1", "/app/runs/r1/rollouts"):
        response = client.get(path)
        assert response.status_code == 404
        assert "--runs" in response.json()["error"]["message"]
