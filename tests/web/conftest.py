"""The page in a real browser, against a real server whose model says what a test wants.

Every page that a test opens is watched: an error on its console and a request to anywhere else fail the test. The
browser is the machine's Chromium; where it is missing, or Python's playwright, or the page, these tests are skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from acting import Site, serving
from talking import Talk, Words

from denken.serve import website

ROOT = Path(__file__).parents[2]
NAMES = ("chromium", "google-chrome", "chromium-browser")
DEVICES: dict[str, dict[str, Any]] = {
    "desktop": {"viewport": {"width": 1280, "height": 800}},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "has_touch": True,
        "is_mobile": True,
        "device_scale_factor": 2,
    },
}
LOCALES = {"en": "en-US", "de": "de-DE"}
# Long enough for a machine that does other things beside.
PATIENCE_MS = 30_000


def pytest_configure(config: pytest.Config) -> None:
    """The page that is tested is the one that its sources make, if there is what builds it."""
    if not hasattr(config, "workerinput") and (ROOT / "web" / "node_modules").is_dir():
        done = subprocess.run([sys.executable, "hatch_build.py"], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise pytest.UsageError(f"The page cannot be built for its tests: {done.stderr}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium. Of the module: Playwright's loop would stand in the way of other tests' own."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="the page's tests need playwright: pip install -e .[dev]"
    )
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("the page's tests need Chromium; on Debian: apt-get install chromium")
    if not website.parts():
        pytest.skip("the page is not built here; run: python hatch_build.py")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        # A name that is not this machine's own, as a phone would see it: no secure context.
        arguments.append("--host-resolver-rules=MAP box.home 127.0.0.1")
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving(tmp_path_factory.mktemp("site"), hosts=["box.home"]) as site:
        yield site


@dataclass
class Watched:
    """What a page did that it should not have: errors on its console, requests to other origins."""

    origin: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    # Parts of messages that a test expects.
    expected: list[str] = field(default_factory=list)

    def watch(self, context: Any) -> None:
        context.on("request", self._request)
        context.on("console", lambda message: self._console(message.type, message.text))
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _request(self, request: Any) -> None:
        if not request.url.startswith((f"{self.origin}/", "blob:", "data:")):
            self.foreign.append(request.url)

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning") and text != "Service Worker registration blocked by Playwright":
            self.errors.append(text)

    def check(self) -> None:
        unexpected = [error for error in self.errors if not any(part in error for part in self.expected)]
        assert not unexpected, unexpected
        assert not self.foreign, self.foreign


Visit = Callable[..., Any]


@pytest.fixture
def watched(site: Site) -> Watched:
    return Watched(site.origin)


@pytest.fixture
def visit(browser: Any, site: Site, watched: Watched) -> Iterator[Visit]:
    """Opens an address on a device, in a language: `visit("/library", "phone", "de")`. All is checked at the end.

    Further fields go to Playwright's context; `context` opens another tab of one that is there.
    """
    contexts = []

    def open_page(path: str = "/", device: str = "desktop", language: str = "en", **fields: Any) -> Any:
        context = fields.pop("context", None)
        if context is None:
            given = {"service_workers": "block", "base_url": site.origin, "locale": LOCALES[language]} | DEVICES[device]
            context = browser.new_context(**given | fields)
            context.set_default_timeout(PATIENCE_MS)
            watched.watch(context)
            contexts.append(context)
        page = context.new_page()
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    watched.check()


@pytest.fixture
def origin(site: Site) -> str:
    return site.origin


@pytest.fixture(params=[("desktop", "en"), ("phone", "de")], ids=lambda given: "-".join(given))
def talk(request: pytest.FixtureRequest, visit: Visit) -> Callable[..., Talk]:
    """Opens an address as somebody at a desk who speaks English, and as somebody with a phone who speaks German."""
    device, language = request.param

    def begin(path: str = "/", **fields: Any) -> Talk:
        return Talk(visit(path, device, language, **fields), Words(language), device)

    return begin
