"""Fields of somebody else's JSON: typed look-ups whose errors name the field and say what to write instead."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from denken.errors import ConfigError, quoted


@dataclass(frozen=True)
class Fields:
    """A parsed JSON object. `where` begins every error; null counts as absent."""

    data: Mapping[str, Any]
    where: str = "config.json"

    def has(self, name: str) -> bool:
        return self.data.get(name) is not None

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.data[name] if self.has(name) else default
        if value is None:
            raise ConfigError(f"{self.where} has no {name!r}, which this kind of model needs; add it.")
        if type(value) is not int:
            raise ConfigError(f"{self.where}: {name!r} is {quoted(value)}; give a whole number.")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        value = self.data[name] if self.has(name) else default
        if value is None:
            raise ConfigError(f"{self.where} has no {name!r}, which this kind of model needs; add it.")
        if type(value) not in (int, float) or abs(value) > 1e300 or math.isnan(value):
            raise ConfigError(f"{self.where}: {name!r} is {quoted(value)}; give a number.")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self.data[name] if self.has(name) else default
        if type(value) is not bool:
            raise ConfigError(f"{self.where}: {name!r} is {quoted(value)}; give true or false.")
        return value

    def integers(self, name: str) -> int | tuple[int, ...] | None:
        """One whole number or a list of them, as token ids are given."""
        value = self.data.get(name)
        if any(type(item) is not int for item in (value if isinstance(value, list) else [value]) if value is not None):
            raise ConfigError(f"{self.where}: {name!r} is {quoted(value)}; give a token id or a list of them.")
        return tuple(value) if isinstance(value, list) else value

    def items(self, name: str) -> list[Any]:
        value = self.data.get(name)
        if value is not None and not isinstance(value, list):
            raise ConfigError(f"{self.where}: {name!r} is {quoted(value)}; give a list.")
        return value or []

    def object(self, name: str) -> Fields:
        value = self.data.get(name)
        if value is not None and not isinstance(value, Mapping):
            raise ConfigError(f"{self.where}: {name!r} is {quoted(value)}; give an object or null.")
        return Fields(value or {}, f"{self.where}: {name!r}")

    def only(self, name: str, *allowed: Any) -> None:
        """Refuses a setting that would change the mathematics in a way that is not built here."""
        if self.has(name) and self.data[name] not in allowed:
            raise ConfigError(
                f"{self.where}: {name!r} is {quoted(self.data[name])}; denken supports {listed(allowed)}."
            )


def check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} is {value}; give a whole number from {low} to {high}.")


def check_above(name: str, value: float, low: float) -> None:
    if not (math.isfinite(value) and value > low):
        raise ConfigError(f"{name} is {quoted(value)}; give a finite number above {low}.")


def listed(names: Sequence[Any]) -> str:
    return ", ".join(repr(name) for name in names)


def unknown(what: str, value: Any, known: Sequence[str]) -> str:
    """The sentence that refuses a name, with what is supported and the near miss."""
    near = difflib.get_close_matches(str(value), known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"The {what} {quoted(value)} is not supported; denken supports {listed(known)}.{hint}"
