"""Thoughts over long questions name what says how far they have come; every one of these names is held to the question.

Both published configurations of each data set get full marks.
"""

import re
from collections import Counter
from string import ascii_lowercase

import pytest

from denken.evaluate.suites import LEVELS, Level
from worked import task_at, worked

SEEDS = range(2000, 2024)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "name", ["color_cube_rotation", "leg_counting", "number_sorting", "palindrome_generation", "simple_geometry"]
)
def test_demonstrations_reach_the_answer(name: str, level: Level) -> None:
    task = task_at(name, level)
    for problem, shown in worked(name, level, SEEDS):
        assert task.score(problem, shown.answer).reward == 1.0, (problem.prompt, shown)


def test_a_turn_of_the_cube_is_named_by_its_sentence() -> None:
    for asked, shown in worked("color_cube_rotation", "hard", SEEDS):
        sentences = asked.prompt.split("\n\n")[1:-1]
        lines = shown.thought.split("\n")[1:-1]
        assert len(lines) == len(sentences)
        for line, sentence in zip(lines, sentences, strict=True):
            opening, side, *_ = line.split()
            assert re.match(rf"{opening}\b", sentence)
            assert re.search(rf"\b{side}\b", sentence.removesuffix("top."))


def test_animals_have_the_number_and_the_name_of_the_question() -> None:
    for asked, shown in worked("leg_counting", "easy", SEEDS):
        listed = ", ".join(line.partition("*")[0] for line in shown.thought.split("\n"))
        assert f" {listed}?" in asked.prompt


def test_numbers_keep_their_order_before_they_are_sorted() -> None:
    for asked, shown in worked("number_sorting", "easy", SEEDS):
        copied, *blocks = shown.thought.split("\n")
        padded = re.findall(r"[-+]\d+", copied)
        assert [n[0] == "-" for n in padded] == [n.startswith("-") for n in asked.metadata["original_numbers"]]
        assert sorted(padded) == sorted(f"{block[0]}{n}" for block in blocks for n in block[1:].split())


def test_the_left_half_of_many_letters_is_in_order() -> None:
    for asked, shown in worked("palindrome_generation", "hard", SEEDS):
        copied, counts, half = shown.thought.split("\n")
        assert re.findall("[a-z]", copied) == asked.metadata["letters"]
        counted = Counter(asked.metadata["letters"])
        listed = [re.fullmatch(r"([a-z])(\d+)(\1*)(!?)", each) for each in counts.split(",")]
        assert [each and (each[1], int(each[2])) for each in listed] == [(c, counted[c]) for c in ascii_lowercase]
        assert all(each and (len(each[3]), bool(each[4])) == divmod(int(each[2]), 2) for each in listed)
        left, _, middle = half.partition("|")
        assert left == "".join(each[3] for each in listed if each)
        assert list(left) == sorted(left)
        assert shown.answer == left + middle + left[::-1]
    for _, shown in worked("palindrome_generation", "easy", SEEDS):
        assert shown.thought.count("\n") == 1


def test_every_angle_is_added_under_its_own_letter() -> None:
    for asked, shown in worked("simple_geometry", "hard", SEEDS):
        _, listed, *lines, _ = shown.thought.split("\n")
        angles = dict(re.findall(r"([a-z])(\d+)", listed))
        assert [int(angle) for angle in angles.values()] == asked.metadata["known_angles"]
        added = [re.fullmatch(r"([a-z])\d+\+(\d+)\[.*", line) for line in lines]
        assert [found and found.groups() for found in added] == list(angles.items())[1:]
