"""Thoughts from upstream: parsed there or left in the text, opened by the text or by the prompt, or none at all."""

from __future__ import annotations

import pytest

from denken.serve.speaker import Piece, TokenLogprob
from denken.serve.upstream.stop import Stops
from denken.serve.upstream.thought import Thoughts

THOUGHT, ANSWER = "Okay, 3 * 4 = 12.\nSo it is.", "It is `12`, since 3 < 4."
TEXTS = {
    "opener": f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}",
    "no opener": f"{THOUGHT}\n</think>\n\n{ANSWER}",
    "no thinking": ANSWER,
    "empty thought": f"<think>\n\n</think>\n\n{ANSWER}",
}


def said(opened, deltas, *, stopped=True, called=False, tools=()):
    """Thought, answer and calls of a reply, delta by delta."""
    thoughts = Thoughts(opened, tools)
    pieces = [piece for thought, text in deltas for piece in thoughts.push(thought, text)]
    pieces += thoughts.finish()
    pieces += thoughts.instead(stopped, called)
    joined = {"think": "", "answer": ""}
    calls = []
    for piece in pieces:
        if piece.kind == "tool":
            calls.append((piece.name, piece.text))
        else:
            joined[piece.kind] += piece.text
    return joined["think"], joined["answer"], calls


@pytest.mark.parametrize(
    ("opened", "text", "thought"),
    [
        ("unknown", "opener", THOUGHT),
        ("unknown", "no opener", THOUGHT),
        ("unknown", "no thinking", ""),
        ("unknown", "empty thought", ""),
        ("closed", "opener", THOUGHT),
        ("closed", "no thinking", ""),
        ("closed", "empty thought", ""),
        ("open", "opener", THOUGHT),
        ("open", "no opener", THOUGHT),
        ("open", "empty thought", ""),
    ],
)
def test_thoughts_in_the_text_are_found_wherever_it_is_cut(opened, text, thought):
    whole = TEXTS[text]
    expected = (thought, ANSWER, [])
    assert said(opened, [("", letter) for letter in whole]) == expected
    for cut in range(len(whole) + 1):
        assert said(opened, [("", whole[:cut]), ("", whole[cut:])]) == expected, cut


@pytest.mark.parametrize("opened", ["apart", "closed", "open", "unknown"])
def test_thoughts_that_come_apart_make_the_text_the_answer(opened):
    answer = "Write <think> and </think> around it."
    for cut in range(1, len(answer)):
        deltas = [("", ""), (THOUGHT[:5], ""), (THOUGHT[5:], ""), ("", "\n\n" + answer[:cut]), ("", answer[cut:])]
        assert said(opened, deltas) == (THOUGHT, answer, [])
    assert said(opened, [("", "\n"), (THOUGHT, ""), ("", answer)])[0].strip() == THOUGHT


def test_a_plain_answer_is_never_shown_as_a_thought_where_nobody_knows():
    for cut in range(len(ANSWER) + 1):
        thoughts = Thoughts("unknown")
        shown = thoughts.push("", ANSWER[:cut]) + thoughts.push("", ANSWER[cut:]) + thoughts.finish()
        assert {piece.kind for piece in shown} == {"answer"}
        assert "".join(piece.text for piece in shown) == ANSWER


def test_what_is_decided_is_passed_on_at_once():
    thoughts = Thoughts("unknown")
    assert thoughts.push("", "<thi") == []
    assert thoughts.push("", "nk>\nHm") == [Piece("think", "Hm")]
    thoughts = Thoughts("unknown")
    assert thoughts.push("", "Hm, so") == []
    assert thoughts.held == "Hm, so"
    assert thoughts.push("", "</think>4") == [Piece("think", "Hm, so"), Piece("answer", "4")]
    assert thoughts.push("", "2") == [Piece("answer", "2")]
    assert Thoughts("closed").push("", "Plain") == [Piece("answer", "Plain")]
    assert Thoughts("open").push("", "Hm") == [Piece("think", "Hm")]


