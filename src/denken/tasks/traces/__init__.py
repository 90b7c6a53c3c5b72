"""Trace writers: for a problem of a data set, the thought that works it out and the answer that follows.

A writer is a pure function `Problem -> Demonstration`. It never looks at anything a model could not know, except where
it says so, and each number or word it writes follows from a few that stand in sight: that is what a small network can
learn. `WRITERS` maps the data set's name to its writer (`ASKED_PLAINLY`: skills that only ordinary questions need).
"""

from __future__ import annotations

from collections.abc import Callable

from denken.tasks.base import Demonstration
from denken.tasks.traces import arithmetic, division, legs, letters, sorting
from denken.types import Problem

WRITERS: dict[str, Callable[[Problem], Demonstration]] = {
    "base_conversion": division.base_conversion,
    "basic_arithmetic": arithmetic.basic_arithmetic,
    "chain_sum": arithmetic.chain_sum,
    "division": arithmetic.division,
    "gcd": division.gcd,
    "isomorphic_strings": letters.isomorphic_strings,
    "lcm": division.lcm,
    "leg_counting": legs.leg_counting,
    "letter_counting": letters.letter_counting,
    "number_filtering": sorting.number_filtering,
    "number_sorting": sorting.number_sorting,
    "palindrome_generation": letters.palindrome_generation,
    "primality": division.primality,
    "prime_factorization": division.prime_factorization,
    "products": arithmetic.products,
    "spell_backward": letters.spell_backward,
    "word_length": letters.word_length,
    "word_sequence_reversal": letters.word_sequence_reversal,
    "word_sorting": sorting.word_sorting,
}

ASKED_PLAINLY = frozenset({"division", "primality", "word_length"})
