"""An engine in another process: says what it says in this one, is left and closed like it, and may die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from small_models import tiny_model

from denken.engine import apart
from denken.engine.answering import answer
from denken.engine.apart import Apart
from denken.engine.engine import Engine
from denken.engine.grammar import Grammars
from denken.engine.sequence import Output
from denken.engine.stream import EngineError, OverloadedError, Stream
from denken.errors import CheckpointError, ConfigError, RequestError
from denken.tokenizer import Tokenizer
from denken.types import SamplingParams

BRIEF = SamplingParams(temperature=0, max_tokens=6)
LONG = SamplingParams(temperature=0, max_tokens=400)
PATIENCE = 30
VOCABULARY = 400

CHILD = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from small_models import tiny_model
from denken.engine.answering import answer
from denken.engine.engine import Engine
from denken.engine.stream import Stream
from denken.tokenizer import Tokenizer
tokenizer = Tokenizer.load(sys.argv[1])
engine = Engine(tiny_model(vocabulary={VOCABULARY}), eos_ids=[0], tokenizer=tokenizer, cache_tokens=2048, block_size=4)
answer(Stream(engine, max_waiting=8), sys.stdin.buffer, sys.stdout.buffer)
"""


def begun(tokenizer: Tokenizer) -> Apart:
    asked = Apart([sys.executable, "-c", CHILD, str(tokenizer.folder)])
    asked.meet(Grammars(tokenizer, [0]))
    return asked.start()


@pytest.fixture(scope="module")
def asked(tokenizer: Tokenizer) -> Iterator[Apart]:
    """For tests that leave it as it was."""
    asked = begun(tokenizer)
    yield asked
    asked.close()


@pytest.fixture
def mortal(tokenizer: Tokenizer) -> Iterator[Apart]:
    """For tests that do not."""
    asked = begun(tokenizer)
    yield asked
    asked.close()


def here(tokenizer: Tokenizer) -> Engine:
    model = tiny_model(vocabulary=VOCABULARY)
    return Engine(model, eos_ids=[0], tokenizer=tokenizer, cache_tokens=2048, block_size=4)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def whole(outputs: list[Output]) -> tuple[object, ...]:
    """Everything that a request was told, whatever came with what; but for its number."""
    return (
        [id for output in outputs for id in output.ids],
        [logprob for output in outputs for logprob in output.logprobs],
        [top for output in outputs for top in output.top_logprobs],
        [kept for output in outputs for kept in output.kept],
        outputs[-1].finish_reason,
        outputs[-1].surplus,
    )


EVERYTHING = [
    BRIEF,
    SamplingParams(temperature=0.9, seed=7, max_tokens=40),
    SamplingParams(temperature=0.9, top_k=5, min_p=0.01, seed=8, max_tokens=20, top_logprobs=3),
    SamplingParams(temperature=0.7, seed=9, max_tokens=30, frequency_penalty=0.5, logit_bias=((5, 3.5), (9, -100.0))),
    SamplingParams(temperature=1.0, seed=3, max_tokens=60, stop=("a", "e", "the")),
    SamplingParams(temperature=0.7, seed=4, max_tokens=30, thinking_budget=4),
    SamplingParams(temperature=1.0, seed=1, max_tokens=40, grammar="start: /[a-c]{3,9}/"),
]


@pytest.mark.parametrize("params", EVERYTHING)
def test_it_says_what_the_engine_says_here(asked: Apart, tokenizer: Tokenizer, params: SamplingParams) -> None:
    with Stream(here(tokenizer)) as stream:
        expected = whole(list(stream.generate_sync([5, 6, 7], params, thinking=False)))
    assert whole(list(asked.generate_sync([5, 6, 7], params, thinking=False))) == expected


def test_many_at_once_each_get_their_own(asked: Apart, tokenizer: Tokenizer) -> None:
    async def one(number: int) -> tuple[object, ...]:
        return whole([output async for output in asked.generate([5, 6, number], LONG)])

    async def ask() -> list[tuple[object, ...]]:
        return await asyncio.gather(*(one(number) for number in range(10, 20)))

    found = asyncio.run(asyncio.wait_for(ask(), PATIENCE))
    completions = here(tokenizer)([[5, 6, number] for number in range(10, 20)], LONG)
    assert [ids for ids, *_ in found] == [list(completion.ids) for completion in completions]
    assert not asked._listeners


