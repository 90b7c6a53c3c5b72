"""Worked solutions must be right in every line, and end in the answer."""

import re
from fractions import Fraction

import pytest

from denken.tasks import get
from denken.tasks.base import Traced
from denken.tasks.traces import ASKED_PLAINLY, WRITERS
from denken.tasks.traces.digits import add, divide, multiply
from denken.tasks.verify.arithmetic import evaluate
from denken.types import Problem

# What test_traces_longhand.py holds to more: both published configurations, and that not every power is exact enough.
LONGHAND = {"bitwise_arithmetic", "complex_arithmetic", "decimal_arithmetic", "decimal_chain_sum"}
LONGHAND |= {"calendar_arithmetic", "dice", "fraction_simplification", "polynomial_multiplication", "power_function"}
LONGHAND |= {"simple_equations", "time_intervals"}
# What test_traces_roots.py and test_traces_triangles.py hold to more: the last place may be one off.
LONGHAND |= {"advanced_geometry", "polynomial_equations"}
# What test_traces_integrals.py checks by derivatives, for the library takes long to integrate.
LONGHAND |= {"intermediate_integration", "simple_integration"}
# What test_traces_grids.py holds to more.
GRIDS = {"acre", "aiw", "bf", "binary_matrix", "course_schedule", "family_relationships", "largest_island"}
# What test_traces_graphs.py holds to more.
GRAPHS = {"graph_color", "jugs", "maze"}
GRIDS |= {
    "tower_of_hanoi",
    "manipulate_matrix",
    "pool_matrix",
    "propositional_logic",
    "rotate_matrix",
    "self_reference",
}
GRIDS |= {"n_queens", "quantum_lock", "shortest_path", "spiral_matrix", "syllogism"}
# What test_traces_futoshiki.py and test_traces_sudokus.py hold to more.
SUDOKUS = {"futoshiki", "mini_sudoku", "sudoku"}
# What test_traces_puzzles.py holds to more.
PUZZLES = {"mahjong_puzzle", "number_sequence", "puzzle24", "rubiks_cube"}
DATA_SETS = sorted(set(WRITERS) - ASKED_PLAINLY - LONGHAND - GRIDS - GRAPHS - SUDOKUS - PUZZLES)
EQUATION = re.compile(r"(?<![\d*+/r-])(\d+(?:[-+*]\d+)+)=(-?\d+)(?![-\d*+/(])")
QUOTIENT = re.compile(r"(\d+)/(\d+)=(\d+)(?:\[(\d+)\])?r(\d+)")


@pytest.mark.parametrize("name", DATA_SETS)
def test_demonstrations_reach_the_answer(name: str) -> None:
    task = get(name)
    assert isinstance(task, Traced)
    for seed in range(2000, 2060):
        problem = task.problem(seed)
        shown = task.demonstrate(problem)
        assert task.score(problem, shown.answer).reward == 1.0, (problem.prompt, shown)
        assert shown.thought.strip(), problem.prompt
        assert shown == task.demonstrate(problem)


@pytest.mark.parametrize("name", ["chain_sum", "products", "basic_arithmetic", "lcm", "base_conversion"])
def test_every_equation_in_a_thought_is_true(name: str) -> None:
    task, checked = get(name), 0
    assert isinstance(task, Traced)
    for seed in range(3000, 3040):
        for left, right in EQUATION.findall(task.demonstrate(task.problem(seed)).thought):
            assert evaluate(left) == Fraction(right), f"{left}={right} in {name} seed {seed}"
            checked += 1
    assert checked > 100


@pytest.mark.parametrize("name", ["gcd", "lcm", "base_conversion", "prime_factorization"])
def test_every_quotient_in_a_thought_is_true(name: str) -> None:
    task, checked = get(name), 0
    assert isinstance(task, Traced)
    for seed in range(3000, 3040):
        for groups in QUOTIENT.findall(task.demonstrate(task.problem(seed)).thought):
            dividend, divisor, quotient, product, remainder = (int(group or 0) for group in groups)
            assert divmod(dividend, divisor) == (quotient, remainder), groups
            assert not groups[3] or product == quotient * divisor, groups
            checked += 1
    assert checked > 40


def test_sums_are_written_column_by_column() -> None:
    assert add(484, 229).text == "484+229[4+9=13,8+2+1=11,4+2+1=7]=713"
    assert add(60, -93).text == "60-93=-(93-60)[3-0=3,9-6=3]=-33"
    assert add(-33, -19).text == "-33-19=-(33+19)[3+9=12,3+1+1=5]=-52"
    assert add(-5, 12).text == "-5+12=12-5[12-5=7,1-0-1=0]=7"
    assert add(4, 3).text == "4+3=7"


