"""OpenAI's client for responses and Anthropic's for messages, both kinds of each, against real servers.

What the model in the box has to say is asked of it; what depends on what a model says is asked of one that says it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import anthropic
import openai
import pytest
from pydantic import BaseModel

from denken.serve.speaker import Piece

QUESTION = "What is 17 times 23?"
TURN = [{"role": "user", "content": QUESTION}]
PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Bonn", "Paris"]}},
    "required": ["city"],
    "additionalProperties": False,
}
THINKING = {"type": "enabled", "budget_tokens": 300}
CALL = Piece("tool", '{"place":"Ulm"}', name="weather")


class Sum(BaseModel):
    result: int
    odd: bool


def openai_at(port: int) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)


def anthropic_at(port: int, prefix: str = "") -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=f"http://127.0.0.1:{port}{prefix}", api_key="none", max_retries=0)


@pytest.fixture(scope="module")
def responses(bundled_server: int) -> Iterator[openai.resources.Responses]:
    """Of the model in the box."""
    with openai_at(bundled_server) as client:
        yield client.responses


@pytest.fixture(scope="module")
def messages(bundled_server: int) -> Iterator[anthropic.resources.Messages]:
    """Of the model in the box."""
    with anthropic_at(bundled_server) as client:
        yield client.messages


def test_a_response_has_its_thought_and_its_text(responses):
    response = responses.create(model="bundled", input=QUESTION)
    assert response.output_text == "391"
    assert "17*23" in response.output[0].content[0].text
    assert response.usage.output_tokens_details.reasoning_tokens > 10
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    quick = responses.create(model="bundled", input=TURN, reasoning={"effort": "none"})
    assert [item.type for item in quick.output] == ["message"]


def test_a_response_can_be_gone_on_with_from_what_was_sent(responses):
    first = responses.create(model="bundled", input=TURN)
    fields = {
        "input": [*TURN, *first.output, {"role": "user", "content": "What is 5 plus 8?"}],
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    second, again = (responses.create(model="bundled", **fields) for _ in range(2))
    assert second.output_text == again.output_text == "13"
    assert again.usage.input_tokens_details.cached_tokens > 0


def test_a_stream_of_a_response_says_the_same_as_the_whole(responses):
    whole = responses.create(model="bundled", input=QUESTION, temperature=0)
    with responses.stream(model="bundled", input=QUESTION, temperature=0) as stream:
        said = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        final = stream.get_final_response()
    assert said == final.output_text == whole.output_text
    assert final.output[0].content == whole.output[0].content


def test_a_cut_response_is_incomplete_and_what_is_not_kept_is_refused(responses):
    response = responses.create(model="bundled", input=QUESTION, max_output_tokens=5)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    with pytest.raises(openai.BadRequestError, match="not stored"):
        responses.create(model="bundled", input=QUESTION, previous_response_id="resp_1")
    with pytest.raises(openai.NotFoundError, match="'bundled'"):
        responses.create(model="gpt-5", input=QUESTION)
    with pytest.raises(openai.BadRequestError, match="web_search"):
        responses.create(model="bundled", input=QUESTION, tools=[{"type": "web_search"}])


def test_a_response_of_the_model_calls_and_takes_the_result(responses):
    tool = {"type": "function", "name": "weather", "parameters": CITY}
    fields = {"model": "bundled", "tools": [tool], "parallel_tool_calls": False}
    first = responses.create(input=TURN, tool_choice="required", **fields)
    call = first.output[-1]
    assert (call.type, call.name, first.status) == ("function_call", "weather", "completed")
    assert json.loads(call.arguments)["city"] in ("Bonn", "Paris")
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "391"}
    second = responses.create(input=[*TURN, *first.output, result], tool_choice="none", **fields)
    assert [item.type for item in second.output if item.type == "function_call"] == []
    named = {"type": "function", "name": "weather"}
    with responses.stream(input=TURN, tool_choice=named, **fields) as stream:
        assert stream.get_final_response().output[-1].name == "weather"


def test_a_response_of_the_model_is_parsed(responses):
    response = responses.parse(model="bundled", input=QUESTION, text_format=Sum)
    assert response.output_parsed.result == 391
    assert "17*23" in response.output[0].content[0].text
    with responses.stream(model="bundled", input=QUESTION, text_format=Sum) as stream:
        assert stream.get_final_response().output_parsed.result == 391


def test_a_response_calls_and_takes_the_result(server, speaker):
    tool = openai.pydantic_function_tool(Sum, name="weather")
    flat = {"type": "function", **tool["function"], "parameters": PLACE}
    speaker.pieces = [Piece("think", "Hm."), CALL]
    with openai_at(server) as client:
        first = client.responses.create(input="Warm?", tools=[flat], tool_choice="required")
        call = first.output[-1]
        assert (call.name, call.arguments) == ("weather", '{"place":"Ulm"}')
        with client.responses.stream(model="fake", input="Warm?", tools=[flat]) as stream:
            deltas = [e.delta for e in stream if e.type == "response.function_call_arguments.delta"]
            assert stream.get_final_response().output[-1].parsed_arguments == {"place": "Ulm"}
        assert "".join(deltas) == call.arguments
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "sun"}
        client.responses.create(input=[{"role": "user", "content": "Warm?"}, *first.output, result], tools=[flat])
    assert [message.role for message in speaker.asks[-1].messages] == ["user", "assistant", "tool"]


def test_a_response_is_parsed(server, speaker):
    speaker.pieces = [Piece("think", "Hm."), Piece("answer", '{"result":'), Piece("answer", '391,"odd":true}')]
    with openai_at(server) as client:
        response = client.responses.parse(model="fake", input=QUESTION, text_format=Sum)
        assert response.output_parsed == Sum(result=391, odd=True)
        with client.responses.stream(model="fake", input=QUESTION, text_format=Sum) as stream:
            assert stream.get_final_response().output_parsed == Sum(result=391, odd=True)
    assert speaker.asks[-1].schema["properties"].keys() == {"result", "odd"}


def test_a_response_that_breaks_off_raises(server, speaker):
    speaker.pieces = [Piece("answer", "so far"), Piece("answer", "BREAK")]
    seen = []

    def listen() -> None:
        with openai_at(server) as client:
            for event in client.responses.create(input="x", stream=True):
                seen.append(event.type)

    with pytest.raises(openai.APIError, match="broke off"):
        listen()
    assert seen[-1] == "response.failed"
    assert "error" not in seen


def test_a_message_shows_its_thought_only_when_asked(messages):
    message = messages.create(model="bundled", max_tokens=500, messages=TURN)
    assert [block.type for block in message.content] == ["text"]
    assert (message.content[0].text, message.stop_reason) == ("391", "end_turn")
    shown = messages.create(model="bundled", max_tokens=500, messages=TURN, thinking=THINKING)
    assert [block.type for block in shown.content] == ["thinking", "text"]
    assert "17*23" in shown.content[0].thinking
    assert shown.content[1].text == "391"
    assert shown.usage.output_tokens_details.thinking_tokens > 10


def test_a_small_limit_still_leaves_an_answer(messages):
    message = messages.create(model="bundled", max_tokens=20, messages=TURN)
    assert message.content[0].text
    assert message.usage.output_tokens <= 20


def test_a_message_can_be_gone_on_with_from_what_was_sent(messages):
    first = messages.create(model="bundled", max_tokens=500, messages=TURN, thinking=THINKING)
    turns = [*TURN, first.to_param(), {"role": "user", "content": "What is 5 plus 8?"}]
    fields = {"model": "bundled", "max_tokens": 500, "messages": turns, "thinking": THINKING}
    second, again = (messages.create(**fields) for _ in range(2))
    assert second.content[-1].text == again.content[-1].text == "13"
    assert again.usage.cache_read_input_tokens > 0
    counted = messages.count_tokens(model="bundled", messages=turns, thinking=THINKING).input_tokens
    assert counted == again.usage.input_tokens + again.usage.cache_read_input_tokens


def test_a_stream_of_a_message_says_the_same_as_the_whole(messages):
    fields = {"model": "bundled", "max_tokens": 500, "messages": TURN, "extra_body": {"temperature": 0}}
    fields["thinking"] = THINKING
    whole = messages.create(**fields)
    with messages.stream(**fields) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert "".join(event.thinking for event in events if event.type == "thinking") == whole.content[0].thinking
    assert "".join(event.text for event in events if event.type == "text") == whole.content[1].text == "391"
    assert [block.type for block in final.content] == ["thinking", "text"]
    assert final.content[0].signature
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_a_stop_sequence_is_named(messages):
    message = messages.create(model="bundled", max_tokens=500, messages=TURN, stop_sequences=["xyz", "9"])
    assert (message.content[0].text, message.stop_reason, message.stop_sequence) == ("3", "stop_sequence", "9")


def test_errors_are_anthropics(messages, bundled_server):
    with pytest.raises(anthropic.NotFoundError, match="'bundled'") as caught:
        messages.create(model="claude", max_tokens=5, messages=TURN)
    assert len(caught.value.request_id) == 32
    image = {"type": "image", "source": {"type": "url", "url": "https://example.org/x.png"}}
    with pytest.raises(anthropic.BadRequestError, match="reads text only"):
        messages.create(model="bundled", max_tokens=5, messages=[{"role": "user", "content": [image]}])
    with anthropic_at(bundled_server, "/anthropic") as client:
        assert client.messages.create(model="bundled", max_tokens=500, messages=TURN).content[0].text == "391"
        assert client.messages.count_tokens(model="bundled", messages=TURN).input_tokens > 5


def test_a_message_of_the_model_calls_and_takes_the_result(messages):
    tool = {"name": "weather", "input_schema": CITY}
    fields = {"model": "bundled", "max_tokens": 600, "tools": [tool]}
    choice = {"type": "any", "disable_parallel_tool_use": True}
    first = messages.create(messages=TURN, tool_choice=choice, thinking=THINKING, **fields)
    call = first.content[-1]
    assert (call.type, call.name, first.stop_reason) == ("tool_use", "weather", "tool_use")
    assert call.input["city"] in ("Bonn", "Paris")
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "391"}
    turns = [*TURN, first.to_param(), {"role": "user", "content": [result]}]
    second = messages.create(messages=turns, tool_choice={"type": "none"}, **fields)
    assert all(block.type == "text" for block in second.content)
    named = {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}
    with messages.stream(messages=TURN, tool_choice=named, **fields) as stream:
        assert stream.get_final_message().content[-1].input["city"] in ("Bonn", "Paris")


def test_a_message_of_the_model_is_parsed_or_gone_on_with(messages):
    fields = {"model": "bundled", "max_tokens": 600}
    assert messages.parse(messages=TURN, output_format=Sum, **fields).parsed_output.result == 391
    begun = {"role": "assistant", "content": "39"}
    going_on = messages.create(messages=[*TURN, begun], **fields)
    assert [block.type for block in going_on.content] == ["text"]
    assert going_on.usage.output_tokens_details.thinking_tokens == 0


def test_what_larger_models_could_say_fits(messages):
    """Programs have to give a limit, and give that of another model."""
    thinking = {"type": "enabled", "budget_tokens": 10_000}
    message = messages.create(model="bundled", max_tokens=16_000, messages=TURN, thinking=thinking)
    assert message.content[-1].text == "391"


def test_a_message_calls_and_takes_the_result(server, speaker):
    tool = {"name": "weather", "description": "Looks out.", "input_schema": PLACE}
    speaker.pieces = [Piece("think", "Hm."), Piece("answer", "I look."), CALL]
    turns = [{"role": "user", "content": "Warm?"}]
    fields = {"model": "fake", "max_tokens": 50, "tools": [tool], "tool_choice": {"type": "any"}}
    with anthropic_at(server) as client:
        first = client.messages.create(messages=turns, thinking={"type": "enabled", "budget_tokens": 20}, **fields)
        assert [block.type for block in first.content] == ["thinking", "text", "tool_use"]
        call = first.content[-1]
        assert (call.name, call.input, first.stop_reason) == ("weather", {"place": "Ulm"}, "tool_use")
        with client.messages.stream(messages=turns, **fields) as stream:
            assert stream.get_final_message().content[-1].input == {"place": "Ulm"}
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "sun"}]}
        client.messages.create(messages=[*turns, first.to_param(), {"role": "user", "content": [result]}], **fields)
    assert [message.role for message in speaker.asks[-1].messages] == ["user", "assistant", "tool"]


def test_a_message_is_parsed(server, speaker):
    speaker.pieces = [Piece("answer", '{"result":391,"odd":true}')]
    with anthropic_at(server) as client:
        message = client.messages.parse(model="fake", max_tokens=50, messages=TURN, output_format=Sum)
    assert message.parsed_output == Sum(result=391, odd=True)
    assert speaker.asks[-1].schema["properties"].keys() == {"result", "odd"}


def test_a_message_that_breaks_off_raises(server, speaker):
    speaker.pieces = [Piece("answer", "so far"), Piece("answer", "BREAK")]
    with (
        anthropic_at(server) as client,
        client.messages.stream(model="fake", max_tokens=50, messages=TURN) as stream,
        pytest.raises(anthropic.APIStatusError, match="broke off"),
    ):
        list(stream)


def test_leaving_a_stream_ends_the_generation(server, speaker, wait_until):
    speaker.pieces = [Piece("answer", "word ")] * 10_000
    speaker.pause = 0.01
    with openai_at(server) as client, client.responses.stream(model="fake", input="x") as stream:
        next(event for event in stream if event.type == "response.output_text.delta")
    wait_until(lambda: speaker.ended == 1)
    with (
        anthropic_at(server) as client,
        client.messages.stream(model="fake", max_tokens=50, messages=TURN) as stream,
    ):
        next(stream.text_stream)
    wait_until(lambda: speaker.begun == speaker.ended == 2)


def test_the_asynchronous_clients_do_the_same_at_once(bundled_server):
    async def both() -> tuple[str, str, str]:
        async with (
            openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{bundled_server}/v1", api_key="none") as one,
            anthropic.AsyncAnthropic(base_url=f"http://127.0.0.1:{bundled_server}", api_key="none") as other,
        ):

            async def stream_response() -> str:
                async with one.responses.stream(model="bundled", input=QUESTION) as stream:
                    return (await stream.get_final_response()).output_text

            async def stream_message() -> str:
                async with other.messages.stream(model="bundled", max_tokens=500, messages=TURN) as stream:
                    return "".join([text async for text in stream.text_stream])

            async def create_response() -> str:
                return (await one.responses.create(model="bundled", input=QUESTION)).output_text

            return await asyncio.gather(stream_response(), stream_message(), create_response())

    assert asyncio.run(both()) == ["391", "391", "391"]
