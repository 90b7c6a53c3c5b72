"""kill -9 at 200 points of a server that is being asked: is every acknowledged line there, and none charged twice?

    python benchmarks/ledger_kill.py [--points 200] [--seed 1] [--postgresql]

The points are drawn from everything that a server does with its store and with its clients, as listed in
tests/serve/ledger_killing.py. All servers of a run share one store, one after another. After each the next one is
started on it, and compared are: the requests that four clients saw answered whole, streamed or not; the lines of the
ledger; what the key has spent, has reserved and has running. Prints a table; the exit code says whether all is well.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))

import databases
import ledger_killing

# Some thirty requests are answered by then; the first events are those of the start.
LAST_EVENT = 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=200, help="how many servers are killed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgresql", action="store_true", help="with a PostgreSQL of its own in place of SQLite")
    arguments = parser.parse_args()
    began = time.monotonic()
    with store(arguments.postgresql) as url:
        secret = ledger_killing.new_key(url)
        acknowledged: set[str] = set()
        doing: Counter[str] = Counter()
        bad = 0
        for point in Random(arguments.seed).sample(range(1, LAST_EVENT + 1), arguments.points):
            new, what = ledger_killing.kill(url, secret, point)
            acknowledged |= new
            doing[what] += 1
            found = ledger_killing.faults(url, acknowledged)
            bad += bool(found)
            for fault in found:
                print(f"event {point}, {what}: {fault}", flush=True)
        outcomes = ledger_killing.outcomes(url)
    print("| killed | times |\n|---|---|")
    for what, times in doing.most_common():
        print(f"| {what} | {times} |")
    print(f"\nLines: {', '.join(f'{count} {outcome}' for outcome, count in outcomes.items())}.")
    print(f"{len(acknowledged)} requests were acknowledged.")
    seconds = time.monotonic() - began
    print(f"After {arguments.points - bad} of {arguments.points} kills nothing was wrong; {seconds:.0f} s.")
    return int(bad > 0)


@contextmanager
def store(postgresql: bool) -> Iterator[str]:
    """The URL of an empty one."""
    with contextlib.ExitStack() as stack:
        if postgresql:
            yield databases.new_database(stack.enter_context(databases.postgresql()), "killed")
        else:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            yield f"sqlite:///{folder}/denken.db"


if __name__ == "__main__":
    sys.exit(main())
