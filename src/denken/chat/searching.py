"""What happens between two stretches of a thought that searches: when to search, what the model is told, what fits.

Search-R1's format (arXiv 2503.09516), as `template.py` writes it. Serving (`reply.py`) and sampling (`rollout.py`) both
go by this file, so that a model is trained on the very ids that it meets later. Departs from the paper: (1) what was
found is bounded by the room that is left, so that an answer always fits; (2) a search too many is answered with a
sentence once, and then the thought is over. Nothing is looked up here, and nothing generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from denken.chat.template import END_SEARCH, information_ids
from denken.tokenizer import Tokenizer

MOST_SEARCHES = 4
# Ids of one block: at the most, and so few that it can say nothing.
MOST_INFORMATION = 1024
LEAST_INFORMATION = 48
MOST_QUERY_CHARACTERS = 400
EMPTY = "The search was empty. Write the words to search for."
ENOUGH = "There are no more searches. Answer now."


def most_found(context: int, prompt: int) -> int:
    """The most ids that all searches of a reply together bring to a prompt of so many ids.

    >>> most_found(2048, 100), most_found(100_000, 100)
    (1887, 5120)
    """
    left, found = context - prompt, 0
    for _ in range(MOST_SEARCHES + 1):
        found += (block := min(MOST_INFORMATION, left // 2))
        left -= block
    return found


@dataclass(slots=True)
class Searches:
    """The searches of one reply, in order. context: ids that fit, prompt and reply together.

    Ask `instead` of every search that the model writes, look up what it lets pass, and go on with what `go_on` gives.
    """

    tokenizer: Tokenizer
    context: int
    made: int = 0

    def instead(self, query: str, ids: Sequence[int]) -> str | None:
        """What the model is told without a search, which was empty, too many or without room; None: look it up.

        ids: the prompt and all that was generated, up to the search.
        """
        self.made += 1
        if self.made > MOST_SEARCHES or not self._room(ids):
            return ENOUGH
        return None if query else EMPTY

    def go_on(self, ids: Sequence[int], told: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """`ids` up to the end of the search, and the ids of what is to follow; none where the thought is over."""
        begun = up_to_search(ids, self.tokenizer)
        room = self._room(begun)
        if self.made > MOST_SEARCHES + 1 or not room:
            return begun, ()
        return begun, fitting(told, self.tokenizer, room)

    def _room(self, ids: Sequence[int]) -> int:
        """Half of what is left, so that as much is there for the rest of the reply; 0 where that is too little."""
        room = min(MOST_INFORMATION, (self.context - len(ids)) // 2)
        return room if room >= LEAST_INFORMATION else 0


def query_of(written: str) -> str:
    """The words to search for, in one line.

    >>> query_of(" harbour\\n hours ")
    'harbour hours'
    """
    return " ".join(written.split())[:MOST_QUERY_CHARACTERS]


def fitting(body: str, tokenizer: Tokenizer, room: int) -> tuple[int, ...]:
    """The block of what was found, its end cut off so that it has at most `room` ids."""
    ids, content = information_ids(body, tokenizer), tokenizer.encode(body)
    keep = len(content)
    while len(ids) > room and keep > 0:
        keep -= len(ids) - room
        kept = tokenizer.decode(content[: max(0, keep)]).rstrip("\ufffd").rstrip()
        ids = information_ids(f"{kept}…" if kept else "", tokenizer)
    return ids if len(ids) <= room else ()


def up_to_search(ids: Sequence[int], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The ids without what the last of them says behind `</search>`.

    Where the tag is text, an id may hold its end and a line break. It is then spelt anew, as a thought that is learnt
    from is cut there.
    """
    whole = tuple(ids)
    if not whole or tokenizer.is_control(whole[-1]):
        return whole
    tail = tokenizer.decode(whole[-len(END_SEARCH) :])
    behind = len(tail) - tail.rfind(END_SEARCH) - len(END_SEARCH)
    if END_SEARCH not in tail or not behind:
        return whole
    kept = tokenizer.token_bytes(whole[-1]).removesuffix(tail[-behind:].encode())
    return (*whole[:-1], *tokenizer.encode(kept.decode(errors="replace")))