def test_what_cannot_be_served_is_told_at_once(asked: Apart) -> None:
    for prompt, params, reason in (
        ([5] * 600, BRIEF, "context"),
        ([], BRIEF, "empty"),
        ([VOCABULARY], BRIEF, "encode the prompt"),
        ([5], SamplingParams(grammar="start: ("), "schema or grammar"),
    ):
        with pytest.raises(RequestError, match=reason):
            next(asked.generate_sync(prompt, params))
    assert not asked._listeners


def test_too_many_requests_are_refused(mortal: Apart) -> None:
    os.kill(mortal._process.pid, signal.SIGSTOP)
    try:
        waiting = [mortal.generate_sync([5, 6], LONG) for _ in range(264)]
        threads = [threading.Thread(target=next, args=(each,)) for each in waiting]
        for thread in threads:
            thread.start()
        until(lambda: len(mortal._listeners) == 264)
        with pytest.raises(OverloadedError, match="264 requests"):
            next(mortal.generate_sync([5, 6], BRIEF))
    finally:
        os.kill(mortal._process.pid, signal.SIGCONT)
    for thread in threads:
        thread.join(PATIENCE)
    for each in waiting:
        each.close()
    assert len(list(mortal.generate_sync([5, 6], BRIEF))[-1].ids) > 0


