"""10,000 model folders with something wrong in each: how many are refused with a sentence, and whether anything else.

    python benchmarks/hostile.py --mutations 10000

What is changed and what is done with a folder is `tests/attacks/mutations.py`. The work is done in a process of its
own: one that dies is counted as a crash, and the next goes on behind it.
"""

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "attacks"), str(TESTS / "export")]

SLOW = 10.0  # seconds of processor time for one folder are too many
PATIENCE = 300.0  # seconds without a word, the start of the process included: then it hangs
MEMORY = 12 << 30  # bytes of addresses; a folder of 60 KB must not ask for more


def work(seeds: range, pipe: Connection) -> None:
    """Sends (seed, what was changed, what came of it, seconds), one after the other."""
    from mutations import mutate, verdict
    from test_mutations import whole

    logging.disable()  # the engine tells of numbers that are none
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryDirectory() as place:
        good = whole(Path(place) / "good")
        for seed in seeds:
            folder = Path(place) / "changed"
            shutil.copytree(good, folder)
            how = mutate(folder, seed)
            pipe.send((seed, how, None, 0.0))
            started = time.process_time()
            try:
                came = verdict(folder)
            except AssertionError as error:
                came = str(error)
            pipe.send((seed, how, came, time.process_time() - started))
            shutil.rmtree(folder)


def main() -> None:
    """Runs them all, and prints what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    slowest, begun = 0.0, time.perf_counter()
    at, end = args.first, args.first + args.mutations
    while at < end:
        ours, theirs = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=work, args=(range(at, end), theirs))
        process.start()
        theirs.close()
        seed, how = at - 1, "nothing yet"
        try:
            while True:
                if not ours.poll(PATIENCE):
                    process.kill()
                    raise EOFError
                seed, how, came, seconds = ours.recv()
                if came is None:
                    continue
                kind = came if came in ("used", "refused") else "wrong"
                kind = "slow" if seconds > SLOW else kind
                counts[kind] += 1
                if sum(counts.values()) % 1000 == 0:
                    print(f"{sum(counts.values()):,} so far: {dict(counts)}", flush=True)
                slowest = max(slowest, seconds)
                if kind in ("wrong", "slow"):
                    print(f"seed {seed}, {how}: {came} after {seconds:.1f} s", flush=True)
        except EOFError:
            process.join()
            if seed + 1 < end or process.exitcode:
                counts["crashed"] += 1
                print(f"seed {seed}, {how}: the process ended with {process.exitcode}", flush=True)
        at = max(seed, at) + 1
    print(dict(counts), f"slowest {slowest:.2f} s, all in {time.perf_counter() - begun:.0f} s")
    sys.exit(bool(counts["wrong"] + counts["slow"] + counts["crashed"]))


if __name__ == "__main__":
    main()
