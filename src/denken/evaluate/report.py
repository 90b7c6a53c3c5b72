"""Results as a table in the terminal, as Markdown and as JSON, beside what others published.

Solved is the share of answers with full marks; score includes partial marks, as the published columns do. At other
configurations than the published ones the comparison is loose, and `NOTE` says so above the table. At those (the suites
of `suites.py`) it is of like with like but for the items where seeds are fresh, and `keeps_up` says who is ahead; there
our full marks alone are held against their scores with partial marks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from denken.evaluate.cost import LISTED
from denken.evaluate.metrics import Estimate
from denken.evaluate.published import counting, published
from denken.evaluate.result import Result

BESIDE = (("deepseek-r1", "DeepSeek-R1"), ("o3-mini", "o3-mini"))
FIGURES = (
    "Solved: share of answers with full marks, with its 95 % interval over problems. Score: partial marks included. "
    "s, USD/1000: seconds of one answer, where those made at once share the time, and US dollars of a thousand. "
)
NOTE = FIGURES + (
    "Published scores: reasoning-gym's zero-shot runs at its easy configurations, 50 problems of seed 45 each; "
    "ours: {setting}."
)
NOTE_SUITE = FIGURES + (
    "Published scores: Reasoning Gym's zero-shot runs (arXiv 2505.24760) at these configurations, 50 items of seed 45 "
    "each: on easy the mean of three completions, on hard the one that was drawn; ours: {setting}. Keeps up: solved at "
    "least as often as both of them, or {enough:.0%} of the time where one is above that."
)
# Where a published score is higher than this, this is enough: 50 items say no more.
ENOUGH = 0.98


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report: a table, and what is to be said of it: its note, then lines that each stand alone."""

    title: str
    said: tuple[str, ...]
    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def table(self) -> Table:
        """For a terminal, by rich."""
        drawn = Table(title=self.title or None, caption="\n".join(self.said))
        for at, name in enumerate(self.header):
            drawn.add_column(name, justify="left" if at == 0 else "right")
        for row in self.rows:
            drawn.add_row(*row)
        return drawn

    def markdown(self) -> str:
        lines = [self.header, ["---", *["---:"] * (len(self.header) - 1)], *self.rows]
        drawn = "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)
        title = f"## {self.title}" if self.title else ""
        listed = "".join(f"- {line}\n" for line in self.said[1:])
        return "\n\n".join(filter(None, (title, self.said[0], listed, drawn)))


def keeps_up(result: Result) -> bool | None:
    """Whether a data set of a suite is solved at least as well as by all of `BESIDE`; None where nobody can say.

    Never solving what they never solve either is no keeping up.
    """
    if result.level is None:
        return None
    theirs = [counting(result.task, model, result.level) for model, _ in BESIDE]
    known = [score for score in theirs if score is not None]
    if len(known) < len(BESIDE):
        return None
    return result.solved.value > 0 and result.solved.value >= min(ENOUGH, max(known))


def summary(results: Sequence[Result]) -> list[str]:
    """A line a level of a suite, on how many data sets the model keeps up, and one of what answers cost."""
    lines = []
    for level in ("easy", "hard"):
        said = [kept for kept in (keeps_up(result) for result in results if result.level == level) if kept is not None]
        if said:
            names = " and ".join(name for _, name in BESIDE)
            lines.append(f"{level}: at least as good as {names} on {sum(said)} of {len(said)} data sets.")
    return [*lines, *costs(results)]


def costs(results: Sequence[Result]) -> list[str]:
    """A line of what a thousand answers cost, and as many tokens elsewhere; none where tokens are not known."""
    answers = sum(result.answers for result in results)
    asked = [(result.answers, result.prompt_tokens) for result in results if result.prompt_tokens is not None]
    if not answers or len(asked) < len(results):
        return []
    prompt = sum(count * tokens for count, tokens in asked) / answers
    said = sum(result.answers * result.tokens for result in results) / answers
    seconds = sum(result.seconds for result in results) / answers
    cores = sum(result.core_seconds for result in results) / answers
    price = results[0].price
    spent = f"{figure(1000 * cores)} core-seconds at " if cores else ""
    here = "" if price is None else f", {usd(price.of(prompt, said, cores))} USD ({spent}{price})"
    beside = ", ".join(f"{one.name} ({one.day}) {usd(one.price.of(prompt, said))} USD" for one in LISTED)
    took = f"{prompt:.0f} tokens of question and {said:.0f} of answer each, {figure(1000 * seconds)} s in all"
    return [
        f"1000 answers: {took}{here}; as many tokens by list price: {beside}. What their own, other thoughts cost on "
        "these questions was not published."
    ]


