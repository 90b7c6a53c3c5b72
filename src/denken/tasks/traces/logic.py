"""Thoughts about what follows or is told: formulas, syllogisms, statements about themselves, who likes what."""

from __future__ import annotations

import re
from collections.abc import Mapping

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import relation
from denken.types import Problem


def aiw(problem: Problem) -> Demonstration:
    """How many girls or women are with her, and she herself one more: `sisters 4`, `4+1=5`.

    Of two circles hers counts: `female colleagues 4`.
    """
    found = re.search(r"(\d+) (sisters|female friends|female colleagues)", problem.prompt)
    assert found is not None, problem.prompt
    count = int(found[1])
    return Demonstration(f"{found[2]} {count}\n{count}+1={count + 1}", str(count + 1))


_PRIME, _COMPOSITE = (2, 3, 5, 7), (4, 6)


def self_reference(problem: Problem) -> Demonstration:
    """Each number of true statements by itself: which statements are then true, and are they that many?

        3,4 3<4n 4<7y1 3<4n 4=4y2 y3 y4 y5 5>3
        4,3 4=4y1 3<7y2 4=4y3 3<4n y4 n n 4=4 #1

    In a line: true and false ones; statements 1 to 4 compared and counted; 5, 6 and 7; the count against what was
    assumed, and where they agree the number of solutions so far.
    """
    found = re.findall(r"(?:At least|At most|Exactly) (\d) of these", problem.prompt)
    least, most, true, false = map(int, found)
    lines, solutions = [], 0
    for assumed in range(8):
        others, count = 7 - assumed, 0
        marks = [f"{assumed},{others}"]
        third, fourth = assumed == true, others == false
        for left, right, holds in (
            (assumed, least, assumed >= least),
            (others, most, others <= most),
            (assumed, true, third),
            (others, false, fourth),
            ("", "", third != fourth),
            ("", "", assumed in _PRIME),
            ("", "", others in _COMPOSITE),
        ):
            count += holds
            compared = relation(left, right) if isinstance(left, int) and isinstance(right, int) else ""
            marks.append(f"{compared}{f'y{count}' if holds else 'n'}")
        marks.append(relation(count, assumed))
        if count == assumed:
            solutions += 1
            marks.append(f"#{solutions}")
        lines.append(" ".join(marks))
    return Demonstration("\n".join(lines), str(solutions))


_SENTENCE = re.compile(r"(All|No|Some) (\w+) are (not )?(\w+)")
_FROM_ONE: Mapping[str, str] = {"A": "S", "N": "N", "S": "S", "O": ""}
_FROM_TWO: Mapping[str, str] = {"AA": "AS", "AN": "NO", "AS": "S", "AO": "O", "SA": "S", "SN": "O"}


def syllogism(problem: Problem) -> Demonstration:
    """The sentences with a letter for their kind and numbered terms; then what follows from such premises.

        O elephants1 dolphins2     some are not
        S dolphins2 fish3          some are
        ?S fish3 dolphins2
        32 S:S y                   only the second is about these two: from S follows S the other way round

    A is "all are", N "no are". From both premises, `13 AN:NO y`, or nothing, `13 NA:- n`: the table of the data set,
    in which all there are of a kind are some ("All dogs are birds" has "Some dogs are birds" follow).
    """
    numbers: dict[str, int] = {}

    def read(sentence: str) -> tuple[str, list[str], str]:
        found = _SENTENCE.match(sentence)
        assert found is not None, sentence
        kind = "O" if found[3] else found[1][0]
        terms = [f"{term}{numbers.setdefault(term, len(numbers) + 1)}" for term in (found[2], found[4])]
        return kind, terms, "".join(term[-1] for term in terms)

    first, second, asked = (read(problem.metadata[key]) for key in ("premise1", "premise2", "conclusion"))
    kinds = {"21": first[0], "32": second[0], "13": first[0] + second[0]}[asked[2]]
    follows = (_FROM_TWO if asked[2] == "13" else _FROM_ONE).get(kinds, "")
    holds = asked[0] in follows
    lines = [f"{mark}{kind} {' '.join(terms)}" for mark, (kind, terms, _) in (("", first), ("", second), ("?", asked))]
    lines.append(f"{asked[2]} {kinds}:{follows or '-'} {'y' if holds else 'n'}")
    return Demonstration("\n".join(lines), "Yes" if holds else "No")


_SIGNS = str.maketrans({"∨": "|", "∧": "&", "→": ">", "↔": "=", "¬": "!", " ": None})
_FIRST_TRIES = 4
_INNERMOST = re.compile(r"!([01])|\(([01])([|&>=])([01])\)")


