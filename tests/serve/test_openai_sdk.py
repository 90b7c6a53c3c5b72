"""OpenAI's own Python client, both kinds of it, against a real server with the model in the box."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator

import openai
import pytest
from pydantic import BaseModel

from denken.serve.app import create_app
from denken.serve.speaker import Piece

QUESTION = [{"role": "user", "content": "What is 17 times 23?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Bonn", "Paris"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Sum(BaseModel):
    result: int
    odd: bool


@pytest.fixture(scope="module")
def client(bundled_server: int) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{bundled_server}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def chat(client: openai.OpenAI) -> Callable:
    """Asks what 17 times 23 is, with further fields."""

    def ask(**fields):
        return client.chat.completions.create(**({"model": "bundled", "messages": QUESTION} | fields))

    return ask


def test_an_answer_with_its_thought(chat):
    answer = chat(extra_body={"thinking": {"type": "enabled"}})
    message = answer.choices[0].message
    assert message.content == "391"
    assert "17*23" in message.reasoning_content
    assert message.reasoning == message.reasoning_content
    assert answer.usage.completion_tokens_details.reasoning_tokens > 10
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    quick = chat(extra_body={"thinking": {"type": "disabled"}}).choices[0].message
    assert not hasattr(quick, "reasoning_content")


def test_a_stream_says_the_same_as_the_whole(chat):
    whole = chat().choices[0].message
    thought = answer = ""
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    for chunk in chunks[:-1]:
        delta = chunk.choices[0].delta
        thought += getattr(delta, "reasoning_content", None) or ""
        answer += delta.content or ""
    assert (thought, answer) == (whole.reasoning_content, whole.content)
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0


def test_the_streaming_helper_gathers_a_completion(client):
    with client.chat.completions.stream(model="bundled", messages=QUESTION) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == "391"


def test_several_answers_and_a_seed(chat):
    asked = [{"role": "user", "content": "Spell lantern backwards."}]  # which it does not know without a thought
    warm = {"messages": asked, "temperature": 1.5, "seed": 11, "max_tokens": 30, "reasoning_effort": "none"}
    first, second = ([(choice.index, choice.message.content) for choice in chat(n=2, **warm).choices] for _ in range(2))
    assert first == second
    assert [index for index, _ in first] == [0, 1]
    assert first[0][1] != first[1][1]
    assert chat(**warm).choices[0].message.content == first[0][1]


def test_stop_strings_and_limits_end_an_answer(chat):
    assert chat(stop=["9"]).choices[0].message.content == "3"
    cut = chat(max_tokens=5).choices[0]
    assert cut.finish_reason == "length"


def test_logprobs_are_of_the_answers_tokens(chat):
    choice = chat(logprobs=True, top_logprobs=3).choices[0]
    assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
    assert all(len(token.top_logprobs) == 3 and token.logprob <= 0 for token in choice.logprobs.content)
    streamed = [chunk.choices[0].logprobs for chunk in chat(logprobs=True, stream=True)]
    assert "".join(token.token for one in streamed if one for token in one.content) == choice.message.content


def test_a_biased_token_never_comes(chat):
    free = chat(reasoning_effort="none", max_tokens=20, logprobs=True, top_logprobs=0).choices[0]
    banned = {str(id_): -100 for id_ in range(3, 700)}
    other = chat(reasoning_effort="none", max_tokens=20, logit_bias=banned).choices[0]
    assert not set(free.message.content) & set(other.message.content)


def test_a_required_tool_is_called_and_its_result_is_taken(chat):
    first = chat(tools=[WEATHER], tool_choice="required", parallel_tool_calls=False)
    assert first.choices[0].finish_reason == "tool_calls"
    message = first.choices[0].message
    (call,) = message.tool_calls
    assert call.function.name == "weather"
    assert json.loads(call.function.arguments)["city"] in ("Bonn", "Paris")
    result = {"role": "tool", "tool_call_id": call.id, "content": "It rains."}
    # The message goes back as it came, with its thought.
    second = chat(messages=[*QUESTION, message, result], tools=[WEATHER], max_tokens=200)
    assert second.choices[0].finish_reason in ("stop", "length", "tool_calls")


def test_a_named_tool_is_called_in_a_stream(chat):
    named = {"type": "function", "function": {"name": "weather"}}
    calls: dict[int, str] = {}
    reasons = set()
    for chunk in chat(tools=[WEATHER], tool_choice=named, parallel_tool_calls=False, stream=True):
        for call in chunk.choices[0].delta.tool_calls or ():
            calls[call.index] = calls.get(call.index, "") + call.function.arguments
        reasons.add(chunk.choices[0].finish_reason)
    assert calls
    assert all(json.loads(arguments)["city"] in ("Bonn", "Paris") for arguments in calls.values())
    assert reasons == {None, "tool_calls"}


def test_an_answer_is_parsed_into_a_model(client):
    answer = client.chat.completions.parse(
        model="bundled", messages=QUESTION, response_format=Sum, extra_body={"thinking": {"type": "enabled"}}
    )
    message = answer.choices[0].message
    assert isinstance(message.parsed, Sum)
    # The schema binds the answer, not the thought.
    assert "17*23" in message.reasoning_content


def test_json_mode_answers_with_an_object(chat):
    answer = chat(response_format={"type": "json_object"}, max_tokens=150).choices[0]
    assert answer.finish_reason == "length" or isinstance(json.loads(answer.message.content), dict)


def test_a_begun_answer_is_gone_on_with(client):
    begun = {"role": "assistant", "content": "39", "prefix": True, "reasoning_content": "17*23=391"}
    beta = client.with_options(base_url=str(client.base_url).replace("/v1", "/beta"))
    answer = beta.chat.completions.create(model="bundled", messages=[*QUESTION, begun])
    assert answer.choices[0].message.content == "1"


def test_texts_go_on_in_the_older_api(client):
    answer = client.completions.create(model="bundled", prompt="17*23", max_tokens=8, logprobs=1, echo=False)
    choice = answer.choices[0]
    assert answer.object == "text_completion"
    assert choice.text
    assert len(choice.logprobs.tokens) == len(choice.logprobs.text_offset) <= 8
    streamed = client.completions.create(model="bundled", prompt="17*23", max_tokens=8, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == choice.text
    both = client.completions.create(model="bundled", prompt=["17*23", "1+"], max_tokens=4)
    assert [one.index for one in both.choices] == [0, 1]


def test_models_are_listed_and_found(client):
    assert [model.id for model in client.models.list()] == ["bundled"]
    assert client.models.retrieve("bundled").owned_by == "denken"


def test_errors_are_the_clients_own(client, chat):
    with pytest.raises(openai.NotFoundError, match="gpt-4"):
        chat(model="gpt-4")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")
    with pytest.raises(openai.BadRequestError) as wrong:
        chat(temperature=3)
    assert wrong.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as long:
        chat(messages=[{"role": "user", "content": "one two " * 3000}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="embeddings"):
        client.embeddings.create(model="bundled", input="x")
    with pytest.raises(openai.BadRequestError):
        chat(stream=True, n=99)


def test_the_asynchronous_client_asks_at_once(bundled_server):
    async def crowd() -> list[str]:
        url = f"http://127.0.0.1:{bundled_server}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as client:

            async def ask(number: int) -> str:
                question = [{"role": "user", "content": f"What is {number} + 1?"}]
                stream = await client.chat.completions.create(model="bundled", messages=question, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*(ask(number) for number in range(10, 16)))

    assert asyncio.run(crowd()) == ["11", "12", "13", "14", "15", "16"]


def test_a_client_that_gives_up_ends_the_generation(speaker, run_server, wait_until):
    speaker.pieces = [Piece("answer", "word ")] * 10_000
    speaker.pause = 0.01
    with run_server(create_app(speaker)) as (port, _):
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
        with client.chat.completions.create(model="fake", messages=QUESTION, stream=True) as stream:
            next(iter(stream))
        wait_until(lambda: speaker.ended == 1)
        with pytest.raises(openai.APITimeoutError):
            client.with_options(timeout=0.3).chat.completions.create(model="fake", messages=QUESTION)
        wait_until(lambda: speaker.begun == speaker.ended == 2)
        client.close()
