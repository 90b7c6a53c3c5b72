"""The page that a conversation is written on: ids, and which of them carry loss.

Text waits until a control token, or another loss, ends its piece, and is encoded as one; what people, pages and tools
say goes in by `text` and never becomes a control id. Every family's format (`template.py`, `chatml.py`, `llama.py`,
`jinja.py`) writes on one of these.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from denken.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Rendered:
    """A conversation as ids, and for each id whether it is the model's own and carries loss."""

    ids: tuple[int, ...]
    loss_mask: tuple[bool, ...]


class Page:
    """Ids and mask as they are written; text waits until a control token or another loss ends its piece."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._ids: list[int] = []
        self._mask: list[bool] = []
        self._waiting = ""
        self._waiting_loss = False

    @property
    def begins(self) -> bool:
        """Whether nothing but the mark that begins every text was written."""
        return len(self._ids) <= 1 and not self._waiting

    def text(self, text: str, *, loss: bool = False) -> None:
        if loss != self._waiting_loss:
            self.cut()
            self._waiting_loss = loss
        self._waiting += text

    def control(self, name: str, *, loss: bool = False) -> None:
        self.cut()
        self._ids.append(self._tokenizer.control(name))
        self._mask.append(loss)

    def tag(self, name: str, *, loss: bool = False) -> None:
        """A control token, or its name as text where the vocabulary has none."""
        if self._tokenizer.has_control(name):
            self.control(name, loss=loss)
        else:
            self.text(name, loss=loss)

    def own(self, text: str, names: Sequence[str]) -> None:
        """Words of the format's own, in which these names are tags."""
        for part in re.split(f"({'|'.join(map(re.escape, names))})", text):
            if part in names:
                self.tag(part)
            else:
                self.text(part)

    def cut(self) -> None:
        """End the piece of text here."""
        piece = self._tokenizer.encode(self._waiting) if self._waiting else []
        self._ids.extend(piece)
        self._mask.extend([self._waiting_loss] * len(piece))
        self._waiting = ""

    def rendered(self) -> Rendered:
        self.cut()
        return Rendered(tuple(self._ids), tuple(self._mask))
