"""Countdown: make the target from the numbers, each used exactly once.

The game of Stream of Search (Gandhi et al. 2024, arXiv 2404.03683), whose 257M-parameter model solves 51.27 % of it:
four numbers from 1 to 99 and a target from 10 to 100, drawn until they can be solved. (The data set "countdown" of
Reasoning Gym is another game: four to six numbers, targets from 100 to 999.)

The thought that `demonstrate` writes is a search that a person could do on paper. The numbers are put in order. With
four of them a first move leaves three; with three, each is set aside in turn, and what the other two would have to make
is compared, one by one, with what they can make:

    57 38 12 7
    57-38=19                 a first move; 19, 12 and 7 are left, the target is 76
    19: 95 57; 12 7: 19 5 84
    12: 88 64; 19 7: 26 12 133
    7: 83 69; 19 12: 31 7
    nicht                    none of them: another first move
    ...
    7: 83 69; 95 12: 107 83!
    95-12=83 83-7=76         a number on both sides, and the moves it means

First moves come in a fixed order: differences of neighbours, which are small, then the other differences, quotients,
sums, products. The writer looks at nothing that the model could not know, with one exception: where this search has not
found a solution within its limit, the last line is a solution that is known to exist, as a person may be lucky.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from random import Random

from denken.errors import ConfigError
from denken.tasks.base import Demonstration
from denken.tasks.games.moves import (
    Move,
    check_settings,
    draw_language,
    draw_numbers,
    expression,
    first_moves,
    moves,
    reachable,
)
from denken.tasks.verify.answers import reaches_target
from denken.tasks.verify.process import MAX_ANSWER_CHARACTERS
from denken.types import Problem, Score

PROMPTS = {
    "en": "Write {target} using the numbers {numbers}, each exactly one time, with + - * / and brackets.",
    "de": "Schreibe {target} aus den Zahlen {numbers}, jede genau ein mal, mit + - * / und Klammern.",
}
NOT = {"en": "not", "de": "nicht"}
FIRST_MOVES = 11  # tried in a worked search before luck is called upon
LARGEST_PRODUCT = 200  # a product above it is not tried


class Countdown:
    """Solvable games. language: that of the question, "en", "de" or "both"."""

    name = "game:countdown"

    def __init__(
        self,
        numbers: Sequence[int] = (4,),
        max_number: int = 99,
        min_target: int = 10,
        max_target: int = 100,
        language: str = "both",
    ) -> None:
        self.numbers = check_settings(self.name, numbers, max_number, language)
        if not 1 <= min_target <= max_target <= 999:
            raise ConfigError(f"{self.name}: targets from {min_target} to {max_target}; give 1 <= min <= max <= 999.")
        self.max_number, self.min_target, self.max_target = max_number, min_target, max_target
        self.language = language

    def problem(self, seed: int) -> Problem:
        """The game of this seed: a target, then numbers until it can be made of them."""
        rng = Random(f"{self.name}:{seed}")
        language = draw_language(rng, self.language)
        target = rng.randint(self.min_target, self.max_target)
        numbers = draw_numbers(rng, self.numbers, self.max_number)
        for _ in range(100_000):
            if reachable(numbers, target):
                break
            numbers = draw_numbers(rng, self.numbers, self.max_number)
        else:
            raise ConfigError(f"{self.name}: hardly any game of these settings can be solved; widen them.")
        prompt = PROMPTS[language].format(target=target, numbers=", ".join(map(str, numbers)))
        answer = expression(solution(numbers, target))
        return Problem(self.name, prompt, answer, seed, {"numbers": numbers, "target": target, "language": language})

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for an expression that uses each number exactly once and equals the target."""
        answer = answer.strip()
        right = float(len(answer) <= MAX_ANSWER_CHARACTERS and reaches_target(problem, answer))
        return Score(right, {"correct": right})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """A search in writing; see the top of this file."""
        numbers, target = problem.metadata["numbers"], problem.metadata["target"]
        lines, steps = _search(numbers, target, NOT[problem.metadata["language"]])
        return Demonstration("\n".join(lines), expression(steps))


