"""A reply under way: read along, gone on with, left alone, stopped, failed, lost with its server."""

from __future__ import annotations

import json
import time
from contextlib import closing

import httpx
import pytest
from conversing import Hand, Named, events

from denken.serve import streams
from denken.serve.app import create_app
from denken.serve.chats import chats as chats_module
from denken.serve.chats.chats import Chats
from denken.serve.failure import Failure
from denken.serve.speaker import ContextFull, Piece

THOUGHT = [Piece("think", f"step {number} ") for number in range(40)]
LONG = [*THOUGHT, Piece("answer", "\n\nForty "), Piece("answer", "steps.")]
THOUGHT_TEXT = "".join(piece.text for piece in THOUGHT)


@pytest.fixture
def app(speaker, chats):
    return create_app(speaker, desk=Named(), chats=chats)


@pytest.fixture
def places(app):
    return app.state.places


@pytest.fixture
def base(app, run_server):
    with run_server(app) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def page(base):
    with httpx.Client(base_url=base, timeout=20) as client:
        yield Hand(client)


def leave(page: Hand, conversation: str, content: str | None, count: int, **fields: object) -> tuple[str, list[str]]:
    """Asks, hangs up after some events; the stream's name, and the data of the events that came."""
    body = {"content": content, "parent": None, **fields}
    read = ""
    with page.client.stream("POST", f"/app/conversations/{conversation}/turns", json=body) as response:
        assert response.status_code == 200, response.read()
        for chunk in response.iter_text():
            read += chunk
            if read.count("\n\n") >= count:
                break
    return response.headers["x-denken-stream"], events(read[: read.rindex("\n\n") + 2])


def said(found: list[str]) -> tuple[str, str]:
    records = [json.loads(data) for data in found if data != "[DONE]"]
    kinds = {"think": "", "answer": ""}
    for record in records:
        if record["type"] in kinds:
            kinds[record["type"]] += record["text"]
    return kinds["think"], kinds["answer"]


def test_a_reload_in_mid_thought_loses_nothing_and_a_second_device_reads_along(page, speaker):
    speaker.pieces, speaker.pause = LONG, 0.02
    conversation = page.new()
    stream, first = leave(page, conversation, "Go", 8)
    reply = page.tree(conversation)["messages"][1]
    assert reply["state"] == "running"
    assert reply["stream"] == stream
    assert THOUGHT_TEXT.startswith(reply["thought"])
    assert reply["thought"]
    rest = events(page.client.get(f"/v1/streams/{stream}", params={"after": len(first)}).text)
    assert said(first + rest) == (THOUGHT_TEXT, "Forty steps.")
    assert json.loads(rest[-2])["reply"]["content"] == "Forty steps."
    assert events(page.client.get(f"/v1/streams/{stream}").text) == first + rest


def test_a_page_that_is_closed_loses_nothing(page, speaker, monkeypatch, wait_until):
    monkeypatch.setattr(streams, "GRACE_SECONDS", 0.05)
    speaker.pieces, speaker.pause = LONG, 0.02
    conversation = page.new()
    leave(page, conversation, "Go", 2)
    wait_until(lambda: page.tree(conversation)["messages"][1]["state"] == "done")
    reply = page.tree(conversation)["messages"][1]
    assert (reply["thought"], reply["content"]) == (THOUGHT_TEXT, "Forty steps.")
    assert reply["seconds"] >= reply["thought_seconds"] > 0.5


def test_the_reply_is_written_down_while_it_grows(page, speaker, chats, monkeypatch, wait_until):
    monkeypatch.setattr(chats_module, "EVERY_SECONDS", 0.05)
    speaker.pieces, speaker.pause = [Piece("think", "step ")] * 500, 0.02
    conversation = page.new()
    stream, _ = leave(page, conversation, "Go", 2)

    def stored() -> str:
        with chats.store.read() as connection:
            return str(connection.exec_driver_sql("SELECT thought FROM messages WHERE role = 'assistant'").scalar())

    wait_until(lambda: len(stored()) > 20)
    page.call("DELETE", f"/v1/streams/{stream}")


