"""What a merge keeps of its parents: both tasks where they can stand beside each other, neither where they cannot.

A tiny network learns to copy three digits. Its children learn, each under a cue of its own, to answer with other digits
(a permutation). How models with words fare is `benchmarks/merge.py`'s business.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_folders import write_model
from torch import Tensor
from torch.nn import functional as F

from denken.export import merge
from denken.model import checkpoint
from denken.model.transformer import Transformer

# B = sequences, T = tokens

DIGITS, LENGTH = 8, 3
FIRST_DIGIT, ANSWERS = 40, 30  # ids, as the cues below
CUES = {"copy": 20, "one": 21, "two": 22}
# The last two never agree on a digit.
RULES = {
    "copy": torch.arange(DIGITS),
    "one": (3 * torch.arange(DIGITS) + 1) % DIGITS,
    "two": (3 * torch.arange(DIGITS) + 4) % DIGITS,
}


def texts(cue: str, rule: str, count: int, draw: torch.Generator) -> Tensor:
    """A cue, digits, a mark and what the rule makes of the digits."""
    digits = torch.randint(0, DIGITS, (count, LENGTH), generator=draw)
    cues, marks = (torch.full((count, 1), id_) for id_ in (CUES[cue], ANSWERS))
    return torch.cat([cues, digits + FIRST_DIGIT, marks, RULES[rule][digits] + FIRST_DIGIT], dim=1)


def learn(base: Path, folder: Path, cue: str, rule: str, steps: int, lr: float) -> Path:
    """A child of `base` that has learnt to answer `cue` by `rule`."""
    model, draw = checkpoint.load(base), torch.Generator().manual_seed(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1, (step + 1) / 10, 2 * (steps - step) / steps)
        ids_BT = texts(cue, rule, 32, draw)
        logits = model(ids_BT[:, :-1])[:, -LENGTH:]
        loss = F.cross_entropy(logits.flatten(0, 1), ids_BT[:, -LENGTH:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if folder != base:
        write_model(folder)
    checkpoint.save(model, folder)
    return folder


@torch.no_grad()
def right(folder: Path, cue: str, rule: str) -> float:
    """The share of digits that a model answers as the rule says."""
    model: Transformer = checkpoint.load(folder)
    ids_BT = texts(cue, rule, 256, torch.Generator().manual_seed(99))
    said_BT = model(ids_BT[:, :-1])[:, -LENGTH:].argmax(-1)
    return float((said_BT == ids_BT[:, -LENGTH:]).float().mean())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("family")
    return learn(write_model(folder / "base"), folder / "base", "copy", "copy", 120, 3e-3).parent


@pytest.fixture(scope="module")
def one(home: Path) -> Path:
    return learn(home / "base", home / "one", "one", "one", 80, 1e-3)


def test_a_merge_keeps_both_tasks_better_than_either_parent(home: Path, one: Path) -> None:
    two = learn(home / "base", home / "two", "two", "two", 80, 1e-3)
    found = {parent: [right(parent, cue, cue) for cue in ("one", "two")] for parent in (one, two)}
    assert min(found[one][0], found[two][1]) > 0.95, "each knows its own task"
    assert max(found[one][1], found[two][0]) < 0.15, "and not the other's"
    for method, settings in {"linear": {}, "task": {"scale": 1.25}, "ties": {"density": 0.5}}.items():
        base = None if method == "linear" else home / "base"
        out = merge.merge([one, two], home / method, method, base=base, **settings)
        kept = [right(out, cue, cue) for cue in ("one", "two")]
        assert min(kept) > max(min(both) for both in found.values()) + 0.25, method
        assert sum(kept) > max(sum(both) for both in found.values()) + 0.1, method


def test_where_parents_contradict_each_other_a_merge_keeps_neither(home: Path, one: Path) -> None:
    """The same cue, another answer: one network cannot give both, and what comes out is worse than each parent."""
    other = learn(home / "base", home / "other", "one", "two", 80, 1e-3)
    assert min(right(one, "one", "one"), right(other, "one", "two")) > 0.95
    for method in ("linear", "ties"):
        base = None if method == "linear" else home / "base"
        out = merge.merge([one, other], home / f"{method}-torn", method, base=base, density=0.5)
        kept = [right(out, "one", rule) for rule in ("one", "two")]
        assert max(kept) < 0.8, method
        assert sum(kept) <= 1.0, method
