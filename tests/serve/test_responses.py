"""OpenAI's responses: every record and event is what the official client's own types say, in the order they come."""

from __future__ import annotations

import json

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from denken.serve.speaker import Piece, TokenLogprob, Tool
from denken.types import SamplingParams

EVENT = TypeAdapter(ResponseStreamEvent)
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}
CALL = Piece("tool", '{"place":"Ulm"}', name="weather")


@pytest.fixture
def respond(client):
    """POSTs to /v1/responses; `input` is "Echo" unless given."""

    def post(**fields):
        return client.post("/v1/responses", json={"input": "Echo", **fields})

    return post


def read(response) -> Response:
    assert response.status_code == 200, response.text
    return Response.model_validate(response.json(), strict=True)


def events(response) -> list:
    """The events of a stream, strictly as the official types have them; numbered, and named in both places."""
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        record = json.loads(data.removeprefix("data: "))
        assert name == f"event: {record['type']}"
        found.append(EVENT.validate_python(record, strict=True))
    if found[-1].type != "error":
        assert [event.sequence_number for event in found] == list(range(len(found)))
    return found


def refusal(response) -> dict:
    assert response.status_code == 400, response.text
    return response.json()["error"]


def test_a_whole_response_has_thought_message_and_usage(respond):
    response = read(respond(metadata={"a": "b"}, store=True, instructions="Be kind.", max_output_tokens=50))
    thought, message = response.output
    assert (thought.type, thought.summary, thought.content[0].text) == ("reasoning", [], "I echo it.")
    assert (message.content[0].text, message.status, response.output_text) == ("Echo", "completed", "Echo")
    assert (response.status, response.model, response.metadata) == ("completed", "fake", {"a": "b"})
    assert (response.instructions, response.max_output_tokens) == ("Be kind.", 50)
    assert response.store is False  # type: ignore[attr-defined]
    usage = response.usage
    assert (usage.input_tokens, usage.input_tokens_details.cached_tokens) == (10, 4)
    assert (usage.output_tokens, usage.output_tokens_details.reasoning_tokens, usage.total_tokens) == (5, 3, 15)


