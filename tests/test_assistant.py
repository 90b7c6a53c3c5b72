"""A model folder, asked from Python: what it answers, counts, refuses, and how it is found."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from denken.assistant import Assistant, load
from denken.chat import template
from denken.chat.message import Message, Tool, ToolCall
from denken.engine.sequence import Output
from denken.errors import CheckpointError, ConfigError, RequestError, UnknownNameError
from denken.model.kernels.build import library
from denken.serve.speaker import Ask, ContextFull, TextAsk, Unsupported
from denken.tokenizer import Tokenizer
from denken.types import SamplingParams
from scripted import ScriptedStream, script, write_model
from small_vocabulary import write_tokenizer


def speaking(tokenizer, outputs: list[Output], context: int = 200) -> Assistant:
    return Assistant("scripted", tokenizer, ScriptedStream(outputs), context=context)


@pytest.fixture(scope="session")
def model_folder(tokenizer, tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "tiny-random", tokenizer)


def test_ask_separates_thought_and_answer_and_counts_both(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, "ab", "cdü"))
    answer = assistant.ask("Hi")
    assert (answer.thought, answer.text, str(answer)) == ("ab", "cdü", "cdü")
    assert answer.prompt_tokens == len(assistant._stream.prompts[0][0])
    # "a", "b", newline, closing tag; then the empty line, "c", "d", two bytes of "ü", end mark.
    assert (answer.thought_tokens, answer.answer_tokens, answer.cached_tokens) == (4, 6, 3)
    assert answer.finish_reason == "stop"
    assert answer.seconds > 0


def test_thinking_can_be_left_out(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, None, "42"))
    answer = assistant.ask("Hi", thinking=False)
    assert (answer.thought, answer.text, answer.thought_tokens) == ("", "42", 0)
    assert assistant._stream.prompts[0][1] is False


def test_after_a_tools_output_the_answer_is_no_thought(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, None, "42"))
    call = ToolCall("add", "{}")
    asked = [Message("user", "Hi"), Message("assistant", "", tool_calls=(call,)), Message("tool", "42")]
    answer = assistant.ask(asked)
    assert (answer.thought, answer.text) == ("", "42")
    assert assistant._stream.prompts[0][1] is False


def test_a_thought_that_was_cut_stays_a_thought(tokenizer):
    outputs = script(tokenizer, "abc", "", "length")[:3]
    outputs[-1] = Output(0, outputs[-1].ids, (-0.25,), "length")
    answer = speaking(tokenizer, outputs).ask("Hi")
    assert (answer.thought, answer.text, answer.finish_reason) == ("abc", "", "length")


def test_what_follows_a_stop_string_is_cut(tokenizer):
    outputs = script(tokenizer, "ab", "one STOP", reason="length")
    held = [id_ for output in outputs[-5:] for id_ in output.ids]
    last = Output(0, tuple(held), (-0.25,) * 5, "stop", surplus=len("STOP"))
    answer = speaking(tokenizer, [*outputs[:-5], last]).ask("Hi")
    assert (answer.text, answer.finish_reason) == ("one", "stop")


@pytest.mark.parametrize(("stops", "named"), [(("no", "STOP"), "STOP"), (("no",), None)])
def test_a_reply_says_which_stop_string_ended_it(tokenizer, stops, named):
    outputs = script(tokenizer, "ab", "one STOP", reason="length")
    held = [id_ for output in outputs[-5:] for id_ in output.ids]
    last = Output(0, tuple(held), (-0.25,) * 5, "stop", surplus=len("STOP"))
    reply = speaking(tokenizer, [*outputs[:-5], last]).reply("Hi", SamplingParams(stop=stops))
    assert "".join(piece.text for piece in reply if piece.kind == "answer") == "one "
    assert reply.stop_string == named


def test_stream_gives_events_in_order_and_stops_the_model_when_closed(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, "ab", "cd"))
    events = list(assistant.stream("Hi"))
    assert [event.kind for event in events] == ["think"] * 2 + ["answer"] * 2
    assert "".join(event.text for event in events) == "abcd"
    stream = assistant.stream("Hi")
    next(stream)
    assert assistant._stream.closed == 1
    stream.close()
    assert assistant._stream.closed == 2


def test_the_asynchronous_reply_is_the_same(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, "ab", "cd"))

    async def pieces():
        return [piece async for piece in assistant.reply("Hi")]

    assert asyncio.run(pieces()) == list(assistant.reply("Hi"))


def test_logprobs_name_the_bytes_of_text_tokens_only(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, "a", "ü"))
    pieces = list(assistant.reply("Hi", SamplingParams(top_logprobs=2)))
    told = {kind: b"".join(t.token for p in pieces if p.kind == kind for t in p.tokens) for kind in ("think", "answer")}
    assert told == {"think": b"a\n", "answer": "\n\nü".encode()}
    (first, *_) = [token for piece in pieces for token in piece.tokens]
    assert (first.logprob, first.top) == (-0.25, ((b"a", -0.25), (b"A", -1.0)))
    assert not any(piece.tokens for piece in assistant.reply("Hi"))


def test_a_conversation_is_rendered_without_its_old_thoughts(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, "a", "b"))
    history = [Message("user", "Q"), Message("assistant", "A", reasoning_content="secret"), Message("user", "R")]
    assistant.ask(history)
    assert "secret" not in tokenizer.decode(assistant._stream.prompts[0][0])


@pytest.mark.parametrize("question", ["", " \n\t", [], [Message("user", "a"), Message("assistant", "b")]])
def test_nothing_to_answer_is_refused(tokenizer, question):
    with pytest.raises(RequestError, match=r"empty|no message|last message"):
        speaking(tokenizer, []).ask(question)


@pytest.mark.parametrize("length", [200, 200_000])
def test_too_long_a_question_names_both_numbers(tokenizer, length):
    with pytest.raises(ContextFull, match=r"\d{3,}.* 200"):
        speaking(tokenizer, []).ask("the x" * length)


def test_the_longest_question_that_fits_is_answered(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, "a", "b"), context=100)
    with pytest.raises(ContextFull) as refused:
        assistant.ask("x" * 101)
    given = int(str(refused.value).split(" tokens")[0].split()[-1])
    fits = 101 - (given - (100 - 8))
    assert assistant.ask("x" * fits).text == "b"
    with pytest.raises(ContextFull):
        assistant.ask("x" * (fits + 1))


def test_a_folder_is_loaded_and_asked(model_folder):
    with load(model_folder, threads=1) as assistant:
        assert (assistant.name, assistant.context) == ("tiny-random", 96)
        assert (assistant.defaults.temperature, assistant.defaults.top_k) == (0.8, 5)
        params = SamplingParams(seed=3, max_tokens=20, thinking_budget=4)
        first, second = (assistant.ask("Calculate the" * 3, params=params) for _ in range(2))
        assert (first.text, first.thought) == (second.text, second.thought)
        assert 0 < first.thought_tokens <= 4 + 3
        assert first.answer_tokens >= 1
        assert first.thought_tokens + first.answer_tokens <= 20
        assert second.cached_tokens > 0


def test_apart_it_says_the_same(model_folder):
    """With its network in a process of its own, from threads and from event loops."""
    greedy = SamplingParams(temperature=0, max_tokens=30)
    with load(model_folder) as here, load(model_folder, apart=True) as apart:
        assert (apart.name, apart.context, apart.defaults) == (here.name, here.context, here.defaults)
        expected, answer = here.ask("Calculate", params=greedy), apart.ask("Calculate", params=greedy)
        assert (answer.thought, answer.text, answer.answer_tokens) == (
            expected.thought,
            expected.text,
            expected.answer_tokens,
        )

        async def collect() -> str:
            return "".join([piece.text async for piece in apart.reply("Calculate", greedy)])

        assert asyncio.run(collect()).strip().startswith(answer.thought)
        with pytest.raises(ConfigError, match="process of its own"):
            _ = apart.engine
        with pytest.raises(ContextFull):
            apart.ask("the " * 5000)


def test_apart_what_is_wrong_with_the_weights_is_told_here(model_folder, tmp_path):
    damaged = shutil.copytree(model_folder, tmp_path / "damaged")
    (weights,) = damaged.glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="safetensors"):
        load(damaged, apart=True)


def test_a_budget_of_nothing_still_ends_in_an_answer(model_folder):
    with load(model_folder, threads=1) as assistant:
        answer = assistant.ask("Hi", params=SamplingParams(seed=1, thinking_budget=0, max_tokens=30))
        assert answer.thought == ""
        assert answer.answer_tokens > 1


def test_unknown_names_say_what_is_near(model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean 'bundled'"):
        load("bundeld")
    with pytest.raises(UnknownNameError, match="tiny-random"):
        load(model_folder.parent / "tiny-randon")
    run = tmp_path / "runs" / "first"
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text("{}")
    with pytest.raises(UnknownNameError, match=r"runs/first/model'"):
        load(run)
    with pytest.raises(UnknownNameError, match=r"runs/first/model'"):
        load("runs/frist/model")
    with pytest.raises(UnknownNameError, match=r"no config\.json"):
        load(tmp_path)
    with pytest.raises(UnknownNameError, match="folder with config"):
        load("../../../etc/passwd")


@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000, '{"eos_token_id": "end"}', '{"temperature": 9}'])
def test_a_damaged_generation_config_is_named(model_folder, tmp_path, content):
    folder = tmp_path / "damaged"
    shutil.copytree(model_folder, folder)
    (folder / "generation_config.json").write_text(content)
    with pytest.raises((CheckpointError, ConfigError), match=r"generation_config\.json"):
        load(folder)


def test_a_folder_without_weights_is_refused(model_folder, tmp_path):
    folder = tmp_path / "empty"
    shutil.copytree(model_folder, folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(CheckpointError):
        load(folder)


WEATHER = Tool(
    "weather",
    "How it is in a city.",
    {
        "type": "object",
        "properties": {"city": {"enum": ["Köln", "Bonn"]}, "days": {"type": "integer", "minimum": 1, "maximum": 3}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
)
CLOCK = Tool("clock", parameters={"type": "object", "properties": {}, "additionalProperties": False})
QUESTION = (Message("user", "Hi"),)


def spelt(tokenizer, text: str) -> list[int]:
    """The ids of a text in which the names of control tokens are those tokens."""
    names = sorted(tokenizer.control_ids, key=len, reverse=True)
    parts = re.split("(" + "|".join(map(re.escape, names)) + ")", text)
    return [id_ for part in parts for id_ in ([tokenizer.control(part)] if part in names else tokenizer.encode(part))]


def saying(tokenizer, text: str, reason: str = "stop") -> Assistant:
    ids = spelt(tokenizer, text)
    outputs = [Output(0, (id_,), (-0.25,), None) for id_ in ids[:-1]]
    return speaking(tokenizer, [*outputs, Output(0, (ids[-1],), (-0.25,), reason)], context=2000)


def told(pieces) -> list[tuple[str, str, str]]:
    """Kind, name and text, neighbours of a kind in one."""
    whole: list[tuple[str, str, str]] = []
    for piece in pieces:
        if whole and piece.kind == whole[-1][0] != "tool":
            whole[-1] = (piece.kind, "", whole[-1][2] + piece.text)
        else:
            whole.append((piece.kind, piece.name, piece.text))
    return whole


def call(name: str, arguments: str) -> str:
    return f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>"


def calls(*each: str) -> str:
    return "<｜tool▁calls▁begin｜>" + "\n".join(each) + "<｜tool▁calls▁end｜>"


def ask_for(messages=QUESTION, params=None, **wanted) -> Ask:
    return Ask(messages, params or SamplingParams(seed=1), **wanted)


def test_tools_that_are_called_become_pieces_with_a_name(tokenizer):
    good = call("weather", '{"city": "Köln", "days": 1}')
    assistant = saying(tokenizer, "Hm\n</think>\n\nLet me look." + calls(good, call("clock", "{}")))
    reply = assistant.reply(ask_for(tools=(WEATHER, CLOCK)))
    assert told(reply) == [
        ("think", "", "Hm"),
        ("answer", "", "Let me look."),
        ("tool", "weather", '{"city": "Köln", "days": 1}'),
        ("tool", "clock", "{}"),
    ]
    prompt = tokenizer.decode(assistant._stream.prompts[0][0], skip_control=False)
    assert "## Tools" in prompt
    assert "### weather\nDescription: How it is in a city." in prompt
    assert assistant._stream.params[0].grammar is None


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("weather", '{"city": '),
        ("weather", "[1]"),
        ("weather", '{"days": NaN}'),
        ("weather", "[" * 5000),
        ("rm", "{}"),
        ("", "{}"),
    ],
)
def test_calls_that_cannot_be_made_are_text(tokenizer, name, arguments):
    assistant = saying(tokenizer, "\n</think>\n\n" + calls(call(name, arguments)))
    pieces = told(assistant.reply(ask_for(tools=(WEATHER,))))
    assert [kind for kind, _, _ in pieces] == ["answer"]
    assert arguments.strip() in pieces[0][2]


def test_calls_that_nobody_offered_are_text(tokenizer):
    text = "\n</think>\n\n" + calls(call("weather", "{}"))
    for wanted in ({}, {"tools": (WEATHER,), "tool_choice": "none"}):
        assistant = saying(tokenizer, text)
        assert told(assistant.reply(ask_for(**wanted))) == [("answer", "", "weather\n{}")]
        assert "## Tools" not in tokenizer.decode(assistant._stream.prompts[0][0])


def test_a_call_within_a_thought_is_no_call(tokenizer):
    """Phantom calls: the model only thinks of calling."""
    thought = "I could say " + calls(call("weather", '{"city": "Bonn", "days": 1}')) + " or <search>{}</search> it."
    assistant = saying(tokenizer, thought + "\n</think>\n\nNo.")
    pieces = told(assistant.reply(ask_for(tools=(WEATHER, Tool("search")))))
    assert [kind for kind, _, _ in pieces] == ["think", "answer"]
    assert '{"city": "Bonn", "days": 1}' in pieces[0][2]
    assert "<search>{}</search> it." in pieces[0][2]
    assert pieces[1][2] == "No."


def test_without_parallel_calls_the_first_ends_the_reply(tokenizer):
    text = "\n</think>\n\n" + calls(call("clock", "{}"), call("clock", "{}"))
    assistant = saying(tokenizer, text)
    reply = assistant.reply(ask_for(tools=(CLOCK,), parallel_tools=False))
    assert told(reply) == [("tool", "clock", "{}")]
    assert reply.finish_reason == "stop"
    assert assistant._stream.closed == 1


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"tool_choice": "required"}, "no tools"),
        ({"tools": (WEATHER,), "tool_choice": ("named", "clock")}, "not among the tools"),
        ({"tools": (Tool('a"b'),)}, "named"),
        ({"tools": (Tool("a", parameters={"type": "string"}),), "tool_choice": "required"}, "object"),
        ({"tools": (Tool("a", parameters={"x": float("nan")}),), "tool_choice": "required"}, "JSON"),
        ({"schema": {"a": object()}}, "JSON"),
    ],
)
def test_tools_that_do_not_go_together_are_refused(tokenizer, wanted, reason):
    with pytest.raises(RequestError, match=reason):
        saying(tokenizer, "x").reply(ask_for(**wanted))


@pytest.fixture(scope="module")
def random_model(tokenizer, tmp_path_factory) -> Iterator[Assistant]:
    """Random weights and room for long conversations."""
    folder = write_model(tmp_path_factory.mktemp("models") / "roomy", tokenizer)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}))
    with load(folder, threads=1) as assistant:
        yield assistant


WILD = {"temperature": 1.5, "top_p": 1.0, "top_k": 0, "max_tokens": 300}


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("choice", ["required", ("named", "weather")])
@pytest.mark.parametrize("parallel", [True, False])
def test_random_weights_call_tools_that_are_required(random_model, thinking, choice, parallel):
    for seed in range(4):
        reply = random_model.reply(
            ask_for(
                params=SamplingParams(seed=seed, thinking_budget=10, **WILD),
                thinking=thinking,
                tools=(WEATHER, CLOCK),
                tool_choice=choice,
                parallel_tools=parallel,
            )
        )
        pieces = [piece for piece in told(reply) if piece[0] != "think"]
        made = [(name, json.loads(text)) for kind, name, text in pieces if kind == "tool"]
        assert reply.finish_reason == "stop"
        assert len(made) == len(pieces) >= 1
        assert parallel or len(made) == 1
        for name, arguments in made:
            assert name == "weather" or (name == "clock" and choice == "required")
            if name == "weather":
                assert arguments.keys() == {"city", "days"}
                assert arguments["city"] in ("Köln", "Bonn")
                assert arguments["days"] in (1, 2, 3)
            else:
                assert arguments == {}


def test_random_weights_call_tools_whose_tags_are_text(tokenizer, tmp_path):
    few = [template.BOS, template.EOS, template.USER, template.ASSISTANT, template.THINK, template.END_THINK]
    plain = Tokenizer.load(write_tokenizer(tmp_path / "tokenizer", control=few))
    folder = write_model(tmp_path / "model", plain)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    with load(folder, threads=1) as assistant:
        params = SamplingParams(seed=2, thinking_budget=5, **WILD)
        made = told(assistant.reply(ask_for(params=params, tools=(WEATHER,), tool_choice="required")))
    assert {(kind, name) for kind, name, _ in made if kind != "think"} == {("tool", "weather")}


@pytest.mark.parametrize("thinking", [True, False])
def test_random_weights_answer_as_the_schema_says(random_model, thinking):
    schema = {
        "type": "object",
        "properties": {
            "kind": {"enum": ["gut", "böse"]},
            "parts": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "number", "maximum": 9}},
            "inner": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]},
        },
        "required": ["kind", "parts"],
        "additionalProperties": False,
    }
    whole = 0
    for seed in range(8):
        params = SamplingParams(seed=seed, thinking_budget=10, **WILD)
        reply = random_model.reply(ask_for(params=params, thinking=thinking, schema=schema))
        text = "".join(piece.text for piece in reply if piece.kind == "answer")
        if reply.finish_reason == "stop":
            whole += 1
            answer = json.loads(text)
            assert answer["kind"] in ("gut", "böse")
            assert all(isinstance(part, int | float) for part in answer["parts"])
            assert isinstance(answer.get("inner", {}).get("ok", True), bool)
        else:
            assert reply.finish_reason == "length"
    assert whole


def test_a_schema_and_tools_are_either(random_model):
    answered = {"tool": 0, "answer": 0}
    for seed in range(12):
        params = SamplingParams(seed=seed, thinking_budget=3, **WILD)
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        reply = random_model.reply(ask_for(params=params, schema=schema, tools=(CLOCK,)))
        for kind, _, text in told(reply):
            if kind != "think":
                assert json.loads(text) == {}
                answered[kind] += 1
    assert all(answered.values())


def test_a_bad_schema_is_refused_before_anything_is_generated(random_model):
    with pytest.raises(RequestError, match="cannot be followed"):
        random_model.reply(ask_for(schema={"type": "string", "minLength": 3, "maxLength": 1}))
    with pytest.raises(RequestError, match="logit_bias"):
        random_model.reply(ask_for(params=SamplingParams(logit_bias=((10**8, 1.0),))))


def test_a_begun_answer_is_gone_on_with(tokenizer):
    assistant = saying(tokenizer, " 12.<｜end▁of▁sentence｜>")
    begun = Message("assistant", "It is", reasoning_content="Hm")
    reply = assistant.reply(ask_for((*QUESTION, begun), continues=True))
    assert told(reply) == [("answer", "", " 12.")]
    prompt, thinking = assistant._stream.prompts[0]
    assert tokenizer.decode(prompt, skip_control=False).endswith("<think>\nHm\n</think>\n\nIt is")
    assert thinking is False
    answered = (*QUESTION, Message("assistant", "It is 12."), Message("user", "Why?"))
    ahead = assistant._stream.warmed[0]
    assert template.render(answered, tokenizer).ids[: len(ahead)] == ahead


@pytest.mark.parametrize(
    ("messages", "wanted", "error"),
    [
        (QUESTION, {}, RequestError),
        ((*QUESTION, Message("assistant", "", tool_calls=(ToolCall("a", "{}"),))), {}, RequestError),
        ((*QUESTION, Message("assistant", "{")), {"schema": {}}, Unsupported),
        ((*QUESTION, Message("assistant", "a")), {"tools": (CLOCK,), "tool_choice": "required"}, Unsupported),
    ],
)
def test_what_cannot_be_gone_on_with_is_refused(tokenizer, messages, wanted, error):
    with pytest.raises(error):
        saying(tokenizer, "x").reply(ask_for(messages, continues=True, **wanted))


def test_a_bare_text_goes_on_as_it_stands(tokenizer):
    assistant = saying(tokenizer, "<think>a</think>" + calls(call("clock", "{}")) + "ü<｜end▁of▁sentence｜>")
    reply = assistant.complete(TextAsk("the <think>", SamplingParams()))
    assert told(reply) == [("answer", "", "afunctionclock\n```json\n{}\n```ü")]
    assert (reply.usage.thought_tokens, reply.finish_reason) == (0, "stop")
    prompt, thinking = assistant._stream.prompts[0]
    assert prompt == (tokenizer.control(template.BOS), *tokenizer.encode("the <think>"))
    assert thinking is False
    assert assistant.complete(TextAsk((5, 6), SamplingParams())).usage.prompt_tokens == 2
    with pytest.raises(Unsupported, match="gaps"):
        assistant.complete(TextAsk("a", SamplingParams(), suffix="b"))
    with pytest.raises(ContextFull):
        assistant.complete(TextAsk("x" * 3_000_000, SamplingParams()))


def test_a_gap_is_filled_where_the_vocabulary_has_its_marks(tmp_path):
    marks = [template.BOS, template.EOS, template.FIM_BEGIN, template.FIM_HOLE, template.FIM_END]
    tokenizer = Tokenizer.load(write_tokenizer(tmp_path, control=marks))
    assistant = saying(tokenizer, "c")
    assert told(assistant.complete(TextAsk("a", SamplingParams(), suffix="b"))) == [("answer", "", "c")]
    text = tokenizer.decode(assistant._stream.prompts[0][0], skip_control=False)
    assert text.endswith("<｜fim▁begin｜>a<｜fim▁hole｜>b<｜fim▁end｜>")
    with pytest.raises(RequestError, match="ids"):
        assistant.complete(TextAsk((5,), SamplingParams(), suffix="b"))


def test_ids_that_the_model_does_not_have_are_refused(random_model):
    with pytest.raises(RequestError, match="ids run"):
        random_model.complete(TextAsk((5, 10**6), SamplingParams()))


def test_max_tokens_that_do_not_fit_name_all_numbers(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, "a", "b"))
    prompt = assistant.count(ask_for())
    room = assistant.context - prompt
    assert assistant.reply(ask_for(params=SamplingParams(max_tokens=room))).most_tokens == room
    assert assistant.reply(ask_for()).most_tokens == room
    with pytest.raises(ContextFull, match=rf"{prompt} tokens and max_tokens is {room + 1}.* takes 200"):
        assistant.reply(ask_for(params=SamplingParams(max_tokens=room + 1)))
    with pytest.raises(ContextFull, match=r"budget is 200 tokens.* takes 200"):
        assistant.reply(ask_for(params=SamplingParams(thinking_budget=200)))
    with pytest.raises(ContextFull, match="max_tokens is 300"):
        assistant.complete(TextAsk("a", SamplingParams(max_tokens=300)))


def test_a_megabyte_of_one_letter_is_refused_quickly(tokenizer):
    began = time.monotonic()
    for text in ("a" * 1_000_000, "\n" * 1_000_000):
        with pytest.raises(ContextFull):
            speaking(tokenizer, []).reply(ask_for((Message("user", "x" + text),)))
    assert time.monotonic() - began < 5


def test_ten_turns_come_from_the_cache(random_model):
    """Old thoughts are dropped, and still nine tenths of each prompt were computed before it was sent."""
    messages: list[Message] = []
    for turn in range(10):
        messages.append(Message("user", f"Calculate {turn}"))
        params = SamplingParams(seed=turn, temperature=1.0, max_tokens=280, thinking_budget=20)
        reply = random_model.reply(ask_for(tuple(messages), params))
        said = {"think": "", "answer": ""}
        for piece in reply:
            said[piece.kind] += piece.text
        assert reply.usage.thought_tokens
        if turn:
            assert reply.usage.cached_tokens >= 0.9 * reply.usage.prompt_tokens
        messages.append(Message("assistant", said["answer"], reasoning_content=said["think"]))
        stream, deadline = random_model._stream, time.monotonic() + 30
        while stream._warming or not stream._orders.empty():
            assert time.monotonic() < deadline
            time.sleep(0.005)
    assert random_model.engine.free_blocks * 4 == random_model.engine.cache_tokens


def test_a_reply_that_was_left_is_not_computed_ahead(tokenizer):
    assistant = speaking(tokenizer, script(tokenizer, "ab", "cd"))
    pieces = iter(assistant.reply(ask_for()))
    next(pieces)
    pieces.close()
    assert assistant._stream.warmed == []
    list(assistant.reply(ask_for()))
    answered = (*QUESTION, Message("assistant", "cd"), Message("user", "Why?"))
    assert template.render(answered, tokenizer).ids[: len(assistant._stream.warmed[0])] == assistant._stream.warmed[0]


def test_tokens_that_come_together_are_one_piece_of_each_kind(tokenizer):
    """Where many replies run, the engine hands over several ids at a time."""
    single = script(tokenizer, "ab", "cdü")
    ids = tuple(id_ for output in single for id_ in output.ids)
    together = [Output(0, ids[:1], (-0.25,)), Output(0, ids[1:], (-0.25,) * (len(ids) - 1), "stop", 3)]
    reply = speaking(tokenizer, together).reply("Hi")
    assert [(piece.kind, piece.text) for piece in reply] == [("think", "a"), ("think", "b"), ("answer", "cdü")]
    assert (reply.usage.thought_tokens, reply.usage.answer_tokens) == (4, 6)


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match="no GPU that PyTorch sees"):
        load(device="cuda")
    with pytest.raises(ConfigError, match="'cpu' or 'cuda'"):
        load(device="gpu")
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for rounded in ({"head": "int8"}, {"rows": "int8"}):
        with pytest.raises(ConfigError, match="rounded rows are for processors"):
            load(device="cuda", **rounded)


@pytest.mark.skipif(library() is None, reason="no kernels here")
def test_rows_may_be_rounded():
    with load(rows="int8") as assistant:
        assert assistant.engine._runner.store.row_keys[0].dtype == torch.int8
        assert assistant.ask("What is 17 times 23?", params=SamplingParams(temperature=0)).text == "391"