def test_a_closing_tag_that_is_quoted_decides_nothing():
    text = 'A thought ends with `</think>` or "</think>".'
    for cut in range(len(text) + 1):
        assert said("unknown", [("", text[:cut]), ("", text[cut:])])[0] == ""


@pytest.mark.parametrize("opened", ["apart", "closed", "open", "unknown"])
def test_a_reply_that_is_all_thought_is_an_answer_as_well(opened):
    parsed = [(ANSWER, "")]
    assert said(opened, parsed) == (ANSWER, ANSWER, [])
    assert said(opened, parsed, called=True) == (ANSWER, "", [])
    assert said(opened, parsed, stopped=False) == (ANSWER, "", [])


def test_without_a_closing_tag_there_is_an_answer():
    assert said("open", [("", ANSWER)]) == (ANSWER, ANSWER, [])
    assert said("closed", [("", f"<think>{ANSWER}")]) == (ANSWER, ANSWER, [])
    assert said("unknown", [("", f"<think>{ANSWER}")]) == (ANSWER, ANSWER, [])
    assert said("unknown", [("", ANSWER)], stopped=False) == ("", ANSWER, [])
    assert said("closed", []) == ("", "", [])
    assert said("open", [("", " \n")])[1] == ""


def test_calls_in_the_text_are_calls_only_of_tools_that_were_offered():
    begin, sep, end = (
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>",
        "<｜tool▁sep｜>",
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    )
    text = f'{begin}function{sep}add\n```json\n{{"a": 1}}\n```{end}'
    assert said("closed", [("", text)], tools=["add"]) == ("", "", [("add", '{"a": 1}')])
    assert said("closed", [("", text)])[2] == []
    assert said("closed", [("", text)])[1] == '{"a": 1}'
    search = "<think>Hm <search>12</search> yes</think>4"
    assert said("closed", [("", search)]) == ("Hm <search>12</search> yes", "4", [])
    assert said("closed", [("", search)], tools=["search"])[2] == [("search", "12")]


@pytest.mark.parametrize("opened", ["apart", "closed", "open", "unknown"])
def test_every_token_is_told_once_and_in_order(opened):
    text = TEXTS["no opener"]
    thoughts = Thoughts(opened)
    pieces = []
    for letter in text:
        pieces += thoughts.push("", letter, (TokenLogprob(letter.encode(), -1.0),))
    pieces += thoughts.finish()
    assert b"".join(token.token for piece in pieces for token in piece.tokens).decode() == text


def test_tokens_go_where_the_server_says_they_belong():
    one, two = (TokenLogprob(letter, -1.0) for letter in (b"1", b"2"))
    thoughts = Thoughts("apart")
    assert thoughts.push("", "", (), (one,)) == [Piece("think", "", (one,))]
    assert thoughts.push("é", "", (two,)) == [Piece("think", "é", (two,))]
    assert thoughts.push("a", "b", (two,), (one,)) == [Piece("think", "a", (one,)), Piece("answer", "b", (two,))]


@pytest.mark.parametrize(
    ("text", "kept", "hit"),
    [
        ("one END two", "one ", "END"),
        ("one EN", "one EN", None),
        ("EEND", "E", "END"),
        ("one\n\ntwo END", "one", "\n\n"),
        ("", "", None),
    ],
)
def test_stop_strings_are_found_in_the_answer_wherever_it_is_cut(text, kept, hit):
    for cut in range(len(text) + 1):
        stops = Stops(["END", "\n\n"])
        pieces = stops.cut([Piece("think", "END")])
        for part in (text[:cut], text[cut:]):
            pieces += stops.cut([Piece("answer", part)])
        pieces += stops.finish()
        assert pieces[0] == Piece("think", "END")
        assert ("".join(piece.text for piece in pieces[1:]), stops.hit) == (kept, hit)
