"""The worst judge there could be, for the tests of the process that judges run in: it runs the answer."""

from collections.abc import Callable

CALLS = {"count": 0}


def worst() -> Callable[[str], float]:
    import os  # so that the attack needs no import of its own

    def judge(answer: str) -> float:
        CALLS["count"] += 1
        return float(eval(answer, {"os": os, "CALLS": CALLS, "open": open}))  # noqa: S307  the point of this judge

    return judge
