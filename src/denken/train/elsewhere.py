"""A model elsewhere under examination: what a server with OpenAI's API answers, judged as a model's here is.

So o1 or DeepSeek-R1 themselves can stand in the same report. Asking is `teacher.py`'s: several at once, again where
that may help, every answer on the disk as it comes. Departs from sampling a teacher: a question that a server gives no
answer to is no wrong answer, so it ends the examination with its reason; what was answered is kept, and the same
command goes on with it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from denken.config import EndpointSection, RLTask, SampleSection
from denken.errors import DenkenError
from denken.rollout import Answered, Draw
from denken.tasks.base import Task
from denken.train.journal import Journal
from denken.train.teacher import Endpoint, connect
from denken.types import SamplingParams

# The published runs gave every model so many tokens.
MOST_TOKENS = 32_768


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Satisfies `rollout.Answers`. name: the model, at its server."""

    endpoint: Endpoint

    @property
    def name(self) -> str:
        return self.endpoint.name

    def __call__(self, task: Task, draws: Sequence[Draw]) -> list[Answered]:
        """Raises DenkenError where a question gets no answer."""
        answered = self.endpoint(task, draws)
        lost = Counter(each.lost for each in answered if each.lost)
        if lost:
            why, _ = lost.most_common(1)[0]
            raise DenkenError(
                f"{lost.total()} of {len(draws)} questions of {task.name} got no answer from {self.name}: {why}. "
                "What was answered is kept with --out; the same command goes on with it."
            )
        return answered


@contextmanager
def elsewhere(
    address: str, endpoint: EndpointSection, params: SamplingParams, *, thinking: bool, out: Path | None
) -> Iterator[Elsewhere]:
    """The server at an address, asked what it has. out: where its answers are kept; nowhere for None.

    Raises ConfigError, UnknownNameError and DenkenError as `teacher.connect` does.
    """
    section = SampleSection(
        model=address,
        # Who is asked what is the examination's business; these two are what a set of answers needs.
        tasks=(RLTask(task="chain_sum"),),
        problems=1,
        temperature=params.temperature,
        top_p=params.top_p,
        max_tokens=params.max_tokens or MOST_TOKENS,
        thinking=thinking,
        endpoint=endpoint,
    )
    with ExitStack() as held:
        folder = out or Path(held.enter_context(tempfile.TemporaryDirectory()))
        journal = held.enter_context(Journal(folder / "said.jsonl"))
        yield Elsewhere(connect(section, params.seed or 0, journal, by="--served-model", purpose="evaluate"))
