"""A hand of letter cards that changes round by round: only five letters matter in the end, and those are counted."""

from __future__ import annotations

import re
from collections.abc import Mapping

from denken.tasks.base import Demonstration
from denken.types import Problem


def mahjong_puzzle(problem: Problem) -> Demonstration:
    """The last card and the letters up to two places from it, each of them counted wherever it comes or goes.

        71S QRSTU
        Q0R0S0T0U0 AZDT1PGQ1XU1YHXW      the cards at first
        1XZ 2XH 3Q2Q1 4XP 5VX ...        what comes and what goes, and how many there are then
        71 Q1R0S2T0U1 S2 Peng            before the last card came: two like it

    If not, `QR10n RT01n TU01n`: the pairs that would make a sequence. The data set looks for one among all cards in
    alphabetical order, where a letter that is there twice stands in the way. It also calls "Pass" what has come about
    by chance, so that one answer in seven cannot be known: then the answer is what the rules say.
    """
    found = re.search(r"initial cards ([A-Z]+),", problem.prompt)
    assert found is not None, problem.prompt
    rounds: list[dict[str, str]] = problem.metadata["rounds"]
    last = rounds[-1]["add"]
    near = [chr(ord(last) + i) for i in range(-2, 3) if "A" <= chr(ord(last) + i) <= "Z"]
    counts = dict.fromkeys(near, 0)

    def moved(card: str, by: int) -> str:
        if card not in counts:
            return card
        counts[card] += by
        return f"{card}{counts[card]}"

    lines = [f"{len(rounds)}{last} {''.join(near)}"]
    lines.append(f"{_written(counts)} {''.join(moved(card, 1) for card in found[1])}")
    changes = [f"{i}{moved(r['add'], 1)}{moved(r['remove'], -1)}" for i, r in enumerate(rounds[:-1], 1)]
    if changes:
        lines.append(" ".join(changes))
    work, result = _result(last, counts)
    lines.append(f"{len(rounds)} {_written(counts)} {work} {result}")
    return Demonstration("\n".join(lines), result)


def _written(counts: Mapping[str, int]) -> str:
    return "".join(f"{card}{count}" for card, count in counts.items())


def _result(card: str, counts: Mapping[str, int]) -> tuple[str, str]:
    """What a card makes together with these, and how that is seen."""
    if counts[card] >= 2:
        return f"{card}{counts[card]}", "Peng"
    pairs = []
    for first, middle in ((-2, -1), (-1, 1), (1, 2)):
        x, y = chr(ord(card) + first), chr(ord(card) + middle)
        if x not in counts or y not in counts:
            continue
        between = counts[card] + 1 if first < 0 < middle else counts[y] if middle < 0 else counts[x]
        pairs.append((f"{x}{y}{counts[x]}{counts[y]}", counts[x] > 0 and counts[y] > 0 and between == 1))
    work = " ".join(f"{pair}{'y' if holds else 'n'}" for pair, holds in pairs)
    return work, "Chi" if any(holds for _, holds in pairs) else "Pass"
