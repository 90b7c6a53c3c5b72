"""What several tests of training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import killing
from denken.train import grpo, runlog, teacher
from fake_teacher import FakeTeacher, teaching


@pytest.fixture(scope="session", autouse=True)
def blank_curves() -> Iterator[None]:
    """Runs leave a blank curves.png: to draw one takes as long as ten steps. Drawing is tested by itself."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (runlog, grpo):
            patch.setattr(module, "draw_curves", killing.blank_curves)
        yield


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTeacher]:
    """A teacher's server, and a client that hardly waits before it asks again."""
    monkeypatch.setattr(teacher, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(teacher, "LOOK_SECONDS", 0.01)
    with teaching() as running:
        yield running
