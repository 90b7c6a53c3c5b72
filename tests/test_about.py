"""What a model says of itself: read within bounds, or refused with what is wrong."""

from __future__ import annotations

import json

import pytest

from denken.about import FILE, MAX_BYTES, About, read_about
from denken.errors import CheckpointError


def test_what_is_said_is_read(tmp_path):
    (tmp_path / FILE).write_text(
        json.dumps({"searches": "inside", "chats_freely": False, "examples": {"de": ["Wer?"]}})
    )
    said = read_about(tmp_path)
    assert (said.searches, said.thinks, said.chats_freely) == ("inside", "optional", False)
    assert said.examples == {"de": ["Wer?"]}


def test_a_folder_that_says_nothing_has_the_defaults(tmp_path):
    assert read_about(tmp_path) == About()


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "[]",
        '{"searches": "everywhere"}',
        json.dumps({"summary": {"en": "x" * 501}}),
        json.dumps({"examples": {"en": ["x"] * 13}}),
        json.dumps({"examples": {"xx": ["x"]}}),
        " " * (MAX_BYTES + 1),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    with pytest.raises(CheckpointError, match=FILE):
        read_about(tmp_path)
