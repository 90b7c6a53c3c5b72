"""Questions that must be searched: the same world for the same seed, thoughts that lead to the answer, fair scores."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from denken.errors import ConfigError
from denken.search.found import Source
from denken.tasks import get
from denken.tasks.base import Retrieves, Traced
from denken.tasks.search_qa import SearchTask
from denken.tasks.search_qa.library import Page, PageLibrary
from denken.tasks.search_qa.searching import NOT_SAID, searching
from denken.tasks.search_qa.worlds import relations
from denken.types import Problem

SEEDS = range(7000, 7300)


def problems(**config: object) -> Iterator[tuple[SearchTask, Problem]]:
    task = get("search_qa", config)
    assert isinstance(task, SearchTask)
    return ((task, task.problem(seed)) for seed in SEEDS)


def test_a_problem_depends_on_its_seed_alone() -> None:
    assert isinstance(get("search_qa"), Traced)
    assert isinstance(get("search_qa"), Retrieves)
    prompts = set()
    for task, problem in problems():
        assert problem == task.problem(problem.seed)
        assert task.demonstrate(problem) == task.demonstrate(problem)
        prompts.add(problem.prompt)
    assert len(prompts) > 290


def test_thoughts_lead_to_an_answer_that_is_right_and_cited() -> None:
    right = asked = 0
    for task, problem in problems():
        library = task.library(problem)
        shown = searching(problem, library)
        score = task.score_cited(problem, shown.answer, library.sources)
        if shown.answer == NOT_SAID[problem.metadata["language"]]:
            assert score.reward == (0.0 if problem.metadata["steps"] else 1.0)
        else:
            assert score.parts == {"correct": 1.0, "cited": 1.0}
        asked += bool(problem.metadata["steps"])
        right += bool(problem.metadata["steps"]) and score.reward == 1.0
    assert right > 0.93 * asked  # other words than the question's are not found


def test_what_a_thought_quotes_stands_in_what_was_found() -> None:
    for task, problem in problems(absent=0.0):
        shown = task.demonstrate(problem)
        bodies = re.findall(r"<information>\n(.*?)\n</information>", shown.thought, re.DOTALL)
        quoted = re.sub(r"<search>.*?</information>\n", "", shown.thought, flags=re.DOTALL).split("\n")
        lines = [line for body in bodies for line in body.split("\n")]
        if "citation" in shown.answer:
            assert quoted
            assert all(line in lines for line in quoted)
            assert all(step in shown.answer for step in problem.metadata["steps"])


def test_two_steps_take_two_searches() -> None:
    for task, problem in problems(hops=2, language="de"):
        assert len(problem.metadata["steps"]) == 2
        shown = task.demonstrate(problem)
        if "citation" in shown.answer:
            assert shown.thought.count("<search>") == 2
            assert shown.answer.count("[citation:") == 2
            assert problem.metadata["value"] not in problem.prompt


def test_only_what_no_page_says_is_refused() -> None:
    for task, problem in problems(absent=1.0, hops=1):
        said = " ".join(page["text"] for page in problem.metadata["pages"])
        assert not problem.metadata["steps"]
        assert problem.prompt not in said
        assert task.score(problem, problem.answer).reward == 1.0
        assert task.score(problem, "It is 42.").reward == 0.0
        assert task.score_cited(problem, problem.answer + " [citation:1]", ()).parts["cited"] == 0.0


def test_wrong_empty_and_hostile_answers_score_nothing() -> None:
    for task, problem in problems(absent=0.0):
        for wrong in ("", "nonsense", NOT_SAID["en"], "[citation:1]", "[citation:999999999999]", "x" * 50_000):
            assert task.score(problem, wrong).reward == 0.0
            assert task.score_cited(problem, wrong, ()).reward == 0.0


def test_a_citation_must_resolve_and_say_it() -> None:
    task, problem = next((t, p) for t, p in problems(absent=0.0, kind="made_up"))
    right, value = problem.answer, problem.metadata["value"]
    says, other = Source(2, "A", "library:1", f"It is {value}."), Source(1, "B", "library:2", "Nothing.")
    assert task.score_cited(problem, f"{right} [citation:2]", (other, says)).reward == 1.0
    for citation in ("", "[citation:1]", "[citation:3]", "[citation:2][citation:3]"):
        assert task.score_cited(problem, f"{right} {citation}", (other, says)).reward == 0.5


def test_a_library_numbers_its_sources_and_brings_none_twice() -> None:
    pages = [Page("Harbour", "The harbour opens at six."), Page("Mill", "The mill opens at nine. It is old.")]
    library = PageLibrary(pages)
    first = library.look("Harbour or mill?")
    assert [source.title for source in first.sources] == ["Harbour", "Mill"]
    second = library.look("old mill")
    assert second.sources == ()
    assert [source.number for source in second.again] == [2]
    assert library.look("zebra").sources == ()
    assert [source.number for source in library.sources] == [1, 2]


def test_relations_can_be_asked_in_both_languages() -> None:
    for language in ("en", "de"):
        for relation in relations(language):
            assert all("{v}" in text for text in relation["say"] + relation["note"])
            named = relation["of"] != "home"
            assert all(("{e}" in text) == named for text in relation["ask"] + relation["say"])
            assert not any("{e}" in text for text in relation["note"])
            if relation.get("paired"):
                assert len(relation["ask"]) == len(relation["say"])


@pytest.mark.parametrize(
    "config", [{"kind": "news"}, {"hops": 3}, {"language": "fr"}, {"absent": 2}, {"characters": 9}]
)
def test_settings_that_cannot_be_are_refused(config: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(config))):
        get("search_qa", config)
