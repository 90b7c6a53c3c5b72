"""What stands in for a reply that may be opened anew: it was too long, or something is put in front of it."""

from __future__ import annotations

from denken.serve.failure import Failure
from denken.serve.speaker import ContextFull, Reply, Usage
from denken.types import FinishReason


class Standing:
    """A `Reply` but for its pieces: it says what the reply says that is in its place just now.

    `begin` waits for nothing, so that whoever stands in is under way at once and begins its reply when it is ready to.
    """

    def __init__(self, reply: Reply):
        self._reply = reply

    @property
    def usage(self) -> Usage:
        return self._reply.usage

    @property
    def finish_reason(self) -> FinishReason:
        return self._reply.finish_reason

    @property
    def stop_string(self) -> str | None:
        return self._reply.stop_string

    async def begin(self) -> None:
        """What is wrong with the question was found when it was opened; what the other side says comes later."""

    async def aclose(self) -> None:
        await self._reply.aclose()


def is_full(error: ContextFull | Failure) -> bool:
    """Whether a reply could not begin because the prompt is too long, as this side or the other one tells it."""
    return isinstance(error, ContextFull) or error.code == "context_length_exceeded"
