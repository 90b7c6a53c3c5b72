"""The answers of an examination so far, in memory and, where there is a file, on disk.

    {"settings": {"label": "bundled", "thinking": true, ...}}
    {"task": "gcd", "config": {}, "seed": 900000000, "sample": 0, "prompt": ..., "thought": ..., "answer": ..., ...}

A line of settings, then a line a sample. Whoever comes with other settings is refused, so that one file never holds the
answers of two models; a last line that a kill cut short is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from denken.errors import ConfigError

Key = tuple[str, str, int, int]  # task, configuration as JSON with sorted keys, problem's seed, sample
Record = dict[str, Any]


class Transcript:
    """Records by their key. Raises ConfigError for a file that is none, or was begun with other settings."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any]) -> None:
        self.records: dict[Key, Record] = {}
        self._path = path
        if path is None:
            return
        settings = json.loads(json.dumps(settings))
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.read_bytes() if path.exists() else b""
        kept = whole[: whole.rfind(b"\n") + 1]
        if not kept:
            path.write_text(json.dumps({"settings": settings}) + "\n", encoding="utf-8")
            return
        if kept != whole:
            path.write_bytes(kept)
        try:
            first, *records = [json.loads(line) for line in kept.decode().splitlines()]
            found = first["settings"]
            for record in records:
                config = json.dumps(record["config"], sort_keys=True)
                self.records[record["task"], config, record["seed"], record["sample"]] = record
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{path} is no transcript of an evaluation ({error}); name another file.") from error
        for name, value in settings.items():
            if found.get(name) != value:
                raise ConfigError(
                    f"{path} holds answers with {name} {found.get(name)!r}, not {value!r}; name another file for these."
                )

    def add(self, records: Iterator[tuple[Key, Record]]) -> None:
        new = dict(records)
        self.records.update(new)
        if self._path:
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in new.values())
