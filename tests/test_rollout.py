"""From problem to scored rollout, with a fake in the engine's place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import pytest

from denken.chat.message import Message
from denken.chat.template import END_THINK, EOS, THINK, render
from denken.errors import ConfigError
from denken.rollout import Draw, Reply, prompt_ids, read, rollouts, sample, sample_seed
from denken.tasks import Lookup, get
from denken.tokenizer import Tokenizer
from denken.types import Completion, Problem, SamplingParams, Score
from fakes import FakeGenerate
from small_vocabulary import CONTROL_NAMES, write_tokenizer

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


class Pages:
    """A task whose answers only pages know; every sample has a search of its own."""

    name = "pages"

    def problem(self, seed: int) -> Problem:
        return Problem(self.name, f"Where does number {seed} live?", f"town {seed}", seed)

    def score(self, problem: Problem, answer: str) -> Score:
        return Score(float(answer == problem.answer))

    def lookup(self, problem: Problem) -> Lookup | None:
        if problem.seed == 0:
            return None
        numbers = count(1)
        return lambda query: f"[{next(numbers)}] {query}: {problem.answer}"


class Writer:
    """A network in letters: says what it is told to by how its prompt ends, and logs what it was asked."""

    def __init__(self, tokenizer: Tokenizer, says: Mapping[str, str], *, context: int = 2000) -> None:
        self.tokenizer, self.says, self.context = tokenizer, says, context
        self.calls: list[list[tuple[tuple[int, ...], SamplingParams]]] = []

    def __call__(self, prompts, params) -> list[Completion]:
        self.calls.append(list(zip(map(tuple, prompts), params, strict=True)))
        return [self.reply(prompt) for prompt in prompts]

    def reply(self, prompt: Sequence[int]) -> Completion:
        text = self.tokenizer.decode(prompt, skip_control=False)
        said = next(said for ending, said in self.says.items() if text.endswith(ending))
        controls = self.tokenizer.control_ids
        ids: list[int] = []
        for part in re.split(f"({'|'.join(map(re.escape, controls))})", said):
            ids += [controls[part]] if part in controls else self.tokenizer.encode(part)
        return Completion(tuple(ids), (-0.5,) * len(ids), policy_version=7, kept=(3,) * len(ids))


ANSWERS = "\n</think>\n\ntown 5<｜end▁of▁sentence｜>"


def test_a_sample_goes_on_from_what_its_searches_found(tokenizer: Tokenizer) -> None:
    # What a generator that knows nothing of searches writes behind one is dropped.
    says = {
        "<think>\n": "Who?\n<search>five</search> and on",
        "[1] five: town 5\n</information>\n": "<search>again</search>",
        "[2] again: town 5\n</information>\n": "So." + ANSWERS,
    }
    writer, task = Writer(tokenizer, says), Pages()
    params = SamplingParams(seed=1, top_p=0.9, max_tokens=100)
    got = rollouts(task, [task.problem(5)], tokenizer, writer, params, group=2)
    assert [rollout.score.reward for rollout in got] == [1.0, 1.0]
    assert [len(call) for call in writer.calls] == [2, 2, 2], "a group's samples go on together"
    completion = got[0].completion
    block = "\n<information>\n[{}] {}: town 5\n</information>\n"
    thought = f"Who?\n<search>five</search>{block.format(1, 'five')}<search>again</search>{block.format(2, 'again')}So."
    assert tokenizer.decode(completion.ids, skip_control=False) == thought + ANSWERS
    assert read(completion, tokenizer) == Reply(thought, "town 5", cut=False)
    found = [id_ for id_, given in zip(completion.ids, completion.given, strict=True) if given]
    assert tokenizer.decode(found, skip_control=False) == block.format(1, "five") + block.format(2, "again")
    assert completion.generated == len(completion.ids) - len(found)
    expected = [(0.0, 1) if given else (-0.5, 3) for given in completion.given]
    assert list(zip(completion.logprobs, completion.kept, strict=True)) == expected
    assert (completion.finish_reason, completion.policy_version) == ("stop", 7)
    # "Who?", a line break, two tags and "five" are eleven ids.
    assert [(own.max_tokens, own.searches) for _, own in (call[0] for call in writer.calls)] == [
        (100, True),
        (89, True),
        (82, True),
    ]


def test_the_ids_of_a_sample_are_those_of_the_finished_conversation(tokenizer: Tokenizer) -> None:
    says = {"<think>\n": "<search>five</search>", "</information>\n": "So." + ANSWERS}
    task = Pages()
    (rollout,) = rollouts(task, [task.problem(5)], tokenizer, Writer(tokenizer, says), SamplingParams(seed=1))
    reply = read(rollout.completion, tokenizer)
    asked = Message("user", rollout.problem.prompt)
    whole = render(
        [asked, Message("assistant", reply.answer, reasoning_content=reply.thought)], tokenizer, searching=True
    )
    prompt = prompt_ids(rollout.problem, tokenizer, searching=True)
    assert whole.ids == (*prompt, *rollout.completion.ids)
    assert whole.loss_mask[len(prompt) :] == tuple(not given for given in rollout.completion.given)


def test_a_problem_without_a_search_is_asked_as_ever(tokenizer: Tokenizer) -> None:
    task, writer = Pages(), Writer(tokenizer, {"<think>\n": "<search>five</search>" + ANSWERS})
    problems = [task.problem(0), task.problem(5)]
    got = rollouts(task, problems, tokenizer, Writer(tokenizer, {"<think>\n": ANSWERS}), SamplingParams(seed=1))
    assert all(not rollout.completion.given for rollout in got)
    (plain,) = rollouts(task, problems[:1], tokenizer, writer, SamplingParams(seed=1))
    assert not plain.completion.given
    assert writer.calls[0][0][0] == prompt_ids(problems[0], tokenizer)
    assert not writer.calls[0][0][1].searches


@pytest.mark.parametrize(
    ("params", "context", "searches"),
    [
        (SamplingParams(seed=1, max_tokens=6), 2000, 1),  # what it may generate is spent with the first search
        (SamplingParams(seed=1), 180, 1),  # no room for what a second one finds
        (SamplingParams(seed=1), 2000, 5),  # four, and once it is told that there are no more
    ],
)
def test_a_sample_that_cannot_go_on_ends_without_an_answer(tokenizer, params, context, searches) -> None:
    writer = Writer(tokenizer, {"<think>\n": "<search>five</search>", "\n": "<search>again</search>"}, context=context)
    task = Pages()
    (rollout,) = rollouts(task, [task.problem(5)], tokenizer, writer, params)
    completion, reply = rollout.completion, read(rollout.completion, tokenizer)
    assert (completion.finish_reason, reply.answer, reply.cut) == ("length", "", True)
    assert completion.ids.count(tokenizer.control("<information>")) == searches
    assert len(writer.calls[0][0][0]) + len(completion.ids) <= context
    assert params.max_tokens is None or completion.generated <= params.max_tokens


def test_the_end_of_a_search_that_is_spelt_anew_was_not_sampled(tmp_path: Path) -> None:
    control = [name for name in CONTROL_NAMES if "search" not in name and "information" not in name]
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path, words=[">\n", ">"], control=control))
    says = {"<think>\n": "<search>five</search>\n", "</information>\n": "So." + ANSWERS}
    task = Pages()
    (rollout,) = rollouts(task, [task.problem(5)], tokenizer, Writer(tokenizer, says), SamplingParams(seed=1))
    completion = rollout.completion
    given = tokenizer.decode([id_ for id_, given in zip(completion.ids, completion.given, strict=True) if given])
    assert given == ">\n<information>\n[1] five: town 5\n</information>\n"
    assert read(completion, tokenizer).thought == f"<search>five</search>{given[1:]}So."
    asked = Message("user", rollout.problem.prompt)
    answer = Message("assistant", "town 5", reasoning_content=read(completion, tokenizer).thought)
    assert render([asked, answer], tokenizer, searching=True).ids[-len(completion.ids) :] == completion.ids
