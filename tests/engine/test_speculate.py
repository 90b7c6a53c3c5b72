"""What is guessed changes how many steps a text takes, and nothing that is said."""

from __future__ import annotations

import dataclasses
import json
import random

import pytest
import torch
from small_models import ScriptedModel, tiny_model

from denken.chat.template import EOS, THINK, end_of_thinking
from denken.engine.engine import Engine
from denken.engine.sequence import Endings, Sequence
from denken.engine.speculate import AT_A_TIME, Guesses, Pace, Speculation
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.tokenizer import Tokenizer
from denken.types import Completion, SamplingParams

FAMILIES = ("qwen3", "deepseek_v3")
GREEDY = SamplingParams(temperature=0, max_tokens=40)


class Cheap(Speculation):
    """As if one more id in a step cost little, whatever the clock says."""

    CROWD = 1000

    def _worth(self, running: int) -> float:
        return 0.1


class Knowing(Speculation):
    """Guesses what is really said next, with one id in `of` wrong."""

    def __init__(self, truth: dict[tuple[int, ...], tuple[int, ...]], of: int) -> None:
        super().__init__()
        self.truth, self.of, self.draw = truth, of, random.Random(3)

    def guess(self, sequence: Sequence, room: int, running: int) -> tuple[int, ...]:
        said = self.truth[tuple(sequence.ids[: sequence.prompt])]
        rest = said[sequence.generated :][: min(room, self.draw.randint(0, 7))]
        return tuple(3 if self.draw.randrange(self.of) == 0 else id_ for id_ in rest)


def prompts(count: int, longest: int = 30, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(3, 101) for _ in range(draw.randint(1, longest))] for _ in range(count)]


def engine(model: Transformer, speculation: Speculation | None = None, **options: int | bool) -> Engine:
    settings = {"cache_tokens": 4096, "block_size": 4, **options}
    return Engine(model, eos_ids=[1], speculation=speculation, **settings)  # type: ignore[arg-type]


def same(ours: list[Completion], theirs: list[Completion]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert (one.ids, one.finish_reason, one.kept) == (other.ids, other.finish_reason, other.kept)
        assert one.logprobs == pytest.approx(other.logprobs, abs=1e-5)


KINDS = [
    {"temperature": 0},
    {"temperature": 1.0, "top_p": 1.0},
    {"temperature": 0.7, "top_p": 0.9, "top_k": 20},
    {"temperature": 0.9, "top_p": 1.0, "min_p": 0.05, "top_logprobs": 2},
    {"temperature": 0.8, "frequency_penalty": 0.4, "presence_penalty": 0.3},
    {"temperature": 0, "logit_bias": ((5, 3.0), (9, -4.0)), "frequency_penalty": 1.0},
]


@pytest.mark.parametrize("family", FAMILIES)
def test_guesses_change_nothing_that_is_said(family: str) -> None:
    model = tiny_model(family)
    questions = prompts(24)
    params = [SamplingParams(max_tokens=5 + i, seed=i, **KINDS[i % 6]) for i in range(24)]  # type: ignore[arg-type]
    plain = engine(model)(questions, params)
    guessing = Cheap()
    subject = engine(model, guessing)
    same(subject(questions, params), plain)
    before = guessing.accepted
    # Now everything was said before.
    same(subject(questions, params), plain)
    assert guessing.accepted - before > 150
    assert guessing.accepted < guessing.guessed
    assert subject.free_blocks == 1024


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("qwen3", {}),
        ("qwen3", {"cache_tokens": 96}),
        ("qwen3", {"max_batch_tokens": 9}),
        ("qwen3", {"prefix_reuse": False}),
        ("deepseek_v3", {"cache_tokens": 96, "max_batch_tokens": 20}),
    ],
)
def test_right_and_wrong_guesses_at_every_place(family: str, options: dict[str, int | bool]) -> None:
    """Full caches, small steps and shared beginnings: what was guessed wrong is in nobody's way."""
    model = tiny_model(family)
    questions = prompts(10)
    questions += [[*question, 7, 8] for question in questions[:4]]
    params = [SamplingParams(max_tokens=30, seed=i, **KINDS[i % 6]) for i in range(14)]  # type: ignore[arg-type]
    plain = engine(model)(questions, params)
    truth = {tuple(q): c.ids for q, c in zip(questions, plain, strict=True)}
    for of in (2, 9):
        knowing = Knowing(truth, of)
        subject = engine(model, knowing, **options)
        same(subject(questions, params), plain)
        same(subject(questions, params), plain)
        assert knowing.accepted > 60
        # A later text takes over what was computed for the earlier one, and goes on as if it had not.
        longer = [[*q, *c.ids] for q, c in zip(questions, plain, strict=True)]
        subject._scheduler.speculation = None
        brief = dataclasses.replace(GREEDY, max_tokens=4)
        same(subject(longer, brief), engine(model)(longer, brief))


