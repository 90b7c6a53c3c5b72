"""The command line: what is printed where, exit codes, and sentences instead of tracebacks."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

import denken
from denken import cli
from denken.assistant import Assistant
from denken.terminal import printable
from scripted import ScriptedStream, script, write_model


@pytest.fixture(scope="session")
def model_folder(tokenizer, tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny-random", tokenizer)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs `denken ARGUMENTS` here; returns the exit code, standard output and standard error."""

    def run(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["denken", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = left.code or 0
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def scripted(monkeypatch, tokenizer):
    """`load` gives an assistant that thinks "ab" and answers "cd"; the stream that it asks."""
    stream = ScriptedStream(script(tokenizer, "ab", "cd"))
    assistant = Assistant("scripted", tokenizer, stream, context=200)
    monkeypatch.setattr("denken.assistant.load", lambda *_, **__: assistant)
    return stream


def test_ask_writes_the_answer_to_output_and_the_thought_beside_it(run, scripted):
    code, out, err = run("ask", "Hi")
    assert (code, out, err.strip()) == (0, "cd\n", "ab")


def test_ask_dims_the_thought_in_a_terminal(run, scripted, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    assert run("ask", "Hi")[0] == 0
    assert terminal.getvalue() == "\033[2mab\033[0m\n\ncd\n"


@pytest.mark.parametrize("arguments", [("ask",), ("ask", "-")])
def test_ask_reads_standard_input(run, scripted, tokenizer, arguments):
    assert run(*arguments, stdin="Frage: größer?\n")[:2] == (0, "cd\n")
    assert "Frage: größer?" in tokenizer.decode(scripted.prompts[0][0])


def test_ask_json_is_one_object_with_costs(run, scripted):
    record = json.loads(run("ask", "--json", "Hi")[1])
    assert (record["model"], record["question"], record["thought"], record["text"]) == ("scripted", "Hi", "ab", "cd")
    assert record["thought_tokens"] == 4
    assert {"prompt_tokens", "answer_tokens", "cached_tokens", "seconds", "finish_reason"} <= set(record)


def test_ask_options_reach_the_sampler(run, scripted):
    options = ["--temperature", "0", "--seed", "7", "--budget", "5", "--max-tokens", "9", "--no-thinking"]
    assert run("ask", "Hi", *options)[0] == 0
    params = scripted.params[0]
    assert (params.temperature, params.seed, params.thinking_budget, params.max_tokens) == (0, 7, 5, 9)
    assert scripted.prompts[0][1] is False


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ask", " "), "empty"),
        (("ask", "x" * 1000), "200"),
        (("ask", "Hi", "--temperature", "9"), "temperature is 9"),
    ],
)
def test_bad_input_is_one_sentence_and_code_2(run, scripted, arguments, words):
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ask", "Hi", "--model", "bundeld"), "did you mean 'bundled'"),
        (("serve", "--store", "mysql://db/denken"), "postgresql://"),
        (("serve", "--port", "0", "--usd-per-hour", "much"), "such as 2.50"),
        (("keys", "revoke", "nobody"), "'nobody'"),
        (("train", "no/such/recipe.toml"), "no/such/recipe.toml"),
    ],
)
def test_what_does_not_exist_is_one_sentence_and_code_2(run, arguments, words):
    code, _, err = run(*arguments)
    assert code == 2
    assert words in err
    assert "Traceback" not in err


def test_usage_errors_are_code_2(run):
    for arguments in (
        ("ask", "Hi", "--nonsense"),
        ("ask", "Hi", "--threads", "100000"),
        ("think",),
        ("serve", "--port", "99999"),
        ("eval", "bundled"),
    ):
        code, _, err = run(*arguments)
        assert code == 2
        assert err