def test_a_difference_can_say_first_which_number_is_larger() -> None:
    assert add(751, -763, compared=True).text == "751-763{7=7,5<6}=-(763-751)[3-1=2,6-5=1,7-7=0]=-12"
    assert add(-50, 50, compared=True).text == "-50+50{5=5,0=0}=50-50[0-0=0,5-5=0]=0"
    assert add(75, -3, compared=True).text == add(75, -3).text
    assert add(75, 33, compared=True).text == add(75, 33).text


@pytest.mark.parametrize(("a", "b"), [(0, 5), (1000, -1000), (-999, 1), (99999, 1), (-7, -8), (10, -9)])
def test_sums_end_in_the_sum(a: int, b: int) -> None:
    step = add(a, b)
    assert step.value == a + b
    assert step.text.endswith(f"={a + b}")


@pytest.mark.parametrize(
    ("a", "b"), [(0, 7), (7, 0), (1, 58930), (58930, 45013), (12, 34567), (-25, 40), (-3, -9), (90, 10)]
)
def test_products_end_in_the_product(a: int, b: int) -> None:
    step = multiply(a, b)
    assert step.value == a * b
    assert re.split(r"[=\n]", step.text)[-1].lstrip("-") == str(abs(a * b))


@pytest.mark.parametrize(("a", "b"), [(841, 37), (6915, 5), (5, 12), (0, 3), (100, 10), (999, 1), (1000, 16)])
def test_divisions_give_quotient_and_remainder(a: int, b: int) -> None:
    line, quotient, remainder = divide(a, b)
    assert (quotient, remainder) == divmod(a, b)
    assert line.endswith(f"r{remainder}")


def _worked(name: str, answer: str = "?", **metadata: object) -> str:
    return WRITERS[name](Problem(name, "?", answer, 0, metadata)).thought.replace("\n", "|")


def test_letters_are_counted_where_they_stand_in_sight() -> None:
    assert _worked("letter_counting", target_letter="e", span=["The", "eel", "is"]) == "The1/e2e3l/is"


def test_words_stand_behind_what_orders_them() -> None:
    words = {"transformed_words": ["worthless", "set", "at"], "sorted_words": ["at", "set", "worthless"]}
    assert _worked("word_sorting", **words) == "wor worthless,set set,at at|at at,set set,wor worthless"


def test_half_of_many_letters_is_written_out_before_it_is_used() -> None:
    thought = _worked("palindrome_generation", letters=list("abcab" + "a" * 16))
    marks, counts, half = thought.split("|", 2)
    assert marks.startswith("a1b1c1a2b2a3a4")
    assert counts == "a18aaaaaaaaa,b2b,c1!," + ",".join(f"{letter}0" for letter in "defghijklmnopqrstuvwxyz")
    assert half == "aaaaaaaaab|c"


@pytest.mark.parametrize(
    ("operation", "bound", "numbers", "lines"),
    [
        ("remove_larger", "-55", ["-54.92", "-3", "13"], "-54.92{2=2,5=5,4<5}>n|-3{1<2}>n|13>n"),
        ("keep_larger", "5.1", ["5.10", "5.15", "-5.2"], "5.10{1=1,5=5,1=1,0=0}=n|5.15{1=1,5=5,1=1,5>0}>y|-5.2<n"),
    ],
)
def test_numbers_are_compared_digit_by_digit(operation: str, bound: str, numbers: list[str], lines: str) -> None:
    thought = _worked("number_filtering", operation=operation, filter_value=bound, original_numbers=numbers)
    assert thought.partition("|")[2] == lines


@pytest.mark.parametrize(
    ("source", "digits", "target", "lines"),
    [
        (6, "4135", 5, "4*6+1=25|25*6+3[5*6+3=33,2*6+3=15]=153|153*6+5[3*6+5=23,5*6+2=32,1*6+3=9]=923|=923|"),
        (13, "3a5", 10, "3*3=9|30+9[0+9=9,3+0=3]=39|39+10[9+0=9,3+1=4]=49|49*3[9*3=27,4*3+2=14]=147|"),
        (10, "184", 5, "184/5[18/5=3r3,34/5=6r4]=36r4|36/5=7r1|7/5=1r2|1/5=0r1"),
    ],
)
def test_bases_change_digit_by_digit(source: int, digits: str, target: int, lines: str) -> None:
    thought = _worked("base_conversion", source_base=source, source_repr=digits, target_base=target)
    assert thought.startswith(lines)


def test_an_expression_is_written_down_before_it_is_reduced() -> None:
    thought = _worked("basic_arithmetic", expression="-( -( -2 + 6 ) + 3 )")
    assert thought == "=-(-(-2+6)+3)|-2+6{2<6}=6-2=4|=-(-4+3)|-4+3{4>3}=-(4-3)=-1|=1"