def test_who_is_answered_by_an_error_of_the_process_gets_that_error(
    asked: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the process finds something wrong that was not seen here."""
    monkeypatch.setattr(asked, "check", lambda prompt, params: None)
    with pytest.raises(RequestError, match="context is 512"):
        next(asked.generate_sync([5] * 600, BRIEF))
    assert not asked._listeners


class Lines:
    """Records that come one by one, through a pipe."""

    def __init__(self) -> None:
        reading, writing = os.pipe()
        self.reader, self.writer = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")

    def put(self, **order: object) -> None:
        self.writer.write(json.dumps(order).encode() + b"\n")
        self.writer.flush()


def test_leaving_aborts_and_warming_computes_ahead(tokenizer: Tokenizer) -> None:
    """The process's side, in a thread of this one, so that its engine can be looked into."""
    engine, orders, news = here(tokenizer), Lines(), Lines()
    free, step, steps = engine.free_blocks, engine.step, 0

    def slow() -> list[Output]:
        nonlocal steps
        steps += 1
        time.sleep(0.01)
        return step()

    engine.step = slow  # type: ignore[method-assign]
    thread = threading.Thread(target=answer, args=(Stream(engine), orders.reader, news.writer))
    thread.start()
    hello = json.loads(news.reader.readline())
    assert hello == {"context": 512, "cache": 2048, "vocabulary": VOCABULARY, "most": 512}
    orders.put(ask=1, ids=[5] * 40, params=asdict(LONG), thinking=True, adapter=0)
    assert json.loads(news.reader.readline())["said"][0][0] == 1
    assert engine.free_blocks < free
    orders.put(leave=1)
    until(lambda: engine.free_blocks == free and not engine.has_work)
    assert steps < LONG.max_tokens  # it was not said to its end
    orders.put(leave=1)  # who has left may say so again
    orders.put(warm=[9] * 30, adapter=0)
    orders.put(ask=2, ids=[9] * 30, params=asdict(BRIEF), thinking=True, adapter=0)
    said = []
    while not said or said[-1][3] is None:
        said += [record for record in json.loads(news.reader.readline()).get("said", ()) if record[0] == 2]
    assert sum(len(record[1]) for record in said) == 6
    orders.writer.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert engine.free_blocks == free


def test_what_was_said_before_an_error_comes_before_it(tokenizer: Tokenizer) -> None:
    engine, orders, news = here(tokenizer), Lines(), Lines()
    step, steps = engine.step, 0

    def fails() -> list[Output]:
        nonlocal steps
        steps += 1
        if steps == 3:
            raise ValueError("a fault")
        return step()

    engine.step = fails  # type: ignore[method-assign]
    thread = threading.Thread(target=answer, args=(Stream(engine), orders.reader, news.writer))
    thread.start()
    news.reader.readline()
    orders.put(ask=1, ids=[5] * 3, params=asdict(LONG), thinking=True, adapter=0)
    records = []
    while not records or "failed" not in records[-1]:
        records.append(json.loads(news.reader.readline()))
    assert sum(len(said[1]) for record in records[:-1] for said in record["said"]) == 2
    assert records[-1]["error"][0] == "EngineError"
    orders.writer.close()
    thread.join(PATIENCE)


def test_leaving_is_told_to_the_process(asked: Apart) -> None:
    outputs = asked.generate_sync([5] * 40, LONG)
    next(outputs)
    outputs.close()
    assert not asked._listeners
    assert len([id for output in asked.generate_sync([5, 6], BRIEF) for id in output.ids]) == 6


def test_a_text_is_computed_ahead_when_nobody_waits(asked: Apart) -> None:
    prompt = [11] * 41
    asked.warm(lambda: prompt)

    def cached() -> int:
        outputs = list(asked.generate_sync(prompt, BRIEF))
        return outputs[-1].cached_tokens

    until(lambda: not asked._warming)
    time.sleep(0.5)  # it is on its way to the other process, which says nothing of it, and computes it when it has time
    assert cached() == 40


def test_what_cannot_be_made_ahead_harms_nobody(asked: Apart) -> None:
    def broken() -> list[int]:
        raise ValueError("no text")

    asked.warm(broken)
    until(lambda: not asked._warming)
    assert len([id for output in asked.generate_sync([5, 6], BRIEF) for id in output.ids]) == 6


def test_where_the_process_dies_who_waits_is_told_and_another_is_begun(
    mortal: Apart, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apart, "TOO_SOON_SECONDS", 0.0)
    first = mortal._process.pid
    outputs = mortal.generate_sync([5] * 40, LONG)
    next(outputs)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(EngineError, match="send it again"):
        list(outputs)
    with pytest.raises(EngineError, match=r"begun anew; send the request again in a moment"):
        next(mortal.generate_sync([5, 6], BRIEF))
    assert mortal.down
    until(lambda: mortal.alive)
    assert not mortal.down
    assert mortal._process.pid != first
    assert len([id for output in mortal.generate_sync([5, 6], BRIEF) for id in output.ids]) == 6


def test_a_process_that_dies_at_once_is_not_begun_for_ever(mortal: Apart) -> None:
    os.kill(mortal._process.pid, signal.SIGKILL)
    until(lambda: not mortal._threads[0].is_alive())
    with pytest.raises(EngineError, match=r"no other was begun .*restart the server"):
        next(mortal.generate_sync([5, 6], BRIEF))


def test_another_one_that_cannot_learn_what_the_first_knew_is_ended(
    mortal: Apart, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where the folder of an adapter is gone meanwhile."""
    monkeypatch.setattr(apart, "TOO_SOON_SECONDS", 0.0)
    mortal._learnt.append((tmp_path, "tiny"))
    first = mortal._process
    os.kill(first.pid, signal.SIGKILL)
    until(lambda: not mortal._threads[0].is_alive())
    assert mortal._process is not first
    assert mortal._process.returncode == 0
    with pytest.raises(EngineError, match=r"no other was begun .*restart the server"):
        next(mortal.generate_sync([5, 6], BRIEF))


def test_closing_ends_the_process_and_tells_who_waits(mortal: Apart) -> None:
    outputs = mortal.generate_sync([5] * 40, LONG)
    next(outputs)
    mortal.close()
    with pytest.raises(EngineError, match="shut down"):
        list(outputs)
    assert mortal._process.returncode == 0
    with pytest.raises(EngineError, match="shut down"):
        next(mortal.generate_sync([5, 6], BRIEF))


def test_it_ends_when_nobody_can_give_orders_any_more(mortal: Apart) -> None:
    """As where this process is killed: its ends of the pipes are closed by the system."""
    assert mortal._process.stdin is not None
    mortal._closing = True
    mortal._process.stdin.close()
    assert mortal._process.wait(PATIENCE) == 0


def test_a_process_that_cannot_begin_says_why() -> None:
    refusing = "import sys; from denken.errors import CheckpointError; from denken.engine.answering import refuse; "
    refusing += "refuse(CheckpointError('model.safetensors is cut'), sys.stdout.buffer)"
    for code, kind, reason in (
        (refusing, CheckpointError, "is cut"),
        ("import sys; sys.exit(3)", EngineError, "code 3 before it said anything"),
    ):
        asked = Apart([sys.executable, "-c", code])
        with pytest.raises(kind, match=reason):
            asked.meet(None)  # type: ignore[arg-type]
        assert asked._process.returncode is not None


def test_one_that_is_not_wanted_any_more_is_not_waited_for() -> None:
    asked = Apart([sys.executable, "-c", "import time; time.sleep(60)"])
    began = time.monotonic()
    asked.close()
    assert time.monotonic() - began < 5
    assert asked._process.returncode is not None


def test_what_is_only_in_the_process_is_said(asked: Apart, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="process of its own"):
        _ = asked.engine
    with pytest.raises(ConfigError, match="before it is asked"):
        asked.learn(tmp_path)
