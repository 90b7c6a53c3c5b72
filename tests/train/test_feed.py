"""Lanes that other processes pack give what a lane packed here gives, and go on where they were."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise

import pytest
import torch

from denken.errors import ConfigError
from denken.tokenizer import Tokenizer
from denken.train.batch import Batch, Packer
from denken.train.data import documents
from denken.train.feed import Ahead, Reader, Work, fresh, joined
from denken.train.folder import BUNDLED
from denken.train.loss import IGNORE

SOURCES = {"sources": [{"task": "chain_sum"}, {"task": "plain:sums"}]}
WIDTH, MICRO = 256, 512


def work(lane: int = 0, lanes: int = 2) -> Work:
    place = (SOURCES, str(BUNDLED), 3, lane, lanes, (WIDTH,), MICRO, 8)
    return Work(*place, names=("chain_sum", "plain:sums"), state=fresh(0))


def packed_here(lane: int = 0, lanes: int = 2) -> Packer:
    stream = documents(SOURCES, Tokenizer.load(BUNDLED), seed=3, start=lane, stride=lanes)
    return Packer(stream, (WIDTH,), MICRO, open_rows=8)


def same(one: Batch, other: Batch) -> bool:
    tensors = ("ids_BT", "targets_BT", "positions_BT", "segments_BT")
    names = [[batch.sources[i] for i in batch.sources_BT[batch.segments_BT >= 0]] for batch in (one, other)]
    return (
        all(torch.equal(getattr(one, name).long(), getattr(other, name)) for name in tensors)
        and names[0] == names[1]
        and (one.tokens, one.context) == (other.tokens, other.context)
    )


def test_a_reader_gives_what_a_packer_gives_and_goes_on_after_a_restart() -> None:
    expected = list(islice(packed_here(), 5))
    reader = Reader(work())
    try:
        assert all(same(next(reader), batch) for batch in expected[:3])
        base, skip = reader.mark()
        assert skip == 3
        reader.restore({**base, "skip": skip})
        assert same(next(reader), expected[3])
    finally:
        reader.close()


def test_ahead_joins_lanes_and_its_state_is_that_of_the_step_taken() -> None:
    ahead = Ahead({lane: Reader(work(lane)) for lane in range(2)}, 1, 2 * MICRO, torch.device("cpu"))
    try:
        (first,) = ahead.take()
        assert first.ids_BT.shape == (4, WIDTH)
        assert torch.equal(first.ids_BT[:2], next(packed_here(0)).ids_BT)
        assert torch.equal(first.ids_BT[2:], next(packed_here(1)).ids_BT)
        (second,) = ahead.take()
        states = ahead.state()
        assert [states[lane]["skip"] for lane in range(2)] == [2, 2]
    finally:
        ahead.close()
    lane = packed_here(1)
    next(lane)
    assert torch.equal(second.ids_BT[2:], next(lane).ids_BT)


def test_a_batch_for_a_gpu_knows_its_targets_and_where_documents_begin() -> None:
    batch = next(packed_here())
    there = batch.on(torch.device("cpu"))
    assert there.kept_N is not None
    assert there.starts_S is not None
    assert torch.equal(there.kept_N, (batch.targets_BT.flatten() != IGNORE).nonzero()[:, 0])
    starts = there.starts_S.unique().tolist()
    assert starts[0] == 0
    assert starts[-1] == batch.ids_BT.numel()
    flat = batch.segments_BT.flatten()
    for begin, end in pairwise(starts):
        assert len(flat[begin:end].unique()) == 1
        assert begin // WIDTH == (end - 1) // WIDTH


def test_joined_batches_keep_to_the_slots_that_are_given() -> None:
    batches = list(islice(packed_here(), 5))
    assert [len(batch.ids_BT) for batch in joined(batches, 2 * MICRO)] == [4, 4, 2]


def test_what_goes_wrong_in_a_reader_is_said_here() -> None:
    reader = Reader(replace(work(), sources={"sources": [{"task": "zebra_crossing"}]}))
    with pytest.raises(ConfigError, match="zebra_crossing"):
        next(reader)
    reader.close()
