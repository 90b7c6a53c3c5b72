"""How a step is shared out between those who decode and prompts that are read. No network here, and no clock."""

from __future__ import annotations

import pytest
from small_models import ScriptedModel

from denken.engine.cache import Blocks
from denken.engine.engine import Engine
from denken.engine.scheduler import Portions, Scheduler
from denken.engine.sequence import Endings, Sequence
from denken.engine.speculate import Speculation
from denken.types import SamplingParams


def request(number: int, length: int) -> Sequence:
    return Sequence(
        number,
        [3 + number % 90, *[3 + i % 90 for i in range(length - 1)]],
        SamplingParams(),
        1000,
        Endings(frozenset()),
        0,
    )


def seconds(decoding: int, read: int) -> float:
    """A machine on which a step takes 4 ms, each that decodes 0.1 ms, and an id of a prompt 0.05 ms."""
    return 0.004 + 0.0001 * decoding + 0.00005 * read


def stepped(scheduler: Scheduler) -> tuple[int, int, float]:
    """One step: how many decode, how many ids of prompts are read, and how long it takes."""
    chunks = scheduler.schedule()
    decoding = sum(chunk.decodes for chunk in chunks)
    read = sum(chunk.count for chunk in chunks if not chunk.decodes)
    took = seconds(decoding, read)
    scheduler.took(chunks, took)
    for chunk in chunks:
        chunk.sequence.computed += chunk.count
        if chunk.last:
            chunk.sequence.append(7, -1.0)
    return decoding, read, took


@pytest.mark.parametrize("talkers", [1, 12])
def test_a_long_prompt_keeps_nobody_waiting(talkers: int) -> None:
    scheduler = Scheduler(Blocks(4096, 4), 1024, 64, portions=Portions())
    for number in range(talkers):
        scheduler.add(request(number, 20 + number))
    for _ in range(40):
        stepped(scheduler)
    usual = stepped(scheduler)[2]
    scheduler.add(request(50, 3000))
    steps = [stepped(scheduler) for _ in range(60)]
    reading = [(decoding, read, took) for decoding, read, took in steps if read]
    assert all(decoding >= talkers for decoding, _, _ in steps)
    assert sum(read for _, read, _ in reading) == 3000
    assert max(took for _, _, took in steps) <= 2.5 * usual
    # It is not read in crumbs either.
    assert len(reading) < 50


def test_where_nobody_decodes_prompts_have_the_whole_step() -> None:
    scheduler = Scheduler(Blocks(4096, 4), 1024, 64, portions=Portions())
    scheduler.add(request(0, 3000))
    assert [stepped(scheduler)[1] for _ in range(3)] == [1024, 1024, 952]
    # And without portions a prompt has what is left, as it always had.
    plain = Scheduler(Blocks(4096, 4), 1024, 64)
    plain.add(request(0, 8))
    stepped(plain)
    plain.add(request(1, 3000))
    assert stepped(plain)[1] == 1023


def test_a_step_that_was_held_up_does_not_change_much() -> None:
    portions = Portions()
    assert portions.most == Portions.FIRST
    for _ in range(50):
        portions.took(True, 0, 0.004)
        portions.took(False, 100, 0.005)
    assert portions.most == pytest.approx(64, abs=1)
    portions.took(True, 0, 4.0)
    assert portions.most < 100
    for _ in range(50):
        portions.took(True, 30, 0.5)
    assert portions.most == Portions.LEAST


def test_texts_are_the_same_in_portions() -> None:
    script = [0, *[20 + i % 40 for i in range(500)]]
    params = SamplingParams(temperature=0, max_tokens=30)
    prompts = [[5] * n for n in (3, 200, 90, 1, 300)]
    plain = Engine(ScriptedModel(script, context=520), eos_ids=[])(prompts, params)  # type: ignore[arg-type]
    subject = Engine(ScriptedModel(script, context=520), eos_ids=[], portions=True)  # type: ignore[arg-type]
    first = subject.add(prompts[0], params)
    outputs = subject.step()
    rest = subject(prompts[1:], params)
    assert [c.ids for c in rest] == [c.ids for c in plain[1:]]
    outputs += subject.step()
    assert tuple(id_ for o in outputs if o.request == first for id_ in o.ids) == plain[0].ids


def test_a_step_of_nobody_says_nothing_of_how_long_steps_take() -> None:
    """Whoever was under way has ended or been aborted, before anybody has decoded."""
    scheduler = Scheduler(Blocks(64, 4), 64, 4, speculation=Speculation())
    assert scheduler.schedule() == []
    scheduler.took([], 0.01)
