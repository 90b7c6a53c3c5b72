"""Thoughts about angles."""

from __future__ import annotations

from itertools import cycle
from string import ascii_lowercase

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add
from denken.types import Problem


def simple_geometry(problem: Problem) -> Demonstration:
    """The sum of all angles, which is known for so many sides; a running total of those given; what is left.

    Its angles are whole degrees, though it writes them `62.0°`. Each gets a letter first, which says whose turn it is.

        5 sides:540
        a62b117c80d131
        b62+117[2+7=9,6+1=7,0+1=1]=179
        c179+80[9+0=9,7+8=15,1+0+1=2]=259
        d259+131[9+1=10,5+3+1=9,2+1=3]=390
        540-390[0-0=0,14-9=5,5-3-1=1]=150
    """
    angles = [
        (letter, int(angle))
        for letter, angle in zip(cycle(ascii_lowercase), problem.metadata["known_angles"], strict=False)
    ]
    lines = [f"{problem.metadata['n_sides']} sides:{problem.metadata['total_interior_sum']}"]
    lines.append("".join(f"{letter}{angle}" for letter, angle in angles))
    (_, total), *rest = angles
    for letter, angle in rest:
        line, total = add(total, angle)
        lines.append(letter + line)
    left = add(problem.metadata["total_interior_sum"], -total)
    return Demonstration("\n".join([*lines, left.text]), problem.answer)
