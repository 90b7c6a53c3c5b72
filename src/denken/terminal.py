"""A reply as it comes into the terminal: the thought dimmed, the searches in it, the answer, and its sources.

Where standard output goes elsewhere it gets the answer alone, and everything else goes to standard error. A citation is
shown as the number of its source, one that leads to none is not. What is asked, and the commands, are `cli.py`'s.
"""

from __future__ import annotations

import asyncio
import sys
import time
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing

from denken.assistant import Answer, answer_of
from denken.search.citations import parts, resolved
from denken.search.found import Found, Source
from denken.serve.speaker import Piece, Reply

# What may still become a citation is held back up to this many characters.
MOST_HELD = 80


def write(reply: Reply) -> str:
    """Streams a reply to the terminal and returns the answer's text."""
    beside = sys.stdout if sys.stdout.isatty() else sys.stderr
    dim, plain = ("\033[2m", "\033[0m") if beside.isatty() else ("", "")
    answer, shown, thinking, sources = "", 0, False, list[Source]()

    def show(end: int) -> None:
        nonlocal shown
        said, shown = answer[shown:end], max(shown, end)
        said = resolved(said, sources, lambda source: f"[{source.number}]") if sources else said
        print(printable(said), end="", flush=True)

    try:
        with closing(each(reply)) as pieces:
            for piece in pieces:
                text = _seen(piece)
                if piece.found is not None:
                    sources += piece.found.sources
                if piece.kind in ("think", "search", "found") and text:
                    print(("" if thinking else dim) + printable(text), end="", flush=True, file=beside)
                    thinking = True
                elif piece.kind == "answer":
                    text = text if answer else text.lstrip()
                    if text and thinking:
                        print(plain + "\n", flush=True, file=beside)
                        thinking = False
                    answer += text
                    show(_certain(answer) if sources else len(answer))
        show(len(answer))
    finally:
        if thinking:
            print(plain, flush=True, file=beside)
        print(flush=True)
    for line in _listed(sources, answer):
        print(printable(line), flush=True, file=beside)
    return answer


def gather(reply: Reply) -> tuple[Answer, list[Source]]:
    """The whole reply, and the sources that its searches found."""
    started = time.perf_counter()
    pieces = list(each(reply))
    sources = [source for piece in pieces if piece.found is not None for source in piece.found.sources]
    return answer_of(reply, pieces, time.perf_counter() - started), sources


def each(reply: Reply) -> Generator[Piece, None, None]:
    """The pieces of a reply, also of one that only an event loop can run; it gets one that lives as long."""
    if isinstance(reply, Iterable):
        yield from reply
        return
    pieces = aiter(reply)

    async def following() -> Piece | None:
        return await anext(pieces, None)

    with asyncio.Runner() as loop:
        try:
            while (piece := loop.run(following())) is not None:
                yield piece
        finally:
            loop.run(pieces.aclose())


def printable(text: str) -> str:
    """The text without control characters, which could move the cursor or rename the terminal."""
    return "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)


def _seen(piece: Piece) -> str:
    """What a person reads of a piece; searches take a line each in the thought."""
    if piece.kind == "search":
        return f"\n[searching: {piece.text}]\n"
    if piece.found is not None:
        return f"[{_summary(piece.found)}]\n"
    return piece.text


def _summary(found: Found) -> str:
    titles = "; ".join(source.title for source in (*found.sources, *found.again))
    return " ".join(filter(None, (titles or "nothing found" * (not found.problem), found.problem)))


def _certain(answer: str) -> int:
    """Up to where no citation may have begun that has not ended."""
    start = max(answer.rfind("["), answer.rfind("【"))
    ended = start < 0 or any(end in answer[start:] for end in "]】") or len(answer) - start > MOST_HELD
    return len(answer) if ended else start


def _listed(sources: Sequence[Source], answer: str) -> list[str]:
    """A line for each source that the answer cites; where it cites none, for all."""
    cited = [part for part in parts(answer, sources) if isinstance(part, Source)]
    chosen = [source for source in sources if source in cited] or sources
    lines = [f"[{source.number}] {source.title}  {source.url}" for source in chosen]
    return ["", *lines] if lines else []
