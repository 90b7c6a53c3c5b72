"""Which blocks are shared, with whom, and which go first: the books alone, without a network."""

from __future__ import annotations

from denken.engine.cache import Blocks
from denken.engine.sequence import Endings, Sequence
from denken.types import SamplingParams


def sequence(*ids: int) -> Sequence:
    return Sequence(0, list(ids), SamplingParams(), 100, Endings(frozenset()), 0)


def compute(blocks: Blocks, subject: Sequence) -> Sequence:
    """What a step does that computes all ids that are left."""
    blocks.extend_from_known(subject)
    assert blocks.grow(subject, subject.pending)
    blocks.remember(subject, subject.pending)
    subject.computed = len(subject.ids)
    return subject


def test_full_blocks_are_shared_and_the_last_id_is_always_computed() -> None:
    blocks = Blocks(8, 2)
    first = compute(blocks, sequence(1, 2, 3, 4))
    second = sequence(1, 2, 3, 4)
    blocks.extend_from_known(second)
    assert (second.blocks, second.computed) == (first.blocks[:1], 2)
    longer = sequence(1, 2, 3, 4, 5)
    blocks.extend_from_known(longer)
    assert (longer.blocks, longer.computed) == (first.blocks, 4)


def test_equal_ids_after_different_beginnings_are_not_shared() -> None:
    blocks = Blocks(8, 2)
    compute(blocks, sequence(1, 2, 3, 4, 0))
    other = sequence(9, 2, 3, 4, 0)
    blocks.extend_from_known(other)
    assert other.blocks == []
    compute(blocks, other)
    again = sequence(9, 2, 3, 4, 0)
    blocks.extend_from_known(again)
    assert again.blocks == other.blocks[:2]


def test_ids_that_hash_alike_are_told_apart() -> None:
    """In Python hash(-1) == hash(-2), so these two beginnings have equal hashes and unequal content."""
    assert hash((0, (-1, 5))) == hash((0, (-2, 5)))
    blocks = Blocks(8, 2)
    compute(blocks, sequence(-1, 5, 7))
    twin = sequence(-2, 5, 7)
    blocks.extend_from_known(twin)
    assert twin.blocks == []


def test_a_freed_block_stays_known_until_it_is_needed_and_the_longest_unused_goes_first() -> None:
    blocks = Blocks(4, 2)
    old, young = compute(blocks, sequence(1, 2, 0)), compute(blocks, sequence(3, 4, 0))
    blocks.release(old)
    blocks.release(young)
    assert blocks.free == 4
    # The two half-filled blocks are of no use to anyone and are taken first, then the old beginning.
    newest = sequence(5, 6, 7, 8, 0)
    assert blocks.grow(newest, 5)
    for ids, known in (((1, 2, 9), 0), ((3, 4, 9), 2)):
        reader = sequence(*ids)
        blocks.extend_from_known(reader)
        assert reader.computed == known


def test_a_text_loses_its_end_before_its_beginning() -> None:
    blocks = Blocks(3, 2)
    blocks.release(compute(blocks, sequence(1, 2, 3, 4, 5, 6)))
    compute(blocks, sequence(9))
    reader = sequence(1, 2, 3, 4, 5, 6, 7)
    blocks.extend_from_known(reader)
    assert reader.computed == 4


def test_a_shared_block_is_free_only_after_its_last_reader() -> None:
    blocks = Blocks(4, 2)
    first = compute(blocks, sequence(1, 2, 0))
    second = compute(blocks, sequence(1, 2, 5))
    assert blocks.free == 1
    blocks.release(first)
    assert blocks.free == 2
    blocks.release(second)
    assert blocks.free == 4


def test_growing_beyond_the_cache_changes_nothing() -> None:
    blocks = Blocks(2, 2)
    subject = sequence(1, 2, 3, 4, 5)
    assert not blocks.grow(subject, 5)
    assert (subject.blocks, blocks.free) == ([], 2)


def test_after_forgetting_nothing_is_shared() -> None:
    blocks = Blocks(4, 2)
    blocks.release(compute(blocks, sequence(1, 2, 0)))
    blocks.forget_all()
    reader = sequence(1, 2, 0)
    blocks.extend_from_known(reader)
    assert reader.blocks == []
    assert blocks.grow(reader, 3)


def test_without_reuse_nothing_is_remembered() -> None:
    blocks = Blocks(4, 2, reuse=False)
    blocks.release(compute(blocks, sequence(1, 2, 0)))
    reader = sequence(1, 2, 0)
    blocks.extend_from_known(reader)
    assert reader.blocks == []
