"""A whole examination: what is asked of a model, and the folder that holds its report.

answers.jsonl           every answer with its thought; what stands there is not asked again
answers-128.jsonl       the same with a thought of at most 128 tokens, where budgets are named
thoughts.jsonl          answers to thoughts that were cut or changed and to questions in other words
results.md, .json       the tables, for people and machines
results.png, cost.png, budgets.png, radar.png
index.html              all of it in one file, with a look at the answers
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from denken.errors import ConfigError
from denken.evaluate import budgets, page, plots, report, thoughts
from denken.evaluate.cost import Price
from denken.evaluate.rerun import Rerun
from denken.evaluate.runner import Asked, Result, bar, measure, seeds_of
from denken.evaluate.suites import Part
from denken.rollout import Answers, Local


@dataclass(frozen=True, slots=True)
class Examined:
    """What an examination has found. points: a budget each. checks: a way each in which thoughts were tested.

    again: what it takes to do it again; None where nobody said.
    """

    results: Sequence[Result]
    points: Sequence[budgets.Point] = ()
    checks: Sequence[thoughts.Check] = ()
    again: Rerun | None = None

    @property
    def sections(self) -> list[report.Section]:
        """The tables beside that of the results."""
        return [
            *([budgets.section(self.points)] if self.points else []),
            *([thoughts.section(self.checks)] if self.checks else []),
        ]

    def to_json(self) -> str:
        more: dict[str, Any] = {"run": asdict(self.again) if self.again else None}
        more |= {"budgets": list(map(asdict, self.points)), "thoughts": list(map(asdict, self.checks))}
        return report.to_json(self.results, **{name: found for name, found in more.items() if found})


def examine(
    answers: Answers,
    parts: Sequence[Part],
    folder: Path,
    *,
    settings: Mapping[str, Any],
    samples: int = 1,
    limits: Sequence[int] = (),
    check_thoughts: bool = False,
    price: Price | None = None,
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
) -> Examined:
    """Asks what is missing in the folder. settings: what its transcripts are begun with.

    limits: budgets of thought at which everything is asked again. say: told of what is left out.
    Raises ConfigError for limits and checks of thoughts of who is not a model here.
    """
    local = answers if isinstance(answers, Local) else None
    if local is None and (limits or check_thoughts):
        raise ConfigError("Budgets and checks of thoughts are for models here; no server elsewhere can be told them.")
    results: list[Result] = []
    asked: list[Asked] = []
    for part in parts:
        tasks = part.tasks()
        found = measure(
            answers,
            tasks,
            problems=part.problems,
            samples=samples,
            seed_from=part.seed_from,
            transcripts=folder / "answers.jsonl",
            settings=settings,
            level=part.level,
            leave_out=say if part.level else None,
            price=price,
            progress=progress,
        )
        results += found
        answered = {(result.task, str(result.config)) for result in found}
        asked += [
            Asked(task, seeds_of(task, part.problems, part.seed_from), part.level)
            for task in tasks
            if (task.name, str(dict(getattr(task, "config", {})))) in answered
        ]
    if local is None or not asked:
        return Examined(results)
    with bar(progress) as show:
        given: dict[str, Any] = {"settings": settings, "show": show}
        points = budgets.measure(local, asked, limits, folder, samples=samples, price=price, **given) if limits else []
        checks = thoughts.check(local, asked, folder, say=say, **given) if check_thoughts else []
    return Examined(results, points, checks)


def write(examined: Examined, folder: Path, title: str) -> None:
    """The report, beside the transcripts: each file whole or not at all."""
    results = examined.results
    (folder / "results.json").write_text(examined.to_json(), encoding="utf-8")
    sections = [*examined.sections, *([examined.again.section()] if examined.again else [])]
    texts = [report.markdown(results), *(section.markdown() for section in sections)]
    (folder / "results.md").write_text("\n\n".join(texts), encoding="utf-8")
    plots.plot(results, folder / "results.png", title)
    budgets.plot_cost(examined.points, results, folder / "cost.png", title)
    if examined.points:
        budgets.plot(examined.points, results, folder / "budgets.png", title)
    if any(result.level for result in results):
        plots.radar(results, folder / "radar.png", title)
    pictures = [folder / f"{name}.png" for name in ("radar", "results", "budgets", "cost")]
    page.write(results, folder / "answers.jsonl", pictures, folder / "index.html", title, sections=sections)
