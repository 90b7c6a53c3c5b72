"""The page: everything from here, nothing as HTML, every word in both languages."""

from __future__ import annotations

import re
from importlib.resources import files

PAGE = files("denken.serve") / "page"


def read(name: str) -> str:
    return (PAGE / name).read_text(encoding="utf-8")


def test_the_page_and_its_parts_are_served(client):
    for path, kind in (("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")):
        response = client.get(path)
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(kind)
        assert response.text
    assert client.head("/").status_code == 200


def test_nothing_comes_from_elsewhere():
    for name in ("index.html", "page.css", "page.js"):
        found = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+", read(name))) - {"http://www.w3.org"}
        assert not found, name
    referred = set(re.findall(r'(?:src|href)="(/[^"]*)"', read("index.html")))
    assert referred == {"/page.css", "/page.js"}


def test_text_never_becomes_html():
    script = read("page.js")
    for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function(", ".cssText"):
        assert danger not in script
    assert " style=" not in read("index.html")
    assert not re.search(r"\son\w+=", read("index.html"))


def test_both_languages_say_everything():
    script = read("page.js")
    english, german = (
        set(re.findall(r"^    (\w+):", script.split(f"\n  {language}: {{")[1].split("\n  },")[0], re.MULTILINE))
        for language in ("en", "de")
    )
    assert english == german
    used = set(re.findall(r"\bsay\.(\w+)", script)) | set(
        re.findall(r'data-(?:text|label|placeholder)="(\w+)"', read("index.html"))
    )
    assert used == english
    examples = [set(re.findall(r'"([^"]+)"', line)) for line in re.findall(r"examples: \[(.*)\]", script)]
    assert len(examples) == 2
    assert not examples[0] & examples[1]
