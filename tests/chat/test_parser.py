"""What a model says, sorted: whatever the chunking, whatever it says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest

from denken.chat.message import Message, ToolCall
from denken.chat.parser import Event, Parser, TextParser
from denken.chat.template import CALL_BEGIN, CALL_END, CALL_SEP, CALLS_BEGIN, CALLS_END, EOS, render
from denken.tokenizer import Tokenizer
from small_vocabulary import CONTROL_NAMES, FAMILY, write_tokenizer

PARSE_CASES = FAMILY.parent / "templates" / "reasoning_parse_cases.json"
TAGS = ("<think>", "</think>", "<search>", "</search>", CALLS_BEGIN, CALLS_END, CALL_BEGIN, CALL_END, CALL_SEP)
PLAIN = ("a", "é", "🌍", " ", "\n", "\n\n", "x < y", "<b>", "`", "```", "~~~", "function", '{"a": 1}', "\ufffd", "</")
BROKEN = ("<thi", "nk>", "<", "</sea", "<｜tool▁call", "s▁begin｜>")


def joined(events: Sequence[Event]) -> list[Event]:
    """Neighbours of one kind as one event; calls stay apart."""
    result: list[Event] = []
    for event in events:
        if event.kind != "tool" and result and result[-1].kind == event.kind:
            result[-1] = Event(event.kind, result[-1].text + event.text)
        else:
            result.append(event)
    return result


def spelt(text: str, tokenizer: Tokenizer) -> list[int]:
    """Ids with every control string of the text as its control id."""
    for name in CONTROL_NAMES:
        before, found, after = text.partition(name)
        if found and tokenizer.has_control(name):
            return [*spelt(before, tokenizer), tokenizer.control(name), *spelt(after, tokenizer)]
    return tokenizer.encode(text)


def parse_ids(ids: Sequence[int], tokenizer: Tokenizer, *, thinking: bool = True) -> list[Event]:
    parser = Parser(tokenizer, thinking=thinking)
    return joined(parser.push(ids) + parser.finish())


def parse_text(text: str, *, thinking: bool = True) -> list[Event]:
    parser = TextParser(thinking=thinking)
    return joined(parser.push(text) + parser.finish())


Parse = Callable[[str, bool], list[Event]]


@pytest.fixture(params=["ids", "text"])
def parse(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Parse:
    """Both parsers, given the same text; tags in it are control ids for the one and text for the other."""
    if request.param == "ids":
        return lambda text, thinking: parse_ids(spelt(text, tokenizer), tokenizer, thinking=thinking)
    return lambda text, thinking: parse_text(text, thinking=thinking)


def call(name: str, arguments: str) -> str:
    return f"{CALL_BEGIN}function{CALL_SEP}{name}\n```json\n{arguments}\n```{CALL_END}"


think = [Event("think", "3 * 4")]
BOTH = [
    # what the model says, whether the prompt opened a thought, the events
    ("3 * 4\n</think>\n\n12", True, [*think, Event("answer", "12")]),
    ("<think>\n3 * 4\n</think>\n\n12", False, [*think, Event("answer", "12")]),
    ("<think>\n3 * 4\n</think>\n\n12", True, [*think, Event("answer", "12")]),
    ("\n\n<think>3 * 4</think>12", False, [*think, Event("answer", "12")]),
    ("3 * 4</think>12", True, [*think, Event("answer", "12")]),
    ("12", False, [Event("answer", "12")]),
    ("\n12\n", False, [Event("answer", "\n12\n")]),
    ("3 * 4", True, think),
    ("3 * 4\n", True, [Event("think", "3 * 4\n")]),
    ("", True, []),
    ("</think>\n\n", True, []),
    ("\n</think>\n\n12", True, [Event("answer", "12")]),
    ("3 * 4\n</think>\n\n\n12", True, [*think, Event("answer", "\n12")]),
    ("3 * 4\n\n</think>\n\n12", True, [Event("think", "3 * 4\n"), Event("answer", "12")]),
    ("3 * 4</think></think>\n\n12", True, [*think, Event("answer", "12")]),
    ("3 * 4</think>12\n</think>\n1", True, [*think, Event("answer", "12\n\n1")]),
    ("3 * 4</think>12<think>\nHm\n</think>\n\n13", True,
     [*think, Event("answer", "12"), Event("think", "Hm"), Event("answer", "13")]),
    ("12</think>", False, [Event("answer", "12")]),
    ("When?\n<search> Köln 1248 </search>\nSo.\n</think>\n\nThen.", True,
     [Event("think", "When?\n"), Event("tool", "Köln 1248", "search"), Event("think", "\nSo."),
      Event("answer", "Then.")]),
    ("<search>never ends</think>12", True, [Event("think", "never ends"), Event("answer", "12")]),
    ("<search>never ends", True, [Event("think", "never ends")]),
    (f"Hm\n</think>\n\nI look.{CALLS_BEGIN}{call('a', '{}')}\n{call('b', '')}{CALLS_END}", True,
     [Event("think", "Hm"), Event("answer", "I look."), Event("tool", "{}", "a"), Event("tool", "", "b")]),
    (f"{CALLS_BEGIN}{call('a', '{}')}", False, [Event("tool", "{}", "a")]),
    (f"{call('a', '{}')}", False, [Event("tool", "{}", "a")]),
    (f"{CALLS_BEGIN}{CALL_BEGIN}look{CALL_SEP}{{}}{CALL_END}{CALLS_END}", False, [Event("tool", "{}", "look")]),
    (f"{CALLS_BEGIN}{CALL_BEGIN}what is this{CALL_END}{CALLS_END}ok", False,
     [Event("tool", "what is this"), Event("answer", "ok")]),
    (f"{CALLS_BEGIN}{CALL_BEGIN}function{CALL_SEP}a", False, [Event("answer", "functiona")]),
    (f"{CALLS_BEGIN}{CALL_BEGIN}half{CALLS_END}rest", False, [Event("answer", "halfrest")]),
    (f"{CALLS_BEGIN} so {call('a', '{}')}", False, [Event("answer", "so "), Event("tool", "{}", "a")]),
]  # fmt: skip


@pytest.mark.parametrize(("said", "thinking", "events"), BOTH)
def test_both_parsers(parse: Parse, said: str, thinking: bool, events: list[Event]) -> None:
    assert parse(said, thinking) == events


def test_calls_in_a_thought_are_no_calls(parse: Parse) -> None:
    events = parse(f"I could {CALLS_BEGIN}{call('a', '{}')}{CALLS_END}.\n</think>\n\n12", True)
    assert [event.kind for event in events] == ["think", "answer"]
    assert "```json\n{}" in events[0].text


def test_a_search_in_an_answer_is_no_call(parse: Parse) -> None:
    events = parse("Try <search>this</search>.", False)
    assert [event.kind for event in events] == ["answer"]
    assert "this" in events[0].text


@pytest.mark.parametrize("parser_of", [lambda t: Parser(t, thinking=True), lambda t: TextParser(thinking=True)])
def test_a_thought_that_is_never_closed(tokenizer: Tokenizer, parser_of: Callable[[Tokenizer], Parser]) -> None:
    parser = parser_of(tokenizer)
    assert parser.unclosed
    ids_or_text = tokenizer.encode("Hm") if isinstance(parser, Parser) else "Hm"
    assert parser.push(ids_or_text) + parser.finish() == [Event("think", "Hm")]
    assert parser.unclosed
    assert parser.finish() == []


def test_control_ids_alone_are_tags(tokenizer: Tokenizer) -> None:
    text = f"Close with </think>, or <search>x</search>. {CALLS_BEGIN}"
    ids = [*tokenizer.encode(text), tokenizer.control("</think>"), *tokenizer.encode(text), tokenizer.control(EOS)]
    assert parse_ids(ids, tokenizer) == [Event("think", text), Event("answer", text)]


def test_tags_without_a_control_token_are_found_in_text(tmp_path_factory: pytest.TempPathFactory) -> None:
    names = [name for name in CONTROL_NAMES if "search" not in name]
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path_factory.mktemp("no_search"), control=names))
    ids = spelt("</think", tokenizer) + spelt("><search>q</search>\n</think>\n\n12", tokenizer)
    assert parse_ids(ids, tokenizer) == [
        Event("think", "</think>"),
        Event("tool", "q", "search"),
        Event("answer", "12"),
    ]
    cut_by_a_tag = [*tokenizer.encode("a<sea"), tokenizer.control("</think>"), *tokenizer.encode("rch>b")]
    assert parse_ids(cut_by_a_tag, tokenizer) == [Event("think", "a<sea"), Event("answer", "rch>b")]


def test_other_control_ids_are_dropped(tokenizer: Tokenizer) -> None:
    ids = [0xC3, tokenizer.control("<｜User｜>"), 0xA9, tokenizer.control(EOS), 10_000_000, -1]
    assert parse_ids(ids, tokenizer, thinking=False) == [Event("answer", "\ufffd\ufffd")]


@pytest.mark.parametrize(
    "answer",
    [
        "Write `<think>` and `</think>`.",
        "Write ``a`</think>`` so.",
        "```xml\n<think>\n</think>\n```\nDone.",
        f"~~~\n{CALLS_BEGIN}\n~~~",
        "```\n</think>",
    ],
)
def test_tags_in_code_are_text_in_answers(answer: str) -> None:
    assert parse_text(f"Hm\n</think>\n\n{answer}") == [Event("think", "Hm"), Event("answer", answer)]


def test_tags_after_code_are_tags_again() -> None:
    assert parse_text("`a` b</think>c", thinking=False) == [Event("answer", "`a` bc")]
    assert parse_text("```\n</think>\n```\n</think>c", thinking=False) == [
        Event("answer", "```\n</think>\n```\nc"),
    ]


def test_what_is_rendered_is_parsed_back(tokenizer: Tokenizer) -> None:
    question = Message("user", "What is 3 * 4?")
    calls = (ToolCall("a", '{"x": "```"}'), ToolCall("b", "{}"))
    answer = Message("assistant", "12, </think> or\n\n", reasoning_content="\n<think> `3 * 4`\n", tool_calls=calls)
    rendered = render([question, answer], tokenizer)
    said = rendered.ids[rendered.loss_mask.index(True) :]
    assert parse_ids(said, tokenizer) == [
        Event("think", answer.reasoning_content or ""),
        Event("answer", answer.content),
        Event("tool", '{"x": "```"}', "a"),
        Event("tool", "{}", "b"),
    ]


def test_published_parses_agree() -> None:
    """Departures: we give the whitespace of the template to the tags, and do not parse tool calls' JSON."""
    if not PARSE_CASES.is_file():
        pytest.skip("the published cases are not at hand")
    for case in json.loads(PARSE_CASES.read_text(encoding="utf-8")):
        events = parse_text(case["output"])
        said = {kind: "".join(event.text for event in events if event.kind == kind) for kind in ("think", "answer")}
        assert said["think"] == case["reasoning_content"].strip("\n"), case["id"]
        assert said["answer"] == (case["content"] or "").strip("\n"), case["id"]
        calls = [{"name": event.name, "arguments": event.text} for event in events if event.kind == "tool"]
        assert calls == case.get("tool_calls", []), case["id"]


