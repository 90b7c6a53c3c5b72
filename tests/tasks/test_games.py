"""Games with numbers: every game can be won, every worked search wins it, and nothing else counts as a win."""

import pytest

from denken.errors import ConfigError, UnknownNameError
from denken.tasks import get
from denken.tasks.base import Traced
from denken.tasks.games.moves import Move, expression, reachable
from denken.types import Problem

SETTINGS = [
    ("game:countdown", {}),
    ("game:countdown", {"numbers": [2, 3]}),
    ("game:countdown", {"numbers": [3], "max_number": 20, "language": "de"}),
    ("game:expressions", {}),
    ("game:choices", {}),
    ("game:expressions", {"numbers": [4], "max_number": 12, "language": "en"}),
]


@pytest.mark.parametrize(("name", "config"), SETTINGS)
def test_worked_games_are_won(name: str, config: dict[str, object]) -> None:
    task = get(name, config)
    assert isinstance(task, Traced)
    prompts = set()
    for seed in range(3000, 3060):
        problem = task.problem(seed)
        assert problem == task.problem(seed)
        prompts.add(problem.prompt)
        shown = task.demonstrate(problem)
        assert shown == task.demonstrate(problem)
        for right in (problem.answer, shown.answer, f" {shown.answer}\n"):
            assert task.score(problem, right).reward == 1.0
        for wrong in ("", shown.answer + "+0", "1", "x", "9" * 30_000, shown.answer.replace("-", "**")[:-1]):
            assert task.score(problem, wrong).reward == 0.0
    assert len(prompts) > 50


def test_the_default_is_the_game_of_stream_of_search() -> None:
    task = get("game:countdown")
    for seed in range(50):
        problem = task.problem(seed)
        numbers, target = problem.metadata["numbers"], problem.metadata["target"]
        assert len(numbers) == 4
        assert all(1 <= number <= 99 for number in numbers)
        assert 10 <= target <= 100
        assert reachable(numbers, target)


def test_a_target_must_be_hit_with_each_number_once() -> None:
    task = get("game:countdown")
    problem = Problem(task.name, "", "(57-38)*4", 1, {"numbers": [57, 38, 4], "target": 76, "language": "en"})
    for answer, reward in (
        ("(57-38)*4", 1.0),
        ("4*(57-38)", 1.0),
        ("38*4/2", 0.0),  # a number that is not there
        ("57+38/2", 0.0),
        ("76", 0.0),
        ("(57-38)*4=76", 0.0),
        ("(57-38)*4*1", 0.0),
        ("38+38", 0.0),
        ("((57-38)*4", 0.0),
    ):
        assert task.score(problem, answer).reward == reward, answer


def test_what_cannot_be_reached_is_known() -> None:
    assert reachable([2, 3, 7], 13)
    assert not reachable([1, 1, 1], 50)
    assert not reachable([3, 5], 4)


def test_equal_results_are_put_together_once_each() -> None:
    steps = [Move(5, "-", 1, 4), Move(4, "+", 4, 8)]
    assert expression(steps) == "(5-1)+4"


def test_thoughts_of_the_looser_game_stop_at_the_first_hit() -> None:
    task = get("game:expressions", {"language": "en"})
    assert isinstance(task, Traced)
    for seed in range(200, 260):
        problem = task.problem(seed)
        thought = task.demonstrate(problem).thought.split("\n")
        assert len(thought) == len(problem.metadata["attempts"])
        assert all(line.endswith(("not", "nicht")) for line in thought[:-1])
        assert not thought[-1].endswith(("not", "nicht"))


def test_countdown_thoughts_speak_the_language_of_the_question() -> None:
    task = get("game:countdown")
    assert isinstance(task, Traced)
    words = {"en": set(), "de": set()}
    for seed in range(100, 160):
        problem = task.problem(seed)
        words[problem.metadata["language"]] |= set(task.demonstrate(problem).thought.split())
    assert "not" in words["en"]
    assert "nicht" not in words["en"]
    assert "nicht" in words["de"]
    assert "not" not in words["de"]


def test_settings_that_cannot_be_played_are_refused() -> None:
    for config, part in (
        ({"numbers": [7]}, "from 2 to 5"),
        ({"numbers": 4}, "a list"),
        ({"max_number": 1}, "max_number"),
        ({"language": "fr"}, "language"),
        ({"min_target": 50, "max_target": 20}, "min <= max"),
        ({"target": 3}, "setting"),
    ):
        with pytest.raises(ConfigError, match=part):
            get("game:countdown", config)
    with pytest.raises(UnknownNameError, match="countdown"):
        get("game:countdwn")
