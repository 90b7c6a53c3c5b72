"""Citations that resolve and citations that do not, in every form that models have been seen to write."""

from __future__ import annotations

import time

import pytest

from denken.search.citations import parts, resolved
from denken.search.found import Source

SOURCES = [Source(n, f"Title {n}", f"https://a.example/{n}", f"Excerpt {n}.") for n in (1, 3, 12)]


def shown(text: str) -> str:
    return resolved(text, SOURCES, lambda source: f"<{source.number}>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Six.", "Six."),
        ("Six [citation:1].", "Six <1>."),
        ("Six[citation:1].", "Six<1>."),
        ("Six [citation:3][citation:1].", "Six <3><1>."),
        ("Six [citation:3] [citation:1].", "Six <3> <1>."),
        ("Six [citation:1,3, 12].", "Six <1><3><12>."),
        ("Six [citation:1;3].", "Six <1><3>."),
        ("Six [citation:1, citation:3].", "Six <1><3>."),
        ("Six [citation: 3 ].", "Six <3>."),
        ("Six [Citation:3].", "Six <3>."),
        ("Six [citation 3].", "Six <3>."),
        ("Six [citations:1,3].", "Six <1><3>."),
        ("Six【citation:3】.", "Six<3>."),
        ("Six [citation:webpage 3].", "Six <3>."),
        ("Six [citation:1,1].", "Six <1>."),
        # What does not resolve is not there.
        ("Six [citation:2].", "Six."),
        ("Six [citation:0][citation:-1].", "Six."),
        ("Six [citation:1][citation:2].", "Six <1>."),
        ("Six [citation:1,2].", "Six <1>."),
        ("Six [citation:999999999999].", "Six."),
        ("Six [citation:X].", "Six."),
        ("Six [citation:].", "Six."),
        ("Six [citation].", "Six."),
        ("Six [citation:1-3].", "Six."),
        ("Six [citation:1.5].", "Six."),
        ("Six [citation:https://evil.example/].", "Six."),
        ("Six [citation:1", "Six <1>"),
        ("Six [citation:", "Six"),
        ("Six [citation", "Six"),
        # What is none is left.
        ("A [link](https://a.example/) and [1].", "A [link](https://a.example/) and [1]."),
        ("The word citation:3.", "The word citation:3."),
        ("[citationist]", "[citationist]"),
        ("Write `[citation:1]` so [citation:1].", "Write `[citation:1]` so <1>."),
        ("```\n[citation:1]\n```\n[citation:1]", "```\n[citation:1]\n```\n<1>"),
        ("[[citation:1]]", "[<1>]"),
        ("[citation:[citation:1]3]", "[citation:<1>3]"),
    ],
)
def test_every_citation_resolves_or_is_not_there(text, expected):
    assert shown(text) == expected


def test_the_parts_name_the_sources_themselves():
    assert list(parts("Six [citation:3].", SOURCES)) == ["Six", " ", SOURCES[1], "."]
    assert resolved("Six [citation:1,3].", SOURCES) == "Six [citation:1][citation:3]."
    assert resolved("Six [citation:1].", []) == "Six."


@pytest.mark.parametrize(
    "text", ["[citation:" * 50_000, "[citation:1]" * 20_000, "[" * 200_000, "[citation" + "," * 200_000]
)
def test_hostile_answers_take_no_time(text):
    began = time.monotonic()
    shown(text)
    assert time.monotonic() - began < 10
