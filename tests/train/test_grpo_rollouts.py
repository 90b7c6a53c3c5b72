"""Samples as tensors: a prompt computed once for its group gives what each sample alone gives, loss and gradients."""

from __future__ import annotations

from random import Random

import pytest
import torch

from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.train import attend
from denken.train.loss import policy_loss, rows_at, sampled_logprobs
from denken.train.rollouts import Group, RolloutBatch, batches
from denken.types import Completion, Problem, Rollout, Score
from small_configs import SMALL, SMALL_LATENT

CONFIGS = {
    "grouped": ModelConfig("qwen3", num_key_value_heads=2, head_dim=8, tie_word_embeddings=True, **SMALL),
    "biased": ModelConfig("qwen2", num_key_value_heads=1, **SMALL),
    "latent": ModelConfig("deepseek_v3", **SMALL_LATENT),
}
PROBLEM = Problem(task="example", prompt="", answer="", seed=0)


def groups(rng: Random, *, kept: bool = False, given: bool = False) -> list[Group]:
    """Prompts of 1 to 21 ids, completions of 1 to 70. given: of most of them a third was not sampled."""
    made = []
    for place, length in enumerate((9, 1, 21)):
        rollouts = []
        for index in range(5):
            count = (1, 70, 64, 9, 30)[index] - place * (index > 0)
            completion = Completion(
                tuple(rng.randrange(61) for _ in range(count)),
                tuple(-4 * rng.random() for _ in range(count)),
                kept=tuple(rng.randrange(1, 61) for _ in range(count)) if kept else (),
                given=tuple(t % 9 in (4, 5, 6) for t in range(count)) if given and index else (),
            )
            rollouts.append(Rollout(PROBLEM, completion, Score(0.0), rng.choice((-1.0, 0.5, 2.0))))
        made.append(Group(place, tuple(rng.randrange(61) for _ in range(length)), tuple(rollouts)))
    return made


def logprobs(model: Transformer, batch: RolloutBatch) -> torch.Tensor:
    hidden_1ND = model.hidden(batch.ids_1N, batch.positions_1N, batch.attend)
    logits_MV = model.logits(rows_at(hidden_1ND[0], batch.index_M))
    return batch.padded(sampled_logprobs(logits_MV, batch.targets_M, temperature=0.7, kept_N=batch.kept_M)[0])


def loss_of(new_ST: torch.Tensor, batch: RolloutBatch) -> torch.Tensor:
    options = {"clip_low": 0.2, "clip_high": 0.3, "max_tokens": 80}
    return policy_loss("grpo", new_ST, batch.logprobs_ST, batch.advantage_S, batch.mask_ST, **options).loss_S.sum()


def together(model: Transformer, made: list[Group], micro_tokens: int) -> float:
    total = 0.0
    for batch in batches(made, micro_tokens):
        loss = loss_of(logprobs(model, batch), batch)
        loss.backward()
        total += float(loss.detach())
    return total


def alone(model: Transformer, made: list[Group]) -> float:
    """Every sample as one row of its own, read off the model's logits without any of our tensors."""
    total = 0.0
    for group in made:
        for rollout in group.rollouts:
            completion = rollout.completion
            logits_TV = model(torch.tensor([[*group.prompt, *completion.ids]]))[0, len(group.prompt) - 1 : -1] / 0.7
            new = []
            for t, id_ in enumerate(completion.ids):
                row = logits_TV[t]
                if completion.kept:
                    best = row.topk(completion.kept[t])
                    ids = {*best.indices.tolist(), id_}
                    new.append(row[id_] - row[sorted(ids)].logsumexp(0))
                else:
                    new.append(row.log_softmax(0)[id_])
            sampled = [t for t in range(len(completion.ids)) if not (completion.given and completion.given[t])]
            new, old = [new[t] for t in sampled], [completion.logprobs[t] for t in sampled]
            ratio_T = (torch.stack(new) - torch.tensor(old)).exp()
            surrogate_T = torch.minimum(ratio_T * rollout.advantage, ratio_T.clamp(0.8, 1.3) * rollout.advantage)
            loss = -surrogate_T.mean()
            loss.backward()
            total += float(loss.detach())
    return total