def test_stopping_frees_the_slot_at_once_and_keeps_what_there_is(page, speaker, places):
    speaker.pieces, speaker.pause = [Piece("think", "step ")] * 10_000, 0.01
    conversation = page.new()
    stream, _ = leave(page, conversation, "Go", 6)
    began = time.monotonic()
    page.call("DELETE", f"/v1/streams/{stream}")
    assert time.monotonic() - began < 1  # on an idle machine it takes a few milliseconds
    assert (speaker.ended, places.taken) == (1, 0)
    reply = page.tree(conversation)["messages"][1]
    assert reply["state"] == "stopped"
    assert reply["thought"].startswith("step step ")
    assert reply["stream"] is None
    assert not page.call("GET", "/app/conversations")["conversations"][0]["running"]
    # A question may follow what was stopped: its own question is not forgotten.
    speaker.pieces = None
    page.ask(conversation, "Be brief", reply["id"])
    assert [one.content for one in speaker.asks[-1].messages] == ["Go\n\nBe brief"]


def test_a_stop_in_the_answer_leaves_a_title_and_an_answer(page, speaker):
    speaker.pieces, speaker.pause = (
        [Piece("answer", "One long sentence of many words ")] + [Piece("answer", "x ")] * 9999,
        0.01,
    )
    conversation = page.new()
    stream, _ = leave(page, conversation, "Go", 6)
    page.call("DELETE", f"/v1/streams/{stream}")
    tree = page.tree(conversation)
    assert tree["messages"][1]["content"].startswith("One long sentence")
    assert tree["title"].startswith("One long sentence of many words")


def test_a_reply_that_fails_keeps_what_there_is_and_says_why(hand, speaker):
    speaker.pieces = [Piece("think", "Hm "), Piece("answer", "Half "), Piece("answer", "BREAK")]
    conversation = hand.new()
    *_, last = hand.turn(conversation, "Go")
    assert last["type"] == "error"
    assert "secret detail" not in json.dumps(last)
    reply = hand.tree(conversation)["messages"][1]
    assert reply["state"] == "failed"
    assert reply["content"] == "Half "
    assert reply["error"]["code"] == "server_error"
    assert "secret detail" not in json.dumps(reply)


@pytest.mark.parametrize(
    ("refusal", "code"),
    [(ContextFull("Too long."), "context_length_exceeded"), (Failure(502, "Gone.", code="upstream"), "upstream")],
)
def test_what_the_other_side_refuses_is_the_replys_error(hand, speaker, refusal, code):
    speaker.refuses = refusal
    conversation = hand.new()
    begin, last = hand.turn(conversation, "Go")
    assert begin["type"] == "begin"
    assert last == {"type": "error", "message": str(refusal), "code": code}
    reply = hand.tree(conversation)["messages"][1]
    assert reply["error"] == {"message": str(refusal), "code": code}
    speaker.refuses = None
    assert hand.tree(conversation)["title"] == "Go"
    speaker.pieces = [Piece("answer", "A sentence of an answer.")]
    assert hand.ask(conversation, None, reply["parent"])["state"] == "done"
    assert hand.tree(conversation)["title"] == "A sentence of an answer"


def test_a_reply_at_the_end_of_its_room_is_cut(hand, speaker):
    speaker.reason = "length"
    assert hand.ask(hand.new(), "Go")["state"] == "cut"


def test_a_turn_that_is_refused_leaves_nothing_behind(hand, speaker):
    conversation = hand.new()
    path = f"/app/conversations/{conversation}/turns"
    assert hand.call("POST", path, 400, json={"content": "x" * 2000})["error"]["code"] == "context_length_exceeded"
    assert hand.call("POST", path, 404, json={"content": "x", "model": "none"})["error"]["code"] == "model_not_found"
    assert hand.call("POST", path, 404, json={"content": "x", "parent": "none"})["error"]["param"] == "parent"
    for body in ({"content": ""}, {"content": " \n"}, {}, {"content": None}, {"content": "x", "search": ["moon"]}):
        hand.call("POST", path, 400, json=body)
    hand.call("POST", "/app/conversations/none/turns", 404, json={"content": "x"})
    assert hand.tree(conversation)["messages"] == []


