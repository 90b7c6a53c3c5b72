"""A long text in passages of a few hundred characters: by headings, paragraphs and sentences, in that order.

A passage is what a search returns and a citation shows, so it should be understood alone: it keeps the heading that it
stands under. Headings are those of Markdown, which the converters write too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

CHARACTERS = 500

# Not after "3." and "z.", which end no sentence in German.
_SENTENCE_END = re.compile(r"(?<=[^\W\d]{2}[.!?…])\s+|(?<=[^\W\d]{2}[.!?…][\"'”“»)])\s+")


@dataclass(frozen=True, slots=True)
class Passage:
    """heading: what it stands under, "" where there is none."""

    heading: str
    text: str


def cut(text: str, characters: int = CHARACTERS) -> Iterator[Passage]:
    """The passages in their order, none longer than `characters`.

    >>> list(cut("# Harbour\\n\\nIt opens at six.\\n\\nIt closes at nine."))
    [Passage(heading='Harbour', text='It opens at six.\\nIt closes at nine.')]
    """
    heading, gathered = "", ""
    for block in _blocks(text):
        if (under := heading_of(block)) is not None:
            if gathered:
                yield Passage(heading, gathered)
            heading, gathered = under, ""
            continue
        for part in _parts(block, characters):
            if gathered and len(gathered) + len(part) + 1 > characters:
                yield Passage(heading, gathered)
                gathered = ""
            gathered = f"{gathered}\n{part}" if gathered else part
    if gathered:
        yield Passage(heading, gathered)


def heading_of(line: str) -> str | None:
    """What a heading of Markdown says; None for a line that is none.

    >>> heading_of("## Opening hours ##")
    'Opening hours'
    """
    said = line.lstrip("#")
    if not 0 < len(line) - len(said) <= 6 or not said.startswith((" ", "\t")) or "\n" in said:
        return None
    return said.strip(" \t#")[:200] or None


def _blocks(text: str) -> Iterator[str]:
    """Paragraphs, and headings on their own."""
    lines: list[str] = []
    for line in text.splitlines():
        line = line.strip()
        is_heading = heading_of(line) is not None
        if (not line or is_heading) and lines:
            yield "\n".join(lines)
            lines = []
        if is_heading:
            yield line
        elif line:
            lines.append(line)
    if lines:
        yield "\n".join(lines)


def _parts(block: str, characters: int) -> Iterator[str]:
    """A paragraph whole where it fits, else sentences put together as far as they do, else pieces of a sentence."""
    if len(block) <= characters:
        yield block
        return
    gathered = ""
    for sentence in _SENTENCE_END.split(block):
        for piece in _pieces(sentence, characters):
            if gathered and len(gathered) + len(piece) + 1 > characters:
                yield gathered
                gathered = ""
            gathered = f"{gathered} {piece}" if gathered else piece
    if gathered:
        yield gathered


def _pieces(sentence: str, characters: int) -> Iterator[str]:
    start = 0
    while len(sentence) - start > characters:
        space = max(sentence.rfind(mark, start + characters // 2, start + characters) for mark in " \n")
        end = space if space > 0 else start + characters
        yield sentence[start:end].strip()
        start = end
    if rest := sentence[start:].strip():
        yield rest
