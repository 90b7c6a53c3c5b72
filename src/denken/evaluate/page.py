"""An evaluation as one HTML file: the table, the plots, and answers with their thoughts to look through.

Nothing is loaded from anywhere, and what a model wrote is text whatever it spells: it stands in the page as JSON and is
put there as text, and the page's policy lets no script run but its own.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any

from denken.evaluate import report
from denken.evaluate.result import Result

# Answers of each task that the page holds, wrong ones first; all of them are in the transcript.
SHOWN = 20
_LONGEST = 4_000
_FIELDS = ("seed", "sample", "prompt", "expected", "thought", "answer", "cut", "tokens")


def write(
    results: Sequence[Result],
    transcript: Path,
    plots: Sequence[Path],
    path: Path,
    title: str,
    shown: int = SHOWN,
    sections: Sequence[report.Section] = (),
) -> None:
    """The page at `path`, whole or not at all.

    transcript: the JSONL that `evaluate` wrote. plots: PNG files to be shown, those that are there. sections: further
    tables, below the first.
    """
    data = {
        "note": report.note(results),
        "summary": report.summary(results),
        "header": report.header(results),
        "rows": report.rows(results),
        "sections": [asdict(section) for section in sections],
        "answers": _answers(results, _lines(transcript), shown),
    }
    style, script = (files("denken.evaluate").joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    parts = {
        "TITLE": html.escape(title),
        "CSS": style,
        "JS": script,
        "STYLE": _digest(style),
        "SCRIPT": _digest(script),
        "PLOTS": "\n".join(map(_image, filter(Path.is_file, plots))),
        # "<" never stands there as itself: no text can end the element or begin a comment.
        "DATA": json.dumps(data, ensure_ascii=False).replace("<", "\\u003c"),
    }
    pieces = files("denken.evaluate").joinpath("page.html").read_text("utf-8").split("@")
    whole = "".join(parts[piece] if number % 2 else piece for number, piece in enumerate(pieces))
    path.parent.mkdir(parents=True, exist_ok=True)
    report.write_whole(path, whole)


def _lines(transcript: Path) -> Iterable[dict[str, Any]]:
    with transcript.open(encoding="utf-8") as stream:
        next(stream, None)  # the settings
        for line in stream:
            yield json.loads(line)


def _answers(results: Sequence[Result], records: Iterable[dict[str, Any]], shown: int) -> list[dict[str, Any]]:
    """For each result some of its answers, wrong ones first, in the order of their seeds."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {_key(r.task, r.config): [] for r in results}
    for record in records:
        kept = found.get(_key(record["task"], record["config"]))
        if kept is not None:
            kept.append(record)
    answers = []
    for result in results:
        own = found[_key(result.task, result.config)]
        asked = result.problems + result.left_out
        own = [record for record in own if 0 <= record["seed"] - result.seed_from < asked]
        first = sorted(own, key=lambda record: (record["reward"] == 1.0, record["seed"], record["sample"]))[:shown]
        name = result.task if result.level is None else f"{result.task}, {result.level}"
        answers.append({"task": name, "answers": [_shown(record) for record in first], "left": len(own) - len(first)})
    return answers


def _shown(record: dict[str, Any]) -> dict[str, Any]:
    cut = {name: record[name] for name in _FIELDS} | {"right": record["reward"] == 1.0}
    return {name: _short(value) if isinstance(value, str) else value for name, value in cut.items()}


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} … ({len(text) - _LONGEST} more characters)"


def _key(task: str, config: Any) -> tuple[str, str]:
    return task, json.dumps(dict(config), sort_keys=True)


def _digest(text: str) -> str:
    """As a content security policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _image(path: Path) -> str:
    encoded = base64.b64encode(path.read_bytes()).decode()
    return f'<p><img alt="{html.escape(path.stem)}" src="data:image/png;base64,{encoded}"></p>'
