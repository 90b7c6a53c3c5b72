"""The watchdog: what it says of a step that stalls, how often, and when it is silent."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from denken.train.watchdog import WAITING, Watchdog


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def dog(clock: Clock) -> Watchdog:
    return Watchdog(clock)


def looks(dog: Watchdog, folder: Path, **settings: int) -> list[str]:
    said: list[str] = []
    dog.look(folder, said.append, **{"stall_s": 120, **settings})
    return said


def test_a_phase_that_lasts_is_named_once_with_every_stack(dog: Watchdog, clock: Clock, tmp_path: Path):
    dog.beat(7)
    with dog.phase("learn"):
        clock.now += 119
        assert looks(dog, tmp_path) == []
        clock.now += 2
        (said,) = looks(dog, tmp_path)
        assert "Step 7 stalls: learn, for 121 s" in said
        assert "stalled-7.txt" in said
        clock.now += 1000
        assert looks(dog, tmp_path) == []
    stacks = (tmp_path / "stalled-7.txt").read_text()
    assert "thread 0x" in stacks
    assert "test_a_phase_that_lasts_is_named_once_with_every_stack" in stacks
    with dog.phase("learn"):
        clock.now += 20_000
        assert len(looks(dog, tmp_path)) == 1


def test_what_always_takes_long_is_no_stall(dog: Watchdog, clock: Clock, tmp_path: Path):
    for seconds in (60, 70, 500):
        with dog.phase("generate"):
            clock.now += seconds
    with dog.phase("generate"):
        clock.now += 699
        assert looks(dog, tmp_path) == []
        clock.now += 2
        assert "its median before: 70.0 s" in looks(dog, tmp_path)[0]
    with dog.phase("score"):
        clock.now += 121
        assert len(looks(dog, tmp_path)) == 1


def test_the_innermost_phase_is_what_goes_on(dog: Watchdog, clock: Clock, tmp_path: Path):
    with dog.phase("learn"):
        clock.now += 100
        with dog.phase("collect"):
            clock.now += 100
        with dog.phase(WAITING):
            clock.now += 150
            (said,) = looks(dog, tmp_path, rank=1)
            assert f"learn, {WAITING}, for 150 s" in said
            assert "not the one that is late" in said
        assert looks(dog, tmp_path) == []  # what lies around it is no news
    assert (tmp_path / "stalled-0-1.txt").is_file()
    clock.now += 10_000
    assert looks(dog, tmp_path) == []  # no phase, no stall


def test_short_phases_within_a_late_one_do_not_repeat_the_news(dog: Watchdog, clock: Clock, tmp_path: Path):
    with dog.phase("save"):
        clock.now += 200
        said = []
        for _ in range(3):
            with dog.phase(WAITING):
                clock.now += 1
                said += looks(dog, tmp_path)
    assert len(said) == 1


def test_a_phase_that_fails_is_over(dog: Watchdog, clock: Clock, tmp_path: Path):
    with pytest.raises(ZeroDivisionError), dog.phase("score"):
        raise ZeroDivisionError
    clock.now += 1000
    assert looks(dog, tmp_path) == []


def test_the_thread_looks_while_the_loop_hangs_and_ends_with_it(tmp_path: Path):
    dog, spoken, said = Watchdog(), threading.Event(), []

    def warn(text: str) -> None:
        said.append(text)
        spoken.set()

    with dog.watching(tmp_path, warn, stall_s=0.05), dog.phase("generate"):
        assert spoken.wait(20)
        assert any(thread.name == "watchdog" for thread in threading.enumerate())
    assert "Step 0 stalls: generate" in said[0]
    assert not any(thread.name == "watchdog" for thread in threading.enumerate())
    with dog.watching(tmp_path, warn, stall_s=0):
        assert not any(thread.name == "watchdog" for thread in threading.enumerate())
