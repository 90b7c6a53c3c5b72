"""Thoughts about strings and rewriting: right at both published configurations, within bounds, true line by line."""

import json
import re

import pytest

from denken.assistant import BUNDLED
from denken.evaluate.suites import LEVELS
from denken.tasks.base import Demonstration
from denken.tasks.traces import WRITERS
from denken.tasks.verify.arithmetic import evaluate
from denken.tokenizer import Tokenizer
from denken.types import Problem
from worked import task_at, worked

# The most tokens of question, thought and answer together, easy and hard; None where some are longer than any bound.
BOUNDS: dict[str, tuple[int | None, int | None]] = {
    "ab": (800, 1600),
    "binary_alternation": (420, 2048),
    "caesar_cipher": (800, 900),
    "count_bits": (640, 520),
    "emoji_mystery": (2200, 2200),
    "group_anagrams": (1500, None),
    "number_format": (420, 2048),
    "palindrome_partitioning": (None, None),
    "ransom_note": (320, 1700),
    "string_insertion": (640, 960),
    "string_manipulation": (None, None),
    "string_splitting": (1550, 1850),
    "string_synthesis": (1180, 1400),
}
SEEDS = range(2000, 2024)
EQUATION = re.compile(r"(?<![\d*+/r-])(\d+(?:[-+*]\d+)+)=(-?\d+)(?![-\d*+/(])")
QUOTIENT = re.compile(r"(\d+)/2=(\d+)r([01])")


def _shown(name: str, level: str) -> list[tuple[Problem, Demonstration]]:
    return worked(name, level, SEEDS)  # type: ignore[arg-type]


def _lines(name: str, level: str) -> list[tuple[Problem, list[str]]]:
    return [(problem, shown.thought.split("\n")) for problem, shown in _shown(name, level)]


@pytest.mark.parametrize("name", sorted(BOUNDS))
@pytest.mark.parametrize("level", LEVELS)
def test_both_published_configurations_get_full_marks_within_the_bound(name: str, level: str) -> None:
    task, tokenizer = task_at(name, level), Tokenizer.load(BUNDLED)
    bound = BOUNDS[name][LEVELS.index(level)]  # type: ignore[arg-type]
    for problem, shown in _shown(name, level):
        assert task.score(problem, shown.answer).reward == 1.0, (problem, shown)
        assert shown == task.demonstrate(problem)
        text = problem.prompt + shown.thought + shown.answer
        assert bound is None or len(tokenizer.encode(text)) <= bound, problem.seed


def problem(name: str, prompt: str = "?", **metadata: object) -> Problem:
    return Problem(name, prompt, "the answer", 0, metadata)


HAND = [
    (
        problem("ab", "the following program:\n\nB# #A A# #B\n"),
        "1B# 2#A 3A# 4#B|1B# :B1|2#A! :B1|3A# :B1A3|4#B-B1 :A3|#A A#",
    ),
    (problem("string_insertion", string="BCDEABA"), "BCDE+BABA"),
    (
        problem(
            "string_manipulation",
            string="abbcc",
            selected_rules=[
                "If the string prefix is 'ca', replace it with 'bb' and append 'c' to the end.",
                "If the string suffix is 'cc', replace it with 'b' and prepend 'a' to the start.",
                "If the string contains 'bca', delete the first occurrence entirely.",
                "If the string contains an even number of 'b's (and at least one 'b'), append 'ab' at the end.",
                "If the string length is greater than 15, remove the middle character.",
            ],
        ),
        "abbcc|1^ca ab|2$cc cc y|aabbb|1^ca aa|2$cc bb|3*bca|4 aab1b2b3|5 a1a2b3b4b5",
    ),
    (
        problem("string_synthesis", initial_blocks=(2, 3, 4)),
        "2 3 4 0 0 0 0 0 0|1 2,3,4:2|2-2=0|3-2=1|4-2=2|0+2=2|0 1 2 2 0 0 0 0 0|2 0,1:0|3 1,2:1|1-1=0|2-1=1|0+1=1|"
        "0 0 1 2 1 0 0 0 0|4 1/2=0r1|5 2,0:0|6 1/2=0r1",
    ),
    (
        problem("string_splitting", initial_machines=(1, 1, 3)),
        "1 1 3 0 0 0|1 1:1|1+1=2|1-1=0|0+2=2|0+1=1|0 1 3 2 1 0|2 1/2=0r1|3 3/2=1r1|1+1=2|0 1 1 2 2 0|4 1,1:1|1-1=0|"
        "1-1=0|0+1=1|1 0 0 2 2 0|1 1:1|1+1=2|1-1=0|2+2=4|2+1=3|0 0 0 4 3 0|5 4,3:3|4-3=1|3-3=0|0+3=3|0 0 0 1 0 3",
    ),
    (
        Problem("caesar_cipher", "?", "THE CAT", 0, {"cipher_text": "QEB ZXQ", "rotation": 23}),
        "QEB ZXQ|RFC AYR|SGD BZS|THE CAT|QT RU SV TW UX VY WZ XA YB ZC AD BE CF DG EH FI GJ HK IL JM KN LO MP NQ OR PS|"
        "QTEHBE ZCXAQT",
    ),
    (Problem("emoji_mystery", "?", "He was there.", 0, {}), "He|was|there."),
    (
        problem("binary_alternation", string="0001111011001"),
        "001,011,111,101,112,002,1|00:2 01:1 10:1 11:2 1|2=2 1|01:1 11:2|1+2=3",
    ),
    (problem("binary_alternation", string="00001"), "001,002,1|00:2 01:0 10:0 11:0 1|2>0 -"),
    (problem("binary_alternation", string="1001"), "101,011|00:0 01:1 10:1 11:0|0=0 =|01:1=1:10|01:1 11:0|1+0=1"),
    (problem("ransom_note", ransom_note="aba", magazine="cbaab"), "a1b1a2|cb0a1a0b|a0b0"),
    (problem("count_bits", number=6), "6/2=3r0|3/2=1r1,1|1/2=0r1,2"),
    (problem("group_anagrams", words=["tea", "tan", "eat"]), "tea aet1|tan ant2|eat aet1"),
    (
        problem("letter_jumble", scrambled_words=["eth", "ortcePj"], original_words=["the", "Project"]),
        "eth eht the|ortcePj cejoprt Project",
    ),
    (
        problem(
            "number_format", size="largest", formatted_candidates=["1.523000000000000e+03", "1,523.412", "1522.900000"]
        ),
        "largest|1 51 22 33 1523.000!|1523.412!|1522.900",
    ),
    (
        problem("palindrome_partitioning", string="abbacdce"),
        "a1 b2 b3= a4 c5 d6 c7~ e8|2b3b 1a4a|5c7c 4a8e|A1-4 B5-7 e|A1 a,b,b,a|A2 a,bb,a|A3 abba|B1 c,d,c|B2 cdc|"
        "11 12 21 22 31 32",
    ),
]


