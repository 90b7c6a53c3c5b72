"""Thoughts that go from neighbour to neighbour: islands, ways through a grid, colours, courses, families.

In a grid a place is found by its letters, as in grids.py. Whatever is reached gets a number, and the numbers are gone
through in order: a queue that is never written again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from denken.tasks.base import Demonstration
from denken.tasks.traces.grids import Axis, named, written
from denken.tasks.traces.grids import letters as labels
from denken.types import Problem

_AROUND = ((-1, 0, "v"), (0, -1, ">"), (0, 1, "<"), (1, 0, "^"))
_WORDS = {"^": "up", "v": "down", "<": "left", ">": "right"}


def _neighbours(rows: Axis, columns: Axis, place: tuple[int, int]) -> Iterator[tuple[tuple[int, int], str, str]]:
    """The places above, to the left, to the right and below: each with its letters, and the way back from there."""
    for down, right, back in _AROUND:
        r, c = place[0] + down, place[1] + right
        if 0 <= r < len(rows) and 0 <= c < len(columns):
            yield (r, c), rows[r] + columns[c], back


def largest_island(problem: Problem) -> Demonstration:
    """The land in the order of reading; from each piece that is not yet counted, the whole island.

    Aa1Ab1
    Ba0Bb0
    Ca0Cb1
    Aa=1             land, not yet counted: 1
    1Aa:Ab=2Ba.      its neighbours: Ab is new and gets the next number, Ba is water
    2Ab:Aa-Bb.       Aa is counted already; nothing has number 3
    2>0:2            the island's area, and the largest so far
    Ab-Cb=1          the next land: Ab is counted, Cb is not
    1Cb:Bb.Ca.
    1<2:2
    """
    rows, columns, cells = named(problem.metadata["grid"])
    lines, counted, largest, passed = written(rows, columns, cells), set[tuple[int, int]](), 0, ""
    for start in ((r, c) for r in range(len(rows)) for c in range(len(columns))):
        name = rows[start[0]] + columns[start[1]]
        if not cells[name]:
            continue
        if start in counted:
            passed += f"{name}-"
            continue
        lines.append(f"{passed}{name}=1")
        counted.add(start)
        queue, passed = [start], ""
        for number, place in enumerate(queue, 1):  # the queue grows while it is gone through
            line = f"{number}{rows[place[0]]}{columns[place[1]]}:"
            for neighbour, letters, _ in _neighbours(rows, columns, place):
                new = cells[letters] and neighbour not in counted
                if new:
                    counted.add(neighbour)
                    queue.append(neighbour)
                line += f"{letters}={len(queue)}" if new else f"{letters}{'-' if cells[letters] else '.'}"
            lines.append(line)
        area = len(queue)
        sign = ">" if area > largest else "<" if area < largest else "="
        lines.append(f"{area}{sign}{largest}:{max(area, largest)}")
        largest = max(area, largest)
    return Demonstration("\n".join([*lines, passed] if passed else lines), str(largest))


def shortest_path(problem: Problem) -> Demonstration:
    """From the destination in all directions until the start is met; every place keeps the way back, so to go.

        AaOAb#Ac*
        BaXBbOBcX
        1Ab:Aa>2Ac<*     from Aa one goes to the right; Aa is number 2. Ac is the start, from there to the left
        Ac<Ab#           the way: from the start each place's arrow

    A blocked place is written `Ba.`, one that has been met before `Ab-`. Where the numbers end, there is no way.
    """
    rows, columns, cells = named(problem.metadata["matrix"])
    place_of = {cells[r + c]: (i, j) for i, r in enumerate(rows) for j, c in enumerate(columns)}
    lines, queue, back = written(rows, columns, cells), [place_of["#"]], {place_of["#"]: ""}
    for number, place in enumerate(queue, 1):
        line = f"{number}{rows[place[0]]}{columns[place[1]]}:"
        for neighbour, letters, arrow in _neighbours(rows, columns, place):
            if cells[letters] == "X" or neighbour in back:
                line += f"{letters}{'.' if cells[letters] == 'X' else '-'}"
                continue
            back[neighbour] = arrow
            if cells[letters] == "*":
                line += f"{letters}{arrow}*"
                break
            queue.append(neighbour)
            line += f"{letters}{arrow}{len(queue)}"
        lines.append(line)
        if place_of["*"] in back:
            break
    place = place_of["*"]
    if place not in back:
        return Demonstration("\n".join(lines), "infeasible")
    steps = {arrow: (-down, -right) for down, right, arrow in _AROUND}
    way, words = "", []
    while arrow := back[place]:
        way += f"{rows[place[0]]}{columns[place[1]]}{arrow}"
        words.append(_WORDS[arrow])
        place = place[0] + steps[arrow][0], place[1] + steps[arrow][1]
    return Demonstration("\n".join([*lines, f"{way}{rows[place[0]]}{columns[place[1]]}#"]), " ".join(words))


def course_schedule(problem: Problem) -> Demonstration:
    """Round by round: which courses still need one (y) or none (n), then the pairs that are left without the latter.

    0n1y2y       of (1, 0), (2, 1)
    2,1
    1n2y
    -            no pairs are left: all can be finished; were there none but y, none could
    """
    pairs: list[tuple[int, int]] = [tuple(pair) for pair in problem.metadata["prerequisites"]]
    courses, lines = sorted(problem.metadata["courses"]), list[str]()
    while pairs:
        needing = {course for course, _ in pairs}
        lines.append("".join(f"{course}{'y' if course in needing else 'n'}" for course in courses))
        if needing.issuperset(courses):
            return Demonstration("\n".join(lines), "False")
        courses = [course for course in courses if course in needing]
        pairs = [pair for pair in pairs if pair[1] in needing]
        lines.append(" ".join(f"{course},{needed}" for course, needed in pairs) or "-")
    return Demonstration("\n".join(lines or ["-"]), "True")


def graph_color(problem: Problem) -> Demonstration:
    """Each vertex a letter with the colours that it may have; it gets the first, which every edge takes from the other.

        0A123 1B123 2C123
        0,2A1C23             the edges in their order: A gets 1, which C may not have any more
        1,2B1C23
        A1B1C2               the first of what each letter was last left with

    An edge's first vertex is smaller, and the edges go up by it, so that its colours are final when it gives one away.
    That some colour is always left is what the data set makes sure of.
    """
    puzzle = problem.metadata["puzzle"]
    letters_of = dict(zip(puzzle["vertices"], labels(len(puzzle["vertices"])), strict=True))
    left = {vertex: "".join(map(str, puzzle["color_options"])) for vertex in letters_of}
    lines = [" ".join(f"{vertex}{letters_of[vertex]}{colors}" for vertex, colors in left.items())]
    for one, other in puzzle["edges"]:
        left[other] = left[other].replace(left[one][0], "")
        lines.append(f"{one},{other}{letters_of[one]}{left[one][0]}{letters_of[other]}{left[other]}")
    lines.append("".join(f"{letters_of[vertex]}{colors[0]}" for vertex, colors in left.items()))
    return Demonstration("\n".join(lines), json.dumps({str(vertex): int(colors[0]) for vertex, colors in left.items()}))


_COUPLE = re.compile(r"(\w+) is married to (\w+)\.(?: They have (?:a child|children) called ([^.]*)\.)?")
_FEMALE = frozenset({"mother", "sister", "daughter", "wife", "grandmother", "aunt", "niece", "mother-in-law"})


def family_relationships(problem: Problem) -> Demonstration:
    """The story in short; then the parents of both, and as far as it takes spouse, grandparents and spouse's parents.

        1 Kai+ Amelia> Logan      every couple and its children
        2 Logan+ Willow
        3 Andrew+ Lily> Willow
        ? Logan< Kai+ Amelia      What is Logan to Andrew? His parents;
        ? Andrew<-                Andrew's are not told
        ? Logan= Willow           his spouse
        ? Kai<-                   his grandparents
        ? Amelia<-
        ? Willow< Andrew!+ Lily   the parents of his spouse: Andrew is one
        : Andrew m father-in-law

    A `!` stands behind the person asked about, where one of the two is a parent or the spouse that is looked for.
    Every name has a space before it, as it has in the story, so that a tokenizer sees the same name.
    Whether a name is a man's has to be known. The data set calls the parent of a spouse, the niece and the nephew by
    what the second person is to the first, and so does the last line.
    """
    story, _, _ = problem.prompt.partition("\n\n")
    parents: dict[str, tuple[str, ...]] = {}
    spouse: dict[str, str] = {}
    lines: list[str] = []
    for one, other, children in _COUPLE.findall(story):
        spouse[one], spouse[other] = other, one
        names = re.findall(r"\w+", children.replace(" and ", ","))
        lines.append(f"{len(lines) + 1} {one}+ {other}{'> ' if names else ''}{', '.join(names)}")
        for child in names:
            parents[child] = (one, other)
    first, second = problem.metadata["person1"], problem.metadata["person2"]

    def marked(name: str) -> str:
        return f" {name}{'!' if name in (first, second) else ''}"

    def of(*people: str) -> set[str]:
        """Writes the parents of some people, and says who they are."""
        for person in people:
            lines.append(f"? {person}<" + ("+".join(map(marked, parents.get(person, ()))) or "-"))
        return {parent for person in people for parent in parents.get(person, ())}

    named_one = first
    firsts, seconds = of(first), of(second)
    if not (first in seconds or second in firsts):
        lines.append(f"? {first}=" + (marked(spouse[first]) if first in spouse else "-"))
        if spouse.get(first) != second and (not firsts or firsts != seconds):
            elders = of(*parents.get(second, ()))
            if first not in elders and not firsts & elders:
                named_one = second
                if not seconds & of(*parents.get(first, ())) and first in spouse:
                    of(spouse[first])
    gender = "f" if problem.answer in _FEMALE else "m"
    return Demonstration("\n".join([*lines, f": {named_one} {gender} {problem.answer}"]), problem.answer)
