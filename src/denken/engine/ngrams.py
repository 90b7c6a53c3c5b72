"""What a network is known to say: which id follows which few, counted beforehand in texts of its own.

A network that was trained for some tasks writes the same phrases again and again, and most of what it says there can
be read from a table: an n-gram draft (Leviathan et al. 2023, arXiv 2211.17192, drafts with bigrams; He et al. 2023,
arXiv 2311.08252, "REST", from a store of texts). `speculate.py` guesses from it; what is guessed wrong costs time and
nothing else. The table is a file beside the weights, `denken draft` makes it, and without one an engine guesses from
what it has said itself.

There are two kinds of contexts. One is the last ids as they are. The other is their shape: ids of a class, as digits
are, count as the same there (class-based n-grams: Brown et al. 1992), and more of them are looked back at. What follows
a shape is an id, or the one that stands so many places back: behind "=157r0\n" comes the 1 that stands six places
back, whatever the digits are. So what a network writes down again, as thoughts do at every step, is guessed in numbers
that nobody has counted. `counting.py` counts both.

A context is told by the hash of its ids, as CPython has it of a tuple: 64 bits, so that another one is taken for it
once in 10^14 times. Of each the file keeps what followed most often, and in eight degrees each how often that was seen
and how often something else followed.
"""

# N = contexts, S = slots, V = vocabulary

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy
import torch
from numpy.typing import NDArray

from denken.errors import CheckpointError
from denken.model import tensorfile

# In the format of safetensors; called otherwise, for a folder's *.safetensors are its weights.
FILE = "draft.ngrams"
# How many ids before a place it is looked up by, the longest first: as they are, and by their shape.
ORDERS = (6, 4, 3, 2)
SHAPES = (32, 24, 16, 12, 8, 4)
# From how far back an id is said again.
FARTHEST = 64
# What stands in the place of a text's number for what a network is known to say: behind ids, and behind shapes.
KNOWN = -(1 << 63)
KNOWN_SHAPES = KNOWN + 1
# From how often, and from what share of others on, the next degree begins.
OFTEN = (2, 3, 5, 9, 17, 65)
OTHERS = (1e-9, 0.03, 0.08, 0.16, 0.3, 0.5, 0.7)
# More contexts than this are no table that would be of use.
MOST = 1 << 24

Numbers = NDArray[numpy.int64]
Kind = TypeVar("Kind", bound=numpy.generic)


@dataclass(frozen=True, slots=True)
class Ngrams:
    """contexts_N: their hashes, ascending. ids_N: what follows; below zero, the id that stands so far back. hits_N,
    misses_N: degrees of 0 to 7. classes_V: of each id the class that it counts as in shapes, told by one of its ids;
    empty where no shapes were counted."""

    contexts_N: Numbers
    ids_N: Numbers
    hits_N: Numbers
    misses_N: Numbers
    classes_V: Numbers

    def slots(self) -> tuple[Numbers, NDArray[numpy.int32], NDArray[numpy.uint8], NDArray[numpy.uint8]]:
        """Each context at the slot that its hash's lowest bits say: hashes, ids and degrees. There are at least four
        slots a context; where two meet, the one that was seen more often stays."""
        count = 1 << max(1, (4 * len(self.contexts_N) - 1).bit_length())
        order = numpy.argsort(self.hits_N, kind="stable")
        held_by_S = numpy.full(count, -1)
        held_by_S[self.contexts_N[order] & (count - 1)] = order
        held_S = held_by_S >= 0

        def laid(numbers_N: Numbers, kind: type[Kind]) -> NDArray[Kind]:
            found_S = numpy.zeros(count, dtype=kind)
            found_S[held_S] = numbers_N[held_by_S[held_S]]
            return found_S

        return (
            laid(self.contexts_N, numpy.int64),
            laid(self.ids_N, numpy.int32),
            laid(self.hits_N, numpy.uint8),
            laid(self.misses_N, numpy.uint8),
        )


def extended(classes_V: Numbers, vocabulary: int) -> Numbers:
    """Classes of so many ids at least; those that had none are alone in theirs. (A network may have more ids than its
    tokenizer.)"""
    return numpy.append(classes_V, numpy.arange(len(classes_V), max(vocabulary, len(classes_V))))


def salt(text: int) -> int:
    """What tells the same context in different texts apart."""
    return text * 0x9E3779B97F4A7C15 & 0x7FFFFFFFFFFFFFFF


def find(folder: Path, vocabulary: int) -> Ngrams | None:
    """The table of a folder's network, as `read`; None where the folder has none."""
    path = folder / FILE
    return read(path, vocabulary) if path.exists() else None


def write(path: Path, table: Ngrams) -> None:
    """Twelve bytes a context: its hash, and what followed with both degrees in one number. Whole or not at all."""
    said_N = table.ids_N << 6 | table.hits_N << 3 | table.misses_N
    tensors = {
        "contexts": torch.from_numpy(table.contexts_N),
        "followed_by": torch.from_numpy(said_N.astype(numpy.int32)),
    }
    if len(table.classes_V):
        tensors["classes"] = torch.from_numpy(table.classes_V.astype(numpy.int32))
    orders = {"orders": ",".join(map(str, ORDERS)), "shapes": ",".join(map(str, SHAPES))}
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        tensorfile.write(unfinished, tensors, {"format": "denken n-grams 2"} | orders)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def read(path: Path, vocabulary: int) -> Ngrams:
    """The table of a network with so many ids. CheckpointError where it is damaged, or of another network."""
    entries, _ = tensorfile.read_header(path)
    shapes = {name: (entry.dtype, entry.shape) for name, entry in entries.items()}
    count, classes = (entries[name].shape[:1] if name in entries else (0,) for name in ("contexts", "classes"))
    expected = {"contexts": ("I64", count), "followed_by": ("I32", count)}
    if "classes" in entries:
        expected["classes"] = ("I32", classes)
    if shapes != expected or count > (MOST,):
        raise CheckpointError(f"{path} is no table of n-grams; remove it, or make it anew with `denken draft`.")
    found = {name: tensor.numpy() for name, tensor in tensorfile.read_tensors(path, shapes)}
    said_N = found["followed_by"].astype(numpy.int64)
    classes_V = found.get("classes", numpy.zeros(0)).astype(numpy.int64)
    limits = ((said_N >> 6, -FARTHEST), (classes_V, 0))
    wrong = any(len(ids) and not least <= ids.min() <= ids.max() < vocabulary for ids, least in limits)
    if wrong or len(classes_V) > vocabulary:
        raise CheckpointError(
            f"{path} speaks of ids that this network does not have; make it anew with `denken draft`, or remove it."
        )
    if len(classes_V):
        classes_V = extended(classes_V, vocabulary)
    return Ngrams(found["contexts"], said_N >> 6, said_N >> 3 & 7, said_N & 7, classes_V)