def random_texts(seed: int, count: int, pieces: Sequence[str]) -> list[tuple[str, bool]]:
    rng = random.Random(seed)
    return [("".join(rng.choices(pieces, k=rng.randint(1, 14))), rng.random() < 0.6) for _ in range(count)]


@pytest.mark.parametrize("seed", range(4))
def test_text_cut_anywhere_gives_the_same(seed: int) -> None:
    for text, thinking in random_texts(seed, 60, (*TAGS, *TAGS[:2], *PLAIN, *BROKEN)):
        whole = parse_text(text, thinking=thinking)
        data = text.encode()
        cuts = [[slice(i, i + 1) for i in range(len(data))]]
        cuts += [[slice(0, i), slice(i, None)] for i in range(len(data))]
        for cut in cuts:
            parser = TextParser(thinking=thinking)
            events = [event for part in cut for event in parser.push(data[part])]
            assert joined(events + parser.finish()) == whole, text


@pytest.mark.parametrize("seed", range(4))
def test_ids_cut_anywhere_give_the_same(seed: int, tokenizer: Tokenizer) -> None:
    for text, thinking in random_texts(seed, 60, (*TAGS, *TAGS[:2], *PLAIN, *BROKEN)):
        ids = spelt(text, tokenizer)
        whole = parse_ids(ids, tokenizer, thinking=thinking)
        for bounds in [range(len(ids) + 1), *([0, i, len(ids)] for i in range(len(ids)))]:
            parser = Parser(tokenizer, thinking=thinking)
            events = [event for low, high in pairwise(bounds) for event in parser.push(ids[low:high])]
            assert joined(events + parser.finish()) == whole, text