def propositional_logic(problem: Problem) -> Demonstration:
    """A premise follows from the premises; the first is taken that can be false and is no single letter.

        1 (Q=Q)
        Q0 (0=0)
        1
        Q1 (1=1)
        1                    it is always true, which says nothing
        2 R                  a letter alone is widened: (R ∨ R)

    All letters are 0 at first, then all are 1, then they count upwards; after four tries the next premise has its
    turn, and the rest is tried when all have had theirs. Signs are `|&>=!` for ∨ ∧ → ↔ ¬. Where every premise is always
    true (4 problems in 1,000 of the easy ones), nothing that could be said gets full marks.
    """
    lines: list[str] = []
    for tries in (slice(_FIRST_TRIES), slice(_FIRST_TRIES, None)):
        for number, premise in enumerate(problem.metadata["premises"], 1):
            formula = premise.translate(_SIGNS)
            lines.append(f"{number} {formula}")
            if len(formula) == 1:
                return Demonstration("\n".join(lines), f"({premise} ∨ {premise})")
            for values in _assignments(sorted(set(re.findall("[A-Z]", formula))))[tries]:
                steps = _evaluated(formula, values)
                lines += [f"{''.join(f'{name}{value}' for name, value in values.items())} {steps[0]}", *steps[1:]]
                if steps[-1] == "0":
                    return Demonstration("\n".join(lines), premise)
    return Demonstration("\n".join(lines), problem.metadata["premises"][0])


def _evaluated(formula: str, values: Mapping[str, str]) -> list[str]:
    """The formula with values for letters, and then again and again with what is innermost worked out."""
    steps = [re.sub("[A-Z]", lambda letter: values[letter[0]], formula)]
    while len(steps[-1]) > 1:
        steps.append(_INNERMOST.sub(_reduced, steps[-1]))
    return steps


def _assignments(names: list[str]) -> list[dict[str, str]]:
    """All 0, all 1, then the rest in the order of binary numbers."""
    last: int = 2 ** len(names) - 1
    numbers = (0, last, *range(1, last))
    return [dict(zip(names, f"{number:0{len(names)}b}", strict=True)) for number in numbers]


def _reduced(found: re.Match[str]) -> str:
    """The value of a negation, or of a bracket with one sign between two values."""
    if found[1]:
        return "01"[found[1] == "0"]
    left, right = found[2] == "1", found[4] == "1"
    return "01"[{"|": left or right, "&": left and right, ">": right or not left, "=": left == right}[found[3]]]


def acre(problem: Problem) -> Demonstration:
    """The tests with their objects numbered, which objects do nothing, what is left of the tests that went on.

        cyan rubber cylinder1-
        green metal cylinder2,cyan rubber cylinder1+
        red rubber sphere3,gray metal cube4+
        -1               from the tests that stayed off
        2+ 34            the tests that went on, without those: 2 alone does it, of 3 and 4 one
        ?gray metal cube4?

    What is asked: `+` or `-` behind each object, `?` where it is not known; on if one is `+`, off if all are `-`.
    """
    numbers: dict[str, int] = {}

    def read(objects: str) -> list[str]:
        return [f"{name}{numbers.setdefault(name, len(numbers) + 1)}" for name in objects.split(", ")]

    _, _, shown = problem.prompt.partition("Previous experimental results:\n")
    results, _, asked = shown.partition("\n\nNew test case:\n")
    tests = [(read(objects), light == "on") for objects, light in (line.split(" → ") for line in results.split("\n"))]
    lines = [f"{','.join(objects)}{'+' if on else '-'}" for objects, on in tests]
    idle = dict.fromkeys(name for objects, on in tests if not on for name in objects)
    lines.append(f"-{''.join(name[-1] for name in idle)}")
    working, rest = set[str](), ""
    for objects, on in tests:
        left = [name for name in objects if name not in idle]
        if on:
            rest += " " * bool(rest) + "".join(name[-1] for name in left) + "+" * (len(left) == 1)
            working |= set(left) if len(left) == 1 else set()
    question = read(asked.split("\n")[0])
    marks = ["+" if name in working else "-" if name in idle else "?" for name in question]
    lines += [rest, "?" + ",".join(name + mark for name, mark in zip(question, marks, strict=True))]
    answer = "on" if "+" in marks else "off" if set(marks) == {"-"} else "undetermined"
    return Demonstration("\n".join(lines), answer)


def needle_haystack(problem: Problem) -> Demonstration:
    """What is asked for, and who stands before it: `adores the color purple:Luk`."""
    found = re.search(r"^Who (.+)\? Reply only", problem.prompt, re.MULTILINE)
    assert found is not None, problem.prompt
    return Demonstration(f"{found[1]}:{problem.answer}", problem.answer)
