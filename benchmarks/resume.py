"""kill -9 at 20 points of a run, then the same command: does it end as the run that nobody touched?

    python benchmarks/resume.py [--points 20] [--seed 1]

Two small runs, one that learns from rewards and one that learns from a set. The points are drawn from everything that
happens in a run: phases of steps, half-written lines of logs, files and folders on their way to the disk. Compared are
SHA-256 of weights, optimiser, generators and reference in the last checkpoint, its state, the exported model, metrics
and rollouts; times are left out. Prints a table; the exit code says whether all are equal.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from random import Random

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import killing


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=20, help="where each of the two runs is killed")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = 0
    print("| run | event | what it was doing | equal afterwards | seconds |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for kind, recipe in killing.recipes(folder).items():
            assert killing.train(recipe, folder / kind, events=folder / "events") == 0
            expected = killing.prints(folder / kind)
            events = (folder / "events").read_text(encoding="utf-8").splitlines()
            for point in sorted(Random(arguments.seed).sample(range(1, len(events) + 1), arguments.points)):
                began, run = time.monotonic(), folder / f"{kind}-{point}"
                if killing.train(recipe, run, kill_at=point) != killing.KILLED or killing.train(recipe, run) != 0:
                    sys.exit(f"{kind} was not killed, or not resumed, at event {point}, {events[point - 1]!r}.")
                found = killing.prints(run)
                other = sorted(name for name in expected | found if expected.get(name) != found.get(name))
                failed += bool(other)
                result = f"no: {', '.join(other)}" if other else "yes"
                took = time.monotonic() - began
                print(
                    f"| {kind} | {point} of {len(events)} | {events[point - 1]} | {result} | {took:.1f} |", flush=True
                )
    print(f"\n{2 * arguments.points - failed} of {2 * arguments.points} killed runs ended as the ones left alone.")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
