"""Many listeners, one thread: everyone gets their ids, leaving aborts, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from small_models import tiny_model

from denken.engine import stream as stream_module
from denken.engine.engine import Engine
from denken.engine.sequence import Output
from denken.engine.stream import EngineError, OverloadedError, Stream
from denken.errors import RequestError
from denken.types import SamplingParams

BRIEF = SamplingParams(temperature=0, max_tokens=6)
LONG = SamplingParams(temperature=0, max_tokens=400)
PATIENCE = 30


@pytest.fixture
def engine() -> Engine:
    return Engine(tiny_model(), eos_ids=[], cache_tokens=2048, block_size=4, max_sequences=4)


@pytest.fixture
def stream(engine: Engine) -> Iterator[Stream]:
    with Stream(engine, max_waiting=8) as stream:
        yield stream


def within(coroutine: object) -> object:
    return asyncio.run(asyncio.wait_for(coroutine, PATIENCE))  # type: ignore[arg-type]


def until(condition: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.002)


def expected(prompt: list[int], params: SamplingParams = BRIEF) -> tuple[int, ...]:
    return Engine(tiny_model(), eos_ids=[], cache_tokens=2048)([prompt], params)[0].ids


async def collect(stream: Stream, prompt: list[int], params: SamplingParams = BRIEF) -> tuple[int, ...]:
    outputs = [output async for output in stream.generate(prompt, params)]
    assert [output.finish_reason for output in outputs] == [None] * (len(outputs) - 1) + ["length"]
    return tuple(id_ for output in outputs for id_ in output.ids)


def test_many_at_once_each_get_their_own(stream: Stream) -> None:
    async def ask() -> list[tuple[int, ...]]:
        return await asyncio.gather(*(collect(stream, [5, 6, n]) for n in range(10, 20)))

    assert within(ask()) == [expected([5, 6, n]) for n in range(10, 20)]


def test_the_synchronous_twin(stream: Stream) -> None:
    outputs = list(stream.generate_sync([5, 6, 7], BRIEF))
    assert tuple(id_ for output in outputs for id_ in output.ids) == expected([5, 6, 7])
    assert outputs[-1].finish_reason == "length"


def test_ids_come_one_by_one(stream: Stream) -> None:
    assert [len(output.ids) for output in stream.generate_sync([5, 6, 7], BRIEF)] == [1] * 6


def test_closing_the_iterator_aborts(engine: Engine, stream: Stream) -> None:
    free = engine.free_blocks
    outputs = stream.generate_sync([5] * 40, LONG)
    next(outputs)
    assert engine.free_blocks < free
    outputs.close()
    until(lambda: engine.free_blocks == free and not engine.has_work)


def test_leaving_an_async_loop_aborts(engine: Engine, stream: Stream) -> None:
    free = engine.free_blocks

    async def read_one() -> None:
        async with aclosing(stream.generate([5] * 40, LONG)) as outputs:
            async for _ in outputs:
                break

    within(read_one())
    until(lambda: engine.free_blocks == free and not engine.has_work)


def test_a_cancelled_task_aborts(engine: Engine, stream: Stream) -> None:
    free = engine.free_blocks

    async def cancel() -> None:
        task = asyncio.create_task(collect(stream, [5] * 40, LONG))
        while not engine.running:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    within(cancel())
    until(lambda: engine.free_blocks == free and not engine.has_work)


def test_an_event_loop_that_is_gone_aborts(engine: Engine, stream: Stream) -> None:
    """As when a server's loop is torn down without closing its generators."""
    free = engine.free_blocks
    loop = asyncio.new_event_loop()
    outputs = stream.generate([5] * 40, LONG)
    loop.run_until_complete(anext(outputs))
    loop.close()
    until(lambda: engine.free_blocks == free and not engine.has_work)


def test_a_refused_request_is_told_at_once_and_harms_nobody(stream: Stream) -> None:
    with pytest.raises(RequestError, match="context"):
        next(stream.generate_sync([5] * 600, BRIEF))
    assert within(collect(stream, [5, 6, 7])) == expected([5, 6, 7])


