"""Thoughts about lists: which of the data set's rules made the outputs, and the rule carried out on the last input."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import Step, add, multiply, relation
from denken.types import Problem

Numbers = list[int]

_LIST = re.compile(r"(Input|Output)(?: \d+)?: (\[.*\])")
_SHOWN = 2
_BOUND = 30


def list_functions(problem: Problem) -> Demonstration:
    """Two examples with every number's position, the name of the rule, then the rule on the last input.

        0:54 1:60 2:91
        >0:54 1:61 2:93
        0:86 1:15 2:47
        >0:86 1:16 2:49
        add position
        0:18 1:79 2:30
        18+0[8+0=8,1+0=1]=18
        79+1[9+1=10,7+0+1=8]=80
        30+2[0+2=2,3+0=3]=32

    Where several rules fit all examples, the first in the order of `_RULES` that also gives the answer.
    """
    lists: list[Numbers] = [json.loads(found[1]) for found in _LIST.findall(problem.prompt)]
    *shown, asked = lists
    answer: Numbers = json.loads(problem.answer)
    pairs = [*zip(shown[::2], shown[1::2], strict=True), (asked, answer)]
    name = next(name for name, rule in _RULES.items() if all(rule(given) == made for given, made in pairs))
    lines = [line for given, made in pairs[:_SHOWN] for line in (_placed(given), f">{_placed(made)}")]
    return Demonstration("\n".join([*lines, name, _placed(asked), *_WORK[name](asked)]), problem.answer)


def _placed(numbers: Numbers) -> str:
    """Each number behind its position, from 0 on."""
    return " ".join(f"{i}:{number}" for i, number in enumerate(numbers)) or "-"


def _small(numbers: Numbers) -> Numbers:
    """The different numbers below the bound, as they come."""
    return [number for number in dict.fromkeys(numbers) if number < _BOUND]


def _direction(numbers: Numbers) -> Numbers | None:
    if len(numbers) < 2 or sorted(numbers) not in (numbers, numbers[::-1]):
        return None
    return [int(numbers[0] <= numbers[-1])]


def _by_ten(numbers: Numbers) -> Numbers | None:
    return [int(numbers[0] % 10 == 0)] if len(numbers) == 1 and numbers[0] % 5 == 0 else None


def _doubled(numbers: Numbers) -> Numbers | None:
    doubles = all(2 * a == b for a, b in pairwise(numbers))
    return [2 * numbers[-1]] if doubles and len(numbers) > 1 else None


_RULES: Mapping[str, Callable[[Numbers], Numbers | None]] = {
    "same": lambda n: n,
    "reverse": lambda n: n[::-1],
    "add position": lambda n: [number + i for i, number in enumerate(n)],
    "ascending": sorted,
    "descending": lambda n: sorted(n, reverse=True),
    "first and last plus 1": lambda n: [n[0] + 1, *n[1:-1], n[-1] + 1] if len(n) > 1 else None,
    "before even": lambda n: [a for a, b in pairwise(n) if b % 2 == 0],
    "direction": _direction,
    "divisible by 10": _by_ten,
    "double": _doubled,
    "double minus 4": lambda n: [2 * n[0] - 4] if len(n) == 1 else None,
    "count": lambda n: [len(n)],
    "sum": lambda n: [sum(n)],
    "sum below 30": lambda n: [sum(_small(n))],
    "count 5": lambda n: [n.count(5)],
    "last is position": lambda n: [n[n[-1]]] if n[-1] < len(n) else None,
    "third": lambda n: [n[2]] if len(n) > 2 else None,
}


def _added(numbers: Sequence[int]) -> list[str]:
    """A running sum, from 0."""
    steps = [Step("0", 0)]
    for number in numbers:
        steps.append(add(steps[-1].value, number))
    return [step.text for step in steps]


def _added_below(numbers: Numbers) -> list[str]:
    """Every number against the bound, with the running sum where it is below; `12<30=` has been added already."""
    lines, met, total = ["0"], set[int](), 0
    for number in numbers:
        if number >= _BOUND:
            lines.append(f"{number}{'>' if number > _BOUND else '='}{_BOUND}")
        elif number in met:
            lines.append(f"{number}<{_BOUND}=")
        else:
            step = add(total, number)
            lines.append(f"{number}<{_BOUND}:{step.text}")
            total = step.value
            met.add(number)
    return [*lines, str(total)]


def _fives(numbers: Numbers) -> list[str]:
    """Behind every number how many fives there are so far: `54:0 5:1 91:1`."""
    return [" ".join(f"{number}:{numbers[: i + 1].count(5)}" for i, number in enumerate(numbers))]


def _pairs(numbers: Numbers) -> list[str]:
    """Neighbours, with a plus where the second is even: `18,79- 79,30+`."""
    return [" ".join(f"{a},{b}{'-' if b % 2 else '+'}" for a, b in pairwise(numbers))]


def _sorted(numbers: Numbers, reverse: bool = False) -> list[str]:
    """The numbers in one width, then in order."""
    width = len(str(max(numbers)))
    padded = [str(number).zfill(width) for number in numbers]
    return [" ".join(padded), " ".join(sorted(padded, reverse=reverse))]


def _compared(numbers: Numbers) -> list[str]:
    return [relation(numbers[0], numbers[-1])]


_WORK: Mapping[str, Callable[[Numbers], list[str]]] = {
    "same": lambda n: [],
    "reverse": lambda n: [" ".join(f"{i}:{n[i]}" for i in reversed(range(len(n))))],
    "add position": lambda n: [add(number, i).text for i, number in enumerate(n)],
    "ascending": _sorted,
    "descending": lambda n: _sorted(n, reverse=True),
    "first and last plus 1": lambda n: [add(n[0], 1).text, add(n[-1], 1).text],
    "before even": _pairs,
    "direction": _compared,
    "divisible by 10": lambda n: [f"{n[0]}:{n[0] % 10}"],
    "double": lambda n: [multiply(n[-1], 2).text],
    "double minus 4": lambda n: [multiply(n[0], 2).text, add(2 * n[0], -4).text],
    "count": lambda n: [add(len(n) - 1, 1).text],
    "sum": _added,
    "sum below 30": _added_below,
    "count 5": _fives,
    "last is position": lambda n: [f"{n[-1]}:{n[n[-1]]}"],
    "third": lambda n: [f"2:{n[2]}"],
}
