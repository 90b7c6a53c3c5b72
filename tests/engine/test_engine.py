"""What runs together must come out as if it ran alone, whatever was cached, cut into chunks, or computed twice."""

from __future__ import annotations

import dataclasses
import random

import pytest
import torch
from small_models import tiny_model

from denken.engine.engine import Engine
from denken.engine.rows import Seating
from denken.engine.scheduler import Chunk
from denken.errors import ConfigError, RequestError
from denken.model.transformer import Transformer
from denken.types import Completion, SamplingParams

FAMILIES = ("qwen3", "deepseek_v3")
EOS = 1
GREEDY = SamplingParams(temperature=0, max_tokens=16)


@pytest.fixture(scope="module")
def models() -> dict[str, Transformer]:
    return {family: tiny_model(family) for family in FAMILIES}


def engine(model: Transformer, **options: int | bool) -> Engine:
    return Engine(model, eos_ids=[EOS], **{"cache_tokens": 2048, "block_size": 4, **options})


def prompts(count: int, longest: int = 40, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(3, 101) for _ in range(draw.randint(1, longest))] for _ in range(count)]


def ids(completions: list[Completion]) -> list[tuple[int, ...]]:
    return [completion.ids for completion in completions]


@torch.no_grad()
def reference(model: Transformer, prompt: list[int], answer: tuple[int, ...], temperature: float = 1.0) -> torch.Tensor:
    """Log-probabilities (answer, vocabulary) from one full forward pass, without any cache."""
    logits_BTV = model(torch.tensor([[*prompt, *answer]]))
    return (logits_BTV[0, len(prompt) - 1 : -1] / temperature).log_softmax(dim=-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_incremental_generation_is_one_full_forward(models: dict[str, Transformer], family: str) -> None:
    questions = prompts(12)
    answers = engine(models[family])(questions, GREEDY)
    for question, answer in zip(questions, answers, strict=True):
        logprobs = reference(models[family], question, answer.ids)
        assert list(answer.ids) == logprobs.argmax(dim=-1).tolist()
        chosen = logprobs.gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), chosen, atol=1e-5, rtol=0)
    assert len({answer.ids for answer in answers}) > 6, "the model is too dull for this test to mean anything"


@pytest.mark.parametrize("family", FAMILIES)
def test_sampled_logprobs_are_the_transformers_at_that_temperature(models: dict[str, Transformer], family: str) -> None:
    params = SamplingParams(temperature=0.8, top_p=1.0, seed=3, max_tokens=12)
    questions = prompts(6)
    for question, answer in zip(questions, engine(models[family])(questions, params), strict=True):
        logprobs = reference(models[family], question, answer.ids, temperature=0.8)
        chosen = logprobs.gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), chosen, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_64_at_once_are_as_each_alone(models: dict[str, Transformer], family: str) -> None:
    questions = prompts(64)
    brief = dataclasses.replace(GREEDY, max_tokens=8)
    together = engine(models[family])(questions, brief)
    lone = engine(models[family], prefix_reuse=False)
    assert ids(together) == [lone([question], brief)[0].ids for question in questions]


