"""Between two stretches of a thought: which searches are looked up, what fits, where a stretch ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denken.chat.searching import (
    EMPTY,
    ENOUGH,
    LEAST_INFORMATION,
    MOST_INFORMATION,
    MOST_SEARCHES,
    Searches,
    fitting,
    most_found,
    up_to_search,
)
from denken.chat.template import information_ids
from denken.tokenizer import Tokenizer
from small_vocabulary import CONTROL_NAMES, write_tokenizer


def test_the_first_four_are_looked_up_and_empty_ones_count(tokenizer: Tokenizer) -> None:
    searches = Searches(tokenizer, 1000)
    assert [searches.instead(query, [1]) for query in ("a", "", "b", "c", "d")] == [None, EMPTY, None, None, ENOUGH]
    begun, told = searches.go_on([1], ENOUGH)
    assert (begun, told) == ((1,), information_ids(ENOUGH, tokenizer))
    assert searches.instead("e", [1]) == ENOUGH
    assert searches.go_on([1], ENOUGH) == ((1,), ()), "told once, the thought is over"


def test_without_room_nothing_is_looked_up(tokenizer: Tokenizer) -> None:
    context = 2 * LEAST_INFORMATION + 10
    searches = Searches(tokenizer, context)
    assert searches.instead("a", [1] * 10) is None
    assert searches.instead("a", [1] * 11) == ENOUGH
    assert searches.go_on([1] * 11, "x" * 200) == ((1,) * 11, ())
    _, told = searches.go_on([1] * 10, "x" * 200)
    assert 0 < len(told) <= LEAST_INFORMATION


def test_all_that_is_found_is_no_more_than_was_reckoned_with(tokenizer: Tokenizer) -> None:
    for context, prompt in ((400, 100), (2048, 30), (50_000, 5_000)):
        searches, ids, found = Searches(tokenizer, context), [1] * prompt, 0
        for _ in range(MOST_SEARCHES + 2):
            searches.instead("a", ids)
            begun, told = searches.go_on(ids, "x" * 4000)
            ids, found = [*begun, *told], found + len(told)
        assert 0 < found <= most_found(context, prompt) <= MOST_INFORMATION * (MOST_SEARCHES + 1)


@settings(max_examples=60, deadline=None)
@given(body=st.text(max_size=120), room=st.integers(0, 160))
def test_what_does_not_fit_is_cut_at_its_end(tokenizer: Tokenizer, body: str, room: int) -> None:
    ids = fitting(body, tokenizer, room)
    whole = information_ids(body, tokenizer)
    assert len(ids) <= room
    if len(whole) <= room:
        assert ids == whole
    elif ids:
        text, everything = (tokenizer.decode(each) for each in (ids, whole))
        assert everything.startswith(text.rstrip("\n").removesuffix("…"))


@pytest.mark.parametrize("last", ["search>", "search>\n", "search>é and on", ">\n\n"])
def test_what_an_id_says_behind_the_tag_is_spelt_away(tmp_path: Path, last: str) -> None:
    control = [name for name in CONTROL_NAMES if "search" not in name]
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path, words=[last], control=control))
    (straddling,) = (id_ for id_ in range(tokenizer.vocab_size) if tokenizer.token_bytes(id_) == last.encode())
    before = tokenizer.encode("é<search>x</search>".removesuffix(last.rpartition(">")[0] + ">"))
    assert tokenizer.decode(up_to_search([*before, straddling], tokenizer)) == "é<search>x</search>"
    assert up_to_search(before, tokenizer) == tuple(before)
