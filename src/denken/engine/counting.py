"""Counts what a network is known to say: a table as `ngrams.py` explains it, out of texts.

A context is left out where too little was seen of it, and where a shorter one, or its shape, says the same as surely.
"""

# N = contexts, T = ids of all texts, L = those of which one is counted, V = vocabulary

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy
from numpy.typing import NDArray

from denken.engine.ngrams import FARTHEST, KNOWN, KNOWN_SHAPES, OFTEN, ORDERS, OTHERS, SHAPES, Ngrams, extended, salt

# A context that was followed by the same so often is kept.
LEAST = 8

Numbers = NDArray[numpy.int64]
Flags = NDArray[numpy.bool_]
# Which contexts are told elsewhere already; of each, one of its places.
Told = Callable[["_Found", Numbers], Flags]


def counted(texts: Iterable[tuple[Sequence[int], int]], classes: Sequence[int] = (), least: int = LEAST) -> Ngrams:
    """What follows what in these texts.

    texts: ids, and from which on they were said; what stands before is looked back at, and not counted. classes: of
    each id of the vocabulary one that stands for all of its class; without them no shapes are counted.
    """
    none = numpy.zeros(0, dtype=numpy.int64)
    ids, before, said = [none], [none], [numpy.zeros(0, dtype=bool)]
    for text, start in texts:
        ids.append(numpy.asarray(text, dtype=numpy.int64))
        before.append(numpy.arange(len(text)))
        said.append(before[-1] >= start)
    ids_T, before_T, said_T = map(numpy.concatenate, (ids, before, said))
    classes_V = numpy.asarray(classes, dtype=numpy.int64)
    literally = _Contexts(ids_T, before_T, said_T, ids_T, ORDERS, salt(KNOWN))
    if not len(classes_V):
        return _joined(literally.followed(least), classes_V)
    classes_V = extended(classes_V, int(ids_T.max(initial=0)) + 1)
    by_shape = _Contexts(ids_T, before_T, said_T, classes_V[ids_T], SHAPES, salt(KNOWN_SHAPES), FARTHEST)
    shapes = by_shape.followed(least)

    def told(found: _Found, places_N: Numbers) -> Flags:
        said_N, misses_N = by_shape.asked(shapes, places_N)
        back_N = numpy.minimum(said_N, 0)
        said_N = numpy.where(back_N < 0, ids_T[places_N + back_N], said_N)
        return (said_N == found.said_N) & (misses_N <= found.misses_N)

    return _joined(literally.followed(least, told) + shapes, classes_V)


@dataclass(frozen=True, slots=True)
class _Found:
    """Contexts of one length, as in `Ngrams`."""

    order: int
    contexts_N: Numbers
    said_N: Numbers
    hits_N: Numbers
    misses_N: Numbers

    def kept(self, which_N: Flags) -> _Found:
        said_N, hits_N, misses_N = self.said_N[which_N], self.hits_N[which_N], self.misses_N[which_N]
        return _Found(self.order, self.contexts_N[which_N], said_N, hits_N, misses_N)


