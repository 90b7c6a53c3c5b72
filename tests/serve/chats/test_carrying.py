"""What leaves and enters a conversation: exports, links, files."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from conversing import Hand, Named
from starlette.testclient import TestClient

from denken.search.found import Found, Source
from denken.serve import guard
from denken.serve.app import create_app
from denken.serve.chats import uploads
from denken.serve.chats.chats import Chats
from denken.serve.speaker import Piece
from denken.serve.store import open_store

KIEL = Source(1, "Kiel harbour", "https://kiel.example/", "It opens at six.", "2024-05-01")
NOTES = Source(2, "My notes", "library:7", "SECRET-EXCERPT")
UNUSED = Source(3, "Other", "https://other.example/", "Nothing.")
PIECES = [
    Piece("think", "SECRET-THOUGHT "),
    Piece("search", "harbour"),
    Piece("found", "", found=Found("harbour", (KIEL, NOTES, UNUSED), seconds=0.5)),
    Piece("think", "so."),
    Piece("answer", "It opens **at six** [citation:1][citation:2][citation:9]."),
]


@pytest.fixture
def told(hand, speaker):
    """A conversation with a file, a search and a second branch; its id."""
    file = hand.call("POST", "/app/uploads", params={"name": "secret-name.txt"}, content=b"SECRET-FILE text")
    conversation = hand.new()
    speaker.pieces = PIECES
    first = hand.ask(conversation, "When does it open?", attachments=[file["id"]])
    speaker.pieces = None
    hand.ask(conversation, "OTHER-BRANCH", first["id"])
    hand.call("PATCH", f"/app/conversations/{conversation}", json={"head": first["id"]})
    return conversation


def test_a_search_is_kept_with_its_place_in_the_thought(hand, told):
    reply = hand.tree(told)["messages"][1]
    (step,) = reply["steps"]
    assert step == {
        "query": "harbour",
        "at": len("SECRET-THOUGHT "),
        "seconds": 0.5,
        "problem": "",
        "sources": [1, 2, 3],
    }
    assert [source["title"] for source in reply["sources"]] == ["Kiel harbour", "My notes", "Other"]


def test_markdown_has_the_branch_and_the_sources_that_it_cites(hand, told):
    response = hand.client.get(f"/app/conversations/{told}/export", params={"format": "markdown"})
    assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''It%20opens%20at%20six.md"
    text = response.text
    assert text.startswith("# It opens at six\n\n20")
    assert "## You\n\nWhen does it open?\n\nFiles: secret-name.txt" in text
    assert "## Answer (fake)" in text
    assert "It opens **at six** [^2-1][^2-2]." in text
    assert "[^2-1]: Kiel harbour (https://kiel.example/)\n[^2-2]: My notes" in text
    assert "citation" not in text
    assert "OTHER-BRANCH" not in text
    german = hand.client.get(f"/app/conversations/{told}/export", headers={"accept-language": "de-DE,de;q=0.9"})
    assert "## Du\n" in german.text


def test_json_is_read_back_with_all_that_was_in_it(hand, told):
    exported = hand.client.get(f"/app/conversations/{told}/export", params={"format": "json"}).content
    before = hand.tree(told)
    assert hand.call("POST", "/app/import", content=exported) == {"imported": 0, "skipped": 1, "problems": []}
    other = Hand(hand.client, "another")
    assert other.call("POST", "/app/import", content=exported)["imported"] == 1
    assert other.call("POST", "/app/import", content=exported)["skipped"] == 1
    (line,) = other.call("GET", "/app/conversations")["conversations"]
    after = other.tree(line["id"])
    assert after["id"] != before["id"]
    assert (after["title"], after["created"]) == (before["title"], before["created"])
    same = ("role", "content", "thought", "created", "model", "state", "steps", "sources", "usage", "seconds")
    pick = [{name: message[name] for name in same} for message in after["messages"]]
    assert pick == [{name: message[name] for name in same} for message in before["messages"]]
    places = {message["id"]: place for place, message in enumerate(after["messages"])}
    assert [places.get(message["parent"]) for message in after["messages"]] == [None, 0, 1, 2]
    assert places[after["head"]] == 1
    assert after["messages"][0]["attachments"][0]["characters"] == len("SECRET-FILE text")


def test_a_link_shows_the_branch_as_it_was_and_nothing_private(hand, told, speaker):
    link = hand.call("POST", f"/app/conversations/{told}/share")
    assert link["path"] == f"/shared/{link['token']}"
    assert len(link["token"]) >= 32
    assert hand.tree(told)["share"] == link["token"]
    hand.ask(told, "LATER-QUESTION", hand.tree(told)["head"])
    stranger = Hand(hand.client, "a stranger")
    shown = stranger.call("GET", f"/app/shared/{link['token']}")
    assert set(shown) == {"title", "created", "messages"}
    assert [message["role"] for message in shown["messages"]] == ["user", "assistant"]
    reply = shown["messages"][1]
    assert reply["content"] == PIECES[-1].text
    assert [source["excerpt"] for source in reply["sources"]] == ["It opens at six.", ""]
    text = json.dumps(shown)
    for secret in ("SECRET", "secret-name", "OTHER-BRANCH", "LATER", "library:"):
        assert secret not in text
    again = hand.call("POST", f"/app/conversations/{told}/share")
    assert again == link
    assert len(stranger.call("GET", f"/app/shared/{link['token']}")["messages"]) == 4
    hand.call("DELETE", f"/app/conversations/{told}/share")
    stranger.call("GET", f"/app/shared/{link['token']}", 404)
    assert hand.tree(told)["share"] is None


def test_links_end_with_their_conversation_and_are_made_by_its_owner_alone(hand, told):
    Hand(hand.client, "a stranger").call("POST", f"/app/conversations/{told}/share", 404)
    hand.call("POST", f"/app/conversations/{hand.new()}/share", 400)
    link = hand.call("POST", f"/app/conversations/{told}/share")
    hand.call("DELETE", f"/app/conversations/{told}")
    hand.call("GET", f"/app/shared/{link['token']}", 404)
    for wrong in ("x", "%00", "None", link["token"][:-1]):
        hand.call("GET", f"/app/shared/{wrong}", 404)


def test_the_owner_of_the_server_can_switch_sharing_off(hand, told, speaker, chats):
    link = hand.call("POST", f"/app/conversations/{told}/share")
    chats.sharing = False
    assert hand.call("GET", f"/app/shared/{link['token']}", 404)["error"]["code"] == "sharing_off"
    assert hand.call("POST", f"/app/conversations/{told}/share", 403)["error"]["code"] == "sharing_off"
    assert hand.call("GET", "/app/state")["sharing"] is False


def test_a_files_text_goes_with_the_question_and_with_those_that_follow(hand, speaker):
    made = hand.call("POST", "/app/uploads", params={"name": "a.md"}, content="# Kiel\n\nÖffnet um sechs.".encode())
    assert made == {"id": made["id"], "name": "a.md", "characters": 24, "pages": None, "cut": False}
    conversation = hand.new()
    reply = hand.ask(conversation, "When?", attachments=[made["id"]])
    assert speaker.asks[-1].messages[0].content == (
        "[file name]: a.md\n[file content begin]\n# Kiel\n\nÖffnet um sechs.\n[file content end]\nWhen?"
    )
    assert hand.tree(conversation)["messages"][0]["attachments"] == [
        {"id": made["id"], "name": "a.md", "characters": 24}
    ]
    hand.ask(conversation, "Sure?", reply["id"])
    assert "Öffnet um sechs" in speaker.asks[-1].messages[0].content
    hand.ask(conversation, None, reply["parent"])
    assert "Öffnet um sechs" in speaker.asks[-1].messages[0].content
    path = f"/app/conversations/{conversation}/turns"
    stranger = Hand(hand.client, "a stranger")
    stranger.call(
        "POST", f"/app/conversations/{stranger.new()}/turns", 404, json={"content": "x", "attachments": [made["id"]]}
    )
    hand.call("POST", path, 404, json={"content": "x", "attachments": ["none"]})
    hand.call("POST", path, 400, json={"content": "x", "attachments": [made["id"]] * 2})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.txt", b""),
        ("a.pdf", b"%PDF-1.7 broken"),
        ("a.docx", b"PK\x03\x04 broken"),
        ("a.bin", bytes(range(256))),
        ("a.doc", b"\xd0\xcf\x11\xe0 old"),
    ],
)
def test_files_that_cannot_be_read_are_a_sentence(hand, name, content):
    error = hand.call("POST", "/app/uploads", 400, params={"name": name}, content=content)["error"]
    assert error["message"].startswith("a.")
    assert error["code"] == "not_readable"


def test_uploads_are_bounded(hand, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_WAITING", 2)
    monkeypatch.setattr(uploads, "MOST_CHARACTERS", 10)
    ids = [hand.call("POST", "/app/uploads", params={"name": "a.txt"}, content=b"word " * 9)["id"] for _ in range(3)]
    path = f"/app/conversations/{hand.new()}/turns"
    hand.call("POST", path, 404, json={"content": "x", "attachments": ids[:1]})
    last = hand.call("POST", "/app/uploads", params={"name": "n\x00\n a.txt"}, content=b"word " * 9)
    assert (last["characters"], last["cut"], last["name"]) == (10, True, "n\ufffd a.txt")
    hand.call("POST", "/app/uploads", 400, content=b"x")
    hand.call("POST", "/app/uploads", 400, params={"name": "x" * 300}, content=b"x")


def test_files_have_limits_of_their_own_and_are_not_read_without_a_key(hand, monkeypatch):
    large = b"x" * (guard.MAX_BODY_BYTES + 1)
    hand.call("POST", "/app/uploads", params={"name": "a.txt"}, content=large)
    hand.call("POST", f"/app/conversations/{hand.new()}/turns", 413, content=large)
    monkeypatch.setitem(guard.FILES, "/app/uploads", 2**20)
    for content in (large, iter([large[: 2**19]] * 3)):
        error = hand.call("POST", "/app/uploads", 413, params={"name": "a.txt"}, content=content)["error"]
        assert error["message"] == "The file is larger than 1 MiB; split it."


def test_a_file_that_does_not_come_is_given_up(speaker, chats):
    app = guard.Guard(create_app(speaker, desk=Named(), chats=chats), file_seconds=0.1)
    sent, parts = [], [{"type": "http.request", "body": b"begun", "more_body": True}]

    async def receive():
        if parts:
            return parts.pop()
        await asyncio.sleep(5)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/app/uploads",
        "query_string": b"name=a.txt",
        "headers": [(b"host", b"localhost")],
    }
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_so_many_files_at_a_time(hand, monkeypatch):
    monkeypatch.setattr(guard, "FILES_AT_ONCE", 0)
    error = hand.call("POST", "/app/uploads", 503, params={"name": "a.txt"}, content=b"x")["error"]
    assert error["code"] == "overloaded"


def test_a_file_that_is_refused_ends_the_connection(speaker, chats, run_server):
    class Locked(Named):
        async def caller(self, request):
            from denken.serve.failure import Failure

            raise Failure(401, "No.")

    with run_server(create_app(speaker, desk=Locked(), chats=chats)) as (port, _):
        response = httpx.post(f"http://127.0.0.1:{port}/app/uploads", params={"name": "a"}, content=b"x" * 3_000_000)
        assert response.status_code == 401
        assert response.headers["connection"] == "close"


def test_everything_is_each_owners_own(hand_of, speaker):
    """Whoever knows an id of another's gets what one gets who made it up."""
    anna, ben, nobody = hand_of("anna"), hand_of("ben"), hand_of("")
    hands = {"CANARY-ANNA": anna, "CANARY-BEN": ben, "CANARY-NOBODY": nobody}
    theirs = {}
    for canary, hand in hands.items():
        file = hand.call("POST", "/app/uploads", params={"name": f"{canary}.txt"}, content=f"file {canary}".encode())
        conversation = hand.new()
        reply = hand.ask(conversation, f"word {canary}", attachments=[file["id"]])
        theirs[canary] = (conversation, reply["id"], file["id"])
    for canary, hand in hands.items():
        others = [name for name in hands if name != canary]
        listed = json.dumps(hand.call("GET", "/app/conversations", params={"q": "word"}))
        assert canary in listed
        assert not any(other in listed for other in others)
        for other in others:
            conversation, reply, _ = theirs[other]
            path = f"/app/conversations/{conversation}"
            made_up = hand.call("GET", "/app/conversations/made-up", 404)
            assert hand.call("GET", path, 404) == made_up
            assert hand.call("PATCH", path, 404, json={"title": "mine"}) == made_up
            assert hand.call("DELETE", path, 404) == made_up
            assert hand.call("POST", f"{path}/restore", 404) == made_up
            assert hand.call("GET", f"{path}/export", 404) == made_up
            assert hand.call("POST", f"{path}/turns", 404, json={"content": "x", "parent": reply}) == made_up
            own = theirs[canary][0]
            hand.call("POST", f"/app/conversations/{own}/turns", 404, json={"content": "x", "parent": reply})
            hand.call("PATCH", f"/app/conversations/{own}", 404, json={"head": reply})


def test_a_server_without_a_store_says_so(speaker):
    client = TestClient(create_app(speaker), base_url="http://localhost", raise_server_exceptions=False)
    for method, path in (("GET", "/app/conversations"), ("POST", "/app/conversations/x/turns"), ("PATCH", "/app/x")):
        response = client.request(method, path)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "no_store")


def test_conversations_outlive_their_server(speaker, tmp_path):
    place, found = str(tmp_path / "kept.db"), []
    for _ in range(2):
        with open_store(place) as store:
            chats = Chats(store)
            hand = Hand(TestClient(create_app(speaker, desk=Named(), chats=chats), base_url="http://localhost"))
            if not found:
                hand.ask(hand.new(), "Remember me")
            found.append(hand.titles())
            chats.close()
    assert found == [["Remember me"], ["Remember me"]]