@pytest.mark.parametrize("family", FAMILIES)
def test_cached_is_uncached(models: dict[str, Transformer], family: str) -> None:
    shared = prompts(1, seed=5)[0] * 5
    questions = [shared + own for own in prompts(10, longest=9)]
    plain = engine(models[family], prefix_reuse=False)
    cached = engine(models[family])
    expected = plain(questions, GREEDY)
    first, second = cached(questions, GREEDY), cached(questions, GREEDY)
    assert ids(first) == ids(second) == ids(expected)
    assert all(completion.cached_tokens == 0 for completion in expected)
    # All of the prompt but the last id can be taken over, in whole blocks.
    assert [c.cached_tokens for c in second] == [(len(question) - 1) // 4 * 4 for question in questions]


def test_a_group_with_one_prompt_computes_it_once_although_all_start_together(models: dict[str, Transformer]) -> None:
    subject = engine(models["qwen3"])
    question = prompts(1, seed=1)[0] * 3
    answers = subject([question] * 8, [dataclasses.replace(GREEDY, temperature=1.0, seed=s) for s in range(8)])
    assert [a.cached_tokens for a in answers] == [0] + [(len(question) - 1) // 4 * 4] * 7
    assert len(set(ids(answers))) > 1


def test_only_one_of_a_groups_prompts_goes_through_the_network(
    models: dict[str, Transformer], monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = engine(models["qwen3"])
    seen: list[int] = []
    hidden = subject._runner.model.hidden

    def counted(ids_BT: torch.Tensor, *rest: object) -> torch.Tensor:
        seen.append(ids_BT.numel())
        return hidden(ids_BT, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(subject._runner.model, "hidden", counted)
    question = [3 + i * 7 % 90 for i in range(61)]
    params = [SamplingParams(temperature=1.0, top_p=1.0, seed=s, max_tokens=5) for s in range(8)]
    answers = subject([question] * 8, params)
    assert all(len(a.ids) == 5 for a in answers)
    # 60 ids are in whole blocks of 4: one sample computes them, all compute the last; four more ids each are fed back.
    assert seen == [60 + 8, 8, 8, 8, 8]


def test_groups_of_all_sizes_decode_as_each_alone(
    models: dict[str, Transformer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beginnings of several lengths stand apart while groups are large, and come back into rows as they shrink."""
    draw = random.Random(8)
    groups = [(prompt, draw.randint(1, 9)) for prompt in prompts(6, longest=45, seed=8)]
    questions = [prompt for prompt, size in groups for _ in range(size)]
    params = [
        SamplingParams(temperature=1, top_p=1, seed=i, max_tokens=draw.randint(1, 40)) for i in range(len(questions))
    ]
    subject = engine(models["qwen3"])
    apart: list[bool] = []
    seat = subject._runner.rows.seat

    def noted(chunks: list[Chunk], ahead: int = 0) -> Seating:
        seating = seat(chunks, ahead)
        apart.append(bool(seating.slots))
        return seating

    monkeypatch.setattr(subject._runner.rows, "seat", noted)
    together = subject(questions, params)
    assert {True, False} == set(apart), "this test is about going from one to the other"
    lone = engine(models["qwen3"], prefix_reuse=False)
    assert ids(together) == [lone([q], p)[0].ids for q, p in zip(questions, params, strict=True)]
    for question, answer in zip(questions, together, strict=True):
        chosen = reference(models["qwen3"], question, answer.ids).gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), chosen, atol=1e-5, rtol=0)


def test_groups_share_a_long_prompt_chunk_by_chunk(models: dict[str, Transformer]) -> None:
    question = [3 + i * 7 % 90 for i in range(60)]
    answers = engine(models["qwen3"], max_batch_tokens=25)([question] * 3, GREEDY)
    assert ids(answers) == ids(engine(models["qwen3"], prefix_reuse=False)([question] * 3, GREEDY))
    assert [a.cached_tokens for a in answers][1:] == [56, 56]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_batch_tokens", [1, 7, 16])
def test_chunked_prefill_is_whole_prefill(models: dict[str, Transformer], family: str, max_batch_tokens: int) -> None:
    questions = prompts(9)
    whole = engine(models[family])(questions, GREEDY)
    assert ids(engine(models[family], max_batch_tokens=max_batch_tokens)(questions, GREEDY)) == ids(whole)


def test_a_thousand_ids_in_chunks_of_16() -> None:
    model = tiny_model(context=1100)
    question = [3 + i * 31 % 97 for i in range(1000)]
    whole = engine(model, max_batch_tokens=4096)([question], GREEDY)[0]
    chunked = engine(model, max_batch_tokens=16)([question], GREEDY)[0]
    assert chunked.ids == whole.ids == tuple(reference(model, question, whole.ids).argmax(dim=-1).tolist())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("reuse", [True, False])
def test_preempted_is_not_preempted(models: dict[str, Transformer], family: str, reuse: bool) -> None:
    questions = prompts(12, longest=30)
    params = [SamplingParams(temperature=t, seed=i, max_tokens=30) for i, t in enumerate([0.0, 1.0] * 6)]
    roomy = engine(models[family])(questions, params)
    tight = engine(models[family], cache_tokens=64, prefix_reuse=reuse)
    preempted = count_preemptions(tight)
    assert ids(tight(questions, params)) == ids(roomy)
    assert preempted, "the cache was too large for this test to mean anything"
    assert tight.free_blocks == 16


def count_preemptions(subject: Engine) -> list[int]:
    seen: list[int] = []
    scheduler = subject._scheduler
    original = scheduler._preempt_newest

    def noted() -> object:
        seen.append(scheduler.running[-1].request)
        return original()

    scheduler._preempt_newest = noted  # type: ignore[assignment]
    return seen


def test_rows_of_very_different_lengths_are_as_each_alone() -> None:
    """The longest are kept out of the padded batch; those that stay must not notice when they join or leave it."""
    model = tiny_model(context=600)
    questions = [*prompts(12, longest=6), [3 + i % 90 for i in range(500)], [5 + i % 80 for i in range(120)]]
    params = [dataclasses.replace(GREEDY, max_tokens=5 + 3 * i) for i in range(len(questions))]
    together = engine(model)(questions, params)
    lone = engine(model, prefix_reuse=False)
    assert ids(together) == [lone([q], p)[0].ids for q, p in zip(questions, params, strict=True)]


def test_a_seed_gives_the_same_ids_in_any_company(models: dict[str, Transformer]) -> None:
    seeded = SamplingParams(temperature=1.0, top_p=0.9, top_k=30, min_p=0.01, seed=11, max_tokens=16)
    question = prompts(1, seed=9)[0]
    alone = engine(models["qwen3"])([question], seeded)[0]
    company = prompts(20, seed=10)
    others = [SamplingParams(temperature=0.1 * i, seed=i, top_p=1 - 0.04 * i, max_tokens=3 + i) for i in range(20)]
    assert engine(models["qwen3"])([*company, question], [*others, seeded])[-1].ids == alone.ids
    assert engine(models["qwen3"])([question], dataclasses.replace(seeded, seed=12))[0].ids != alone.ids
    unseeded = dataclasses.replace(seeded, seed=None, max_tokens=30)
    assert len(set(ids(engine(models["qwen3"])([question] * 4, unseeded)))) > 1


@torch.no_grad()
def test_kept_ids_are_those_the_logprobs_were_taken_over(models: dict[str, Transformer]) -> None:
    """Masking all but the `kept` likeliest logits and normalising again gives the reported log-probabilities."""
    params = SamplingParams(temperature=0.9, top_p=0.8, top_k=20, seed=5, max_tokens=12)
    questions = prompts(5)
    for question, answer in zip(questions, engine(models["qwen3"])(questions, params), strict=True):
        assert len(answer.kept) == len(answer.ids)
        assert max(answer.kept) <= 20
        logprobs = reference(models["qwen3"], question, answer.ids, temperature=0.9)
        for row, id_, logprob, kept in zip(logprobs, answer.ids, answer.logprobs, answer.kept, strict=True):
            left = row.masked_fill(row < row.sort(descending=True).values[kept - 1], -torch.inf).log_softmax(-1)
            assert float(left[id_]) == pytest.approx(logprob, abs=1e-4)
    for plain in (GREEDY, SamplingParams(temperature=0.9, top_p=1.0, max_tokens=4)):
        assert engine(models["qwen3"])(questions, plain)[0].kept == ()


def test_top_logprobs_lie_beside_each_id(models: dict[str, Transformer]) -> None:
    subject = engine(models["qwen3"])
    request = subject.add([5, 6, 7], dataclasses.replace(GREEDY, top_logprobs=3))
    outputs = [output for _ in range(20) if subject.has_work for output in subject.step()]
    assert {output.request for output in outputs} == {request}
    for output in outputs:
        for id_, logprob, top in zip(output.ids, output.logprobs, output.top_logprobs, strict=True):
            assert len(top) == 3
            assert top[0] == (id_, pytest.approx(logprob, abs=1e-6))
            assert [value for _, value in top] == sorted((value for _, value in top), reverse=True)


def test_nothing_leaks(models: dict[str, Transformer]) -> None:
    draw = random.Random(4)
    subject = engine(models["qwen3"], cache_tokens=200, max_batch_tokens=24, max_sequences=7)
    free = subject.free_blocks
    live: set[int] = set()
    finished = 0
    for _ in range(300):
        for _ in range(draw.randrange(3)):
            length = draw.choice([1, 4, 9, 30, 60])
            prompt = [3 + i % 5 for i in range(length)]
            live.add(subject.add(prompt, SamplingParams(seed=draw.randrange(9), max_tokens=draw.randint(1, 40))))
        if live and draw.random() < 0.4:
            victim = draw.choice(sorted(live))
            live.discard(victim)
            last = subject.abort(victim)
            assert last is not None
            assert last.finish_reason == "abort"
        for output in subject.step():
            assert output.request in live
            if output.finish_reason is not None:
                finished += 1
                live.discard(output.request)
        assert subject.running + subject.waiting == len(live)
    while subject.has_work:
        finished += sum(output.finish_reason is not None for output in subject.step())
    assert finished > 50
    assert subject.free_blocks == free == 50
    assert set(subject._blocks._references) == {0}


def test_abort_frees_blocks_before_the_next_step(models: dict[str, Transformer]) -> None:
    subject = engine(models["qwen3"])
    free = subject.free_blocks
    request = subject.add([5] * 40, GREEDY)
    subject.step()
    assert subject.free_blocks == free - 10
    subject.abort(request)
    assert subject.free_blocks == free
    assert not subject.has_work
    assert subject.abort(request) is None
    assert subject.step() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_with_nothing_to_do_does_nothing(models: dict[str, Transformer], family: str) -> None:
    assert engine(models[family]).step() == []


def test_new_weights_are_used_at_once_and_nothing_old_is_reused() -> None:
    old, new = tiny_model(seed=1), tiny_model(seed=2)
    question = prompts(1, seed=2)[0] * 2
    expected_old, expected_new = (engine(m)([question], GREEDY)[0].ids for m in (old, new))
    assert expected_old != expected_new
    subject = engine(old)
    assert subject([[4, *question[1:]]], GREEDY)[0].policy_version == 0
    half_way = subject.add(question, GREEDY)
    start = [id_ for _ in range(3) for output in subject.step() for id_ in output.ids]
    old.load_state_dict(new.state_dict())
    subject.weights_changed()
    other = [4, *question[1:]]
    assert subject([other], GREEDY)[0].cached_tokens == 0
    completion = subject([other], GREEDY)[0]
    assert completion.ids == engine(new)([other], GREEDY)[0].ids
    assert (completion.policy_version, completion.cached_tokens) == (1, (len(other) - 1) // 4 * 4)
    rest = [id_ for output in subject.step() if output.request == half_way for id_ in output.ids]
    assert start == list(expected_old[:3])
    assert rest == list(engine(new)([question + start], dataclasses.replace(GREEDY, max_tokens=13))[0].ids)


def test_the_context_and_the_cache_end_a_text_rather_than_fail() -> None:
    endless = SamplingParams(temperature=0)
    model = tiny_model(context=50)
    unending = Engine(model, eos_ids=[], cache_tokens=2048, block_size=4)([[5] * 10], endless)[0]
    assert (len(unending.ids), unending.finish_reason) == (40, "length")
    small = Engine(model, eos_ids=[], cache_tokens=24, block_size=4)
    several = small([[5] * 10, [6] * 4, [7] * 20], endless)
    assert [len(completion.ids) for completion in several] == [14, 20, 4]


def test_what_can_never_fit_is_refused_with_both_numbers() -> None:
    model = tiny_model(context=50)
    subject = engine(model, cache_tokens=32)
    with pytest.raises(RequestError, match=r"50 tokens.*context is 50"):
        subject.add([5] * 50, GREEDY)
    with pytest.raises(RequestError, match=r"32 tokens.*cache holds 32"):
        subject.add([5] * 32, GREEDY)
    with pytest.raises(RequestError, match="empty"):
        subject.add([], GREEDY)
    with pytest.raises(RequestError, match=r"5 to 101.*0 to 100"):
        subject.add([5, 101], GREEDY)
    with pytest.raises(RequestError, match="tokenizer"):
        subject.add([5], SamplingParams(stop=("x",)))
    with pytest.raises(RequestError, match="2 prompts and 1"):
        subject([[5], [6]], [GREEDY])
    with pytest.raises(RequestError, match="empty"):
        subject([[5], []], GREEDY)
    with pytest.raises(ConfigError, match="at least one block"):
        engine(model, cache_tokens=3)
    assert not subject.has_work
    assert subject.free_blocks == 8
    assert len(subject([[5] * 31], GREEDY)[0].ids) == 1


def test_a_call_leaves_other_requests_outputs_to_the_next_step(models: dict[str, Transformer]) -> None:
    subject = engine(models["qwen3"])
    mine = subject.add([5, 6, 7], GREEDY)
    subject([[8, 9]], dataclasses.replace(GREEDY, max_tokens=40))
    outputs = []
    while subject.has_work:
        outputs += subject.step()
    assert {output.request for output in outputs} == {mine}
    expected = engine(models["qwen3"])([[5, 6, 7]], GREEDY)[0]
    assert tuple(id_ for output in outputs for id_ in output.ids) == expected.ids


def test_a_failed_step_leaves_a_clean_engine(models: dict[str, Transformer], monkeypatch: pytest.MonkeyPatch) -> None:
    subject = engine(models["qwen3"])
    expected = subject([[5, 6, 7, 8, 9, 10]], GREEDY)[0]
    monkeypatch.setattr(subject._runner, "run", lambda chunks: 1 / 0)
    subject.add([3], GREEDY)
    with pytest.raises(ZeroDivisionError):
        subject([[5, 6, 7, 8, 9, 10]], GREEDY)
    monkeypatch.undo()
    assert not subject.has_work
    assert subject.free_blocks == 512
    again = subject([[5, 6, 7, 8, 9, 10]], GREEDY)[0]
    assert (again.ids, again.cached_tokens) == (expected.ids, 0)


def test_bf16_runs_and_stays_near_its_own_full_forward() -> None:
    model = tiny_model(spread=0.05).to(torch.bfloat16)
    questions = prompts(6)
    for question, answer in zip(questions, engine(model)(questions, GREEDY), strict=True):
        logprobs = reference(model, question, answer.ids).float()
        chosen = logprobs.gather(1, torch.tensor(answer.ids)[:, None])[:, 0]
        torch.testing.assert_close(torch.tensor(answer.logprobs), chosen, atol=0.1, rtol=0)
