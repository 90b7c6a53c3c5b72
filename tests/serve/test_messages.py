"""Anthropic's messages: every record and event is what the official client's own types say, in the order they come."""

from __future__ import annotations

import json

import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from pydantic import TypeAdapter

from denken.serve.speaker import Piece, Tool
from denken.types import SamplingParams

EVENT = TypeAdapter(RawMessageStreamEvent)
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {}}}
CALL = Piece("tool", '{"place":"Ulm"}', name="weather")
THINK = {"thinking": {"type": "enabled", "budget_tokens": 20}}


@pytest.fixture
def send(client):
    """POSTs to /v1/messages; the question is "Echo" unless `messages` are given."""

    def post(path="/v1/messages", **fields):
        messages = [{"role": "user", "content": "Echo"}]
        headers = {"x-api-key": "none", "anthropic-version": "2023-06-01"}
        return client.post(path, json={"messages": messages, "max_tokens": 100, **fields}, headers=headers)

    return post


def read(response) -> Message:
    assert response.status_code == 200, response.text
    return Message.model_validate(response.json(), strict=True)


def events(response) -> list:
    """The events of a stream, strictly as the official types have them; pings are left out, an error is a dict."""
    assert response.headers["content-type"].startswith("text/event-stream")
    found = []
    for block in response.text.strip().split("\n\n"):
        name, data = block.split("\n")
        record = json.loads(data.removeprefix("data: "))
        assert name == f"event: {record['type']}"
        if record["type"] != "ping":
            found.append(record if record["type"] == "error" else EVENT.validate_python(record, strict=True))
    return found


def refusal(response, status: int = 400) -> dict:
    assert response.status_code == status, response.text
    body = response.json()
    assert body["type"] == "error"
    assert set(body["error"]) == {"type", "message"}
    return body["error"]


def test_a_whole_message_has_blocks_reason_and_usage(send):
    message = read(send(**THINK))
    thought, text = message.content
    assert (thought.type, thought.thinking, text.text) == ("thinking", "I echo it.", "Echo")
    assert thought.signature
    assert (message.role, message.model, message.stop_reason, message.stop_sequence) == (
        "assistant",
        "fake",
        "end_turn",
        None,
    )
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (6, 4, 0)
    assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (5, 3)


@pytest.mark.parametrize(
    ("fields", "thinks", "shown"),
    [
        ({}, True, ["text"]),
        ({"thinking": {"type": "disabled"}}, False, ["text"]),
        ({"thinking": {"type": "adaptive"}}, True, ["thinking", "text"]),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000, "display": "omitted"}}, True, ["thinking", "text"]),
    ],
)
def test_the_model_thinks_and_shows_it_only_when_asked_to(send, speaker, fields, thinks, shown):
    message = read(send(**fields))
    assert speaker.asks[-1].thinking is thinks
    assert [block.type for block in message.content] == shown
    assert message.usage.output_tokens == (5 if thinks else 2)
    streamed = events(send(stream=True, **fields))
    assert [e.content_block.type for e in streamed if e.type == "content_block_start"] == shown
    omitted = fields.get("thinking", {}).get("display") == "omitted"
    assert any(e.type == "content_block_delta" and e.delta.type == "thinking_delta" for e in streamed) == (
        "thinking" in shown and not omitted
    )
    if omitted:
        assert message.content[0].thinking == ""


def test_events_come_in_the_order_that_clients_expect(send, speaker):
    speaker.pieces = [Piece("think", "Hm"), Piece("think", "."), Piece("answer", "I look"), CALL, CALL]
    found = events(send(stream=True, tools=[WEATHER], **THINK))
    kinds = [e.delta.type if e.type == "content_block_delta" else e.type.removeprefix("content_") for e in found]
    assert kinds == [
        "message_start",
        *["block_start", "thinking_delta", "thinking_delta", "signature_delta", "block_stop"],
        *["block_start", "text_delta", "block_stop"],
        *["block_start", "input_json_delta", "block_stop"] * 2,
        "message_delta",
        "message_stop",
    ]
    assert [e.index for e in found if e.type == "content_block_start"] == [0, 1, 2, 3]
    assert [e.index for e in found if e.type == "content_block_stop"] == [0, 1, 2, 3]
    assert found[-2].delta.stop_reason == "tool_use"
    assert found[-2].usage.output_tokens == 5
    calls = [
        e.content_block.id for e in found if e.type == "content_block_start" and e.content_block.type == "tool_use"
    ]
    assert len(set(calls)) == 2


def test_calls_have_their_input_as_an_object(send, speaker):
    speaker.pieces = [CALL, Piece("tool", "[1]", name="weather"), Piece("tool", "{oh", name="weather")]
    message = read(send(tools=[WEATHER]))
    assert [block.input for block in message.content] == [
        {"place": "Ulm"},
        {"INVALID_JSON": "[1]"},
        {"INVALID_JSON": "{oh"},
    ]
    assert message.stop_reason == "tool_use"