@dataclass(frozen=True, slots=True)
class _Contexts:
    """All texts one behind the other, and how contexts look.

    ids_T; before_T: how many of the same text stand before each; said_T: whether it is counted. seen_T: the ids as
    contexts have them; salt: what their hashes are told apart by; farthest: from how far back an id is said again.
    """

    ids_T: Numbers
    before_T: Numbers
    said_T: Flags
    seen_T: Numbers
    orders: tuple[int, ...]
    salt: int
    farthest: int = 0

    def followed(self, least: int, told: Told | None = None) -> list[_Found]:
        """What is kept of each length, the longest first."""
        kept: list[_Found] = []
        for order in reversed(self.orders):
            found, places_N = self._most_often(order, least)
            said_N, misses_N = self.asked(kept, places_N)
            told_N = (said_N == found.said_N) & (misses_N <= found.misses_N + 1)
            if told is not None:
                told_N |= told(found, places_N)
            kept.insert(0, found.kept(~told_N))
        return kept

    def asked(self, tables: Sequence[_Found], places_N: Numbers) -> tuple[Numbers, Numbers]:
        """What the longest context says that is known at each place, and its misses: a degree above all others where
        none is."""
        said_N, misses_N = numpy.zeros(len(places_N), dtype=numpy.int64), numpy.full(len(places_N), len(OTHERS) + 2)
        open_N = numpy.ones(len(places_N), dtype=bool)
        for table in tables:
            if not len(table.contexts_N):
                continue
            # Where too little stands before a place, those of the text before it are no context of this length.
            long_N = self.before_T[places_N] >= table.order
            hashes_N = self._hashes(numpy.maximum(places_N, table.order), table.order)
            at_N = numpy.searchsorted(table.contexts_N, hashes_N).clip(max=len(table.contexts_N) - 1)
            known_N = open_N & long_N & (table.contexts_N[at_N] == hashes_N)
            said_N = numpy.where(known_N, table.said_N[at_N], said_N)
            misses_N = numpy.where(known_N, table.misses_N[at_N], misses_N)
            open_N &= ~known_N
        return said_N, misses_N

    def _most_often(self, order: int, least: int) -> tuple[_Found, Numbers]:
        """What followed each context most often, and one of its places."""
        (places_L,) = numpy.nonzero(self.said_T & (self.before_T >= order))
        hashes_L = self._hashes(places_L, order)
        order_L = numpy.lexsort((self.ids_T[places_L], hashes_L))
        hashes_L, places_L = hashes_L[order_L], places_L[order_L]
        # Of contexts that are too rare no more is asked.
        lengths = _lengths(_begins(hashes_L), len(hashes_L))
        often_L = numpy.repeat(lengths >= least, lengths)
        hashes_L, places_L = hashes_L[often_L], places_L[often_L]
        next_L = self.ids_T[places_L]
        # Runs of the same context with the same id behind it, and the longest run of each context.
        contexts, runs = _begins(hashes_L), _begins(hashes_L, next_L)
        counts, totals = _lengths(runs, len(hashes_L)), _lengths(contexts, len(hashes_L))
        by_count = numpy.lexsort((counts, hashes_L[runs]))
        longest = by_count[numpy.searchsorted(runs, contexts + totals) - 1]
        best, said = counts[longest], next_L[runs[longest]]
        for back in range(1, self.farthest + 1 if len(contexts) else 1):
            same_L = (self.before_T[places_L] >= back) & (self.ids_T[places_L - back] == next_L)
            times = numpy.add.reduceat(same_L, contexts, dtype=numpy.int64)
            best, said = numpy.where(times > best, times, best), numpy.where(times > best, -back, said)
        hits = numpy.searchsorted(OFTEN, best, side="right") + 1
        misses = numpy.searchsorted(OTHERS, (totals - best) / totals, side="right")
        enough = best >= least
        found = _Found(order, hashes_L[contexts], said, hits, misses)
        return found.kept(enough), places_L[contexts][enough]

    def _hashes(self, places_L: Numbers, order: int) -> Numbers:
        return hashes(self.seen_T, places_L, order) ^ self.salt


def _begins(*columns_L: Numbers) -> Numbers:
    """Where a run of the same begins."""
    if not len(columns_L[0]):
        return numpy.zeros(0, dtype=numpy.int64)
    changes = numpy.any([numpy.diff(column_L) != 0 for column_L in columns_L], axis=0)
    return numpy.flatnonzero(numpy.append(True, changes))


def _lengths(begins: Numbers, end: int) -> Numbers:
    """Of each run its length, the last one's to the end."""
    return numpy.diff(numpy.append(begins, end))


def hashes(ids_T: Numbers, places_L: Numbers, order: int) -> Numbers:
    """The hash of the `order` ids before each place, as `hash` has it of their tuple."""
    one, two, five = (numpy.uint64(x) for x in (11400714785074694791, 14029467366897019727, 2870177450012600261))
    left, right = numpy.uint64(31), numpy.uint64(33)
    sums_L = numpy.full(len(places_L), five)
    for back in range(order, 0, -1):
        sums_L += ids_T[places_L - back].astype(numpy.uint64) * two
        sums_L = (sums_L << left | sums_L >> right) * one
    return (sums_L + (numpy.uint64(order) ^ five ^ numpy.uint64(3527539))).view(numpy.int64)


def _joined(tables: Sequence[_Found], classes_V: Numbers) -> Ngrams:
    columns = zip(*((x.contexts_N, x.said_N, x.hits_N, x.misses_N) for x in tables), strict=True)
    contexts_N, said_N, hits_N, misses_N = (numpy.concatenate(column) for column in columns)
    order_N = numpy.argsort(contexts_N, kind="stable")
    return Ngrams(contexts_N[order_N], said_N[order_N], hits_N[order_N], misses_N[order_N], classes_V)