def verdict(before: Estimate, after: Estimate) -> str:
    """What a training has changed, in a sentence: better is said where the intervals do not touch."""
    change = f"{before.value:.0%} -> {after.value:.0%}"
    if after.low > before.high:
        return f"Better: {change}, and the intervals do not touch."
    if after.value >= before.value:
        return f"{change}: too little to be sure of. More --minutes may help."
    return f"{change}: not better. Keep the model that you had, and see report.md."


def note(results: Sequence[Result]) -> str:
    """What the figures are, in one paragraph."""
    settings = sorted({_setting(result) for result in results})
    chosen = NOTE_SUITE if is_suite(results) else NOTE
    return chosen.format(setting="; ".join(settings), enough=ENOUGH)


def section(results: Sequence[Result], title: str = "") -> Section:
    """The table of results, with a line a level on who keeps up and one on what it cost."""
    return Section(title, (note(results), *summary(results)), header(results), rows(results))


def table(results: Sequence[Result], title: str = "") -> Table:
    """For a terminal, by rich; `summary` stands beside it."""
    return Section(title, (note(results),), header(results), rows(results)).table()


def markdown(results: Sequence[Result]) -> str:
    """For a model card: the note, then the table."""
    return section(results).markdown()


def to_json(results: Sequence[Result], **more: Any) -> str:
    """Everything in the results, and the published scores and prices, for machines. more: what else stands there."""
    records: list[dict[str, Any]] = []
    for result in results:
        theirs = {model: published(result.task, model) for model, _ in BESIDE}
        beside: dict[str, Any] = {
            "published_easy_mean": {model: score.mean for model, score in theirs.items() if score}
        }
        if result.level is not None:
            found = {model: counting(result.task, model, result.level) for model, _ in BESIDE}
            beside = {"published": found, "keeps_up": keeps_up(result)}
        cost = {"seconds_each": result.seconds_each, "usd_each": result.usd}
        records.append({**asdict(result), **cost, **beside})
    listed = [asdict(one) for one in LISTED]
    whole = {"note": note(results), "results": records, **more, "list_prices": listed}
    return json.dumps(whole, indent=2) + "\n"


def header(results: Sequence[Result]) -> list[str]:
    """The columns of every table."""
    ours = ["task", "solved", "95 %", *_votes(results), "score", "cut off", "ids", "s", "USD/1000"]
    if is_suite(results):
        return [*ours, *(name for _, name in BESIDE), "keeps up"]
    return [*ours, *(f"{name} easy" for _, name in BESIDE)]


def rows(results: Sequence[Result]) -> list[list[str]]:
    """A line a result, as text."""
    made = []
    for result in results:
        theirs = [counting(result.task, model, result.level or "easy") for model, _ in BESIDE]
        ours = [name_of(result), percent(result.solved.value), interval(result.solved)]
        if _votes(results):
            ours += ["-", "-"] if (vote := result.consensus) is None else [percent(vote.value), interval(vote)]
        ours += [percent(result.score), percent(result.cut), f"{result.tokens:.0f}"]
        ours += [figure(result.seconds_each), usd(result.usd)]
        beside = ["-" if score is None else percent(score) for score in theirs]
        kept = keeps_up(result)
        verdict = ["-" if kept is None else "yes" if kept else "no"] if is_suite(results) else []
        made.append([*ours, *beside, *verdict])
    return made


def _votes(results: Sequence[Result]) -> list[str]:
    """The columns of the vote, which there are where a question is asked more than once."""
    counts = {result.samples for result in results}
    return [] if counts <= {1} else [f"cons@{counts.pop() if len(counts) == 1 else 'k'}", "95 % of it"]


def is_suite(results: Sequence[Result]) -> bool:
    return any(result.level is not None for result in results)


def name_of(result: Result) -> str:
    return result.task if result.level is None else f"{result.task}, {result.level}"


def percent(share: float) -> str:
    return f"{100 * share:.1f}"


def interval(estimate: Estimate) -> str:
    return f"{percent(estimate.low)} to {percent(estimate.high)}"


def figure(value: float) -> str:
    """To three digits, or whole.

    >>> figure(0.01234), figure(1234.5)
    ('0.0123', '1234')
    """
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def usd(each: float | None) -> str:
    """What a thousand cost, where one does."""
    return "-" if each is None else figure(1000 * each)


def _setting(result: Result) -> str:
    config = ", ".join(f"{name} {value}" for name, value in sorted(result.config.items()))
    where = f"{result.task} at {config}" if config else "the default configuration"
    if result.level is not None:
        where = f"the {result.level} configurations"
    each = f", {result.samples} samples each" if result.samples > 1 else ""
    return f"{where}, {result.problems} problems from seed {result.seed_from}{each}"


def write_whole(path: Path, text: str) -> None:
    """The file is replaced whole or not at all."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, path)