@pytest.mark.parametrize(
    ("reason", "stop", "most", "expected"),
    [
        ("length", None, 5, "max_tokens"),
        ("length", None, 6, "model_context_window_exceeded"),
        ("stop", "END", 6, "stop_sequence"),
        ("stop", None, 6, "end_turn"),
    ],
)
def test_the_reason_it_stopped_is_said(send, speaker, reason, stop, most, expected):
    speaker.reason, speaker.stop_string = reason, stop
    message = read(send(stop_sequences=["END", "FIN"], max_tokens=most))
    assert (message.stop_reason, message.stop_sequence) == (expected, stop)
    delta = events(send(stream=True, max_tokens=most))[-2].delta
    assert (delta.stop_reason, delta.stop_sequence) == (expected, stop)


@pytest.mark.parametrize(("given", "limit"), [(999, 999), (1000, None), (64_000, None)])
def test_a_limit_beyond_the_context_is_the_contexts(send, speaker, given, limit):
    read(send(max_tokens=given))
    assert speaker.asks[-1].params.max_tokens == limit
    read(send(max_tokens=64_000, thinking={"type": "enabled", "budget_tokens": given}))
    assert speaker.asks[-1].params.thinking_budget == limit


def test_a_reply_that_says_nothing_has_an_empty_text(send, speaker):
    speaker.pieces = [Piece("think", "Hm."), Piece("answer", "")]
    assert [block.text for block in read(send()).content] == [""]
    speaker.pieces = []
    found = events(send(stream=True))
    assert [e.type for e in found] == [
        "message_start",
        "content_block_start",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_an_error_on_the_way_is_an_event(send, speaker):
    speaker.pieces = [Piece("answer", "so far"), Piece("answer", "BREAK")]
    response = send(stream=True)
    error = events(response)[-1]
    assert error["error"]["type"] == "api_error"
    assert "secret" not in response.text
    assert "[DONE]" not in response.text
    assert refusal(send(), 500)["type"] == "api_error"


def test_the_request_reaches_the_model(send, speaker):
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    read(
        send(
            path="/anthropic/v1/messages",
            system=[{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Be kind.", "cache_control": {}}],
            temperature=0.5,
            top_p=0.5,
            top_k=7,
            stop_sequences=["END"],
            thinking={"type": "enabled", "budget_tokens": 12},
            tools=[WEATHER | {"type": "custom", "description": "Looks out."}],
            tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
            output_config={"effort": "low", "format": {"type": "json_schema", "schema": schema}},
            metadata={"user_id": "me"},
        )
    )
    ask = speaker.asks[-1]
    assert [(m.role, m.content) for m in ask.messages] == [("system", "Be brief.\n\nBe kind."), ("user", "Echo")]
    assert ask.params == SamplingParams(
        temperature=0.5, top_p=0.5, top_k=7, max_tokens=100, thinking_budget=12, stop=("END",)
    )
    assert ask.tools == (Tool("weather", "Looks out.", WEATHER["input_schema"]),)
    assert (ask.tool_choice, ask.parallel_tools, ask.schema) == (("named", "weather"), False, schema)
    assert ask.continues is False


@pytest.mark.parametrize(("given", "choice"), [("auto", "auto"), ("any", "required"), ("none", "none")])
def test_choices_and_effort(send, speaker, given, choice):
    read(send(max_tokens=900, tools=[WEATHER], tool_choice={"type": given}, output_config={"effort": "medium"}))
    ask = speaker.asks[-1]
    assert (ask.tool_choice, ask.parallel_tools, ask.params.thinking_budget) == (choice, True, 500)


def test_blocks_become_messages(send, speaker):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "Warm?"}, {"type": "text", "text": "Dry?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "1", "name": "weather", "input": {"a": "ü"}},
                {"type": "tool_use", "id": "2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Well?"},
                {"type": "tool_result", "tool_use_id": "2", "content": [{"type": "text", "text": "rain"}]},
                {"type": "tool_result", "tool_use_id": "1", "content": "no such place", "is_error": True},
            ],
        },
        {"role": "assistant", "content": "Both."},
        {"role": "user", "content": "Bye"},
    ]
    read(send(messages=messages, tools=[WEATHER]))
    given = speaker.asks[-1].messages
    assert [(m.role, m.content, m.reasoning_content) for m in given] == [
        ("user", "Warm?\n\nDry?", None),
        ("assistant", "Let me see.", "Hm."),
        ("tool", "Error: no such place", None),
        ("tool", "rain", None),
        ("user", "Well?", None),
        ("assistant", "Both.", None),
        ("user", "Bye", None),
    ]
    assert [(call.name, call.arguments, call.id) for call in given[1].tool_calls] == [
        ("weather", '{"a": "ü"}', "1"),
        ("weather", "{}", "2"),
    ]