def test_kernels_give_the_very_numbers() -> None:
    """In fp32 with kernels a row's numbers do not depend on its company, so log-probabilities are equal to the bit."""
    model = tiny_model()
    subject = engine(model, Cheap())
    if not subject._runner.store.native:
        pytest.skip("this machine has no kernels")
    groups = [question for question in prompts(3) for _ in range(6)]
    params = [SamplingParams(temperature=1.0, top_p=1.0, seed=i, max_tokens=40) for i in range(18)]
    plain = engine(model)(groups, params)
    for _ in range(2):
        for one, other in zip(subject(groups, params), plain, strict=True):
            assert (one.ids, one.logprobs) == (other.ids, other.logprobs)
    assert subject.speculation is not None
    assert subject.speculation.accepted > 300


@pytest.fixture(scope="module")
def random_model(tokenizer: Tokenizer) -> Transformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        shape |= {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 512}
        return Transformer(ModelConfig("llama", initializer_range=0.5, **shape)).eval()  # type: ignore[arg-type]


def talker(model: Transformer, tokenizer: Tokenizer, speculation: Speculation | None = None) -> Engine:
    return Engine(
        model,
        eos_ids=[tokenizer.control(EOS)],
        end_of_thinking=end_of_thinking(tokenizer),
        tokenizer=tokenizer,
        cache_tokens=4096,
        speculation=speculation,
    )


@pytest.mark.parametrize("of", [3, 1000])
def test_budgets_stops_and_grammars_hold_within_a_guess(
    random_model: Transformer, tokenizer: Tokenizer, of: int
) -> None:
    """A thought is closed, a stop string found and a grammar's end reached at the very id, whatever was guessed."""
    grammar = json.dumps({"grammars": [{"json_schema": {"type": "array", "items": {"enum": ["ja", "nein", 12]}}}]})
    thought = [tokenizer.control(THINK), *tokenizer.encode("\n")]
    said = tokenizer.decode([random.Random(1).randrange(300) for _ in range(9)])
    kinds: list[dict[str, object]] = [
        {"thinking_budget": 9, "max_tokens": 40},
        {"thinking_budget": 9, "max_tokens": 60, "grammar": grammar},
        {"max_tokens": 24, "temperature": 0.0},
        {"max_tokens": 60, "grammar": grammar, "temperature": 1.5},
        {"max_tokens": 50, "stop": tuple(said[:6]), "thinking_budget": 5},
        {"max_tokens": 50, "stop": ("e", "n", "a"), "thinking_budget": 30, "top_logprobs": 3},
    ]
    questions = [[*tokenizer.encode("the"), 20 + i, *(thought if i % 3 else [])] for i in range(18)]
    params = [SamplingParams(**{"temperature": 1.0, "top_p": 1.0, "seed": i, **kinds[i % 6]}) for i in range(18)]  # type: ignore[arg-type]
    plain = talker(random_model, tokenizer)(questions, params)
    knowing = Knowing({tuple(q): c.ids for q, c in zip(questions, plain, strict=True)}, of)
    subject = talker(random_model, tokenizer, knowing)
    same(subject(questions, params), plain)
    assert knowing.accepted > 100
    assert {c.finish_reason for c in plain} == {"stop", "length"}


def test_outputs_of_a_step_hold_all_its_ids_and_an_abort_ends_them() -> None:
    model = tiny_model()
    question = prompts(1)[0]
    endless = dataclasses.replace(GREEDY, max_tokens=60, top_logprobs=2)
    (plain,) = Engine(model, eos_ids=[], block_size=4)([question], endless)
    subject = Engine(model, eos_ids=[], block_size=4, speculation=Knowing({tuple(question): plain.ids}, 9))
    free = subject.free_blocks
    subject.add(question, endless)
    outputs = [output for _ in range(20) for output in subject.step()]
    ids = [id_ for output in outputs for id_ in output.ids]
    assert ids == list(plain.ids[: len(ids)])
    assert max(len(output.ids) for output in outputs) > 3
    assert all(len(output.top_logprobs) == len(output.ids) == len(output.logprobs) for output in outputs)
    if subject.has_work:
        assert subject.abort(outputs[-1].request) is not None
    assert subject.free_blocks == free


