"""Adapters beside one another over one base: each row as if its adapter were merged and it ran alone."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import torch
from small_adapters import merged, write
from small_models import tiny_model

from denken.engine.engine import Engine
from denken.engine.fused import Fused
from denken.engine.native import Native
from denken.errors import CheckpointError, RequestError
from denken.model import adapters
from denken.model.adapters import Adapter
from denken.model.quantized import INT8, QuantizedLinear, Scheme
from denken.model.transformer import Transformer
from denken.types import Completion, SamplingParams

GREEDY = SamplingParams(temperature=0, max_tokens=12)


@pytest.fixture(scope="module")
def base() -> Transformer:
    return tiny_model()


@pytest.fixture(scope="module")
def three(base: Transformer, tmp_path_factory: pytest.TempPathFactory) -> list[Adapter]:
    """Of another rank each; the second changes attention's queries and values alone, the third all but those."""
    folder = tmp_path_factory.mktemp("adapters")
    few = ("q_proj", "v_proj")
    return [
        write(base, folder / "all", seed=1, rank=4),
        write(base, folder / "few", seed=2, rank=7, only=lambda name: name.endswith(few)),
        write(base, folder / "others", seed=3, rank=1, alpha=3, only=lambda name: not name.endswith(few)),
    ]


def engine(model: Transformer, **options: int | bool) -> Engine:
    return Engine(model, eos_ids=[1], **{"cache_tokens": 2048, "block_size": 4, **options})


def prompts(count: int, longest: int = 40, seed: int = 0) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(3, 101) for _ in range(draw.randint(1, longest))] for _ in range(count)]


def folders(adapters: list[Adapter]) -> list[Path]:
    return [adapter.folder for adapter in adapters]


def together(subject: Engine, asked: list[tuple[list[int], SamplingParams, int]]) -> list[Completion]:
    """All at once; (prompt, params, adapter) each."""
    found: dict[int, Completion] = {}
    order = [subject.add(prompt, params, adapter=adapter, at_once=True) for prompt, params, adapter in asked]
    while subject.has_work:
        for out in subject.step():
            assert out.finish_reason is not None
            found[out.request] = Completion(out.ids, out.logprobs, out.finish_reason, 0, out.cached_tokens)
    return [found[request] for request in order]


def close(one: Completion, other: Completion, atol: float = 1e-4) -> None:
    assert one.ids == other.ids
    torch.testing.assert_close(torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=atol, rtol=0)


def runs_through(subject: Engine, way: str) -> None:
    """The engine's network in native kernels, with larger operations, or as it is."""
    runner = subject._runner
    base = runner.adapters._model
    assert isinstance(base, Transformer)
    runner.model = {"native": Native, "fused": Fused, "plain": lambda model: model}[way](base)


WAYS = [
    pytest.param("native", marks=pytest.mark.skipif(not Native.covers(tiny_model()), reason="there is no compiler")),
    "fused",
    "plain",
]


@pytest.mark.parametrize("way", WAYS)
def test_an_adapter_over_its_base_is_the_merged_model(base: Transformer, three: list[Adapter], way: str) -> None:
    questions = prompts(8)
    for adapter in three:
        subject = engine(base)
        runs_through(subject, way)
        number = subject.learn(adapter.folder)
        expected = engine(merged(base, adapter))(questions, GREEDY)
        for ours, theirs in zip(subject(questions, GREEDY, adapter=number), expected, strict=True):
            close(ours, theirs)
        bare = subject(questions, GREEDY)
        assert sum(a.ids != b.ids for a, b in zip(bare, expected, strict=True)) > 2, "this adapter changes too little"


@pytest.mark.parametrize("way", WAYS)
def test_three_adapters_and_the_base_in_one_batch_are_as_each_alone(
    base: Transformer, three: list[Adapter], way: str
) -> None:
    subject, lone = engine(base), engine(base, prefix_reuse=False)
    for each in (subject, lone):
        runs_through(each, way)
    numbers = [0, *map(subject.learn, folders(three))]
    assert numbers == [0, *map(lone.learn, folders(three))]
    draw = random.Random(5)
    asked = [
        (prompt, dataclasses.replace(GREEDY, max_tokens=draw.randint(1, 20)), draw.choice(numbers))
        for prompt in prompts(40, seed=3)
    ]
    for ours, question in zip(together(subject, asked), asked, strict=True):
        close(ours, together(lone, [question])[0], atol=1e-5)


