"""Many listeners, one thread: everyone gets their ids, leaving aborts, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from small_models import tiny_model

from denken.engine.engine import Engine
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
