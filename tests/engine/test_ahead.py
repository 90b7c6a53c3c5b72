"""Several steps in one call say what single steps say, to the bit, and stop where Python has a say."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from small_models import Cheap, tiny_model
from test_native import PROMPTS, network

from denken.engine import runner, speculate
from denken.engine.counting import counted
from denken.engine.engine import Engine
from denken.engine.scheduler import Lead
from denken.engine.sequence import Output
from denken.errors import DenkenError
from denken.model.kernels.build import library
from denken.model.kernels.decode import Ahead
from denken.tokenizer import Tokenizer
from denken.types import SamplingParams

pytestmark = pytest.mark.skipif(library() is None, reason="no kernels here")
# Greedy, plain, top-p, top-k, min-p.
MANNERS = [
    SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=11, max_tokens=most)
    for temperature, top_p, top_k, min_p, most in [
        (0, 1, 0, 0, 20),
        (1, 1, 0, 0, 33),
        (1, 0.9, 0, 0, 20),
        (0.7, 1, 5, 0, 25),
        (0.9, 1, 0, 0.1, 20),
    ]
]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """How many ids each row said in each call that went ahead. Calls are of eight steps, however long they take."""
    monkeypatch.setattr(Lead, "steps", 8)
    monkeypatch.setattr(Lead, "SECONDS", 60.0)
    ahead, found = runner.Runner.ahead, []

    def noted(*given: object) -> Ahead | None:
        said = ahead(*given)  # type: ignore[arg-type]
        if said is not None:
            found.append([len(each.ids) for each in said.said])
        return said

    monkeypatch.setattr(runner.Runner, "ahead", noted)
    return found


@pytest.mark.parametrize(
    ("family", "dtype", "bits", "head"),
    [
        ("qwen3", torch.float32, 0, None),
        ("qwen2", torch.bfloat16, 0, None),
        ("qwen2", torch.bfloat16, 8, None),
        ("llama", torch.float32, 4, "int8"),
    ],
)
def test_several_steps_are_single_steps_to_the_bit(
    family: str, dtype: torch.dtype, bits: int, head: str, calls: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    if dtype == torch.bfloat16 and not bits:
        monkeypatch.setattr("denken.engine.fused.LARGEST", 1000)  # its head, too, is then read as it is
    model = network(family, dtype, bits)
    single, subject = (Engine(model, eos_ids=[5, 9], ahead=ahead, head=head) for ahead in (False, True))  # type: ignore[arg-type]
    for prompts in (PROMPTS, [PROMPTS[1]] * 5):  # the second with a beginning that stands apart
        assert subject(prompts, MANNERS) == single(prompts, MANNERS)
    assert max(map(max, calls)) == 8
    assert subject._blocks._block_of.keys() == single._blocks._block_of.keys()
    assert subject.free_blocks == single.free_blocks


@pytest.mark.parametrize("alike", [False, True])
def test_rows_that_threads_share_out_say_what_they_say_together(calls: list[list[int]], alike: bool) -> None:
    """On three threads, each with rows of its own; also guesses. alike: the rows share a beginning."""
    model, threads = tiny_model(), torch.get_num_threads()
    prompts = ([PROMPTS[1]] * 5 if alike else PROMPTS) * 2
    params = [replace(manner, seed=i) for i, manner in enumerate(MANNERS * 2)]
    subjects = [Engine(model, eos_ids=[5], speculation=guesses, ahead=True) for guesses in (None, Cheap())]
    try:
        torch.set_num_threads(1)
        expected = [(out.ids, out.logprobs, out.kept) for out in subjects[0](prompts, params)]
        torch.set_num_threads(3)
        for subject in subjects:
            assert [(out.ids, out.logprobs, out.kept) for out in subject(prompts, params)] == expected
    finally:
        torch.set_num_threads(threads)
    assert max(map(len, calls)) == 10


@pytest.mark.parametrize("alike", [False, True])
def test_guesses_within_a_call_change_nothing_that_is_said(calls: list[list[int]], alike: bool) -> None:
    """What is said again can be guessed. alike: the rows share a beginning."""
    model = tiny_model()
    params = [replace(manner, max_tokens=30) for manner in MANNERS]
    prompts = [PROMPTS[1]] * 5 if alike else PROMPTS
    speculation = Cheap()
    subject = Engine(model, eos_ids=[5], speculation=speculation, ahead=True)
    expected = Engine(model, eos_ids=[5])(prompts, params)
    for _ in range(2):
        for ours, theirs in zip(subject(prompts, params), expected, strict=True):
            assert (ours.ids, ours.logprobs, ours.kept) == (theirs.ids, theirs.logprobs, theirs.kept)
    assert 40 < speculation.accepted < speculation.guessed
    assert calls


@pytest.mark.parametrize("knows", ["nothing", "ids", "shapes"])
def test_a_call_learns_what_single_steps_learn(
    calls: list[list[int]], monkeypatch: pytest.MonkeyPatch, knows: str
) -> None:
    """To the bit, prompts too, but for how often the network's own guesses were right: those of a call end with it."""
    model, tables, said = tiny_model(), [], []
    draw = random.Random(5)
    texts = [([draw.randrange(3, 20) for _ in range(3000)], 0)]
    known = {
        "nothing": None,
        "ids": counted(texts, least=1),
        "shapes": counted(texts, [min(id, 7) for id in range(128)], least=1),
    }[knows]
    params = [replace(MANNERS[1], max_tokens=120, temperature=temperature) for temperature in (0.3, 1.0)]
    for ahead, many in ((False, 1000), (True, speculate.MANY)):
        monkeypatch.setattr(speculate, "MANY", many)
        speculation = Cheap(known=known)
        subject = Engine(model, eos_ids=[], speculation=speculation, ahead=ahead)
        said.append([subject([PROMPTS[4]], own) for own in params])
        own = speculation._guesses
        tables.append((own._tags, own._ids, own._hits, own._misses, own._right[:-2], own._seen[:-2]))
    assert said[0] == said[1]
    assert tables[0] == tables[1]
    assert any(tables[0][0])
    by_source = [any(seen > 2 for seen in own._seen[start << 6 : start + 4 << 6]) for start in (0, 8, 12)]
    assert by_source == [True, knows != "nothing", knows == "shapes"]
    assert calls


