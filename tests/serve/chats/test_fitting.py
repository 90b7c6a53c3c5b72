"""What a model reads of a conversation: one branch, without thoughts, and the newest part where it is too long."""

from __future__ import annotations

import pytest

from denken.serve.chats import branch, fitting
from denken.serve.chats.branch import Exchange
from denken.serve.chats.fitting import Question
from denken.serve.speaker import ContextFull
from denken.types import SamplingParams


class Counting:
    """Counts characters as tokens."""

    name, context = "counting", 1000

    def __init__(self):
        self.counted = 0

    def count(self, ask):
        self.counted += 1
        size = sum(len(message.content) for message in ask.messages)
        if size > self.context:
            raise ContextFull("too long")
        return size


def question(count, **fields):
    history = [Exchange("q" * 50, "a" * 50) for _ in range(count)]
    return Question(history, "x" * 50, SamplingParams(), **fields)


def test_what_fits_is_whole():
    assert fitting.fitting(Counting(), question(7)) == 0


def test_what_does_not_fit_loses_its_oldest_exchanges_and_eases():
    assert fitting.fitting(Counting(), question(8)) == 4  # 850 characters become 450
    speaker = Counting()
    assert fitting.fitting(speaker, question(10_000)) == 9_996
    assert speaker.counted < 20


def test_what_was_left_out_stays_out_so_that_the_beginning_stays():
    assert fitting.fitting(Counting(), question(9, left_out=4)) == 4
    assert fitting.fitting(Counting(), question(12, left_out=4)) == 8
    assert fitting.fitting(Counting(), question(2, left_out=5)) == 2


def test_a_search_needs_room(speaker):
    async def look(query):
        raise AssertionError

    assert fitting.fitting(Counting(), question(3, look=look)) == 0
    assert fitting.fitting(Counting(), question(4, look=look)) == 2


def test_a_conversation_that_outgrows_the_context_says_what_was_left_out(hand, speaker):
    speaker.count = Counting().count
    conversation, parent = hand.new(), None
    left_out = []
    for number in range(8):
        reply = hand.ask(conversation, f"{number} " + "x" * 98, parent)
        parent = reply["id"]
        left_out.append(reply["left_out"])
    assert left_out == [0, 0, 0, 0, 2, 2, 4, 4]
    assert speaker.asks[-1].messages[0].content.startswith("4 ")
    assert hand.message(conversation, parent)["left_out"] == 4


def test_where_the_other_side_alone_knows_less_is_tried(hand, speaker):
    conversation, parent = hand.new(), None
    for number in range(4):
        parent = hand.ask(conversation, f"question {number}", parent)["id"]
    before = len(speaker.asks)
    plain = speaker.reply

    def picky(ask):
        reply = plain(ask)
        if len(ask.messages) > 3:

            async def refuse():
                raise ContextFull("too long")

            reply.begin = refuse
        return reply

    speaker.reply = picky
    reply = hand.ask(conversation, "last", parent)
    assert reply["left_out"] == 3
    assert [len(ask.messages) for ask in speaker.asks[before:]] == [9, 5, 3]


def test_a_question_too_long_by_itself_is_an_error(hand, speaker):
    speaker.count = Counting().count
    conversation = hand.new()
    reply = hand.ask(conversation, "first")
    path = f"/app/conversations/{conversation}/turns"
    error = hand.call("POST", path, 400, json={"content": "x" * 1001, "parent": reply["id"]})["error"]
    assert error["code"] == "context_length_exceeded"
    assert "The question, with its files, is too long for fake" in error["message"]


def row(number, role, content, parent=None):
    return {"number": number, "id": str(number), "role": role, "content": content, "parent": parent}


def test_a_path_goes_from_the_first_question_to_the_leaf():
    rows = [row(1, "user", "a"), row(2, "assistant", "b", "1"), row(3, "user", "c", "2"), row(4, "user", "d", "2")]
    assert [one["number"] for one in branch.path(rows, "4")] == [1, 2, 4]
    assert branch.path(rows, None) == branch.path(rows, "none") == []
    circle = [row(1, "user", "a", "2"), row(2, "assistant", "b", "1")]
    assert len(branch.path(circle, "2")) == 2


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([("user", "a")], ([], "a")),
        ([("user", "a"), ("assistant", ""), ("user", "b")], ([], "a\n\nb")),
        ([("user", "a"), ("assistant", "x"), ("assistant", "y"), ("user", "b")], ([Exchange("a", "x\n\ny")], "b")),
        ([("assistant", "x"), ("user", "b")], ([], "b")),
    ],
)
def test_roles_take_turns_whatever_is_stored(said, expected):
    assert branch.exchanges([row(number, *one) for number, one in enumerate(said)], {}) == expected