def test_experts_and_latent_attention_have_adapters_too(tmp_path: Path) -> None:
    """DeepSeek's: an up-projection that is absorbed, experts that see only the rows they are dealt, all changed."""
    model = tiny_model("deepseek_v3")
    both = [write(model, tmp_path / "1", seed=1), write(model, tmp_path / "2", seed=2, rank=3)]
    assert {"kv_b_proj", "kv_a_proj_with_mqa"} <= {name.rpartition(".")[2] for name in both[0].layers}
    assert any(".mlp.experts.3." in name for name in both[0].layers)
    assert any(".shared_experts." in name for name in both[0].layers)
    subject = engine(model, max_batch_tokens=48)
    numbers = [0, *map(subject.learn, folders(both))]
    models = [engine(each, prefix_reuse=False) for each in (model, *(merged(model, each) for each in both))]
    asked = [(prompt, GREEDY, numbers[i % 3]) for i, prompt in enumerate(prompts(15, seed=12))]
    for ours, (prompt, _, number) in zip(together(subject, asked), asked, strict=True):
        close(ours, models[number]([prompt], GREEDY)[0])
    assert len({ours.ids for ours in together(subject, [(prompts(1)[0], GREEDY, number) for number in numbers])}) == 3


def test_a_row_comes_out_to_the_bit_whoever_is_beside_it(base: Transformer, three: list[Adapter]) -> None:
    """With kernels: not even the last digit says who else is served."""
    if not Native.covers(base):
        pytest.skip("there is no compiler")
    subject = engine(base, prefix_reuse=False)
    numbers = [0, *map(subject.learn, folders(three))]
    asked = [(prompt, GREEDY, numbers[i % 4]) for i, prompt in enumerate(prompts(16, seed=4))]
    for ours, question in zip(together(subject, asked), asked, strict=True):
        assert ours.logprobs == together(subject, [question])[0].logprobs


def test_prompts_that_adapters_share_are_never_taken_over(base: Transformer, three: list[Adapter]) -> None:
    """Hostile interleaving: the same prompts and beginnings under every adapter, over and over, in one small cache."""
    subject = engine(base, cache_tokens=256)
    numbers = [0, *map(subject.learn, folders(three))]
    models = [engine(model, prefix_reuse=False) for model in (base, *(merged(base, each) for each in three))]
    shared = prompts(1, seed=9)[0] * 2
    tails = prompts(6, longest=9, seed=10)
    draw = random.Random(11)
    reused = 0
    for _ in range(6):
        asked = [(shared + draw.choice(tails), GREEDY, draw.choice(numbers)) for _ in range(8)]
        for ours, (prompt, params, number) in zip(together(subject, asked), asked, strict=True):
            close(ours, models[number]([prompt], params)[0])
            reused += ours.cached_tokens
    assert reused > 0, "nothing was taken over at all: this test shows nothing"


def test_the_first_under_an_adapter_takes_nothing_from_the_others(base: Transformer, three: list[Adapter]) -> None:
    subject = engine(base)
    numbers = [0, *map(subject.learn, folders(three))]
    prompt = prompts(1, seed=2)[0] * 3
    whole = (len(prompt) - 1) // 4 * 4
    assert [together(subject, [(prompt, GREEDY, n)])[0].cached_tokens for n in numbers] == [0] * 4
    assert [together(subject, [(prompt, GREEDY, n)])[0].cached_tokens for n in numbers] == [whole] * 4
    again = subject.learn(three[0].folder)
    assert together(subject, [(prompt, GREEDY, again)])[0].cached_tokens == 0


def test_preempted_and_warmed_texts_stay_their_adapters(base: Transformer, three: list[Adapter]) -> None:
    subject = engine(base, cache_tokens=96)
    numbers = [0, *map(subject.learn, folders(three))]
    prompt = prompts(1, seed=6)[0][:20]
    while subject.warm(prompt, adapter=numbers[1]):
        pass
    assert together(subject, [(prompt, GREEDY, numbers[2])])[0].cached_tokens == 0
    assert together(subject, [(prompt, GREEDY, numbers[1])])[0].cached_tokens > 0
    models = [engine(model) for model in (base, *(merged(base, each) for each in three))]
    params = dataclasses.replace(GREEDY, max_tokens=24)
    asked = [(prompt, params, numbers[i % 4]) for i in range(8)]
    for ours, (_, _, number) in zip(together(subject, asked), asked, strict=True):
        close(ours, models[number]([prompt], params)[0])


def test_in_bf16_an_adapter_is_as_near_to_the_merged_model_as_roundings_are(base: Transformer, tmp_path: Path) -> None:
    """Logits against fp32, of the change beside the weights and of the change rounded into them: neither is worse."""
    half = tiny_model().to(torch.bfloat16)
    adapter = write(half, tmp_path, seed=1)
    exact = merged(half.float(), adapter)
    half = half.to(torch.bfloat16)
    rounded = merged(half, adapter)
    subject = engine(half)
    number = subject.learn(tmp_path)
    beside = inside = 0.0
    params = dataclasses.replace(GREEDY, temperature=1.0, top_p=1.0, seed=1)
    for prompt in prompts(10):
        ours = subject([prompt], params, adapter=number)[0]
        expected, theirs = (logprobs_of(model, prompt, ours.ids) for model in (exact, rounded))
        beside += float((torch.tensor(ours.logprobs) - expected).abs().mean())
        inside += float((theirs - expected).abs().mean())
    assert 0 < beside < 1.5 * inside


