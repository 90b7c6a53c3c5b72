"""Thoughts that order or pick: numbers are written to one width first, words are ordered by their first letters."""

from __future__ import annotations

from collections.abc import Sequence

from denken.tasks.base import Demonstration
from denken.types import Problem

KEY_LETTERS = 3


def number_sorting(problem: Problem) -> Demonstration:
    """Negative and other numbers apart, each padded to one width without sign and point, then in order."""
    numbers: Sequence[str] = problem.metadata["original_numbers"]
    descending = problem.metadata["direction"] == "descending"
    wholes = max(len(n.lstrip("-").partition(".")[0]) for n in numbers)
    decimals = max(len(n.partition(".")[2]) for n in numbers)

    def padded(number: str) -> str:
        whole, _, decimal = number.lstrip("-").partition(".")
        return whole.zfill(wholes) + decimal.ljust(decimals, "0")

    below = [padded(n) for n in numbers if n.startswith("-")]
    others = [padded(n) for n in numbers if not n.startswith("-")]
    blocks = [
        f"{sign} {' '.join(group)}\n{sign} {' '.join(sorted(group, reverse=reverse))}"
        for sign, group, reverse in (("-", below, not descending), ("+", others, descending))
        if group
    ]
    return Demonstration("\n".join(reversed(blocks) if descending else blocks), problem.answer)


def number_filtering(problem: Problem) -> Demonstration:
    """Every number beside the bound's sign of comparison: y is kept, n is dropped."""
    operation, bound = problem.metadata["operation"], problem.metadata["filter_value"]
    kept = {"keep_larger": ">", "remove_smaller": ">", "keep_smaller": "<", "remove_larger": "<"}[operation]
    marks = []
    for number in problem.metadata["original_numbers"]:
        larger = float(number) > float(bound)
        equal = float(number) == float(bound)
        keeps = (equal and operation.startswith("remove")) or (not equal and larger == (kept == ">"))
        marks.append(f"{number}{'y' if keeps else 'n'}")
    return Demonstration(f"{kept}{bound}\n" + "\n".join(marks), problem.answer)


def word_sorting(problem: Problem) -> Demonstration:
    """The first letters of every word as they stand, then in order."""
    keys = [word[:KEY_LETTERS] for word in problem.metadata["transformed_words"]]
    ordered = [word[:KEY_LETTERS] for word in problem.metadata["sorted_words"]]
    return Demonstration(f"{','.join(keys)}\n{','.join(ordered)}", problem.answer)
