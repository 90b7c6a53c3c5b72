"""Stop strings end the answer wherever the ids' borders lie, and no id that could belong to one comes out early."""

from __future__ import annotations

import random

import pytest
from small_models import ScriptedModel

from denken.engine.engine import Engine
from denken.engine.sequence import Output
from denken.tokenizer import Tokenizer
from denken.types import SamplingParams


def engine_saying(tokenizer: Tokenizer, script: list[int]) -> Engine:
    model = ScriptedModel([0, *script], vocab_size=tokenizer.vocab_size, context=max(64, len(script) + 2))
    return Engine(
        model,  # type: ignore[arg-type]
        eos_ids=[tokenizer.control("<｜end▁of▁sentence｜>")],
        end_of_thinking=[tokenizer.control("</think>")],
        tokenizer=tokenizer,
    )


def finished(subject: Engine) -> list[Output]:
    outputs = []
    while subject.has_work:
        outputs += subject.step()
    return outputs


def outputs_of(tokenizer: Tokenizer, script: list[int], *stop: str, thinking: bool = False) -> list[Output]:
    subject = engine_saying(tokenizer, script)
    subject.add([65], SamplingParams(temperature=0, stop=stop, max_tokens=len(script)), thinking=thinking)
    return finished(subject)


def shown(tokenizer: Tokenizer, outputs: list[Output]) -> str:
    """What a reader sees who decodes each output as it comes and cuts the surplus from the last."""
    decoder = tokenizer.decoder()
    text = ""
    for output in outputs:
        part = "".join(decoder.push(id_) for id_ in output.ids)
        assert output.surplus <= len(part), "the surplus must lie within the ids that come with it"
        text += part[: len(part) - output.surplus]
    return text if outputs[-1].surplus else text + decoder.finish()


def test_a_stop_string_within_one_id(tokenizer: Tokenizer) -> None:
    script = [*tokenizer.encode("one two"), *tokenizer.encode(" equals"), *tokenizer.encode(" more")]
    outputs = outputs_of(tokenizer, script, "qual")
    assert shown(tokenizer, outputs) == "one two e"
    assert outputs[-1].finish_reason == "stop"


def test_a_stop_string_across_ids(tokenizer: Tokenizer) -> None:
    outputs = outputs_of(tokenizer, tokenizer.encode("abc END def"), "x", "END")
    assert shown(tokenizer, outputs) == "abc "
    assert outputs[-1].ids == tuple(tokenizer.encode("END"))


def test_no_id_that_may_begin_a_stop_string_comes_out_before_that_is_decided(tokenizer: Tokenizer) -> None:
    outputs = outputs_of(tokenizer, tokenizer.encode("ab ENENDS"), "END")
    assert [tokenizer.decode(output.ids) for output in outputs] == ["a", "b", " ", "EN", "END"]
    assert shown(tokenizer, outputs) == "ab EN"


def test_a_beginning_that_comes_to_nothing_is_handed_out(tokenizer: Tokenizer) -> None:
    outputs = outputs_of(tokenizer, tokenizer.encode("so EN"), "END")
    assert outputs[-1].finish_reason == "length"
    assert shown(tokenizer, outputs) == "so EN"


def test_a_stop_string_of_characters_that_are_several_ids(tokenizer: Tokenizer) -> None:
    outputs = outputs_of(tokenizer, tokenizer.encode("ä–→ö and more"), "→ö")
    assert shown(tokenizer, outputs) == "ä–"


def test_the_earliest_of_several_wins(tokenizer: Tokenizer) -> None:
    script = [*tokenizer.encode("a"), *tokenizer.encode("Calculate")]
    assert shown(tokenizer, outputs_of(tokenizer, script, "late", "alcu", "zzz")) == "aC"


def test_a_thought_may_say_what_ends_an_answer(tokenizer: Tokenizer) -> None:
    thought, answer = tokenizer.encode("the END\n\n"), tokenizer.encode("\n\nyes\n\nno")
    script = [*thought, tokenizer.control("</think>"), *answer]
    outputs = outputs_of(tokenizer, script, "END", "\n\n", thinking=True)
    assert shown(tokenizer, outputs) == "the END\n\n\n\nyes"
    assert outputs[-1].finish_reason == "stop"


@pytest.mark.parametrize("seed", range(12))
def test_any_text_is_cut_where_a_whole_search_would_cut_it(tokenizer: Tokenizer, seed: int) -> None:
    draw = random.Random(seed)
    text = "".join(draw.choice("aabü\n") for _ in range(30))
    stops = tuple({"".join(draw.choice("abü\n") for _ in range(draw.randint(2, 5))) for _ in range(3)})
    # Any byte may be an id of its own, so that characters fall apart in all ways.
    script = [id_ for byte in text for id_ in tokenizer.encode(byte)]
    # A stop string is found as soon as it is complete; of those completed by the same id the earliest start counts.
    end = min((text.find(stop) + len(stop) for stop in stops if stop in text), default=None)
    cut = len(text) if end is None else min(text[:end].find(stop) for stop in stops if stop in text[:end])
    outputs = outputs_of(tokenizer, script, *stops)
    assert shown(tokenizer, outputs) == text[:cut]
    assert outputs[-1].finish_reason == ("length" if end is None else "stop")
    assert [id_ for output in outputs for id_ in output.ids] == script[: sum(len(output.ids) for output in outputs)]


@pytest.mark.parametrize("thinking", [True, False])
def test_a_complete_search_ends_a_request_in_its_thought_alone(tokenizer: Tokenizer, thinking: bool) -> None:
    opening, ending, close = (tokenizer.control(name) for name in ("<search>", "</search>", "</think>"))
    script = [*tokenizer.encode("a"), ending, opening, *tokenizer.encode("b"), ending, *tokenizer.encode("cd"), close]
    for searches in (True, False):
        subject = engine_saying(tokenizer, script)
        params = SamplingParams(temperature=0, max_tokens=len(script), searches=searches)
        subject.add([65], params, thinking=thinking)
        outputs = finished(subject)
        said = [id_ for output in outputs for id_ in output.ids]
        assert said[:5] == script[:5]
        assert (len(said) == 5) is (thinking and searches)
        assert outputs[-1].finish_reason == ("stop" if thinking and searches else "length")
