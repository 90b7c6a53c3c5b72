"""What others need to do an examination again, and to see whether they got the same.

Two runs have asked the same where their `questions` agree, and heard the same where their `answers` do. Answers need
the same weights, settings and software; on other processors the last bits of a sum may differ, and then some answers.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from denken.evaluate.report import Section
from denken.evaluate.result import Result
from denken.evaluate.transcript import Key, Record, Transcript

_SAID = ("temperature", "top_p", "seed")
PACKAGES = ("denken", "reasoning-gym", "torch", "numpy")


@dataclass(frozen=True, slots=True)
class Rerun:
    """command: what was typed. weights: SHA-256 of the model's; "" of a server's. settings: of the transcript.

    questions, answers: SHA-256 of all that were asked, and of what came. software: versions. day: when it was written,
    as YYYY-MM-DD in UTC.
    """

    command: str
    weights: str
    settings: Mapping[str, Any]
    questions: str
    answers: str
    software: Mapping[str, str]
    machine: str
    day: str

    def section(self) -> Section:
        params = self.settings.get("params", {})
        facts = {
            "command": self.command,
            "model": str(self.settings.get("label", "")),
            "weights, SHA-256": self.weights or "a server's",
            "sampling": ", ".join(f"{name} {value}" for name, value in params.items() if name in _SAID or value),
            "questions, SHA-256": self.questions,
            "answers, SHA-256": self.answers,
            "software": ", ".join(f"{name} {number}" for name, number in self.software.items()),
            "machine": self.machine,
            "day": self.day,
        }
        said = (
            "Where the questions agree, the same was asked; with the same weights, settings and software the answers "
            "agree, too, but for what another processor adds up otherwise."
        )
        return Section("To do it again", (said,), ["what", "of this run"], list(map(list, facts.items())))


def rerun(
    results: Sequence[Result], transcript: Path, *, command: str, weights: Sequence[Path], settings: Mapping[str, Any]
) -> Rerun:
    """weights: the folders of the model and of what lies over it; none of a server's."""
    records = Transcript(transcript, settings).records
    asked = [(key, records[key]) for result in results for key in _keys(result) if key in records]
    return Rerun(
        command,
        weights_digest(*weights) if weights else "",
        json.loads(json.dumps(settings)),
        _digest(asked, "prompt"),
        _digest(asked, "answer"),
        {name: found for name in PACKAGES if (found := _version(name))} | {"python": platform.python_version()},
        f"{os.cpu_count()} x {_processor()}, {platform.system()}",
        datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def _keys(result: Result) -> list[Key]:
    config = json.dumps(dict(result.config), sort_keys=True)
    seeds = range(result.seed_from, result.seed_from + result.problems + result.left_out)
    return [(result.task, config, seed, sample) for seed in seeds for sample in range(result.samples)]


def _digest(records: Sequence[tuple[Key, Record]], name: str) -> str:
    found = hashlib.sha256()
    for key, record in records:
        found.update(json.dumps([*key, record[name]]).encode() + b"\n")
    return found.hexdigest()


def weights_digest(*folders: Path) -> str:
    """SHA-256 over the weights' files of these folders, in the order of their names."""
    found = hashlib.sha256()
    for file in (file for folder in folders for file in sorted(folder.glob("*.safetensors"))):
        with file.open("rb") as stream:
            found.update(hashlib.file_digest(stream, "sha256").digest())
    return found.hexdigest()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