def test_an_interrupt_leaves_with_130(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("denken.assistant.load", interrupted)
    assert run("ask", "Hi")[0] == 130


def test_chat_keeps_the_history_until_new(run, scripted, tokenizer):
    code, out, err = run("chat", stdin="first\nsecond\n/new\n/what\nthird\n\n/think\nfourth\n/quit\nnever\n")
    assert code == 0
    assert out.startswith("cd\n" * 3)
    prompts = [tokenizer.decode(prompt) for prompt, _ in scripted.prompts]
    assert len(prompts) == 4
    assert "first" in prompts[1]
    assert "cd" in prompts[1]
    assert "ab" not in prompts[1]
    assert "first" not in prompts[2]
    assert [thinking for _, thinking in scripted.prompts] == [True, True, True, False]
    assert "no /what" in err


def test_chat_goes_on_after_an_error_and_an_interrupt(run, scripted, monkeypatch):
    interrupted = iter([True, False])
    real = ScriptedStream.generate_sync

    def generate(self, *arguments, **options):
        if next(interrupted):
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    monkeypatch.setattr(ScriptedStream, "generate_sync", generate)
    code, out, err = run("chat", stdin=f"{'x' * 1000}\nstopped\nfine\n")
    assert code == 0
    assert "200" in err
    assert "Stopped" in err
    assert out.strip().endswith("cd")


def test_terminals_get_no_control_characters():
    assert printable("a\x1b[2Jb\rc\n\tü\x9b") == "a\ufffd[2Jb\ufffdc\n\tü\ufffd"


def test_version_and_tasks(run):
    assert run("version")[1].strip() == denken.__version__
    names = run("tasks")[1].split()
    assert {"countdown", "plain:sums", "smalltalk:outside"} <= set(names)


def test_eval_writes_its_figures(run, model_folder, tmp_path):
    figures = tmp_path / "figures.json"
    options = ["--problems", "2", "--max-tokens", "12", "--json", str(figures), "--threads", "1"]
    code, out, err = run("eval", str(model_folder), "plain:sums", *options)
    assert code == 0, err
    assert "plain:sums" in out
    (result,) = json.loads(figures.read_text())["results"]
    assert result["problems"] == 2
    assert run("eval", str(model_folder), "countdwn")[0] == 2
    assert run("eval", str(model_folder), "plain:sums", "--greedy", "--temperature", "1")[0] == 2


def test_eval_does_not_take_older_weights_answers_for_those_of_newer_ones(run, model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    options = ["--problems", "1", "--max-tokens", "8", "--out", str(tmp_path / "out"), "--threads", "1"]
    assert run("eval", str(folder), "plain:sums", *options)[0] == 0
    assert run("eval", str(folder), "plain:sums", *options)[0] == 0
    os.utime(folder / "model.safetensors", (1e9, 1e9))
    code, _, err = run("eval", str(folder), "plain:sums", *options)
    assert code == 2
    assert "weights of 2001-09-09 01:46:40 UTC" in err


def test_eval_says_before_it_begins_that_it_cannot_write(run, tmp_path):
    (tmp_path / "file").write_text("")
    for option, place in (("--json", tmp_path), ("--json", tmp_path / "file" / "x"), ("--out", tmp_path / "file")):
        code, _, err = run("eval", "no-such-model", "plain:sums", option, str(place))
        assert code == 2
        assert "cannot be written" in err
        assert str(place) in err.replace("\n", "")
    assert "no-such-model" in run("eval", "no-such-model", "plain:sums", "--json", str(tmp_path / "new" / "x.json"))[2]


def test_help_is_quick():
    before = os.times()
    done = subprocess.run([sys.executable, "-m", "denken", "--help"], capture_output=True, text=True, check=True)
    after = os.times()
    # About 0.3 s; processor time, since others may use the machine as well.
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2
    for command in ("ask", "chat", "serve", "eval", "train", "tasks", "version", "keys", "usage"):
        assert f"\n  {command}" in done.stdout


def test_serve_says_its_address_answers_and_ends(model_folder):
    command = [sys.executable, "-m", "denken", "serve", "--port", "0", "--model", str(model_folder), "--threads", "1"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    ) as server:
        try:
            line = server.stdout.readline()
            address = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 12, "stream": True}
            answer = httpx.post(f"{address}/v1/chat/completions", json=body, timeout=60)
            assert answer.status_code == 200
            assert answer.text.endswith("data: [DONE]\n\n")
            assert httpx.get(address).text.startswith("<!doctype html>")
        finally:
            server.send_signal(signal.SIGINT)
        assert server.wait(20) == 0
