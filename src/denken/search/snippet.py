"""What of a passage a query is about: its best lines and sentences, for a reader with little room.

A model of a few million parameters reads a thousand characters and copies what it needs, so a passage of five hundred
is shortened to the sentences that share most words with the query. What a citation shows stays the whole passage.
"""

from __future__ import annotations

import re

from denken.search.terms import terms

# Not behind "3." and "z.", which end no sentence in German, nor behind a title.
_END = re.compile(
    r"\n"
    r"|(?<=[^\W\d]{2}[.!?…])(?<!\b[DMS][rst]\.)(?<!\bMrs\.)(?<!\bProf\.)(?<!\bNr\.)\s+(?=\W*[^\W\d_a-zäöüß])"
    r"|(?<=[)\"'”“»€%!?][.!?])\s+(?=[A-ZÄÖÜ])"
    r"|(?<=\d\d\d[.!?])\s+(?=[A-ZÄÖÜ])|(?<=[:A-Z-]\d\d[.!?])\s+(?=[A-ZÄÖÜ])|(?<=[A-Z-]\d[.!?])\s+(?=[A-ZÄÖÜ])"
)
# A line that was broken for its length goes on in the next.
_WRAPPED = re.compile(r"\n(?=[a-zäöüß])|(?<=[^.!?:;\n]{60})(?<=[^.!?:;])\n(?=[^\W_])")
_BULLET = re.compile(r"^\s*(?:[-*•+>]\s+)+")
_EMPHASIS = re.compile(r"\*\*|__|`|(?<!\w)[*_](?=\w)|(?<=[\w.!?])[*_](?!\w)")
_CELLS = re.compile(r"\s*\|[\s|]*")


def sentences(text: str) -> list[str]:
    """The lines and sentences of a text, without Markdown's marks of lists, tables and emphasis.

    >>> sentences("- **Open** on Mondays.\\n- Ask Dr. Berg, please. She knows.\\n| E11 | is empty |")
    ['Open on Mondays.', 'Ask Dr. Berg, please.', 'She knows.', 'E11, is empty']
    """
    found = (_plain(part) for part in _END.split(_WRAPPED.sub(" ", text)) if part)
    return [part for part in found if any(c.isalnum() for c in part)]


def _plain(part: str) -> str:
    cells = _CELLS.sub(", ", _EMPHASIS.sub("", _BULLET.sub("", part)))
    return " ".join(cells.removeprefix(", ").removesuffix(", ").split())


def snippet(text: str, query: str, characters: int, *, title: str = "") -> str:
    """The sentences in which the query's words are found, in their order; others as well where most words are missing.

    Sentences that hold as many of them as the best does are all shown: which of them is meant, the words do not tell.
    title: what the text is of; its words are what the whole text is about, and tell no sentence from another. So is a
    first line that is no sentence.

    >>> snippet("We are a small house. Breakfast is at eight. The key is at the desk.", "When is breakfast", 60)
    'Breakfast is at eight.'
    """
    parts = [(part, set(terms(part))) for part in sentences(text)]
    if len(parts) > 1 and _is_heading(parts[0][0]):
        title = f"{title} {parts.pop(0)[0]}"
    asked = set(terms(query))
    wanted = asked.difference(terms(title)) or asked
    most = max((len(wanted & found) for _, found in parts), default=0)
    missing, left = set(wanted), characters
    chosen: list[int] = []
    while waiting := [i for i, (part, _) in enumerate(parts) if i not in chosen and (len(part) <= left or not chosen)]:
        best = max(waiting, key=lambda at: (len(missing & parts[at][1]), len(asked & parts[at][1]), -at))
        text, found = parts[best]
        surely = 2 * len(missing) <= len(wanted)
        if chosen and surely and not missing & found and len(wanted & found) < most:
            break
        chosen.append(best)
        missing -= found
        left -= len(text) + 3
    joined = ""
    for at in sorted(chosen):
        joined += (" " if joined.endswith((".", "!", "?")) else " / ") * bool(joined) + parts[at][0]
    return joined if len(joined) <= characters else joined[: characters - 1].rsplit(" ", 1)[0] + "…"


def _is_heading(line: str) -> bool:
    return line[-1].isalnum() and ":" not in line and not any(c.isdigit() for c in line)
