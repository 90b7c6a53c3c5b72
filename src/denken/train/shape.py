"""A recipe's `[model]` table as a configuration, where a key that nothing reads is an error.

A `config.json` from elsewhere may hold what it likes, so `denken.model.config` passes over keys that it does not know.
In a recipe such a key is a slip: a mistyped `tie_word_embeddings` would train another network than was meant.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from denken.errors import ConfigError
from denken.model.config import ModelConfig


class _Read(Mapping[str, Any]):
    """A table that remembers which keys it was asked for."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values_, self.asked = values, set[str]()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return self.values_[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.values_)

    def __len__(self) -> int:
        return len(self.values_)


def model_config(values: Mapping[str, Any]) -> ModelConfig:
    """The network that `[model]` describes. ConfigError names what is wrong, and the near miss of an unknown key."""
    read = _Read(values)
    try:
        config = ModelConfig.from_hf(read)
    except ConfigError as error:
        names = {field.name for field in dataclasses.fields(ModelConfig)} - values.keys()
        strangers = [key for key in values if key not in read.asked and _near(key, names)]
        hint = "".join(f" Is {key!r} meant to be {_near(key, names)!r}?" for key in strangers)
        raise ConfigError(f"The recipe's [model]: {error}{hint}") from error
    # What the network's own config.json would hold is known too, though nothing here depends on it.
    known = read.asked | config.to_hf().keys()
    unknown = [key for key in values if key not in known]
    if unknown:
        near = _near(unknown[0], known - values.keys())
        hint = f"did you mean {near!r}?" if near else f"a {config.family} has {', '.join(sorted(known))}."
        raise ConfigError(f"The recipe's [model] has no key {unknown[0]!r}; {hint}")
    return config


def _near(key: str, names: set[str]) -> str | None:
    return next(iter(difflib.get_close_matches(key, names, n=1, cutoff=0.75)), None)
