"""Our own judges of plain answers: is this text a correct answer to that problem?

Each takes a problem of the reasoning-gym data set that it is named for in `denken.tasks.gym` and an answer without
outer white space, and says yes or no. None runs anything, and none says yes where the library would not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

from denken.tasks.verify.arithmetic import NotArithmetic, evaluate, uses_each_once
from denken.types import Problem

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,100}|[0-9]{1,3}(?:,[0-9]{3}){1,30})(?:\.[0-9]{1,100})?")
_PROBABILITY = re.compile(r"[0-9]{0,3}\.?[0-9]{1,40}(?:[eE]-[0-9]{1,2})?")
_LIST = re.compile(r"\[(.*)\]", re.DOTALL)
_LISTED = re.compile(r"""[ \t\n]*(['"]?)(-?[0-9]{1,40}(?:\.[0-9]{1,40})?)\1[ \t\n]*""")
_FRACTION = re.compile(r"\$?(?:\\d?frac\{(-?[0-9]{1,40})\}\{([0-9]{1,40})\}|(-?[0-9]{1,40}) ?/ ?([0-9]{1,40}))\$?")
_FACTORS = re.compile(r"[0-9]{1,40}(?: ?× ?[0-9]{1,40}){0,200}")


def same_number(problem: Problem, answer: str) -> bool:
    """The same decimal number; a sign, leading zeros, grouping commas and trailing decimals do not matter."""
    if not _NUMBER.fullmatch(answer):
        return False
    return Fraction(answer.replace(",", "")) == Fraction(problem.answer.replace(",", ""))


def same_truth(problem: Problem, answer: str) -> bool:
    return answer.lower() in ("true", "false") and answer.lower() == problem.answer.lower()


def same_probability(problem: Problem, answer: str) -> bool:
    """A decimal or a fraction within 0.0001, the library's tolerance, and within a hundredth of the probability."""
    fraction = _FRACTION.fullmatch(answer)
    if fraction and fraction[3] and int(fraction[4]):
        value = Fraction(int(fraction[3]), int(fraction[4]))
    elif _PROBABILITY.fullmatch(answer):
        value = Fraction(answer)
    else:
        return False
    expected = Fraction(problem.answer)
    return abs(value - expected) <= min(Fraction(1, 10_000), expected / 100)


def same_reduced_fraction(problem: Problem, answer: str) -> bool:
    """One fraction, in plain text or LaTeX, whose numerator and denominator are the reduced ones."""
    fraction = _FRACTION.fullmatch(answer)
    if fraction is None:
        return False
    reduced = (problem.metadata["simplified_numerator"], problem.metadata["simplified_denominator"])
    return (int(fraction[1] or fraction[3]), int(fraction[2] or fraction[4])) == reduced


def reaches_target(problem: Problem, answer: str) -> bool:
    """Countdown: an expression that uses every given number exactly once and equals the target exactly."""
    return _solves(answer, problem.metadata["numbers"], problem.metadata["target"])


def makes_24(problem: Problem, answer: str) -> bool:
    return _solves(answer, problem.metadata["numbers"], 24)


def same_numbers_in_order(problem: Problem, answer: str) -> bool:
    """A bracketed list, each number quoted or not, equal to the sorted one number by number."""
    listed = _LIST.fullmatch(answer)
    if listed is None:
        return False
    numbers = [_LISTED.fullmatch(part) for part in listed[1].split(",")]
    expected = [Fraction(number) for number in problem.metadata["sorted_numbers"]]
    return [Fraction(number[2]) if number else None for number in numbers] == expected


def same_words_in_order(problem: Problem, answer: str) -> bool:
    return [word.strip() for word in answer.split(",")] == list(problem.metadata["sorted_words"])


def same_letters_any_case(problem: Problem, answer: str) -> bool:
    return answer == problem.answer or (answer.isascii() and answer.lower() == problem.answer.lower())


def palindrome_of_letters(problem: Problem, answer: str) -> bool:
    """A palindrome of exactly the given letters, in either case (ASCII's: the Kelvin sign is a small k in Unicode)."""
    letters = answer.lower()
    return answer.isascii() and letters == letters[::-1] and sorted(letters) == sorted(problem.metadata["letters"])


def same_factors(problem: Problem, answer: str) -> bool:
    """The prime factors in any order, separated by ×."""
    if not _FACTORS.fullmatch(answer):
        return False
    return sorted(int(factor) for factor in answer.split("×")) == sorted(problem.metadata["factors"])


def _solves(answer: str, numbers: Sequence[int], target: int) -> bool:
    try:
        return uses_each_once(answer, numbers) and evaluate(answer) == target
    except NotArithmetic:
        return False
