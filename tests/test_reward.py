"""Rewards against examples worked by hand, and against thoughts that nobody honest would write."""

from __future__ import annotations

import time

import pytest

from denken import language
from denken.chat.template import END_THINK, EOS, THINK
from denken.errors import ConfigError
from denken.reward import PARTS, Reward, format_reward, language_asked, language_reward, length_reward
from denken.rollout import Reply, read
from denken.tokenizer import Tokenizer
from denken.types import Completion, Problem, Rollout, Score

STOPPED = Completion((1, 2, 3))


def rollout(reward: float = 1.0, tokens: int = 10, prompt: str = "What is 3 + 4?", **metadata: object) -> Rollout:
    problem = Problem("sums", prompt, "7", 1, metadata)
    return Rollout(problem, Completion((1,) * tokens), Score(reward, {"correct": float(reward == 1.0)}))


@pytest.mark.parametrize(
    ("thought", "german", "english"),
    [
        ("Zuerst rechne ich 3*4=12, dann addiere ich 5.", 1.0, 0.0),
        ("First I compute 3*4=12, then we add 5.", 0.0, 1.0),
        ("First 12, dann 17", 0.5, 0.5),
        ("wir rechnen and then we stop, also fertig", 4 / 7, 4 / 7),  # "also" is a word of both
        ("", 1.0, 1.0),
        (" \n\t", 1.0, 1.0),
        ("57-38=19 19*4=76; {1,2} -> x", 1.0, 1.0),
        ("s1t2r3a4w5b6e7r8r9y10", 1.0, 1.0),
        ("strawberry ist ein Wort", 0.75, 0.25),
        ("Xqzt Brbl", 1.0, 1.0),  # unknown words are of no language
        ("Größenordnungsmäßig", 1.0, 0.0),
        ("fu\u0308r das Ku\u0308ken", 1.0, 0.0),  # two code points a letter
        ("we don't know, it's not clear, we'll try", 0.0, 1.0),
        ("所以 答案", 0.0, 0.0),
        ("Also 所以 und", 0.5, 0.25),  # two Chinese characters are two words
        ("поэтому wir", 0.5, 0.0),
        ("le nombre est sept", 0.0, 0.0),
        ("d\u0430s", 0.0, 0.0),  # a Cyrillic а in a German word
        ("und\u200b \u202eand\u202c", 0.5, 0.5),
        ("u\u200bn\u200bd", 1.0, 0.0),
        ("UND AND", 0.5, 0.5),
    ],
)
def test_language_by_hand(thought: str, german: float, english: float) -> None:
    assert language_reward(thought, "de") == pytest.approx(german)
    assert language_reward(thought, "en") == pytest.approx(english)


def test_the_lists_are_of_one_language_each() -> None:
    """A German question word in the English list, or the reverse, would reward mixing."""
    for word in ("und", "der", "die", "das", "nicht", "ist", "dann", "oder", "wir", "mal"):
        assert language.count_words(word) == (1, 0, 0, 0), word
    for word in ("and", "the", "not", "is", "then", "or", "we", "times", "that"):
        assert language.count_words(word) == (0, 1, 0, 0), word


@pytest.mark.parametrize(
    "thought",
    [
        "und and " * 125_000,
        "a" * 1_000_000,
        "\u0301" * 1_000_000,
        "u" + "\u0308\u0316" * 500_000,
        "中" * 1_000_000,
        "\ufdfa" * 1_000_000,
        "'" * 1_000_000,
        "a'" * 500_000,
        "\u200d\u202e" * 500_000,
        "\0" * 1_000_000,
        "\ud800" * 1_000_000,
        "<think>" * 150_000,
        " ".join(f"w{i}x{i}" for i in range(100_000)),
    ],
    ids=lambda thought: repr(thought[:6]),
)
def test_hostile_thoughts_are_counted_in_time(thought: str) -> None:
    started = time.perf_counter()
    for asked in language.LANGUAGES:
        assert 0.0 <= language_reward(thought, asked) <= 1.0
    assert format_reward(Reply(thought, "7", False), STOPPED) == float("<think>" not in thought)
    assert time.perf_counter() - started < 5.0


def test_the_language_asked_for_is_the_problems_or_else_the_prompts() -> None:
    assert language_asked(rollout(prompt="Was ist 3 plus 4?").problem) == "de"
    assert language_asked(rollout(prompt="What is 3 plus 4?").problem) == "en"
    assert language_asked(rollout(prompt="3+4").problem) == "en"
    assert language_asked(rollout(prompt="Was ist 3 plus 4?", language="en").problem) == "en"
    assert language_asked(rollout(prompt="Was ist 3 plus 4?", language="both").problem) == "de"
    assert language_asked(rollout(prompt="Was ist 3 plus 4?", language=["en"]).problem) == "de"