def test_events_come_in_the_order_that_clients_expect(respond, speaker):
    speaker.pieces = [Piece("think", "Hm"), Piece("think", "."), Piece("answer", "I look"), CALL, CALL]
    found = events(respond(stream=True, tools=[WEATHER]))
    item = ["output_item.added", "content_part.added"]
    done = ["content_part.done", "output_item.done"]
    call = [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert [event.type.removeprefix("response.") for event in found] == [
        *["created", "in_progress"],
        *[*item, "reasoning_text.delta", "reasoning_text.delta", "reasoning_text.done", *done],
        *[*item, "output_text.delta", "output_text.done", *done],
        *call,
        *call,
        "completed",
    ]
    last = found[-1].response
    assert [item.type for item in last.output] == ["reasoning", "message", "function_call", "function_call"]
    finished = [event.item for event in found if event.type == "response.output_item.done"]
    assert finished == last.output
    assert [event.output_index for event in found if event.type == "response.output_item.added"] == [0, 1, 2, 3]
    assert last.output[0].content[0].text == "Hm."
    assert len({item.id for item in last.output}) == len(last.output) == 4


def test_stream_and_whole_say_the_same(respond, speaker):
    speaker.pieces = [Piece("think", "Hm."), Piece("answer", "So"), CALL]
    whole = read(respond(tools=[WEATHER]))
    streamed = events(respond(stream=True, tools=[WEATHER]))[-1].response
    for response in (whole, streamed):
        (thought, message, call) = response.output
        assert (thought.content[0].text, message.content[0].text) == ("Hm.", "So")
        assert (call.name, call.arguments, call.status) == ("weather", '{"place":"Ulm"}', "completed")
        assert call.call_id.startswith("call_")
    assert whole.usage == streamed.usage


def test_a_cut_response_is_incomplete(respond, speaker):
    speaker.reason = "length"
    response = read(respond())
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert response.output[-1].status == "incomplete"
    last = events(respond(stream=True))[-1]
    assert last.type == "response.incomplete"
    assert last.response.output[-1].status == "incomplete"


def test_an_error_on_the_way_is_a_failed_response_and_an_error(respond, speaker):
    speaker.pieces = [Piece("answer", "so far"), Piece("answer", "BREAK")]
    response = respond(stream=True)
    failed, error = events(response)[-2:]
    assert failed.response.status == "failed"
    assert failed.response.error.code == "server_error"
    assert failed.response.output[0].content[0].text == "so far"
    assert error.type == "error"
    assert "secret" not in response.text
    assert "[DONE]" not in response.text
    assert respond().status_code == 500


def test_the_request_reaches_the_model(respond, speaker):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    read(
        respond(
            instructions="Be brief.",
            temperature=0.5,
            top_p=0.5,
            max_output_tokens=40,
            reasoning={"effort": "low", "summary": "auto"},
            text={"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}, "verbosity": "low"},
            tools=[WEATHER | {"description": "Looks out."}],
            tool_choice={"type": "function", "name": "weather"},
            parallel_tool_calls=False,
        )
    )
    ask = speaker.asks[-1]
    assert [(m.role, m.content) for m in ask.messages] == [("system", "Be brief."), ("user", "Echo")]
    assert ask.params == SamplingParams(temperature=0.5, top_p=0.5, max_tokens=40, thinking_budget=250)
    assert ask.tools == (Tool("weather", "Looks out.", WEATHER["parameters"]),)
    assert (ask.tool_choice, ask.parallel_tools, ask.schema) == (("named", "weather"), False, schema)


@pytest.mark.parametrize(
    ("fields", "choice", "schema", "thinking"),
    [
        ({}, "auto", None, True),
        ({"tool_choice": "required"}, "required", None, True),
        ({"reasoning": {"effort": "none"}}, "auto", None, False),
        ({"text": {"format": {"type": "json_object"}}}, "auto", {}, True),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "weather"}],
                }
            },
            "auto",
            None,
            True,
        ),
    ],
)
def test_choices_formats_and_effort(respond, speaker, fields, choice, schema, thinking):
    response = read(respond(tools=[WEATHER], **fields))
    ask = speaker.asks[-1]
    assert (ask.tool_choice, ask.schema, ask.thinking) == (choice, schema, thinking)
    assert len(ask.tools) == len(response.tools) == 1
    assert response.model_dump(exclude_unset=True)["tool_choice"] == fields.get("tool_choice", "auto")
    assert [item.type for item in response.output] == (["reasoning"] if thinking else []) + ["message"]


def test_items_become_messages(respond, speaker):
    items = [
        {"role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Warm"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {
            "type": "message",
            "id": "msg_1",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "Let me see.", "annotations": []}],
        },
        {"type": "function_call", "call_id": "1", "name": "weather", "arguments": '{"a":1}', "id": "fc_1"},
        {"type": "function_call", "call_id": "2", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "2", "output": "rain"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "sun"}]},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": None},
        {"role": "assistant", "content": "Both."},
        {"role": "user", "content": "Bye"},
    ]
    read(respond(input=items, include=["reasoning.encrypted_content"]))
    given = speaker.asks[-1].messages
    assert [(m.role, m.content, m.reasoning_content) for m in given] == [
        ("system", "Be kind.", None),
        ("user", "Warm", None),
        ("assistant", "Let me see.", "Hm."),
        ("tool", "sun", None),
        ("tool", "rain", None),
        ("assistant", "Both.", ""),
        ("user", "Bye", None),
    ]
    assert [(call.name, call.arguments, call.id) for call in given[2].tool_calls] == [
        ("weather", '{"a":1}', "1"),
        ("weather", "{}", "2"),
    ]


