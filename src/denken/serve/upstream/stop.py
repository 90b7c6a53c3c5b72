"""Stop strings, looked for here where a server would look for them in the thought as well, and end it there.

No more text is held back than could be the beginning of a stop string.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from denken.serve.speaker import Piece


class Stops:
    """Cuts the answer before the first of the strings. hit: the one that was found."""

    def __init__(self, strings: Iterable[str]):
        self._strings = tuple(strings)
        self._held = ""
        self.hit: str | None = None

    def cut(self, pieces: Sequence[Piece]) -> list[Piece]:
        """The pieces, as far as they are certain; nothing behind a stop string."""
        if not self._strings:
            return list(pieces)
        kept: list[Piece] = []
        for piece in pieces:
            if self.hit is not None:
                break
            if piece.kind == "answer":
                piece = replace(piece, text=self._passed(piece.text))
                if not (piece.text or piece.tokens):
                    continue
            kept.append(piece)
        return kept

    def finish(self) -> list[Piece]:
        """What was held back and is no stop string after all."""
        held, self._held = self._held, ""
        return [Piece("answer", held)] if held and self.hit is None else []

    def _passed(self, text: str) -> str:
        text = self._held + text
        places = [(place, string) for string in self._strings if (place := text.find(string)) >= 0]
        if places:
            place, self.hit = min(places)
            self._held = ""
            return text[:place]
        most = max(map(len, self._strings)) - 1
        for length in range(min(most, len(text)), 0, -1):
            if any(string.startswith(text[-length:]) for string in self._strings):
                self._held = text[-length:]
                return text[:-length]
        self._held = ""
        return text