def test_what_can_follow_what(page, speaker):
    conversation = page.new()
    path = f"/app/conversations/{conversation}/turns"
    reply = page.ask(conversation, "Go")
    page.call("POST", path, 400, json={"content": None, "parent": reply["id"]})
    page.call("POST", path, 400, json={"content": "x", "parent": reply["parent"]})
    speaker.pieces, speaker.pause = LONG, 0.05
    stream, _ = leave(page, conversation, "More", 2, parent=reply["id"])
    running = page.tree(conversation)["messages"][-1]
    assert page.call("POST", path, 409, json={"content": "x", "parent": running["id"]})["error"]["code"] == "running"
    page.call("DELETE", f"/v1/streams/{stream}")


def test_a_conversation_that_is_deleted_stops_its_reply(page, speaker):
    speaker.pieces, speaker.pause = LONG * 100, 0.01
    conversation = page.new()
    leave(page, conversation, "Go", 2)
    page.call("DELETE", f"/app/conversations/{conversation}")
    assert speaker.ended == 1
    page.call("GET", f"/app/conversations/{conversation}", 404)
    page.call("POST", f"/app/conversations/{conversation}/restore")
    assert page.tree(conversation)["messages"][1]["state"] == "stopped"


def test_what_a_dead_server_was_writing_is_failed_with_what_there_was(store):
    with closing(Chats(store)) as first:
        with store.write() as connection:
            connection.exec_driver_sql("INSERT INTO conversations (id, owner, created, updated) VALUES ('c', '', 1, 1)")
            for server, id_ in ((12345, "dead"), (first.alive.number, "alive")):
                connection.exec_driver_sql(
                    "INSERT INTO messages (id, conversation, role, content, created, state, server, stream) "
                    f"VALUES ('{id_}', 1, 'assistant', 'Half of it', 1, 'running', {server}, 'name')"
                )
        with closing(Chats(store)), store.read() as connection:
            found = connection.exec_driver_sql("SELECT id, state, content, stream FROM messages ORDER BY id").all()
        assert [tuple(row) for row in found] == [
            ("alive", "running", "Half of it", "name"),
            ("dead", "failed", "Half of it", None),
        ]


def test_thinking_and_effort_are_what_the_switches_say(hand, speaker):
    conversation = hand.new()
    hand.ask(conversation, "a", thinking=False)
    hand.ask(conversation, "b", effort="low")
    hand.ask(conversation, "c", effort="high")
    assert [ask.thinking for ask in speaker.asks] == [False, True, True]
    assert [ask.params.thinking_budget for ask in speaker.asks] == [None, 250, None]
    speaker.about = speaker.about.model_copy(update={"thinks": "always"})
    assert hand.ask(conversation, "d", thinking=False)["thinking"] is True
    assert speaker.asks[-1].thinking


def test_a_server_that_is_told_to_end_says_so_in_the_reply(speaker, chats, run_server, wait_until):
    speaker.pieces, speaker.pause = [Piece("think", "step ")] * 10_000, 0.01
    with run_server(create_app(speaker, desk=Named(), chats=chats), grace=0.1) as (port, server):
        page = Hand(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20))
        conversation = page.new()
        leave(page, conversation, "Go", 6)
        server.handle_exit(15, None)
        wait_until(lambda: speaker.ended == 1)
    chats.close()
    with chats.store.read() as connection:
        found = connection.exec_driver_sql("SELECT state, error, stream FROM messages WHERE role = 'assistant'").one()
    assert found.state == "failed"
    assert json.loads(found.error)["code"] == "server_ended"
    assert found.stream is None


def test_a_server_that_dies_beside_this_one_is_noticed(hand, speaker, chats, sqlite_store):
    conversation = hand.new()
    reply = hand.ask(conversation, "Go")
    with closing(Chats(sqlite_store)) as other:
        for server, state in ((other.alive.number, "running"), (12345, "failed")):
            with sqlite_store.write() as connection:
                connection.exec_driver_sql(
                    f"UPDATE messages SET state = 'running', server = {server} WHERE role = 'assistant'"
                )
            assert hand.message(conversation, reply["id"])["state"] == state
