"""The main states as they look: axe finds nothing wrong with them in either scheme, nothing stands out at the side.

DENKEN_SCREENSHOTS=1 python -m pytest tests/web/test_looks.py      takes the pictures in docs/screenshots anew
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from acting import HOLD, Site, answer, search, think
from talking import Talk, Words

from denken.search.found import Source

ROOT = Path(__file__).parents[2]
AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = ROOT / "docs" / "screenshots"
# Those that the pages of docs/ show.
SHOWN = {
    "desktop-answer",
    "desktop-thinking",
    "desktop-run",
    "desktop-source",
    "phone-answer",
    "phone-source",
    "phone-conversations",
}
TAKE_PICTURES = bool(os.environ.get("DENKEN_SCREENSHOTS"))
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

STORY = {
    "en": (
        "How high is the tower of Zor, and how far does one see from it?",
        "The person asks for two things: the height, which I have to look up, and the distance to the horizon, "
        "which I can compute from it. ",
        "height of the tower of Zor",
        "The tower is 321 m high. With the radius of the earth $R$, the horizon is $d = \\sqrt{2Rh}$ away.",
        "The tower of Zor is **321 metres** high [citation:1] and stands by the sea [citation:2]. From its top one "
        "sees about 64 km:\n\n$$d = \\sqrt{2Rh} = \\sqrt{2 \\cdot 6371\\,\\text{km} \\cdot 0.321\\,\\text{km}} "
        "\\approx 64\\,\\text{km}$$\n\n| platform | height | horizon |\n|---|---:|---:|\n| first | 110 m | 37 km |\n"
        "| second | 321 m | 64 km |\n\n```python\nfrom math import sqrt\n\nprint(sqrt(2 * 6371 * 0.321))\n```\n",
    ),
    "de": (
        "Wie hoch ist der Turm von Zor, und wie weit sieht man von ihm?",
        "Gefragt ist zweierlei: die Höhe, die ich nachschlagen muss, und die Entfernung des Horizonts, die ich daraus "
        "berechnen kann. ",
        "Höhe des Turms von Zor",
        "Der Turm ist 321 m hoch. Mit dem Erdradius $R$ ist der Horizont $d = \\sqrt{2Rh}$ entfernt.",
        "Der Turm von Zor ist **321 Meter** hoch [citation:1] und steht am Meer [citation:2]. Von oben sieht man etwa "
        "64 km weit:\n\n$$d = \\sqrt{2Rh} \\approx 64\\,\\text{km}$$\n\n"
        "| Plattform | Höhe | Horizont |\n|---|---:|---:|\n"
        "| erste | 110 m | 37 km |\n| zweite | 321 m | 64 km |\n\n```python\nfrom math import sqrt\n\n"
        "print(sqrt(2 * 6371 * 0.321))\n```\n",
    ),
}
SOURCES = (
    Source(
        1, "The tower of Zor", "https://zor.example/tower", "Built in 1931, the tower is 321 metres high.", "2024-05-01"
    ),
    Source(2, "Zor, a town by the sea", "library:1", "Zor lies where the river Ell meets the sea."),
)


@pytest.fixture(scope="module")
def axe() -> str:
    if not AXE.is_file():
        pytest.skip("axe is not here; it comes with: python hatch_build.py")
    return AXE.read_text(encoding="utf-8")


Look = Callable[..., None]


@pytest.fixture
def look(axe: str) -> Look:
    """Checks a state in both schemes; takes its picture, where that is wanted, in the one that is named."""

    def looked(one: Talk, picture: str = "", scheme: str = "light") -> None:
        for current in ("light", "dark"):
            one.page.emulate_media(color_scheme=current)
            if TAKE_PICTURES and current == scheme and f"{one.device}-{picture}" in SHOWN:
                take(one.page, f"{one.device}-{picture}")
            # What does not depend on colours is the same in both.
            rules = (
                {"type": "tag", "values": RULES}
                if current == "light"
                else {"type": "rule", "values": ["color-contrast"]}
            )
            if not one.page.evaluate("() => 'axe' in window"):
                one.page.evaluate(axe)
            found = one.page.evaluate(
                "(only) => axe.run(document, { runOnly: only, resultTypes: ['violations'] })", rules
            )
            wrong = [
                (violation["id"], node["html"][:200], node["failureSummary"][:300])
                for violation in found["violations"]
                for node in violation["nodes"]
            ]
            assert not wrong, (current, wrong)
        assert one.fits()

    return looked


def take(page: Any, name: str) -> None:
    """As WebP, which is a fifth of a PNG."""
    PICTURES.mkdir(exist_ok=True)
    page.wait_for_timeout(400)
    wanted = {"format": "webp", "quality": 80}
    data = page.context.new_cdp_session(page).send("Page.captureScreenshot", wanted)["data"]
    (PICTURES / f"{name}.webp").write_bytes(base64.b64decode(data))


def a_run(site: Site) -> None:
    folder = site.folder / "runs" / "grpo-arithmetic"
    folder.mkdir(exist_ok=True)
    (folder / "recipe.toml").write_text('[rl]\nalgorithm = "grpo"\n\n[train]\nsteps = 300\n', encoding="utf-8")
    lines = [
        {
            "step": step,
            "reward": 0.9 - 0.6 * math.exp(-step / 60) + 0.03 * math.sin(step),
            "length": 220 - 60 * math.exp(-step / 80) + 8 * math.sin(step / 2),
            "loss": 0.05 * math.exp(-step / 100) + 0.004 * math.cos(step),
        }
        for step in range(240)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    said = {"step": 239, "task": "basic_arithmetic", "prompt": "What is 17 times 23?", "expected": "391"}
    said |= {"thought": "17 times 20 is 340, 17 times 3 is 51.", "answer": "391", "tokens": 31, "reward": 1.0}
    said |= {"parts": {"accuracy": 1.0}, "advantage": 0.7}
    (folder / "rollouts.jsonl").write_text(json.dumps(said) + "\n", encoding="utf-8")


def test_conversations_look_right_in_both_schemes(talk, site, look):
    site.actor.gate.clear()
    one = talk()
    question, plan, query, thought, said = STORY["de" if one.device == "phone" else "en"]
    one.page.get_by_role(
        "button", name=site.actor.about.examples["de" if one.device == "phone" else "en"][0]
    ).wait_for()
    look(one, "welcome")
    site.actor.plays(question, think(plan), search(query, *SOURCES), think(thought), HOLD, answer(said))
    one.ask(question)
    one.page.locator(".panel .katex").first.wait_for()
    look(one, "thinking", "dark")
    site.actor.gate.set()
    reply = one.wait()
    look(one, "answer", "dark" if one.device == "phone" else "light")
    reply.get_by_role(
        "button", name=re.compile(f"{one.words.like('thought.done').pattern}|{one.words('thought.done_untimed')}")
    ).click()
    look(one)
    reply.locator(".citation").first.click()
    one.page.locator("#source-title").wait_for()
    look(one, "source")
    one.press("sources.close")
    one.press("thread.details", reply)
    look(one)
    one.page.keyboard.press("Escape")
    one.press("thread.edit", one.questions.first)
    look(one)
    one.press("thread.cancel")
    one.sidebar()
    look(one, "conversations" if one.device == "phone" else "")
    menu = one.page.get_by_role("button", name=one.words.like("around.menuOf")).first
    menu.click()
    look(one)
    one.page.get_by_role("menuitem", name=one.words("around.share"), exact=True).click()
    one.press("around.shareMake")
    field = one.page.get_by_role("textbox", name=one.words("around.shareAddress"))
    link = field.input_value()
    look(one)
    one.page.goto(link)
    one.page.get_by_role("heading", level=1).wait_for()
    one.answer.wait_for()
    look(one)


def test_pages_look_right_in_both_schemes(talk, site, look):
    a_run(site)
    headers = {"Content-Type": "text/markdown"}
    one = talk("/library")
    one.page.request.post("/app/library?name=zor.md", data="# Zor\n\nZor lies by the sea.", headers=headers)
    one.page.reload()
    one.page.get_by_role("button", name="zor").first.wait_for()
    one.page.get_by_role("searchbox", name=one.words("library.search")).fill("sea")
    one.page.get_by_text("Zor lies by the sea.").first.wait_for()
    look(one, "library")
    one.page.goto("/runs")
    one.page.get_by_role("link", name=re.compile("grpo-arithmetic")).wait_for()
    look(one)
    one.page.goto("/runs/grpo-arithmetic")
    one.page.locator("canvas").nth(2).wait_for()
    look(one, "run")
    one.page.goto("/usage")
    one.page.get_by_role("heading", name=one.words("usage.title"), level=1).wait_for()
    look(one, "usage")
    one.sidebar()
    one.press("settings.title")
    look(one)
    if one.device == "desktop":
        one.press("settings.shortcuts")
        look(one)


def test_motion_is_left_out_where_somebody_wants_none(visit, site):
    site.actor.gate.clear()
    site.actor.plays("Moving", think("Hm."), HOLD, answer("Done."))
    page = visit("/", reduced_motion="reduce")
    one = Talk(page, Words("en"), "desktop")
    one.ask("Moving")
    page.get_by_text("Hm.").wait_for()
    moving = page.evaluate(
        "() => document.getAnimations().filter((one) => one.effect.getComputedTiming().duration > 10).length"
    )
    site.actor.gate.set()
    assert moving == 0
