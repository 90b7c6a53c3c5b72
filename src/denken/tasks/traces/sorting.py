"""Thoughts that order or pick: numbers are written to one width first, words are ordered by their first letters."""

from __future__ import annotations

from collections.abc import Sequence

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import relation, until_apart
from denken.types import Problem

KEY_LETTERS = 3


def number_sorting(problem: Problem) -> Demonstration:
    """Every number with its sign, padded to one width without the point; then negative and other numbers, in order.

    -54.9, 52.12, 35.5, descending:
        -5490+5212+3550
        + 5212 3550
        - 5490
    """
    numbers: Sequence[str] = problem.metadata["original_numbers"]
    descending = problem.metadata["direction"] == "descending"
    wholes = max(len(n.lstrip("-").partition(".")[0]) for n in numbers)
    decimals = max(len(n.partition(".")[2]) for n in numbers)

    def padded(number: str) -> str:
        whole, _, decimal = number.lstrip("-").partition(".")
        return whole.zfill(wholes) + decimal.ljust(decimals, "0")

    below = [padded(n) for n in numbers if n.startswith("-")]
    others = [padded(n) for n in numbers if not n.startswith("-")]
    as_asked = "".join(f"{'-' if n.startswith('-') else '+'}{padded(n)}" for n in numbers)
    blocks = [
        f"{sign} {' '.join(sorted(group, reverse=reverse))}"
        for sign, group, reverse in (("-", below, not descending), ("+", others, descending))
        if group
    ]
    return Demonstration("\n".join([as_asked, *(reversed(blocks) if descending else blocks)]), problem.answer)


def number_filtering(problem: Problem) -> Demonstration:
    """What is asked, which side of the bound is kept, then every number's side and whether it stays (y) or not (n).

    Numbers of one sign are first compared with the bound without it: how many digits they have before the point, then
    digit by digit until two differ. Remove all numbers larger than -55 from -54.92, -3 and 13:
        remove >, <-55
        -54.92{2=2,5=5,4<5}>n
        -3{1<2}>n
        13>n
    """
    verb, _, size = problem.metadata["operation"].partition("_")
    bound = problem.metadata["filter_value"]
    asked = ">" if size == "larger" else "<"
    kept = asked if verb == "keep" else "<" if asked == ">" else ">"
    marks = []
    for number in problem.metadata["original_numbers"]:
        value, limit = float(number), float(bound)
        side = ">" if value > limit else "<" if value < limit else "="
        stays = side == kept or (side == "=" and verb == "remove")
        marks.append(f"{number}{_compared(number, bound)}{side}{'y' if stays else 'n'}")
    return Demonstration(f"{verb} {asked}, {kept}{bound}\n" + "\n".join(marks), problem.answer)


def _compared(number: str, bound: str) -> str:
    """How the sizes of two numbers of one sign compare, digits before the point first: `{2=2,5=5,4<5}`; else empty."""
    if number.startswith("-") != bound.startswith("-"):
        return ""
    (whole, _, places), (whole_bound, _, places_bound) = (n.lstrip("-").partition(".") for n in (number, bound))
    signs = [relation(len(whole), len(whole_bound))]
    if len(whole) == len(whole_bound):
        longer = max(len(places), len(places_bound))
        signs += until_apart(whole + places.ljust(longer, "0"), whole_bound + places_bound.ljust(longer, "0"))
    return f"{{{','.join(signs)}}}"


def word_sorting(problem: Problem) -> Demonstration:
    """The words as they stand, each behind its first letters; then in order.

    A word may be one token, whose letters do not stand in sight: what is compared is written before it.
        wor worthless,set set,see seemed
        see seemed,set set,wor worthless
    """
    lines = [
        ",".join(f"{word[:KEY_LETTERS]} {word}" for word in problem.metadata[words])
        for words in ("transformed_words", "sorted_words")
    ]
    return Demonstration("\n".join(lines), problem.answer)
