"""Your own documents, in one file of SQLite: added, listed, searched, taken away.

A document is cut into passages (`passages.py`); each is found by its words as they are written and by their stems
(`terms.py`), and ranked by BM25 (SQLite's FTS5). A query is any of its words: nothing in it reaches FTS5's own syntax.

A document belongs to an owner, the id of a key, or to nobody and then to everybody: those that were added at the
command line, or while no keys were asked for. Everybody's are found by all and taken away by nobody who has a key.

Not covered: what a file or a page says (`convert.py`), meanings ("ship" does not find "boat").
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from denken.errors import ConfigError, DenkenError
from denken.search import passages
from denken.search.terms import stem, terms, words

Result = TypeVar("Result")

MAX_CHARACTERS = 4_000_000
# Of all documents of one owner; everybody's, which the owner of the machine adds, are not limited.
MAX_OWNED_CHARACTERS = 100_000_000
MAX_QUERY_WORDS = 24
BUSY_SECONDS = 10.0
# A search that takes longer is cut off: somebody waits for the answer.
SEARCH_SECONDS = 4.0
# What matches far less than the best does is no answer to the query.
LEAST_SHARE = 0.3

VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS documents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    owner TEXT,
    title TEXT NOT NULL,
    source TEXT NOT NULL,
    added INTEGER NOT NULL,
    characters INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS documents_by_source ON documents (coalesce(owner, ''), source);
CREATE TABLE IF NOT EXISTS passages (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    heading TEXT NOT NULL,
    text TEXT NOT NULL,
    stems TEXT NOT NULL,
    reader TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS passages_by_document ON passages (document);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    heading, text, stems, reader,
    content = 'passages', content_rowid = 'id', tokenize = 'unicode61 remove_diacritics 2'
);
INSERT INTO words (words, rank) VALUES ('rank', 'bm25(2.0, 1.0, 1.0, 0.0)');
CREATE TRIGGER IF NOT EXISTS passage_added AFTER INSERT ON passages BEGIN
    INSERT INTO words (rowid, heading, text, stems, reader)
    VALUES (new.id, new.heading, new.text, new.stems, new.reader);
END;
CREATE TRIGGER IF NOT EXISTS passage_removed AFTER DELETE ON passages BEGIN
    INSERT INTO words (words, rowid, heading, text, stems, reader)
    VALUES ('delete', old.id, old.heading, old.text, old.stems, old.reader);
END;
"""
_SHOWN = """
SELECT documents.id, owner, title, source, added, characters,
    (SELECT count(*) FROM passages WHERE document = documents.id) AS passages FROM documents
"""
_BEST = """
SELECT document, title, source, passages.heading, passages.text, -best.rank
FROM (SELECT rowid, rank FROM words WHERE words MATCH ? ORDER BY rank LIMIT 60) AS best
JOIN passages ON passages.id = best.rowid JOIN documents ON documents.id = document
ORDER BY best.rank, passages.id
"""


class LibraryError(DenkenError, ValueError):
    """A document cannot be taken in as it is; the text says why."""


