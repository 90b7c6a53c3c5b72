"""Scored samples as tensors: every prompt once for its whole group, completions beside one another.

A group's prompt but for its last token is one row; a completion's lane is that last token and the completion but for
its last id, so that every position of a lane has one target: the next id. `denken.train.attend.SharedPrompts` says who
sees whom. Lanes of nearly one length are filled up to one width, which keeps filling small however lengths differ.
Every id counts as sampled but those that were given (`Completion.given`: what a search found): they are read, and there
is nothing to learn at them. Whoever samples for training must force none, so no thinking budget is given there.
What is learnt of the samples is `loss.py`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from denken.train.attend import Lanes, SharedPrompts
from denken.types import Rollout

# N = tokens of a batch, M = sampled tokens in it, S = sampled sequences, T = sampled tokens of the longest

# Completions share a width if none is shorter than this part of the longest.
ALIKE = 0.75
# Prompts, lanes and batches are filled up to multiples of these. oneDNN prepares, and keeps, a program for every number
# of tokens that a bf16 network meets.
PROMPT_MULTIPLE, LANE_MULTIPLE, BATCH_MULTIPLE = 8, 16, 128


@dataclass(frozen=True, slots=True)
class Group:
    """The samples of one problem. place: the problem's number in the run. prompt: its ids."""

    place: int
    prompt: tuple[int, ...]
    rollouts: tuple[Rollout, ...]

    @property
    def tokens(self) -> int:
        """Ids that go through the network to learn from it."""
        return len(self.prompt) - 1 + sum(len(rollout.completion.ids) for rollout in self.rollouts)


@dataclass(slots=True)
class RolloutBatch:
    """What one forward of the trainer takes.

    ids_1N, positions_1N: the tokens in the order that `attend` wants them.
    index_M: where in N the hidden state of each target is. targets_M: the sampled ids. sequence_M, place_M: whose
        they are, and at which of its places. kept_M: as `Completion.kept`, None where nothing was cut.
    logprobs_ST: the sampler's. mask_ST: 1.0 where an id was sampled. advantage_S.
    tokens: those that are no filling. context: over all of them, how many tokens each sees.
    trainer_ST: the trainer's log-probabilities at the weights that sampled, where somebody has computed them.
    """

    ids_1N: Tensor
    positions_1N: Tensor
    attend: SharedPrompts
    index_M: Tensor
    targets_M: Tensor
    sequence_M: Tensor
    place_M: Tensor
    kept_M: Tensor | None
    logprobs_ST: Tensor
    mask_ST: Tensor
    advantage_S: Tensor
    tokens: int
    context: int
    trainer_ST: Tensor | None = None

    def padded(self, values_M: Tensor) -> Tensor:
        """One value a sampled token as (S, T), 0 elsewhere."""
        out_ST = values_M.new_zeros(self.mask_ST.shape)
        return out_ST.index_put((self.sequence_M, self.place_M), values_M)


def batches(groups: Sequence[Group], micro_tokens: int) -> Iterator[RolloutBatch]:
    """The groups in batches of at most about micro_tokens tokens; a group that is larger is split, its prompt repeated.

    Prompts of nearly one length go together.
    """
    waiting: list[Group] = []
    for group in sorted(groups, key=lambda group: (len(group.prompt), group.place)):
        for part in _parts(group, micro_tokens):
            if waiting and sum(each.tokens for each in waiting) + part.tokens > micro_tokens:
                yield batch(waiting)
                waiting = []
            waiting.append(part)
    if waiting:
        yield batch(waiting)


def _parts(group: Group, micro_tokens: int) -> Iterator[Group]:
    """The group, or pieces of it that are small enough (of one rollout at least)."""
    room = micro_tokens - len(group.prompt)
    piece: list[Rollout] = []
    size = 0
    for rollout in sorted(group.rollouts, key=lambda rollout: len(rollout.completion.ids)):
        if piece and size + len(rollout.completion.ids) > room:
            yield Group(group.place, group.prompt, tuple(piece))
            piece, size = [], 0
        piece.append(rollout)
        size += len(rollout.completion.ids)
    if piece:
        yield Group(group.place, group.prompt, tuple(piece))


