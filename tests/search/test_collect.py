"""Files and folders into the library, as `denken library` does it."""

from __future__ import annotations

import sys

import pytest

from denken import cli
from denken.errors import ConfigError
from denken.search import collect
from denken.search.library import Library


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "documents"
    (place / "deep" / "er").mkdir(parents=True)
    (place / ".git").mkdir()
    for name, text in {
        "norrau.md": "# Norrau\n\nDer Hafen öffnet um sechs.",
        "deep/er/tower.txt": "The tower has [bold]211[/bold] steps.",
        "picture.png": "no document",
        ".hidden.txt": "hidden",
        ".git/config.txt": "hidden",
        "broken.pdf": "no PDF",
    }.items():
        (place / name).write_text(text)
    (place / "round").symlink_to(place)
    return place


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `denken library ARGUMENTS`; returns the exit code, standard output and standard error."""
    monkeypatch.setenv("DENKEN_STORE", str(tmp_path / "store" / "denken.db"))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["denken", "library", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as left:
            code = left.code or 0
        return (code, *capsys.readouterr())

    return run


def test_a_folder_is_walked_but_for_what_is_hidden_and_no_document(folder):
    found = [str(file.relative_to(folder)) for file in collect.files([folder])]
    assert found == ["broken.pdf", "norrau.md", "deep/er/tower.txt"]
    named = folder / "picture.png"
    assert collect.files([named, named, folder / "norrau.md"]) == [named, folder / "norrau.md"]
    with pytest.raises(ConfigError, match=r"nowhere is not there"):
        collect.files([folder / "nowhere"])


def test_documents_are_added_listed_searched_and_taken_away(run, folder, tmp_path):
    code, out, err = run("add", folder)
    assert code == 1
    assert "2 of 3 documents were added; the library now has 2." in out
    assert "broken.pdf is no PDF" in err
    assert (tmp_path / "store" / "library.db").is_file(), "it lies beside the store"
    code, out, _ = run("list")
    assert code == 0
    assert "Norrau" in out
    assert "tower" in out
    code, out, err = run("search", "When did the tower's steps open?")
    assert (code, out) == (0, "The tower has [bold]211[/bold] steps.\n\n")
    assert "deep/er/tower.txt" in err
    assert run("remove", 1)[:2] == (0, "1 of 1 documents were taken away.\n")
    code, out, err = run("remove", 1, 2)
    assert (code, out) == (2, "1 of 2 documents were taken away.\n")
    assert "There is no document 1" in err
    assert "tower" not in run("list")[1]


def test_added_again_they_are_replaced(run, folder, tmp_path):
    run("add", folder / "norrau.md")
    (folder / "norrau.md").write_text("Der Hafen ist zu.")
    assert "the library now has 1." in run("add", folder / "norrau.md")[1]
    (hit,) = Library(tmp_path / "store" / "library.db").search("Hafen")
    assert hit.text == "Der Hafen ist zu."


def test_what_cannot_be_read_does_not_end_the_rest(run, folder):
    (folder / "norrau.md").unlink()
    (folder / "norrau.md").symlink_to(folder / "gone")
    (folder / "norrau2.md").mkdir()
    code, out, err = run("add", folder / "deep" / "er" / "tower.txt", folder / "picture.png", folder / "broken.pdf")
    assert (code, out.startswith("2 of 3")) == (1, True), err
    code, _, err = run("add", folder / "norrau.md")
    assert code == 2
    assert "is not there" in err


def test_control_characters_do_not_reach_the_terminal(run, folder):
    (folder / "norrau.md").write_text("# Title \x1b[31m\n\nText \x1b]0;renamed\x07.")
    run("add", folder / "norrau.md")
    for arguments in (("list",), ("search", "text")):
        _, out, err = run(*arguments)
        assert "\x1b" not in out + err
        assert "\x07" not in out + err
