"""Sets of conversations as JSONL files: checked line by line when they are opened, read one at a time.

    {"messages": [{"role": "user", "content": "6 times 7?"},
                  {"role": "assistant", "reasoning_content": "6 * 7 = 42", "content": "42"}],
     "task": "plain:products", "seed": 4711, "reward": 1.0, "parts": {"correct": 1.0},
     "model": "run:04_reasoning_rl@step-400", "sampling": {"temperature": 0.6}, "license": "MIT"}

Only `messages` is needed, and the last one is the assistant's. What another file holds beside these keys is left alone.
Nothing in a set is ever run, and no line stays in memory. A record whose `seed` is kept for evaluation or belongs to a
published benchmark is refused: what is learnt from must not be what is examined.
"""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from denken.chat.message import Message
from denken.errors import ConfigError, RequestError
from denken.tasks.base import training_seed_allowed

MOST_BYTES_A_LINE = 4 << 20


class JsonlSet:
    """The conversations of one file.

    Raises ConfigError, with the line's number, for a file that cannot be read or a line that cannot be learnt from.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = array("Q")
        try:
            self._file = path.open("rb")
        except OSError as error:
            raise ConfigError(f"The set {path} cannot be read ({error.strerror}); give a JSONL file.") from None
        number = start = 0
        while line := self._file.readline(MOST_BYTES_A_LINE + 1):
            number += 1
            if len(line) > MOST_BYTES_A_LINE:
                raise ConfigError(f"{path}, line {number}: it is longer than 4 MiB; shorten it or take it out.")
            if line.strip():
                conversation(_record(line, f"{path}, line {number}"), f"{path}, line {number}")
                self._starts.append(start)
            start += len(line)
        if not self._starts:
            raise ConfigError(f'{path} holds no conversations; write one {{"messages": [...]}} a line.')

    def __len__(self) -> int:
        return len(self._starts)

    def record(self, index: int) -> dict[str, Any]:
        """Conversation `index` of the file, as it stands there."""
        self._file.seek(self._starts[index])
        return _record(self._file.readline(), str(self.path))

    def messages(self, index: int) -> list[Message]:
        return conversation(self.record(index), str(self.path))


def conversation(record: Mapping[str, Any], where: str) -> list[Message]:
    """The messages of a record. ConfigError, beginning with `where`, if it is none or may not be learnt from."""
    given = record.get("messages")
    if not isinstance(given, list) or len(given) < 2 or not all(isinstance(each, dict) for each in given):
        raise ConfigError(
            f'{where}: "messages" must be a list of at least a question and an answer, each an object with "role" and '
            '"content".'
        )
    messages = [_message(each, where) for each in given]
    last = messages[-1]
    if last.role != "assistant" or not (last.content.strip() or last.reasoning_content):
        raise ConfigError(f"{where}: the last message must be the assistant's, and not empty: it is what is learnt.")
    if not any(message.role == "user" for message in messages):
        raise ConfigError(f'{where}: there is no message of the role "user"; an answer needs a question.')
    seed = record.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
        raise ConfigError(f'{where}: "seed" is {str(seed)[:40]!r}; it is the whole number of a problem, or left out.')
    if seed is not None and not training_seed_allowed(seed):
        raise ConfigError(
            f"{where}: this is problem {seed} of {str(record.get('task'))[:80]}, which is kept for evaluation; take "
            "it out, or results would measure memory."
        )
    return messages


def _message(given: Mapping[str, Any], where: str) -> Message:
    content, thought = given.get("content"), given.get("reasoning_content")
    if not isinstance(content, str) or not (thought is None or isinstance(thought, str)):
        raise ConfigError(f'{where}: "content" and "reasoning_content" must be text.')
    if given.get("tool_calls"):
        raise ConfigError(f"{where}: calls of tools cannot be learnt from a set; take the conversation out.")
    try:
        return Message(given.get("role"), content, reasoning_content=thought)  # type: ignore[arg-type]
    except RequestError as error:
        raise ConfigError(f"{where}: {error}") from None


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: this is not JSON ({error}).") from None
    if not isinstance(record, dict):
        raise ConfigError(f'{where}: a conversation is an object with "messages".')
    return record


def write(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """Replace a set in one go, once it is on the disk; returns how many conversations it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    count = 0
    with temporary.open("w", encoding="utf-8") as stream:
        for record in records:
            stream.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    return count


def provenance(
    path: Path, title: str, facts: Sequence[tuple[str, str]], tables: Mapping[str, Mapping[str, Any]]
) -> None:
    """NAME.md beside NAME.jsonl: where a set comes from, what was counted, and how to check that it is this one.

    facts: what and value, a line each. tables: of every heading, what was counted.
    """
    lines = [f"# {title}", "", f"`{path.name}`, one conversation a line; the keys are in denken's docs/train.md.", ""]
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    for what, value in [*facts, ("SHA-256 of the set", f"`{digest}`")]:
        lines.append(f"- {what}: {value}")
    for heading, counted in tables.items():
        lines += ["", f"## {heading}", "", "| | |", "|---|---:|"]
        lines += [f"| {name.replace('|', '/')} | {value} |" for name, value in counted.items()]
    temporary = path.with_suffix(".md.part")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.replace(temporary, path.with_suffix(".md"))