def batch(groups: Sequence[Group]) -> RolloutBatch:
    """These groups as the tensors of one forward. Every completion has at least one id, every prompt too."""
    lengths = [len(group.prompt) - 1 for group in groups]
    width = _up(max(1, *lengths), PROMPT_MULTIPLE)
    ids: list[int] = []
    positions: list[int] = []
    for group, length in zip(groups, lengths, strict=True):
        ids += [*group.prompt[:-1], *[0] * (width - length)]
        positions += range(width)
    sequences = [(row, rollout) for row, group in enumerate(groups) for rollout in group.rollouts]
    order = sorted(range(len(sequences)), key=lambda s: -len(sequences[s][1].completion.ids))
    lanes: list[Lanes] = []
    starts = [0] * len(sequences)
    while order:
        longest = len(sequences[order[0]][1].completion.ids)
        chosen = [s for s in order if len(sequences[s][1].completion.ids) >= ALIKE * longest]
        order = order[len(chosen) :]
        lane_width = _up(longest, LANE_MULTIPLE)
        for s in chosen:
            row, rollout = sequences[s]
            starts[s] = len(ids)
            count = len(rollout.completion.ids)
            ids += [groups[row].prompt[-1], *rollout.completion.ids[:-1], *[0] * (lane_width - count)]
            positions += range(lengths[row], lengths[row] + lane_width)
        lanes.append(Lanes(len(chosen), lane_width, tuple(sequences[s][0] for s in chosen)))
    filling = -len(ids) % BATCH_MULTIPLE
    attend = SharedPrompts(lengths, width, lanes, filling)
    ids += [0] * filling
    positions += [0] * filling
    spans = [(lengths[row], len(rollout.completion.ids)) for row, rollout in sequences]
    last = max(length + count for length, count in spans) - 1
    return RolloutBatch(
        torch.tensor(ids)[None],
        torch.tensor(positions).clamp(max=last)[None],  # filling may reach beyond the context
        attend,
        *_targets(sequences, starts),
        advantage_S=torch.tensor([rollout.advantage or 0.0 for _, rollout in sequences]),
        tokens=sum(group.tokens for group in groups),
        context=sum(length * (length + 1) // 2 for length in lengths)
        + sum(count * length + count * (count + 1) // 2 for length, count in spans),
    )


def _targets(
    sequences: Sequence[tuple[int, Rollout]], starts: Sequence[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, Tensor, Tensor]:
    """index_M, targets_M, sequence_M, place_M, kept_M, logprobs_ST and mask_ST of a batch."""
    completions = [rollout.completion for _, rollout in sequences]
    longest = max(len(completion.ids) for completion in completions)
    logprobs_ST = torch.zeros(len(completions), longest)
    mask_ST = torch.zeros(len(completions), longest)
    starts_S = torch.tensor(starts)
    targets_ST = torch.zeros(len(completions), longest, dtype=torch.long)
    kept_ST = torch.zeros(len(completions), longest, dtype=torch.long)
    for s, completion in enumerate(completions):
        count = len(completion.ids)
        targets_ST[s, :count] = torch.tensor(completion.ids)
        logprobs_ST[s, :count] = torch.tensor(completion.logprobs)
        mask_ST[s, :count] = 1.0 - torch.tensor(completion.given or (False,) * count, dtype=torch.float32)
        if completion.kept:
            kept_ST[s, :count] = torch.tensor(completion.kept)
    sequence_M, place_M = mask_ST.nonzero(as_tuple=True)
    kept_M = kept_ST[sequence_M, place_M] if any(completion.kept for completion in completions) else None
    return (
        starts_S[sequence_M] + place_M,
        targets_ST[sequence_M, place_M],
        sequence_M,
        place_M,
        kept_M,
        logprobs_ST,
        mask_ST,
    )


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
