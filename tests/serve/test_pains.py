"""What goes wrong with reasoning models behind other servers, each shown to be gone here.

On a real connection, with the model in the box where that can show it; where a model would have to say something
strange, one that was told what to say (`scripted.py`) stands in for the network alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import httpx
import pytest

from denken.assistant import Assistant
from denken.chat import template
from denken.engine.sequence import Output
from denken.language import detect
from denken.serve.app import create_app
from denken.tokenizer import Tokenizer
from scripted import ScriptedStream, script

Ask = Callable[..., httpx.Response]
QUESTION = "What is 17 times 23?"


def asking(port: int) -> Iterator[Ask]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:

        def ask(messages: str | Sequence[dict], **fields) -> httpx.Response:
            if isinstance(messages, str):
                messages = [{"role": "user", "content": messages}]
            return client.post("/v1/chat/completions", json={"messages": list(messages), **fields})

        yield ask


@pytest.fixture(scope="module")
def ask(bundled_server: int) -> Iterator[Ask]:
    yield from asking(bundled_server)


@pytest.fixture
def scripted(bundled, run_server) -> Callable[[list[Output]], Iterator[Ask]]:
    """A server whose model says what it is told to, in the bundled one's vocabulary."""

    def serve(outputs: list[Output]) -> Iterator[Ask]:
        speaker = Assistant("scripted", bundled.tokenizer, ScriptedStream(outputs), context=2048)
        with run_server(create_app(speaker)) as (port, _):
            yield from asking(port)

    return serve


def message(response: httpx.Response) -> dict:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]


