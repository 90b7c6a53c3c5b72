"""Thoughts that follow a machine from state to state: what it holds is written again wherever it changes."""

from __future__ import annotations

import re

from denken.errors import ConfigError
from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add, multiply
from denken.types import Problem

_CLEARED = ">[-]>[-]<>"
_PART = re.compile(r">(\++)\[<(\++|-+)>-\]<|(\++|-+)|(\.)|<$")


def bf(problem: Problem) -> Demonstration:
    """Part by part of the program: its signs counted, what the cell then holds, and behind a dot the letter of that.

        +1+2+3+4+5+6+7+8+9+10[+1+2+3+4+5+6+7+8+9+10]    a loop: so many times so many
        10*10[0*10=0,1*10=10]=100
        d
        +1+2+3+4+5
        100+5[0+5=5,0+0=0,1+0=1]=105
        i

    Only programs that print a word (difficulty 1). Raises ConfigError for the longer ones, which no thought holds.
    """
    program: str = problem.metadata["bf_program"]
    at, cell, lines, out = len(_CLEARED) - 1, 0, list[str](), ""
    while at < len(program):
        found = _PART.match(program, at)
        if found is None:
            raise ConfigError(
                f"bf: only programs that print a word have worked solutions, not {program[:20]!r}; set difficulty = 1."
            )
        at = found.end()
        times, loop, run, dot = found.groups()
        if dot:
            out += chr(cell)
            lines.append(chr(cell))
            continue
        signs = loop or run
        if not signs:
            continue
        change = len(signs) if signs[0] == "+" else -len(signs)
        lines.append(f"{_counted(times)}[{_counted(loop)}]" if times else _counted(run))
        if times:
            lines.append(multiply(len(times), len(loop)).text)
            change *= len(times)
        if cell:
            lines.append(add(cell, change).text)
        cell += change
    return Demonstration("\n".join(lines), out)


def _counted(signs: str) -> str:
    return "".join(f"{sign}{i}" for i, sign in enumerate(signs, 1))
