"""Every way to cut a string into palindromes: find them from their middles, cut block by block, combine the blocks."""

from __future__ import annotations

import itertools
import json

from denken.tasks.base import Demonstration
from denken.types import Problem

_NAMES = "ABCDEFGHIJKLMNOP"


def palindrome_partitioning(problem: Problem) -> Demonstration:
    """Letters with numbers; palindromes from their middles; the blocks that they fill; each block's cuts; the choices.

    a1 b2 b3= a4 c5 d6 c7~ e8  `=` for the letter before, `~` for the one before that
    2b3b 1a4a                  from each mark outwards, until the string ends or letters differ
    5c7c 4a8e
    A1-4 B5-7 e                what overlaps is one block; a letter in none stands for itself
    A1 a,b,b,a                 the block's cuts, shorter first pieces first
    A2 a,bb,a
    A3 abba
    B1 c,d,c
    B2 cdc
    11 12 21 22 31 32          a cut of each block, the last changing first: the lists of the answer
    """
    string: str = problem.metadata["string"]
    marks = [
        f"{c}{i + 1}{'=' * (i > 0 and string[i - 1] == c)}{'~' * (i > 1 and string[i - 2] == c)}"
        for i, c in enumerate(string)
    ]
    lines, found = [" ".join(marks)], set[tuple[int, int]]()
    for i in range(len(string)):
        for left in (i - 1, i - 2):
            if left >= 0 and string[left] == string[i]:
                line, more = _outwards(string, left, i)
                lines.append(line)
                found |= more
    blocks = _blocks(len(string), found)
    names = iter(_NAMES)
    layout, cuts, sizes = [], [], []
    for start, end in blocks:
        options = _cuts(string, start, end, found)
        cuts.append(options)
        if len(options) == 1:
            layout.append(string[start : end + 1])
            continue
        name = next(names)
        sizes.append(len(options))
        layout.append(f"{name}{start + 1}-{end + 1}")
        lines += [f"{name}{k} {','.join(option)}" for k, option in enumerate(options, 1)]
    lines.insert(len(lines) - sum(sizes), " ".join(layout))
    if sizes:
        separator = "" if max(sizes) < 10 else "."
        choices = itertools.product(*(range(1, size + 1) for size in sizes))
        lines.append(" ".join(separator.join(map(str, choice)) for choice in choices))
    lists = [list(itertools.chain(*choice)) for choice in itertools.product(*cuts)]
    return Demonstration("\n".join(lines), json.dumps(lists, separators=(",", ":")))


def _outwards(string: str, left: int, right: int) -> tuple[str, set[tuple[int, int]]]:
    """From two equal letters outwards: the letters met, the last two of which may differ, and the palindromes."""
    met, found = [], set()
    while left >= 0 and right < len(string):
        met.append(f"{left + 1}{string[left]}{right + 1}{string[right]}")
        if string[left] != string[right]:
            break
        found.add((left, right))
        left, right = left - 1, right + 1
    return " ".join(met), found


def _blocks(length: int, found: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """First and last places of the stretches that no palindrome reaches out of."""
    blocks: list[tuple[int, int]] = []
    for start in range(length):
        if blocks and start <= blocks[-1][1]:
            continue
        end = start
        while (reach := max([r for left, r in found if start <= left <= end], default=end)) > end:
            end = reach
        blocks.append((start, end))
    return blocks


def _cuts(string: str, start: int, end: int, found: set[tuple[int, int]]) -> list[list[str]]:
    """Every way to cut string[start : end + 1] into palindromes, shorter first pieces first."""
    if start > end:
        return [[]]
    return [
        [string[start : stop + 1], *rest]
        for stop in range(start, end + 1)
        if stop == start or (start, stop) in found
        for rest in _cuts(string, stop + 1, end, found)
    ]
