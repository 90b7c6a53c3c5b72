"""The front end's own checks, its types and tests, and what its sources promise as a whole."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
sys.path.insert(0, str(ROOT))
import hatch_build  # noqa: E402

SOURCES = {
    path.relative_to(WEB / "src").as_posix(): path.read_text(encoding="utf-8")
    for path in (WEB / "src").rglob("*.ts*")
    if ".test." not in path.name
}


def run(*script: str) -> None:
    """One of the programs in node_modules; fails with what it says."""
    program = WEB / "node_modules" / script[0]
    if not program.is_file():
        pytest.skip("the front end's packages are not here; they come with: python hatch_build.py")
    _, environment = hatch_build.npm()
    node = shutil.which("node", path=environment["PATH"])
    done = subprocess.run(
        [str(node), str(program), *script[1:]],
        cwd=WEB,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-6000:]


def test_its_types_are_right():
    run("typescript/bin/tsc", "--noEmit")


def test_its_own_tests_pass():
    run("vitest/vitest.mjs", "run", "--maxWorkers=1")


def test_text_never_becomes_html():
    assert len(SOURCES) > 30
    for name, text in SOURCES.items():
        for danger in ("dangerouslySetInnerHTML", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"):
            assert danger not in text, name
        assert not re.search(r"\beval\(|new Function\(|rehype-raw|\.cssText|setAttribute\(\"style\"", text), name


def test_nothing_comes_from_elsewhere_and_nothing_is_told_to_others():
    for name, text in SOURCES.items():
        code = re.sub(r"^\s*(//|\*|/\*).*$", "", text, flags=re.MULTILINE)
        found = set(re.findall(r"https?://[\w.-]+\.\w+", code)) - {"http://www.w3.org"}
        assert not found, (name, found)
        assert not re.search(r"sendBeacon|document\.cookie|new WebSocket|importScripts", code), name


def test_keys_go_into_headers_and_every_request_knows_how():
    """Only these ask the server themselves: all others through `request`, so that none forgets the key or an error.

    The worker of the model on the device loads a part of the page, which is public.
    """
    own = {"api.ts", "offline/reach.ts", "upload.ts", "pages/SharedPage.tsx", "device/engine.ts"}
    for name, text in SOURCES.items():
        assert name in own or not re.search(r"(?<![\w.])fetch\(|XMLHttpRequest|new EventSource", text), name
        assert not re.search(r"[?&]key=", text), name
    assert "`Bearer ${secret}`" in SOURCES["api.ts"]


def test_what_browsers_execute_is_a_file_of_its_own():
    index = (WEB / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", index)
    assert all(address.startswith("/") for address in re.findall(r'(?:src|href)="([^"]*)"', index))