def streamed(response: httpx.Response) -> tuple[str, str]:
    """The thought and the answer of a stream."""
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: {")]
    deltas = [json.loads(line)["choices"][0]["delta"] for line in lines]
    return tuple("".join(delta.get(name) or "" for delta in deltas) for name in ("reasoning_content", "content"))


def test_1_a_thought_is_told_from_an_answer_although_its_tag_is_in_the_prompt(ask):
    for stream in (False, True):
        response = ask(QUESTION, stream=stream)
        thought, answer = streamed(response) if stream else map(message(response).get, ("reasoning_content", "content"))
        assert "17*23" in thought
        assert answer == "391"
        assert "think>" not in thought + answer


def test_1_an_answer_that_never_thought_is_no_thought(ask):
    answer = message(ask(QUESTION, thinking={"type": "disabled"}))
    assert answer["content"]
    assert "reasoning_content" not in answer


@pytest.mark.parametrize("stream", [False, True])
def test_1_a_thought_that_was_never_closed_is_not_sold_as_an_answer(bundled, scripted, stream):
    outputs = script(bundled.tokenizer, "Still thinking", "", "length")[:-3]
    outputs[-1] = replace(outputs[-1], finish_reason="length")
    for ask in scripted(outputs):
        response = ask(QUESTION, stream=stream)
        thought, answer = streamed(response) if stream else map(message(response).get, ("reasoning_content", "content"))
        assert (thought, answer) == ("Still thinking", "")
        assert '"finish_reason":"length"' in response.text


@pytest.mark.parametrize("limit", [10, 20, 50])
def test_2_a_limit_of_all_tokens_leaves_room_for_an_answer(ask, limit):
    response = ask(QUESTION, max_tokens=limit)
    assert message(response)["content"]
    assert response.json()["usage"]["completion_tokens"] <= limit


@pytest.mark.parametrize("budget", [0, 1, 7, 30])
def test_2_a_budget_of_thought_ends_in_an_answer(ask, budget):
    response = ask(QUESTION, thinking={"type": "enabled", "budget_tokens": budget})
    assert message(response)["content"]
    assert response.json()["choices"][0]["finish_reason"] == "stop"
    # The tag that closes a thought, and the line break before it, are counted with it.
    assert response.json()["usage"]["completion_tokens_details"]["reasoning_tokens"] <= budget + 2


def test_4_old_thoughts_are_not_shown_again_and_the_cache_still_hits(ask):
    """Of a prompt, the question is new, and the cache keeps whole blocks; hence a beginning of some length."""
    rules = {"role": "system", "content": "Work out what is asked for, step by step. " * 12}
    messages, without = [rules], [rules]
    shares = []
    for number in range(10):
        question = {"role": "user", "content": f"What is {number + 3} times {number + 14}?"}
        messages.append(question)
        without.append(question)
        response = ask(messages)
        usage = response.json()["usage"]
        shares.append(usage["prompt_cache_hit_tokens"] / usage["prompt_tokens"])
        assert usage["prompt_cache_hit_tokens"] + usage["prompt_cache_miss_tokens"] == usage["prompt_tokens"]
        answer = message(response)
        assert answer["reasoning_content"]
        messages.append(answer)
        without.append({"role": "assistant", "content": answer["content"]})
    assert shares[-1] >= 0.9, shares
    both = [ask([*history, question]).json() for history in (messages, without)]
    assert both[0]["usage"]["prompt_tokens"] == both[1]["usage"]["prompt_tokens"]
    assert both[0]["choices"][0]["message"] == both[1]["choices"][0]["message"]


@pytest.mark.parametrize("stream", [False, True])
def test_5_a_schema_binds_the_answer_and_leaves_the_thought_free(ask, stream):
    schema = {
        "type": "object",
        "properties": {"result": {"type": "integer"}},
        "required": ["result"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "sum", "strict": True, "schema": schema}}
    response = ask(QUESTION, response_format=wanted, stream=stream)
    thought, answer = streamed(response) if stream else map(message(response).get, ("reasoning_content", "content"))
    assert "17*23" in thought
    assert isinstance(json.loads(answer)["result"], int)


def calling(tokenizer: Tokenizer, name: str, arguments: str) -> list[int]:
    """The ids of a call as the model writes it."""
    control = tokenizer.control
    return [
        *(control(template.CALLS_BEGIN), control(template.CALL_BEGIN), *tokenizer.encode("function")),
        *(control(template.CALL_SEP), *tokenizer.encode(f"{name}\n```json\n{arguments}\n```")),
        *(control(template.CALL_END), control(template.CALLS_END)),
    ]


def test_6_a_call_in_a_thought_is_no_call(bundled, scripted):
    tokenizer = bundled.tokenizer
    said = script(tokenizer, "Perhaps ", "No need to.")
    inside = [Output(0, (id_,), (-0.25,), None) for id_ in calling(tokenizer, "rm", "{}")]
    outputs = [said[0], *inside, *said[1:]]
    tools = [{"type": "function", "function": {"name": "rm"}}]
    for ask in scripted(outputs):
        response = ask("Shall I?", tools=tools)
        assert "tool_calls" not in message(response)
        assert message(response)["content"] == "No need to."
        assert "rm" in message(response)["reasoning_content"]
        assert response.json()["choices"][0]["finish_reason"] == "stop"


def test_7_what_does_not_fit_is_refused_with_both_numbers(ask):
    long = ask("one two three " * 1000)
    assert long.status_code == 400
    error = long.json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "2048" in error["message"]
    budget = ask(QUESTION, max_tokens=3000)
    assert budget.status_code == 400
    assert budget.json()["error"]["code"] == "context_length_exceeded"
    assert "2048" in budget.json()["error"]["message"]
    assert "3000" in budget.json()["error"]["message"]


@pytest.mark.parametrize(("question", "wanted"), [("Who are you?", "en"), ("Wer bist du?", "de")])
def test_11_thoughts_and_answers_are_in_the_language_of_the_question(ask, question, wanted):
    answer = message(ask(question))
    assert f"({wanted})" in answer["reasoning_content"]
    assert detect(answer["content"]) == wanted


def test_11_a_reply_that_goes_round_in_circles_ends(bundled, ask):
    """However wild it is sampled, limits are kept, and a thought that would never end is ended for an answer."""
    wild = ask(QUESTION, temperature=2, seed=1, thinking={"type": "enabled", "budget_tokens": 200}, max_tokens=400)
    usage = wild.json()["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] <= 202
    assert usage["completion_tokens"] <= 400
    endless = {str(bundled.tokenizer.control(end)): -100 for end in (template.END_THINK, template.EOS)}
    circling = ask(QUESTION, temperature=0, logit_bias=endless, max_tokens=150).json()
    assert circling["usage"]["completion_tokens"] == 150
    assert circling["choices"][0]["finish_reason"] == "length"
    assert circling["choices"][0]["message"]["content"]
