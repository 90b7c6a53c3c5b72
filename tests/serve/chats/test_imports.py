"""Exports of ChatGPT, DeepSeek and of our own are read, once; whatever is wrong with a file is a sentence."""

from __future__ import annotations

import io
import json
import random
import zipfile

import pytest

from denken.serve.chats import imports
from denken.serve.chats.foreign import NotReadable, read


def said(id_, role, text, parent, **message):
    message = {
        "author": {"role": role},
        "create_time": 1.5e9,
        "content": {"content_type": "text", "parts": [text]},
    } | message
    return {"id": id_, "parent": parent, "children": [], "message": {"id": id_, **message}}


CHATGPT = {
    "title": "Kiel",
    "create_time": 1700000000.5,
    "update_time": 1700000100.0,
    "conversation_id": "gpt-1",
    "current_node": "a2",
    "mapping": {
        "root": {"id": "root", "message": None, "parent": None, "children": ["system"]},
        "system": said("system", "system", "", "root"),
        "q": said("q", "user", "Where is Kiel?", "system"),
        "t": said(
            "t",
            "assistant",
            "",
            "q",
            content={"content_type": "thoughts", "thoughts": [{"summary": "S", "content": "A city."}]},
        ),
        "call": said("call", "assistant", "search()", "t", recipient="web"),
        "tool": said("tool", "tool", "results", "call"),
        "a": said("a", "assistant", "In the north.", "tool", metadata={"model_slug": "o1"}),
        "a2": said("a2", "assistant", "On the Baltic Sea.", "q"),
        "image": said(
            "image",
            "user",
            "",
            "a",
            content={
                "content_type": "multimodal_text",
                "parts": [{"content_type": "image_asset_pointer"}, "And this?"],
            },
        ),
        "hidden": said("hidden", "user", "secret", "a", metadata={"is_visually_hidden_from_conversation": True}),
    },
}
DEEPSEEK = {
    "id": "ds-1",
    "title": "Summe",
    "inserted_at": "2025-03-30T04:49:36.505000+08:00",
    "updated_at": "2025-03-30T04:50:29.156000+08:00",
    "mapping": {
        "root": {"id": "root", "parent": None, "children": ["1"], "message": None},
        "1": {
            "id": "1",
            "parent": "root",
            "message": {
                "model": "deepseek-reasoner",
                "inserted_at": "2025-03-30T04:49:37.018000+08:00",
                "fragments": [{"type": "REQUEST", "content": "Was ist 1+1?"}],
            },
        },
        "2": {
            "id": "2",
            "parent": "1",
            "message": {
                "model": "deepseek-reasoner",
                "fragments": [
                    {
                        "type": "SEARCH",
                        "results": [
                            {"url": "https://a.example/", "title": "Sums", "snippet": "It is 2.", "cite_index": 3}
                        ],
                    },
                    {"type": "THINK", "content": "Easy."},
                    {"type": "RESPONSE", "content": "Zwei [citation:3]."},
                ],
            },
        },
    },
}


def post(hand, data, status=200):
    return hand.call(
        "POST", "/app/import", status, content=data if isinstance(data, bytes) else json.dumps(data).encode()
    )


def only(hand):
    (line,) = hand.call("GET", "/app/conversations")["conversations"]
    return hand.tree(line["id"])


def test_chatgpts_tree_keeps_its_branches_thoughts_and_head(hand):
    assert post(hand, [CHATGPT]) == {"imported": 1, "skipped": 0, "problems": []}
    tree = only(hand)
    assert (tree["title"], tree["created"], tree["updated"]) == ("Kiel", 1700000000500, 1700000100000)
    question, answer, image, other = tree["messages"]
    assert (question["content"], question["parent"]) == ("Where is Kiel?", None)
    assert (answer["thought"], answer["content"], answer["model"]) == ("A city.", "In the north.", "o1")
    assert answer["parent"] == other["parent"] == question["id"]
    assert (image["content"], image["parent"]) == ("[image]\n\nAnd this?", answer["id"])
    assert tree["head"] == other["id"]
    assert "secret" not in json.dumps(tree)
    assert "results" not in json.dumps(tree)


def test_deepseeks_fragments_become_question_thought_answer_and_sources(hand):
    post(hand, [DEEPSEEK])
    tree = only(hand)
    question, answer = tree["messages"]
    assert (question["role"], question["content"]) == ("user", "Was ist 1+1?")
    assert (answer["thought"], answer["content"]) == ("Easy.", "Zwei [citation:3].")
    assert answer["sources"] == [
        {"number": 3, "title": "Sums", "url": "https://a.example/", "excerpt": "It is 2.", "published": ""}
    ]
    assert question["created"] == 1743281377018
    assert tree["head"] == answer["id"]
    older = {
        "id": "ds-0",
        "inserted_at": "2025-01-01T00:00:00Z",
        "mapping": {
            "1": {"parent": None, "message": {"role": "USER", "content": "Hi"}},
            "2": {"parent": "1", "message": {"role": "ASSISTANT", "content": "Ho", "reasoning_content": "Hm"}},
        },
    }
    assert [(one.content, one.thought) for one in read(older).messages] == [("Hi", ""), ("Ho", "Hm")]


