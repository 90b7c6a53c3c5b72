"""`[citation:3]` in an answer: what it leads to, or nothing at all.

A citation that does not resolve to a source of the reply is not shown: neither a number that no source has, nor one
that is written wrongly. What models write besides the form that they are asked for is read as well: `[citation:3,5]`,
`[citation: 3]`, `【citation:3】`. Code is left as it is: a citation quoted there is no citation.

The page does the same while an answer streams; this is for what leaves the house otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from denken.chat.codespans import CodeSpans
from denken.search.found import Source

# The last part is one that was cut off at the end of an answer.
_CITATION = re.compile(r"[ \t]?[\[【]\s?citations?\b\s?:?([^\[\]【】\n]{0,60})(?:[\]】]|$)", re.IGNORECASE)
_NUMBER = re.compile(r"(?:(?:source|webpage|citation)s?\s?:?\s?)?#?(\d{1,6})", re.IGNORECASE)


def resolved(text: str, sources: Iterable[Source], show: Callable[[Source], str] | None = None) -> str:
    """The text with each citation as `show` has it, `[citation:3]` if absent, and without those that do not resolve.

    >>> source = Source(3, "Harbour", "https://a.example/", "It opens at six.")
    >>> resolved("At six [citation:3][citation:4]. [citation:x]", [source])
    'At six [citation:3].'
    >>> resolved("At six [citation:3].", [source], lambda source: f"[{source.number}]({source.url})")
    'At six [3](https://a.example/).'
    """
    written = show or (lambda source: f"[citation:{source.number}]")
    return "".join(part if isinstance(part, str) else written(part) for part in parts(text, sources))


def parts(text: str, sources: Iterable[Source]) -> Iterator[str | Source]:
    """The text in pieces, with the source of each citation where it stands."""
    known = {source.number: source for source in sources}
    code, at = CodeSpans(), 0
    for found in _CITATION.finditer(text):
        code.feed(text[at : found.start()])
        if code.inside():
            code.feed(found[0])
            yield text[at : found.end()]
        else:
            yield text[at : found.start()]
            cited = [known[number] for number in _numbers(found[1]) if number in known]
            if cited and found[0][0] in " \t":
                yield found[0][0]
            yield from cited
        at = found.end()
    yield text[at:]


def _numbers(said: str) -> list[int]:
    """The numbers of one citation, in their order; none where it says anything else."""
    given = [part.strip() for part in re.split(r"[,;、，&]", said)]
    found = [_NUMBER.fullmatch(part) for part in given]
    return list(dict.fromkeys(int(match[1]) for match in found if match)) if all(found) else []
