"""Conversations together with what stands around them: keys and ledger, search, the model in the box, many at once."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import pytest
from conversing import Hand, Named
from starlette.testclient import TestClient

from denken.search.found import Found, Source
from denken.serve import keys
from denken.serve.app import create_app
from denken.serve.chats.chats import Chats
from denken.serve.keydesk import KeyDesk
from denken.serve.money import nano
from denken.serve.speaker import Piece


class FakeSearcher:
    """Finds one source for every query, in a library of each owner's own."""

    web = "fake"

    def __init__(self):
        self.looks = []
        self.fails = False

    def places(self, owner):
        return ["web", "library"] if owner != "poor" else []

    def look(self, owner, places):
        self.looks.append((owner, list(places)))

        async def look(query):
            if self.fails:
                return Found(query, problem="The web search took longer than 6 s.", seconds=6.0)
            return Found(query, (Source(1, "Page", "https://a.example/", f"for {owner}"),), seconds=0.25)

        return look


@pytest.fixture
def searcher():
    return FakeSearcher()


@pytest.fixture
def chats(sqlite_store, searcher):
    with closing(Chats(sqlite_store, searcher)) as chats:
        yield chats


def test_a_turn_with_search_looks_things_up_and_keeps_the_sources(hand, hand_of, speaker, searcher):
    speaker.context = 10_000
    conversation = hand.new()
    found = hand.turn(conversation, "Where is Kiel?", search=["web", "web"])
    assert [record["type"] for record in found] == [
        "begin",
        "search",
        "found",
        "think",
        "think",
        "answer",
        "answer",
        "end",
    ]
    assert found[1] == {"type": "search", "query": "Where is Kiel?"}
    source = {"number": 1, "title": "Page", "url": "https://a.example/", "excerpt": "for None", "published": ""}
    assert found[2] == {"type": "found", "query": "Where is Kiel?", "sources": [source], "problem": "", "seconds": 0.25}
    reply = found[-1]["reply"]
    assert reply["search"] == ["web"]
    assert reply["sources"] == [source]
    assert reply["steps"] == [{"query": "Where is Kiel?", "at": 0, "seconds": 0.25, "problem": "", "sources": [1]}]
    assert searcher.looks == [(None, ["web"])]
    assert "[webpage 1 begin]" in speaker.asks[-1].messages[-1].content
    anna = hand_of("anna")
    anna.ask(anna.new(), "Where is Kiel?", search=["library"])
    assert searcher.looks[-1] == ("anna", ["library"])
    # What was found belongs to its question alone.
    hand.ask(conversation, "And Köln?", reply["id"])
    assert speaker.asks[-1].messages[0].content == "Where is Kiel?"
    assert len(searcher.looks) == 2


def test_a_search_that_fails_gives_an_answer_without_and_says_so(hand, searcher):
    searcher.fails = True
    reply = hand.ask(hand.new(), "Where is Kiel?", search=["web", "library"])
    assert reply["state"] == "done"
    assert reply["content"] == "Where is Kiel?"
    assert reply["steps"][0]["problem"] == "The web search took longer than 6 s."
    assert reply["sources"] == []


def test_a_model_that_searches_in_its_thought_gets_the_look(hand, speaker, searcher):
    speaker.about = speaker.about.model_copy(update={"searches": "inside"})
    hand.ask(hand.new(), "Where is Kiel?", search=["library"])
    assert speaker.asks[-1].look is not None
    assert speaker.asks[-1].messages[-1].content == "Where is Kiel?"


def test_the_state_says_what_there_is(hand, hand_of, speaker):
    speaker.about = speaker.about.model_copy(update={"examples": {"de": ["Was ist 17 mal 23?"]}})
    state = hand.call("GET", "/app/state")
    assert (state["keys"], state["sharing"], state["runs"]) == (False, True, False)
    assert (state["search"], state["web_search"]) == (["web", "library"], "fake")
    assert state["models"] == [
        {
            "id": "fake",
            "context": 1000,
            "about": {
                "searches": "before",
                "thinks": "optional",
                "chats_freely": True,
                "summary": {},
                "examples": {"de": ["Was ist 17 mal 23?"]},
            },
        }
    ]
    assert state["prices"]["o1"] == {"prompt": 15.0, "cached": 7.5, "completion": 60.0}
    poor = hand_of("poor").call("GET", "/app/state")
    assert (poor["keys"], poor["search"]) == (True, [])