def said(subject: Engine, seed: int) -> tuple[dict[int, list[Output]], int]:
    """What many requests of all kinds get, and in how many steps."""
    draw = random.Random(seed)
    outputs: dict[int, list[Output]] = {}
    for _ in range(20):
        params = SamplingParams(
            temperature=draw.choice([0.0, 1.0]),
            top_p=draw.choice([1.0, 0.9]),
            seed=draw.randrange(100),
            max_tokens=draw.randint(1, 90),
            thinking_budget=draw.choice([None, 5, 17]),
            stop=draw.choice([(), ("A", "B", "+")]),
            top_logprobs=draw.choice([*[None] * 11, 2]),
            frequency_penalty=draw.choice([*[0.0] * 11, 0.5]),
        )
        prompt = [draw.randrange(12, 101) for _ in range(draw.randint(1, 30))]
        outputs[subject.add(prompt, params, thinking=draw.random() < 0.7)] = []
    steps = 0
    while subject.has_work:
        steps += 1
        for output in subject.step():
            outputs[output.request].append(output)
    return outputs, steps


def test_thoughts_stop_strings_and_a_full_cache_are_as_in_single_steps(
    calls: list[list[int]], tokenizer: Tokenizer
) -> None:
    model = tiny_model(spread=0.15, vocabulary=tokenizer.vocab_size)
    closing = [tokenizer.control("</think>"), 10, 11]
    found, steps, preempted = [], [], 0
    for ahead in (False, True):
        options = {"cache_tokens": 140, "block_size": 4, "max_sequences": 3}
        subject = Engine(model, eos_ids=[3], end_of_thinking=closing, tokenizer=tokenizer, ahead=ahead, **options)
        preempt = subject._scheduler._preempt_newest

        def counted() -> object:
            nonlocal preempted
            preempted += 1
            return preempt()  # noqa: B023

        subject._scheduler._preempt_newest = counted  # type: ignore[method-assign, assignment]
        outputs, count = said(subject, 4)
        assert subject.free_blocks == 35
        found.append(
            {
                request: [
                    [x for output in own for x in getattr(output, name)]
                    for name in ("ids", "logprobs", "kept", "top_logprobs")
                ]
                + [own[-1].finish_reason, own[-1].surplus]
                for request, own in outputs.items()
            }
        )
        steps.append(count)
    assert found[0] == found[1]
    assert {reason for *_, reason, _ in found[0].values()} == {"stop", "length"}
    assert any(surplus for *_, surplus in found[0].values())
    assert any(closing[0] in ids for ids, *_ in found[0].values())
    assert preempted > 2
    assert steps[1] < steps[0] * 2 / 3


def test_a_call_ends_in_time_and_large_networks_take_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    lead = Lead()
    lead.took(0.05)
    assert lead.steps == 1
    for _ in range(200):
        lead.took(0.001)
    assert lead.steps == pytest.approx(20, abs=2)
    # Where a step takes longer than it did, no other begins.
    monkeypatch.setattr(Lead, "steps", 8)
    monkeypatch.setattr(Lead, "SECONDS", 0.0)
    subject = Engine(tiny_model(), eos_ids=[], ahead=True)
    subject.add([5, 6, 7], SamplingParams(temperature=0, max_tokens=20))
    assert [len(output.ids) for _ in range(9) for output in subject.step()] == [1] * 9


def test_weights_that_overflow_are_an_error_ahead_too(calls: list[list[int]]) -> None:
    model = tiny_model()
    subject = Engine(model, eos_ids=[], ahead=True)
    subject.add([5, 6, 7], SamplingParams(temperature=0, max_tokens=40))
    subject.step()
    with torch.no_grad():
        model.head_weight[3] = torch.inf
    with pytest.raises(DenkenError, match="not finite"):
        subject.step()
    assert not subject.has_work
