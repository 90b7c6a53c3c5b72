"""Thoughts about people who always tell the truth or always lie: who can be what, tried in a fixed order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from denken.tasks.base import Demonstration
from denken.types import Problem

_SIGNS = {"and": "&", "or": "|", "->": ">", "<=>": "="}
_INNERMOST = re.compile(r"\(([^()]*)\)")


def knights_knaves(problem: Problem) -> Demonstration:
    """Each statement again with a letter for who is what, and in letters alone; then each way that it could be.

        Emma:A,Aurora:B
        if Emma is a saint:A then Aurora is a saint:B
        A:A>B
        if Emma is a sinner:a then Emma is a saint:A
        B:a>A
        A1B1a0b0                 both are saints
        A:A1>B1:1A1y             what A says is true, and A tells the truth
        B:a0>A1:1B1y             B, too: so it is

    A small letter is the opposite of the capital. At the first `n` the next way is tried, `A1B0a0b1`; the last is
    that all lie.
    """
    statements: Sequence[Any] = problem.metadata["statements"]
    names: Sequence[str] = problem.metadata["names"]
    terms: Mapping[str, str] = problem.metadata["knight_knave_terms"]
    letters = [chr(65 + i) for i in range(len(names))]
    lines = [",".join(f"{name}:{letter}" for name, letter in zip(names, letters, strict=True))]
    formulas = []
    for letter, statement in zip(letters, statements, strict=True):
        formulas.append(_formula(statement))
        lines += [_told(statement, names, terms), f"{letter}:{formulas[-1]}"]
    for way in product("10", repeat=len(names)):
        values = dict(zip(letters, way, strict=True))
        values |= {letter.lower(): "10"[int(value)] for letter, value in values.items()}
        lines.append("".join(letter + value for letter, value in values.items()))
        for letter, formula in zip(letters, formulas, strict=True):
            steps = _evaluated(formula, values)
            fits = steps[-1] == values[letter]
            lines.append(f"{letter}:{':'.join(steps)}{letter}{values[letter]}{'y' if fits else 'n'}")
            if not fits:
                break
        else:
            break
    roles = [terms["a_knight" if value == "1" else "a_knave"] for value in way]
    people = [f"{name} is {role}" for name, role in zip(names, roles, strict=True)]
    return Demonstration("\n".join(lines), f"{', '.join(people[:-1])}, and {people[-1]}.")


def _literal(statement: Sequence[Any]) -> str | None:
    """The letter of a statement that one person is this or that, also where its opposite is denied."""
    kind, person = statement[0], statement[1]
    if kind == "not" and person[0] in ("telling-truth", "lying"):
        return (_literal(person) or "").swapcase()
    letter = chr(65 + person) if kind in ("telling-truth", "lying") else None
    return letter.lower() if letter and kind == "lying" else letter


def _bracketed(statement: Sequence[Any], text: str) -> str:
    return text if statement[0] in ("telling-truth", "lying") else f"({text})"


def _told(statement: Sequence[Any], names: Sequence[str], terms: Mapping[str, str]) -> str:
    """The statement in the words of the question, with a letter behind each part."""
    if letter := _literal(statement):
        role = terms["a_knight" if letter.isupper() else "a_knave"]
        return f"{names[ord(letter.upper()) - 65]} is {role}:{letter}"
    kind, *inner = statement
    parts = [_bracketed(part, _told(part, names, terms)) for part in inner]
    if kind == "not":
        return f"it is not the case that {parts[0]}"
    if kind == "->":
        return f"if {parts[0]} then {parts[1]}"
    return {"and": " and ", "or": " or ", "<=>": " if and only if "}[kind].join(parts)


def _formula(statement: Sequence[Any]) -> str:
    """The statement in letters and signs: `(A>b)&(C)`, with the brackets of the question."""
    if letter := _literal(statement):
        return letter
    kind, *inner = statement
    parts = [_bracketed(part, _formula(part)) for part in inner]
    return f"!{parts[0]}" if kind == "not" else _SIGNS[kind].join(parts)


def _evaluated(formula: str, values: Mapping[str, str]) -> list[str]:
    """The formula with a value behind each letter, then again and again with what is innermost worked out."""
    steps = [re.sub("[A-Za-z]", lambda letter: letter[0] + values[letter[0]], formula)]
    left = re.sub("[A-Za-z]", "", steps[0])
    while len(left) > 1:
        left = _INNERMOST.sub(lambda found: _value(found[1]), left) if "(" in left else _value(left)
        steps.append(left)
    return steps if len(steps) > 1 else [*steps, left]


def _value(text: str) -> str:
    """The value of a part without brackets, whose signs are all the same: `1&0&1`, `!1`, `0>1`, `1`."""
    if "!" in text:
        text = re.sub("!([01])", lambda found: "10"[int(found[1])], text)
    values = [sign for sign in text if sign in "01"]
    if "|" in text or "&" in text:
        return max(values) if "|" in text else min(values)
    if len(values) == 1:
        return values[0]
    return "01"[values[0] <= values[1] if ">" in text else values[0] == values[1]]
