"""Questions in ordinary words: right answers, both languages, the same question for the same seed."""

import json

import pytest

from denken.errors import UnknownNameError
from denken.tasks import get
from denken.tasks.base import Traced
from denken.tasks.plain import KINDS
from denken.tasks.smalltalk import lines


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_questions_are_answered_by_their_own_thought(kind: str) -> None:
    task = get(f"plain:{kind}")
    assert isinstance(task, Traced)
    prompts = set()
    for seed in range(4000, 4080):
        problem = task.problem(seed)
        assert problem == task.problem(seed)
        shown = task.demonstrate(problem)
        assert task.score(problem, shown.answer).reward == 1.0
        assert task.score(problem, f" {shown.answer}\n").reward == 1.0
        for wrong in ("", shown.answer + "1", "nonsense", "0" * 20_000):
            assert task.score(problem, wrong).reward == 0.0
        prompts.add(problem.prompt)
    assert len(prompts) > 60


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_answers_in_fields_are_objects_with_the_field_that_was_asked_for(kind: str) -> None:
    task = get(f"fields:{kind}")
    assert isinstance(task, Traced)
    for seed in range(4000, 4080):
        problem = task.problem(seed)
        shown = task.demonstrate(problem)
        ((field, value),) = json.loads(shown.answer).items()
        assert f'"{field}"' in problem.prompt
        assert str(value) == problem.metadata["bare"]
        assert task.score(problem, shown.answer).reward == 1.0
        assert task.score(problem, json.dumps({field: value}, indent=2)).reward == 1.0
        for wrong in ("", str(value), json.dumps({field + "x": value}), json.dumps({field: [value]}), "[" * 9_000):
            assert task.score(problem, wrong).reward == 0.0


def test_products_are_asked_in_words_and_signs() -> None:
    task = get("plain:products")
    asked = [task.problem(seed) for seed in range(5000, 5400)]
    for problem in asked:
        a, b = map(int, problem.metadata["expression"].split("*"))
        assert problem.answer == str(a * b)
    assert any(" mal " in problem.prompt for problem in asked)
    assert any(" times " in problem.prompt for problem in asked)


def test_what_lies_outside_is_answered_in_the_language_of_the_question() -> None:
    task = get("smalltalk:outside")
    assert isinstance(task, Traced)
    replies = {task.demonstrate(task.problem(seed)).answer for seed in range(200)}
    assert replies == {table["reply"] for table in lines()["outside"].values()}


def test_unknown_kinds_say_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match="sums"):
        get("plain:riddles")
    with pytest.raises(UnknownNameError, match="outside"):
        get("smalltalk:weather")