def is_within(part: str, whole: str) -> bool:
    """Whether the characters of a part, but for whitespace, stand in the whole in that order."""
    rest = iter(whole)
    return all(character in rest for character in part if not character.isspace())


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_but_tags(seed: int, parse: Parse) -> None:
    rng = random.Random(100 + seed)
    plain = [piece for piece in PLAIN if piece not in ("</", "```", "~~~")]
    for _ in range(150):
        pieces = rng.choices((*TAGS, *plain), k=rng.randint(1, 14))
        # in a complete call, its type goes with the tags
        pieces = [piece for piece in pieces if piece != "function" or CALL_SEP not in pieces]
        events = parse("".join(pieces), rng.random() < 0.6)
        said = "".join(event.name.removeprefix("search") + event.text for event in events)
        assert is_within(said, "".join(pieces)), pieces
        assert is_within("".join(piece for piece in pieces if piece not in TAGS), said), pieces


@pytest.mark.parametrize("thinking", [True, False])
def test_no_more_is_held_back_than_a_tag_may_begin_with(thinking: bool) -> None:
    rng = random.Random(7)
    for _ in range(100):
        text = "a" + "".join(rng.choices(["a", "\n", "<", "</", "thi", "<sea", "`", "<｜tool", "🌍", "</thin"], k=12))
        parser = TextParser(thinking=thinking)
        said = ""
        for place, character in enumerate(text):
            said += "".join(event.text for event in parser.push(character))
            held = text[len(said) : place + 1]
            assert text.startswith(said)
            assert any(tag.startswith(held) or ("\n" + tag).startswith(held) for tag in TAGS), (held, text)
            assert thinking or not held.startswith("\n")


@pytest.mark.parametrize("seed", range(3))
def test_nothing_raises(seed: int, tokenizer: Tokenizer) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        by_id = Parser(tokenizer, thinking=rng.random() < 0.5)
        for _ in range(20):
            by_id.push([rng.randint(-5, tokenizer.vocab_size + 50) for _ in range(rng.randint(0, 4))])
        by_id.finish()
        by_text = TextParser(thinking=rng.random() < 0.5)
        for _ in range(10):
            by_text.push(rng.randbytes(rng.randint(0, 5)))
            by_text.push("".join(rng.choices([*TAGS, *BROKEN, "\ud83d", "\x00"], k=2)))
        by_text.finish()


def test_long_output_is_quick(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("a " * 50_000), tokenizer.control("</think>"), *tokenizer.encode("`<b>` " * 20_000)]
    events = parse_ids(ids, tokenizer)
    assert [len(event.text) for event in events] == [100_000, 120_000]
    assert [len(event.text) for event in parse_text(tokenizer.decode(ids, skip_control=False))] == [100_000, 120_000]
