"""What can be done with two whole numbers, and how moves become an expression.

Results are whole and never negative: the larger number stands first, and a quotient must leave no remainder. These are
the operations of Stream of Search (Gandhi et al. 2024, arXiv 2404.03683), whose game `denken.tasks.games.countdown`
plays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from random import Random
from typing import Any, NamedTuple

from denken.errors import ConfigError

LANGUAGES = ("en", "de")


class Move(NamedTuple):
    """Two numbers, the sign between them and what they come to.

    >>> str(Move(57, "-", 38, 19))
    '57-38=19'
    """

    a: int
    sign: str
    b: int
    value: int

    def __str__(self) -> str:
        return f"{self.a}{self.sign}{self.b}={self.value}"


def moves(a: int, b: int) -> Iterator[Move]:
    """Every move with two numbers, each result once or twice."""
    a, b = max(a, b), min(a, b)
    yield Move(a, "+", b, a + b)
    yield Move(a, "-", b, a - b)
    yield Move(a, "*", b, a * b)
    if b and a % b == 0:
        yield Move(a, "/", b, a // b)


def first_moves(numbers: Sequence[int]) -> Iterator[tuple[Move, tuple[int, ...]]]:
    """Every move with two of the numbers, and the numbers that are then on the table, the result first."""
    for i, j in combinations(range(len(numbers)), 2):
        rest = tuple(number for k, number in enumerate(numbers) if k not in (i, j))
        for move in moves(numbers[i], numbers[j]):
            yield move, (move.value, *rest)


def reachable(numbers: Sequence[int], target: int) -> bool:
    """Whether the numbers, each used once, can make the target."""
    seen: set[tuple[int, ...]] = set()

    def search(table: tuple[int, ...]) -> bool:
        if len(table) == 1:
            return table[0] == target
        if table in seen:
            return False
        seen.add(table)
        if len(table) == 2:
            return any(move.value == target for move in moves(*table))
        return any(search(tuple(sorted(after))) for _, after in first_moves(table))

    return search(tuple(sorted(numbers)))


def expression(steps: Sequence[Move]) -> str:
    """Moves, the last of which makes the result, as one expression.

    >>> expression([Move(57, "-", 12, 45), Move(45, "*", 7, 315)])
    '(57-12)*7'
    """
    made: dict[int, list[str]] = {}

    def written(number: int) -> str:
        return made[number].pop() if made.get(number) else str(number)

    text = ""
    for a, sign, b, value in steps:
        text = f"{written(a)}{sign}{written(b)}"
        made.setdefault(value, []).append(f"({text})")
    return text


def draw_numbers(rng: Random, counts: Sequence[int], largest: int) -> list[int]:
    """As many numbers from 1 to `largest` as one of the counts says."""
    return [rng.randint(1, largest) for _ in range(rng.choice(counts))]


def draw_language(rng: Random, language: str) -> str:
    return rng.choice(LANGUAGES) if language == "both" else language


def check_settings(game: str, numbers: Sequence[int], largest: int, language: str) -> tuple[int, ...]:
    """The counts of numbers as a tuple. ConfigError for what cannot be played."""
    counts: Any = numbers
    if (
        not isinstance(counts, list | tuple)
        or not counts
        or not all(isinstance(count, int) and 2 <= count <= 5 for count in counts)
    ):
        raise ConfigError(f"{game}: numbers is {numbers!r}; give a list of counts from 2 to 5, such as [3, 4].")
    if not (isinstance(largest, int) and 2 <= largest <= 999):
        raise ConfigError(f"{game}: max_number is {largest!r}; give a whole number from 2 to 999.")
    if language not in (*LANGUAGES, "both"):
        raise ConfigError(f'{game}: language is {language!r}; give "en", "de" or "both".')
    return tuple(counts)
