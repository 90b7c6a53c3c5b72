"""Is the page smooth while it is written to? The longest that its main thread is busy, slowed down four times.

    make bench                                  # or: python benchmarks/page.py
    python benchmarks/page.py --tokens 5000 --rate 500

A thought of 20,000 tokens with 200 formulas, tables, lists and code among them, and an answer, stream into the page at
250 tokens a second; Chromium's main thread is slowed down four times (its own throttling). A task is one stretch of the
main thread that nothing can interrupt: neither a tap nor a key is answered meanwhile. Both its time by the clock
(`PerformanceObserver`, which a busy machine adds to) and its processor time (Chromium's trace, slowing included) are
given. The aim is less than 100 ms.

The model is an actor (`tests/web/acting.py`), the server is ours; both share the machine's cores with the browser.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / folder) for folder in ("web", "serve", ".")]

from acting import Site, answer, serving, think  # noqa: E402

from denken.serve.speaker import Piece  # noqa: E402

AIM_MS = 100
FORMULAS = (
    "$x_{%d} = \\frac{-b \\pm \\sqrt{b^2 - 4ac}}{2a}$",
    "$\\sum_{k=1}^{%d} k^2 = \\frac{n(n+1)(2n+1)}{6}$",
    "\n\n$$\\int_0^{%d} e^{-x^2}\\,dx \\approx \\frac{\\sqrt{\\pi}}{2}$$\n\n",
    "$\\begin{pmatrix} a_{%d} & b \\\\ c & d \\end{pmatrix}^{-1}$",
)
BLOCKS = (
    "\n\n```python\ndef step(x: int) -> int:\n    return x * x + 1  # a comment\n```\n\n",
    "\n\n| n | value |\n|---|---|\n| 1 | 2 |\n| 2 | 5 |\n\n",
    "\n\n- first this, **then** that\n- and `code` in a list\n\n",
)
TEXT = "so we have that the sum of both is at most one and hence it follows by induction from what was shown"
WORDS = TEXT.split()
WATCH = """() => {
  window.tasks = [];
  window.frames = [];
  new PerformanceObserver((list) => { for (const entry of list.getEntries()) tasks.push(entry.duration); })
    .observe({ type: 'longtask', buffered: false });
  let last = performance.now();
  const frame = (now) => { frames.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
}"""


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one run. longest_ms: by the clock; 50 where no task was long enough to be reported. busiest_ms: of processor
    time. over_aim: how many tasks took longer than the aim. late_frame_ms: 99 % of frames came sooner after another."""

    longest_ms: float
    over_aim: int
    busiest_ms: float
    late_frame_ms: float
    seconds: float
    heap_mb: float
    nodes: int


def script(tokens: int, formulas: int) -> list[Piece]:
    """A thought of so many tokens with so many formulas, and an answer of a hundred words."""
    chosen = random.Random(0)
    pieces: list[Piece] = []
    every = max(1, tokens // formulas)
    for number in range(tokens):
        place, index = number % every, number // every
        if place == 0 and index < formulas:
            pieces.append(think(f" {FORMULAS[index % len(FORMULAS)] % index}"))
        elif place == every // 2 and index % 5 == 0:
            pieces.append(think(chosen.choice(BLOCKS)))
        else:
            pieces.append(think(f" {chosen.choice(WORDS)}" + (".\n\n" if number % 90 == 89 else "")))
    return [*pieces, *(answer(f"{word} ") for word in WORDS * 5)]


def measure(browser: Any, site: Site, rate: float, throttle: float) -> Measured:
    """One reply, from the question to the end of the answer."""
    context = browser.new_context(base_url=site.origin, viewport={"width": 1280, "height": 800}, locale="en-US")
    page = context.new_page()
    page.goto("/")
    box = page.get_by_role("textbox", name="Ask something")
    box.fill("Go on")
    page.evaluate(WATCH)
    devtools = context.new_cdp_session(page)
    devtools.send("Emulation.setCPUThrottlingRate", {"rate": throttle})
    browser.start_tracing(page=page, categories=["toplevel"])
    site.actor.pause = 1 / rate
    began = time.monotonic()
    box.press("Enter")
    page.locator("article.answer[aria-busy=true]").wait_for()
    page.locator("article.answer[aria-busy=false]").wait_for(timeout=1_800_000)
    seconds = time.monotonic() - began
    trace = json.loads(browser.stop_tracing())["traceEvents"]
    tasks = page.evaluate("() => tasks")
    frames = sorted(page.evaluate("() => frames"))
    heap = devtools.send("Runtime.getHeapUsage")["usedSize"]
    nodes = page.evaluate("() => document.querySelectorAll('*').length")
    context.close()
    return Measured(
        max(tasks, default=50.0),
        sum(task > AIM_MS for task in tasks),
        busiest(trace),
        statistics.quantiles(frames, n=100)[98],
        seconds,
        heap / 2**20,
        nodes,
    )


def busiest(trace: list[dict[str, Any]]) -> float:
    """The most processor time that one task of the page's main thread took, in milliseconds."""
    mains = {
        (event["pid"], event["tid"])
        for event in trace
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    spent = [
        event.get("tdur", 0) / 1000
        for event in trace
        if event["name"].endswith("::RunTask") and (event["pid"], event["tid"]) in mains
    ]
    return max(spent, default=0.0)


def report(measured: Measured, options: argparse.Namespace, hardware: str, chromium: str) -> str:
    rows = [
        ("longest task, by the clock", f"{measured.longest_ms:.0f} ms"),
        ("longest task, processor time", f"{measured.busiest_ms:.0f} ms"),
        (f"tasks over {AIM_MS} ms by the clock", str(measured.over_aim)),
        ("99 % of frames within", f"{measured.late_frame_ms:.0f} ms"),
        ("from question to end of answer", f"{measured.seconds:.0f} s"),
        ("JavaScript heap at the end", f"{measured.heap_mb:.0f} MiB"),
        ("elements on the page at the end", f"{measured.nodes:,}"),
    ]
    load = os.getloadavg()[0]
    lines = [
        "# The page while it is written to",
        "",
        f"{hardware}, {platform.system()} {platform.machine()}, {chromium}, {date.today()}; load average {load:.1f}.",
        f"Command: `python benchmarks/page.py --tokens {options.tokens} --rate {options.rate:g}`",
        "",
        f"A thought of {options.tokens:,} tokens with {options.formulas} formulas at {options.rate:g} tokens a second; "
        f"the main thread {options.throttle:g} times slower.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(lines) + "\n"


def processor() -> str:
    """Cores and model, as in `/proc/cpuinfo`."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
    ]
    return f"{os.cpu_count()} x {names[0] if names else platform.processor()}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=20_000)
    parser.add_argument("--formulas", type=int, default=200)
    parser.add_argument("--rate", type=float, default=250.0, help="tokens a second")
    parser.add_argument("--throttle", type=float, default=4.0)
    parser.add_argument("--out", type=Path, help="Write the report to this file, too.")
    options = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("There is no Chromium to measure with; on Debian: apt-get install chromium", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, serving(Path(folder)) as site, sync_playwright() as playwright:
        site.actor.plays("Go on", script(options.tokens, options.formulas))
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        measured = measure(browser, site, options.rate, options.throttle)
        text = report(measured, options, processor(), f"Chromium {browser.version}")
        browser.close()
    print(text)
    if options.out:
        options.out.write_text(text, encoding="utf-8")
    return 0 if min(measured.busiest_ms, measured.longest_ms) < AIM_MS else 1


if __name__ == "__main__":
    sys.exit(main())
