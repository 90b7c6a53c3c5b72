"""The model in the box with Search on: what a document says is found and cited, what it can work out is worked out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from denken.about import About
from denken.assistant import Assistant, load
from denken.chat.message import Message
from denken.search.library import Library
from denken.search.tool import Searcher
from denken.serve.speaker import Ask
from denken.types import SamplingParams

GERMAN = """\
# Ferienhaus Möwennest

Das WLAN-Passwort lautet Sandburg-2031. Der Schlüssel liegt unter der Fußmatte.
Die Heizung wird im Keller eingeschaltet. Frau Petersen bringt jeden Samstag frische Brötchen.
"""
ENGLISH = """\
Notes of the rowing club

- The boat house opens at 7:45.
- The spare oars are behind the blue door.
- Our treasurer is Marguerite Oyelaran.
"""


@pytest.fixture(scope="module")
def bundled() -> Iterator[Assistant]:
    with load("bundled", threads=1) as assistant:
        yield assistant


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    library = Library(Path(tmp_path_factory.mktemp("library")) / "library.sqlite3")
    library.add("Ferienhaus Möwennest", GERMAN, "ferien.md")
    library.add("rowing", ENGLISH, "rowing.txt")
    return Searcher(library=library)


def answer(assistant: Assistant, searcher: Searcher, question: str) -> tuple[str, list[str]]:
    """The answer, and what was searched for."""
    asked = Ask([Message("user", question)], SamplingParams(temperature=0.0), look=searcher.look(None, ["library"]))
    pieces = list(assistant.reply(asked))
    said = "".join(piece.text for piece in pieces if piece.kind == "answer")
    return said, [piece.text for piece in pieces if piece.kind == "search"]


@pytest.mark.parametrize(
    ("question", "fact"),
    [
        ("Wie lautet das WLAN-Passwort?", "Sandburg-2031"),
        ("Wer bringt die Brötchen?", "Frau Petersen"),
        ("When does the boat house open?", "7:45"),
        ("Who is our treasurer?", "Marguerite Oyelaran"),
    ],
)
def test_a_fact_in_a_document_is_found_and_cited(
    bundled: Assistant, searcher: Searcher, question: str, fact: str
) -> None:
    said, searched = answer(bundled, searcher, question)
    assert fact in said
    assert "[citation:1]" in said
    assert searched == [question.rstrip("?")]


@pytest.mark.parametrize(
    ("question", "result"), [("Was ist 17 mal 23?", "391"), ("Spell lantern backwards.", "nretnal")]
)
def test_what_it_can_work_out_is_not_searched_for(
    bundled: Assistant, searcher: Searcher, question: str, result: str
) -> None:
    assert answer(bundled, searcher, question) == (result, [])


def test_it_says_of_itself_what_holds(bundled: Assistant) -> None:
    said: About = bundled.about
    assert (said.searches, said.thinks, said.chats_freely) == ("inside", "always", False)
    assert set(said.summary) == set(said.examples) == {"en", "de"}
    answers = {
        "What is 17 times 23?": "391",
        "How many r are in strawberry?": "3",
        "Sort these numbers: 9, -3, 27, 4": "-3, 4, 9, 27",
        "Was ist 17 mal 23?": "391",
        "Wie viele e sind in Erdbeere?": "4",
        "Sortiere diese Zahlen: 9, -3, 27, 4": "-3, 4, 9, 27",
        "Spell lantern backwards.": "nretnal",
        "Schreibe Laterne rückwärts.": "enretaL",
    }
    for example in (*said.examples["en"], *said.examples["de"]):
        assert bundled.ask(example, params=SamplingParams(temperature=0.0)).text == answers[example]