@pytest.mark.parametrize("scheme", [INT8, Scheme(4, 32)], ids=["int8", "int4"])
def test_over_a_quantised_base_the_change_is_added_in_full(scheme: Scheme, tmp_path: Path) -> None:
    """Beside whole numbers the adapter keeps its own: each row is the quantised layer's product and what it adds."""
    model = tiny_model()
    quantised = 0
    for name, layer in list(model.named_modules()):
        if isinstance(layer, torch.nn.Linear) and name != "lm_head" and scheme.fits(layer.in_features):
            model.set_submodule(name, _rounded(layer, scheme))
            quantised += 1
    assert quantised > 8
    adapter = write(model, tmp_path, seed=1)
    subject, lone = engine(model), engine(model, prefix_reuse=False)
    number = subject.learn(tmp_path)
    assert lone.learn(tmp_path) == number
    asked = [(prompt, GREEDY, number * (i % 2)) for i, prompt in enumerate(prompts(8, seed=7))]
    for ours, question in zip(together(subject, asked), asked, strict=True):
        close(ours, together(lone, [question])[0], atol=1e-3)
    prompt = prompts(1)[0]
    ours = together(lone, [(prompt, GREEDY, number)])[0]
    with written_out(model, adapter):
        theirs = logprobs_of(model, prompt, ours.ids)
    torch.testing.assert_close(torch.tensor(ours.logprobs), theirs, atol=1e-2, rtol=0)
    assert ours.ids != together(lone, [(prompt, GREEDY, 0)])[0].ids


@torch.no_grad()
def logprobs_of(model: Transformer, prompt: list[int], answer: tuple[int, ...]) -> torch.Tensor:
    """Of an answer's ids, from one pass without any cache."""
    logits = model(torch.tensor([[*prompt, *answer]]))[0, len(prompt) - 1 : -1].float()
    return logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]


def _rounded(layer: torch.nn.Linear, scheme: Scheme) -> QuantizedLinear:
    """The layer in whole numbers, each group rounded to its own largest."""
    low, high = scheme.levels
    groups = layer.weight.detach().unflatten(1, (scheme.groups(layer.in_features), -1))
    scale_OG = groups.abs().amax(-1) / high
    codes = (groups / scale_OG[..., None]).round().clamp(low, high).to(torch.int8).flatten(1)
    out = QuantizedLinear(layer.in_features, layer.out_features, scheme, bias=layer.bias is not None)
    out.load_state_dict(scheme.tensors(codes, scale_OG) | ({} if layer.bias is None else {"bias": layer.bias}))
    return out


@contextmanager
def written_out(model: Transformer, adapter: Adapter) -> Iterator[None]:
    """The model with y + x A^T B^T in every layer that the adapter changes."""
    with ExitStack() as held:
        for name in adapter.layers:
            a_KI, b_OK = adapter.read(name)

            def add(_: torch.nn.Module, inputs: tuple[torch.Tensor], out: torch.Tensor, a=a_KI, b=b_OK) -> torch.Tensor:
                return out + inputs[0] @ a.T @ b.T

            held.callback(model.get_submodule(name).register_forward_hook(add).remove)
        yield


def test_one_adapters_overflow_is_nobody_elses(base: Transformer, three: list[Adapter], tmp_path: Path) -> None:
    """An adapter of finite but enormous numbers drowns its own rows alone."""
    write(base, tmp_path, seed=5, spread=1e18, only=lambda name: name.endswith("down_proj"))
    subject = engine(base)
    numbers = [0, subject.learn(three[0].folder), subject.learn(tmp_path)]
    sound = [engine(base), engine(merged(base, three[0]))]
    asked = [(prompt, GREEDY, numbers[i % 3]) for i, prompt in enumerate(prompts(9, seed=8))]
    params = dataclasses.replace(GREEDY, max_tokens=4)
    found = together(subject, [(prompt, params, number) for prompt, _, number in asked])
    for ours, (prompt, _, number) in zip(found, asked, strict=True):
        if number != numbers[2]:
            close(ours, sound[number]([prompt], params)[0])


def test_what_cannot_be_added_beside_others_is_refused(base: Transformer, tmp_path: Path) -> None:
    subject = engine(base)
    head = base.lm_head
    assert head is not None
    pair = torch.ones(1, head.in_features), torch.ones(head.out_features, 1)
    adapters.write(tmp_path, {"lm_head": pair}, rank=1, alpha=1, base=None)
    with pytest.raises(CheckpointError, match="'lm_head', which cannot be changed for some rows"):
        subject.learn(tmp_path)
    with pytest.raises(RequestError, match="no adapter 7"):
        subject.add([5, 6], GREEDY, adapter=7)
    wider = write(tiny_model("qwen3", spread=0.1), tmp_path / "fits", seed=1)
    assert subject.learn(wider.folder) == 1
