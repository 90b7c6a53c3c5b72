"""A reply that searches: inside the thought where a model was trained to, before it elsewhere; what does not fit."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from speaking import FakeReply, FakeSpeaker

from denken.about import About
from denken.chat.message import Message
from denken.errors import RequestError
from denken.search.found import Found, Source
from denken.search.prompts import with_files
from denken.serve.failure import Failure
from denken.serve.searching import MOST_RESULTS, Before, open_reply
from denken.serve.speaker import Ask, ContextFull, Piece
from denken.types import SamplingParams

SOURCES = tuple(Source(number, f"Page {number}", "https://a.example/", "word " * 500) for number in (1, 2, 3))
ASK = Ask([Message("user", "Hi"), Message("assistant", "Yes?"), Message("user", "When is it?")], SamplingParams())
FULL = Failure(400, "too long", code="context_length_exceeded")


class Looked:
    """A search that finds what it was told to."""

    def __init__(self, *sources: Source, problem: str = "", seconds: float = 0.0):
        self.sources, self.problem, self.seconds, self.queries, self.cancelled = sources, problem, seconds, [], False

    async def __call__(self, query: str) -> Found:
        self.queries.append(query)
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return Found(query, self.sources, self.problem)


class Letters(FakeSpeaker):
    """Counts a token for every letter. limit: what its server takes, which only `begin` tells."""

    context = 20_000

    def __init__(self, context: int = 20_000, limit: int = 10**9):
        super().__init__()
        self.context, self.limit = context, limit

    def reply(self, ask: Ask) -> FakeReply:
        reply = super().reply(ask)
        tokens = sum(len(message.content) for message in ask.messages)
        if tokens + 100 > self.context:
            raise ContextFull(f"The conversation has {tokens} tokens.")
        reply.usage = replace(reply.usage, prompt_tokens=tokens)
        if tokens > self.limit:
            reply.begin = self._full
        return reply

    async def _full(self) -> None:
        raise FULL


def read(reply) -> list[Piece]:
    async def main() -> list[Piece]:
        await reply.begin()
        return [piece async for piece in reply]

    return asyncio.run(main())


def asked_last(speaker: FakeSpeaker) -> str:
    return speaker.asks[-1].messages[-1].content


def test_a_search_comes_first_and_the_answer_reads_what_was_found():
    speaker, look = Letters(), Looked(SOURCES[0])
    reply = open_reply(speaker, ASK, look)
    assert isinstance(reply, Before)
    pieces = read(reply)
    assert [piece.kind for piece in pieces] == ["search", "found", "think", "think", "answer", "answer"]
    assert (pieces[0].text, look.queries) == ("When is it?", ["When is it?"])
    assert pieces[1].found == Found("When is it?", SOURCES[:1])
    assert "[webpage 1 begin]\nPage 1\n" in asked_last(speaker)
    assert asked_last(speaker).endswith("When is it?")
    assert speaker.asks[-1].messages[:2] == ASK.messages[:2]
    assert speaker.asks[-1].look is None
    assert (reply.finish_reason, reply.usage.answer_tokens) == ("stop", 2)


def test_the_query_is_seen_before_anything_is_waited_for():
    async def main():
        reply = open_reply(Letters(), ASK, Looked(seconds=60))
        await asyncio.wait_for(reply.begin(), 5)
        pieces = aiter(reply)
        assert (await asyncio.wait_for(anext(pieces), 5)).kind == "search"
        await pieces.aclose()

    asyncio.run(main())


def test_a_model_that_searches_inside_its_thought_does_so_where_it_thinks():
    speaker, look = FakeSpeaker(), Looked()
    speaker.about = About(searches="inside")
    open_reply(speaker, ASK, look)
    assert speaker.asks[-1].look is look
    for without in (replace(ASK, thinking=False), replace(ASK, continues=True)):
        assert isinstance(open_reply(speaker, without, look), Before)
        assert speaker.asks[-1].look is None


def test_without_a_search_it_is_the_speakers_own():
    speaker = FakeSpeaker()
    assert isinstance(open_reply(speaker, ASK, None), FakeReply)
    assert speaker.asks == [ASK]


@pytest.mark.parametrize("problem", ["", "The web search took longer than 6 s."])
def test_a_search_that_finds_nothing_leaves_the_question_as_it_is(problem):
    speaker = Letters()
    pieces = read(open_reply(speaker, ASK, Looked(problem=problem)))
    assert pieces[1].found == Found("When is it?", problem=problem)
    assert asked_last(speaker) == "When is it?"
    assert pieces[-1].kind == "answer"


def test_files_are_no_part_of_the_query():
    asked = replace(ASK, messages=[Message("user", with_files("What is\nit?", [("a.txt", "A cat.")]))])
    look = Looked()
    read(open_reply(Letters(), asked, look))
    assert look.queries == ["What is it?"]


def test_what_is_wrong_with_the_question_is_said_at_once():
    with pytest.raises(RequestError, match="empty"):
        open_reply(FakeSpeaker(), replace(ASK, messages=[Message("user", " ")]), Looked())


@pytest.mark.parametrize(("context", "sources"), [(9000, 3), (7000, 2), (6200, 1)])
def test_results_are_shortened_then_left_out_until_they_fit(context, sources):
    speaker = Letters(context)
    pieces = read(open_reply(speaker, ASK, Looked(*SOURCES)))
    assert pieces[1].found.sources == SOURCES[:sources]
    assert asked_last(speaker).count("[webpage ") - asked_last(speaker).count("[webpage X") == 2 * sources
    assert len(asked_last(speaker)) <= context // 2
    assert "…" in asked_last(speaker)


def test_results_that_do_not_fit_at_all_are_not_shown_as_sources():
    speaker = Letters(2000)
    pieces = read(open_reply(speaker, ASK, Looked(*SOURCES)))
    assert pieces[1].found.sources == ()
    assert "does not fit into the context of fake" in pieces[1].found.problem
    assert asked_last(speaker).endswith("When is it?")
    assert pieces[-1].kind == "answer"


def test_what_a_reply_may_cost_is_known_before_it_searches():
    speaker = Letters(1_000_000)
    reply = open_reply(speaker, ASK, Looked(*(replace(SOURCES[0], number=number) for number in range(1, 60))))
    prompt = reply.usage.prompt_tokens
    assert reply.most_tokens == 100 + MOST_RESULTS
    read(reply)
    assert sum(len(message.content) for message in speaker.asks[-1].messages) <= prompt + MOST_RESULTS


@pytest.mark.parametrize(("limit", "shown"), [(4000, True), (100, False)])
def test_a_server_that_finds_it_too_long_gets_less(limit, shown):
    speaker = Letters(limit=limit)
    pieces = read(open_reply(speaker, ASK, Looked(*SOURCES)))
    assert pieces[-1].kind == "answer"
    assert ("[webpage 1 begin]" in asked_last(speaker)) is shown
    assert speaker.closed >= 2


def test_other_refusals_are_passed_on():
    speaker = Letters()
    speaker.refuses = Failure(503, "overloaded")
    with pytest.raises(Failure, match="overloaded"):
        read(open_reply(speaker, ASK, Looked(SOURCES[0])))
    assert len(speaker.asks) == 2
    speaker.refuses = FULL
    with pytest.raises(Failure, match="too long"):
        read(open_reply(speaker, ASK, Looked(*SOURCES)))


def test_stopping_it_ends_the_search():
    look = Looked(seconds=60)

    async def main():
        reply = open_reply(Letters(), ASK, look)

        async def all_of_it():
            async for _ in reply:
                pass

        task = asyncio.create_task(all_of_it())
        while not look.queries:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert look.cancelled
