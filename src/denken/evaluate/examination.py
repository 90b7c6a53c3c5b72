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
from denken.evaluate.rerun import Rerun, rerun
from denken.evaluate.result import Result
from denken.evaluate.runner import Asked, bar, measure, seeds_of
from denken.evaluate.suites import Part
from denken.rollout import Answers, Local


@dataclass(frozen=True, slots=True)
class Examinee:
    """Who is examined. settings: what tells its answers from others', for transcripts. price: of its answers.

    weights: the folders of a model that runs here, and of an adapter over it.
    """

    answers: Answers
    name: str
    settings: Mapping[str, Any]
    price: Price | None = None
    weights: Sequence[Path] = ()


@dataclass(frozen=True, slots=True)
class Examined:
    """What an examination has found. points: a budget each. checks: a way each in which thoughts were tested.

    again: what it takes to do it again.
    """

    results: Sequence[Result]
    again: Rerun
    points: Sequence[budgets.Point] = ()
    checks: Sequence[thoughts.Check] = ()

    @property
    def sections(self) -> list[report.Section]:
        """The tables beside that of the results, without how to do it again."""
        return [
            *([budgets.section(self.points)] if self.points else []),
            *([thoughts.section(self.checks)] if self.checks else []),
        ]

    def to_json(self) -> str:
        more: dict[str, Any] = {"run": asdict(self.again)}
        more |= {"budgets": list(map(asdict, self.points)), "thoughts": list(map(asdict, self.checks))}
        return report.to_json(self.results, **{name: found for name, found in more.items() if found})


def examine(
    who: Examinee,
    parts: Sequence[Part],
    folder: Path,
    *,
    samples: int = 1,
    limits: Sequence[int] = (),
    check_thoughts: bool = False,
    command: str = "",
    say: Callable[[str], None] = lambda _: None,
    progress: bool = True,
) -> Examined:
    """Asks what is missing in the folder.

    limits: budgets of thought at which everything is asked again. command: for the report, how to do it again. say:
    told of what is left out.
    Raises ConfigError for limits and checks of thoughts of who is not a model here.
    """
    local = who.answers if isinstance(who.answers, Local) else None
    if local is None and (limits or check_thoughts):
        raise ConfigError("Budgets and checks of thoughts are for models here; no server elsewhere can be told them.")
    if local is not None and (limits or check_thoughts):
        thoughts.must_think(local)  # said before hours of work
    results: list[Result] = []
    asked: list[Asked] = []
    for part in parts:
        tasks = part.tasks()
        found = measure(
            who.answers,
            tasks,
            problems=part.problems,
            samples=samples,
            seed_from=part.seed_from,
            transcripts=folder / "answers.jsonl",
            settings=who.settings,
            level=part.level,
            leave_out=say if part.level else None,
            price=who.price,
            progress=progress,
        )
        results += found
        answered = {(result.task, str(result.config)) for result in found}
        asked += [
            Asked(task, seeds_of(task, part.problems, part.seed_from), part.level)
            for task in tasks
            if (task.name, str(dict(getattr(task, "config", {})))) in answered
        ]
    again = rerun(results, folder / "answers.jsonl", command=command, weights=who.weights, settings=who.settings)
    points: list[budgets.Point] = []
    checks: list[thoughts.Check] = []
    with bar(progress) as show:
        if local is not None and asked and limits:
            given: dict[str, Any] = {"samples": samples, "price": who.price, "show": show}
            points = budgets.measure(local, asked, limits, folder, settings=who.settings, **given)
        if local is not None and asked and check_thoughts:
            checks = thoughts.check(local, asked, folder, settings=who.settings, say=say, show=show)
    return Examined(results, again, points, checks)


def write(examined: Examined, folder: Path, title: str) -> None:
    """The report, beside the transcripts: each file whole or not at all."""
    results = examined.results
    sections = [*examined.sections, examined.again.section()]
    pictures = [folder / "results.png"]
    plots.plot(results, pictures[0], title)
    if any(result.level for result in results):
        pictures.insert(0, folder / "radar.png")
        plots.radar(results, pictures[0], title)
    if examined.points:
        pictures.append(folder / "budgets.png")
        budgets.plot(examined.points, results, pictures[-1], title)
    if budgets.plot_cost(examined.points, results, folder / "cost.png", title):
        pictures.append(folder / "cost.png")
    texts = [report.markdown(results), *(section.markdown() for section in sections)]
    texts += [f"![{picture.stem}]({picture.name})\n" for picture in pictures]
    report.write_whole(folder / "results.json", examined.to_json())
    report.write_whole(folder / "results.md", "\n\n".join(texts))
    page.write(results, folder / "answers.jsonl", pictures, folder / "index.html", title, sections=sections)
