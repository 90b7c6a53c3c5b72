"""Lanes that other processes pack give what a lane packed here gives, and go on where they were."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise
from multiprocessing import Pipe
from threading import Thread

import pytest
import torch

from denken.errors import ConfigError
from denken.tokenizer import Tokenizer
from denken.train import feed
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


@pytest.fixture
def nearby(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lanes are packed by threads in the place of processes, which take seconds to begin."""

    def begin(reader: Reader) -> None:
        reader._connection, theirs = Pipe(duplex=False)
        Thread(target=feed.read, args=(reader.work, theirs), daemon=True).start()

    monkeypatch.setattr(feed.signal, "signal", lambda *_: None)
    monkeypatch.setattr(feed.torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(Reader, "_begin", begin)
    monkeypatch.setattr(Reader, "close", lambda _: None)


def test_a_lane_of_another_process_goes_on_where_its_packer_was() -> None:
    expected = list(islice(packed_here(), 3))
    reader = Reader(work())
    reader.restore({**fresh(0), "skip": 2})
    try:
        assert same(next(reader), expected[2])
    finally:
        reader.close()


@pytest.mark.usefixtures("nearby")
def test_lanes_are_joined_and_their_state_is_that_of_the_step_taken() -> None:
    expected = [list(islice(packed_here(lane), 3)) for lane in range(2)]
    ahead = Ahead({lane: Reader(work(lane)) for lane in range(2)}, 1, 2 * MICRO, torch.device("cpu"))
    for step in range(2):
        (both,) = ahead.take()
        assert both.ids_BT.shape == (4, WIDTH)
        assert all(same(part, batches[step]) for part, batches in zip(_halves(both), expected, strict=True))
    states = ahead.state()
    ahead.close()
    assert [states[lane]["skip"] for lane in range(2)] == [2, 2]
    again = Reader(work(1))
    again.restore(states[1])
    assert same(next(again), expected[1][2])


def _halves(batch: Batch) -> list[Batch]:
    """What each of two lanes has given, as far as tensors tell; what is counted is counted anew."""
    names = ("ids_BT", "targets_BT", "positions_BT", "segments_BT", "sources_BT")
    parts = []
    for rows in (slice(0, 2), slice(2, 4)):
        tensors = {name: getattr(batch, name)[rows] for name in names}
        read = tensors["segments_BT"] >= 0
        seen = int((tensors["positions_BT"][read] + 1).sum())
        parts.append(replace(batch, **tensors, tokens=int(read.sum()), context=seen))
    assert sum(part.tokens for part in parts) == batch.tokens
    assert sum(part.context for part in parts) == batch.context
    return parts


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


@pytest.mark.usefixtures("nearby")
def test_what_goes_wrong_in_a_reader_is_said_here() -> None:
    reader = Reader(replace(work(), sources={"sources": [{"task": "zebra_crossing"}]}))
    with pytest.raises(ConfigError, match="zebra_crossing"):
        next(reader)
