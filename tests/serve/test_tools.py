"""Tools: what is offered reaches the model, calls come back as OpenAI writes them, results must answer calls."""

from __future__ import annotations

import json

import pytest

from denken.serve.speaker import Piece, Tool

WEATHER = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [
    {"type": "function", "function": {"name": "weather", "description": "Of a city.", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "now", "strict": True}},
]
CALLS = [
    {"id": "a", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Bonn"}'}},
    {"id": "b", "type": "function", "function": {"name": "now", "arguments": ""}},
]


def user(text="Hi"):
    return {"role": "user", "content": text}


def result(call, text):
    return {"role": "tool", "tool_call_id": call, "content": text}


def refusal(response) -> dict:
    assert response.status_code == 400, response.text
    return response.json()["error"]


@pytest.mark.parametrize(
    ("choice", "wanted", "names"),
    [
        (None, "auto", ["weather", "now"]),
        ("none", "none", ["weather", "now"]),
        ("required", "required", ["weather", "now"]),
        ({"type": "function", "function": {"name": "now"}}, ("named", "now"), ["weather", "now"]),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": "now"}}]},
            },
            "required",
            ["now"],
        ),
    ],
)
def test_tools_and_the_choice_among_them_reach_the_model(ask, speaker, choice, wanted, names):
    assert ask(tools=TOOLS, tool_choice=choice, parallel_tool_calls=False).status_code == 200
    asked = speaker.asks[-1]
    assert [tool.name for tool in asked.tools] == names
    assert asked.tool_choice == wanted
    assert not asked.parallel_tools
    by_name = {tool.name: tool for tool in asked.tools}
    assert by_name["now"] == Tool("now")
    assert by_name.get("weather", Tool("weather", "Of a city.", WEATHER)) == Tool("weather", "Of a city.", WEATHER)


def test_calls_come_whole_and_in_chunks(ask, speaker):
    speaker.pieces = [
        Piece("think", "Look it up."),
        Piece("tool", '{"city": "Bonn"}', name="weather"),
        Piece("tool", "{}", name="now"),
    ]
    choice = ask(tools=TOOLS).json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    calls = choice["message"]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "weather", "arguments": '{"city": "Bonn"}'},
        {"name": "now", "arguments": "{}"},
    ]
    assert len({call["id"] for call in calls}) == 2
    lines = [line[6:] for line in ask(tools=TOOLS, stream=True).text.split("\n") if line.startswith("data: {")]
    choices = [json.loads(line)["choices"][0] for line in lines]
    streamed = [call for choice in choices for call in choice["delta"].get("tool_calls", ())]
    assert [(call["index"], call["type"], call["function"]["name"]) for call in streamed] == [
        (0, "function", "weather"),
        (1, "function", "now"),
    ]
    assert choices[-1]["finish_reason"] == "tool_calls"


def test_results_come_to_the_model_in_the_order_of_their_calls(client, speaker):
    messages = [
        user(),
        {"role": "assistant", "content": None, "tool_calls": CALLS, "reasoning": "Both."},
        result("b", "noon"),
        result("a", [{"type": "text", "text": "rain"}]),
    ]
    assert client.post("/v1/chat/completions", json={"messages": messages}).status_code == 200
    given = speaker.asks[-1].messages
    assert [(message.role, message.content) for message in given[1:]] == [
        ("assistant", ""),
        ("tool", "rain"),
        ("tool", "noon"),
    ]
    assert given[1].reasoning_content == "Both."
    assert [(call.name, call.arguments, call.id) for call in given[1].tool_calls] == [
        ("weather", '{"city": "Bonn"}', "a"),
        ("now", "", "b"),
    ]


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ([result("a", "rain"), result("c", "?")], "'c'"),
        ([result("a", "rain"), result("a", "rain")], "'a'"),
        ([result("a", "rain"), user()], "'b' has no result"),
        ([result("a", "rain")], "'b' has no result"),
    ],
)
def test_a_result_answers_a_call_and_every_call_has_one(client, speaker, after, said):
    messages = [user(), {"role": "assistant", "tool_calls": CALLS}, *after]
    refused = refusal(client.post("/v1/chat/completions", json={"messages": messages}))
    assert said in refused["message"]
    assert refused["param"] == "messages"
    assert not speaker.asks


def test_two_calls_with_one_id_are_refused(client):
    twice = {"role": "assistant", "tool_calls": [CALLS[0], CALLS[0]]}
    response = client.post("/v1/chat/completions", json={"messages": [user(), twice, result("a", "x")]})
    assert "same id" in refusal(response)["message"]


def function(**fields):
    return {"type": "function", "function": {"name": "f", **fields}}


DEEP: dict = {}
for _ in range(900):
    DEEP = {"items": DEEP}


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"tools": [function(), function()]}, "tools"),
        ({"tools": [function(name=f"f{n}") for n in range(129)]}, "tools"),
        ({"tools": [function(name="no spaces")]}, "tools.0.function.name"),
        ({"tools": [function(name="f\n")]}, "tools.0.function.name"),
        ({"tools": [function(name="x" * 65)]}, "tools.0.function.name"),
        ({"tools": [function(description="x" * 20_000)]}, "tools.0.function.description"),
        ({"tools": [function(parameters={"type": "string"})]}, "tools.0.function.parameters"),
        ({"tools": [function(parameters=[])]}, "tools.0.function.parameters"),
        ({"tools": [function(parameters={"title": "x" * 70_000})]}, "tools.0.function.parameters"),
        ({"tools": [function(parameters=DEEP)]}, "tools.0.function.parameters"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tools": "all"}, "tools"),
        ({"tool_choice": "required"}, None),
        ({"tools": [function()], "tool_choice": {"type": "function", "function": {"name": "g"}}}, None),
        ({"tools": [function()], "tool_choice": "sometimes"}, "tool_choice"),
        ({"tools": [function()], "tool_choice": {"type": "function"}}, "tool_choice.function"),
    ],
)
def test_tools_that_cannot_be_offered_are_refused(ask, speaker, fields, place):
    refused = refusal(ask(**fields))
    assert refused["param"] == place
    assert place is not None or "tool_choice" in refused["message"]
    assert not speaker.asks


def test_half_a_character_in_a_schema_becomes_a_mark(client, speaker):
    body = json.dumps({"messages": [user()], "tools": [function(parameters={"title": "HALF"})]})
    kind = {"content-type": "application/json"}
    response = client.post("/v1/chat/completions", content=body.replace("HALF", "a\\ud83d"), headers=kind)
    assert response.status_code == 200
    assert speaker.asks[-1].tools[0].parameters == {"title": "a\ufffd"}
