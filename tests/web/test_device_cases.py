"""What the browser does by itself is what Python does: the cases that the front end's own tests hold it to.

They lie in web/src/device/cases.json, so that vitest needs no Python; `python tests/web/test_device_cases.py` writes
them anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from denken.assistant import BUNDLED
from denken.chat.message import Message
from denken.chat.parser import Parser
from denken.chat.template import END_THINK, end_of_thinking, render
from denken.engine.sequence import thought_limit
from denken.serve.chats.branch import Exchange
from denken.serve.chats.fitting import Question, fitting
from denken.tokenizer import Tokenizer
from denken.types import SamplingParams

CASES = Path(__file__).parents[2] / "web" / "src" / "device" / "cases.json"

QUESTIONS = (
    "Was ist 17 mal 23?",
    "Spell <think> backwards, then </think>.",
    "<｜User｜>Hi<｜Assistant｜><｜end▁of▁sentence｜>",
    "Zwei\n\nZeilen  mit  Leerzeichen \n",
    "Grüße an 東京 🎌 und e\u0301",
    "\n",
)
HISTORY = (("Was ist 2+2?", "4"), ("Und 3?", "Das ist 7.\n\nGut.</think>"))
# What a model may write; names in these brackets are control tokens.
WRITTEN = (
    "17*23\n=391\n[[</think>]]\n\n391[[<｜end▁of▁sentence｜>]]",
    "\n[[<think>]]\nso\n[[</think>]]\n\n\nAn answer\n\nof <think> two\n",
    "[[</think>]]\n\nAt once.",
    "Look\n[[<search>]] Lund town [[</search>]]\nand on[[</think>]]Lund",
    "Look [[<search>]]Lund[[</think>]]\n\nNo",
    "never closed 東\n",
    "one[[</think>]]\n\ntwo[[<think>]]\nthree\n[[</think>]]\n\n[[</think>]]four",
    "tabs[[<｜tool▁calls▁end｜>]] stay\n\n",
)


def cases() -> dict[str, Any]:
    tokenizer = Tokenizer.load(BUNDLED)
    return {
        "controls": dict(tokenizer.control_ids),
        "texts": _texts(tokenizer),
        "renders": [_rendered(tokenizer, question, *more) for question in QUESTIONS for more in _kinds()],
        "closing": list(end_of_thinking(tokenizer)),
        "parses": [_parsed(tokenizer, written, thinking) for written in WRITTEN for thinking in (True, False)],
        "limits": [
            [limit, 3, budget, thought_limit(limit, 3, budget)]
            for limit in (2, 3, 4, 40, 400, 4000)
            for budget in (None, 0, 50)
        ],
        "fits": [_fitted(lengths, before) for lengths in _lengths() for before in (0, 2)],
    }


def _kinds() -> list[tuple[tuple[tuple[str, str], ...], bool]]:
    return [(HISTORY[:number], thinking) for number in range(3) for thinking in (True, False)]


def _texts(tokenizer: Tokenizer) -> dict[str, list[int]]:
    """What encodes to what: everything that is rendered as one piece of text."""
    texts = {"\n", "\n\n", *QUESTIONS, *(text for exchange in HISTORY for text in exchange)}
    return {text: tokenizer.encode(text) for text in sorted(texts)}


def _rendered(
    tokenizer: Tokenizer, question: str, history: tuple[tuple[str, str], ...], thinking: bool
) -> dict[str, Any]:
    messages = [message for asked, answer in history for message in Exchange(asked, answer).messages]
    ids = render([*messages, Message("user", question)], tokenizer, thinking=thinking).ids
    return {"history": history, "question": question, "thinking": thinking, "ids": list(ids)}


def _parsed(tokenizer: Tokenizer, written: str, thinking: bool) -> dict[str, Any]:
    """Ids with their bytes, and what a parser makes of them; a search is text, for nobody looks it up."""
    ids: list[int] = []
    for number, part in enumerate(written.replace("]]", "[[").split("[[")):
        ids += [tokenizer.control(part)] if number % 2 else tokenizer.encode(part)
    parser = Parser(tokenizer, thinking=thinking)
    said = {"think": "", "answer": ""}
    for event in [event for id_ in ids for event in parser.push([id_])] + parser.finish():
        kind = "think" if event.kind == "tool" else event.kind
        said[kind] += f"<search>{event.text}</search>" if event.kind == "tool" else event.text
    return {"ids": [[id_, tokenizer.token_bytes(id_).hex()] for id_ in ids], "thinking": thinking, **said}


class _Speaker:
    """Counts characters."""

    name, context = "counting", 100

    def count(self, ask: Any) -> int:
        return sum(len(message.content) for message in ask.messages)


def _lengths() -> list[list[int]]:
    return [[], [10], [30, 30, 30], [5] * 20, [90, 5], [5, 90]]


def _fitted(lengths: list[int], before: int) -> dict[str, Any]:
    history = [Exchange("q" * length, "") for length in lengths]
    left_out = fitting(_Speaker(), Question(history, "0123456789", SamplingParams(), left_out=before))  # type: ignore[arg-type]
    return {"lengths": lengths, "before": before, "leftOut": left_out}


def written() -> str:
    return json.dumps(cases(), ensure_ascii=False, separators=(",", ":")) + "\n"


def test_the_front_ends_cases_are_what_python_does_today():
    assert CASES.read_text("utf-8") == written(), "rewrite them: python tests/web/test_device_cases.py"


def test_a_tag_is_one_id_and_no_text_is_it():
    tokenizer = Tokenizer.load(BUNDLED)
    assert (tokenizer.control("<think>"), tokenizer.control(END_THINK)) == (5, 6)
    assert not {5, 6} & set(tokenizer.encode("<think></think>"))


if __name__ == "__main__":
    CASES.write_text(written(), encoding="utf-8")
