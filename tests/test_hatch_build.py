"""The page is built from its sources: when they have changed, from packages that are known by their hashes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
import hatch_build  # noqa: E402

LOCK = json.loads((ROOT / "web" / "package-lock.json").read_text(encoding="utf-8"))


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A web/ of two sources with its packages, and no page yet."""
    folder = tmp_path / "web"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "main.ts").write_text("1")
    (folder / "package-lock.json").write_text("{}")
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / ".package-lock.json").write_text("{}")
    monkeypatch.setattr(hatch_build, "WEB", folder)
    monkeypatch.setattr(hatch_build, "PAGE", tmp_path / "page")
    return folder


@pytest.fixture
def commands(monkeypatch):
    """What npm was asked to do; building makes a page of one file."""
    asked = []

    def run(arguments, otherwise):
        asked.append(arguments[0])
        if "--outDir" in arguments:
            out = Path(arguments[arguments.index("--outDir") + 1])
            out.mkdir()
            (out / "index.html").write_text("built")

    monkeypatch.setattr(hatch_build, "_run", run)
    return asked


def test_the_lock_file_knows_packages_by_version_and_hash_and_no_address():
    packages = {name: package for name, package in LOCK["packages"].items() if name}
    assert len(packages) > 100
    for name, package in packages.items():
        assert package["integrity"].startswith("sha512-"), name
        assert package["version"], name
        assert "resolved" not in package, f"{name} names a registry; see web/.npmrc"
    assert "http" not in "".join(package["version"] for package in packages.values())


def test_it_is_built_once_and_again_when_a_source_changes(web, commands):
    assert hatch_build.build()
    assert (hatch_build.PAGE / "index.html").read_text() == "built"
    assert not hatch_build.build()
    (web / "node_modules" / "new.js").write_text("no source")
    assert not hatch_build.build()
    (web / "src" / "main.ts").write_text("2")
    assert hatch_build.build()
    (web / "src" / "main.ts").rename(web / "src" / "other.ts")
    assert hatch_build.build()
    assert commands == ["run"] * 3
    assert not list(web.glob(".build-*"))


def test_packages_are_brought_where_they_are_absent_or_older_than_the_lock_file(web, commands):
    (web / "node_modules" / ".package-lock.json").unlink()
    hatch_build.build()
    assert commands == ["ci", "run"]


def test_a_page_that_cannot_be_built_leaves_the_old_one(web, commands, monkeypatch):
    hatch_build.build()
    (web / "src" / "main.ts").write_text("2")

    def fails(arguments, otherwise):
        raise hatch_build.NotBuilt(otherwise)

    monkeypatch.setattr(hatch_build, "_run", fails)
    with pytest.raises(hatch_build.NotBuilt):
        hatch_build.build()
    assert (hatch_build.PAGE / "index.html").is_file()
    assert not list(web.glob(".build-*"))


def test_without_npms_registry_an_installation_in_place_goes_on_and_a_wheel_does_not(monkeypatch):
    class App:
        said: str

        def display_error(self, message):
            self.said = message

        def abort(self, message):
            raise SystemExit(message)

    class Hook(hatch_build.PageHook):
        app = App()

        def __init__(self):
            pass

    def fails():
        raise hatch_build.NotBuilt("Node packages could not be brought.")

    monkeypatch.setattr(hatch_build, "build", fails)
    hook = Hook()
    hook.initialize("editable", {})
    assert hook.app.said == "denken is installed WITHOUT ITS PAGE. Node packages could not be brought."
    with pytest.raises(SystemExit, match="could not be brought"):
        hook.initialize("standard", {})


def test_what_npm_says_is_passed_on(web, monkeypatch):
    monkeypatch.setattr(hatch_build, "npm", lambda: ([sys.executable, "-c", "import sys; sys.exit('no route')"], {}))
    with pytest.raises(hatch_build.NotBuilt, match=r"within reach\? .*pip install -e \.(.|\n)*no route"):
        hatch_build._run(["ci"], "Is it within reach?")
