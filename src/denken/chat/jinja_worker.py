"""The process in which a stranger's chat template is rendered: it computes, and can do nothing else.

`serve` runs in a process of its own. It gives up everything (`sandbox.lock_down`) before it reads the template, which
Jinja's own sandbox then holds to the values it was handed. `jinja.py` sends requests, one JSON object a line, and ends
the process when a reply takes too long. Templates see what `transformers` lets them see: `tojson`, `strftime_now`,
`raise_exception`, loop controls and the `generation` tag.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime
from typing import Any

import jinja2
import jinja2.debug  # Jinja imports it with its first error, and then it is too late
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

MEMORY_BYTES = 512 << 20
# Of its whole life; when they are used up the process ends, and the next request starts another.
PROCESSOR_SECONDS = 3600.0
MOST_CHARACTERS = 8 << 20


class _Generation(Extension):
    """`{% generation %}` marks what an assistant said; here it only says it."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _TooLong(Exception):
    pass


def environment() -> ImmutableSandboxedEnvironment:
    """Jinja's sandbox as `transformers` sets it up for chat templates."""
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols])
    made.filters["tojson"] = _tojson
    made.globals["raise_exception"] = _raise
    made.globals["strftime_now"] = _now
    return made


def serve() -> None:
    """One reply a request, until the caller closes the pipe."""
    from denken import sandbox

    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", buffering=0)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    jinja = environment()
    # What is imported or read late must be there before the process is locked.
    jinja.from_string("{{ strftime_now('%B %d') }}{% for a in [1] %}{{ a | tojson | trim }}{% endfor %}").render()
    json.loads('{"a": [1.5, "\\u00e4"]}')
    time.tzset()
    sandbox.isolate()
    sandbox.lock_down(seconds=PROCESSOR_SECONDS, memory_bytes=MEMORY_BYTES, descriptors=16)
    known: tuple[str, jinja2.Template] | None = None
    for line in requests:
        try:
            request = json.loads(line)
            if known is None or known[0] != request["template"]:
                known = request["template"], jinja.from_string(request["template"])
            reply: dict[str, Any] = {"texts": [_rendered(known[1], values) for values in request["each"]]}
        except _Refused as error:
            reply = {"refused": str(error)[:500]}
        except _TooLong:
            reply = {"error": f"it writes more than {MOST_CHARACTERS} characters"}
        except MemoryError:
            reply = {"error": f"it needs more than {MEMORY_BYTES >> 20} MB"}
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
        replies.write(json.dumps(reply).encode() + b"\n")
    sys.exit()


def _rendered(template: jinja2.Template, values: dict[str, Any]) -> str:
    pieces, length = [], 0
    for piece in template.generate(**values):
        length += len(piece)
        if length > MOST_CHARACTERS:
            raise _TooLong
        pieces.append(piece)
    return "".join(pieces)


class _Refused(Exception):
    """What a template said with `raise_exception`."""


def _raise(message: object) -> None:
    raise _Refused(message)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