def test_importing_twice_does_not_double_and_what_was_deleted_comes_back(hand):
    both = [CHATGPT, DEEPSEEK]
    assert post(hand, both)["imported"] == 2
    assert post(hand, both) == {"imported": 0, "skipped": 2, "problems": []}
    for line in hand.call("GET", "/app/conversations")["conversations"]:
        hand.call("DELETE", f"/app/conversations/{line['id']}")
    assert post(hand, both)["imported"] == 2
    assert len(hand.titles()) == 2


def test_each_owner_imports_for_themselves(hand_of):
    anna, ben = hand_of("anna"), hand_of("ben")
    assert post(anna, [CHATGPT])["imported"] == 1
    assert post(ben, [CHATGPT])["imported"] == 1
    assert anna.titles() == ben.titles() == ["Kiel"]


def test_what_was_imported_can_be_gone_on_with_and_found(hand, speaker):
    post(hand, [DEEPSEEK])
    tree = only(hand)
    hand.ask(tree["id"], "Und 2+2?", tree["head"])
    assert [one.content for one in speaker.asks[-1].messages] == ["Was ist 1+1?", "Zwei [citation:3].", "Und 2+2?"]
    assert hand.titles(q="zwei") == ["Summe"]
    assert hand.titles(q="Easy") == []


def zipped(entries, method=zipfile.ZIP_DEFLATED):
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        for name, content in entries:
            # Of a fixed date: the same bytes, and so the same test, in every process.
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return written.getvalue()


def test_archives_as_they_come(hand):
    files = [("chat.html", "<html>"), ("export/conversations.json", json.dumps([CHATGPT])), ("user.json", "{}")]
    files += [("export/conversations-001.json", json.dumps([DEEPSEEK])), ("shared_conversations.json", "[1]")]
    assert post(hand, zipped(files)) == {"imported": 2, "skipped": 0, "problems": []}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"[",
        b"{",
        b'[{"mapping": {',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"PK\x03\x04 no archive",
        zipped([("other.json", "[]")]),
        zipped([("conversations.json", "[" + "x" * 100)]),
        zipped([(f"{number}.txt", "") for number in range(50)]),
        b'"text"',
        b"123",
        b"\xff\xfe\x00",
        b"[NaN]",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_what_is_no_export_is_refused_with_a_sentence(hand, data, monkeypatch):
    monkeypatch.setattr(imports, "MOST_ENTRIES", 40)
    message = post(hand, data, 400)["error"]["message"]
    assert message.endswith(".")
    assert hand.titles() == []


def test_bombs_are_not_unpacked(hand, monkeypatch):
    bomb = zipped([("conversations.json", b"[" + b" " * 50_000_000)])
    assert len(bomb) < 100_000
    monkeypatch.setattr(imports, "MOST_UNPACKED", 10 * 2**20)
    assert "unpacks to more than 10 MiB" in post(hand, bomb, 400)["error"]["message"]
    monkeypatch.setattr(imports, "MOST_CHARACTERS", 2**20)
    large = b'[{"mapping": {"a": "' + b"x" * 3_000_000
    assert "more than 1 million characters" in post(hand, large, 400)["error"]["message"]


def test_a_bad_conversation_does_not_cost_the_others(hand):
    done = post(hand, [1, CHATGPT, {}, {"mapping": {}}, {"mapping": {"a": 1}}, DEEPSEEK])
    assert (done["imported"], done["skipped"]) == (2, 0)
    assert len(done["problems"]) == 4
    assert done["problems"][0] == "Conversation 1 was left out: it is no JSON object."
    torn = json.dumps([CHATGPT, DEEPSEEK]).replace("gpt-1", "gpt-2")[:-50].encode()
    assert post(hand, torn)["imported"] == 1


def test_trees_that_are_none_end(hand):
    circle = {"a": said("a", "user", "A", "b"), "b": said("b", "assistant", "B", "a")}
    with pytest.raises(NotReadable):
        read({"mapping": circle})
    away = {
        "a": said("a", "user", "A", "gone"),
        "x": said("x", "user", "X", "x"),
        "c": said("c", "assistant", "C", "a"),
    }
    assert [one.content for one in read({"mapping": away}).messages] == ["A", "C"]


def test_any_json_at_any_place_is_read_or_refused(hand):
    """Values of the wrong kind in every place of a true export."""
    dice = random.Random(7)
    odd = [None, 1, -1, 1e308, 10**30, True, "", "x", "\x00\ud800", [], {}, [[]], {"a": {}}, ["x"], [None]]

    def spoilt(value):
        if dice.random() < 0.04:
            return dice.choice(odd)
        if isinstance(value, dict):
            return {key: spoilt(inner) for key, inner in value.items()}
        return [spoilt(inner) for inner in value] if isinstance(value, list) else value

    for _ in range(300):
        conversation = spoilt(dice.choice([CHATGPT, DEEPSEEK]))
        try:
            foreign = read(conversation)
        except NotReadable:
            continue
        ids = {message.id for message in foreign.messages}
        assert all(message.parent is None or message.parent in ids for message in foreign.messages)
        assert foreign.head in ids
    many = [spoilt(dice.choice([CHATGPT, DEEPSEEK])) for _ in range(40)]
    done = post(hand, json.dumps(many).encode())
    assert done["imported"] > 3
    for line in hand.call("GET", "/app/conversations")["conversations"]:
        hand.tree(line["id"])
