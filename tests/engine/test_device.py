"""Everything on the network's device: what it says is what the engine says on a processor.

What needs no GPU is shown on the processor, operation by operation; graphs are shown where there is one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_adapters import write
from small_models import tiny_model
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode
from torch.utils._pytree import tree_leaves, tree_map

from denken.engine import device
from denken.engine.drawing import Manners, draw, kind_of
from denken.engine.engine import Engine
from denken.engine.sampler import manner_of, sample
from denken.engine.scheduler import Lead
from denken.errors import ConfigError
from denken.model.kernels import call
from denken.model.kernels.decode import Ahead
from denken.types import Completion, SamplingParams

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
WHERE = [("cpu", "eager"), *(pytest.param("cuda", way, marks=needs_cuda) for way in ("eager", "graph"))]
SHARED = list(range(3, 60))
PROMPTS = [[5, 9, 3], SHARED, [*SHARED, 7], [*SHARED[:40], 2, 2], [7] * 90, [1, 2, 3, 4], [11], SHARED]
GREEDY = SamplingParams(temperature=0, max_tokens=40)
MANNERS = [
    SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k, min_p=min_p, seed=11 + number, max_tokens=most)
    for number, (temperature, top_p, top_k, min_p, most) in enumerate(
        [
            (0, 1, 0, 0, 20),
            (1, 1, 0, 0, 33),
            (1, 0.9, 0, 0, 20),
            (0.7, 1, 5, 0, 25),
            (0.9, 1, 0, 0.1, 20),
            (1.3, 0.8, 30, 0.01, 70),
            (0, 1, 0, 0, 4),
            (1, 0.5, 0, 0, 12),
        ]
    )
]


def engines(where: str, way: str, family: str = "qwen3", **settings: object) -> tuple[Engine, Engine]:
    """The engine of the processor, and the same network in the other way."""
    own = {"eos_ids": [5], "block_size": 8, "cache_tokens": 2048, **settings}
    reference = Engine(tiny_model(family), **own)  # type: ignore[arg-type]
    return reference, Engine(tiny_model(family).to(where), decoding=way, ahead=True, **own)  # type: ignore[arg-type]


def same(found: Sequence[Completion], expected: Sequence[Completion]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.ids, one.finish_reason, one.kept) == (other.ids, other.finish_reason, other.kept)
        assert one.logprobs == pytest.approx(other.logprobs, abs=2e-4)


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows went ahead in each call. Calls are of eight steps, however long they take."""
    monkeypatch.setattr(Lead, "steps", 8)
    ahead, found = device.DeviceRunner.ahead, []

    def noted(*given: object) -> Ahead:
        said = ahead(*given)  # type: ignore[arg-type]
        found.append(len(said.said))
        return said

    monkeypatch.setattr(device.DeviceRunner, "ahead", noted)
    return found


@pytest.mark.parametrize(("where", "way"), WHERE)
@pytest.mark.parametrize("family", ["qwen3", "qwen2", "llama", "deepseek_v3"])
def test_a_device_says_what_a_processor_says(family: str, where: str, way: str, steps: list[int]) -> None:
    reference, subject = engines(where, way, family)
    for params in ([GREEDY] * len(PROMPTS), MANNERS):
        for _ in range(2):  # the second time what was computed is there, and shapes have been met
            same(subject(PROMPTS, params), reference(PROMPTS, params))
    assert max(steps) == len(PROMPTS)
    assert subject.free_blocks == reference.free_blocks
    known = [{ids for _, ids in engine._blocks._block_of} for engine in (subject, reference)]
    assert known[0] == known[1]


@pytest.mark.parametrize(("where", "way"), WHERE)
def test_those_who_read_are_beside_those_who_decode(where: str, way: str, steps: list[int]) -> None:
    """Prompts are read in parts, requests come and go, blocks run out: no batch stays as it is."""
    small = {"max_batch_tokens": 24, "max_sequences": 4, "cache_tokens": 256}
    reference, subject = engines(where, way, **small)
    same(subject(PROMPTS, MANNERS), reference(PROMPTS, MANNERS))
    assert steps
    assert subject.free_blocks == 256 // 8


@pytest.mark.parametrize(("where", "way"), WHERE)
def test_what_needs_more_than_logits_goes_step_by_step(where: str, way: str) -> None:
    reference, subject = engines(where, way)
    params = [replace(each, frequency_penalty=0.5, logit_bias=((7, 2.0),), top_logprobs=2) for each in MANNERS]
    same(subject(PROMPTS, params), reference(PROMPTS, params))


@pytest.mark.parametrize(("where", "way"), WHERE)
def test_new_weights_are_seen(where: str, way: str) -> None:
    reference, subject = engines(where, way)
    for each in range(4):
        same(subject(PROMPTS, MANNERS), reference(PROMPTS, MANNERS))
        for engine in (reference, subject):
            with torch.no_grad():
                for number, parameter in enumerate(engine._model.parameters()):
                    generator = torch.Generator().manual_seed(100 * each + number)
                    parameter.add_(torch.randn(parameter.shape, generator=generator).mul_(0.05).to(parameter.device))
            engine.weights_changed()


