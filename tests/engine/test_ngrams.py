"""What a network is known to say: counted right, kept in a file that is not trusted, guessed, and never believed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy
import pytest
import torch
from small_models import tiny_model

from denken.engine import ngrams
from denken.engine.counting import counted, hashes
from denken.engine.engine import Engine
from denken.engine.ngrams import FARTHEST, KNOWN, KNOWN_SHAPES, ORDERS, Ngrams, salt
from denken.engine.speculate import Guesses, Speculation
from denken.errors import CheckpointError
from denken.model import tensorfile
from denken.types import SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=60)


class Eager(Speculation):
    """As if one more id in a step cost little, whatever the clock says."""

    def _worth(self, running: int) -> float:
        return 0.1


def followed_by(table: Ngrams, *context: int) -> tuple[int, int, int] | None:
    """What the table says follows, and both degrees."""
    return _at(table, hash(context))


def follows_shape(table: Ngrams, *classes: int) -> tuple[int, int, int] | None:
    return _at(table, hash(classes) ^ salt(KNOWN_SHAPES))


def _at(table: Ngrams, context: int) -> tuple[int, int, int] | None:
    (places,) = numpy.nonzero(table.contexts_N == context)
    if not len(places):
        return None
    return int(table.ids_N[places[0]]), int(table.hits_N[places[0]]), int(table.misses_N[places[0]])


def test_what_followed_is_counted_and_what_a_shorter_context_says_is_not_said_twice() -> None:
    # Behind (7, 8) came 9 as often as 5, but behind (6, 7, 8) always 5.
    texts = [([1, 7, 8, 9], 1), ([2, 7, 8, 9], 1), ([3, 7, 8, 9], 1), *[([6, 7, 8, 5], 1)] * 3]
    table = counted(texts, least=3)
    assert followed_by(table, 7, 8) in ((9, 3, 6), (5, 3, 6))
    assert followed_by(table, 6, 7, 8) == (5, 3, 0)
    assert followed_by(table, 6, 7) == (8, 3, 0)
    # Once only, each of them.
    assert followed_by(table, 1, 7, 8) is None
    # A longer one that always agrees with a sure shorter one is left out.
    told = counted([([4, 1, 2, 3], 1)] * 5, least=3)
    assert followed_by(told, 1, 2) == (3, 4, 0)
    assert followed_by(told, 4, 1, 2) is None


def test_shapes_are_counted_as_the_id_that_follows_or_the_one_that_stands_so_far_back() -> None:
    # Ids from 10 on are digits; behind two of them and a 1 comes the first of them again, then a 2.
    draw = random.Random(6)
    classes = [min(id, 10) for id in range(90)]
    texts = []
    for _ in range(40):
        first, second = (draw.randrange(10, 90) for _ in range(2))
        texts.append(([3, first, second, 1, first, 2], 1))
    table = counted(texts, classes)
    assert follows_shape(table, 3, 10, 10, 1) == (-3, 6, 0)
    assert follows_shape(table, 10, 10, 1, 10) == (2, 6, 0)
    # What its shape says is not said again.
    assert followed_by(table, 1) is None
    assert not any(len(context) and followed_by(table, *context) for context in ([1, id] for id in range(10, 90)))
    guesses = Guesses(1 << 10, table)
    assert guesses.known == (KNOWN, KNOWN_SHAPES)
    assert guesses.guess(guesses.known, [3, 77, 78, 1])[0] == 77
    assert guesses.guess(guesses.known, [3, 77, 78, 1, 77])[0] == 2
    # Nothing stands so far back; and shapes nobody counted are not asked.
    assert Guesses(1 << 10, counted(texts)).known == (KNOWN,)
    assert Guesses(1 << 10).known == ()
    assert counted([([3, 95, 1], 1)], classes, least=1).classes_V.tolist() == [*classes, *range(90, 96)]


def test_an_id_that_would_stand_before_the_text_is_not_guessed() -> None:
    context = hash((1,)) ^ salt(KNOWN_SHAPES)
    numbers = (numpy.array([x]) for x in (context, -2, 5, 0))
    guesses = Guesses(1 << 10, Ngrams(*numbers, numpy.arange(9)))
    assert guesses.guess((KNOWN_SHAPES,), [1]) == (0, 0.0)
    for count in range(1, 40):
        guesses.learn((KNOWN_SHAPES,), [1], 4)
        assert guesses.chance(guesses._kind(KNOWN_SHAPES, 0, 0, guesses._slot(KNOWN_SHAPES, context))) == 2 / (
            2 + count
        )


def test_prompts_are_looked_back_at_and_not_counted() -> None:
    table = counted([([5, 6, 7, 8, 9], 4)] * 8)
    assert followed_by(table, 7, 8) == (9, 4, 0)
    assert followed_by(table, 6, 7) is None
    assert len(counted([]).ids_N) == 0


def test_hashes_are_those_of_tuples() -> None:
    draw = random.Random(3)
    ids = numpy.array([draw.randrange(1 << 17) for _ in range(200)])
    places = numpy.arange(6, 200)
    for order in ORDERS:
        found = hashes(ids, places, order)
        assert found.tolist() == [hash(tuple(ids[place - order : place].tolist())) for place in places]


def test_a_table_is_written_and_read_and_found_at_its_slots(tmp_path: Path) -> None:
    draw = random.Random(1)
    texts = [([draw.randrange(4) for _ in range(400)], 0) for _ in range(5)]
    table = counted(texts, least=2)
    assert len(table.ids_N) > 100
    ngrams.write(tmp_path / ngrams.FILE, table)
    assert [path.name for path in tmp_path.iterdir()] == [ngrams.FILE]
    again = ngrams.find(tmp_path, 9)
    assert again is not None
    for name in ("contexts_N", "ids_N", "hits_N", "misses_N"):
        assert numpy.array_equal(getattr(again, name), getattr(table, name))
    guesses, found = Guesses(1 << 10, again), 0
    for place in range(6, 400):
        before = texts[0][0][place - 6 : place]
        known = [said for order in ORDERS if (said := followed_by(table, *before[-order:])) is not None]
        found += guesses.guess((KNOWN,), before)[0] == known[0][0]
    # Some give way to others at the same slot.
    assert found > 330
    assert ngrams.find(tmp_path / "elsewhere", 9) is None


def test_tables_that_are_damaged_or_another_networks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / ngrams.FILE
    ngrams.write(path, counted([([4, 1, 2, 3], 1)] * 8))
    with pytest.raises(CheckpointError, match="ids that this network does not have"):
        ngrams.read(path, 3)
    ngrams.write(path, counted([([4, 1, 2, 3], 1)] * 8, range(9)))
    assert ngrams.read(path, 9).classes_V.tolist() == list(range(9))
    # A network may have more ids than the tokenizer whose classes these are.
    assert ngrams.read(path, 12).classes_V.tolist() == list(range(12))
    with pytest.raises(CheckpointError, match="ids that this network does not have"):
        ngrams.read(path, 8)
    contexts, said = torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int32)
    for tensors in (
        {"contexts": contexts},
        {"contexts": contexts, "followed_by": said[:3]},
        {"contexts": contexts, "followed_by": said.long()},
        {"contexts": contexts.reshape(2, 2), "followed_by": said},
        {"contexts": contexts, "followed_by": said, "more": said},
        {"contexts": contexts, "followed_by": said, "classes": said.long()},
    ):
        tensorfile.write(path, tensors, {})
        with pytest.raises(CheckpointError, match="denken draft"):
            ngrams.read(path, 100)
    for tensors in (
        {"contexts": contexts, "followed_by": said - (FARTHEST + 1 << 6)},
        {"contexts": contexts, "followed_by": said, "classes": said - 1},
        {"contexts": contexts, "followed_by": said, "classes": said + 100},
    ):
        tensorfile.write(path, tensors, {})
        with pytest.raises(CheckpointError, match="ids that this network does not have"):
            ngrams.read(path, 100)
    # Without shapes.
    tensorfile.write(path, {"contexts": contexts, "followed_by": said}, {})
    assert not len(ngrams.read(path, 100).classes_V)
    tensorfile.write(path, {"contexts": contexts, "followed_by": said}, {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError):
        ngrams.read(path, 100)


@pytest.mark.parametrize("ahead", [True, False])
def test_what_is_known_is_guessed_from_the_first_text_on_and_nothing_else_is_said(ahead: bool) -> None:
    model = tiny_model()
    draw = random.Random(2)
    prompts = [[draw.randrange(3, 101) for _ in range(12)] for _ in range(8)]

    def engine(speculation: Speculation | None) -> Engine:
        return Engine(model, eos_ids=[1], cache_tokens=4096, block_size=4, speculation=speculation, ahead=ahead)

    plain = engine(None)(prompts, GREEDY)
    texts = [([*prompt, *said.ids], len(prompt)) for prompt, said in zip(prompts, plain, strict=True)]
    known, blank = Eager(known=counted(texts, least=1)), Eager()
    for speculation in (known, blank):
        found = [engine(speculation)([prompt], GREEDY)[0].ids for prompt in prompts]
        assert found == [said.ids for said in plain]
    assert known.accepted > 0.7 * sum(len(said.ids) for said in plain)
    assert known.accepted > blank.accepted
    before = list(known._guesses._tags[1 << 19 :])
    # Tables of other things do no harm, and what is said does not change them.
    wrong = Eager(known=counted([([*ids[:12], *[(id + 1) % 101 for id in ids[12:]]], 12) for ids, _ in texts], least=1))
    assert [engine(wrong)([prompt], GREEDY)[0].ids for prompt in prompts] == [said.ids for said in plain]
    assert list(known._guesses._tags[1 << 19 :]) == before
