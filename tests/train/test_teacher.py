"""A teacher elsewhere: what is asked of a server, what is made of everything that it may answer, and what it costs."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from denken.config import EndpointSection, SampleSection
from denken.errors import ConfigError, DenkenError, UnknownNameError
from denken.rollout import Answered, Draw, Reply
from denken.tokenizer import Tokenizer
from denken.train import rejection, teacher
from denken.train.journal import Journal
from denken.train.sample import Asked, Judges, sample_chunk
from denken.train.teacher import NO_MONEY, NO_TIME, Endpoint, Stopped, connect, divided
from fake_teacher import TASK, FakeTeacher, Given, Record, right, said, slowly

KEY = "sk-very-secret-4711"


class Asking:
    """An endpoint at the fake, with its journal and a task."""

    def __init__(self, fake: FakeTeacher, folder: Path, **endpoint: Any) -> None:
        folder.mkdir(exist_ok=True)
        (folder / "more.py").write_text(TASK)
        sampling = {name: endpoint.pop(name) for name in list(endpoint) if name in SampleSection.model_fields}
        given = {"model": fake.url, "tasks": [{"task": str(folder / "more.py")}], "problems": 9, "samples": 1}
        given |= {"endpoint": EndpointSection(**{"concurrency": 3, "tries": 3} | endpoint), "max_tokens": 100}
        self.section = SampleSection.model_validate(given | sampling)
        self.judges = Judges(self.section, 1)
        self.journal = Journal(folder / "data" / "asked.jsonl")
        self.endpoint: Endpoint = connect(self.section, 1, self.journal)

    def __call__(self, count: int = 4, start: int = 0) -> list[Answered]:
        draws = [Draw(self.judges.draw(index)) for index in range(start, start + count)]
        return self.endpoint(self.judges, draws)


def rewards(answered: list[Answered]) -> list[float]:
    return [each.rollout.score.reward for each in answered]


def test_answers_come_judged_and_in_order(fake: FakeTeacher, tmp_path: Path) -> None:
    asking = Asking(fake, tmp_path, tell="Briefly.", temperature=0.5)
    answered = asking(6)
    assert rewards(answered) == [1.0] * 6
    assert [each.rollout.problem for each in answered] == [asking.judges.draw(index) for index in range(6)]
    number = int(answered[0].reply.answer)
    assert answered[0].reply == Reply(f"{number - 1}+1={number}", str(number), cut=False)
    assert answered[0].tokens == 10
    body = next(body for body in fake.asked if str(number - 1) in body["messages"][0]["content"])
    assert body["messages"] == [{"role": "user", "content": f"One more than {number - 1}?\n\nBriefly."}]
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("wise", 0.5, 100)
    assert body["chat_template_kwargs"]["enable_thinking"] is True
    assert len({body["seed"] for body in fake.asked}) == 6
    assert asking.endpoint.name == f"wise@127.0.0.1:{fake.port}"


@pytest.mark.parametrize(
    ("message", "thought", "answer", "cut", "one_thought"),
    [
        ({"reasoning_content": "so\n", "content": "\n\n7 "}, "so", "7", False, True),
        ({"reasoning": "so", "content": "7"}, "so", "7", False, True),
        ({"content": "<think>\nso\n</think>\n\n7"}, "so", "7", False, True),
        ({"content": "so\n</think>\n\n7"}, "so", "7", False, True),
        ({"content": "<think>\nso and"}, "so and", "", True, False),
        ({"content": "7"}, "", "7", False, False),
        ({"content": None, "reasoning_content": "so"}, "so", "", False, True),
        ({"content": "half \ud83d", "reasoning_content": "so"}, "so", "half \ufffd", False, True),
    ],
)
def test_thoughts_are_found_wherever_they_stand(
    fake: FakeTeacher, tmp_path: Path, message: Record, thought: str, answer: str, cut: bool, one_thought: bool
) -> None:
    fake.say = lambda body, number: said("", **message)
    (answered,) = Asking(fake, tmp_path)(1)
    assert answered.reply == Reply(thought, answer, cut, one_thought)


BAD: dict[str, Given] = {
    "busy": (429, {"Retry-After": "0"}, {"error": {"message": "slow down"}}),
    "overloaded": (503, {}, {"detail": "later"}),
    "failed": (500, {}, {}),
    "no JSON": b"<html>",
    "nested": b"[" * 100_000,
    "no answer": {"choices": [{"message": "?"}]},
    "no choices": {"choices": []},
    "error with status 200": {"error": {"message": "oops"}},
    "hung up": None,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_what_another_try_may_help_is_asked_again(fake: FakeTeacher, tmp_path: Path, bad: Given) -> None:
    fake.say = lambda body, number: bad if number == 1 else right(body)
    assert rewards(Asking(fake, tmp_path)(1)) == [1.0]
    assert len(fake.asked) == 2


def test_the_time_that_a_busy_server_names_is_kept(
    fake: FakeTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds

    clock = [1000.0]
    fake.say = lambda body, number: (429, {"Retry-After": "7"}, {}) if number == 1 else right(body)
    asking = Asking(fake, tmp_path)
    monkeypatch.setattr(teacher.asyncio, "sleep", sleep)
    monkeypatch.setattr(teacher.time, "monotonic", lambda: clock[0])
    draw = Draw(asking.judges.draw(0))
    assert rewards(asking.endpoint(asking.judges, [draw])) == [1.0]
    assert sum(slept) == pytest.approx(7.0)


def test_a_question_that_never_gets_an_answer_is_given_up_and_not_kept(fake: FakeTeacher, tmp_path: Path) -> None:
    asking = Asking(fake, tmp_path)
    hard = asking.judges.draw(1).prompt
    fake.say = lambda body, number: (500, {}, {}) if body["messages"][0]["content"] == hard else right(body)
    answered = asking(4)
    assert [each.lost for each in answered] == ["", "no answer: the server failed (status 500)", "", ""]
    assert rewards(answered) == [1.0, 0.0, 1.0, 1.0]
    assert len(fake.asked) == 3 + 3
    fake.say = lambda body, number: right(body)
    assert not any(each.lost for each in asking(4))
    assert len(fake.asked) == 3 + 3 + 1


def test_a_refused_question_is_not_asked_again(fake: FakeTeacher, tmp_path: Path) -> None:
    fake.say = lambda body, number: (400, {}, {"error": {"message": f"bad words at {fake.url}"}})
    answered = Asking(fake, tmp_path)(2)
    assert [each.lost for each in answered] == ["no answer: bad words at .../v1"] * 2
    assert len(fake.asked) == 2


def test_one_who_does_not_answer_in_time_is_left(fake: FakeTeacher, tmp_path: Path) -> None:
    fake.say = lambda body, number: slowly(0.6, right(body)) if number == 1 else right(body)
    answered = Asking(fake, tmp_path, answer_s=0.3, tries=1, concurrency=1)(2)
    assert [each.lost for each in answered] == ["no answer: the server did not answer in 0.3 s", ""]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((401, {}, {"error": {"message": f"no such key {KEY}"}}), r"refused our key \(that in TEACHER_KEY\)"),
        ((402, {}, {"error": "Insufficient Balance"}), r"account there is empty.*Insufficient Balance"),
        ((404, {}, {}), r"no model 'wise'"),
        ((302, {"Location": "http://elsewhere"}, {}), "redirects"),
    ],
)
def test_what_nothing_can_help_ends_it_at_once(
    fake: FakeTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Given, words: str
) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    fake.say = lambda body, number: right(body) if number == 1 else given
    asking = Asking(fake, tmp_path, key_env="TEACHER_KEY", concurrency=1)
    with pytest.raises(DenkenError, match=words) as raised:
        asking(6)
    assert KEY not in str(raised.value)
    assert len(fake.asked) == 2
    assert len(Journal(asking.journal.path)) == 1
    assert fake.headers[0]["authorization"] == f"Bearer {KEY}"
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_nothing_but_failures_ends_it(fake: FakeTeacher, tmp_path: Path) -> None:
    fake.say = lambda body, number: None
    with pytest.raises(DenkenError, match=r"\d+ questions in a row got no answer: the server broke off.*same command"):
        Asking(fake, tmp_path, tries=1)(20)


def test_our_key_in_an_answer_is_not_kept(fake: FakeTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    fake.say = lambda body, number: said(KEY, "so")
    (answered,) = Asking(fake, tmp_path, key_env="TEACHER_KEY")(1)
    assert "repeated our key" in answered.lost
    assert not any(KEY.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_fields_that_a_server_does_not_take_are_left_out(fake: FakeTeacher, tmp_path: Path) -> None:
    def say(body: Record, number: int) -> Given:
        extra = "chat_template_kwargs" in body
        return (400, {}, {"error": {"message": "Extra inputs: chat_template_kwargs"}}) if extra else right(body)

    fake.say = say
    assert rewards(Asking(fake, tmp_path, tries=1, concurrency=1)(3)) == [1.0] * 3
    assert len(fake.asked) == 4


def test_models_and_addresses_are_checked_first(
    fake: FakeTeacher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.models = [{"id": name} for name in ("wise", "wiser")]
    with pytest.raises(ConfigError, match=r"several models or none \(wise, wiser\)"):
        Asking(fake, tmp_path)
    with pytest.raises(UnknownNameError, match=r"no model 'wisest'; it has wise, wiser"):
        Asking(fake, tmp_path, name="wisest")
    assert Asking(fake, tmp_path, name="wiser").endpoint.model == "wiser"
    fake.listing = (401, {}, {"error": {"message": "who are you?"}})
    with pytest.raises(DenkenError, match=r"refused our key.*who are you"):
        Asking(fake, tmp_path)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_KEY is empty"):
        Asking(fake, tmp_path, key_env="NO_SUCH_KEY")
    fake.port = 9
    with pytest.raises(DenkenError, match="does not answer"):
        Asking(fake, tmp_path)


def test_what_is_in_the_journal_is_not_asked_again(fake: FakeTeacher, tmp_path: Path) -> None:
    first = Asking(fake, tmp_path)(5)
    path = tmp_path / "data" / "asked.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "half a li')  # a kill in the middle of a line
    again = Asking(fake, tmp_path)
    assert again(5) == first
    assert len(fake.asked) == 5
    assert path.read_bytes() == whole
    again(7)
    assert len(fake.asked) == 7
    assert len(path.read_text().splitlines()) == 7
    path.write_text('{"not": "ours"}\n')
    with pytest.raises(ConfigError, match="line 1"):
        Asking(fake, tmp_path)


def test_another_question_is_another_id(fake: FakeTeacher, tmp_path: Path) -> None:
    Asking(fake, tmp_path)(2)
    for change in ({"tell": "Briefly."}, {"temperature": 0.1}, {"max_tokens": 50}):
        before = len(fake.asked)
        Asking(fake, tmp_path, **change)(2)
        assert len(fake.asked) == before + 2, change


def test_stopped_in_the_middle_it_goes_on(fake: FakeTeacher, tmp_path: Path) -> None:
    asking = Asking(fake, tmp_path, concurrency=2)
    asking.endpoint.stopping = lambda: len(asking.journal) >= 4
    with pytest.raises(Stopped):
        asking(200)
    kept, sent = len(asking.journal), len(fake.asked)
    assert 4 <= kept < 200
    assert sent <= kept + 2
    asking.endpoint.stopping = lambda: False
    count = kept + 10
    assert rewards(asking(count)) == [1.0] * count
    assert len(fake.asked) <= count + 2


def test_no_more_is_spent_than_allowed(fake: FakeTeacher, tmp_path: Path) -> None:
    """An answer costs 20 * 1 + 10 * 10 = 120 millionths; the worst, 100 tokens, about 1030."""
    asking = Asking(fake, tmp_path, usd_in=1.0, usd_out=10.0, usd=0.003, concurrency=8)
    answered = asking(40)
    asked = [each for each in answered if not each.lost]
    assert {each.lost for each in answered} == {"", NO_MONEY}
    assert asking.endpoint.spent
    assert asking.journal.usd == pytest.approx(len(asked) * 120e-6)
    assert 0.003 - 1040e-6 - 120e-6 <= asking.journal.usd <= 0.003
    assert len(fake.asked) == len(asked)
    more = Asking(fake, tmp_path, usd_in=1.0, usd_out=10.0, usd=0.006)
    assert len([each for each in more(40) if not each.lost]) > len(asked)
    with pytest.raises(ValueError, match="give usd_in and usd_out"):
        EndpointSection(usd=1.0)


def test_what_a_server_does_not_count_is_estimated(fake: FakeTeacher, tmp_path: Path) -> None:
    for usage in (None, {"prompt_tokens": -1, "completion_tokens": 10**30}, {"prompt_tokens": True}):
        fake.say = lambda body, number, usage=usage: right(body) | {"usage": usage}  # type: ignore[misc]
        asking = Asking(fake, tmp_path / str(id(usage)), usd_out=1.0)
        (answered,) = asking(1)
        assert 2 <= answered.tokens <= 20
        assert asking.journal.usd > 0


def test_when_the_time_is_over_nothing_more_is_asked(fake: FakeTeacher, tmp_path: Path) -> None:
    asking = Asking(fake, tmp_path, concurrency=1)
    asking.endpoint.late = lambda: len(asking.journal) >= 3
    answered = asking(6)
    assert [each.lost for each in answered] == [""] * 3 + [NO_TIME] * 3
    assert len(fake.asked) == 3


def test_several_are_under_way_at_once(fake: FakeTeacher, tmp_path: Path) -> None:
    together = threading.Barrier(3, timeout=5)

    def say(body: Record, number: int) -> Given:
        together.wait()
        return right(body)

    fake.say = say
    assert rewards(Asking(fake, tmp_path)(3)) == [1.0] * 3


def test_every_ground_for_leaving_an_answer_out_is_counted(
    fake: FakeTeacher, tmp_path: Path, tokenizer: Tokenizer
) -> None:
    def say(body: Record, number: int) -> Given:
        good = right(body)
        answer = good["choices"][0]["message"]["content"]
        replies: list[Record] = [
            good,
            said("wrong", "so"),
            said(answer, "so", finish="length"),
            said(answer),
            said(answer, "I am <｜Assistant｜>"),
            said(answer, "<search>x</search>\n<information>\n1\n</information>\n"),
            said(answer, "also ist die Summe der Zahlen dann das Ergebnis"),
            said(answer, "so " * 300),
        ]
        return replies[prompts.index(body["messages"][0]["content"])]

    asking = Asking(fake, tmp_path, language=0.5, max_length=400)
    prompts = [asking.judges.draw(index).prompt for index in range(8)]
    fake.say = say
    asked = Asked(asking.endpoint, tokenizer, asking.endpoint.name, asking.section, 1, foreign=True)
    made = sample_chunk(asked, asking.judges, range(8))
    r = rejection
    assert made["counts"] == {r.WRONG: 1, r.CUT: 1, r.TAGS: 1, r.SPELT: 2, r.MIXED: 1, r.OVER: 1}
    (record,) = made["kept"]
    assert record["messages"][0]["content"] == prompts[0]
    assert record["model"] == f"wise@127.0.0.1:{fake.port}"
    assert made["sampled"] == 80
    assert json.loads((tmp_path / "data" / "asked.jsonl").read_text().splitlines()[0])["tokens"] == 10


def test_a_quoted_tag_leaves_the_rest_to_the_answer() -> None:
    assert divided("", "<think>a</think>b</think>c") == ("a", "b</think>c", False, True)
