"""Trace writers: for a problem of a data set, the thought that works it out and the answer that follows.

A writer is a pure function `Problem -> Demonstration`. It never looks at anything a model could not know, except where
it says so, and each number or word it writes follows from a few that stand in sight: that is what a small network can
learn. `WRITERS` maps the data set's name to its writer (`ASKED_PLAINLY`: skills that only ordinary questions need).
"""

from __future__ import annotations

from collections.abc import Callable

from denken.tasks.base import Demonstration
from denken.tasks.traces import (
    algebra,
    arithmetic,
    calendars,
    chances,
    decimals,
    division,
    graphs,
    grids,
    hexadecimal,
    intervals,
    legs,
    letters,
    logic,
    palindromes,
    powers,
    rewriting,
    sorting,
    state,
    strings,
)
from denken.types import Problem

WRITERS: dict[str, Callable[[Problem], Demonstration]] = {
    "ab": rewriting.ab,
    "acre": logic.acre,
    "aiw": logic.aiw,
    "base_conversion": division.base_conversion,
    "basic_arithmetic": arithmetic.basic_arithmetic,
    "bf": state.bf,
    "binary_alternation": strings.binary_alternation,
    "binary_matrix": grids.binary_matrix,
    "bitwise_arithmetic": hexadecimal.bitwise_arithmetic,
    "caesar_cipher": strings.caesar_cipher,
    "calendar_arithmetic": calendars.calendar_arithmetic,
    "chain_sum": arithmetic.chain_sum,
    "complex_arithmetic": algebra.complex_arithmetic,
    "count_bits": strings.count_bits,
    "course_schedule": graphs.course_schedule,
    "decimal_arithmetic": decimals.decimal_arithmetic,
    "decimal_chain_sum": decimals.decimal_chain_sum,
    "dice": chances.dice,
    "division": arithmetic.division,
    "emoji_mystery": strings.emoji_mystery,
    "family_relationships": graphs.family_relationships,
    "fraction_simplification": algebra.fraction_simplification,
    "gcd": division.gcd,
    "group_anagrams": strings.group_anagrams,
    "isomorphic_strings": letters.isomorphic_strings,
    "largest_island": graphs.largest_island,
    "lcm": division.lcm,
    "leg_counting": legs.leg_counting,
    "letter_counting": letters.letter_counting,
    "manipulate_matrix": grids.manipulate_matrix,
    "n_queens": state.n_queens,
    "number_filtering": sorting.number_filtering,
    "number_format": strings.number_format,
    "number_sorting": sorting.number_sorting,
    "palindrome_generation": letters.palindrome_generation,
    "palindrome_partitioning": palindromes.palindrome_partitioning,
    "polynomial_multiplication": algebra.polynomial_multiplication,
    "pool_matrix": grids.pool_matrix,
    "power_function": powers.power_function,
    "primality": division.primality,
    "prime_factorization": division.prime_factorization,
    "products": arithmetic.products,
    "propositional_logic": logic.propositional_logic,
    "quantum_lock": state.quantum_lock,
    "ransom_note": strings.ransom_note,
    "rotate_matrix": grids.rotate_matrix,
    "self_reference": logic.self_reference,
    "shortest_path": graphs.shortest_path,
    "simple_equations": algebra.simple_equations,
    "spell_backward": letters.spell_backward,
    "spiral_matrix": grids.spiral_matrix,
    "string_insertion": rewriting.string_insertion,
    "string_manipulation": rewriting.string_manipulation,
    "string_splitting": rewriting.string_splitting,
    "string_synthesis": rewriting.string_synthesis,
    "syllogism": logic.syllogism,
    "time_intervals": intervals.time_intervals,
    "tower_of_hanoi": state.tower_of_hanoi,
    "word_length": letters.word_length,
    "word_sequence_reversal": letters.word_sequence_reversal,
    "word_sorting": sorting.word_sorting,
}

ASKED_PLAINLY = frozenset({"division", "primality", "word_length"})
