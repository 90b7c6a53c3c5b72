"""Orders to an engine in a process of its own, and its news: a line of JSON each.

    {"ask": number, "ids": [...], "params": {...}, "thinking": true, "adapter": 0}
    {"leave": number}
    {"warm": [...], "adapter": 0}
    {"learn": "FOLDER", "base": "..."}

are orders, and these are news:

    {"context": ..., "cache": ..., "vocabulary": ..., "most": ...}    the first line: what it can be asked for; or
    {"error": [kind, message]}                                        why there is no engine, or no adapter
    {"said": [[number, ids, ...], ...], "guesses": [guessed, accepted]}
    {"failed": number, "error": [kind, message]}
    {"learnt": 1}

`answering.py` is the one end, `apart.py` the other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from denken import errors
from denken.engine.sequence import Output
from denken.engine.stream import EngineError, OverloadedError
from denken.errors import DenkenError
from denken.types import SamplingParams

# Errors travel by name; one that the other side does not know is an EngineError there.
KINDS: dict[str, type[DenkenError]] = {
    kind.__name__: kind
    for kind in (*vars(errors).values(), EngineError, OverloadedError)
    if isinstance(kind, type) and issubclass(kind, DenkenError)
}


def line(record: Mapping[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def params_of(given: dict[str, Any]) -> SamplingParams:
    """What `dataclasses.asdict` made of them, and JSON of that."""
    params = SamplingParams(**given)
    return replace(params, stop=tuple(params.stop), logit_bias=tuple((id, bias) for id, bias in params.logit_bias))


def record(number: int, output: Output) -> list[Any]:
    """An output of the request that the other side gave this number."""
    return [
        number,
        output.ids,
        output.logprobs,
        output.finish_reason,
        output.cached_tokens,
        output.top_logprobs,
        output.surplus,
        output.kept,
    ]


def output_of(record: list[Any]) -> Output:
    number, ids, logprobs, finish_reason, cached_tokens, top_logprobs, surplus, kept = record
    top = tuple(tuple((id, value) for id, value in each) for each in top_logprobs)
    return Output(number, tuple(ids), tuple(logprobs), finish_reason, cached_tokens, top, surplus, tuple(kept))


def told(error: DenkenError) -> list[str]:
    return [type(error).__name__, str(error)]


def error_of(told: list[str]) -> DenkenError:
    kind, message = told
    return KINDS.get(kind, EngineError)(message)
