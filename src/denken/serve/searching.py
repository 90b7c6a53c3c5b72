"""A reply that searches, whatever the model can: inside its thought where it was trained to, before it elsewhere.

Before the thought there is one search, with the question as its words; what it found is put in front of the question
with DeepSeek's published prompt. A search that finds nothing leaves the question as it is. What does not fit the
model's context is shortened, then left out, and what is left out is not shown as a source either.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import date

from denken.search.found import Found, Look, Source
from denken.search.prompts import with_results
from denken.serve.failure import Failure
from denken.serve.speaker import Ask, ContextFull, Piece, Reply, Speaker
from denken.serve.standing import Standing, is_full

# Tokens that results may take at the most, and never more than half of what the question leaves.
MOST_RESULTS = 8192
# How many characters of each source, and how many sources: tried in this order until they fit.
FEWER = ((2**20, 99), (1200, 99), (600, 99), (600, 4), (300, 4), (300, 2), (200, 1))
# Where files stand in front of a question, this ends the last one; see `denken.search.prompts.FILE_TEMPLATE`.
END_OF_FILES = "[file content end]\n"


def open_reply(speaker: Speaker, ask: Ask, look: Look | None) -> Reply:
    """The reply to a question that may be searched for; without `look` the speaker's own. Raises as it does."""
    if look is None:
        return speaker.reply(ask)
    if speaker.about.searches == "inside" and ask.thinking and not ask.continues:
        return speaker.reply(replace(ask, look=look))
    return Before(speaker, ask, look)


class Before(Standing):
    """Searches, then answers; the query is seen at once.

    Until the results are there, its figures are those of the question alone; most_tokens: what may be generated and
    found together.
    """

    def __init__(self, speaker: Speaker, ask: Ask, look: Look):
        self._speaker, self._ask, self._look = speaker, ask, look
        super().__init__(speaker.reply(ask))
        prompt = self._reply.usage.prompt_tokens
        room = max(1, speaker.context - prompt)
        self._most_prompt = prompt + min(MOST_RESULTS, room // 2)
        self.most_tokens = min(room, self._reply.most_tokens + min(MOST_RESULTS, room // 2))

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        query = self._query()
        sources: Sequence[Source] = ()
        if query:
            yield Piece("search", query)
            found = await self._look(query)
            used, self._reply = await asyncio.to_thread(self._with, found)
            yield Piece("found", "", found=used)
            sources = used.sources
        try:
            await self._begin(sources)
            async with aclosing(aiter(self._reply)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            await self._reply.aclose()

    def _query(self) -> str:
        """The last question, without the files in front of it."""
        asked = [message.content for message in self._ask.messages if message.role == "user"]
        return " ".join(asked[-1].rpartition(END_OF_FILES)[2].split()) if asked else ""

    def _with(self, found: Found) -> tuple[Found, Reply]:
        """The reply to the question with results in front, and those that it gets."""
        for sources in _fewer(found.sources):
            try:
                reply = self._speaker.reply(self._asked(sources))
            except ContextFull:
                continue
            if reply.usage.prompt_tokens <= self._most_prompt:
                return replace(found, sources=found.sources[: len(sources)]), reply
        if not found.sources:
            return found, self._reply
        problem = f"What was found does not fit into the context of {self._speaker.name}; it answers without."
        return replace(found, sources=(), problem=f"{found.problem} {problem}".strip()), self._reply

    def _asked(self, sources: Sequence[Source]) -> Ask:
        messages = list(self._ask.messages)
        last = max(index for index, message in enumerate(messages) if message.role == "user")
        question = with_results(messages[last].content, sources, today=date.today())
        messages[last] = replace(messages[last], content=question)
        return replace(self._ask, messages=messages)

    async def _begin(self, sources: Sequence[Source]) -> None:
        """Where the other side alone can tell that it is too much, it gets as little as there is, and then nothing."""
        *_, least = [(), *_fewer(sources)]
        for instead in (least, (), None):
            try:
                return await self._reply.begin()
            except (ContextFull, Failure) as error:
                if instead is None or not sources or not is_full(error):
                    raise
            await self._reply.aclose()
            self._reply = await asyncio.to_thread(self._speaker.reply, self._asked(instead))


def _fewer(sources: Sequence[Source]) -> Iterator[Sequence[Source]]:
    """The sources, and then shorter and fewer of them, each of these once."""
    before: Sequence[Source] = ()
    for characters, count in FEWER:
        fewer = [replace(source, excerpt=_cut(source.excerpt, characters)) for source in sources[:count]]
        if fewer and fewer != before:
            yield fewer
        before = fewer


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"
