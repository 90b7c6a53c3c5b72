"""Thoughts about jugs that are to be filled, poured and emptied until one holds so much.

Two jugs are enough wherever the difficulty is 10 or more: filling only one and emptying only the other, what they
hold together is always known, and the target is met once, unless a divisor of both stands in the way.
"""

from __future__ import annotations

import json
import math
from itertools import combinations

from denken.tasks.base import Demonstration
from denken.tasks.traces.grids import letters
from denken.types import Problem


def jugs(problem: Problem) -> Demonstration:
    """The first two jugs that can do it, what they hold together after each round in either direction, the moves.

        A9 B9- C10          B is no other than A
        A9C10/1 4y          the target 4 is not above 10, and the divisor 1 of both divides it
        a 0+9=9 0+10=10     A filled and poured into C; C filled and poured into A
        b 9+9=18 10-9=1     C is not full, so A once more; A is full: it is emptied, and the rest of C poured into it
        c 18-10=8 1+10=11
        d 8+9=17 11-9=2
        e 17-10=7 2+10=12
        f 7+9=16 12-9=3
        g 16-10=6 3+10=13
        h 6+9=15 13-9=4     the target is met from C into A
        C>A 4<9
        a"fill C", "pour C->A"b"empty A", "pour C->A"c"fill C", "pour C->A"d ...

    A plus is to fill the first, a minus to empty the second, and to pour follows on both. Where the target is above
    what the second can hold, `7>4`, it is met before the last pouring, which is then left out.
    """
    target: int = problem.metadata["puzzle"]["target"]
    named = list(zip(letters(26), problem.metadata["puzzle"]["jug_capacities"], strict=False))
    first_of = {capacity: name for name, capacity in reversed(named)}
    lines = [" ".join(f"{name}{capacity}{'' if first_of[capacity] == name else '-'}" for name, capacity in named)]
    pairs = combinations([(name, capacity) for name, capacity in named if first_of[capacity] == name], 2)
    for (one, first), (other, second) in pairs:
        divisor = math.gcd(first, second)
        can = target <= max(first, second) and target % divisor == 0
        lines.append(f"{one}{first}{other}{second}/{divisor} {target}{'y' if can else 'n'}")
        if can:
            work, from_one = _race(first, second, target)
            names = (one, other) if from_one else (other, one)
            into = second if from_one else first
            rounds = _rounds(_signs(first if from_one else second, into, target), *names)
            if target > into:
                rounds[-1].pop()
            lines += [*work, f"{names[0]}>{names[1]} {target}{'>' if target > into else '<'}{into}", _keyed(rounds)]
            return Demonstration("\n".join(lines), json.dumps([move for moves in rounds for move in moves]))
    return Demonstration("\n".join(lines), problem.answer)


def _round(held: int, source: int, into: int) -> str:
    """What a round makes of what both hold: the second is full and emptied, or the first is empty and filled."""
    return f"{held}-{into}={held - into}" if held >= into else f"{held}+{source}={held + source}"


def _race(first: int, second: int, target: int) -> tuple[list[str], bool]:
    """Rounds in both directions until one meets the target, and whether that is from the first into the second."""
    lines, held, other_way = list[str](), 0, 0
    while True:
        line = _round(held, first, second)
        held = int(line.split("=")[1])
        key = letters(len(lines) + 1, "a")[-1]
        if held == target:
            return [*lines, f"{key} {line}"], True
        other_line = _round(other_way, second, first)
        other_way = int(other_line.split("=")[1])
        lines.append(f"{key} {line} {other_line}")
        if other_way == target:
            return lines, False


def _signs(source: int, into: int, target: int) -> str:
    """A plus for each round that fills, a minus for each that empties."""
    held, signs = 0, ""
    while held != target:
        signs += "-" if held >= into else "+"
        held += -into if held >= into else source
    return signs


def _rounds(signs: str, source: str, into: str) -> list[list[str]]:
    return [[f"fill {source}" if sign == "+" else f"empty {into}", f"pour {source}->{into}"] for sign in signs]


def _keyed(rounds: list[list[str]]) -> str:
    """The moves as in the answer, each round behind its letter."""
    keys = letters(len(rounds), "a")
    return "".join(f"{key}{json.dumps(moves)[1:-1]}" for key, moves in zip(keys, rounds, strict=True))
