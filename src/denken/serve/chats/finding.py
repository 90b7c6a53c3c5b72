"""Full-text search in conversations: one index of words in either kind of database, and the sentence that has the hit.

The index holds the words of titles, questions and answers, not of thoughts. Words are made here, in the same way for
SQLite's FTS5 and PostgreSQL's tsvector: without case and accents, and one for each character of Chinese and Japanese,
which are written without spaces. A conversation is found when every word of the query is somewhere in it; the last
word may be a beginning. What is not here: who may find what (`rows.py`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, text

# Of one message; what stands behind that is not found. PostgreSQL takes less than a mebibyte of words a row.
MOST_CHARACTERS = 200_000
MOST_TERMS = 8
MOST_WORD = 64
# What stands around a hit. A private character each: no text of a person's or a model's is taken for it.
BEGIN, END = "\ue000", "\ue001"
BEFORE, WIDTH = 50, 180

_ALONE = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")

_ENTER = text("INSERT INTO said (rowid, words, conversation) VALUES (:rowid, :words, :conversation)")
_ENTER_POSTGRESQL = text(
    "INSERT INTO said (rowid, words, conversation) "
    "VALUES (:rowid, array_to_tsvector(CAST(:words AS text[])), :conversation)"
)
_DROP = text("DELETE FROM said WHERE rowid = :rowid")


class _Fold(dict[int, str]):
    """For `str.translate`: a character without case and accents, still one character, so that places stay places."""

    def __missing__(self, code: int) -> str:
        letters = [c for c in unicodedata.normalize("NFKD", chr(code).casefold()) if not unicodedata.combining(c)]
        self[code] = folded = letters[0] if len(letters) == 1 else chr(code)
        return folded


_FOLD = _Fold()


def terms(query: str) -> list[str]:
    """The words to look for; none where there is nothing but signs.

    >>> terms("Über C++?")
    ['uber', 'c']
    """
    return list(dict.fromkeys(_words(_folded(query[:1000]))))[:MOST_TERMS]


def put(connection: Connection, rowid: int, conversation: int, said: str) -> None:
    """Enters a text in the place of what was there under this number."""
    drop(connection, [rowid])
    enter(connection, conversation, {rowid: said})


def enter(connection: Connection, conversation: int, said: Mapping[int, str]) -> None:
    """Enters texts under numbers that are new."""
    postgresql = _postgresql(connection)
    given = []
    for rowid, text_ in said.items():
        words = list(dict.fromkeys(_words(_folded(text_[:MOST_CHARACTERS]))))
        if words:
            shown: object = words if postgresql else " ".join(words)
            given.append({"rowid": rowid, "words": shown, "conversation": conversation})
    if given:
        connection.execute(_ENTER_POSTGRESQL if postgresql else _ENTER, given)


def drop(connection: Connection, rowids: Collection[int]) -> None:
    if rowids:
        connection.execute(_DROP, [{"rowid": rowid} for rowid in rowids])


def condition(connection: Connection, wanted: Sequence[str]) -> tuple[str, dict[str, str]]:
    """What holds, in SQL, of the numbers of conversations that have all the terms; and its parameters."""
    parts, values = [], {}
    for place, term in enumerate(wanted):
        parts.append(
            f"conversations.number IN (SELECT conversation FROM said WHERE {_matches(connection, f'term{place}')})"
        )
        values[f"term{place}"] = _pattern(connection, term, beginning=place == len(wanted) - 1)
    return " AND ".join(parts), values


def hits(connection: Connection, conversations: Collection[int], wanted: Sequence[str]) -> Mapping[int, int]:
    """Of each of the conversations the newest row that has one of the terms: a message's number, or a title's."""
    patterns = [_pattern(connection, term, beginning=place == len(wanted) - 1) for place, term in enumerate(wanted)]
    either = " | ".join(patterns) if _postgresql(connection) else " OR ".join(patterns)
    found: dict[int, int] = {}
    for number in conversations:
        statement = f"SELECT max(rowid) FROM said WHERE {_matches(connection, 'either')} AND conversation = :number"
        rowid = connection.execute(text(statement), {"either": either, "number": number}).scalar()
        if rowid is not None:
            found[number] = int(rowid)
    return found


def snippet(said: str, wanted: Sequence[str]) -> str:
    """A stretch of the text around the first hit, in one line, each hit between U+E000 and U+E001.

    >>> snippet("The harbour of Kiel opens at six.", ["kiel"])
    'The harbour of \\ue000Kiel\\ue001 opens at six.'
    """
    said = unicodedata.normalize("NFC", said[:MOST_CHARACTERS]).replace(BEGIN, " ").replace(END, " ")
    found = [(match.start(), match.end()) for match in _WORD.finditer(_folded(said)) if _hit(match[0], wanted)]
    first = max(0, (found[0][0] if found else 0) - BEFORE)
    if first:
        first = said.find(" ", first, first + BEFORE) + 1 or first
    last = min(len(said), first + WIDTH)
    shown, place = "…" if first else "", first
    for begin, end in found:
        if end <= last:
            shown += f"{said[place:begin]}{BEGIN}{said[begin:end]}{END}"
            place = end
    shown += said[place:last] + ("…" if last < len(said) else "")
    return " ".join(shown.split())


def _hit(word: str, wanted: Sequence[str]) -> bool:
    return word in wanted or (len(word) > 1 and word.startswith(wanted[-1]))


def _folded(said: str) -> str:
    return unicodedata.normalize("NFC", said).translate(_FOLD)


def _words(folded: str) -> list[str]:
    return [word[:MOST_WORD] for word in _WORD.findall(folded)]


def _matches(connection: Connection, name: str) -> str:
    return f"words @@ CAST(:{name} AS tsquery)" if _postgresql(connection) else f"said MATCH :{name}"


def _pattern(connection: Connection, term: str, *, beginning: bool) -> str:
    """A term has no signs in it, so nothing in either database's language can be meant by it."""
    quoted = f"'{term}':*" if beginning else f"'{term}'"
    return quoted if _postgresql(connection) else quoted.replace("'", '"').replace(":", "")


def _postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"