@dataclass(frozen=True, slots=True)
class Document:
    """source: the path, address or file name that it came from. added: milliseconds since 1970. passages: how many."""

    id: int
    owner: str | None
    title: str
    source: str
    added: int
    characters: int
    passages: int


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found. score: the higher, the better; of one query only."""

    document: int
    title: str
    source: str
    heading: str
    text: str
    score: float


class Library:
    """The library in a file, which is made where there is none. Safe to use from any thread and several processes."""

    def __init__(self, file: Path):
        self.file = file
        # As long as one connection is open, the others need not carry the log into the file when they are closed.
        self._keeping: sqlite3.Connection | None = None
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
            with self._connected() as connection:
                self._prepare(connection)
            self._keeping = sqlite3.connect(file, check_same_thread=False)
            self._keeping.execute("SELECT 1 FROM documents").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(
                f"The library {file} cannot be opened and written ({error}); name another place by --store or "
                "DENKEN_STORE, beside which it lies."
            ) from error

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > VERSION:
            raise ConfigError(f"The library {self.file} is of a newer denken; update denken, or name another place.")
        if version < VERSION:
            _use_wal(connection)
            connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")

    def add(self, title: str, text: str, source: str, *, owner: str | None = None) -> Document:
        """Takes a document in, in place of the owner's earlier one from the same source.

        Raises LibraryError for one that is empty or too long, or where the owner's share is used up.
        """
        text, source = _storable(text).strip(), _storable(source)
        if not text:
            raise LibraryError(f"{source or title} holds no text.")
        if len(text) > MAX_CHARACTERS:
            raise LibraryError(f"{source or title} has {len(text)} characters, and {MAX_CHARACTERS} are the most.")
        title = " ".join(_storable(title).split())[:300] or source[-300:]
        # Of headings alone there are no passages.
        cut = list(passages.cut(text)) or [passages.Passage("", text[: passages.CHARACTERS])]
        rows = [(one.heading, one.text, " ".join(terms(f"{title} {one.heading} {one.text}"))) for one in cut]
        with self._connected() as connection, _transaction(connection):
            connection.execute("DELETE FROM documents WHERE owner IS ? AND source = ?", (owner, source))
            if owner is not None:
                self._check_share(connection, owner, len(text))
            document = connection.execute(
                "INSERT INTO documents (owner, title, source, added, characters, text) VALUES (?, ?, ?, ?, ?, ?)",
                (owner, title, source, round(time.time() * 1000), len(text), text),
            ).lastrowid
            connection.executemany(
                "INSERT INTO passages (document, heading, text, stems, reader) VALUES (?, ?, ?, ?, ?)",
                [(document, *row, _reader(owner)) for row in rows],
            )
            return _document(connection.execute(f"{_SHOWN} WHERE documents.id = ?", (document,)).fetchone())

    def _check_share(self, connection: sqlite3.Connection, owner: str, characters: int) -> None:
        (used,) = connection.execute(
            "SELECT coalesce(sum(characters), 0) FROM documents WHERE owner = ?", (owner,)
        ).fetchone()
        if used + characters > MAX_OWNED_CHARACTERS:
            raise LibraryError(
                f"Your documents have {used} characters, and {MAX_OWNED_CHARACTERS} are the most; remove some first."
            )

    def documents(self, owner: str | None = None) -> list[Document]:
        """The owner's and everybody's, newest first."""
        return self._read(
            lambda connection: [
                _document(row)
                for row in connection.execute(
                    f"{_SHOWN} WHERE owner IS NULL OR owner = ? ORDER BY added DESC, documents.id DESC", (owner,)
                )
            ]
        )

    def is_empty(self, owner: str | None = None) -> bool:
        query = "SELECT 1 FROM documents WHERE owner IS NULL OR owner = ? LIMIT 1"
        return self._read(lambda connection: connection.execute(query, (owner,)).fetchone()) is None

    def get(self, document: int, owner: str | None = None) -> tuple[Document, str] | None:
        """A document that the owner may see, and its text; None where there is none."""

        def look(connection: sqlite3.Connection) -> tuple[Document, str] | None:
            where = "documents.id = ? AND (owner IS NULL OR owner = ?)"
            row = connection.execute(f"{_SHOWN} WHERE {where}", (document, owner)).fetchone()
            if row is None:
                return None
            (text,) = connection.execute("SELECT text FROM documents WHERE id = ?", (document,)).fetchone()
            return _document(row), text

        return self._read(look)

    def remove(self, document: int, owner: str | None = None) -> bool:
        """Whether it was there and the owner's own."""
        with self._connected() as connection, _transaction(connection):
            query = "DELETE FROM documents WHERE id = ? AND owner IS ?"
            return connection.execute(query, (document, owner)).rowcount > 0

    def search(self, query: str, owner: str | None = None, *, most: int = 6, each: int = 2) -> list[Hit]:
        """The passages that fit the query best, best first; of one document at most `each`."""
        exact = words(query)[:MAX_QUERY_WORDS]
        stems = list(dict.fromkeys(terms(" ".join(exact))))
        if not stems:
            return []
        wanted = [f'stems : "{one}"' for one in stems]
        wanted += [f'{{heading text}} : "{word}"' for word in dict.fromkeys(exact) if stem(word) in stems]
        found = self._match(" OR ".join(wanted), owner)
        if not found:  # "Hafen" in "Hafenzeit"
            found = self._match(" OR ".join(f'stems : "{one}" *' for one in stems if len(one) > 2), owner)
        chosen: list[Hit] = []
        for hit in found:
            if hit.score < LEAST_SHARE * found[0].score or len(chosen) == most:
                break
            if sum(other.document == hit.document for other in chosen) < each:
                chosen.append(hit)
        return chosen

    def _match(self, expression: str, owner: str | None) -> list[Hit]:
        """expression: in FTS5's syntax, made of words that hold letters and digits alone."""
        if not expression:
            return []
        # Who may read a passage is one of its words, so that the best of them are found without reading the others.
        readers = " OR ".join(dict.fromkeys((_reader(None), _reader(owner))))
        return self._read(
            lambda connection: [
                Hit(*row) for row in connection.execute(_BEST, (f"({expression}) AND reader : ({readers})",))
            ],
            seconds=SEARCH_SECONDS,
        )

    def _read(self, work: Callable[[sqlite3.Connection], Result], seconds: float | None = None) -> Result:
        with self._connected() as connection:
            if seconds is not None:
                end = time.monotonic() + seconds
                connection.set_progress_handler(lambda: time.monotonic() > end, 10_000)
            return work(connection)

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection of one's own, for a moment: there are as many threads and processes as there are."""
        connection = sqlite3.connect(self.file, timeout=BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            # What was added in the last moments before a loss of power may have to be added again.
            connection.execute("PRAGMA synchronous = NORMAL")
            yield connection
        finally:
            connection.close()


def _use_wal(connection: sqlite3.Connection) -> None:
    """Readers and the writer do not wait for each other. SQLite does not wait for its turn here, so this has to."""
    end = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
        time.sleep(0.05)


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _reader(owner: str | None) -> str:
    """A word of letters and digits for whoever may read a passage."""
    return "everybody" if owner is None else f"key{owner.encode().hex()}"


def _document(row: tuple[int, str | None, str, str, int, int, int]) -> Document:
    return Document(*row)


def _storable(text: str) -> str:
    """Without what SQLite cannot keep: halves of surrogate pairs, and zeros, at which its own functions stop."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "")
