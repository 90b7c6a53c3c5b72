"""Countdown: make the target from the numbers, each used exactly once.

The game of Stream of Search (Gandhi et al. 2024, arXiv 2404.03683), whose 257M-parameter model solves 51.27 % of it:
four numbers from 1 to 99 and a target from 10 to 100, drawn until they can be solved. (The data set "countdown" of
Reasoning Gym is another game: four to six numbers, targets from 100 to 999.)

The thought that `demonstrate` writes is a search that a person could do on paper. With four numbers it makes a first
move, which leaves three; with three it takes each number away in turn, notes what the other two would have to make,
and compares that with what they can make:

    57-38=19                 a first move; 19, 12 and 7 are left, the target is 76
    19: 95 57; 12 7: 19 5 84
    12: 88 64; 19 7: 26 12 133
    7: 83 69; 19 12: 31 7 228
    nicht                    none of them: another first move
    ...
    7: 83 69; 95 12: 107 83
    =83 95-12=83 83-7=76     a number on both sides, and the moves it means

Smaller results are tried first, with some chance in the order. The writer looks at nothing that the model could not
know, with one exception: where this search has not found a solution within its limit, the last moves are those of a
solution that is known to exist, as a person may be lucky.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
FIRST_MOVES = 9  # tried in a worked search before luck is called upon
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
        lines, steps = _search(numbers, target, NOT[problem.metadata["language"]], Random(f"search:{problem.seed}"))
        return Demonstration("\n".join(lines), expression(steps))


def solution(numbers: Sequence[int], target: int) -> list[Move]:
    """The moves of one solution; there must be one."""
    if len(numbers) == 2:
        return [next(move for move in moves(*numbers) if move.value == target)]
    move, after = next((move, after) for move, after in first_moves(numbers) if reachable(after, target))
    return [move, *solution(after, target)]


def _search(numbers: Sequence[int], target: int, no: str, rng: Random) -> tuple[list[str], list[Move]]:
    if len(numbers) == 2:
        found = solution(numbers, target)
        return [" ".join(str(move) for move in moves(*numbers))], found
    if len(numbers) == 3:
        lines, found = _three(numbers, target)
        return (lines, found) if found else ([*lines, no, *_luck(numbers, target)[0]], _luck(numbers, target)[1])
    # Equal numbers give equal moves: one of them is enough.
    possible = dict.fromkeys((move, after) for move, after in first_moves(numbers) if move.value <= LARGEST_PRODUCT)
    ranked = sorted(possible, key=lambda each: (each[0].value + 1) * rng.lognormvariate(0, 0.4))
    lines = []
    for move, after in ranked[:FIRST_MOVES]:
        inner, found = _three(after, target) if len(after) == 3 else _search(after, target, no, rng)
        lines += [str(move), *inner]
        if found:
            return lines, [move, *found]
        lines.append(no)
    last, steps = _luck(numbers, target)
    return [*lines, *last], steps


def _luck(numbers: Sequence[int], target: int) -> tuple[list[str], list[Move]]:
    """A known solution, in one line."""
    steps = solution(numbers, target)
    return [" ".join(map(str, steps))], steps


def _three(numbers: Sequence[int], target: int) -> tuple[list[str], list[Move]]:
    """Each of three numbers taken away in turn: the lines, and the last two moves if that finds them."""
    lines = []
    for k in range(3):
        last = numbers[k]
        x, y = (number for i, number in enumerate(numbers) if i != k)
        wanted: dict[int, Move] = {}
        for value, move in _wanted(last, target):
            wanted.setdefault(value, move)
        made = {move.value: move for move in moves(x, y) if move.value <= LARGEST_PRODUCT}
        lines.append(f"{last}: {' '.join(map(str, wanted))}; {x} {y}: {' '.join(map(str, made))}")
        both = next((value for value in made if value in wanted), None)
        if both is not None:
            steps = [made[both], wanted[both]]
            return [*lines, f"={both} {steps[0]} {steps[1]}"], steps
    return lines, []


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
