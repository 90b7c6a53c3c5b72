"""The library: what goes in is found again, by its owner alone, whatever a query or a document holds."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from denken.errors import ConfigError
from denken.search import library as module
from denken.search.library import Library, LibraryError
from denken.search.tool import Searcher

HARBOUR = "# Hafen\n\nDer Hafen von Norrau öffnet um sechs Uhr.\n\n# Museum\n\nDas Museum zeigt alte Schiffe aus Holz."
TOWER = "The tower of Ellmoor was built in 1412 by Ada Brenn. It has 211 steps."


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library.db")


@pytest.fixture
def filled(library: Library) -> Library:
    library.add("Norrau", HARBOUR, "/home/a/norrau.md")
    library.add("Ellmoor", TOWER, "/home/a/ellmoor.txt")
    library.add("Cooking", "Boil the noodles for eight minutes.\n\n" * 3, "/home/a/noodles.txt")
    return library


@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("Wann öffnet der Hafen?", "Norrau"),
        ("Öffnung Hafen", "Norrau"),
        ("wann hat der hafen geoeffnet geöffnet", "Norrau"),
        ("HÄFEN", "Norrau"),
        ("Schiff", "Norrau"),
        ("Norrau", "Norrau"),
        ("When was the tower built?", "Ellmoor"),
        ("building towers", "Ellmoor"),
        ("step", "Ellmoor"),
        ("1412", "Ellmoor"),
        ("Hafenmuseum OR noodle", "Cooking"),
    ],
)
def test_forms_of_words_are_found_in_both_languages(filled, query, title):
    assert filled.search(query)[0].title == title


def test_a_hit_says_where_it_stands(filled):
    hit = filled.search("Wann öffnet der Hafen?")[0]
    assert (hit.heading, hit.source) == ("Hafen", "/home/a/norrau.md")
    assert hit.text == "Der Hafen von Norrau öffnet um sechs Uhr."


def test_a_compound_is_found_by_its_beginning(library):
    library.add("Notes", "Die Hafenmeisterin heißt Ida.", "notes")
    assert library.search("Hafen")[0].title == "Notes"


def test_words_that_every_text_has_find_nothing_beside_others(filled):
    assert filled.search("What is the zeppelin?") == []


@pytest.mark.parametrize(
    "query",
    ['"', "''", "a AND", "NEAR(tower", "text:", "tower*", "^tower", "-tower", "{text}: tower", "tower) OR (1=1", "\0",
     "tower\0x", "😀", "\ud800", "(" * 5000, "tower " * 5000, "'; DROP TABLE documents; --",
     "", " ", "*", "NOT", "ÄÖÜ" * 900],
)  # fmt: skip
def test_no_query_reaches_the_syntax_of_fts5(filled, query):
    for hit in filled.search(query):
        assert hit.title == "Ellmoor"
    assert len(filled.documents()) == 3


def test_the_same_document_again_replaces_it(filled):
    before = len(filled.documents())
    filled.add("Ellmoor", "The tower was torn down.", "/home/a/ellmoor.txt")
    assert len(filled.documents()) == before
    assert [hit.text for hit in filled.search("tower")] == ["The tower was torn down."]
    assert filled.search("steps") == []


def test_what_is_removed_is_found_no_more(filled):
    document = filled.search("tower")[0].document
    assert filled.remove(document)
    assert not filled.remove(document)
    assert filled.search("tower") == []
    assert filled.get(document) is None
    again = filled.add("Other", "Nothing.", "other")
    assert again.id > document, "a citation of the old document must not lead to the new one"


def test_owners_see_their_own_and_everybodys(filled):
    secret = filled.add("Diary", "The tower frightens me.", "diary.txt", owner="1")
    assert "Diary" in [hit.title for hit in filled.search("tower", "1")]
    for other in (None, "2", "", "NULL"):
        assert "Diary" not in [hit.title for hit in filled.search("tower", other)]
        assert secret.id not in [document.id for document in filled.documents(other)]
        assert filled.get(secret.id, other) is None
        assert not filled.remove(secret.id, other)
    public = filled.search("noodles")[0].document
    assert filled.get(public, "1") is not None
    assert not filled.remove(public, "1"), "everybody's is not one key's to take away"
    assert filled.remove(secret.id, "1")


def test_two_owners_may_have_the_same_file(library):
    library.add("Mine", "An apple.", "a.txt", owner="1")
    library.add("Yours", "A pear.", "a.txt", owner="2")
    library.add("Ours", "A plum.", "a.txt")
    assert [document.title for document in library.documents("1")] == ["Ours", "Mine"]


def test_what_cannot_be_taken_in_is_said(library, monkeypatch):
    with pytest.raises(LibraryError, match=r"empty\.txt holds no text"):
        library.add("Empty", " \n\0 ", "empty.txt")
    monkeypatch.setattr(module, "MAX_CHARACTERS", 10)
    with pytest.raises(LibraryError, match="11 characters"):
        library.add("Long", "x" * 11, "long.txt")
    monkeypatch.setattr(module, "MAX_OWNED_CHARACTERS", 15)
    library.add("One", "x" * 10, "one", owner="1")
    library.add("One", "y" * 10, "one", owner="1")  # in its place
    with pytest.raises(LibraryError, match="remove some"):
        library.add("Two", "x" * 10, "two", owner="1")
    library.add("Two", "x" * 10, "two")
    assert len(library.documents("1")) == 2


def test_a_failed_addition_leaves_the_old_one(filled, monkeypatch):
    def fails(*_):
        raise LibraryError("full")

    filled.add("Mine", "An apple.", "a.txt", owner="1")
    monkeypatch.setattr(Library, "_check_share", fails)
    with pytest.raises(LibraryError):
        filled.add("Mine", "A pear.", "a.txt", owner="1")
    assert filled.search("apple", "1")[0].title == "Mine"


def test_of_one_document_come_only_a_few(library):
    library.add("All", "\n\n".join(f"# Part {n}\n\nThe tower is tall, {n} times." for n in range(20)), "all")
    library.add("Other", "There is a tower.", "other")
    titles = [hit.title for hit in library.search("tower", most=6, each=2)]
    assert sorted(titles) == ["All", "All", "Other"]


def test_strange_text_is_kept(library):
    text = "zero\0 half \ud800 emoji 😀 \u202e turned <b>tags</b> [citation:1]"
    document = library.add("\ud800\n\0title", text, "strange\ud800")
    assert document.title == "? title"
    shown = library.get(document.id)
    assert shown is not None
    assert shown[1].startswith("zero half ? emoji 😀")


def test_threads_and_processes_share_the_file(tmp_path):
    libraries = [Library(tmp_path / "library.db") for _ in range(2)]

    def fill(number: int) -> None:
        for turn in range(10):
            libraries[number % 2].add(f"{number}", f"word{number} " * 50, f"{number}-{turn}")

    threads = [threading.Thread(target=fill, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(libraries[0].documents()) == 40
    with sqlite3.connect(tmp_path / "library.db") as connection:
        connection.execute("INSERT INTO words (words) VALUES ('integrity-check')")


def test_a_file_that_cannot_be_used_is_said(tmp_path):
    (tmp_path / "file").write_text("x" * 5000)
    with pytest.raises(ConfigError, match="cannot be opened"):
        Library(tmp_path / "file")
    with pytest.raises(ConfigError, match="cannot be opened"):
        Library(tmp_path / "file" / "library.db")
    newer = tmp_path / "newer.db"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigError, match="newer denken"):
        Library(newer)


def test_it_is_for_the_owner_of_the_machine_alone(tmp_path):
    Library(tmp_path / "folder" / "library.db")
    assert (tmp_path / "folder" / "library.db").stat().st_mode & 0o777 == 0o600


def test_the_searches_of_one_reply_are_numbered_through(filled):
    look = Searcher(library=filled).look(None, ["library"])

    async def searches():
        return [await look(query) for query in ("tower", "Hafen", "tower noodles")]

    first, second, third = asyncio.run(searches())
    assert [source.number for source in first.sources + second.sources + third.sources] == [1, 2, 3]
    assert [source.title for source in third.sources] == ["Cooking"], "what was found before is not found again"
    assert first.sources[0].url == f"library:{filled.search('tower')[0].document}"
    assert not first.problem
