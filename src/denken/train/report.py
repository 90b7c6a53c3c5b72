"""report.html: one run on one page that asks nothing of anybody else, to read on any screen and to hand on.

Everything is in the file: curves as data, no script, no request. What a model wrote is hostile until shown otherwise:
every text is escaped, control and direction characters are spelt out, and a content policy forbids the page to load or
run anything even so. Figures come from the run's own files; what is not there is left out.
"""

from __future__ import annotations

import base64
import html
import json
import os
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from denken.train.runlog import duration, read_metrics

MOST_CHARACTERS = 6000
SHOWN = 24
# DeepSeek-V3's report (arXiv 2412.19437, table 1) and DeepSeek-R1 in Nature 645:633 (2025), supplement: H800 at 2 USD.
PUBLISHED = (
    ("DeepSeek-V3, the base model", 2_788_000, 5_576_000),
    ("DeepSeek-R1, from there on", 147_000, 294_000),
)
FIGURES = (
    ("loss", "loss"),
    ("eval_loss", "loss on unseen documents"),
    ("reward", "reward"),
    ("accuracy", "accuracy while training"),
    ("eval_accuracy", "accuracy on problems that training never draws"),
    ("parts", "parts of the reward"),
    ("length", "tokens of an answer, thought included"),
    ("cut", "share of answers cut off"),
    ("entropy", "entropy, nats"),
    ("kl", "divergence from the reference"),
    ("parity_max", "largest |log p sampler - log p trainer|"),
    ("parity_mean", "mean of it"),
    ("grad_norm", "gradient norm"),
    ("tokens_per_s", "tokens/s"),
)
STYLE = """
:root{color-scheme:light dark;--ink:#1b1b1b;--paper:#fff;--line:#ddd;--soft:#f5f5f2;--good:#2e7d32;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6e6e6;--paper:#161616;--line:#3a3a3a;--soft:#222}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
body{margin:0 auto;padding:1rem;max-width:70rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
img{max-width:100%;height:auto;background:#fff;border-radius:4px}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}
th,td{border-bottom:1px solid var(--line);padding:.35rem .5rem;text-align:left;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}
pre{background:var(--soft);padding:.6rem;border-radius:4px;margin:.3rem 0}
.one{border:1px solid var(--line);border-radius:6px;padding:.6rem;margin:.6rem 0}
.one p{margin:.2rem 0;overflow-wrap:anywhere}
.tag{font-size:.85rem;opacity:.8}.good{color:var(--good)}.bad{color:var(--bad)}summary{cursor:pointer}
"""


def write(folder: Path) -> Path:
    """Write or replace the report of a run's folder; returns its path."""
    path = folder / "report.html"
    temporary = path.with_suffix(".tmp")
    temporary.write_text(page(folder), encoding="utf-8")
    os.replace(temporary, path)
    return path


def page(folder: Path) -> str:
    """The whole page as text."""
    name = folder.absolute().name
    metrics = read_metrics(folder / "metrics.jsonl")
    ledger, environment = _json(folder / "ledger.json"), _json(folder / "environment.json")
    parts = [
        f"<h1>{text(name)}</h1>",
        f"<p>{text(summary(metrics, ledger))}</p>",
        _curves(folder),
        _figures(metrics),
        _rollouts(folder),
        _set(folder),
        _cost(ledger),
        _recipe(folder),
        _pairs("Environment", environment),
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="referrer" content="no-referrer"><title>{text(name)}</title><style>{STYLE}</style></head><body>\n'
    )
    return head + "\n".join(filter(None, parts)) + "\n</body></html>\n"


def text(value: object, most: int = MOST_CHARACTERS) -> str:
    """Any text, safe between tags and in attributes; what cannot be seen is spelt out, what is endless is cut."""
    said = str(value)
    cut = len(said) > most
    shown = "".join(map(_visible, said[:most]))
    return html.escape(shown, quote=True) + (f" … ({len(said) - most:,} characters more)" if cut else "")


