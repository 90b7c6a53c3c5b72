"""What the README tells people to type exists: commands, their options, make targets."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer

from denken.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [path for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md") if path.is_file()]


def commands(group, before=()):
    """Every command by its whole name, such as "ask" and "keys create"."""
    found = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, (*before, name))
        else:
            found[" ".join((*before, name))] = command
    return found


COMMANDS = commands(typer.main.get_command(app))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def typed(page: Path) -> list[list[str]]:
    """The words of every `denken ...` and `make ...` line in the page's code blocks, comments left out."""
    blocks = re.findall(r"^```(?:sh|bash|shell|console)\n(.*?)^```", page.read_text(encoding="utf-8"), re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    # What stands before and behind a pipe are commands of their own.
    parts = [part for line in lines for part in re.split(r"\||&&", line.removeprefix("$ "))]
    return [shlex.split(part, comments=True) for part in parts if part.split()[:1] in (["denken"], ["make"])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_to_be_typed_exists(page):
    for program, *words in typed(page):
        if program == "make":
            assert {word for word in words if "=" not in word} <= TARGETS, words
            continue
        name = " ".join(words[:2]) if " ".join(words[:2]) in COMMANDS else words[0]
        assert name in COMMANDS, words
        parameters = COMMANDS[name].params
        known = {option for parameter in parameters for option in (*parameter.opts, *parameter.secondary_opts)}
        given = {word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)}
        assert given <= known | {"--help"}, f"denken {name} has no {given - known}"


def test_the_reading_of_pages_finds_what_is_there(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        '```sh\n$ make run  # denken\necho 3 | denken ask --json \\\n  --seed 3 "a # b"\n```\n`denken no`\n'
    )
    assert typed(page) == [["make", "run"], ["denken", "ask", "--json", "--seed", "3", "a # b"]]
