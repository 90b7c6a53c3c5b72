"""A thought always ends, and an answer always follows. Scripted models say what the text wants to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from small_models import ScriptedModel, tiny_model

from denken.engine.engine import Engine
from denken.engine.sequence import thought_limit
from denken.errors import ConfigError
from denken.tokenizer import Tokenizer
from denken.types import Completion, SamplingParams

EOS, THOUGHT, ANSWER = 1, 50, 60
END = "<｜end▁of▁sentence｜>"
CLOSING = (2, 10, 11)


def run(script: list[int], *, thinking: bool = True, closing: tuple[int, ...] = CLOSING, **params: int) -> Completion:
    """One request with a prompt of three ids; `script` is what the model wants after it, id for id."""
    model = ScriptedModel([0, 0, 0, *script], context=120)
    subject = Engine(model, eos_ids=[EOS], end_of_thinking=closing)  # type: ignore[arg-type]
    subject.add([5, 6, 7], SamplingParams(temperature=0, **params), thinking=thinking)
    outputs = []
    while subject.has_work:
        outputs += subject.step()
    ids = tuple(id_ for output in outputs for id_ in output.ids)
    logprobs = tuple(logprob for output in outputs for logprob in output.logprobs)
    assert len(ids) == len(logprobs)
    assert outputs[-1].finish_reason is not None
    return Completion(ids, logprobs, outputs[-1].finish_reason)


def test_the_limit_leaves_room_for_the_closing_ids_and_an_answer() -> None:
    assert thought_limit(32768, 3, None) == 32768 - 3 - 256
    assert thought_limit(32768, 3, 1000) == 1000
    assert thought_limit(100, 3, 1000) == 100 - 3 - 25
    assert thought_limit(4, 3, None) == 0
    assert thought_limit(3, 3, 0) is None


def test_at_the_budget_the_closing_ids_are_forced_and_the_answer_follows() -> None:
    completion = run([THOUGHT] * 8 + [ANSWER] * 2 + [EOS], thinking_budget=5)
    assert completion.ids == (*[THOUGHT] * 5, *CLOSING, ANSWER, ANSWER, EOS)
    assert completion.logprobs[5:8] == (0.0, 0.0, 0.0)
    assert all(logprob < 0 for logprob in completion.logprobs[:5] + completion.logprobs[8:])
    assert completion.finish_reason == "stop"


def test_forced_ids_have_kept_one_and_a_logprob_of_zero() -> None:
    model = ScriptedModel([0, 0, 0, *[THOUGHT] * 8, ANSWER, EOS], context=120)
    subject = Engine(model, eos_ids=[EOS], end_of_thinking=CLOSING)  # type: ignore[arg-type]
    subject.add([5, 6, 7], SamplingParams(temperature=1, top_p=1, top_k=4, seed=1, thinking_budget=5, max_tokens=12))
    outputs = []
    while subject.has_work:
        outputs += subject.step()
    kept = [kept for output in outputs for kept in output.kept]
    assert kept[:8] == [4] * 5 + [1] * 3
    assert [lp for output in outputs for lp in output.logprobs][5:8] == [0.0] * 3


def test_a_budget_of_nothing_answers_at_once() -> None:
    completion = run([THOUGHT] * 3 + [ANSWER, EOS], thinking_budget=0)
    assert completion.ids == (*CLOSING, ANSWER, EOS)


def test_a_thought_that_ends_by_itself_is_left_alone() -> None:
    completion = run([THOUGHT, THOUGHT, 2, ANSWER, EOS], thinking_budget=10)
    assert completion.ids == (THOUGHT, THOUGHT, 2, ANSWER, EOS)
    assert 0.0 not in completion.logprobs


def test_a_thought_that_ends_exactly_at_its_budget_is_closed_once() -> None:
    assert run([THOUGHT, 2, ANSWER, EOS], thinking_budget=2).ids == (THOUGHT, 2, ANSWER, EOS)


def test_the_end_of_text_inside_a_thought_closes_the_thought_instead() -> None:
    completion = run([THOUGHT, EOS, 0, 0, ANSWER, EOS])
    assert completion.ids == (THOUGHT, *CLOSING, ANSWER, EOS)
    assert completion.finish_reason == "stop"


def test_after_a_forced_close_the_text_cannot_end_before_it_was_answered() -> None:
    completion = run([THOUGHT] * 2 + [0, 0, 0, EOS, EOS], thinking_budget=2)
    assert len(completion.ids) == 7
    assert completion.ids[:5] == (THOUGHT, THOUGHT, *CLOSING)
    assert completion.ids[5] != EOS
    assert completion.ids[6] == EOS


@pytest.mark.parametrize("max_tokens", [4, 5, 6, 7, 8, 11, 12, 13, 20, 31, 59])
@pytest.mark.parametrize("thinking_budget", [None, 0, 7, 1000])
def test_max_tokens_always_leaves_an_answer(max_tokens: int, thinking_budget: int | None) -> None:
    endless = run([THOUGHT] * 110, max_tokens=max_tokens, **_given(thinking_budget=thinking_budget))
    assert len(endless.ids) == max_tokens
    assert endless.finish_reason == "length"
    closed = endless.ids.index(CLOSING[0])
    assert endless.ids[closed : closed + 3] == CLOSING
    assert len(endless.ids) - closed - 3 >= max(1, max_tokens // 4)


def _given(**params: int | None) -> dict[str, int]:
    return {name: value for name, value in params.items() if value is not None}


@pytest.mark.parametrize("max_tokens", [1, 2, 3])
def test_where_not_even_the_closing_ids_fit_the_thought_is_cut(max_tokens: int) -> None:
    completion = run([THOUGHT] * 20, max_tokens=max_tokens, thinking_budget=5)
    assert (completion.ids, completion.finish_reason) == ((THOUGHT,) * max_tokens, "length")


def test_the_end_of_the_context_leaves_an_answer_too() -> None:
    completion = run([THOUGHT] * 117)
    assert len(completion.ids) == 117
    assert completion.ids.index(CLOSING[0]) == thought_limit(117, 3, None) == 117 - 3 - 29


def test_without_a_thought_nothing_is_forced() -> None:
    assert run([ANSWER, EOS], thinking=False, thinking_budget=0).ids == (ANSWER, EOS)
    assert run([THOUGHT] * 9, closing=(), thinking_budget=2, max_tokens=9).ids == (THOUGHT,) * 9


@pytest.mark.parametrize("family", ["qwen3", "deepseek_v3"])
def test_a_forced_close_is_the_same_as_a_prompt_that_holds_it(family: str) -> None:
    """The forced ids go through the network like any others, also in small chunks and a cache that is too small."""
    model = tiny_model(family)
    for options in ({"max_batch_tokens": 2}, {"cache_tokens": 40}):
        subject = Engine(model, eos_ids=[EOS], end_of_thinking=CLOSING, block_size=4, **options)  # type: ignore[arg-type]
        requests = {
            subject.add([5, 6, n], SamplingParams(temperature=0, thinking_budget=6, max_tokens=20)): n
            for n in range(20, 24)
        }
        texts: dict[int, list[int]] = {request: [] for request in requests}
        forced = 0
        while subject.has_work:
            for output in subject.step():
                texts[output.request] += output.ids
        for request, n in requests.items():
            text = texts[request]
            closed = next(i for i in range(len(text)) if text[i] == CLOSING[0])
            if text[closed : closed + 3] != list(CLOSING):
                continue
            forced += 1
            answer = text[closed + 3 :]
            lone = Engine(model, eos_ids=[EOS] if answer[0] != EOS else [])
            lone.add([5, 6, n, *text[: closed + 3]], SamplingParams(temperature=0, max_tokens=1), thinking=False)
            assert lone.step()[0].ids[0] == answer[0]
        assert forced > 1, "too few thoughts were closed by force for this test to mean anything"


def test_a_call_sees_whether_the_prompt_left_a_thought_open(tokenizer: Tokenizer) -> None:
    think, close = tokenizer.control("<think>"), tokenizer.control("</think>")
    newline = tokenizer.encode("\n")
    model = ScriptedModel([65] * 100, vocab_size=tokenizer.vocab_size, context=100)
    subject = Engine(
        model,  # type: ignore[arg-type]
        eos_ids=[EOS],
        end_of_thinking=[*newline, close, *newline],
        tokenizer=tokenizer,
    )
    budget = SamplingParams(temperature=0, thinking_budget=2, max_tokens=12)
    opened, closed, never, reopened = subject(
        [[66, think], [66, think, 67, close, 68], [66], [think, close, 66, think, 67]], budget
    )
    forced = (65, 65, *newline, close, *newline)
    assert opened.ids[:5] == reopened.ids[:5] == forced
    assert closed.ids == never.ids == (65,) * 12


Scripted = Callable[..., list[str]]


@pytest.fixture
def scripted(tokenizer: Tokenizer) -> Scripted:
    """Runs a script of control names and letters, and spells what came of it in the same way. "-" stands where the
    engine puts ids of its own."""

    def run_names(script: list[str], *, thinking: bool = True, **params: int) -> list[str]:
        ids = [tokenizer.control(name) if tokenizer.has_control(name) else ord(name) for name in script]
        subject = Engine(
            ScriptedModel([0, *ids], vocab_size=tokenizer.vocab_size, context=60),  # type: ignore[arg-type]
            eos_ids=[tokenizer.control(END)],
            end_of_thinking=[tokenizer.control("</think>"), ord(".")],
            tokenizer=tokenizer,
        )
        subject.add([65], SamplingParams(temperature=0, **params), thinking=thinking)
        said = [id_ for _ in range(60) if subject.has_work for output in subject.step() for id_ in output.ids]
        return [tokenizer.decode([id_], skip_control=False) for id_ in said]

    return run_names


def test_after_a_forced_close_no_other_thought_opens_before_an_answer(scripted: Scripted) -> None:
    """What the model wants there may not come; all else is equally likely to it, and the first id is taken."""
    for wanted in ("<think>", "</think>", END):
        said = scripted(["t", "t", "-", "-", wanted, "a", END], thinking_budget=2)
        assert said == ["t", "t", "</think>", ".", "\x00", "a", END], wanted


def test_a_thought_within_an_answer_is_held_to_the_same_budget(scripted: Scripted) -> None:
    within = scripted(["t", "</think>", "a", "<think>", "t", "t", "-", "-", "b", END], thinking_budget=6)
    assert within == ["t", "</think>", "a", "<think>", "t", "t", "</think>", ".", "b", END]
    beyond = scripted(["t", "</think>", "a", "<think>", "-", "-", "b", END], thinking_budget=3)
    assert beyond == ["t", "</think>", "a", "<think>", "</think>", ".", "b", END]
    unanswered = scripted(["t", "</think>", "<think>", END, "-", "b", END])
    assert unanswered == ["t", "</think>", "<think>", "</think>", ".", "b", END]


def test_a_thought_that_the_prompt_did_not_open_is_bounded_too(scripted: Scripted) -> None:
    said = scripted(["<think>", *"ttttt", "-", "-", "b", END], thinking=False, thinking_budget=3)
    assert said[:5] == ["<think>", "t", "t", "</think>", "."]
    endless = scripted(["<think>", *"t" * 50], thinking=False, max_tokens=20)
    assert endless.index("</think>") == thought_limit(20, 2, None) == 13
    assert len(endless) == 20


def test_where_a_late_thought_leaves_no_room_nothing_is_forced(scripted: Scripted) -> None:
    assert scripted(["t", "</think>", *"aaa", "<think>", "t", "t"], max_tokens=8)[5:] == ["<think>", "t", "t"]


def test_stop_strings_are_looked_for_in_every_answer_and_in_no_thought(tokenizer: Tokenizer) -> None:
    script = [*b"t;", tokenizer.control("</think>"), *b"a", tokenizer.control("<think>"), *b";"]
    script += [tokenizer.control("</think>"), *b"b;c"]
    subject = Engine(
        ScriptedModel([0, *script], vocab_size=tokenizer.vocab_size, context=60),  # type: ignore[arg-type]
        eos_ids=[tokenizer.control(END)],
        end_of_thinking=[tokenizer.control("</think>")],
        tokenizer=tokenizer,
    )
    subject.add([65], SamplingParams(temperature=0, stop=(";",)))
    outputs = [output for _ in range(60) if subject.has_work for output in subject.step()]
    assert [id_ for output in outputs for id_ in output.ids] == script[:-1]
    assert (outputs[-1].finish_reason, outputs[-1].surplus) == ("stop", 1)


@pytest.mark.parametrize("wrong", [{"eos_ids": [1, 101]}, {"eos_ids": [-1]}, {"end_of_thinking": [2, 500]}])
def test_ids_that_the_model_has_not_are_refused(wrong: dict[str, list[int]]) -> None:
    with pytest.raises(ConfigError, match="from 0 to 100"):
        Engine(tiny_model(), **({"eos_ids": [EOS]} | wrong))  # type: ignore[arg-type]


def test_closing_ids_without_a_control_id_are_refused(tokenizer: Tokenizer) -> None:
    model = ScriptedModel([], vocab_size=tokenizer.vocab_size)
    with pytest.raises(ConfigError, match="none of which is a control id"):
        Engine(model, eos_ids=[EOS], end_of_thinking=tokenizer.encode("\n\n"), tokenizer=tokenizer)  # type: ignore[arg-type]
