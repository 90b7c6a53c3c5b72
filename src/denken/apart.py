"""The process of an engine that was put apart (`assistant.load(..., apart=True)`): python -m denken.apart OPTIONS

OPTIONS are those of `load`, as JSON. Orders and news are those of `denken.engine.lines`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys

from denken.assistant import load
from denken.engine.answering import answer, refuse
from denken.engine.stream import Stream
from denken.errors import DenkenError


def main() -> None:
    # Ctrl-C and the end of a service reach every process of it; this one ends when the one that asks it does.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as news:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no news
        try:
            assistant = load(**json.loads(sys.argv[1]))
        except DenkenError as error:
            refuse(error, news)
            return
        with contextlib.suppress(BrokenPipeError):  # whoever asked for it has gone already
            answer(Stream(assistant.engine), sys.stdin.buffer, news)


if __name__ == "__main__":
    main()
