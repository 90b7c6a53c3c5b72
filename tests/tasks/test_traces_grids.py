"""Thoughts about grids, graphs, states and logic: full marks at both levels, within bounds, and true line by line."""

import re
from functools import cache
from itertools import pairwise

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

# The most tokens of question, thought and answer together, easy and hard; None where no context holds them.
BOUNDS: dict[str, tuple[int, int | None]] = {
    "acre": (1600, 1600),
    "aiw": (560, 560),
    "bf": (700, None),
    "binary_matrix": (1750, None),
    "course_schedule": (700, None),
    "family_relationships": (600, 600),
    "largest_island": (1800, None),
    "manipulate_matrix": (1800, None),
    "n_queens": (2048, 2048),
    "pool_matrix": (1700, None),
    "propositional_logic": (900, 1600),
    "quantum_lock": (2048, 1500),
    "rotate_matrix": (1250, None),
    "self_reference": (740, 740),
    "shortest_path": (1800, None),
    "spiral_matrix": (1750, None),
    "syllogism": (280, 280),
    "tower_of_hanoi": (2048, 2048),
}
SEEDS = range(2000, 2024)
SLOW_SEEDS = range(2000, 2010)  # of quantum_lock, whose problems take long to be made
FEW_SEEDS = range(2000, 2003)
CASES = [(name, level) for name in sorted(BOUNDS) for level in LEVELS if (name, level) != ("bf", "hard")]


@cache
def _shown(name: str, level: str = "easy") -> list[tuple[Problem, Demonstration]]:
    bound = BOUNDS[name][LEVELS.index(level)]  # type: ignore[arg-type]
    seeds = FEW_SEEDS if not bound else SLOW_SEEDS if name == "quantum_lock" else SEEDS
    return [pair for pair in worked(name, level, seeds) if not _no_context_holds(pair[0])]  # type: ignore[arg-type]


def _no_context_holds(problem: Problem) -> bool:
    """Six disks on three pegs take 63 moves, and the answer alone over 1,600 tokens; twice that with each disk more."""
    return problem.task == "tower_of_hanoi" and problem.metadata["num_pegs"] == 3 and problem.metadata["num_disks"] > 5


@pytest.mark.parametrize(("name", "level"), CASES)
def test_published_configurations_get_full_marks_within_the_bound(name: str, level: str) -> None:
    task, tokenizer = task_at(name, level), Tokenizer.load(BUNDLED)
    bound = BOUNDS[name][LEVELS.index(level)]  # type: ignore[arg-type]
    for problem, shown in _shown(name, level):
        assert task.score(problem, shown.answer).reward == 1.0, (problem, shown)
        assert shown == task.demonstrate(problem)
        assert shown.thought.strip()
        text = problem.prompt + shown.thought + shown.answer
        assert bound is None or len(tokenizer.encode(text)) <= bound, problem.seed


def test_a_program_that_no_thought_holds_is_refused() -> None:
    task = task_at("bf", "hard")
    with pytest.raises(ConfigError, match="set difficulty = 1"):
        task.demonstrate(task.problem(2000))


def problem(name: str, prompt: str = "?", answer: str = "", **metadata: object) -> Problem:
    return Problem(name, prompt, answer, 0, metadata)


