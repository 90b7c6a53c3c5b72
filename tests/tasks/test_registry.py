"""Names that people type, and what is said where they are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from denken.errors import ConfigError, UnknownNameError
from denken.tasks import get, gym, names
from denken.tasks.registry import unknown_name


def test_every_name_that_is_listed_can_be_had() -> None:
    assert len(names()) == len(set(names()))
    assert set(gym.names()) < set(names())
    others = [name for name in names() if ":" in name]
    assert {name.partition(":")[0] for name in others} == {"fields", "game", "plain", "smalltalk"}
    for name in others:
        assert get(name).name == name


@pytest.mark.parametrize("name", ["plain:sums", "fields:sums", "smalltalk:talk"])
def test_a_setting_that_nothing_reads_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} has no setting 'max_digits'; it has none"):
        get(name, {"max_digits": 2})


def test_a_path_keeps_its_colons_and_its_settings_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "jsonl:a:b.jsonl"
    path.write_text('{"prompt": "?", "answer": "1"}')
    for name in (str(path), f"jsonl:{path}"):
        assert get(name).problem(0).prompt == "?"
    with pytest.raises(ConfigError, match="no setting 'cheque'; it has check and name"):
        get(str(path), {"cheque": "exact"})


def test_an_unknown_name_says_what_is_near_or_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'b-one'"):
        raise unknown_name("thing", "b-on", ["a-two", "b-one"])
    with pytest.raises(UnknownNameError, match="choose one of a, b"):
        raise unknown_name("thing", "xyz", ["a", "b"])
    with pytest.raises(UnknownNameError, match="`denken tasks` lists them"):
        get("qqqqqq")
