"""What the store does with conversations, in either kind of database."""

from __future__ import annotations

from contextlib import closing

import pytest
from sqlalchemy import select, text

from denken.serve.chats import finding, imports, rows
from denken.serve.chats.chats import Chats
from denken.serve.chats.foreign import Carried, Foreign
from denken.serve.tables import conversations, messages, uploads

BEGIN, END = finding.BEGIN, finding.END


@pytest.fixture
def connection(store):
    with store.write() as connection:
        yield connection


def tell(connection, *said, owner="", title=""):
    """A conversation of these questions and answers."""
    row, parent = rows.create(connection, owner, title=title), None
    for place, content in enumerate(said):
        role = "assistant" if place % 2 else "user"
        made = rows.add_message(connection, row["number"], parent=parent, role=role, content=content)
        parent = made["id"]
    return row


def titles(connection, query, owner=""):
    return [row["title"] for row in rows.listing(connection, owner, 50, query=query)[0]]


def test_every_word_must_be_somewhere_in_a_conversation(connection):
    tell(connection, "Where is Kiel?", "On the Baltic Sea.", title="Harbour")
    tell(connection, "Where is Köln?", "On the Rhine.", title="City")
    assert titles(connection, "kiel baltic") == ["Harbour"]
    assert titles(connection, "harbour sea") == ["Harbour"]
    assert titles(connection, "kiel rhine") == []
    assert titles(connection, "KOLN") == titles(connection, "köln") == ["City"]
    assert titles(connection, "balt") == ["Harbour"]
    assert titles(connection, "balt kiel") == []
    assert titles(connection, "where") == ["City", "Harbour"]
    assert titles(connection, "") == titles(connection, " ") == ["City", "Harbour"]


@pytest.mark.parametrize(
    "query",
    [
        '"', "'", "kiel'", 'kiel"', "*", "kiel*", "(", "kiel)", "kiel OR", "AND", "NOT kiel", "NEAR(kiel sea)", "-kiel",
        "words:kiel", "^kiel", "kiel:*", "kiel & | !", "\\", "%", "_", "kiel\x00", "\ud800", "a" * 900, "kiel " * 180,
        "'kiel':*", "<->", "$1", ":term0", "--", "/*", "\u0301", "😀", "ﬁ", "İ", "ß", "कील", "กีล",
    ],
)  # fmt: skip
def test_signs_in_a_query_are_signs(connection, query):
    tell(connection, "Where is Kiel?", "It is there.", title="Harbour")
    assert titles(connection, query) in ([], ["Harbour"])
    if "kiel" in query and not {"or", "near", "words", "not", "x"} & set(
        query.lower().replace(":", " ").replace("(", " ").split()
    ):
        assert titles(connection, query) == ["Harbour"]


def test_words_without_spaces_are_found(connection):
    tell(connection, "什么是强化学习？", "这是一种机器学习方法。", title="RL")
    tell(connection, "東京はどこですか", "日本です。", title="Tokyo")
    assert titles(connection, "强化学习") == titles(connection, "机器") == ["RL"]
    assert titles(connection, "東京") == ["Tokyo"]
    assert titles(connection, "北京") == []


def test_a_snippet_shows_the_hit_in_its_sentence(connection):
    long = "Nothing here. " * 30 + "The harbour of Kîel opens. " + "Nothing more. " * 30
    tell(connection, "Question", long, title="T")
    (found,), _ = rows.listing(connection, "", 50, query="kiel")
    assert f"The harbour of {BEGIN}Kîel{END} opens." in found["snippet"]
    assert found["snippet"].startswith("…")
    assert found["snippet"].endswith("…")
    assert len(found["snippet"]) < 250
    tell(connection, f"{BEGIN}hidden{END} mark", "x", title="marks")
    (found,), _ = rows.listing(connection, "", 50, query="mark")
    assert found["snippet"] == f"hidden {BEGIN}mark{END}"
    (found,), _ = rows.listing(connection, "", 50, query="marks")
    assert found["snippet"] == f"{BEGIN}marks{END}"