FAMILY = "Kai is married to Amelia. They have a child called Logan. Logan is married to Willow. "
FAMILY += "Andrew is married to Lily. They have children called Ann, Tom and Willow.\n\nWhat is Logan to Andrew?"
BLICKETS = (
    "Previous experimental results:\na b c → off\nd e f, a b c → on\ng h i, d e f → on\n\nNew test case:\ng h i\n\n"
)
LIAR = "'At least 3 of these' 'At most 1 of these' 'Exactly 7 of these' 'Exactly 6 of these'"
MIRRORED = [
    {"transform": "vmirror"},
    {"transform": "map", "from": 7, "to": 8},
    {"transform": "rotate", "degrees": "90"},
]
MIRRORED += [{"transform": "crop", "row_start": 1, "row_end": 2, "col_start": 2, "col_end": 2}]
MIRRORED += [{"transform": "zero_divisible", "k": 4}, {"transform": "remove_every_nth_row", "n": 2}]
BUTTONS = [
    {"name": "A", "type": "add", "value": 3, "active_state": "any"},
    {"name": "B", "type": "add", "value": 2, "active_state": "green"},
    {"name": "C", "type": "multiply", "value": 2, "active_state": "red"},
]
HAND = [
    (problem("acre", BLICKETS), "a b c1-|d e f2,a b c1+|g h i3,d e f2+|-1|2+ 32|?g h i3?", "undetermined"),
    (problem("aiw", "Ann has 3 brothers and she also has 6 sisters."), "sisters 6|6+1=7", "7"),
    (
        problem("bf", bf_program=">[-]>[-]<>+++++++[<++++++++++++++>-]<-.++..<"),
        "+1+2+3+4+5+6+7[+1+2+3+4+5+6+7+8+9+10+11+12+13+14]|7*14=14*7[4*7=28,1*7+2=9]=98|-1|98-1[8-1=7,9-0=9]=97|a|+1+2|"
        "97+2[7+2=9,9+0=9]=99|c|c",
        "acc",
    ),
    (problem("binary_matrix", matrix=[[1, 0], [1, 1]]), "Aa1xAb00|Ba1xBb11|Bb11Bax2|Ab00Aax1|Aa1Ab0|Ba2Bb1", ""),
    (problem("course_schedule", courses=[0, 1, 2], prerequisites=[(1, 0), (2, 1)]), "0n1y2y|2,1|1n2y|-", "True"),
    (problem("course_schedule", courses=[0, 1], prerequisites=[(1, 0), (0, 1)]), "0y1y", "False"),
    (
        problem("family_relationships", FAMILY, "father-in-law", person1="Logan", person2="Andrew"),
        "1 Kai+ Amelia> Logan|2 Logan+ Willow|3 Andrew+ Lily> Ann, Tom, Willow|? Logan< Kai+ Amelia|? Andrew<-|"
        "? Logan= Willow|? Kai<-|? Amelia<-|? Willow< Andrew!+ Lily|: Andrew m father-in-law",
        "father-in-law",
    ),
    (
        problem("largest_island", grid=[[1, 1], [0, 0], [0, 1]]),
        "Aa1Ab1|Ba0Bb0|Ca0Cb1|Aa=1|1Aa:Ab=2Ba.|2Ab:Aa-Bb.|2>0:2|Ab-Cb=1|1Cb:Bb.Ca.|1<2:2",
        "2",
    ),
    (
        problem("manipulate_matrix", matrix=[[5, 3, 7], [7, 8, 7]], operations=MIRRORED),
        "Aa5Ab3Ac7|Ba7Bb8Bc7|AB|abc|v AB|cba|7>8 00 11 22 33 44 55 66 78 88 99|r90 cba|BA|1-2,2-2 1c2b3a|1B2A cb|A|"
        "/4 00 11 22 33 40 55 66 70 80 99|r/2 1c2b c|A|Ac70",
        "",
    ),
    (
        problem("n_queens", puzzle=[list("____"), list("___Q"), list("____"), list("__Q_")]),
        "2:4Ef 4:3Fc|1:1Ad2Be3Cf-4Dg-|3:1Cb2Dc-3Ed-4Fe-|0 1:1Ad2Be=2 3:1Cb=1|0>3:1Cb|1 1:2Be=1|1>1:2Be|1:2 2:4 3:1 4:3",
        "_ Q _ _\n_ _ _ Q\nQ _ _ _\n_ _ Q _",
    ),
    (
        problem("quantum_lock", target_value=8, initial_value=0, initial_state="red", buttons=BUTTONS),
        "A+3 B+2g C*2r|8r 8g 8+6=14|8r:A5gB6g 8g:A5rC4r|5g:A2rC! 6g:A3rC3r- 5r:A2gB3g 4r:A1gB2g-|"
        "2r:A-1gB0g 3r:A0g-B1g- 2g:A-1rC1r 3g:A0r*|0rA3gB5rA8g",
        "A → B → A",
    ),
    (
        problem("pool_matrix", matrix=[[5, 0, 2], [7, 9, 4], [1, 0, 8]], pool_size=2, pool_type="average"),
        "Aa50b2|Ba79b4|a 5+0=5+7=12+9=21/4=5r1=5.25|b 2+4=6/2=3r0=3|Ca10b8|a 1+0=1/2=0r1=0.5|b 8",
        "5.25 3\n0.5 8",
    ),
    (
        problem("pool_matrix", matrix=[[5, 0, 2], [7, 9, 4]], pool_size=2, pool_type="max"),
        "Aa50b2|Ba79b4|a 5079=9|b 24=4",
        "9 4",
    ),
    (problem("propositional_logic", premises=["(Q ↔ Q)", "R"]), "1 (Q=Q)|Q0 (0=0)|1|Q1 (1=1)|1|2 R", "(R ∨ R)"),
    (
        problem("propositional_logic", premises=["(¬P → (P ∨ Q))"]),
        "1 (!P>(P|Q))|P0Q0 (!0>(0|0))|(1>0)|0",
        "(¬P → (P ∨ Q))",
    ),
    (
        problem("rotate_matrix", matrix=[[8, 5], [5, 1]], num_rotations=5),
        "Aa8Ab5|Ba5Bb1|450-360=90|AB|ab|ab|BA|Ba5Aa8|Bb1Ab5",
        "",
    ),
    (
        problem("self_reference", LIAR),
        "0,7 0<3n 7>1n 0<7n 7>6n n n n 0=0 #1|1,6 1<3n 6>1n 1<7n 6=6y1 y2 n y3 3>1|2,5 2<3n 5>1n 2<7n 5<6n n y1 n 1<2"
        "|3,4 3=3y1 4>1n 3<7n 4<6n n y2 y3 3=3 #2"
        "|4,3 4>3y1 3>1n 4<7n 3<6n n n n 1<4|5,2 5>3y1 2>1n 5<7n 2<6n n y2 n 2<5"
        "|6,1 6>3y1 1=1y2 6<7n 1<6n n n n 2<6|7,0 7>3y1 0<1y2 7=7y3 0<6n y4 y5 n 5<7",
        "2",
    ),
    (
        problem("shortest_path", matrix=[["O", "#", "*"], ["X", "O", "X"]]),
        "AaOAb#Ac*|BaXBbOBcX|1Ab:Aa>2Ac<*|Ac<Ab#",
        "left",
    ),
    (problem("shortest_path", matrix=[["#", "X", "*"]]), "Aa#AbXAc*|1Aa:Ab.", "infeasible"),
    (
        problem("spiral_matrix", matrix=[[1, 2, 3], [4, 5, 6]]),
        "Aa1Ab2Ac3|Ba4Bb5Bc6|>Aac Aa1Ab2Ac3|vcBB Bc6|<Bba Bb5Ba4",
        "",
    ),
    (
        problem(
            "syllogism",
            premise1="No bees are fish",
            premise2="All fish are cats",
            conclusion="Some bees are not cats",
        ),
        "N bees1 fish2|A fish2 cats3|?O bees1 cats3|13 NA:- n",
        "No",
    ),
    (
        problem("tower_of_hanoi", num_disks=3, start_peg=1, target_peg=3, auxiliary_pegs=[2]),
        "13:132|12:123 313 12:231|113 212 132 313 121 223 113",
        "Move disk 1 from Peg 1 to Peg 3\nMove disk 2 from Peg 1 to Peg 2\nMove disk 1 from Peg 3 to Peg 2\n"
        "Move disk 3 from Peg 1 to Peg 3\nMove disk 1 from Peg 2 to Peg 1\nMove disk 2 from Peg 2 to Peg 3\n"
        "Move disk 1 from Peg 1 to Peg 3",
    ),
]