def solution(numbers: Sequence[int], target: int) -> list[Move]:
    """The moves of one solution; there must be one."""
    if len(numbers) == 2:
        return [next(move for move in moves(*numbers) if move.value == target)]
    move, after = next((move, after) for move, after in first_moves(numbers) if reachable(after, target))
    return [move, *solution(after, target)]


def _search(numbers: Sequence[int], target: int, no: str) -> tuple[list[str], list[Move]]:
    ordered = sorted(numbers, reverse=True)
    lines = [" ".join(map(str, ordered))]
    for firsts, table in _tables(ordered):
        lines += map(str, firsts)
        for line, found in _last_moves(table, target):
            lines.append(line)
            if found:
                lines.append(" ".join(map(str, found)))
                return lines, [*firsts, *found]
        lines.append(no)
    steps = solution(numbers, target)
    return [*lines, " ".join(map(str, steps))], steps


def _tables(ordered: Sequence[int]) -> Iterator[tuple[list[Move], tuple[int, ...]]]:
    """What can lie on the table when at most three numbers are left, and the moves that led there, first things first.

    ordered: the numbers, the largest first.
    """
    if len(ordered) <= 3:
        yield [], tuple(ordered)
        return
    pairs = sorted(combinations(range(len(ordered)), 2), key=lambda pair: pair[1] - pair[0])
    known: set[tuple[int, tuple[int, ...]]] = set()
    tried = 0
    for sign in "-/+*":
        for i, j in pairs:
            rest = tuple(number for k, number in enumerate(ordered) if k not in (i, j))
            move = next((move for move in moves(ordered[i], ordered[j]) if move.sign == sign), None)
            # Equal numbers give equal moves: one of them is enough.
            if move is None or move.value > LARGEST_PRODUCT or (move.value, rest) in known:
                continue
            known.add((move.value, rest))
            for firsts, table in _tables((move.value, *rest)):
                if tried == FIRST_MOVES:
                    return
                tried += 1
                yield [move, *firsts], table


def _last_moves(table: Sequence[int], target: int) -> Iterator[tuple[str, list[Move]]]:
    """A line for each number that is set aside, and the moves with which it ends, if it ends the game."""
    if len(table) == 2:
        yield _compare(table[0], table[1], {target: []})
        return
    for k, last in enumerate(table):
        x, y = (number for i, number in enumerate(table) if i != k)
        wanted: dict[int, list[Move]] = {}
        for value, move in _wanted(last, target):
            wanted.setdefault(value, [move])
        line, found = _compare(x, y, wanted)
        yield f"{last}: {' '.join(map(str, wanted))}; {line}", found


def _compare(x: int, y: int, wanted: Mapping[int, list[Move]]) -> tuple[str, list[Move]]:
    """What two numbers make, up to the first that is wanted, and the moves with it."""
    made = []
    for move in moves(x, y):
        if move.value <= LARGEST_PRODUCT:
            made.append(str(move.value))
            if move.value in wanted:
                return f"{x} {y}: {' '.join(made)}!", [move, *wanted[move.value]]
    return f"{x} {y}: {' '.join(made)}", []


def _wanted(last: int, target: int) -> Iterator[tuple[int, Move]]:
    """What two numbers would have to make so that one move with `last` makes the target, and that move."""
    yield target + last, Move(target + last, "-", last, target)
    if last <= target:
        a, b = max(target - last, last), min(target - last, last)
        yield target - last, Move(a, "+", b, target)
    else:
        yield last - target, Move(last, "-", last - target, target)
    if last > 1 and target % last == 0:
        a, b = max(target // last, last), min(target // last, last)
        yield target // last, Move(a, "*", b, target)
    if last and last % target == 0:
        yield last // target, Move(last, "/", last // target, target)
    if last > 1 and target * last <= LARGEST_PRODUCT:
        yield target * last, Move(target * last, "/", last, target)