def test_what_was_answered_can_be_sent_back(respond, speaker):
    speaker.pieces = [Piece("think", "Hm."), Piece("answer", "I look."), CALL]
    output = respond(tools=[WEATHER]).json()["output"]
    result = {"type": "function_call_output", "call_id": output[-1]["call_id"], "output": "sun"}
    read(respond(input=[{"role": "user", "content": "Warm?"}, *output, result], tools=[WEATHER]))
    assert [message.role for message in speaker.asks[-1].messages] == ["user", "assistant", "tool"]


def test_logprobs_come_where_they_are_asked_for(respond):
    asked = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    (token,) = read(respond(**asked)).output[1].content[0].logprobs
    assert (token.token, token.logprob, token.top_logprobs[1].logprob) == ("x", -0.5, -9999.0)
    found = events(respond(stream=True, **asked))
    delta = next(event for event in found if event.type == "response.output_text.delta")
    assert delta.logprobs[0].token == "x"
    assert read(respond()).output[1].content[0].logprobs == []


def test_logprobs_spell_the_text_without_the_format(respond, speaker):
    def token(text: bytes) -> tuple:
        return (TokenLogprob(text, -0.1),)

    speaker.pieces = [
        Piece("think", "Hm.", token(b"Hm.")),
        Piece("answer", "", token(b"\n\n")),
        Piece("answer", "Yes", token(b"Yes")),
    ]
    for response in (read(respond(top_logprobs=0)), events(respond(top_logprobs=0, stream=True))[-1].response):
        assert [token.token for token in response.output[1].content[0].logprobs] == ["Yes"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"previous_response_id": "resp_1"}, "not stored"),
        ({"conversation": {"id": "conv_1"}}, "not stored"),
        ({"prompt": {"id": "p"}}, "not stored"),
        ({"background": True}, "not stored"),
        ({"tools": [{"type": "web_search"}]}, "'web_search'"),
        ({"tools": [{"type": "mcp", "server_label": "x"}]}, "'mcp'"),
        ({"tools": [{"type": ["function"]}]}, "functions"),
        ({"tools": [{"name": "f"}]}, "tools.0.type"),
        ({"tools": [5]}, "tools.0"),
        ({"tools": [WEATHER, WEATHER]}, "'weather'"),
        ({"tool_choice": "required"}, "tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "function", "name": "other"}}, "'other'"),
        ({"tools": [WEATHER], "tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "schema"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "reasoning", "summary": []}]}, "no message"),
        ({"input": [5]}, "input.0"),
        ({"input": [{}]}, "input.0.role"),
        ({"input": [{"type": {}}]}, "items of type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "not stored"),
        ({"input": [{"type": "computer_call"}]}, "'computer_call'"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]}, "reads text only"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "x"}]}]}, "reads text only"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input.0.call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "1", "output": "x"}]}, "'1'"),
        ({"input": [{"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}]}, "no result"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {str(i): "x" for i in range(17)}}, "metadata"),
        ({"include": ["x"] * 33}, "include"),
        ({"reasoning": {"effort": "heroic"}}, "reasoning.effort"),
        ({"input": [{"role": "user", "content": "x"}] * 1001}, "input"),
        ({"input": " "}, "empty"),
        ({"input": "x" * 1001}, "1000"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(respond, fields, named):
    for stream in (False, True):
        error = refusal(respond(stream=stream, **fields))
        assert named in f"{error['param']}: {error['message']}"


def test_bodies_that_are_no_request_get_a_400(client):
    for body in (b"", b"{", b"[1]", b"null", b"{}", b'{"input": ' + b"[" * 100_000, b'{"input": "x", "top_p": NaN}'):
        refusal(client.post("/v1/responses", content=body, headers={"content-type": "application/json"}))
    assert client.post("/responses", json={"input": "x", "model": "gpt-5"}).status_code == 404
    assert client.get("/v1/responses/resp_1").status_code == 404