@pytest.mark.parametrize(("asked", "thought", "answer"), HAND, ids=lambda value: getattr(value, "task", ""))
def test_demonstrations_worked_by_hand(asked: Problem, thought: str, answer: str) -> None:
    shown = WRITERS[asked.task](asked)
    assert (shown.thought.replace("\n", "|"), shown.answer) == (thought, answer)


def test_every_value_of_a_matrix_stands_by_its_letters() -> None:
    """Whatever is looked up in a thought is what the question has there."""
    for name in ("rotate_matrix", "spiral_matrix", "largest_island", "shortest_path"):
        for asked, shown in _shown(name):
            matrix = asked.metadata["grid" if name == "largest_island" else "matrix"]
            found = re.findall(r"([A-J])([a-j])([\dXO*#])", shown.thought)
            assert len(found) >= len(matrix) * len(matrix[0])
            for row, column, value in found:
                assert str(matrix[ord(row) - 65][ord(column) - 97]) == value, (name, asked.seed, row + column)


def test_sums_and_comparisons_are_true() -> None:
    checked = 0
    for name in ("pool_matrix", "bf", "aiw"):
        for _, shown in _shown(name):
            for left, right in re.findall(r"(?<![\d+*/=r-])(\d+(?:[-+*]\d+)+)=(\d+)(?![-\d*(/r])", shown.thought):
                assert evaluate(left) == int(right), (name, left, right)
                checked += 1
            for above, below, whole, rest, result in re.findall(r"(\d+)/(\d)=(\d)r(\d)=([\d.]+)", shown.thought):
                assert divmod(int(above), int(below)) == (int(whole), int(rest))
                assert abs(int(above) / int(below) - float(result)) <= 0.005
                checked += 1
    for name in ("self_reference", "largest_island"):
        for _, shown in _shown(name):
            for left, sign, right in re.findall(r"(?<!\d)(\d+)([<=>])(\d+)(?!\d)", shown.thought):
                assert {"<": int(left) < int(right), "=": left == right, ">": int(left) > int(right)}[sign]
                checked += 1
    assert checked > 1000


