"""Evaluation end to end with a fake engine: figures, resumption, transcripts, tables."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from denken.chat.template import END_THINK, EOS
from denken.errors import ConfigError, UnknownNameError
from denken.evaluate import evaluate, plots, report
from denken.evaluate.published import models, published
from denken.tasks import get
from denken.tokenizer import Tokenizer
from denken.types import Completion, SamplingParams


class Half:
    """A `Generate` that is right for every other seed: it is told the answers, and reads the prompt like a model."""

    def __init__(self, tokenizer: Tokenizer, names: Sequence[str], fail_after: int = 10**9) -> None:
        self.tokenizer = tokenizer
        self.calls = 0
        self.fail_after = fail_after
        tasks = [get(name) for name in names]
        problems = [task.problem(seed) for task in tasks for seed in range(900_000_000, 900_000_020)]
        self.answers = {problem.prompt: (problem.answer, problem.seed) for problem in problems}

    def __call__(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams | Sequence[SamplingParams]
    ) -> list[Completion]:
        return [self._reply(ids) for ids in prompts]

    def _reply(self, ids: Sequence[int]) -> Completion:
        self.calls += 1
        if self.calls > self.fail_after:
            raise KeyboardInterrupt
        text = self.tokenizer.decode(ids)
        answer, seed = next(value for prompt, value in self.answers.items() if prompt in text)
        words = f"thinking\n\0\n\n{answer if seed % 2 == 0 else 'no idea'}"
        before, after = words.split("\0")
        encode, control = self.tokenizer.encode, self.tokenizer.control
        return Completion((*encode(before), control(END_THINK), *encode(after), control(EOS)))


def run(tokenizer: Tokenizer, generate: Half, path: Path | None = None, **options):
    options = {"problems": 10, "samples": 2, "batch": 7, "progress": False, "label": "half"} | options
    return evaluate(generate, tokenizer, ["chain_sum", "gcd"], transcripts=path, **options)


def test_half_is_half(tokenizer: Tokenizer) -> None:
    results = run(tokenizer, Half(tokenizer, ["chain_sum", "gcd"]))
    assert [result.task for result in results] == ["chain_sum", "gcd"]
    for result in results:
        assert result.solved.value == 0.5
        assert result.solved.low < 0.5 < result.solved.high
        assert result.pass_at == {1: 0.5, 2: 0.5}
        assert result.consensus is not None
        assert result.consensus.value == result.consensus_at[2].value == 0.5
        assert result.cut == 0.0
        assert (result.problems, result.samples, result.seed_from) == (10, 2, 900_000_000)


def test_an_interrupted_run_goes_on_where_it_stopped(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    whole = run(tokenizer, Half(tokenizer, ["chain_sum", "gcd"]))
    with pytest.raises(KeyboardInterrupt):
        run(tokenizer, Half(tokenizer, ["chain_sum", "gcd"], fail_after=25), path)
    path.write_bytes(path.read_bytes() + b'{"task": "chain_s')  # as a kill leaves it
    again = Half(tokenizer, ["chain_sum", "gcd"])
    resumed = run(tokenizer, again, path)
    assert again.calls == 40 - 20  # the batches of the first task: 7, 7, 6
    assert [result.solved for result in resumed] == [result.solved for result in whole]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 1 + 40
    assert {"prompt", "thought", "answer", "expected", "reward"} <= lines[1].keys()
    more = Half(tokenizer, ["chain_sum", "gcd"])
    run(tokenizer, more, path, samples=3)
    assert more.calls == 20


def test_a_transcript_of_other_settings_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    run(tokenizer, Half(tokenizer, ["chain_sum", "gcd"]), path, problems=1)
    with pytest.raises(ConfigError, match="label 'half', not 'other'"):
        run(tokenizer, Half(tokenizer, []), path, label="other")
    with pytest.raises(ConfigError, match="params"):
        run(tokenizer, Half(tokenizer, []), path, params=SamplingParams(temperature=0.0))
    path.write_text("hello\n")
    with pytest.raises(ConfigError, match="no transcript"):
        run(tokenizer, Half(tokenizer, []), path)


def test_bad_requests_are_refused(tokenizer: Tokenizer) -> None:
    generate = Half(tokenizer, [])
    with pytest.raises(UnknownNameError, match="chain_sum"):
        evaluate(generate, tokenizer, ["chian_sum"], progress=False)
    with pytest.raises(ConfigError, match="twice"):
        evaluate(generate, tokenizer, ["gcd", "gym:gcd"], progress=False)
    with pytest.raises(ConfigError, match="at least 1"):
        evaluate(generate, tokenizer, ["gcd"], problems=0, progress=False)


def test_your_own_questions_are_asked_once_each(tokenizer: Tokenizer, tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "What is 6 times 7?", "answer": 42}\n')
    generate = Half(tokenizer, [])
    generate.answers = {"What is 6 times 7?": ("42", 0)}
    (result,) = evaluate(generate, tokenizer, [str(path)], problems=50, progress=False)
    assert (result.problems, result.solved.value) == (1, 1.0)


def test_reports(tokenizer: Tokenizer, tmp_path: Path) -> None:
    results = run(tokenizer, Half(tokenizer, ["chain_sum", "gcd"]))
    text = report.markdown(results)
    assert "| chain_sum | 50.0 |" in text
    assert "easy configurations" in text
    assert "10 problems from seed 900000000, 2 samples each" in text
    score = published("gcd", "deepseek-r1")
    assert score is not None
    assert f"{100 * score.mean:.1f}" in text.splitlines()[-1]
    console = Console(file=io.StringIO(), width=160)
    console.print(report.table(results))
    assert "o3-mini easy" in console.file.getvalue()
    loaded = json.loads(report.to_json(results))
    assert loaded["results"][0]["solved"]["value"] == 0.5
    assert set(loaded["results"][0]["published_easy_mean"]) == {"deepseek-r1", "o3-mini"}
    plots.plot(results, tmp_path / "plots" / "half.png", "half")
    assert (tmp_path / "plots" / "half.png").read_bytes().startswith(b"\x89PNG")


def test_published_scores() -> None:
    assert {"deepseek-r1", "o3-mini"} <= set(models("easy")) & set(models("hard"))
    easy, hard = published("countdown", "deepseek-r1"), published("countdown", "deepseek-r1", "hard")
    assert easy is not None
    assert hard is not None
    assert easy.mean <= easy.best
    assert (hard.mean, hard.best) == (0.791, 0.791)
    assert published("coin_flip", "deepseek-r1") is None
    with pytest.raises(UnknownNameError, match="did you mean 'deepseek-r1'"):
        published("countdown", "deepseek-r2")
