"""What a person at the terminal sees of a reply that searches: the queries, what was found, citations, sources."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from denken import cli, terminal
from denken.about import About
from denken.assistant import Assistant
from denken.engine.sequence import Output
from denken.search.found import Found, Source
from denken.search.library import Library
from denken.serve.speaker import Piece
from scripted import ScriptedStream, script

HARBOUR = Source(1, "Harbour", "https://a.example/", "The harbour opens at six.")
FERRY = Source(2, "Ferry\x1b[2J", "library:2", "It leaves at nine.")


class Told:
    """A reply of the pieces that it is given, which only an event loop can run."""

    def __init__(self, *pieces: Piece):
        self.pieces, self.ended = pieces, False

    async def __aiter__(self):
        try:
            for piece in self.pieces:
                yield piece
        finally:
            self.ended = True


def searched(query: str, *sources: Source, problem: str = "") -> tuple[Piece, Piece]:
    return Piece("search", query), Piece("found", "", found=Found(query, sources, problem))


@pytest.fixture
def written(capsys):
    """What `write` puts on standard output and standard error."""

    def write(*pieces: Piece) -> tuple[str, str]:
        reply = Told(*pieces)
        terminal.write(reply)
        assert reply.ended
        return tuple(capsys.readouterr())

    return write


def test_searches_stand_in_the_thought_and_sources_at_the_end(written):
    pieces = (Piece("think", "Who?"), *searched("harbour", HARBOUR, FERRY), Piece("think", "Six."))
    out, err = written(*pieces, Piece("answer", "\nAt six [cita"), Piece("answer", "tion:1]."))
    assert out == "At six [1].\n"
    assert err == ("Who?\n[searching: harbour]\n[Harbour; Ferry\ufffd[2J]\nSix.\n\n\n[1] Harbour  https://a.example/\n")


def test_where_nothing_is_cited_all_sources_are_named(written):
    out, err = written(*searched("a", HARBOUR), *searched("b", FERRY), Piece("answer", "Six [citation:7]. [x"))
    assert out == "Six. [x\n"
    assert err.endswith("\n\n[1] Harbour  https://a.example/\n[2] Ferry\ufffd[2J  library:2\n")


@pytest.mark.parametrize(("problem", "said"), [("", "[nothing found]"), ("It took too long.", "[It took too long.]")])
def test_what_was_not_found_is_said_and_citations_stay_what_was_written(written, problem, said):
    out, err = written(*searched("a", problem=problem), Piece("answer", "See [citation:1]."))
    assert out == "See [citation:1].\n"
    assert err == f"\n[searching: a]\n{said}\n\n\n"


def test_in_a_terminal_searches_are_dimmed(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdout", shown := Terminal())
    terminal.write(Told(*searched("harbour", HARBOUR), Piece("answer", "Six.")))
    assert shown.getvalue() == (
        "\033[2m\n[searching: harbour]\n[Harbour]\n\033[0m\n\nSix.\n\n[1] Harbour  https://a.example/\n"
    )


@pytest.fixture
def store(tmp_path: Path) -> Path:
    Library(tmp_path / "library.db").add("Harbour", "The harbour opens at six o'clock.", "harbour.txt")
    return tmp_path / "denken.db"


def run(monkeypatch, capsys, *arguments: str, stdin: str = "") -> tuple[str, str]:
    monkeypatch.setattr(sys, "argv", ["denken", *arguments])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capsys.readouterr()
    assert not left.value.code, err
    return out, err


@pytest.fixture
def scripted(monkeypatch, tokenizer):
    """A model that searches for the harbour in its thought, every time."""
    opening, ending = (tokenizer.control(name) for name in ("<search>", "</search>"))
    ids = (*tokenizer.encode("Who?"), opening, *tokenizer.encode("harbour"), ending)
    ends = script(tokenizer, "Six.", "At six [citation:1].")
    stream = ScriptedStream([Output(0, ids, (-0.25,) * len(ids))], ends, [Output(0, ids, (-0.25,) * len(ids))], ends)
    about = About(searches="inside")
    assistant = Assistant("scripted", tokenizer, stream, context=20_000, about=about)
    monkeypatch.setattr("denken.assistant.load", lambda *_, **__: assistant)
    return assistant


def test_ask_searches_the_library(monkeypatch, capsys, scripted, store):
    out, err = run(monkeypatch, capsys, "ask", "When?", "--search", "--web", "off", "--store", str(store))
    assert out == "At six [1].\n"
    assert "Who?\n[searching: harbour]\n[Harbour]\nSix." in err
    assert err.endswith("[1] Harbour  library:1\n")


def test_ask_json_has_the_sources(monkeypatch, capsys, scripted, store):
    options = ["--json", "--search", "--web", "off", "--store", str(store)]
    record = json.loads(run(monkeypatch, capsys, "ask", "When?", *options)[0])
    assert (record["thought"], record["text"]) == ("Who?Six.", "At six [citation:1].")
    (source,) = record["sources"]
    assert (source["number"], source["title"]) == (1, "Harbour")
    assert "six o'clock" in source["excerpt"]


def test_chat_searches_anew_for_every_question(monkeypatch, capsys, scripted, store):
    options = ["--search", "--web", "off", "--store", str(store)]
    out, err = run(monkeypatch, capsys, "chat", *options, stdin="When?\nAgain?\n/quit\n")
    assert out.startswith("At six [1].\nAt six [1].\n")
    assert err.count("[1] Harbour  library:1\n") == 2


def test_any_other_model_searches_before_it_answers(monkeypatch, capsys, scripted, store, tokenizer):
    scripted.about = About()
    scripted._stream.outputs = script(tokenizer, "So.", "At six [citation:1].")
    out, err = run(
        monkeypatch, capsys, "ask", "When does the harbour open?", "--search", "--web", "off", "--store", str(store)
    )
    assert out == "At six [1].\n"
    assert err.startswith("\n[searching: When does the harbour open?]\n[Harbour]\nSo.")
    assert "[webpage 1 begin]" in tokenizer.decode(scripted._stream.prompts[0][0])