def gradients(model: Transformer) -> dict[str, torch.Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


@pytest.mark.parametrize("given", [False, True], ids=["sampled", "searched"])
@pytest.mark.parametrize("kept", [False, True], ids=["whole", "cut"])
@pytest.mark.parametrize("family", CONFIGS)
def test_a_shared_prompt_gives_what_each_sample_alone_gives(family: str, kept: bool, given: bool):
    torch.manual_seed(1)
    model, made = Transformer(CONFIGS[family]), groups(Random(2), kept=kept, given=given)
    expected = alone(model, made)
    wanted = gradients(model)
    for micro_tokens in (100_000, 200, 1):
        assert together(model, made, micro_tokens) == pytest.approx(expected, abs=1e-5)
        for name, gradient in gradients(model).items():
            torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-4, msg=name)


def test_long_lanes_take_the_other_kernel(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(1)
    model, made = Transformer(CONFIGS["grouped"]), groups(Random(3))
    written_out = together(model, made, 100_000)
    wanted = gradients(model)
    monkeypatch.setattr(attend, "WIDEST", 16)
    assert together(model, made, 100_000) == pytest.approx(written_out, abs=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradient, wanted[name], atol=1e-5, rtol=1e-4, msg=name)


def test_batches_hold_every_sampled_id_once_and_keep_their_bound():
    made = groups(Random(4))
    for micro_tokens in (100_000, 200, 100, 1):
        parts = list(batches(made, micro_tokens))
        sampled = sorted(
            tuple(int(i) for i in batch.targets_M[batch.sequence_M == s])
            for batch in parts
            for s in range(batch.mask_ST.shape[0])
        )
        assert sampled == sorted(r.completion.ids for group in made for r in group.rollouts)
        if micro_tokens > 100:
            assert all(batch.tokens <= micro_tokens for batch in parts)


def test_filling_stays_small_though_lengths_differ():
    rng = Random(6)
    made = []
    for place in range(4):
        counts = [rng.randrange(20, 400) for _ in range(8)]
        completions = [Completion((5,) * count, (-1.0,) * count) for count in counts]
        rollouts = tuple(Rollout(PROBLEM, completion, Score(0.0), 1.0) for completion in completions)
        made.append(Group(place, (1,) * rng.randrange(80, 100), rollouts))
    (batch,) = batches(made, 100_000)
    assert batch.tokens == sum(group.tokens for group in made)
    assert batch.ids_1N.shape[1] < 1.2 * batch.tokens


def test_positions_go_on_from_the_prompts_true_end():
    made = groups(Random(5))
    (batch,) = batches(made, 100_000)
    for s, length in enumerate(sorted(len(group.prompt) for group in made for _ in group.rollouts)):
        positions = batch.positions_1N[0, batch.index_M[batch.sequence_M == s]].tolist()
        assert positions == list(range(length - 1, length - 1 + len(positions)))


@pytest.mark.parametrize("algorithm", ["grpo", "dr_grpo", "dapo", "gspo", "cispo"])
def test_what_a_search_found_is_read_and_not_learnt(algorithm: str):
    """Two ids sampled, two given between them: lengths, sums and gradients are those of the two."""
    completion = Completion((3, 4, 5, 6), (-1.0, 0.0, 0.0, -2.0), given=(False, True, True, False))
    (batch,) = batches([Group(0, (1, 2), (Rollout(PROBLEM, completion, Score(1.0), 1.0),))], 100)
    assert batch.mask_ST.tolist() == [[1.0, 0.0, 0.0, 1.0]]
    assert (batch.targets_M.tolist(), batch.tokens) == ([3, 6], 5)
    assert {3, 4, 5} <= set(batch.ids_1N[0].tolist())
    new_ST = batch.logprobs_ST.clone().requires_grad_()
    options = {"clip_low": 0.2, "clip_high": 0.2, "max_tokens": 8}
    reference_ST = torch.full_like(new_ST, -1.5)
    terms = policy_loss(
        algorithm,
        new_ST,
        batch.logprobs_ST,
        batch.advantage_S,
        batch.mask_ST,
        reference_ST=reference_ST,
        kl=0.1,
        **options,
    )
    terms.loss_S.sum().backward()
    assert new_ST.grad is not None
    assert (new_ST.grad != 0).tolist() == [[True, False, False, True]]
    if algorithm == "grpo":  # both ratios are 1; exp(-0.5) + 0.5 - 1 and exp(0.5) - 0.5 - 1 are the estimates of the KL
        divergence = ((0.60653 + 0.5 - 1) + (1.64872 - 0.5 - 1)) / 2
        assert float(terms.mean().detach()) == pytest.approx(-1.0 + 0.1 * divergence, abs=1e-4)
