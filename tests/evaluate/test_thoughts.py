"""Budgets, costs, and whether thoughts do the work: with models of which that is known."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from denken.chat.template import ASSISTANT, END_THINK, EOS, THINK, USER
from denken.errors import ConfigError
from denken.evaluate import examination, suites
from denken.evaluate.cost import LISTED, Price
from denken.evaluate.rerun import Rerun
from denken.evaluate.rewording import OPENINGS, REWORDINGS, Varied
from denken.evaluate.thoughts import CONTROL, CORRUPTED, corrupted, cut
from denken.rollout import Local
from denken.tasks import get
from denken.tokenizer import Tokenizer
from denken.types import Completion, Problem, SamplingParams, Score

SUM = "State the final answer to the following arithmetic problem:"


@dataclass
class Thinker:
    """Adds up in a thought, a term a line, and answers with its last number; without a thought it does not know.

    It sees nothing but the prompt's ids, and keeps to its budget as the engine does. It knows sums by their
    first words alone.
    reads: whether it goes by its thought; if not it answers rightly whatever stands there.
    forgets: the number of the call at which it does not know.
    """

    tokenizer: Tokenizer
    reads: bool = True
    forgets: int = 0
    calls: int = 0
    budgets: list[int | None] = field(default_factory=list)

    def __call__(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams | Sequence[SamplingParams]
    ) -> list[Completion]:
        each = [params] * len(prompts) if isinstance(params, SamplingParams) else params
        return [self._reply(ids, own) for ids, own in zip(prompts, each, strict=True)]

    def _reply(self, ids: Sequence[int], params: SamplingParams) -> Completion:
        self.calls += 1
        self.budgets.append(params.thinking_budget)
        encode, control = self.tokenizer.encode, self.tokenizer.control
        text = self.tokenizer.decode(ids, skip_control=False)
        asked, _, turn = text.partition(USER)[2].partition(ASSISTANT)
        begun, closer, _ = turn.partition(THINK)[2].partition(END_THINK)
        begun = begun.strip("\n")
        known = asked.startswith(SUM)
        terms = asked.removeprefix(SUM).partition("=")[0].replace("- ", "+ -").split("+") if known else ["0"]
        out: list[int] = []
        if not closer:
            lines = begun.split("\n") if begun else []
            total = int(lines[-1].rpartition("=")[2]) if lines else int(terms[0])
            for term in terms[max(1, len(lines) + 1) :]:
                lines.append(f"{total} + {int(term)} = {total + int(term)}")
                total += int(term)
            thought = encode("\n".join(lines).removeprefix(begun))
            most = params.thinking_budget
            thought = thought if most is None else thought[:most]
            out = [*thought, *encode("\n"), control(END_THINK), *encode("\n\n")]
            begun += self.tokenizer.decode(thought)
        said = begun.strip().rpartition("=")[2].strip() if self.reads else str(sum(map(int, terms)))
        said = "?" if self.calls == self.forgets else said or "?"
        return Completion((*out, *encode(said), control(EOS)))


def examined(tokenizer: Tokenizer, folder: Path, thinker: Thinker, price: Price | None = None, **options):
    local = Local(tokenizer, thinker, SamplingParams(temperature=0.0, seed=0))
    settings = {"label": "thinker", "params": {"temperature": 0.0, "top_k": 0, "seed": 0}}
    who = examination.Examinee(local, "A <thinker>", settings, price, [folder])
    options = {"check_thoughts": True, "command": "denken eval x"} | options
    return examination.examine(who, suites.parts(["chain_sum"], problems=12), folder, progress=False, **options)


def test_an_answer_that_hangs_on_its_thought_is_found_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    found = {check.what: check for check in examined(tokenizer, tmp_path, Thinker(tokenizer)).checks}
    assert found["thought cut to 100%"].solved.value == found["thought cut to 100%"].same == 1.0
    assert found["thought cut to 0%"].solved.value == 0.0
    assert found["thought cut to 50%"].solved.value < 0.5
    assert (found[CONTROL].solved.value, found[CONTROL].same) == (1.0, 1.0)
    assert found[CORRUPTED].same == 0.0
    assert found[CORRUPTED].change.high < -0.5
    # It knows one wording alone, whatever stands behind.
    assert found["another introduction"].solved.value == found["German introduction"].solved.value == 0.0
    assert found["thought cut to 0%"].by_task == {"chain_sum": (12, 0)}


def test_an_answer_that_does_not_hang_on_its_thought_is_too(tokenizer: Tokenizer, tmp_path: Path) -> None:
    found = {check.what: check for check in examined(tokenizer, tmp_path, Thinker(tokenizer, reads=False)).checks}
    assert found["thought cut to 0%"].solved.value == found[CORRUPTED].solved.value == 1.0
    assert found[CORRUPTED].same == 1.0


def test_checks_and_budgets_go_on_where_they_stopped(tokenizer: Tokenizer, tmp_path: Path) -> None:
    thinker = Thinker(tokenizer)
    first = examined(tokenizer, tmp_path, thinker, limits=[4, 64])
    calls = thinker.calls
    again = examined(tokenizer, tmp_path, thinker, limits=[4, 64])
    assert thinker.calls == calls
    assert again.checks == first.checks
    assert again.points == first.points
    lines = [json.loads(line) for line in (tmp_path / "thoughts.jsonl").read_text().splitlines()[1:]]
    assert {line["config"]["asked"] for line in lines} == {check.what for check in first.checks}
    assert all(line["reward"] in (0.0, 1.0) and "thought" in line for line in lines)


def test_a_longer_budget_solves_more_and_costs_more(tokenizer: Tokenizer, tmp_path: Path) -> None:
    thinker = Thinker(tokenizer)
    price = Price(usd_in=1.0, usd_out=10.0)
    found = examined(tokenizer, tmp_path, thinker, limits=[64, 4], price=price, check_thoughts=False)
    assert [point.budget for point in found.points] == [4, 64, None]
    assert {4, 64, None} <= set(thinker.budgets)
    short, _, whole = found.points
    assert short.solved.value < whole.solved.value == found.results[0].solved.value == 1.0
    assert whole.usd == pytest.approx(found.results[0].usd)
    assert short.usd < whole.usd
    examination.write(found, tmp_path, "A <thinker>")
    text = (tmp_path / "results.md").read_text()
    assert "## Thinking budgets" in text
    assert "| none | 100.0 |" in text
    assert "![cost](cost.png)" in text
    assert f"{LISTED[1].name} ({LISTED[1].day})" in text
    saved = json.loads((tmp_path / "results.json").read_text())
    assert saved["results"][0]["usd_each"] == pytest.approx(whole.usd)
    assert saved["budgets"][0]["by_task"]["chain_sum"]["value"] == short.solved.value
    assert {one["name"] for one in saved["list_prices"]} == {"DeepSeek-R1", "o3-mini"}
    for name in ("results", "budgets", "cost"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "index.html").read_text().count("data:image/png;base64,") == 3
    assert "Thinking budgets" in (tmp_path / "index.html").read_text()


def test_time_is_paid_for_by_the_cores_that_worked_then(tokenizer: Tokenizer, tmp_path: Path) -> None:
    thinker = Thinker(tokenizer)
    once = examined(tokenizer, tmp_path, thinker, Price(3.6, cores=4), check_thoughts=False).results[0]
    assert once.usd == pytest.approx(4 * once.seconds_each * 3.6 / 3600, rel=1e-3)
    # Another day on one core, at half the price: what is there already took what it took.
    again = examined(tokenizer, tmp_path, thinker, Price(1.8, cores=1), check_thoughts=False).results[0]
    assert again.usd == pytest.approx(once.usd / 2)


def test_whoever_asks_the_same_again_sees_that_it_was_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    def again(folder: str, thinker: Thinker, weights: bytes) -> Rerun:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "model.safetensors").write_bytes(weights)
        return examined(tokenizer, tmp_path / folder, thinker, check_thoughts=False).again

    first, second = again("a", Thinker(tokenizer), b"one"), again("b", Thinker(tokenizer), b"one")
    assert first == second
    other = again("c", Thinker(tokenizer, forgets=3), b"two")
    assert other.questions == first.questions
    assert other.answers != first.answers
    assert other.weights != first.weights
    assert ["sampling", "temperature 0.0, seed 0"] in first.section().rows
    assert first.software["reasoning-gym"]


def test_what_a_model_elsewhere_cannot_be_asked_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    server = examination.Examinee(lambda task, draws: [], "server", {})
    for options in ({"limits": [4]}, {"check_thoughts": True}):
        with pytest.raises(ConfigError, match="models here"):
            examination.examine(server, suites.parts(["gcd"], 1), tmp_path, progress=False, **options)
    local = Local(tokenizer, Thinker(tokenizer), SamplingParams(), thinking=False)
    who = examination.Examinee(local, "silent", {})
    with pytest.raises(ConfigError, match="--no-thinking"):
        examination.examine(who, suites.parts(["chain_sum"], 1), tmp_path, check_thoughts=True, progress=False)


def test_a_thought_is_cut_between_words() -> None:
    thought = "12 + 30 = 42\n42 - 2 = 40"
    assert [cut(thought, share) for share in (0, 0.25, 0.5, 0.75, 1)] == [
        "", "12 +", "12 + 30 = 42", "12 + 30 = 42\n42 -", thought,
    ]  # fmt: skip
    assert cut("3+4=7,7+1=8", 0.5) == "3+4=7,"
    assert cut("", 0.5) == ""


def test_what_is_made_wrong_is_one_digit_of_a_result_or_a_word() -> None:
    for seed in range(30):
        as_it_is, wrong = corrupted(
            "4 + 3 = 7\n7 - 20 = -13\nso -13 it is, and there is much to say of it", random.Random(seed)
        )
        assert as_it_is.thought in ("4 + 3 = 7", "4 + 3 = 7\n7 - 20 = -13")
        differing = [at for at, (a, b) in enumerate(zip(as_it_is.thought, wrong.thought, strict=True)) if a != b]
        assert len(differing) == 1
        assert wrong.thought[differing[0]].isdigit()
        assert "= -0" not in wrong.thought
        assert (as_it_is.closed, wrong.closed) == (False, False)
    as_it_is, wrong = corrupted("one two", random.Random(0))
    assert (as_it_is.thought, wrong.thought, wrong.closed) == ("one two", "one one", True)
    assert corrupted("xyz", random.Random(0))[1].thought == "zyx"
    assert corrupted("...", random.Random(0)) is None


class Strict:
    """Judges no question but its own, as the library's judges do."""

    def __init__(self, name: str) -> None:
        self.task = get(name)
        self.name = name

    def problem(self, seed: int) -> Problem:
        return self.task.problem(seed)

    def score(self, problem: Problem, answer: str) -> Score:
        assert problem == self.task.problem(problem.seed)
        return self.task.score(problem, answer)


def test_a_reworded_question_keeps_what_is_asked_and_is_judged_as_before() -> None:
    for name in ("gcd", "caesar_cipher", "spell_backward"):
        task = Strict(name)
        for how, word in REWORDINGS.items():
            varied = Varied(task, how, word)
            problem, original = varied.problem(900_000_003), task.problem(900_000_003)
            assert problem.prompt != original.prompt
            assert original.prompt.rstrip()[-12:] in problem.prompt
            assert varied.score(problem, original.answer).reward == 1.0
            assert varied.config["asked"] == how
    beginnings = list(OPENINGS)
    assert not [late for at, early in enumerate(beginnings) for late in beginnings[at + 1 :] if late.startswith(early)]
