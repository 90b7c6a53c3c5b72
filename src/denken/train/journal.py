"""What a teacher elsewhere said, a line an answer, kept as it comes: nothing that stands here is asked for again.

    {"id": "9f0c...", "thought": "3 * 4 = 12", "answer": "12", "finish": "stop", "prompt_tokens": 9, "tokens": 14, ...}

What makes two questions the same, and when a line is written, is `teacher.py`'s business.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from denken.errors import ConfigError
from denken.rollout import Reply
from denken.types import FinishReason


@dataclass(frozen=True, slots=True)
class Said:
    """What came for one question, as the journal has it.

    apart: whether the thought came apart from the answer, or between its tags. estimated: the server counted nothing.
    usd: what it cost at the prices given. elapsed: seconds since the first question for the same purpose.
    """

    id: str
    purpose: str
    task: str
    seed: int
    sample: int
    thought: str
    answer: str
    cut: bool
    apart: bool
    finish: FinishReason
    prompt_tokens: int
    tokens: int
    estimated: bool
    usd: float
    seconds: float
    elapsed: float = 0.0

    def reply(self, thinking: bool) -> Reply:
        return Reply(self.thought, self.answer, self.cut, tags_in_place=self.apart if thinking else not self.thought)


class Journal:
    """Answers by their id, on the disk; in memory is only where each stands, and the sums.

    spent: US dollars by purpose. elapsed: seconds likewise.
    A last line that a kill cut short is dropped. Raises ConfigError for a file that is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spent: dict[str, float] = {}
        self.elapsed: dict[str, float] = {}
        self._places: dict[str, int] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, 1):
            if not line.endswith(b"\n"):
                break
            self._count(_said_in(line, f"{path}, line {number}"), end)
            end += len(line)
        self._file.truncate(end)
        self._end = end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._places)

    @property
    def usd(self) -> float:
        return sum(self.spent.values())

    def get(self, id_: str) -> Said | None:
        place = self._places.get(id_)
        if place is None:
            return None
        self._file.seek(place)
        return _said_in(self._file.readline(), str(self.path))

    def add(self, said: Said) -> None:
        """On the disk when this returns."""
        line = json.dumps(asdict(said), ensure_ascii=False).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._count(said, self._end)
        self._end += len(line)

    def _count(self, said: Said, start: int) -> None:
        self._places[said.id] = start
        self.spent[said.purpose] = self.spent.get(said.purpose, 0.0) + said.usd
        self.elapsed[said.purpose] = max(self.elapsed.get(said.purpose, 0.0), said.elapsed)


def journal_path(folder: Path) -> Path:
    """Where a run keeps what its teacher said."""
    return folder / "data" / "asked.jsonl"


def _said_in(line: bytes, where: str) -> Said:
    try:
        return Said(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where}: this is no answer that was kept ({error}); move the file away.") from None
