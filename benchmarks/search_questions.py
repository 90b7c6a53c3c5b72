"""Does a model that searches in its thought find what a document says? Documents and questions that no template made.

    python benchmarks/search_questions.py                    # the bundled model
    python benchmarks/search_questions.py --model runs/bundled_search/model --show

`search_questions/` holds documents as people have them (house rules, minutes, a manual, a contract) and questions about
them, in English and German, written by hand before any model was asked; nothing is trained on them. The first set was
looked at while the model and the search were made; the second (`later`) was kept for the end. The documents of a set
are in one library. A question counts as answered where the answer holds the fact, and as cited where a
citation resolves to a passage of the right document. Questions that no document answers count where the model says so.
Beside it, problems of `search_qa` from seeds that training never draws. Greedy decoding, the way that serving goes.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from denken.about import About
from denken.assistant import Assistant, load
from denken.chat.message import Message
from denken.evaluate.metrics import wilson
from denken.rollout import read, rollouts
from denken.search.found import Source
from denken.search.library import Library
from denken.search.tool import Searcher
from denken.serve.speaker import Ask
from denken.tasks import get
from denken.tasks.base import EVALUATION_SEEDS_FROM
from denken.tasks.search_qa.searching import NOT_SAID
from denken.types import SamplingParams

HERE = Path(__file__).parent / "search_questions"
CITATION = re.compile(r"\[citation:(\d+)\]")
KINDS: dict[str, dict[str, Any]] = {
    "facts": {"kind": "facts"},
    "made-up relations": {"kind": "made_up"},
    "sentences without sense": {"kind": "words"},
    "two steps": {"hops": 2},
    "no page says it": {"hops": 1, "absent": 1.0},
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one question."""

    question: dict[str, Any]
    queries: tuple[str, ...]
    sources: tuple[Source, ...]
    thought: str
    answer: str

    @property
    def answered(self) -> bool:
        wanted = self.question["has"]
        if not wanted:
            return CITATION.sub("", self.answer).strip() in NOT_SAID.values()
        return any(fact in self.answer for fact in wanted)

    def cited(self, titles: dict[str, str]) -> bool:
        """Every citation resolves, and one of them to the right document; none where nothing is said."""
        numbers = {int(number) for number in CITATION.findall(self.answer)}
        if not self.question["has"]:
            return not numbers
        cited = [source for source in self.sources if source.number in numbers]
        return len(cited) == len(numbers) and any(titles[s.url] == self.question["in"] for s in cited)


def ask(assistant: Assistant, searcher: Searcher, question: dict[str, Any]) -> Asked:
    """One question, with the search on."""
    message = Message("user", question["q"])
    wanted = Ask([message], SamplingParams(temperature=0.0), look=searcher.look(None, ["library"]))
    texts = {"think": "", "answer": ""}
    queries: list[str] = []
    sources: list[Source] = []
    for piece in assistant.reply(wanted):
        if piece.kind == "search":
            queries.append(piece.text)
        elif piece.found is not None:
            sources += piece.found.sources
        elif piece.kind in texts:
            texts[piece.kind] += piece.text
    return Asked(question, tuple(queries), tuple(sources), texts["think"].strip(), texts["answer"].strip())


def by_hand(assistant: Assistant, name: str, folder: Path) -> tuple[list[Asked], dict[str, str]]:
    """All questions of a set, and the file of every address in its library."""
    library, titles = Library(folder / f"{name}.sqlite3"), {}
    for path in sorted((HERE / name).iterdir()):
        document = library.add(path.stem.replace("_", " "), path.read_text(encoding="utf-8"), path.name)
        titles[f"library:{document.id}"] = path.name
    questions = json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))
    return [ask(assistant, Searcher(library=library), question) for question in questions], titles


def generated(assistant: Assistant, config: dict[str, Any], problems: int) -> dict[str, float]:
    """Shares of right and of cited answers to problems of `search_qa`, and of those that were searched for."""
    task = get("search_qa", {"absent": 0.0, **config})
    drawn = [task.problem(EVALUATION_SEEDS_FROM + seed) for seed in range(problems)]
    params = SamplingParams(temperature=0.0, max_tokens=900)
    done = rollouts(task, drawn, assistant.tokenizer, assistant.engine, params)
    thoughts = [read(rollout.completion, assistant.tokenizer).thought for rollout in done]
    parts = {name: sum(r.score.parts[name] for r in done) / problems for name in ("correct", "cited")}
    return {**parts, "searched": sum("<search>" in thought for thought in thoughts) / problems}


def line(name: str, right: int, of: int, cited: int) -> str:
    low, high = wilson(right, of)
    return f"| {name} | {right / of:.2f} ({low:.2f} to {high:.2f}) | {cited / of:.2f} | {of} |"


def table(name: str, asked: Sequence[Asked], titles: dict[str, str]) -> list[str]:
    """The questions by hand, in groups."""
    groups = {
        f"by hand, {name}, English": [a for a in asked if a.question["has"] and not german(a)],
        f"by hand, {name}, German": [a for a in asked if a.question["has"] and german(a)],
        f"by hand, {name}, no document says it": [a for a in asked if not a.question["has"]],
    }
    return [
        line(name, sum(a.answered for a in group), len(group), sum(a.answered and a.cited(titles) for a in group))
        for name, group in groups.items()
    ]


def german(asked: Asked) -> bool:
    return bool(re.match(r"(W(?!h)[a-zäöü]+|Sind|Bis|Ab|Unter|Von) ", asked.question["q"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="bundled", help="as in denken ask --model")
    parser.add_argument("--problems", type=int, default=100, help="of each kind and language of search_qa")
    parser.add_argument("--sets", nargs="*", default=["first", "later"], help="of questions by hand")
    parser.add_argument("--show", action="store_true", help="show every question that was not answered")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, load(given.model, threads=1) as assistant:
        assistant.about = About(searches="inside")
        print(f"{given.model}, {date.today()}, {platform.machine()}, greedy\n")
        print("| questions | answered, 95 % interval | and rightly cited | of |\n|---|---:|---:|---:|")
        for name, config in KINDS.items() if given.problems else ():
            for language in ("en", "de"):
                got = generated(assistant, {**config, "language": language}, given.problems)
                right, cited = (round(got[name] * given.problems) for name in ("correct", "cited"))
                print(line(f"search_qa, {name}, {language}", right, given.problems, cited), flush=True)
        done = {name: by_hand(assistant, name, Path(folder)) for name in given.sets}
        for name, (asked, titles) in done.items():
            print("\n".join(table(name, asked, titles)))
        for asked, titles in done.values() if given.show else ():
            for one in asked:
                if not one.answered or not one.cited(titles):
                    print(f"\nQ: {one.question['q']}  {one.question['has']}\nsearched: {one.queries}")
                    print(f"{one.thought}\nA: {one.answer}")


if __name__ == "__main__":
    main()