def test_thoughts_are_not_searched_and_what_is_long_is_cut(connection):
    row = rows.create(connection, "")
    long = "word " * 100_000 + " behindtheend"
    rows.add_message(connection, row["number"], role="assistant", content=long, thought="secretthought")
    many = " ".join(f"w{number:x}ö" for number in range(60_000))
    rows.add_message(connection, row["number"], role="assistant", content=many)
    assert len(rows.listing(connection, "", 5, query="word w1ö")[0]) == 1
    assert rows.listing(connection, "", 5, query="secretthought")[0] == []
    assert rows.listing(connection, "", 5, query="behindtheend")[0] == []


def test_a_reply_is_found_when_it_is_at_its_end_and_is_written_no_more(connection):
    row = rows.create(connection, "")
    made = rows.add_message(connection, row["number"], role="assistant", content="", state="running")
    rows.write(connection, made["number"], {"content": "half a sentence"})
    assert titles(connection, "half") == []
    rows.write(connection, made["number"], {"content": "a whole sentence", "state": "done"})
    rows.write(connection, made["number"], {"content": "too late", "state": "failed"})
    assert titles(connection, "whole") == [""]
    assert rows.message(connection, made["number"])["state"] == "done"


def test_a_title_that_a_person_gave_stays(connection):
    row = rows.create(connection, "")
    rows.give_title(connection, row["number"], "From the answer")
    rows.give_title(connection, row["number"], "From another")
    assert titles(connection, "answer") == ["From the answer"]
    rows.change(connection, row, title="Mine", titled=True)
    assert titles(connection, "answer") == []
    assert titles(connection, "mine") == ["Mine"]
    own = rows.create(connection, "", titled=True)
    rows.give_title(connection, own["number"], "Not wanted")
    assert titles(connection, "wanted") == []


def test_what_was_deleted_goes_for_good_with_its_files(connection):
    kept, gone = tell(connection, "kept one", "x"), tell(connection, "gone one", "x")
    foreign = Foreign("x:1", "F", 1, 1, [Carried("1", None, "user", "q", files=[("a.txt", "text")])], "1")
    assert imports.enter(connection, "", foreign)
    rows.change(connection, gone, deleted=1)
    imported = connection.execute(select(conversations).where(conversations.c.source == "/x:1")).mappings().one()
    rows.change(connection, imported, deleted=1)
    assert connection.execute(select(uploads.c.text)).scalars().all() == ["text"]
    rows.purge(connection)
    assert connection.execute(select(conversations.c.id)).scalars().all() == [kept["id"]]
    assert len(connection.execute(select(messages.c.id)).all()) == 2
    assert connection.execute(select(uploads.c.id)).all() == []
    assert connection.execute(text("SELECT count(*) FROM said")).scalar() == 2


def test_ones_own_uploads_alone(connection):
    foreign = Foreign("x:1", "F", 1, 1, [Carried("1", None, "user", "q", files=[("a.txt", "text")])], "1")
    imports.enter(connection, "anna", foreign)
    id_ = connection.execute(select(uploads.c.id)).scalar_one()
    assert rows.own_uploads(connection, "anna", [id_])[0]["text"] == "text"
    for owner in ("", "ben"):
        with pytest.raises(Exception, match="There is no upload"):
            rows.own_uploads(connection, owner, [id_])


def test_a_turn_is_kept_in_either_database(speaker, store):
    """The whole way once more, with what neither database likes: a NUL from the model, and from a person."""
    from conversing import Hand, Named
    from starlette.testclient import TestClient

    from denken.serve.app import create_app
    from denken.serve.speaker import Piece

    speaker.pieces = [Piece("think", "a\x00b"), Piece("answer", "c\x00d 😀"), Piece("search", "q\x00")]
    with closing(Chats(store)) as chats:
        hand = Hand(TestClient(create_app(speaker, desk=Named(), chats=chats), base_url="http://localhost"))
        conversation = hand.new()
        reply = hand.ask(conversation, "x\x00y")
        assert (reply["thought"], reply["content"]) == ("a\ufffdb", "c\ufffdd 😀")
        assert reply["steps"][0]["query"] == "q\ufffd"
        assert hand.tree(conversation)["messages"][0]["content"] == "x\ufffdy"
        hand.call("GET", "/app/conversations", params={"q": "\x00"})
        hand.call("PATCH", f"/app/conversations/{conversation}", json={"title": "t\x00", "pinned": True})
        exported = hand.client.get(f"/app/conversations/{conversation}/export", params={"format": "json"}).content
        hand.call("DELETE", f"/app/conversations/{conversation}")
        assert hand.call("POST", "/app/import", content=exported)["imported"] == 1