def test_a_server_that_cannot_search_says_so(speaker, sqlite_store):
    with closing(Chats(sqlite_store)) as chats:
        hand = Hand(TestClient(create_app(speaker, desk=Named(), chats=chats), base_url="http://localhost"))
        state = hand.call("GET", "/app/state")
        assert (state["search"], state["web_search"]) == ([], None)
        path = f"/app/conversations/{hand.new()}/turns"
        assert hand.call("POST", path, 400, json={"content": "x", "search": ["web"]})["error"]["code"] == "no_search"


def test_a_turn_is_in_the_ledger_and_says_what_it_cost(speaker, store):
    with store.write() as connection:
        secret = keys.create(connection, "anna")
        poor = keys.create(connection, "poor", keys.Limits(spending=1))
    with closing(KeyDesk(store, keys_on=True, per_hour=nano("3600"))) as desk, closing(Chats(store)) as chats:
        client = TestClient(create_app(speaker, desk=desk, chats=chats), base_url="http://localhost")
        client.headers["authorization"] = f"Bearer {secret}"
        hand = Hand(client)
        speaker.pause = 0.01
        conversation = hand.new()
        reply = hand.ask(conversation, "What is it?")
        assert reply["cost_usd"] > 0.01
        assert reply["o1_usd"] == pytest.approx((6 * 15 + 4 * 7.5 + 5 * 60) / 1e6)
        assert hand.tree(conversation)["messages"][1]["cost_usd"] == reply["cost_usd"]
        assert hand.call("GET", "/v1/usage")["totals"]["requests"] == 1
        assert hand.call("GET", "/app/state")["keys"] is True
        client.headers["authorization"] = f"Bearer {poor}"
        assert hand.titles() == []
        other = hand.new()
        hand.call("POST", f"/app/conversations/{other}/turns", 402, json={"content": "x"})
        assert hand.tree(other)["messages"] == []
        client.headers["authorization"] = "Bearer wrong"
        hand.call("GET", "/app/conversations", 401)
        hand.call("GET", f"/app/conversations/{conversation}", 401)


def test_the_model_in_the_box_holds_a_conversation(bundled, sqlite_store, run_server):
    with closing(Chats(sqlite_store)) as chats, run_server(create_app(bundled, chats=chats)) as (port, _):
        hand = Hand(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
        conversation = hand.new()
        reply = hand.ask(conversation, "What is 17 times 23?")
        assert "391" in reply["content"]
        assert reply["thought"]
        assert reply["usage"]["thought_tokens"] > 10
        assert hand.tree(conversation)["title"].startswith("What is 17 times 23")
        following = hand.ask(conversation, "What is 12 plus 12?", reply["id"])
        assert following["usage"]["cached_tokens"] > 0
        assert following["left_out"] == 0


def test_many_at_once_get_their_own_words_alone(speaker, chats, run_server):
    speaker.pause = 0.002
    plain = speaker.echo

    def slow(question, params, thinking):
        word = question.split("\n\n")[-1]
        speaker.pieces = [Piece("think", f"{word} ") for _ in range(20)] + [Piece("answer", f"{word} ")] * 20
        try:
            return plain(question, params, thinking)
        finally:
            speaker.pieces = None

    lock = threading.Lock()
    echo = speaker.echo = lambda *given: _locked(lock, slow, *given)
    assert echo
    with run_server(create_app(speaker, desk=Named(), chats=chats)) as (port, _):

        def talk(number):
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                hand = Hand(client, f"key{number % 4}")
                word, conversation, parent = f"canary{number}x", hand.new(), None
                for _ in range(3):
                    reply = hand.ask(conversation, word, parent)
                    assert reply["thought"] == f"{word} " * 20
                    assert reply["content"] == f"{word} " * 20
                    parent = reply["id"]
                text = json.dumps(hand.tree(conversation))
                assert not [other for other in range(12) if other != number and f"canary{other}x" in text]

        with ThreadPoolExecutor(12) as pool:
            list(pool.map(talk, range(12)))
    assert speaker.begun == speaker.ended == 36


def _locked(lock, work, *given):
    with lock:
        return work(*given)