def test_too_many_requests_are_refused(stream: Stream) -> None:
    release, reached = threading.Event(), threading.Event()
    step = stream.engine.step

    def stuck() -> object:
        reached.set()
        release.wait(PATIENCE)
        return step()

    stream.engine.step = stuck  # type: ignore[method-assign, assignment]
    answers: list[int] = []

    def ask() -> None:
        answers.append(sum(len(output.ids) for output in stream.generate_sync([5, 6], BRIEF)))

    threads = [threading.Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    until(lambda: len(stream._listeners) == 12)
    with pytest.raises(OverloadedError, match="12 requests"):
        next(stream.generate_sync([5, 6], BRIEF))
    release.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == [6] * 12
    assert len(list(stream.generate_sync([5, 6], BRIEF))) == 6


def test_a_failed_step_reaches_everyone_and_the_thread_goes_on(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = stream.engine._runner
    run = runner.run

    def failing(chunks: list[object]) -> object:
        if len(chunks) < 3:
            return run(chunks)  # type: ignore[arg-type]
        raise RuntimeError("no memory")

    monkeypatch.setattr(runner, "run", failing)

    async def ask() -> list[object]:
        return await asyncio.gather(*(collect(stream, [n], LONG) for n in (5, 6, 7)), return_exceptions=True)

    errors = within(ask())
    assert [type(error) for error in errors] == [EngineError] * 3  # type: ignore[union-attr]
    assert all("no memory" in str(error) for error in errors)  # type: ignore[union-attr]
    assert stream.alive
    assert within(collect(stream, [5, 6, 7])) == expected([5, 6, 7])


def test_a_thread_that_dies_leaves_nobody_waiting(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying() -> object:
        raise SystemExit("out of luck")

    monkeypatch.setattr(stream.engine, "step", dying)
    with pytest.raises(EngineError, match="out of luck"):
        within(collect(stream, [5]))
    until(lambda: not stream.alive)
    with pytest.raises(EngineError, match="restart"):
        next(stream.generate_sync([5], BRIEF))


def test_closing_tells_those_who_wait_and_frees_the_engine(engine: Engine) -> None:
    stream = Stream(engine).start()
    outputs = stream.generate_sync([5, 6, 7], LONG)
    next(outputs)
    stream.close()
    with pytest.raises(EngineError, match="shut down"):
        list(outputs)
    with pytest.raises(EngineError, match="shut down"):
        next(stream.generate_sync([5], BRIEF))
    assert not engine.has_work
    assert engine.free_blocks == 512
    assert engine([[5, 6, 7]], BRIEF)[0].ids == expected([5, 6, 7])


def test_a_stream_must_be_started_once(engine: Engine) -> None:
    stream = Stream(engine)
    with pytest.raises(EngineError, match="start"):
        next(stream.generate_sync([5], BRIEF))
    with stream, pytest.raises(EngineError, match="before"):
        stream.start()


def test_requests_that_somebody_else_gave_the_engine_are_left_to_them(stream: Stream, engine: Engine) -> None:
    request = engine.add([5, 6, 7], BRIEF)
    stream.warm(lambda: [*range(90)])  # wakes the thread
    until(lambda: not stream._warming and stream._orders.empty())
    time.sleep(0.05)
    outputs = [output for _ in range(20) for output in engine.step()]
    assert {output.request for output in outputs} == {request}
    assert tuple(id_ for output in outputs for id_ in output.ids) == expected([5, 6, 7])


def test_a_text_is_computed_ahead_and_holds_nothing(engine: Engine, stream: Stream) -> None:
    free = engine.free_blocks
    text = [n % 90 for n in range(203)]
    stream.warm(lambda: text)
    until(lambda: not stream._warming and stream._orders.empty())
    outputs = list(stream.generate_sync([*text, 5], BRIEF))
    assert outputs[-1].cached_tokens == 200
    until(lambda: engine.free_blocks == free)
    assert tuple(id_ for output in outputs for id_ in output.ids) == expected([*text, 5])


def test_requests_come_before_texts_that_are_computed_ahead(engine: Engine, stream: Stream) -> None:
    """With a hundred texts put down, a request waits for the part that is under way, and for no other."""
    done: list[str] = []
    begun, go = threading.Event(), threading.Event()
    warm, step = engine.warm, engine.step

    def gated(ids: list[int], **under: int) -> bool:
        done.append("warm")
        begun.set()
        assert go.wait(PATIENCE)
        return warm(ids, **under)

    def counted() -> object:
        done.append("step")
        return step()

    engine.warm = gated  # type: ignore[method-assign, assignment]
    engine.step = counted  # type: ignore[method-assign, assignment]
    for n in range(100):
        stream.warm(lambda n=n: [n % 90, *range(90)] * 5)  # type: ignore[misc]
    assert begun.wait(PATIENCE)
    answer: list[object] = []
    asking = threading.Thread(target=lambda: answer.extend(stream.generate_sync([5, 6, 7], LONG)))
    asking.start()
    until(lambda: stream._listeners)
    go.set()
    asking.join(PATIENCE)
    assert len(answer) == 400
    assert done[:401] == ["warm", *["step"] * 400]
    until(lambda: not stream._warming)
    assert len(done) > 401 + 16


def test_a_text_that_fails_harms_nobody(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> list[int]:
        raise RuntimeError("no text")

    stream.warm(failing)
    monkeypatch.setattr(stream.engine._runner, "rows", None)
    stream.warm(lambda: [5] * 100)
    until(lambda: not stream._warming and stream._orders.empty())
    monkeypatch.undo()
    assert within(collect(stream, [5, 6, 7])) == expected([5, 6, 7])
    assert stream.engine.free_blocks == 512


def test_a_hang_up_during_prefill_frees_within_a_step() -> None:
    engine = Engine(tiny_model(), eos_ids=[], cache_tokens=2048, block_size=4, max_batch_tokens=8)
    free = engine.free_blocks
    steps: list[int] = []
    step, go = engine.step, threading.Semaphore(0)

    def counted() -> object:
        assert go.acquire(timeout=PATIENCE)
        steps.append(engine.free_blocks)
        return step()

    engine.step = counted  # type: ignore[method-assign, assignment]

    async def hang_up() -> None:
        task = asyncio.create_task(collect(stream, [5] * 400, LONG))
        go.release()
        while len(steps) < 1 or not engine.running:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.release()

    with Stream(engine) as stream:
        within(hang_up())
        until(lambda: engine.free_blocks == free and not engine.has_work)
        assert len(steps) <= 2
        go.release(400)


def test_asks_of_one_prompt_share_it_while_it_is_read() -> None:
    engine = Engine(tiny_model(), eos_ids=[], cache_tokens=2048, block_size=4, max_batch_tokens=16)
    prompt = [n % 90 for n in range(400)]

    async def ask() -> list[int]:
        async def one() -> int:
            return [output async for output in stream.generate(prompt, BRIEF)][-1].cached_tokens

        return await asyncio.gather(*(one() for _ in range(4)))

    with Stream(engine) as stream:
        cached = within(ask())
    assert sorted(cached)[1:] == [396] * 3  # type: ignore[call-overload]


def test_outputs_of_many_wait_for_one_another_but_the_first_and_the_last(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that run wake their event loop less often than there are steps, and lose nothing by it."""
    monkeypatch.setattr(stream_module, "GATHER_SECONDS", 1000.0)
    monkeypatch.setattr(stream_module, "MOST_GATHER_SECONDS", 1000.0)
    params = SamplingParams(temperature=0, max_tokens=40)

    async def outputs(prompt: list[int]) -> list[Output]:
        return [output async for output in stream.generate(prompt, params)]

    async def both() -> list[list[Output]]:
        # What is held when the clock began to run is handed over at once; from then on it is far from up.
        stream._handed_over = time.monotonic()
        return await asyncio.gather(outputs([5, 6]), outputs([7, 8]))

    for prompt, made in zip(([5, 6], [7, 8]), within(both()), strict=True):  # type: ignore[call-overload]
        assert [len(output.ids) for output in made] == [1, 39]
        assert tuple(id_ for output in made for id_ in output.ids) == expected(prompt, params)
        assert sum(len(output.logprobs) for output in made) == 40


def test_a_failure_loses_nothing_of_what_was_made_before(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "GATHER_SECONDS", 1000.0)
    monkeypatch.setattr(stream_module, "MOST_GATHER_SECONDS", 1000.0)
    stream._handed_over = time.monotonic()
    step, steps = stream.engine.step, iter(range(10))

    def fails() -> list[Output]:
        if next(steps) == 5:
            raise RuntimeError("out of order")
        return step()

    monkeypatch.setattr(stream.engine, "step", fails)
    seen: list[int] = []

    async def ask() -> None:
        async for output in stream.generate([5, 6], LONG):
            seen.extend(output.ids)

    with pytest.raises(EngineError, match="out of order"):
        within(ask())
    assert len(seen) == 5
