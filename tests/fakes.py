"""Stand-ins for tests: a `Generate` with queued replies. Small networks for the engine's tests are beside those."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from denken.types import Completion, SamplingParams


class FakeGenerate:
    """Satisfies `denken.types.Generate`: hands out queued replies in order and remembers what it was asked.

    >>> generate = FakeGenerate([(5, 9, 2)])
    >>> generate([[1, 2]], SamplingParams())[0].ids, generate.prompts
    ((5, 9, 2), [(1, 2)])
    """

    def __init__(self, replies: Iterable[Completion | Sequence[int]] = ()) -> None:
        self.replies = deque(replies)
        self.prompts: list[tuple[int, ...]] = []
        self.params: list[SamplingParams] = []

    def __call__(
        self, prompts: Sequence[Sequence[int]], params: SamplingParams | Sequence[SamplingParams]
    ) -> list[Completion]:
        assert len(self.replies) >= len(prompts), f"{len(prompts)} prompts, but only {len(self.replies)} queued replies"
        self.prompts += [tuple(prompt) for prompt in prompts]
        self.params += [params] * len(prompts) if isinstance(params, SamplingParams) else list(params)
        replies = [self.replies.popleft() for _ in prompts]
        return [r if isinstance(r, Completion) else Completion(tuple(r), (0.0,) * len(r)) for r in replies]
