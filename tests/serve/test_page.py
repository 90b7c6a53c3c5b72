"""The page: everything from here, nothing as HTML, every word in both languages."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from denken.serve.app import PAGE as PARTS

PAGE = files("denken.serve") / "page"
NAMES = sorted(name for name, _ in PARTS.values())
SCRIPTS = [name for name in NAMES if name.endswith(".js")]


def read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def test_the_page_and_its_parts_are_served(client):
    kinds = {"html": "text/html", "css": "text/css", "js": "text/javascript"}
    for path, (name, _) in PARTS.items():
        kind = kinds[name.rpartition(".")[2]]
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert response.text
    assert client.head("/").status_code == 200


def test_nothing_comes_from_elsewhere():
    for name in NAMES:
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", read(name))) - {"http://www.w3.org"}
        assert not found, name
    for page in ("index.html", "usage.html"):
        assert set(re.findall(r'(?:src|href)="(/[^"]*)"', read(page))) <= PARTS.keys()
    for script in SCRIPTS:
        assert {f"/{name}" for name in re.findall(r'from "\./([^"]*)"', read(script))} <= PARTS.keys()


def test_text_never_becomes_html():
    for name in NAMES:
        text = read(name)
        for danger in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            ".cssText",
        ):
            assert danger not in text
        assert not re.search(r"""\bstyle=|"style"|'style'|\.style\b(?!\.height)""", text), name
    for page in ("index.html", "usage.html"):
        assert not re.search(r"\son\w+=", read(page))
        assert "<style" not in read(page)


def test_keys_are_sent_in_headers_and_kept_in_the_tab():
    assert 'headers.set("Authorization", `Bearer ${key}`)' in read("key.js")
    for name in SCRIPTS:
        script = read(name)
        assert "localStorage" not in script
        assert "document.cookie" not in script
        # Everything but key.js itself asks through it.
        assert name == "key.js" or not re.search(r"(?<!\w)fetch\(", script), name


@pytest.mark.parametrize(("script", "page"), [("page.js", "index.html"), ("usage.js", "usage.html"), ("key.js", None)])
def test_both_languages_say_everything(script, page):
    text = read(script)
    english, german = (
        set(re.findall(r"^    (\w+):", text.split(f"\n  {language}: {{")[1].split("\n  },")[0], re.MULTILINE))
        for language in ("en", "de")
    )
    assert english == german
    used = set(re.findall(r"\bsay\.(\w+)", text))
    if page is not None:
        used |= set(re.findall(r'data-(?:text|label|placeholder)="(\w+)"', read(page)))
    # A name may also come out of a list of them.
    listed = set(re.findall(r'^  \["(\w+)", \(row\)', text, re.MULTILINE))
    assert used | listed == english


def test_examples_are_in_the_readers_language():
    examples = [set(re.findall(r'"([^"]+)"', line)) for line in re.findall(r"examples: \[(.*)\]", read("page.js"))]
    assert len(examples) == 2
    assert not examples[0] & examples[1]
