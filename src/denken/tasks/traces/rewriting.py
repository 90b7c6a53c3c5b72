"""Thoughts for the data sets that rewrite: A::B programs, rules on strings, blocks and machines that become others.

Two of them are shortened by what follows from their rules. In A::B what faces left passes every other letter and
vanishes with its own, so each token is dealt with once, from the left. Blocks and machines never come back once the
rules that use them are exhausted, so each rule is applied as often as it goes, in one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add, divide
from denken.types import Problem


def ab(problem: Problem) -> Demonstration:
    """The program with numbers; then one token a line, and after the colon all that faces right, by its numbers.

    1B# 2#A 3A# 4#B
    1B# :B1          faces right, and is kept
    2#A! :B1         passes whatever faces right and stays on the left, which `!` says
    3A# :B1A3
    4#B-B1 :A3       vanishes with the last B that faces right
    #A A#            all that stayed on the left, then all that faces right
    """
    program = re.findall(r"[AB]#|#[AB]", problem.prompt.rpartition("program:")[2])
    lines = [" ".join(f"{i}{token}" for i, token in enumerate(program, 1))]
    left: list[str] = []
    right: list[str] = []
    for i, token in enumerate(program, 1):
        letter = token.strip("#")
        meets = next((item for item in reversed(right) if item[0] == letter), "")
        if token.endswith("#"):
            right.append(f"{letter}{i}")
        elif meets:
            right.remove(meets)
        else:
            left.append(token)
        event = "" if token.endswith("#") else f"-{meets}" if meets else "!"
        lines.append(f"{i}{token}{event} :{''.join(right)}")
    lines.append(" ".join([*left, *(f"{item[0]}#" for item in right)]))
    return Demonstration("\n".join(lines).rstrip(), problem.answer)


def string_insertion(problem: Problem) -> Demonstration:
    """The string as it stands, and `+` before what is inserted: `BBCDE+BA`.

    Nothing is written between the letters, for only they tell where in the string the copy has arrived. What is
    behind a `+` belongs to no further substring.
    """
    out, seen = [], ""
    for letter in problem.metadata["string"]:
        out.append(letter)
        seen += letter
        if len(seen) >= 4 and seen[-4:] in "ABCDEABC":
            out.append(f"+{'ABCDE'[('ABCDE'.index(letter) + 2) % 5]}")
            seen = ""
    return Demonstration("".join(out), problem.answer)


_Rule = tuple[str, str, Callable[[str], str]]


def _first(old: str, new: str) -> Callable[[str], str]:
    return lambda s: s.replace(old, new, 1)


# The library's rules by their wording: where to look, for what, and what becomes of a string that has it.
_RULES: dict[str, _Rule] = {
    "If the string prefix is 'ab', replace it with 'ca'.": ("^", "ab", lambda s: "ca" + s[2:]),
    "If the string suffix is 'ac', replace it with 'cb'.": ("$", "ac", lambda s: s[:-2] + "cb"),
    "If the string prefix is 'bc', delete the first two characters and append 'aa' to the end.": (
        "^",
        "bc",
        lambda s: s[2:] + "aa",
    ),
    "If the string suffix is 'bb', delete the last two characters.": ("$", "bb", lambda s: s[:-2]),
    "If the string prefix is 'cb', replace it with 'aa' and delete the last character.": (
        "^",
        "cb",
        lambda s: "aa" + s[2:-1],
    ),
    "If the string prefix is 'ca', replace it with 'bb' and append 'c' to the end.": (
        "^",
        "ca",
        lambda s: "bb" + s[2:] + "c",
    ),
    "If the string suffix is 'cc', replace it with 'b' and prepend 'a' to the start.": (
        "$",
        "cc",
        lambda s: "a" + s[:-2] + "b",
    ),
    "If the string prefix is 'aa', remove the first character.": ("^", "aa", lambda s: s[1:]),
    "If the string contains 'abc', replace the first occurrence with 'cab'.": ("*", "abc", _first("abc", "cab")),
    "If the string contains 'bca', delete the first occurrence entirely.": ("*", "bca", _first("bca", "")),
    "If the string ends with 'ba', replace it with 'ab'.": ("$", "ba", lambda s: s[:-2] + "ab"),
    "If the string starts with 'cc', remove the first two characters.": ("^", "cc", lambda s: s[2:]),
    "If the string contains 'acb', replace the first occurrence with its reverse ('bca').": (
        "*",
        "acb",
        _first("acb", "bca"),
    ),
    "If the string ends with 'ca', remove the last character.": ("$", "ca", lambda s: s[:-1]),
    "If the string starts with 'bb', remove the second character.": ("^", "bb", lambda s: s[0] + s[2:]),
    "If the string ends with 'aa', replace it with 'cc'.": ("$", "aa", lambda s: s[:-2] + "cc"),
    "If the string contains 'ca' (not at the start), remove the first occurrence found after the first character.": (
        "*",
        "ca",
        lambda s: s[0] + s[1:].replace("ca", "", 1),
    ),
    "If the string contains an even number of 'b's (and at least one 'b'), append 'ab' at the end.": (
        "#",
        "b",
        lambda s: s + "ab",
    ),
    "If the string length is greater than 15, remove the middle character.": (
        "#",
        "",
        lambda s: s[: len(s) // 2] + s[len(s) // 2 + 1 :],
    ),
    "If the string starts with 'ac', replace the first two characters with 'zz'.": ("^", "ac", lambda s: "zz" + s[2:]),
}


def string_manipulation(problem: Problem) -> Demonstration:
    """The string, then the rules in order up to the first that applies (y), then the string that it makes, and so on.

        abbcc
        1^ca ab          rule 1 asks for ca at the start, where ab stands
        2$cc cc y        rule 2 asks for cc at the end, and applies
        aabbb            what it makes
        1^ca aa
        2$cc bb
        3*bca            does not stand anywhere
        4 aab1b2b3       an even number of b, counted as letter_counting counts
        5 a1a2b3b4b5     more than 15 letters, numbered; where it applies, the number of the middle one: `a1...c17 y9`

    A string that has been there before ends it with `!` and the string before it once more.
    """
    rules = [_RULES[text] for text in problem.metadata["selected_rules"]]
    states = [problem.metadata["string"]]
    lines = [states[0]]
    while True:
        state = states[-1]
        for i, rule in enumerate(rules, 1):
            applies, line = _tried(rule, state)
            lines.append(f"{i}{line}")
            if applies:
                break
        else:
            break
        made = rule[2](state)
        if made in states:
            lines += [f"{made}!", state]
            break
        states.append(made)
        lines.append(made)
    return Demonstration("\n".join(lines), problem.answer)


def _tried(rule: _Rule, state: str) -> tuple[bool, str]:
    """Whether the rule applies, and the line that shows it."""
    where, asked, _ = rule
    if where == "*":
        applies = asked in state[1:] if asked == "ca" else asked in state
        return applies, f"*{asked}{_mark(applies)}"
    if where != "#":
        seen = state[:2] if where == "^" else state[-2:]
        return seen == asked, f"{where}{asked} {seen}{_mark(seen == asked)}"
    if asked:
        count, out = 0, ""
        for letter in state:
            count += letter == asked
            out += f"{letter}{count}" if letter == asked else letter
        applies = count > 0 and count % 2 == 0
        return applies, f" {out}{_mark(applies)}"
    numbered = "".join(f"{letter}{i}" for i, letter in enumerate(state, 1))
    applies = len(state) > 15
    return applies, f" {numbered}{_mark(applies)}{len(state) // 2 + 1 if applies else ''}"


def _mark(applies: bool) -> str:
    return " y" if applies else ""


class _Counts:
    """How many there are of each kind, and the lines in which they change."""

    def __init__(self, kinds: str, counts: list[int]) -> None:
        self.of = dict(zip(kinds, [*counts, *[0] * (len(kinds) - len(counts))], strict=True))
        self.lines = [self._state()]

    def _state(self) -> str:
        return " ".join(map(str, self.of.values()))

    def times(self, rule: int, kinds: str) -> int:
        """Writes how often a rule goes that takes one of each kind: the smallest of their counts."""
        counts = [self.of[kind] for kind in kinds]
        self.lines.append(f"{rule} {','.join(map(str, counts))}:{min(counts)}")
        return min(counts)

    def pairs(self, rule: int, kind: str) -> int:
        """Writes how often a rule goes that takes two of a kind, and leaves the rest."""
        line, quotient, rest = divide(self.of[kind], 2)
        self.lines.append(f"{rule} {line}")
        if quotient:
            self.of[kind] = rest
        return quotient

    def change(self, changes: dict[str, int]) -> None:
        """Adds to each kind, a line each, and writes all counts again, unless nothing changes."""
        if not any(changes.values()):
            return
        for kind, more in changes.items():
            line, self.of[kind] = add(self.of[kind], more)
            self.lines.append(line)
        self.lines.append(self._state())


def string_synthesis(problem: Problem) -> Demonstration:
    """Each rule as often as it goes, then the counts again: nothing that a later rule makes serves an earlier one.

    4 3 2 0 0 0 0 0 0    [A] [B] [C] {A} {B} {C} (A) (B) (C)
    1 4,3,2:2            rule 1 goes twice: the smallest of the three
    4-2=2                [A], and so on, in the order of the rule
    3-2=1
    2-2=0
    0+2=2
    2 1 0 2 0 0 0 0 0
    2 2,1:1
    ...
    """
    a, b, c, curly_a, curly_b, curly_c, round_a, round_b, round_c = kinds = "ABCDEFGHI"
    counts = _Counts(kinds, list(problem.metadata["initial_blocks"]))
    for rule, taken, made in (
        (1, [a, b, c], [curly_a]),
        (2, [a, b], [curly_c]),
        (3, [b, c], [curly_b]),
        (4, [c], [curly_c]),
        (5, [curly_a, curly_c], [round_a, round_b]),
        (6, [curly_b], [round_c]),
    ):
        if len(taken) > 1:
            times = counts.times(rule, "".join(taken))
            counts.change(dict.fromkeys(taken, -times) | dict.fromkeys(made, times))
        else:
            counts.change(dict.fromkeys(made, counts.pairs(rule, taken[0])))
    return Demonstration("\n".join(counts.lines), problem.answer)


def string_splitting(problem: Problem) -> Demonstration:
    """Each rule as often as it goes, then the counts again; after rule 4 rule 1 has work once more.

    3 0 3 0 0 0    A B C X Y Z
    1 3:3          rule 1 goes as often as there is an A
    3-3=0          A, then X twice as many more, then Y
    3+3=6
    0+6=6
    0+3=3
    0 0 3 6 3 0
    2 0/2=0r0
    3 3/2=1r1
    3+1=4
    0 0 1 6 4 0
    4 0,1:0
    5 6,4:4
    ...
    """
    counts = _Counts("ABCXYZ", list(problem.metadata["initial_machines"]))

    def dismantle() -> None:
        machines = counts.times(1, "A")
        if machines:
            line, parts = add(machines, machines)
            counts.lines.append(line)
            counts.change({"A": -machines, "X": parts, "Y": machines})

    dismantle()
    counts.change({"X": counts.pairs(2, "B")})
    counts.change({"Y": counts.pairs(3, "C")})
    combined = counts.times(4, "BC")
    if combined:
        counts.change({"B": -combined, "C": -combined, "A": combined})
        dismantle()
    times = counts.times(5, "XY")
    counts.change({"X": -times, "Y": -times, "Z": times})
    return Demonstration("\n".join(counts.lines), problem.answer)
