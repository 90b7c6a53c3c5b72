"""What the API answers: OpenAI's and DeepSeek's fields, whole and in chunks, and a sentence for what it cannot do."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from denken.serve.app import create_app
from denken.serve.speaker import Piece, TokenLogprob


def records(response) -> list:
    """The records of a stream; checks how it is written and that it ends in `[DONE]`."""
    assert response.headers["content-type"].startswith("text/event-stream")
    events = response.text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events[:-1]]


def error(response, status: int) -> dict:
    assert response.status_code == status, response.text
    body = response.json()
    assert list(body) == ["error"]
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return body["error"]


def test_whole_answer_has_thought_answer_and_usage(ask):
    body = ask("Echo").json()
    assert body["object"] == "chat.completion"
    assert body["model"] == "fake"
    choice = body["choices"][0]
    assert choice["finish_reason"] == "stop"
    assert choice["message"] == {
        "role": "assistant",
        "content": "Echo",
        "reasoning_content": "I echo it.",
        "reasoning": "I echo it.",
    }
    assert body["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_cache_hit_tokens": 4,
        "prompt_cache_miss_tokens": 6,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }


def test_stream_sends_role_thought_answer_reason_usage_done(ask):
    chunks = records(ask("Echo", stream=True, stream_options={"include_usage": True}))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks[:-1]]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "I echo ", "reasoning": "I echo "},
        {"reasoning_content": "it.", "reasoning": "it."},
        {"content": "E"},
        {"content": "cho"},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None] * 5 + ["stop"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_stream_leaves_usage_out_unless_asked(ask):
    chunks = records(ask(stream=True))
    assert all("usage" not in chunk and chunk["choices"] for chunk in chunks)


def test_a_cut_answer_says_length(ask, speaker):
    speaker.reason = "length"
    assert ask().json()["choices"][0]["finish_reason"] == "length"
    assert records(ask(stream=True))[-1]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("separator", ["\u2028", "\n", "\r\n", "data: [DONE]\n\n"])
def test_text_cannot_break_the_stream(ask, separator):
    chunks = records(ask(f"a{separator}b", stream=True))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == f"a{separator}b"


def test_the_request_reaches_the_sampler(ask, speaker):
    ask(temperature=0, top_p=0.5, top_k=-1, min_p=0.1, seed=7, stop="END", max_tokens=50, max_completion_tokens=40)
    params = speaker.asked[-1][1]
    assert (params.temperature, params.top_p, params.top_k, params.min_p, params.seed) == (0, 0.5, 0, 0.1, 7)
    assert (params.stop, params.max_tokens) == (("END",), 40)


def test_penalties_and_biases_reach_the_sampler(ask, speaker):
    ask(frequency_penalty=0.5, presence_penalty=-1, logit_bias={"7": -100, "11": 2.5})
    params = speaker.asked[-1][1]
    assert (params.frequency_penalty, params.presence_penalty) == (0.5, -1)
    assert params.logit_bias == ((7, -100.0), (11, 2.5))


def test_several_answers_have_their_seeds_and_their_numbers(ask, speaker):
    body = ask("Echo", n=3, seed=5).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in body["choices"]} == {"Echo"}
    assert [asked.params.seed for asked in speaker.asks] == [5, 6, 7]
    # The prompt is one and the same, and counts once.
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (10, 15)
    assert body["usage"]["prompt_cache_hit_tokens"] == 4
    chunks = records(ask("Echo", n=2, stream=True))
    for index in (0, 1):
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert "".join(choice["delta"].get("content", "") for choice in own) == "Echo"
        assert own[-1]["finish_reason"] == "stop"


def test_more_answers_than_the_server_has_places_are_refused(speaker):
    client = TestClient(create_app(speaker, max_replies=2), base_url="http://localhost:8000")
    body = {"messages": [{"role": "user", "content": "Hi"}], "n": 3}
    assert "2 at the most" in error(client.post("/v1/chat/completions", json=body), 400)["message"]


def test_every_chunk_counts_where_that_is_wanted(ask):
    chunks = records(ask(stream=True, stream_options={"include_usage": True, "continuous_usage_stats": True}))
    assert all(chunk["usage"]["prompt_tokens"] == 10 for chunk in chunks)
    assert chunks[-1]["choices"] == []


@pytest.mark.parametrize(
    ("wanted", "schema"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {}),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "array"}}},
            {"type": "array"},
        ),
    ],
)
def test_a_response_format_is_a_schema_for_the_answer(ask, speaker, wanted, schema):
    assert ask(response_format=wanted).status_code == 200
    assert speaker.asks[-1].schema == schema


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/beta/chat/completions", "/chat/completions"])
def test_a_begun_answer_is_gone_on_with(client, speaker, path):
    begun = {"role": "assistant", "content": "So far ", "prefix": True, "reasoning_content": "Thought."}
    speaker.pieces = [Piece("answer", "  so good")]
    body = {"messages": [{"role": "user", "content": "How?"}, begun]}
    answer = client.post(path, json=body).json()["choices"][0]["message"]
    assert answer["content"] == "  so good"
    asked = speaker.asks[-1]
    assert asked.continues
    assert (asked.messages[-1].content, asked.messages[-1].reasoning_content) == ("So far ", "Thought.")
    not_last = {"messages": [begun, {"role": "user", "content": "How?"}]}
    assert "not the last" in error(client.post(path, json=not_last), 400)["message"]


def test_what_the_request_leaves_out_is_the_models_own(ask, speaker):
    ask(top_p=0.5)
    assert speaker.asked[-1][1].temperature == speaker.defaults.temperature


@pytest.mark.parametrize(
    ("fields", "thinking", "budget"),
    [
        ({}, True, None),
        ({"thinking": {"type": "disabled"}}, False, None),
        ({"thinking": {"type": "enabled", "budget_tokens": 12}}, True, 12),
        ({"reasoning_effort": "none"}, False, None),
        ({"reasoning_effort": "low"}, True, 250),
        ({"reasoning_effort": "high"}, True, None),
        ({"reasoning_effort": "none", "thinking": {"type": "enabled"}}, True, None),
    ],
)
def test_thinking_can_be_switched_and_bounded(ask, speaker, fields, thinking, budget):
    message = ask(**fields).json()["choices"][0]["message"]
    assert speaker.asked[-1][2] is thinking
    assert speaker.asked[-1][1].thinking_budget == budget
    assert ("reasoning_content" in message) is thinking


def test_history_is_taken_with_thoughts_parts_and_unknown_fields(client, speaker):
    messages = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "Hal"}, {"type": "text", "text": "lo"}], "name": "x"},
        {"role": "assistant", "content": "Hi", "reasoning_content": "A greeting.", "refusal": None, "tool_calls": []},
        {"role": "assistant", "content": "Hi", "reasoning": "Another."},
        {"role": "user", "content": "Bye", "reasoning_content": "not the model's"},
    ]
    response = client.post("/chat/completions", json={"messages": messages, "user": "me", "metadata": {"a": 1}})
    assert response.status_code == 200
    given = speaker.asked[-1][0]
    assert [(m.role, m.content, m.reasoning_content) for m in given] == [
        ("system", "Be kind.", None),
        ("user", "Hallo", None),
        ("assistant", "Hi", "A greeting."),
        ("assistant", "Hi", "Another."),
        ("user", "Bye", None),
    ]


@pytest.mark.parametrize(
    "field",
    [
        {"n": 0},
        {"n": 17},
        {"functions": [{"name": "f"}]},
        {"function_call": {"name": "f"}},
        {"modalities": ["text", "audio"]},
        {"audio": {"voice": "x"}},
        {"web_search_options": {}},
        {"response_format": {"type": "xml"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": []}}},
        {"logit_bias": {"x": 5}},
        {"logit_bias": {"1": 101}},
        {"logit_bias": {str(id_): 1 for id_ in range(1025)}},
        {"frequency_penalty": 2.5},
        {"presence_penalty": -2.5},
        {"temperature": 3},
        {"temperature": "warm"},
        {"top_p": 0},
        {"max_tokens": 0},
        {"top_logprobs": 21, "logprobs": True},
        {"top_logprobs": 2},
        {"stop": ["x"] * 17},
        {"stop": [""]},
        {"stop": "y" * 257},
        {"seed": 2**70},
        {"thinking": {"type": "perhaps"}},
        {"reasoning_effort": "heroic"},
    ],
)
def test_what_is_not_supported_is_refused_by_name(ask, speaker, field):
    refused = error(ask(**field), 400)
    name = next(iter(field))
    assert name in (refused["param"] or "") or name in refused["message"]
    assert not speaker.asked


@pytest.mark.parametrize(
    "harmless",
    [
        {"n": 1, "tools": [], "response_format": {"type": "text"}, "logit_bias": None, "frequency_penalty": None},
        {"tool_choice": "auto", "parallel_tool_calls": True, "functions": [], "modalities": ["text"], "audio": None},
        {"user": "x", "store": False, "metadata": {"a": "b"}, "service_tier": "auto", "anything": {"deep": [1]}},
    ],
)
def test_what_asks_for_nothing_is_ignored(ask, harmless):
    assert ask(**harmless).status_code == 200


@pytest.mark.parametrize(
    "message",
    [
        {"role": "tool", "content": "x", "tool_call_id": "1"},
        {"role": "tool", "content": "x"},
        {"role": "function", "content": "x", "name": "f"},
        {"role": "assistant", "content": "x", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "robot", "content": "x"},
        {"role": "user", "content": None},
        {"role": "user", "content": "x", "prefix": True},
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]},
        {"role": "user", "content": 5},
        "text",
    ],
)
def test_messages_of_another_kind_are_refused(client, message):
    body = json.dumps({"messages": [message]})
    response = client.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert error(response, 400)["param"].startswith("messages")


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (5, "messages.0.content"),
        ([{"type": "text"}], "messages.0.content.0.text"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": {}}], "messages.0.content.1.text"),
    ],
)
def test_what_is_wrong_is_named_as_it_was_sent(ask, content, place):
    refused = error(ask(content), 400)
    assert refused["param"] == place
    assert refused["message"].startswith(f"{place}: ")
    assert error(ask(stop=5), 400)["param"] == "stop"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"[1]", "application/json"),
        (b"null", "application/json"),
        (b'{"messages": []}', "application/json"),
        (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', "application/json"),
        (b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 5000 + b"}", "application/json"),
        (b'{"messages": ' + b"[" * 200_000, "application/json"),
        (b'{"x": ' * 100_000, "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'{"messages": [{"role": "user", "content": "x"}]}', "text/plain"),
    ],
)
def test_bodies_that_are_no_request_get_a_400(client, body, kind):
    response = client.post("/v1/chat/completions", content=body, headers={"content-type": kind})
    assert error(response, 400)["message"]


def test_half_a_character_becomes_a_mark(client):
    """Clients that cut text between two UTF-16 halves send such strings."""
    kind = {"content-type": "application/json"}
    for spelt, text in (('"a\\ud83d"', "a\ufffd"), ('"\\ud83d\\ude00"', "😀")):
        body = f'{{"messages": [{{"role": "user", "content": {spelt}}}], "model": "fake"}}'
        response = client.post("/v1/chat/completions", content=body, headers=kind)
        assert response.json()["choices"][0]["message"]["content"] == text
    body = '{"messages": [{"role": "user", "content": "x"}], "model": "\\udc00"}'
    error(client.post("/v1/chat/completions", content=body, headers=kind), 404)


def test_too_many_messages_are_refused(client):
    messages = [{"role": "user", "content": "x"}] * 1001
    error(client.post("/v1/chat/completions", json={"messages": messages}), 400)


def test_an_empty_question_and_a_full_context_have_their_errors(ask):
    assert "empty" in error(ask(" "), 400)["message"]
    for stream in (False, True):
        assert error(ask("x" * 1001, stream=stream), 400)["code"] == "context_length_exceeded"


def test_an_unknown_model_is_404_and_names_the_one_there_is(ask):
    refused = error(ask(model="gpt-4"), 404)
    assert refused["code"] == "model_not_found"
    assert "'fake'" in refused["message"]


def test_models_health_and_unknown_paths(client):
    for path in ("/v1/models", "/models"):
        (model,) = client.get(path).json()["data"]
        assert model == {
            "id": "fake",
            "object": "model",
            "created": 1_700_000_000,
            "owned_by": "denken",
            "context_length": 1000,
            "root": "fake",
            "parent": None,
        }
    assert client.get("/health").json()["status"] == "ok"
    assert "POST /v1/chat/completions" in error(client.get("/v1/nothing"), 404)["message"]
    wrong = client.get("/v1/chat/completions")
    assert "POST /v1/chat/completions" in error(wrong, 405)["message"]
    assert wrong.headers["allow"] == "POST"


def test_health_says_where_no_engine_runs(speaker):
    client = TestClient(create_app(speaker), base_url="http://localhost:8000")
    assert client.get("/health").status_code == 200
    speaker.down = True
    found = client.get("/health")
    assert (found.status_code, found.json()["status"]) == (503, "no engine runs")


def test_logprobs_are_json_also_where_a_token_is_impossible(ask):
    logprobs = ask(logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]
    token = {"token": "x", "logprob": -0.5, "bytes": [120]}
    other = {"token": "y", "logprob": -9999.0, "bytes": [121]}
    assert logprobs == {
        "content": [token | {"top_logprobs": [token, other]}],
        "reasoning_content": [token | {"top_logprobs": [token, other]}],
    }
    streamed = records(ask(logprobs=True, top_logprobs=2, stream=True))
    assert streamed[1]["choices"][0]["logprobs"]["reasoning_content"][0]["token"] == "x"
    assert all(chunk["choices"][0]["logprobs"]["content"] == [] for chunk in streamed[1:3])


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs_of_an_answer_spell_the_answer(ask, speaker, stream):
    """The line breaks between thought and answer belong to the format, and half a character to the next piece."""

    def token(text: bytes) -> TokenLogprob:
        return TokenLogprob(text, -1.0)

    speaker.pieces = [
        Piece("think", "Hm.", (token(b"Hm."),)),
        Piece("answer", "", (token(b"\n\n"),)),
        Piece("answer", "", (token(b"\xc3"),)),
        Piece("answer", "ü", (token(b"\xbc"),)),
        Piece("answer", "", (token(b"\n"),)),
        Piece("answer", "\nb", (token(b"b"),)),
    ]
    response = ask(logprobs=True, stream=stream)
    choices = [chunk["choices"][0] for chunk in records(response)] if stream else response.json()["choices"]
    tokens = [token for choice in choices for token in (choice["logprobs"] or {}).get("content", [])]
    assert b"".join(bytes(token["bytes"]) for token in tokens).decode() == "ü\nb"


def test_an_error_on_the_way_ends_the_stream_without_its_details(ask, speaker):
    speaker.pieces = [Piece("answer", "so far"), Piece("answer", "BREAK")]
    response = ask(stream=True)
    assert "secret" not in response.text
    assert records(response)[-1]["error"]["type"] == "server_error"
    whole = ask()
    assert error(whole, 500)["type"] == "server_error"
    assert "secret" not in whole.text
    assert speaker.begun == speaker.ended == 2