def counting(model: object) -> tuple[list[int], object]:
    """How many ids go through the network in each step."""
    seen: list[int] = []
    hidden = model.hidden  # type: ignore[attr-defined]

    def counted(ids_BT: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(ids_BT.numel())
        return hidden(ids_BT, *rest)

    model.hidden = counted  # type: ignore[attr-defined]
    return seen, model


def test_a_text_that_repeats_itself_takes_few_steps() -> None:
    seen, model = counting(ScriptedModel([0, 0, 0, *range(20, 40), *[*range(50, 60)] * 20], context=300))
    subject = Engine(model, eos_ids=[], speculation=Cheap())  # type: ignore[arg-type]
    (said,) = subject([[5, 6, 7]], SamplingParams(temperature=0, max_tokens=200))
    assert said.ids[-10:] == tuple(range(50, 60))
    assert len(seen) < 75


def test_a_text_that_misleads_costs_little() -> None:
    """Every two ids are followed by others than before: a guess is always wrong, and soon there is none."""
    draw = random.Random(5)
    followers = {(a, b): draw.sample(range(100), 100) for a in range(8) for b in range(100)}
    text = [1, 2]
    while len(text) < 1500:
        text.append(followers[text[-2] % 8, text[-1]].pop() if followers[text[-2] % 8, text[-1]] else 0)
    seen, model = counting(ScriptedModel([0, 0, 0, *text], context=1600))
    subject = Engine(model, eos_ids=[], speculation=Cheap())  # type: ignore[arg-type]
    (said,) = subject([[5, 6, 7]], SamplingParams(temperature=0, max_tokens=1500))
    assert list(said.ids) == text
    assert len(seen) <= 1500
    assert sum(seen) < 1.25 * 1500


def test_nothing_is_guessed_where_one_more_id_costs_as_much_as_it_saves() -> None:
    speculation = Speculation()
    for ids in (1, 3, 2, 5) * 20:
        speculation.took([(ids, 0.001 + 0.0001 * ids)])
    assert speculation._worth(1) == pytest.approx(0.0001 / 0.0011, rel=0.25)
    assert speculation._worth(4) < 0.4
    speculation._gain = 1.1
    # Steps of many bound by arithmetic: an id saved is an id's time, and one guessed is the same, and may be wrong.
    assert speculation._worth(500) > 0.9
    text = Sequence(0, [1, 2, 3] * 40, GREEDY, 100, Endings(frozenset()), 0)
    speculation.learn(text)
    assert speculation.guess(text, 8, 1)
    assert speculation.guess(text, 8, 500) == ()
    # Nor is anything taken in there.
    learnt = text.learnt
    text.append(1, -1.0)
    speculation.checked(text, [1], 0, 0, [])
    assert text.learnt == learnt
    speculation.guess(text, 8, 1)
    speculation.checked(text, [], 0, 0, [])
    assert text.learnt == learnt + 1
    assert len(speculation.guess(text, 2, 1)) <= 2


def test_pace_is_the_line_through_steps_and_forgets_odd_ones() -> None:
    draw, pace = random.Random(2), Pace()
    for i in range(400):
        ids = draw.randint(1, 9)
        pace.took([(ids, (0.002 + 0.0003 * ids) * (40 if i % 50 == 49 else 1))])
    assert pace.step == pytest.approx(0.002, rel=0.35)
    assert pace.each == pytest.approx(0.0003, rel=0.6)
    pace.took([(1, 0.0025)] * 600)
    # Where nothing varies, the slope is what is believed.
    assert pace.each == pytest.approx(0.0025 / 30, rel=0.1)


def test_guesses_are_what_followed_and_say_how_often_they_are_right() -> None:
    guesses = Guesses(1 << 16)
    draw = random.Random(0)
    text = [0] * 8
    right, promised = 0, 0.0
    for step in range(8000):
        # After 1 comes 2, after (1, 2) nearly always 3, after all else anything.
        text.append({1: 2, 2: 3 if draw.random() < 0.8 else 4}.get(text[-1], draw.randrange(1, 60)))
        if step > 4000:
            id_, chance = guesses.guess((1,), text[-9:-1])
            right += id_ == text[-1]
            promised += chance
        guesses.learn((1,), text[-9:-1], text[-1])
    assert right > 150
    assert promised == pytest.approx(right, rel=0.15)
    assert guesses.guess((1,), [97, 98, 1, 2])[0] == 3
    assert guesses.guess((2,), [1, 2]) == (0, 0.0)


def test_what_was_said_behind_a_wrong_guess_is_guessed_while_that_is_often_right() -> None:
    text = Sequence(0, [5, 6, 7], GREEDY, 4000, Endings(frozenset()), 0)
    speculation, draw = Cheap(), random.Random(4)
    for right in (True, False):
        for _ in range(40 if right else 600):
            said = [draw.randrange(100, 10**6) for _ in range(3)]
            text.surmise = tuple(said if right else [id_ + 1 for id_ in said])
            guess = speculation.guess(text, 3, 1)
            for id_ in said:
                text.append(id_, -1.0)
            speculation.checked(text, said, len(guess), 0, [])
        assert len(guess) == (3 if right else 0)
    assert text.surmise == ()


def test_prompts_are_told_to_nobody_else_and_long_ones_in_parts() -> None:
    prompt = [3 + i * 7 % 90 for i in range(3 * AT_A_TIME)]
    mine, other = (
        Sequence(number, prompt[: 3 * AT_A_TIME if number == 0 else 40], GREEDY, 100, Endings(frozenset()), 0)
        for number in range(2)
    )
    speculation = Cheap()
    speculation.learn(mine)
    assert mine.learnt == AT_A_TIME
    speculation.learn(mine)
    assert speculation.guess(mine, 8, 1)
    assert speculation.guess(other, 8, 1) == ()
    mine.learnt = len(prompt)
    for _ in range(3):
        for id_ in (91, 92, 93, 94, 95, 96):
            mine.append(id_, -1.0)
            speculation.learn(mine)
    other.ids += [91, 92, 93]
    assert speculation.guess(other, 1, 1) == (94,)
    alone = Cheap(shared=False)
    alone.learn(mine)
    assert alone.guess(other, 1, 1) == ()