def _visible(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return character
    return f"\\u{{{ord(character):x}}}"


def summary(metrics: Sequence[Mapping[str, Any]], ledger: Mapping[str, Any]) -> str:
    """What happened, in a sentence or two."""
    if not metrics:
        return "Nothing has been logged yet."
    said = [f"{metrics[-1]['step']:,} steps"]
    if ledger:
        said.append(f"{duration(_number(ledger, 'seconds'))} on {_cores(ledger):.3g} cores")
        sampled = _number(ledger, "sampled")
        tokens = f"{_number(ledger, 'tokens'):,.0f} tokens learnt from"
        said.append(tokens + (f", {sampled:,.0f} sampled" if sampled else ""))
        said.append(f"{_number(ledger, 'usd'):.4f} USD")
    sentences = [", ".join(said) + "."]
    for key, what in (("eval_accuracy", "Accuracy on problems that training never draws"), ("reward", "Reward")):
        seen = [record[key] for record in metrics if key in record]
        if len(seen) > 1 and isinstance(seen[0], dict):
            changes = (f"{name} from {_figure(seen[0].get(name))} to {_figure(v)}" for name, v in seen[-1].items())
            sentences.append(f"{what}: {'; '.join(changes)}.")
            break
        if len(seen) > 1:
            sentences.append(f"{what} from {_figure(seen[0])} to {_figure(seen[-1])}.")
    return " ".join(sentences)


def _curves(folder: Path) -> str:
    images = []
    for path in sorted(folder.glob("*.png")):
        data = base64.b64encode(path.read_bytes()).decode("ascii")
        images.append(f'<img alt="{text(path.stem)}" src="data:image/png;base64,{data}">')
    return "<h2>Curves</h2>\n" + "\n".join(images) if images else ""


def _figures(metrics: Sequence[Mapping[str, Any]]) -> str:
    """The first and the last value of what is known by name."""
    rows = []
    for key, what in FIGURES:
        seen = [record[key] for record in metrics if key in record]
        if not seen:
            continue
        if isinstance(seen[-1], dict):
            rows += [(f"{what}: {name}", _first(seen, name), value) for name, value in seen[-1].items()]
        else:
            rows.append((what, seen[0], seen[-1]))
    lines = [f"<tr><td>{text(what)}</td>{_right(first)}{_right(last)}</tr>" for what, first, last in rows]
    head = '<tr><th></th><th class="n">first</th><th class="n">last</th></tr>'
    return f'<h2>Figures</h2><div class="wide"><table>{head}{"".join(lines)}</table></div>' if rows else ""


def _right(value: object) -> str:
    return f'<td class="n">{text(_figure(value))}</td>'


def _first(seen: Sequence[Mapping[str, Any]], name: str) -> Any:
    return next((each[name] for each in seen if isinstance(each, dict) and name in each), None)


def _rollouts(folder: Path) -> str:
    """Answers from the beginning, the middle and the end of the run."""
    records = _lines(folder / "rollouts.jsonl")
    third = max(1, SHOWN // 3)
    if len(records) > SHOWN:
        middle = len(records) // 2
        records = [*records[:third], *records[middle : middle + third], *records[-third:]]
    shown = [
        _answer(
            f"step {r.get('step')}, {r.get('task')}, {r.get('tokens')} tokens",
            r.get("prompt"),
            r.get("thought"),
            r.get("answer"),
            r.get("reward"),
            r.get("parts"),
        )
        for r in records
    ]
    return (
        "<h2>What it said</h2>\n<p>From the beginning, the middle and the end.</p>" + "\n".join(shown) if shown else ""
    )


def _set(folder: Path) -> str:
    """The set that the run made: where it comes from, and how it begins."""
    pages = sorted((folder / "data").glob("*.md"))
    if not pages:
        return ""
    shown = []
    for record in _lines(pages[0].with_suffix(".jsonl"), most=6):
        messages = record.get("messages")
        if not isinstance(messages, list) or not messages or not all(isinstance(each, dict) for each in messages):
            continue
        asked, said = messages[-2:][0].get("content"), messages[-1]
        thought, answer = said.get("reasoning_content"), said.get("content")
        tag = f"{record.get('task')}, {record.get('model')}"
        shown.append(_answer(tag, asked, thought, answer, record.get("reward"), record.get("parts")))
    about = text(pages[0].read_text(encoding="utf-8", errors="replace"))
    return (
        f"<h2>Its own set</h2>\n<details><summary>{text(pages[0].name)}</summary><pre>{about}</pre></details>"
        + "\n".join(shown)
    )


def _answer(tag: str, asked: object, thought: object, answer: object, reward: object, parts: object) -> str:
    mark = (
        ""
        if not isinstance(reward, int | float)
        else f' <b class="{"good" if reward >= 1 else "bad"}">{reward:.3g}</b>'
    )
    made_of = ", ".join(f"{name} {_figure(value)}" for name, value in parts.items()) if isinstance(parts, dict) else ""
    return (
        f'<div class="one"><p class="tag">{text(tag)}{mark} {text(made_of, 300)}</p><p>{text(asked)}</p>'
        f"<details><summary>thought ({len(str(thought or '')):,} characters)</summary><pre>{text(thought or '')}</pre>"
        f"</details><pre>{text(answer)}</pre></div>"
    )


def _cost(ledger: Mapping[str, Any]) -> str:
    if not ledger:
        return ""
    rows = [
        ("time", duration(_number(ledger, "seconds"))),
        ("of it sampling", duration(_number(ledger, "generate_seconds"))),
        ("of it learning", duration(_number(ledger, "learn_seconds"))),
        ("core-hours", f"{_number(ledger, 'core_seconds') / 3600:.3f}"),
        *([("GPU-hours", f"{_number(ledger, 'gpu_seconds') / 3600:.3f}")] if ledger.get("gpu_seconds") else []),
        ("tokens learnt from", f"{_number(ledger, 'tokens'):,.0f}"),
        ("tokens sampled", f"{_number(ledger, 'sampled'):,.0f}"),
        ("operations", f"{_number(ledger, 'flops') + _number(ledger, 'sampling_flops'):.2e}"),
        ("energy", f"{_number(ledger, 'joules') / 3.6e6:.4f} kWh" if ledger.get("joules") else "not readable here"),
        (f"money, at {_prices(ledger)}", f"{_number(ledger, 'usd'):.4f} USD"),
    ]
    rows = [(what, value) for what, value in rows if value != "0 s" or what == "time"]
    rows += [(f"beside it, as published: {who}", f"{hours:,} H800-hours, {usd:,} USD") for who, hours, usd in PUBLISHED]
    return _table("Cost", rows)


def _prices(ledger: Mapping[str, Any]) -> str:
    core = f"{_number(ledger, 'usd_per_core_hour'):g} USD a core-hour"
    return f"{core} and {_number(ledger, 'usd_per_gpu_hour'):g} a GPU-hour" if ledger.get("gpu_seconds") else core


def _recipe(folder: Path) -> str:
    try:
        return (
            f"<h2>Recipe</h2><pre>{text((folder / 'recipe.toml').read_text(encoding='utf-8', errors='replace'))}</pre>"
        )
    except OSError:
        return ""


def _pairs(title: str, values: Mapping[str, Any]) -> str:
    return _table(title, [(name, str(value)) for name, value in values.items()]) if values else ""


def _table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    lines = "".join(f"<tr><td>{text(what)}</td><td>{text(value)}</td></tr>" for what, value in rows)
    return f'<h2>{text(title)}</h2><div class="wide"><table>{lines}</table></div>'


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "" if value is None else str(value)


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0


def _cores(ledger: Mapping[str, Any]) -> float:
    return _number(ledger, "core_seconds") / max(1e-9, _number(ledger, "seconds"))


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _lines(path: Path, most: int | None = None) -> list[dict[str, Any]]:
    """The records of a JSONL file that can be read, at most so many from its beginning."""
    found: list[dict[str, Any]] = []
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if len(found) == most:
                    break
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                if isinstance(record, dict):
                    found.append(record)
    except OSError:
        pass
    return found
