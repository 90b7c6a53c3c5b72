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


def test_titles_pins_and_pages(hand):
    made = []
    for word in ("one", "two", "three", "four", "five"):
        conversation = hand.new()
        hand.ask(conversation, f"Conversation number {word}")
        made.append(conversation)
    hand.call("PATCH", f"/app/conversations/{made[1]}", json={"pinned": True})
    hand.call("PATCH", f"/app/conversations/{made[2]}", json={"title": "  My\n title "})
    expected = ["two", "five", "four", "My title", "one"]
    listed, cursor = [], None
    for _ in range(3):
        page = hand.call("GET", "/app/conversations", params={"limit": 2} | ({"before": cursor} if cursor else {}))
        listed += page["conversations"]
        cursor = page["next"]
    assert cursor is None
    assert [line["title"].removeprefix("Conversation number ") for line in listed] == expected
    assert [line["pinned"] for line in listed] == [True, False, False, False, False]
    hand.ask(made[2], "And more?", hand.tree(made[2])["head"])
    assert hand.tree(made[2])["title"] == "My title"
    for wrong in ("x", "0-1", "0-1-1-1", "2-1-1", "-1", "0-99999999999999999999-1"):
        assert hand.call("GET", "/app/conversations", 400, params={"before": wrong})["error"]["param"] == "before"
    hand.call("GET", "/app/conversations", 400, params={"limit": 0})
    for wrong in ({"title": " "}, {"title": "x" * 201}, {"pinned": "perhaps"}):
        hand.call("PATCH", f"/app/conversations/{made[0]}", 400, json=wrong)
    hand.call("PATCH", f"/app/conversations/{made[0]}", 404, json={"head": "none"})


def test_what_is_deleted_can_be_brought_back(hand):
    conversation = hand.new()
    hand.ask(conversation, "Keep me here, please")
    path = f"/app/conversations/{conversation}"
    hand.call("POST", f"{path}/restore", 404)
    assert hand.call("DELETE", path) == {"id": conversation, "object": "conversation", "deleted": True}
    hand.call("GET", path, 404)
    hand.call("DELETE", path, 404)
    assert hand.titles() == hand.titles(q="keep") == []
    assert hand.call("POST", f"{path}/restore")["title"] == "Keep me here, please"
    assert hand.titles(q="keep") == ["Keep me here, please"]


def test_an_id_is_any_text_at_all(hand):
    for id_ in ("%00", "%ff", "x" * 64, "'; DROP TABLE messages; --", "..", "%F0%9F%98%80"):
        for method, tail in (("GET", ""), ("DELETE", ""), ("POST", "/restore"), ("POST", "/share"), ("GET", "/export")):
            hand.call(method, f"/app/conversations/{id_}{tail}", 404)
    hand.call("GET", f"/app/conversations/{'x' * 65}", 400)