@pytest.mark.parametrize(
    ("reply", "finish", "expected"),
    [
        (Reply("3+4=7", "7", False), "stop", 1.0),
        (Reply("", "7", False), "stop", 1.0),
        (Reply("3+4=7", "", False), "stop", 0.0),
        (Reply("3+4=7", " \u200b\u2060\n", False), "stop", 0.0),
        (Reply("3+4=7", "", True), "length", 0.0),
        (Reply("3+4=7", "7", False), "length", 0.0),
        (Reply("3+4=7", "7", False), "abort", 0.0),
        (Reply("3+4=7", "7", True), "stop", 0.0),
        (Reply("3+4=7", "7", False, tags_in_place=False), "stop", 0.0),
        (Reply("3+4=7", "7</think>7", False), "stop", 0.0),
        (Reply("<think>3+4=7", "7", False), "stop", 0.0),
        (Reply("3+4=7", "<think>8</think> 7", False), "stop", 0.0),
    ],
)
def test_format_by_hand(reply: Reply, finish: str, expected: float) -> None:
    assert format_reward(reply, Completion((1, 2), finish_reason=finish)) == expected


def test_format_of_what_an_engine_returns(tokenizer_folder) -> None:
    tokenizer = Tokenizer.load(tokenizer_folder)
    opened, closed, eos = (tokenizer.control(name) for name in (THINK, END_THINK, EOS))
    text = tokenizer.encode("the 7")
    for ids, thinking, expected in (
        ([*text, closed, *text, eos], True, 1.0),
        ([closed, *text, eos], True, 1.0),
        ([*text, closed, closed, *text, eos], True, 0.0),
        ([opened, *text, closed, *text, eos], True, 0.0),
        ([*text, closed, *text, opened, *text, closed, *text, eos], True, 0.0),
        ([*text, closed, *text, closed, eos], True, 0.0),
        ([*text, closed, eos], True, 0.0),
        ([*text, eos], True, 0.0),
        ([*text, eos], False, 1.0),
        ([*text, closed, *text, eos], False, 0.0),
        ([*text, closed, *text, *tokenizer.encode("</think>"), eos], True, 0.0),
        ([], True, 0.0),
    ):
        completion = Completion(tuple(ids))
        assert format_reward(read(completion, tokenizer, thinking=thinking), completion) == expected, ids


def test_length_is_kimis() -> None:
    """0.5 - (len - min) / (max - min), for a wrong answer at most 0."""
    lengths = [10, 20, 30, 50]
    assert [length_reward(tokens, lengths, True) for tokens in lengths] == [0.5, 0.25, 0.0, -0.5]
    assert [length_reward(tokens, lengths, False) for tokens in lengths] == [0.0, 0.0, 0.0, -0.5]
    assert length_reward(7, [7, 7], True) == length_reward(7, [7], False) == 0.0


def test_the_reward_is_the_weighted_mean_and_every_part_is_reported() -> None:
    reward = Reward({"accuracy": 1.0, "format": 0.5, "language": 0.5, "length": 2.0})
    group = [rollout(1.0, 10), rollout(0.0, 30)]
    replies = [Reply("also then dann", "7", False), Reply("then", "", True)]
    first, second = reward(group, replies)
    assert first.parts == {"accuracy": 1.0, "format": 1.0, "language": 2 / 3, "length": 0.5, "correct": 1.0}
    assert first.reward == pytest.approx((1.0 + 0.5 + 0.5 * 2 / 3 + 2.0 * 1.0) / 4.0)
    assert second.parts == {"accuracy": 0.0, "format": 0.0, "language": 1.0, "length": -0.5, "correct": 0.0}
    assert second.reward == pytest.approx(0.5 / 4.0)


def test_parts_without_weight_are_reported_and_not_paid() -> None:
    (score,) = Reward({"accuracy": 3.0})([rollout(0.25)], [Reply("", "7", False)])
    assert score.reward == 0.25
    assert set(score.parts) == {*PARTS, "correct"}


def test_a_tasks_own_parts_do_not_hide_ours() -> None:
    own = Rollout(rollout().problem, STOPPED, Score(0.5, {"format": 0.3, "library": 0.5}))
    (score,) = Reward({"format": 1.0})([own], [Reply("", "7", False)])
    assert (score.reward, score.parts["format"], score.parts["task.format"], score.parts["library"]) == (
        1.0,
        1.0,
        0.3,
        0.5,
    )


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"acuracy": 1.0}, "did you mean 'accuracy'"),
        ({"kindness": 1.0}, "the parts are accuracy, format, language, length"),
        ({"accuracy": -1.0}, "give one from 0"),
        ({"accuracy": float("nan")}, "give one from 0"),
        ({"accuracy": float("inf")}, "give one from 0"),
        ({"accuracy": 0.0}, "weighs anything"),
        ({}, "weighs anything"),
    ],
)
def test_weights_that_make_no_reward_are_refused(weights: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Reward(weights)


def test_a_group_and_its_replies_belong_together() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Reward({"accuracy": 1.0})([rollout(), rollout()], [Reply("", "7", False)])
