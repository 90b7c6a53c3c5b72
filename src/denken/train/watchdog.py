"""Says what a run is doing when it seems to do nothing: the phase, since when, and where every thread stands.

The loop names its phases (`with watchdog.phase("generate")`) and its steps (`beat`); a thread looks from time to time
whether the present phase lasts much longer than it used to. Then it speaks once and writes all stacks to a file. It
never ends anything: a slow machine is no reason to lose a run.

What is not covered: a call that keeps the interpreter's lock keeps this thread from looking too, and it speaks only
afterwards. A phase that ends and begins again and again makes no progress either, but is not seen as a stall.
"""

from __future__ import annotations

import faulthandler
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median

# A phase is compared with the median of its latest durations.
REMEMBERED = 100
TIMES_THE_MEDIAN = 10.0
LOOK_EVERY_S = 5.0
# What a process does that waits for the others: said of it, and no fault of its own.
WAITING = "waiting for the other processes"


@dataclass(eq=False, slots=True)
class Phase:
    """A phase that goes on. told: whether it has been announced."""

    name: str
    began: float
    told: bool = False


@dataclass(slots=True)
class Watchdog:
    """The phases of one process. Naming them costs next to nothing; nobody looks before `watching` is entered.

    clock: seconds that only grow.
    """

    clock: Callable[[], float] = time.monotonic
    step: int = 0
    phases: list[Phase] = field(default_factory=list)
    durations: dict[str, deque[float]] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What the block does, in a word or two; phases lie within one another, and the innermost is what goes on."""
        phase = self.enter(name)
        try:
            yield
        finally:
            self.phases.remove(phase)
            self.durations.setdefault(name, deque(maxlen=REMEMBERED)).append(self.clock() - phase.began)

    def enter(self, name: str) -> Phase:
        """The beginning of a phase. Tests that kill a run at a phase's edge wait for this call."""
        phase = Phase(name, self.clock())
        self.phases.append(phase)
        return phase

    def beat(self, step: int) -> None:
        """`step` has begun."""
        self.step = step

    @contextmanager
    def watching(self, folder: Path, warn: Callable[[str], None], *, stall_s: float, rank: int = 0) -> Iterator[None]:
        """Look, in a thread, until the block ends.

        folder: where stalled-STEP.txt goes (of other processes than 0 stalled-STEP-RANK.txt). warn: takes the
        announcement, in the thread. stall_s: how long a phase may last, if it never took long; 0 never looks.
        """
        if not stall_s:
            yield
            return
        over = threading.Event()

        def look_on() -> None:
            while not over.wait(min(LOOK_EVERY_S, stall_s / 4)):
                self.look(folder, warn, stall_s=stall_s, rank=rank)

        thread = threading.Thread(target=look_on, name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def look(self, folder: Path, warn: Callable[[str], None], *, stall_s: float, rank: int = 0) -> None:
        """Announce the present phase if it lasts too long and was not announced before. Arguments as in `watching`."""
        # The loop's own thread goes on meanwhile; what was copied stays as it was.
        phases = list(self.phases)
        now = self.clock()
        late = [each for each in phases if now - each.began > self.limit(each.name, stall_s)]
        if not late or late[-1].told:
            return
        # Whatever lies around a phase that hangs becomes late with it: that is no news.
        for each in phases:
            each.told = True
        seconds = now - late[-1].began
        since = datetime.fromtimestamp(time.time() - seconds).strftime("%H:%M:%S")
        what = ", ".join(each.name for each in phases)
        usual = self.durations.get(late[-1].name)
        before = f" (its median before: {median(usual):.1f} s)" if usual else ""
        file = folder / f"stalled-{self.step}{f'-{rank}' if rank else ''}.txt"
        if phases[-1].name == WAITING:
            advice = "This process is not the one that is late: look at what the others say."
        else:
            advice = "It goes on; end it with Ctrl-C twice, and the same command resumes from the last checkpoint."
        warn(
            f"Step {self.step} stalls: {what}, for {seconds:.0f} s, since {since}{before}. "
            f"Where every thread stands is in {file}. {advice}"
        )
        # No lock may be needed to write this: the thread that holds it may be the one that hangs.
        with file.open("a", encoding="utf-8") as stream:
            stream.write(f"Step {self.step}: {what}, since {since}\n")
            stream.flush()
            faulthandler.dump_traceback(stream, all_threads=True)
            stream.write("\n")

    def limit(self, name: str, stall_s: float) -> float:
        """From how many seconds on a phase counts as stalled: `stall_s`, or ten times its median if that is more."""
        # A copy, since the loop's thread may add to it.
        before = list(self.durations.get(name, ()))
        return max(stall_s, TIMES_THE_MEDIAN * median(before)) if before else stall_s
