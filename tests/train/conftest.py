"""What several tests of training share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from denken.train import teacher
from fake_teacher import FakeTeacher, teaching


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTeacher]:
    """A teacher's server, and a client that hardly waits before it asks again."""
    monkeypatch.setattr(teacher, "FIRST_WAIT", 0.01)
    monkeypatch.setattr(teacher, "LOOK_SECONDS", 0.01)
    with teaching() as running:
        yield running