@pytest.mark.parametrize(("asked", "lines"), HAND, ids=lambda value: value.task if isinstance(value, Problem) else "")
def test_demonstrations_worked_by_hand(asked: Problem, lines: str) -> None:
    assert WRITERS[asked.task](asked).thought.replace("\n", "|") == lines


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_copied_is_the_question_and_what_is_kept_the_answer(level: str) -> None:
    for asked, lines in _lines("ab", level):
        assert re.sub(r"\d", "", lines[0]) in asked.prompt
        assert lines[-1] == asked.answer
    for asked, (line,) in _lines("string_insertion", level):
        assert re.sub(r"\+.", "", line) == asked.metadata["string"]
        assert line.replace("+", "") == asked.answer
    for asked, lines in _lines("caesar_cipher", level):
        assert asked.answer.startswith(lines[-3])
        assert "".join(c[0] for c in re.findall(r"\w\w| ", lines[-1])) == asked.metadata["cipher_text"]
        assert "".join(c[-1] for c in re.findall(r"\w\w| ", lines[-1])) == asked.answer
        assert set(re.findall(r"\w\w", lines[-1])) <= set(lines[-2].split())
    for asked, (line,) in _lines("emoji_mystery", level):
        hidden = [ord(c) - 0xE0100 + 16 for c in asked.prompt if 0xE0100 <= ord(c) <= 0xE01EF]
        assert bytes(hidden).decode() == line.replace("|", " ")
    for asked, lines in _lines("binary_alternation", level):
        assert "".join(mark[:2] for mark in lines[0].split(",")) == asked.metadata["string"]
        assert lines[-1].endswith(f"={asked.answer}" if asked.answer != "-1" else " -")
    for asked, lines in _lines("ransom_note", level):
        copied = [re.sub(r"\d", "", line) for line in lines[:2]]
        assert copied == [asked.metadata["ransom_note"], asked.metadata["magazine"]]
        assert asked.answer == str(not re.search("[1-9]", lines[2]))


@pytest.mark.parametrize("level", LEVELS)
def test_states_of_rewriting_follow_one_another(level: str) -> None:
    for asked, lines in _lines("string_manipulation", level):
        states = [line for line in lines if re.fullmatch("[abcz]+", line)]
        known = asked.metadata["states"]
        assert states[: len(known)] == known
        assert states[-1] == asked.answer
    for name in ("string_synthesis", "string_splitting"):
        for asked, lines in _lines(name, level):
            states = [line for line in lines if re.fullmatch(r"\d+( \d+){5,}", line)]
            reached = iter(" ".join(map(str, state)) for state in asked.metadata["states"])
            assert all(state in reached for state in states)
            assert states[-1] == asked.answer


@pytest.mark.parametrize("name", ["binary_alternation", "count_bits", "string_splitting", "string_synthesis"])
@pytest.mark.parametrize("level", LEVELS)
def test_every_equation_and_quotient_is_true(name: str, level: str) -> None:
    checked = 0
    for asked, lines in _lines(name, level):
        text = "\n".join(lines)
        for left, right in EQUATION.findall(text):
            assert evaluate(left) == int(right), (left, right, asked.seed)
            checked += 1
        for dividend, quotient, rest in QUOTIENT.findall(text):
            assert divmod(int(dividend), 2) == (int(quotient), int(rest)), asked.seed
            checked += 1
    assert checked >= 15


def test_a_repeated_state_ends_it_with_the_state_before() -> None:
    task = task_at("string_manipulation", "easy")
    asked = task.problem(10360)
    *_, last, repeated, before = task.demonstrate(asked).thought.split("\n")
    assert last.endswith(" y")
    assert repeated.removesuffix("!") in asked.metadata["states"]
    assert before == asked.answer == asked.metadata["states"][-1]


def test_the_choices_of_palindromes_are_as_many_as_the_lists() -> None:
    for asked, shown in _shown("palindrome_partitioning", "easy"):
        choices = shown.thought.split("\n")[-1].split()
        if len(asked.metadata["solution"]) > 1:
            assert len(choices) == len(set(choices)) == len(json.loads(shown.answer)) == len(asked.metadata["solution"])
