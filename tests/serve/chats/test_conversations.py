"""Conversations are made, asked, shown, found, changed and deleted, each by its owner alone."""

from __future__ import annotations


def test_a_question_is_answered_and_kept(hand, speaker):
    conversation = hand.new()
    begin, *middle, end = hand.turn(conversation, "Hello there, machine")
    assert begin["type"] == "begin"
    assert begin["user"]["content"] == "Hello there, machine"
    assert begin["reply"]["state"] == "running"
    assert begin["reply"]["stream"] == begin["stream"]
    assert [record["type"] for record in middle] == ["think", "think", "answer", "answer"]
    assert end["reply"]["thought"] == "I echo it."
    assert end["reply"]["content"] == "Hello there, machine"
    assert end["reply"]["state"] == "done"
    assert end["reply"]["stream"] is None
    assert end["reply"]["usage"] == {
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "thought_tokens": 3,
        "answer_tokens": 2,
    }
    tree = hand.tree(conversation)
    assert [message["role"] for message in tree["messages"]] == ["user", "assistant"]
    assert tree["messages"][1] == end["reply"]
    assert tree["messages"][1]["parent"] == tree["messages"][0]["id"]
    assert tree["head"] == end["reply"]["id"]
    assert tree["title"] == "Hello there, machine"


def test_a_model_reads_the_branch_without_thoughts(hand, speaker):
    conversation = hand.new()
    first = hand.ask(conversation, "First question")
    hand.ask(conversation, "Second question", first["id"])
    messages = speaker.asks[-1].messages
    assert [(one.role, one.content) for one in messages] == [
        ("user", "First question"),
        ("assistant", "First question"),
        ("user", "Second question"),
    ]
    assert not any(one.reasoning_content for one in messages)


def test_questions_can_be_edited_and_answered_again(hand, speaker):
    conversation = hand.new()
    first = hand.ask(conversation, "One")
    edited = hand.ask(conversation, "Two")
    again = hand.ask(conversation, None, first["parent"])
    tree = hand.tree(conversation)
    roots = [message for message in tree["messages"] if message["parent"] is None]
    assert [message["content"] for message in roots] == ["One", "Two"]
    assert again["parent"] == first["parent"]
    assert again["content"] == "One"
    assert tree["head"] == again["id"]
    hand.call("PATCH", f"/app/conversations/{conversation}", json={"head": edited["id"]})
    assert hand.tree(conversation)["head"] == edited["id"]
    hand.ask(conversation, "Three", edited["id"])
    assert [one.content for one in speaker.asks[-1].messages] == ["Two", "Two", "Three"]