@pytest.mark.parametrize(("where", "way"), WHERE)
def test_rows_with_an_adapter_are_beside_others(where: str, way: str, tmp_path: Path) -> None:
    reference, subject = engines(where, way)
    write(tiny_model(), tmp_path, seed=3)
    said = []
    for engine in (reference, subject):
        number = engine.learn(tmp_path)
        requests = [engine.add(PROMPTS[i], GREEDY, adapter=number * (i % 2)) for i in range(6)]
        ids: dict[int, list[int]] = {request: [] for request in requests}
        while engine.has_work:
            for output in engine.step():
                ids[output.request] += output.ids
        said.append(list(ids.values()))
    assert said[0] == said[1]


@pytest.mark.parametrize("kinds", [[0], [0, 1, 4], range(len(MANNERS))])
def test_ids_are_drawn_as_the_sampler_draws_them(kinds: Sequence[int]) -> None:
    params = [MANNERS[kind] for kind in kinds] * 40
    generator = torch.Generator().manual_seed(1)
    logits_RV: Tensor = torch.randn(len(params), 333, generator=generator) * 3
    noise = torch.rand(len(params), generator=generator, dtype=torch.float64)
    manners = Manners.blank(len(params), logits_RV.device)
    own = [manner_of(each) for each in params]
    manners.take(own)
    ids, logprobs, kept = (x.tolist() for x in draw(logits_RV, manners, noise, kind_of(own)))
    expected = sample(logits_RV, [replace(each, top_logprobs=1) for each in params], noise.tolist())
    assert (ids, kept) == ([each.id for each in expected], [each.kept for each in expected])
    assert logprobs == pytest.approx([each.logprob for each in expected], abs=1e-5)


def test_a_failed_step_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    reference, subject = engines("cpu", "eager")
    with monkeypatch.context() as patched:
        patched.setattr(device, "draw", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            subject(PROMPTS, GREEDY)
    same(subject(PROMPTS, GREEDY), reference(PROMPTS, GREEDY))


def test_what_cannot_be_had_is_said() -> None:
    with pytest.raises(ConfigError, match="the model is on cpu; move it there, or say decoding='eager'"):
        Engine(tiny_model(), eos_ids=[], decoding="graph")
    with pytest.raises(ConfigError, match="Did you mean 'eager'"):
        Engine(tiny_model(), eos_ids=[], decoding="eagre")  # type: ignore[arg-type]


@needs_cuda
def test_what_comes_again_is_replayed() -> None:
    _, subject = engines("cuda", "graph")
    assert isinstance(subject._runner, device.DeviceRunner)
    subject(PROMPTS, MANNERS)
    captured = subject._runner._captured
    assert captured is not None
    assert captured.count > 0
    assert not captured.failed


class Recorder(TorchDispatchMode):
    """Notes every operation with the very tensors it took, as a graph does, and refuses what a graph cannot hold."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default), func
        assert func is not torch.ops.aten.lift_fresh.default, "a tensor of Python's numbers"
        out = func(*args, **(kwargs or {}))
        self.noted.append((func, args, kwargs or {}, out))
        return out

    def replay(self) -> None:
        """Once more, from the same tensors: what an operation made takes the place of what it had made."""
        made: dict[int, Any] = {}
        for func, args, kwargs, out in self.noted:
            args, kwargs = tree_map(lambda x: made.get(id(x), x), (args, kwargs))
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                made[id(old)] = new


class Recorded(device.Captured):
    """Graphs as a processor has them: operations that are run again without Python's part."""

    def _capture(self, shape: Hashable, work: Callable[[], None]) -> bool:
        with Recorder() as self._graphs[shape]:
            work()
        return True


def test_what_is_replayed_reads_what_lies_on_the_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor's stand-in for graphs: shapes come again with other texts, other manners and other weights."""
    monkeypatch.setattr(call, "library", lambda: None)  # kernels are no operations of PyTorch's
    reference, subject = engines("cpu", "eager")
    runner = subject._runner
    assert isinstance(runner, device.DeviceRunner)
    runner._captured = captured = Recorded(torch.device("cpu"))
    draw_once, state = runner._draw, (runner._ids_B, runner._positions_B, runner._step_1)

    def undone(rows: int, kind: Any) -> None:
        """What a capture draws is not said."""
        before = [x.clone() for x in state]
        draw_once(rows, kind)
        mode = _get_current_dispatch_mode()
        if isinstance(mode, Recorder):
            count = len(mode.noted)
            for x, old in zip(state, before, strict=True):
                x.copy_(old)
            del mode.noted[count:]

    monkeypatch.setattr(runner, "_draw", undone)
    for each in range(2):
        for prompts, params in ((PROMPTS, MANNERS), (PROMPTS[::-1], MANNERS), (PROMPTS[:3], [GREEDY] * 3)):
            same(subject(prompts, params), reference(prompts, params))
        for engine in (reference, subject):
            with torch.no_grad():
                for parameter in engine._model.parameters():
                    parameter.mul_(1 + 0.1 * (each + 1))
            engine.weights_changed()
    assert captured.count > 3
