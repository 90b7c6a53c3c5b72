"""A conversation that outgrows the model's context: the oldest exchanges are left out, and the reply says how many.

What is left out stays out in the turns that follow, so that they begin alike and the cache hits. When the prompt takes
more than `FULL` of the context, it is brought down to `EASED`; with a search, whose findings need room as well, to
less. A question that is too long by itself is an error. How tokens are counted is the speaker's business.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from denken.chat.message import Message
from denken.search.found import Look
from denken.serve.chats.branch import Exchange
from denken.serve.failure import Failure
from denken.serve.searching import open_reply
from denken.serve.speaker import Ask, ContextFull, Piece, Reply, Speaker
from denken.serve.standing import Standing, is_full
from denken.types import SamplingParams

FULL, EASED = 0.75, 0.5
FULL_SEARCHING, EASED_SEARCHING = 0.4, 0.25


@dataclass(frozen=True, slots=True)
class Question:
    """One reply that is wanted to a conversation of any length.

    left_out: of `history`, the oldest exchanges that an earlier turn has left out. look: how to search; None does not.
    """

    history: Sequence[Exchange]
    question: str
    params: SamplingParams
    thinking: bool = True
    left_out: int = 0
    look: Look | None = None
    repeats: bool = False

    def open(self, speaker: Speaker) -> Fitted:
        """Raises ContextFull where the question itself is too long, RequestError where it cannot be answered."""
        return Fitted(speaker, self, fitting(speaker, self))

    def ask(self, left_out: int) -> Ask:
        """With the oldest so many exchanges left out."""
        messages = [message for exchange in self.history[left_out:] for message in exchange.messages]
        return Ask([*messages, Message("user", self.question)], self.params, self.thinking)


def fitting(speaker: Speaker, question: Question) -> int:
    """How many exchanges to leave out. In a few steps, however long the conversation is."""
    searching = question.look is not None
    full, eased = (FULL_SEARCHING, EASED_SEARCHING) if searching else (FULL, EASED)
    every = len(question.history)
    low = min(question.left_out, every)
    if low == every or _fits(speaker, question.ask(low), full):
        return low
    low, high = low + 1, every
    while low < high:
        middle = (low + high) // 2
        if _fits(speaker, question.ask(middle), eased):
            high = middle
        else:
            low = middle + 1
    return high


def _fits(speaker: Speaker, ask: Ask, share: float) -> bool:
    try:
        return speaker.count(ask) <= speaker.context * share
    except ContextFull:
        return False


class Fitted(Standing):
    """Where the other side alone can tell that it is too long, less is tried until it is not.

    left_out: as it is after the first piece. Since it is under way at once, nobody who closes the page meanwhile loses
    a question.
    """

    def __init__(self, speaker: Speaker, question: Question, left_out: int):
        self._speaker, self._question, self.left_out = speaker, question, left_out
        super().__init__(self._open())

    def _open(self) -> Reply:
        try:
            return open_reply(self._speaker, self._question.ask(self.left_out), self._question.look)
        except ContextFull:
            if self.left_out < len(self._question.history):
                self.left_out = len(self._question.history)
                return self._open()
            raise ContextFull(
                f"The question, with its files, is too long for {self._speaker.name}, which takes "
                f"{self._speaker.context} tokens; shorten it, or take a file away."
            ) from None

    @property
    def most_tokens(self) -> int:
        return self._reply.most_tokens

    async def __aiter__(self) -> AsyncGenerator[Piece, None]:
        await self._begin()
        async with aclosing(aiter(self._reply)) as pieces:
            async for piece in pieces:
                yield piece

    async def _begin(self) -> None:
        while True:
            try:
                return await self._reply.begin()
            except (ContextFull, Failure) as error:
                every = len(self._question.history)
                if self.left_out == every or not is_full(error):
                    raise
            await self._reply.aclose()
            self.left_out = (self.left_out + every + 1) // 2
            self._reply = self._open()
