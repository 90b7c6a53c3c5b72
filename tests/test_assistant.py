"""A model folder, asked from Python: what it answers, counts, refuses, and how it is found."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from denken.assistant import Assistant, load
from denken.chat.message import Message, ToolCall
from denken.engine.sequence import Output
from denken.errors import CheckpointError, ConfigError, RequestError, UnknownNameError
from denken.serve.speaker import ContextFull
from denken.types import SamplingParams
from scripted import ScriptedStream, script, write_model


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
