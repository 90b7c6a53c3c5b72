"""What a conversation is called: the heading or the first sentence of its first answer, never anything of a thought.

It is made of what was said already, so that no model is asked and nobody waits. Where the answer alone would say
nothing ("391"), the question's words go before it.
"""

from __future__ import annotations

import re

from denken.search.citations import resolved

LONGEST = 60
# An answer with fewer letters than this is no title by itself.
LEAST_LETTERS = 8

_FENCE = re.compile(r"^(`{3,}|~{3,}).*?(^\1|\Z)", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^ {0,3}#{1,6}\s+(\S.*?)\s*#*\s*$", re.MULTILINE)
_BOLD_LINE = re.compile(r"\A\s*(?:\*\*|__)([^*_\n]+)(?:\*\*|__)\s*$", re.MULTILINE)
_SENTENCE = re.compile(r".+?[.!?:](?=[\s\"'»”’)*_]|$)|.+", re.DOTALL)
_MATHS = re.compile(r"\$\$(.*?)\$\$|\\\[(.*?)\\\]|\\\((.*?)\\\)|\$([^$\n]+)\$", re.DOTALL)
_COMMANDS = {
    r"\\(?:boxed|text|mathbf|mathrm|operatorname)\s*\{([^{}]*)\}": r"\1",
    r"\\(?:times|cdot)\b": "×",
    r"\\d?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}": r"\1/\2",
    r"\\[a-zA-Z]+\s?|[{}]": "",
}


def title(answer: str, question: str) -> str:
    """At most `LONGEST` characters, without Markdown and citations; "" where neither says anything.

    >>> title("391", "17 mal 23?")
    '17 mal 23: 391'
    >>> title("# The **Kiel** canal\\n\\nIt is long [citation:2].", "Tell me of the canal")
    'The Kiel canal'
    """
    said = _FENCE.sub(" ", answer[:20_000])
    heading = _HEADING.search(said) if said.lstrip().startswith("#") else _BOLD_LINE.match(said)
    first = heading[1] if heading else next(iter(said.strip().split("\n\n")), "")
    told = _plain(first)
    if not heading:
        told = (_SENTENCE.match(told) or [""])[0]
    told = told.rstrip(" .:;,")
    if sum(map(str.isalpha, told)) >= LEAST_LETTERS:
        return _cut(told, LONGEST)
    asked = (_SENTENCE.match(_plain(question[:2000])) or [""])[0].rstrip(" .?!:;,")
    if not told:
        return _cut(asked, LONGEST)
    told = _cut(told, LONGEST // 2)
    return f"{_cut(asked, LONGEST - len(told) - 2)}: {told}" if asked else told


def _plain(text: str) -> str:
    """Markdown as it reads, in one line."""
    text = resolved(text, ())
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = _MATHS.sub(lambda found: _formula(next(part for part in found.groups() if part is not None)), text)
    text = re.sub(r"\\boxed\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"^\s*(?:[-*+]|\d{1,3}[.)]|>|#{1,6})\s+", "", text, flags=re.MULTILINE)
    text = re.sub(r"(\*\*|__|`|~~)", "", text)
    text = re.sub(r"(?<!\w)[*_](?=\S)|(?<=\S)[*_](?!\w)", "", text)
    text = re.sub(r"<[^<>\n]{0,200}>", "", text)
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _formula(text: str) -> str:
    for pattern, plain in _COMMANDS.items():
        text = re.sub(pattern, plain, text)
    return text


def _cut(text: str, longest: int) -> str:
    """At a word, where there is one."""
    if len(text) <= longest:
        return text
    kept = text[: longest - 1]
    if not text[longest - 1].isspace() and " " in kept[longest // 2 :]:
        kept = kept.rpartition(" ")[0]
    return kept.rstrip(" ,;:-(") + "…"
