"""From problem to scored rollout, with a fake in the engine's place."""

from __future__ import annotations

import pytest

from denken.chat.template import END_THINK, EOS, THINK
from denken.errors import ConfigError
from denken.rollout import Draw, prompt_ids, read, rollouts, sample, sample_seed
from denken.tasks import get
from denken.tokenizer import Tokenizer
from denken.types import Completion, SamplingParams
from fakes import FakeGenerate

GREEDY = SamplingParams(temperature=0.0)


def said(tokenizer: Tokenizer, thought: str, answer: str | None) -> Completion:
    """What an engine returns for this thought and answer; None: it never got to an answer."""
    ids = tokenizer.encode(thought)
    if answer is not None:
        ids += [*tokenizer.encode("\n"), tokenizer.control(END_THINK), *tokenizer.encode("\n\n" + answer)]
        ids.append(tokenizer.control(EOS))
    return Completion(tuple(ids), finish_reason="stop" if answer is not None else "length")


def test_groups_come_problem_by_problem_and_only_the_answer_counts(tokenizer: Tokenizer) -> None:
    task = get("chain_sum")
    problems = [task.problem(seed) for seed in (900_000_001, 900_000_002)]
    first, second = (problem.answer for problem in problems)
    generate = FakeGenerate(
        [
            said(tokenizer, "carry the one", first),
            said(tokenizer, f"it is {first}", "I do not know"),
            said(tokenizer, f"it is {second}", None),
            said(tokenizer, "", f"\n  {second} \n"),
        ]
    )
    got = rollouts(task, problems, tokenizer, generate, GREEDY, group=2)
    assert [rollout.score.reward for rollout in got] == [1.0, 0.0, 0.0, 1.0]
    assert [rollout.problem.seed for rollout in got] == [900_000_001] * 2 + [900_000_002] * 2
    assert all(rollout.advantage is None for rollout in got)
    assert generate.prompts[0] == generate.prompts[1] != generate.prompts[2]


def test_the_prompt_is_one_users_message_that_opens_a_thought(tokenizer: Tokenizer) -> None:
    problem = get("gcd").problem(3)
    ids = prompt_ids(problem, tokenizer)
    assert problem.prompt in tokenizer.decode(ids)
    assert tokenizer.control(THINK) in ids
    assert tokenizer.control(END_THINK) not in ids
    assert tokenizer.control(END_THINK) in prompt_ids(problem, tokenizer, thinking=False)


def test_every_sample_has_its_own_seed_whatever_the_batch(tokenizer: Tokenizer) -> None:
    task = get("gcd")
    problems = [task.problem(seed) for seed in (5, 6)]
    params = SamplingParams(seed=3)
    generate = FakeGenerate([said(tokenizer, "", "1")] * 5)
    rollouts(task, problems, tokenizer, generate, params, group=2)
    seeds = [params.seed for params in generate.params]
    assert len(set(seeds)) == 4
    sample(task, [Draw(problems[1], 0)], tokenizer, generate, params)
    assert generate.params[-1].seed == seeds[2] == sample_seed(3, Draw(problems[1], 0))


def test_without_a_seed_the_parameters_go_through_as_they_are(tokenizer: Tokenizer) -> None:
    task, generate = get("gcd"), FakeGenerate([said(tokenizer, "", "1")])
    rollouts(task, [task.problem(5)], tokenizer, generate, GREEDY)
    assert generate.params == [GREEDY]


def test_a_thought_that_never_ends_is_cut_and_has_no_answer(tokenizer: Tokenizer) -> None:
    reply = read(said(tokenizer, "on and on", None), tokenizer)
    assert (reply.thought, reply.answer, reply.cut) == ("on and on", "", True)
    reply = read(said(tokenizer, "so", "4"), tokenizer)
    assert (reply.thought, reply.answer, reply.cut) == ("so", "4", False)


def test_a_group_of_none_and_a_lost_completion_are_refused(tokenizer: Tokenizer) -> None:
    task = get("gcd")
    with pytest.raises(ConfigError, match="at least 1"):
        rollouts(task, [task.problem(5)], tokenizer, FakeGenerate([]), GREEDY, group=0)
    with pytest.raises(ConfigError, match="1 prompts were given and 0"):
        rollouts(task, [task.problem(5)], tokenizer, lambda prompts, params: [], GREEDY)
    assert rollouts(task, [], tokenizer, FakeGenerate([]), GREEDY) == []