def test_a_way_is_gone_back_along_its_arrows() -> None:
    """Each arrow of the way is the one that its place got when it was met, and leads to the next place."""
    for _, shown in _shown("shortest_path"):
        way = shown.thought.split("\n")[-1]
        if shown.answer == "infeasible":
            continue
        steps = re.findall(r"([A-J][a-j])([<>^v#])", way)
        for (place, arrow), (following, _) in pairwise(steps):
            assert f"{place}{arrow}" in shown.thought.replace(way, "")
            down, right = {"^": (-1, 0), "v": (1, 0), "<": (0, -1), ">": (0, 1)}[arrow]
            assert following == chr(ord(place[0]) + down) + chr(ord(place[1]) + right)


def test_queens_that_are_set_attack_none_of_the_squares_that_stay_free() -> None:
    """A line of what is free holds squares that share no sign with the queen set just before."""
    checked = 0
    for _, shown in _shown("n_queens"):
        lines = shown.thought.split("\n")
        for line, following in pairwise(lines):
            placed = re.fullmatch(r"\d>\d:(\d[A-O][a-o])", line)
            if placed and "=" in following:
                assert not set(placed[1]) & {
                    sign for square in re.findall(r"\d[A-O][a-o]", following) for sign in square
                }
                checked += 1
    assert checked > 50


def test_every_number_of_a_lock_is_what_its_button_makes_of_the_one_before() -> None:
    checked = 0
    for asked, shown in _shown("quantum_lock"):
        button = {b["name"]: (b["type"], b["value"]) for b in asked.metadata["buttons"]}
        for after, found in re.findall(r"(?:^| )(-?\d+)[rg]:(\S+)", shown.thought, re.MULTILINE):
            for name, before in re.findall(r"([A-C])(-?\d+)[rg]", found):
                kind, by = button[name]
                change = {"add": int(before) + by, "subtract": int(before) - by, "multiply": int(before) * by}
                assert change[kind] == int(after)
                checked += 1
    assert checked > 500
