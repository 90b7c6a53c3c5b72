"""Packing: nothing is lost, nothing looks across documents, and a resumed packer goes on as if never stopped."""

import json
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from denken.errors import ConfigError
from denken.train.batch import Packer, Row, shift, to_batch
from denken.train.loss import IGNORE


@dataclass(frozen=True)
class Doc:
    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]
    source: str = "a"


def doc(length: int, first: int = 0, source: str = "a") -> Doc:
    return Doc(tuple(range(first, first + length)), (False,) + (True,) * (length - 1), source)


def test_inputs_and_targets_of_the_worked_example():
    assert shift(Doc((5, 6, 7, 8), (False, False, True, False))) == ([5, 6], [IGNORE, 7])


def test_a_document_without_targets_is_counted_not_packed():
    packer = Packer([Doc((5, 6), (True, False)), doc(5)], [4], 4)
    assert next(packer).tokens == 4
    assert packer.empty == 1


def test_a_document_longer_than_every_row_is_counted_not_cut():
    packer = Packer([doc(6), doc(5)], [4], 4)
    assert next(packer).ids_BT.tolist() == [[0, 1, 2, 3]]
    assert (packer.dropped, packer.cursor) == (1, 2)


def test_a_mask_of_another_length_is_an_error():
    with pytest.raises(ConfigError, match="3 ids and 2 mask entries"):
        shift(Doc((1, 2, 3), (True, True)))


def test_tensors_of_a_row_worked_by_hand():
    row = Row()
    row.add([7, 8], [8, 9], "b")
    row.add([4], [5], "a")
    batch = to_batch([row], 4)
    assert batch.ids_BT.tolist() == [[7, 8, 4, 0]]
    assert batch.targets_BT.tolist() == [[8, 9, 5, IGNORE]]
    assert batch.positions_BT.tolist() == [[0, 1, 0, 0]]
    assert batch.segments_BT.tolist() == [[0, 0, 1, -1]]
    assert [batch.sources[i] for i in batch.sources_BT[0, :3].tolist()] == ["b", "b", "a"]
    assert (batch.tokens, batch.context) == (3, 1 + 2 + 1)


def test_a_document_goes_to_the_smallest_width_that_holds_it():
    packer = Packer([doc(5), doc(9), doc(5), doc(9)], [4, 8], 8)
    assert [next(packer).ids_BT.shape for _ in range(2)] == [torch.Size([1, 8]), torch.Size([2, 4])]


def test_short_documents_fill_up_wider_rows():
    packer = Packer([doc(6), doc(4)], [4, 8], 8, open_rows=1)
    batch = next(packer)
    assert batch.ids_BT.shape == (1, 8)
    assert batch.segments_BT.tolist() == [[0] * 5 + [1] * 3]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(2, 20), min_size=1, max_size=60), st.integers(1, 4))
def test_every_target_comes_out_exactly_once(lengths: list[int], open_rows: int):
    documents = [doc(length, first=100 * i) for i, length in enumerate(lengths)]
    packer = Packer(documents, [8, 16], 32, open_rows=open_rows)
    seen: Counter[int] = Counter()
    for batch in packer.drain():
        learnt = batch.targets_BT != IGNORE
        assert (batch.segments_BT[learnt] >= 0).all()
        # Here each target is its input plus one, so a target of another document would show.
        assert torch.equal(batch.targets_BT[learnt], batch.ids_BT[learnt] + 1)
        assert torch.equal(batch.positions_BT[learnt], batch.ids_BT[learnt] % 100)
        seen.update(batch.targets_BT[learnt].tolist())
    expected = Counter(t for d in documents if len(d.ids) <= 17 for t in d.ids[1:])
    assert seen == expected
    assert packer.dropped == sum(length > 17 for length in lengths)


def test_a_restored_packer_goes_on_exactly():
    documents = [doc(2 + (7 * i) % 15, first=100 * i) for i in range(200)]
    straight = Packer(documents, [8, 16], 32, open_rows=3)
    for _ in range(9):
        next(straight)
    state = json.loads(json.dumps(straight.state()))
    resumed = Packer(documents[state["cursor"] :], [8, 16], 32, open_rows=3)
    resumed.restore(state)
    for _ in range(20):
        a, b = next(straight), next(resumed)
        assert torch.equal(a.ids_BT, b.ids_BT)
        assert torch.equal(a.segments_BT, b.segments_BT)
    assert straight.state() == resumed.state()


def test_the_end_of_the_documents_ends_the_batches():
    assert list(Packer([doc(3)], [8], 8)) == []
