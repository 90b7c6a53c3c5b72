"""Thoughts about puzzles and games: right at both published configurations, within bounds, and true line by line."""

import re
from fractions import Fraction

import pytest

from denken.assistant import BUNDLED
from denken.errors import ConfigError
from denken.evaluate.suites import LEVELS
from denken.tasks.base import Demonstration
from denken.tasks.traces import WRITERS
from denken.tasks.verify.arithmetic import evaluate
from denken.tokenizer import Tokenizer
from denken.types import Problem
from worked import task_at, worked

# The most tokens of thought and answer together, easy and hard.
BOUNDS = {
    "mahjong_puzzle": (400, 700),
    "number_sequence": (1600, 2400),
    "puzzle24": (150, 150),
}
# Where not every answer can be known, at least so many are right.
SHARE_RIGHT = {("mahjong_puzzle", "easy"): 0.6, ("mahjong_puzzle", "hard"): 0.6}
SHARE_RIGHT |= {("number_sequence", "easy"): 0.95, ("number_sequence", "hard"): 0.95}
SEEDS = {"mahjong_puzzle": range(2000, 2030), "number_sequence": range(2000, 2060), "puzzle24": range(2000, 2006)}


def _shown(name: str, level: str) -> list[tuple[Problem, Demonstration]]:
    return worked(name, level, SEEDS[name])  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(BOUNDS))
@pytest.mark.parametrize("level", LEVELS)
def test_both_published_configurations_get_full_marks_within_the_bound(name: str, level: str) -> None:
    task, tokenizer = task_at(name, level), Tokenizer.load(BUNDLED)  # type: ignore[arg-type]
    right = []
    for problem, shown in _shown(name, level):
        right.append(task.score(problem, shown.answer).reward == 1.0)
        assert right[-1] or (name, level) in SHARE_RIGHT, (problem, shown)
        assert shown == task.demonstrate(problem)
        assert len(tokenizer.encode(shown.thought + shown.answer)) < BOUNDS[name][LEVELS.index(level)]  # type: ignore[arg-type]
    assert sum(right) >= SHARE_RIGHT.get((name, level), 1.0) * len(right)


def test_24_is_made_of_the_numbers_given() -> None:
    for level in LEVELS:
        for problem, shown in _shown("puzzle24", level):
            assert evaluate(shown.answer) == 24
            assert [int(number) for number in re.findall(r"\d+", shown.answer)] == problem.metadata["numbers"]
            for left, right in re.findall(r"(\d+[-+*/]\d+)=(-?\d+)", shown.thought):
                assert evaluate(left) == Fraction(right)


def test_the_cards_counted_are_those_in_hand() -> None:
    for level in LEVELS:
        for problem, shown in _shown("mahjong_puzzle", level):
            hand = problem.metadata["rounds"][-2]["cards"]
            counted = shown.thought.split("\n")[-1].split(" ")[1]
            assert counted == "".join(f"{card}{hand.count(card)}" for card in re.findall("[A-Z]", counted))


def test_a_letter_that_is_there_twice_stands_in_the_way() -> None:
    def last_line(cards: str, card: str) -> str:
        prompt = f"the initial cards {cards}, what"
        shown = WRITERS["mahjong_puzzle"](Problem("", prompt, "", 0, {"rounds": [{"add": card, "remove": "A"}]}))
        assert shown.thought.endswith(shown.answer)
        return shown.thought.split("\n")[-1]

    assert last_line("QSTUAB", "R") == "1 P0Q1R0S1T1 PQ01n QS11y ST11y Chi"
    assert last_line("QRSAB", "R") == "1 P0Q1R1S1T0 PQ01n QS11n ST10n Pass"
    assert last_line("BBCCZ", "A") == "1 A0B2C2 BC22n Pass"
    assert last_line("BBCCA", "A") == "1 A1B2C2 BC22n Pass"
    assert last_line("XYYZZ", "Y") == "1 W0X1Y2Z2 Y2 Peng"


def test_every_equation_about_a_sequence_is_true() -> None:
    equation, checked = re.compile(r"(?<![\d*+/r-])(\d+(?:[-+*]\d+)+)=(-?\d+)(?![-\d*+/(])"), 0
    for level in LEVELS:
        for _, shown in _shown("number_sequence", level):
            for left, right in equation.findall(shown.thought):
                assert evaluate(left) == Fraction(right), shown
                checked += 1
    assert checked > 500


@pytest.mark.parametrize(
    ("terms", "thought"),
    [
        ((3, 1, 0, 0, 0, 0), "0 0>0"),
        ((3, 7, 11, 15), "+\n7-3=4\n+4\n7:7+4=11\n11:11+4[1+4=5,1+0=1]=15"),
        ((1, 3, 6, 11, 19), "+P\n3-1=2\n+P+2"),
        ((9, 4, 2, 1, 0), "/2\n9:9/2=4r1=4\n4:4/2=2r0=2\n2:2/2=1r0=1\n1:1/2=0r1=0"),
        ((-9, -5, -3, -2, -1), "/2\n-9:-9/2:9/2=4r1-(4+1)=-5\n-5:-5/2:5/2=2r1-(2+1)=-3"),
    ],
)
def test_sequences_by_hand(terms: tuple[int, ...], thought: str) -> None:
    asked = Problem("", "", str(terms[-1]), 0, {"sequence": list(terms), "rule": "square"})
    assert thought in WRITERS["number_sequence"](asked).thought


def test_a_cube_is_turned_until_each_side_has_one_colour() -> None:
    task = task_at("rubiks_cube", "easy")
    for problem, shown in worked("rubiks_cube", "easy", range(2000, 2004)):
        assert task.score(problem, shown.answer).reward == 1.0, (problem, shown)
        assert shown.thought.split("\n")[6::7] == shown.answer.split()
        assert len(shown.answer.split()) <= problem.metadata["scramble_steps"]
    with pytest.raises(ConfigError, match="set cube_size = 3"):
        WRITERS["rubiks_cube"](Problem("rubiks_cube", "", "", 0, {"cube_size": 5}))


def test_one_turn_is_turned_back() -> None:
    rows = [*["Y Y Y"] * 2, "R R R", *["R R W G G G Y O O B B B"] * 3, "O O O", *["W W W"] * 2]
    asked = Problem("", "\n".join(rows), "", 0, {"cube_size": 3, "scramble_moves": "F"})
    shown = WRITERS["rubiks_cube"](asked)
    assert shown.answer == "F'"
    assert shown.thought.startswith("U:YYY,YYY,RRR\nL:RRW,RRW,RRW\nF:GGG,GGG,GGG\nR:YOO,YOO,YOO\nB:BBB,BBB,BBB\nD:OOO")
    assert shown.thought.endswith(
        "F'\nU:YYY,YYY,YYY\nL:RRR,RRR,RRR\nF:GGG,GGG,GGG\nR:OOO,OOO,OOO\nB:BBB,BBB,BBB\nD:WWW,WWW,WWW"
    )