def test_what_was_answered_can_be_sent_back(send, speaker):
    speaker.pieces = [Piece("think", "Hm."), Piece("answer", "I look."), CALL]
    content = send(tools=[WEATHER], **THINK).json()["content"]
    result = {"type": "tool_result", "tool_use_id": content[-1]["id"], "content": "sun"}
    messages = [
        {"role": "user", "content": "Warm?"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": [result]},
    ]
    read(send(messages=messages, tools=[WEATHER]))
    assert [message.role for message in speaker.asks[-1].messages] == ["user", "assistant", "tool"]


def test_a_begun_answer_is_gone_on_with(send, speaker):
    messages = [{"role": "user", "content": "Two?"}, {"role": "assistant", "content": "It is"}]
    read(send(messages=messages))
    assert speaker.asks[-1].continues is True
    assert speaker.asks[-1].messages[-1].content == "It is"


def test_tokens_are_counted_without_an_answer(client, speaker):
    body = {"model": "fake", "system": "Be kind.", "messages": [{"role": "user", "content": "Hi"}], "tools": [WEATHER]}
    for base in ("/v1/messages", "/anthropic/v1/messages"):
        response = client.post(f"{base}/count_tokens", json=body)
        assert MessageTokensCount.model_validate(response.json(), strict=True).input_tokens == 10
    assert not speaker.asks
    assert refusal(client.post("/v1/messages/count_tokens", json={"messages": []}))["type"] == "invalid_request_error"
    assert refusal(client.post("/v1/messages/count_tokens", json=body | {"model": "x"}), 404)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_tokens": None}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [5]}, "messages.0"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": [5]}]}, "a block is an object"),
        ({"messages": [{"role": "user", "content": [{"type": {}}]}]}, "reads text only"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "'image'"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}, "'document'"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]}]},
            "tool_use",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1"}]}]}, "'1'"),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": {}}]}
                ]
            },
            "no result",
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "f", "input": 1}]}
                ]
            },
            "the input of a tool is an object",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "image"}]}],
                    }
                ]
            },
            "'image'",
        ),
        ({"system": [{"type": "image"}]}, "'image'"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "'web_search_20250305'"),
        ({"tools": [WEATHER, WEATHER]}, "'weather'"),
        ({"tools": [5]}, "tools.0"),
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema"),
        ({"tools": [{"name": "f", "input_schema": {"type": "string"}}]}, "tools.0.input_schema"),
        ({"tools": [{"name": "f g", "input_schema": {}}]}, "tools.0.name"),
        ({"tool_choice": {"type": "any"}}, "tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "name"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "other"}}, "'other'"),
        ({"thinking": {"type": "perhaps"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens"),
        ({"stop_sequences": [""]}, "stop_sequences.0"),
        ({"stop_sequences": ["x"] * 17}, "stop_sequences"),
        ({"temperature": 3}, "temperature"),
        ({"mcp_servers": [{"type": "url"}]}, "mcp_servers"),
        ({"container": "x"}, "container"),
        ({"output_config": {"format": {"type": "grammar"}}}, "output_config.format"),
        ({"messages": [{"role": "user", "content": "x"}] * 1001}, "messages"),
        ({"messages": [{"role": "user", "content": " "}]}, "empty"),
        ({"messages": [{"role": "user", "content": "x" * 1001}]}, "1000"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(send, fields, named):
    for stream in (False, True):
        error = refusal(send(stream=stream, **fields))
        assert error["type"] == "invalid_request_error"
        assert named in error["message"]


def test_deep_input_of_a_tool_is_refused(send):
    deep: dict = {}
    for _ in range(100):
        deep = {"a": deep}
    call = {"type": "tool_use", "id": "1", "name": "f", "input": deep}
    assert "deeper" in refusal(send(messages=[{"role": "assistant", "content": [call]}]))["message"]


def test_bodies_that_are_no_request_get_a_400(client):
    for body in (b"", b"{", b"[1]", b"null", b"{}", b'{"messages": ' + b"[" * 100_000):
        refusal(client.post("/v1/messages", content=body, headers={"content-type": "application/json"}))


def test_what_the_guard_refuses_has_the_same_shape(client):
    response = client.post("/v1/messages", content=b"{}", headers={"host": "evil.example"})
    assert refusal(response, 403)["type"] == "permission_error"
    large = client.post("/v1/messages", content=b" " * (4 * 2**20 + 1))
    assert refusal(large, 413)["type"] == "request_too_large"


def test_errors_and_answers_have_an_id(send):
    assert refusal(send(model="claude"), 404)["type"] == "not_found_error"
    for response in (send(), send(model="claude"), send(stream=True)):
        assert len(response.headers["request-id"]) == 32
