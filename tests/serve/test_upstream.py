"""Models of other servers behind our API: vLLM's, SGLang's, llama.cpp's, Ollama's, DeepSeek's, OpenAI's, our own."""

from __future__ import annotations

import asyncio
import json
import math
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext

import httpx
import pytest
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.testclient import TestClient

from denken import cli
from denken.chat.message import Message
from denken.errors import ConfigError
from denken.serve.app import create_app
from denken.serve.failure import Failure
from denken.serve.speaker import Ask, Usage
from denken.serve.upstream import pool as pools
from denken.serve.upstream import reading
from denken.serve.upstream import server as servers
from denken.serve.upstream import speaker as speaking
from denken.serve.upstream.pool import Pool, connect
from denken.serve.upstream.speaker import speakers
from denken.serve.upstream.tally import Tally
from denken.serve.upstream.thought import Thoughts
from denken.types import SamplingParams
from fake_upstream import DONE, FakeUpstream, chunk, event, running, told, usage

STYLES = ["vllm", "sglang", "llamacpp", "ollama", "deepseek", "openai", "denken", "other"]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def start(stack) -> Callable[..., FakeUpstream]:
    """Starts a server upstream."""

    def begin(style: str = "vllm", model: str = "theirs") -> FakeUpstream:
        fake = FakeUpstream(style, model)
        fake.port = stack.enter_context(running(fake.app()))
        return fake

    return begin


@pytest.fixture
def serve(stack) -> Callable[..., TestClient]:
    """Our server before theirs; `pool` of what it returns is the pool."""

    def begin(*fakes: FakeUpstream, **options: object) -> TestClient:
        pool = stack.enter_context(connect([fake.url for fake in fakes], **options))
        client = TestClient(create_app(speakers(pool)), base_url="http://localhost", raise_server_exceptions=False)
        client.pool = pool
        return stack.enter_context(client)

    return begin


def ask(client: TestClient, question: str = "Hi", **fields: object) -> httpx.Response:
    body = {"messages": [{"role": "user", "content": question}], **fields}
    return client.post("/v1/chat/completions", json=body)


def message(response: httpx.Response) -> dict:
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]


def records(response: httpx.Response) -> list[dict]:
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


def error(response: httpx.Response, status: int) -> dict:
    assert response.status_code == status, response.text
    return response.json()["error"]


# What is known of a server


@pytest.mark.parametrize("style", STYLES)
def test_models_contexts_and_times_are_read_from_the_server(start, serve, style):
    client = serve(start(style))
    (record,) = client.get("/v1/models").json()["data"]
    assert (record["id"], record["created"]) == ("theirs", 1_700_000_123)
    (speaker,) = speakers(client.pool)
    known = {"llamacpp": 2048, "vllm": 4096, "sglang": 4096, "denken": 4096}
    assert speaker.context == known.get(style, pools.CONTEXT)
    assert client.pool.servers[0].kind == style


def test_the_context_can_be_given_where_no_server_says_it(start):
    (speaker,) = speakers(connect([start("openai").url], context=1234))
    assert speaker.context == 1234


def test_an_address_gets_v1_where_it_has_no_path():
    addresses = {
        "http://a:1": ("http://a:1/v1", "http://a:1"),
        "http://a:1/v1/": ("http://a:1/v1", "http://a:1"),
        "https://a/api/v1": ("https://a/api/v1", "https://a/api"),
        "https://[::1]:9/v1beta/openai": ("https://[::1]:9/v1beta/openai", "https://[::1]:9/v1beta"),
    }
    for url, expected in addresses.items():
        server = servers.Server(1, url)
        assert (server.api, server.root) == expected


@pytest.mark.parametrize(
    ("urls", "options", "said"),
    [
        (["127.0.0.1:8000"], {}, "no address"),
        (["ftp://127.0.0.1"], {}, "no address"),
        (["http://me:secret@127.0.0.1"], {}, "--upstream-key-env"),
        (["http://127.0.0.1:1#weight=0"], {}, "weight"),
        (["http://127.0.0.1:1"], {"key_names": ["NO_SUCH_VARIABLE"]}, "NO_SUCH_VARIABLE is empty"),
        (["http://127.0.0.1:1"] * 3, {"key_names": ["A", "B"]}, "3 upstreams and 2"),
        (["http://127.0.0.1:1"], {}, "No upstream says which models"),
    ],
)
def test_what_cannot_be_connected_is_said(urls, options, said):
    with pytest.raises(ConfigError, match=said) as caught:
        connect(urls, **options)
    assert "secret" not in str(caught.value)


def test_a_model_that_no_server_has_is_named_with_its_nearest(start):
    url = start(model="qwen3-8b").url
    with pytest.raises(ConfigError, match=r"'qwen3-8'; there is 'qwen3-8b'"):
        connect([url], models=["qwen3-8"])


def test_a_named_model_is_served_before_its_server_is_there(serve, monkeypatch):
    monkeypatch.setattr(pools, "FIRST_RETRY_SECONDS", 0.02)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    fake = FakeUpstream()
    fake.port = port
    client = serve(fake, models=["theirs"])
    assert error(ask(client), 503)["code"] == "upstream_unreachable"
    assert client.get("/health").status_code == 503
    with running(fake.app(), port):
        _wait(lambda: client.pool.servers[0].up)
        assert message(ask(client))["content"] == "Hello."
        assert client.get("/health").json()["status"] == "ok"


def test_two_models_of_one_name_are_not_served(start, speaker):
    pool = connect([start(model="fake").url])
    with pytest.raises(ConfigError, match="Two models are called 'fake'"):
        create_app([speaker, *speakers(pool)])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ([], ["one", "two"]),
        (["--upstream-model", "two"], ["two"]),
        (["--model", "bundled"], ["here", "one", "two"]),
    ],
)
def test_the_command_line_serves_them(start, monkeypatch, tmp_path, speaker, options, names):
    """The model in the box is not loaded unless it is named."""
    served = []
    speaker.name = "here"
    monkeypatch.setattr("denken.assistant.load", lambda *_, **__: nullcontext(speaker))
    monkeypatch.setattr("denken.serve.listen.serve_forever", lambda those, *_, **__: served.extend(those))
    urls = ["--upstream", start(model="one").url, "--upstream", start(model="two").url]
    monkeypatch.setattr(
        sys, "argv", ["denken", "serve", "--port", "0", "--store", str(tmp_path / "s"), *urls, *options]
    )
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    assert [one.name for one in served] == names


def test_options_of_upstreams_need_one(monkeypatch, capsys, tmp_path):
    arguments = ["--port", "0", "--store", str(tmp_path / "s"), "--upstream-model", "x"]
    monkeypatch.setattr(sys, "argv", ["denken", "serve", *arguments])
    with pytest.raises(SystemExit):
        cli.main()
    assert "give its address" in capsys.readouterr().err


# What is asked


def test_what_the_request_leaves_open_is_the_servers_own(start, serve):
    fake = start()
    ask(serve(fake))
    body = fake.asked[-1]
    assert set(body) == {"model", "messages", "stream", "stream_options", "chat_template_kwargs"}
    assert body["stream_options"]["include_usage"] is True
    assert body["messages"] == [{"role": "user", "content": "Hi"}]


def test_what_the_request_gives_is_passed_on(start, serve):
    fake = start()
    fields = {
        "temperature": 0.6,
        "top_p": 0.95,
        "top_k": 20,
        "min_p": 0.1,
        "seed": 7,
        "frequency_penalty": 0.5,
        "presence_penalty": -0.5,
        "logit_bias": {"5": 10.0},
        "max_tokens": 50,
    }
    ask(serve(fake), **fields, logprobs=True, top_logprobs=2)
    given = fake.asked[-1]
    assert {name: given.get(name) for name in fields} == fields
    assert (given["logprobs"], given["top_logprobs"]) == (True, 2)


def test_every_kind_is_asked_in_its_own_words(start, serve):
    expected = {
        "vllm": {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        "sglang": {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        "llamacpp": {"chat_template_kwargs": {"enable_thinking": False, "thinking": False}},
        "ollama": {"reasoning_effort": "none"},
        "deepseek": {"thinking": {"type": "disabled"}},
        "denken": {"thinking": {"type": "disabled"}},
        "other": {},
    }
    standard = {"model", "messages", "stream", "stream_options", "max_tokens"}
    for style, fields in expected.items():
        fake = start(style)
        ask(serve(fake), thinking={"type": "disabled"}, max_tokens=9)
        assert {name: value for name, value in fake.asked[-1].items() if name not in standard} == fields, style


def test_openai_is_asked_for_nothing_that_it_does_not_know(start, serve):
    fake = start("openai", "gpt-4o")
    client = serve(fake)
    ask(client, thinking={"type": "disabled"}, max_tokens=9)
    standard = {"model", "messages", "stream", "stream_options"}
    assert {name: value for name, value in fake.asked[-1].items() if name not in standard} == {
        "max_completion_tokens": 9
    }
    assert "top_k" in error(ask(client, top_k=5), 400)["message"]
    reasoning = start("openai", "o3-mini")
    ask(serve(reasoning), reasoning_effort="low")
    assert reasoning.asked[-1]["reasoning_effort"] == "low"


@pytest.mark.parametrize(
    ("style", "fields"),
    [
        ("denken", {"thinking": {"type": "enabled", "budget_tokens": 99}}),
        ("vllm", {"thinking_token_budget": 99}),
        ("llamacpp", {"thinking_budget_tokens": 99}),
    ],
)
def test_budgets_go_to_those_who_keep_them(start, serve, style, fields):
    fake = start(style)
    ask(serve(fake), thinking={"type": "enabled", "budget_tokens": 99})
    assert {name: fake.asked[-1].get(name) for name in fields} == fields


def test_a_field_of_ours_that_is_refused_is_left_out_from_then_on(start, serve):
    fake = start()

    def refuse(body):
        if "chat_template_kwargs" in body:
            return JSONResponse({"object": "error", "message": "chat_template_kwargs is not supported"}, 400)
        return None

    fake.refuse = refuse
    client = serve(fake)
    assert error(ask(client, thinking={"type": "disabled"}), 400)  # a wish is not dropped without a word
    assert message(ask(client))["content"] == "Hello."
    count = len(fake.asked)
    assert message(ask(client))["content"] == "Hello."
    assert len(fake.asked) == count + 1
    assert error(ask(client, thinking={"type": "disabled"}), 400)


def test_what_an_asker_wrote_teaches_nothing_of_a_server(start, serve):
    """A refusal that quotes the asker is none of a field of ours, however it reads."""
    fake = start()
    fake.refuse = lambda body: JSONResponse({"message": f"cannot read {body['messages'][-1]['content']}"}, 400)
    client = serve(fake)
    assert "chat_template_kwargs" in error(ask(client, "chat_template_kwargs"), 400)["message"]
    fake.refuse = lambda body: None
    ask(client)
    assert "chat_template_kwargs" in fake.asked[-1]


def test_tools_schemas_and_history_are_passed_on(start, serve):
    fake = start("deepseek")
    tool = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"type": "object"}}}
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2", "reasoning_content": "Old."},
        {"role": "user", "content": "2+2 and 3+3?"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Two calls.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "add", "arguments": '{"x":2}'}},
                {"id": "b", "type": "function", "function": {"name": "add", "arguments": '{"x":3}'}},
            ],
        },
        {"role": "tool", "tool_call_id": "b", "content": "6"},
        {"role": "tool", "tool_call_id": "a", "content": "4"},
    ]
    client = serve(fake)
    response = client.post(
        "/v1/chat/completions",
        json={
            "messages": messages,
            "tools": [tool],
            "tool_choice": {"type": "function", "function": {"name": "add"}},
            "parallel_tool_calls": False,
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
        },
    )
    assert response.status_code == 200, response.text
    body = fake.asked[-1]
    assert body["tools"] == [tool]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "add"}}
    assert body["parallel_tool_calls"] is False
    assert body["response_format"]["json_schema"]["schema"] == schema
    sent = body["messages"]
    assert [one.get("reasoning_content") for one in sent] == [None, None, None, None, "Two calls.", None, None]
    assert [call["id"] for call in sent[4]["tool_calls"]] == ["a", "b"]
    assert [(one["tool_call_id"], one["content"]) for one in sent[5:]] == [("a", "4"), ("b", "6")]


@pytest.mark.parametrize(
    ("style", "path"), [("vllm", "/v1/chat/completions"), ("deepseek", "/beta/chat/completions"), ("openai", None)]
)
def test_a_begun_answer_is_gone_on_with_where_that_is_known(start, serve, style, path):
    fake = start(style)
    fake.prompt_end = "<think>\n"
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel", "prefix": True}]
    response = serve(fake).post("/v1/chat/completions", json={"messages": messages})
    if path is None:
        assert "begun answer" in error(response, 400)["message"]
        return
    assert message(response)["content"] == "Hello."
    asked_path, body, _ = fake.requests[-1]
    assert asked_path == path
    assert body["messages"][-1].get("prefix", body.get("continue_final_message")) is True


@pytest.mark.parametrize(
    ("said", "new"),
    [("Hello, you.", "lo, you."), ("Hel", ""), ("lo.", "lo."), ("He", "He"), ("Help", "p"), ("Hex", "Hex")],
)
def test_what_llamacpp_repeats_of_a_begun_answer_is_dropped(start, serve, said, new):
    fake = start("llamacpp")
    client = serve(fake)
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hel", "prefix": True}]
    for cut in range(len(said) + 1):
        fake.script = lambda body, cut=cut: told({"content": said[:cut]}, {"content": said[cut:]})
        response = client.post("/v1/chat/completions", json={"messages": messages})
        assert message(response)["content"] == new


def test_texts_go_on_as_they_stand(start, serve):
    fake = start()
    fake.script = lambda body: [
        event({"choices": [{"index": 0, "text": "a </think>", "logprobs": None, "finish_reason": None}]}),
        event({"choices": [{"index": 0, "text": "b", "finish_reason": "length"}]}),
        usage(),
        DONE,
    ]
    client = serve(fake)
    response = client.post("/v1/completions", json={"prompt": "x", "max_tokens": 7}).json()
    assert response["choices"][0] == {"text": "a </think>b", "index": 0, "logprobs": None, "finish_reason": "length"}
    assert (fake.asked[-1]["prompt"], fake.asked[-1]["max_tokens"]) == ("x", 7)
    client.post("/v1/completions", json={"prompt": [5, 6]})
    assert fake.asked[-1]["prompt"] == [5, 6]


def test_keys_go_to_the_server_they_are_for(start, serve, monkeypatch):
    monkeypatch.setenv("FIRST_KEY", "sk-first")
    monkeypatch.setenv("SECOND_KEY", "sk-second")
    first, second = start(model="one"), start(model="two")
    client = serve(first, second, key_names=["FIRST_KEY", "SECOND_KEY"])
    ask(client, model="one")
    ask(client, model="two")
    for fake, key in ((first, "sk-first"), (second, "sk-second")):
        assert fake.requests[-1][2]["authorization"] == f"Bearer {key}"
    bare = start()
    ask(serve(bare))
    assert "authorization" not in bare.requests[-1][2]


# What comes back

THOUGHT, ANSWER = "3 * 4 = 12.", "It is 12."
LETTERS = [{"content": letter} for letter in f"{THOUGHT}\n</think>\n\n{ANSWER}"]
TAGGED = [{"content": letter} for letter in f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("style", "prompt_end", "deltas"),
    [
        ("vllm", "<think>\n", LETTERS),
        ("vllm", "", TAGGED),
        ("vllm", "<think>\n", [{"reasoning_content": THOUGHT}, {"content": "\n\n" + ANSWER}]),
        ("vllm", "", [{"reasoning": THOUGHT}, {"content": ANSWER}]),
        ("llamacpp", "<think>\n", LETTERS),
        ("llamacpp", "<think>\n", [{"reasoning_content": THOUGHT, "content": None}, {"content": ANSWER}]),
        ("sglang", "", LETTERS),
        ("sglang", "", TAGGED),
        ("sglang", "", [{"reasoning_content": THOUGHT}, {"content": ANSWER}]),
        ("ollama", "", [{"content": "", "reasoning": THOUGHT}, {"content": ANSWER}]),
        ("ollama", "", TAGGED),
        ("deepseek", "", [{"content": None, "reasoning_content": THOUGHT}, {"content": ANSWER}]),
        ("denken", "", [{"reasoning_content": THOUGHT, "reasoning": THOUGHT}, {"content": ANSWER}]),
        ("other", "", LETTERS),
    ],
)
def test_thoughts_are_found_however_they_are_told(start, serve, style, prompt_end, deltas, stream):
    fake = start(style)
    fake.prompt_end, fake.script = prompt_end, lambda body: told(*deltas)
    response = ask(serve(fake), stream=stream)
    if not stream:
        found = message(response)
        assert (found["reasoning_content"], found["content"]) == (THOUGHT, ANSWER)
        return
    parts = [record["choices"][0]["delta"] for record in records(response)]
    assert "".join(part.get("reasoning_content", "") for part in parts) == THOUGHT
    assert "".join(part.get("content", "") for part in parts) == ANSWER


def test_the_template_is_read_once_and_with_the_switch(start, serve):
    fake = start()
    fake.prompt_end, fake.script = "<think>\n", lambda body: told(*LETTERS)
    client = serve(fake)
    for _ in range(3):
        assert message(ask(client))["content"] == ANSWER
    (read,) = [body for path, body, _ in fake.requests if path == "/template"]
    assert read["chat_template_kwargs"]["enable_thinking"] is True


def test_an_unknown_server_is_tried_out_with_a_question_of_ours(start, serve):
    """When nobody asks: some servers have but one place, and push the reply out that is being made."""
    fake = start("sglang")
    running_then = []

    def answer(body):
        if not body.get("stream"):
            running_then.append(fake.running)

    fake.refuse = answer
    fake.script = lambda body: [chunk(content="Plain "), 0.5, *told({"content": "words"})]
    client = serve(fake)
    assert message(ask(client))["content"] == "Plain words"
    server = client.pool.servers[0]
    _wait(lambda: server.opened("theirs", True) == "closed")
    (trial,) = [body for _, body, _ in fake.requests if "stream" not in body]
    assert trial["messages"] == [{"role": "user", "content": "Say hello."}]
    assert running_then == [0]
    assert message(ask(client))["content"] == "Plain words"


@pytest.mark.parametrize(
    ("whole", "opened"),
    [
        ({"content": "Hm\n</think>\n\nHi"}, "open"),
        ({"content": "<think>Hm</think>Hi"}, "closed"),
        ({"content": "Hi", "reasoning_content": "Hm"}, "apart"),
        ({"content": "Hi"}, "closed"),
        ({"content": 5}, "closed"),
    ],
)
def test_what_a_trial_shows(start, whole, opened):
    fake = start("other")
    fake.whole = whole
    server = connect([fake.url]).servers[0]
    server.try_out("theirs", True)
    _wait(lambda: server.opened("theirs", True) == opened)


def test_a_server_that_takes_answers_for_thoughts_leaves_no_empty_answer(start, serve):
    fake = start()
    fake.script = lambda body: told({"reasoning_content": "Plain "}, {"reasoning_content": "answer."})
    client = serve(fake)
    assert message(ask(client))["content"] == "Plain answer."
    fake.script = lambda body: told({"reasoning_content": "Too long a thou"}, finish="length")
    response = ask(client)
    assert message(response)["content"] == ""
    assert response.json()["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("stream", [False, True])
def test_stop_strings_end_answers_and_not_thoughts(start, serve, stream):
    fake = start()
    fake.script = lambda body: [*told({"reasoning": "A. B"}, {"content": "C"}, {"content": ". D"})[:-3], 30.0]
    response = ask(serve(fake), stop=["."], stream=stream)
    assert "stop" not in fake.asked[-1]
    if stream:
        choices = [record["choices"][0] for record in records(response)]
        assert "".join(choice["delta"].get("content", "") for choice in choices) == "C"
        assert choices[-1]["finish_reason"] == "stop"
    else:
        assert (message(response)["reasoning_content"], message(response)["content"]) == ("A. B", "C")
    _wait(lambda: fake.broken_off == 1)


@pytest.mark.parametrize(("style", "fields"), [("deepseek", {}), ("vllm", {"thinking": {"type": "disabled"}})])
def test_stop_strings_are_the_servers_where_it_looks_in_answers_alone(start, serve, style, fields):
    fake = start(style)
    ask(serve(fake), stop=["."], **fields)
    assert fake.asked[-1]["stop"] == ["."]


def test_calls_in_fragments_are_put_together(start, serve):
    def call(index, **function):
        return {"tool_calls": [{"index": index, "function": function}]}

    fake = start()
    fake.script = lambda body: told(
        {"reasoning_content": "Hm."},
        {"tool_calls": [{"index": 0, "id": "x", "type": "function", "function": {"name": "add", "arguments": ""}}]},
        call(0, arguments='{"a"'),
        {"tool_calls": [{"index": 1, "id": "y", "type": "function", "function": {"name": "mul", "arguments": "{"}}]},
        call(0, arguments=": 1}"),
        call(1, arguments="}"),
        finish="tool_calls",
    )
    client = serve(fake)
    tools = [{"type": "function", "function": {"name": name}} for name in ("add", "mul")]
    response = ask(client, tools=tools)
    calls = message(response)["tool_calls"]
    assert [one["function"] for one in calls] == [
        {"name": "add", "arguments": '{"a": 1}'},
        {"name": "mul", "arguments": "{}"},
    ]
    assert response.json()["choices"][0]["finish_reason"] == "tool_calls"
    assert message(response)["content"] is None
    deltas = [record["choices"][0]["delta"] for record in records(ask(client, tools=tools, stream=True))]
    assert [delta["tool_calls"][0]["function"]["name"] for delta in deltas if "tool_calls" in delta] == ["add", "mul"]


@pytest.mark.parametrize(
    ("counted", "expected"),
    [
        ({"prompt_tokens": 20, "completion_tokens": 10}, (20, 0, 5, 10)),
        (
            {
                "prompt_tokens": 20,
                "completion_tokens": 10,
                "prompt_tokens_details": {"cached_tokens": 16},
                "completion_tokens_details": {"reasoning_tokens": 7},
            },
            (20, 16, 7, 10),
        ),
        ({"prompt_tokens": 20, "completion_tokens": 10, "prompt_cache_hit_tokens": 8}, (20, 8, 5, 10)),
        ({"prompt_tokens": 20, "completion_tokens": 10, "reasoning_tokens": 3}, (20, 0, 3, 10)),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 4,
                "prompt_tokens_details": {"cached_tokens": 9},
                "completion_tokens_details": {"reasoning_tokens": 10**30},
            },
            (5, 5, 2, 4),
        ),
        ({"prompt_tokens": -1, "completion_tokens": "many"}, None),
        ("none", None),
        (None, None),
    ],
)
def test_what_a_reply_cost_is_as_counted_or_estimated(start, serve, counted, expected):
    fake = start()
    fake.script = lambda body: told({"reasoning_content": "Eight, 8"}, {"content": "Also it."}, counted=counted)
    found = ask(serve(fake)).json()["usage"]
    numbers = (
        found["prompt_tokens"],
        found["prompt_cache_hit_tokens"],
        found["completion_tokens_details"]["reasoning_tokens"],
        found["completion_tokens"],
    )
    assert numbers == (expected or (9, 0, 2, 4))


def test_logprobs_are_passed_on(start, serve):
    fake = start()
    tokens = [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "e", "logprob": float("-inf")}],
        },
        {"token": "!", "logprob": "x", "bytes": [300]},
    ]
    choice = {"index": 0, "delta": {"content": "é!"}, "logprobs": {"content": tokens}, "finish_reason": "stop"}
    fake.script = lambda body: [event({"choices": [choice]}), DONE]
    found = ask(serve(fake), logprobs=True, top_logprobs=1).json()["choices"][0]["logprobs"]["content"]
    assert [(one["token"], one["logprob"]) for one in found] == [("é", -0.5), ("!", -9999.0)]
    assert found[0]["top_logprobs"][0]["logprob"] == -9999.0


def test_counting_asks_the_server_where_it_counts(start):
    messages = [Message("user", "Hello")]
    for style, expected in (("vllm", 22), ("llamacpp", 22), ("sglang", 10)):
        pool = connect([start(style).url])
        (speaker,) = speakers(pool)
        assert speaker.count(Ask(messages, SamplingParams())) == expected, style


# What goes wrong


@pytest.mark.parametrize(
    ("status", "body", "headers", "ours", "words"),
    [
        (400, {"error": {"message": "Bad temperature", "param": "temperature"}}, {}, 400, "Bad temperature"),
        (400, {"object": "error", "message": "old vLLM"}, {}, 400, "old vLLM"),
        (400, {"error": "Ollama's"}, {}, 400, "Ollama's"),
        (422, {"detail": [{"msg": "x"}]}, {}, 422, "refused"),
        (404, {"error": {"message": "no such model"}}, {}, 404, "no such model"),
        (401, {"error": {"message": "Incorrect API key sk-1***"}}, {}, 502, "refused our key"),
        (403, {}, {}, 502, "refused our key"),
        (402, {"error": {"message": "Insufficient Balance"}}, {}, 502, "account there is empty"),
        (429, {"error": {"message": "slow down"}}, {"retry-after": "17"}, 429, "slow down"),
        (503, {}, {"retry-after": "9"}, 503, "overloaded"),
        (529, {}, {"retry-after": "never"}, 503, "overloaded"),
        (500, {"error": {"message": "Traceback"}}, {}, 502, "failed with status 500"),
        (504, {}, {}, 504, "in time"),
        (405, {}, {}, 502, "OpenAI API"),
    ],
)
def test_refusals_are_passed_on_as_what_they_are(start, serve, status, body, headers, ours, words):
    fake = start()
    fake.refuse = lambda _: JSONResponse(body, status, headers)
    client = serve(fake)
    for stream in (False, True):
        response = ask(client, stream=stream)
        assert words in error(response, ours)["message"]
        if ours in (429, 503):
            assert response.headers["retry-after"] == {"never": "5"}.get(headers["retry-after"], headers["retry-after"])
    assert client.pool.servers[0].running == 0


def test_what_was_refused_cost_nothing(start):
    fake = start("deepseek")
    fake.refuse = lambda _: JSONResponse({}, 429)
    (speaker,) = speakers(connect([fake.url]))
    reply = speaker.reply(Ask([Message("user", "Hello " * 100)], speaker.defaults))
    assert reply.usage.prompt_tokens > 100
    with pytest.raises(Failure):
        asyncio.run(reply.begin())
    assert reply.usage == Usage(0)


def test_a_full_context_has_its_own_code(start, serve):
    fake = start()
    said = "This model's maximum context length is 4096 tokens. However, you requested 9999 tokens."
    fake.refuse = lambda _: JSONResponse({"error": {"message": said}}, 400)
    found = error(ask(serve(fake)), 400)
    assert (found["code"], found["message"]) == ("context_length_exceeded", said)


def test_errors_show_neither_our_key_nor_the_address(start, serve, monkeypatch, caplog):
    monkeypatch.setenv("THEIR_KEY", "sk-our-secret")
    fake = start()
    client = serve(fake, key_names=["THEIR_KEY"])
    text = f"Key sk-our-secret of 127.0.0.1:{fake.port} is bad, see http://inside.example/help?k=1\n\x1b[31m"
    for status in (400, 401, 429, 500, 503):
        fake.refuse = lambda _, status=status: JSONResponse(
            {"error": {"message": text, "code": "sk-our-secret"}}, status
        )
        shown = ask(client).text
        fake.refuse = lambda _: None
        fake.script = lambda _: [event({"error": {"message": text, "code": "sk-our-secret"}})]
        shown += ask(client, stream=True).text
        for secret in ("sk-our-secret", "127.0.0.1", str(fake.port), "inside.example", "\\u001b"):
            assert secret not in shown
    assert "sk-our-secret" not in caplog.text


def test_redirects_are_not_followed(start, serve):
    fake, elsewhere = start(), start()
    fake.refuse = lambda _: RedirectResponse(f"{elsewhere.url}/v1/chat/completions", 307)
    assert "redirects" in error(ask(serve(fake)), 502)["message"]
    assert not elsewhere.requests


def test_proxies_of_the_environment_are_not_used(start, serve, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert message(ask(serve(start())))["content"] == "Hello."


def test_certificates_are_checked():
    context = servers._verify("https://127.0.0.1")
    assert context.check_hostname
    assert context.verify_mode.name == "CERT_REQUIRED"


DEEP = b"[" * 100_000
BROKEN = {
    "no end": ([chunk(content="Half")], "broke off in the middle"),
    "a break": ([chunk(content="Half"), None], "broke off in the middle"),
    "no reason": ([chunk(content="Half"), DONE], "without saying why"),
    "no JSON": ([b"data: {nonsense\n\n"], "not JSON"),
    "no record": ([b"data: [1]\n\n"], "no record"),
    "deep": ([b"data: " + DEEP + b"\n\n"], "not JSON"),
    "an error": ([chunk(content="Half"), event({"error": {"message": "CUDA out of memory"}})], "CUDA out of memory"),
    "vLLM's": ([event({"object": "error", "message": "engine died", "code": 500})], "engine died"),
    "llama.cpp's": ([b'error: {"code": 500, "message": "slot lost"}\n\n'], "slot lost"),
    "given up": ([chunk(content="Half"), chunk("abort"), DONE], "gave up"),
    "DeepSeek's": ([chunk("insufficient_system_resource"), DONE], "gave up"),
    "nameless": ([chunk(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]), chunk("stop"), DONE], "name"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_an_error_and_not_an_end(start, serve, name):
    script, words = BROKEN[name]
    fake = start("deepseek")
    fake.script = lambda body: script
    client = serve(fake)
    assert words in error(ask(client), 502)["message"]
    response = ask(client, stream=True)
    assert words in records(response)[-1]["error"]["message"]
    assert 'finish_reason":"stop"' not in response.text
    assert client.pool.servers[0].running == 0


@pytest.mark.parametrize(
    "parts",
    [
        [chunk("stop", content="Hi")],  # no [DONE], no usage
        [
            b": comment\r\n\r\n" + chunk("stop", content="Hi").replace(b"\n", b"\r\n"),
            b"event: x\r\ndata: [DONE]\r\n\r\n",
        ],
        [bytes([byte]) for byte in chunk(content="H") + chunk("stop", content="i") + DONE],
        [
            event({"choices": [{"index": 1, "delta": {"content": "no"}}, 5]}),
            *told({"content": "Hi"}),
            b"data: {nonsense\n\n",
        ],
        [event({"choices": None}), event({"choices": [{"delta": "x"}]}), event({}), *told({"content": "Hi"})],
        [b"data: \n\n", b"\n\n\n", b"nonsense\n\n", *told({"content": "Hi"})],
    ],
)
def test_what_servers_leave_out_or_add_breaks_nothing(start, serve, parts):
    fake = start("deepseek")
    fake.script = lambda body: parts
    assert message(ask(serve(fake)))["content"] == "Hi"


@pytest.mark.parametrize("kind", ["application/json", "text/html", ""])
def test_what_is_no_event_stream_is_refused(start, serve, kind):
    fake = start()
    fake.content_type = kind
    assert "no stream of events" in error(ask(serve(fake), stream=True), 502)["message"]


WEIRD = [None, True, -1, 2**70, 1.5, float("nan"), "", "\ud800", [], {}, [None], {"a": {}}, [[]], "stop", "x" * 99]


def weird(value: object, chance: random.Random) -> object:
    """The value with some of what is in it replaced."""
    if chance.random() < 0.1:
        return chance.choice(WEIRD)
    if isinstance(value, dict):
        return {key: weird(inner, chance) for key, inner in value.items()}
    return [weird(inner, chance) for inner in value] if isinstance(value, list) else value


def test_nothing_that_is_sent_raises_anything_but_a_failure():
    token = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2.0}]}
    call = {"index": 0, "id": "x", "function": {"name": "add", "arguments": "{}"}}
    delta = {"content": "a", "reasoning_content": "b", "reasoning": "c", "refusal": "d", "tool_calls": [call, call]}
    legacy = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"b": -2.0}]}
    logprobs = {"content": [token], "reasoning_content": [token]}
    counted = {"prompt_tokens": 5, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 1}}
    whole = {
        "choices": [{"index": 0, "delta": delta, "text": "e", "logprobs": logprobs, "finish_reason": "stop"}],
        "usage": counted,
        "error": None,
        "object": "chat.completion.chunk",
    }
    read_whole = 0
    for seed in range(2000):
        chance = random.Random(seed)
        record = json.loads(json.dumps(whole))
        record["choices"][0]["logprobs"] = chance.choice([logprobs, legacy])
        events, tally, calls, thoughts = reading.Events(), Tally(3), reading.Calls(), Thoughts("unknown")
        data = bytearray(event(weird(record, chance)))
        if chance.random() < 0.3:
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            for one in events.push(bytes(data)):
                read = reading.delta(one)
                tally.told(read.usage or {})
                for fragment in read.calls:
                    calls.push(fragment)
                pieces = thoughts.push(read.thought, read.text, read.tokens, read.thought_tokens) + calls.pieces()
                json.dumps([(piece.text, piece.name) for piece in pieces], ensure_ascii=False).encode()
                assert all(math.isfinite(found.logprob) for piece in pieces for found in piece.tokens)
            read_whole += 1
        except Failure:
            continue
        assert min(tally.usage().prompt_tokens, tally.usage().answer_tokens, tally.usage().thought_tokens) >= 0
    assert read_whole > 500


def test_what_could_unfold_to_more_is_refused(start, serve):
    fake = start("deepseek")
    client = serve(fake)
    fake.refuse = lambda _: Response(b"x", 200, {"content-encoding": "gzip"}, "text/event-stream")
    assert "no stream of events" in error(ask(client), 502)["message"]
    assert fake.requests[-1][2]["accept-encoding"] == "identity"


def test_long_events_and_long_replies_are_cut_off(start, serve, monkeypatch):
    fake = start("deepseek")
    client = serve(fake)
    fake.script = lambda body: [b"data: " + b"x" * 2**16] * 100
    assert "event of more than" in error(ask(client), 502)["message"]
    fake.script = lambda body: [b": " + b"x" * 2**16 + b"\n"] * 10 + told({"content": "Hi"})
    assert message(ask(client))["content"] == "Hi"
    monkeypatch.setattr(speaking, "Events", lambda: speaking.reading.Events(all_bytes=2**19))
    assert "more than 524288 bytes" in error(ask(client), 502)["message"]


def test_a_server_that_falls_silent_is_given_up(start, serve, monkeypatch):
    fake = start("deepseek")
    client = serve(fake)
    monkeypatch.setattr(speaking, "QUIET_SECONDS", 0.3)
    fake.script = lambda body: [chunk(content="Half"), 30.0]
    assert "in time" in error(ask(client), 504)["message"]
    assert "in time" in records(ask(client, stream=True))[-1]["error"]["message"]
    monkeypatch.setattr(speaking, "END_SECONDS", 0.3)
    fake.script = lambda body: [chunk("stop", content="Whole"), 30.0]
    assert message(ask(client))["content"] == "Whole"
    _wait(lambda: fake.running == 0)


def test_a_server_that_never_answers_is_given_up(serve, monkeypatch):
    monkeypatch.setattr(speaking, "QUIET_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = servers.Server(1, f"http://127.0.0.1:{silent.getsockname()[1]}")
        server.kind, server.up = "deepseek", True
        client = TestClient(create_app(speakers(Pool([server], ["theirs"]))), base_url="http://localhost")
        assert "in time" in error(ask(client), 504)["message"]
        assert server.running == 0


def test_lists_of_models_are_hostile_too(start, stack):
    fake = start()
    server = servers.Server(1, fake.url)
    for listed in (None, 5, [5], [{"id": 7}], [{"id": ""}, {"id": "a\nb"}, {"id": "x" * 300}, {"id": "\ud800"}]):
        server.ask = lambda *_, listed=listed: {"data": listed}
        try:
            server.look()
        except servers.NoAnswer:
            continue
        assert not server.offers
    server.ask = lambda *_: {
        "data": [{"id": "a", "max_model_len": -5, "created": "x", "meta": 3, "owned_by": []}] * 2000
    }
    server.look()
    assert server.offers == {"a": servers.Offer("a")}


# Several servers


def test_models_of_all_servers_are_listed_and_reached(start, serve):
    first, second = start(model="one"), start(model="two")
    client = serve(first, second)
    assert [record["id"] for record in client.get("/v1/models").json()["data"]] == ["one", "two"]
    ask(client, model="two")
    assert (len(first.asked), len(second.asked)) == (0, 1)
    ask(client)
    assert len(first.asked) == 1


def test_the_least_loaded_is_chosen_by_weight():
    light, heavy = servers.Server(1, "http://a"), servers.Server(2, "http://b", weight=3)
    light.up = heavy.up = True
    pool = Pool([light, heavy], ["m"])
    chosen = []
    for _ in range(8):
        server = pool.choose("m")
        server.running += 1
        chosen.append(server.number)
    assert (chosen.count(1), chosen.count(2)) == (2, 6)
    light.running = heavy.running = 0
    light.up = False
    assert pool.choose("m") is heavy


def test_weights_are_read_from_addresses(start):
    pool = connect([f"{start().url}#weight=2.5", start().url])
    assert [server.weight for server in pool.servers] == [2.5, 1.0]


def test_a_server_that_cannot_be_reached_is_left_for_another(start, serve):
    good = start()
    gone = FakeUpstream()
    with running(gone.app()) as gone.port:
        client = serve(gone, good)
    assert message(ask(client))["content"] == "Hello."
    assert len(good.asked) == 1
    assert [one["up"] for one in client.get("/health").json()["upstreams"]] == [False, True]


def test_a_reply_that_began_is_not_asked_for_again(start, serve):
    first, second = start(), start()
    first.script = lambda body: [None]
    client = serve(first, second)
    assert error(ask(client), 502)
    assert not second.asked


def test_servers_are_watched(start, serve, monkeypatch):
    monkeypatch.setattr(pools, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(pools, "FIRST_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(pools, "MOST_RETRY_SECONDS", 0.05)
    fake, other = start(), start(model="other")
    client = serve(fake, other)
    health = client.get("/health").json()
    assert health["upstreams"][0] == {"upstream": 1, "up": True, "running": 0, "models": ["theirs"]}
    fake.alive = False
    _wait(lambda: not client.pool.servers[0].up)
    assert error(ask(client), 503)["code"] == "upstream_unreachable"
    assert message(ask(client, model="other"))["content"] == "Hello."
    assert client.get("/health").status_code == 200
    fake.alive = True
    _wait(lambda: client.pool.servers[0].up)
    assert message(ask(client))["content"] == "Hello."


def test_a_server_that_speaks_is_not_asked_whether_it_lives(start, serve, monkeypatch):
    monkeypatch.setattr(pools, "CHECK_SECONDS", 0.2)
    fake = start("deepseek")
    looks = []
    fake.script = lambda body: [part for part in told(*[{"content": "word "}] * 20) for part in (part, 0.05)]
    client = serve(fake)
    server = client.pool.servers[0]
    look, server.look = server.look, lambda: looks.append(server.running) or look()
    assert message(ask(client))["content"] == "word " * 20
    assert 1 not in looks[1:]
    _wait(lambda: 0 in looks)


# On a real connection


@pytest.mark.parametrize("stream", [True, False])
def test_a_hang_up_closes_the_connection_upstream(start, serve, stack, stream):
    fake = start()
    fake.script = lambda body: [chunk(content="word "), *[0.05, chunk(content="word ")] * 1000]
    pool = stack.enter_context(connect([fake.url]))
    port = stack.enter_context(running(create_app(speakers(pool))))
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "stream": stream}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        _wait(lambda: fake.running == 1)
        assert pool.servers[0].running == 1
    _wait(lambda: fake.broken_off == 1)
    _wait(lambda: pool.servers[0].running == 0)


def test_a_hang_up_while_the_server_is_silent_is_noticed(stack):
    arrived, closed = threading.Event(), threading.Event()

    def listen(silent: socket.socket) -> None:
        connection, _ = silent.accept()
        arrived.set()
        while connection.recv(65536):
            pass
        closed.set()

    silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    threading.Thread(target=listen, args=(silent,), daemon=True).start()
    server = servers.Server(1, f"http://127.0.0.1:{silent.getsockname()[1]}")
    server.kind, server.up = "deepseek", True
    port = stack.enter_context(running(create_app(speakers(Pool([server], ["theirs"])))))
    body = json.dumps({"messages": [{"role": "user", "content": "Hi"}], "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert arrived.wait(5)
    assert closed.wait(5)
    _wait(lambda: server.running == 0)


def test_replies_that_nobody_comes_for_are_closed(start, serve, stack):
    """Of two replies one is refused: the other one's connection is closed although it was never read."""
    fake = start()
    fake.script = lambda body: [chunk(content="word "), *[0.05, chunk(content="word ")] * 1000]
    fake.refuse = lambda body: JSONResponse({"error": {"message": "no"}}, 400) if body["seed"] == 8 else None
    client = serve(fake)
    assert error(ask(client, n=2, seed=7, stream=True), 400)
    _wait(lambda: fake.running == 0 and client.pool.servers[0].running == 0)


def test_everyone_gets_their_own_text_from_upstream(start, stack):
    def echo(body):
        text = body["messages"][-1]["content"]
        cut = [{"content": text[place : place + 3]} for place in range(0, len(text), 3)]
        parts = told(*cut)
        # Some break off, and theirs must not be read by those who come after them.
        return [part for part in parts for part in (part, 0.001)] if "break" not in text else [parts[1], parts[2], None]

    first, second = start(), start()
    first.script = second.script = echo
    pool = stack.enter_context(connect([first.url, second.url]))
    port = stack.enter_context(running(create_app(speakers(pool))))

    def converse(number: int) -> bool:
        canary = f"canary-{number}-" + "x" * number + "-break" * (number % 5 == 0)
        body = {"messages": [{"role": "user", "content": canary}], "stream": number % 2 == 0}
        response = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=30)
        if number % 5 == 0:
            return "canary-" not in response.text.replace(canary[:6], "") and "broke off" in response.text
        if number % 2:
            return response.json()["choices"][0]["message"]["content"] == canary
        parts = [record["choices"][0]["delta"].get("content", "") for record in records(response)]
        return "".join(parts) == canary

    with ThreadPoolExecutor(16) as threads:
        assert all(threads.map(converse, range(40)))
    assert len(first.asked) + len(second.asked) == 40
    assert min(len(first.asked), len(second.asked)) > 8
    assert [server.running for server in pool.servers] == [0, 0]


def test_openais_client_works_through_it(start, stack):
    openai = pytest.importorskip("openai")
    fake = start()
    fake.script = lambda body: told({"reasoning": THOUGHT}, {"content": ANSWER})
    pool = stack.enter_context(connect([fake.url]))
    port = stack.enter_context(running(create_app(speakers(pool))))
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    messages = [{"role": "user", "content": "Hi"}]
    whole = client.chat.completions.create(model="theirs", messages=messages)
    assert whole.choices[0].message.content == ANSWER
    streamed = client.chat.completions.create(model="theirs", messages=messages, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in streamed) == ANSWER
    fake.refuse = lambda body: JSONResponse({"error": {"message": "slow down"}}, 429, {"retry-after": "3"})
    with pytest.raises(openai.RateLimitError, match="slow down"):
        client.chat.completions.create(model="theirs", messages=messages)


# Our own server behind our own


@pytest.fixture(scope="module")
def chained(bundled_server: int) -> Iterator[int]:
    """A server of ours that has its model from another of ours; its port."""
    with connect([f"http://127.0.0.1:{bundled_server}"]) as pool, running(create_app(speakers(pool))) as port:
        yield port


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"thinking": {"type": "disabled"}},
        {"thinking": {"type": "enabled", "budget_tokens": 5}},
        {"max_tokens": 9},
        {"stop": ["9"]},
        {"logprobs": True, "top_logprobs": 2},
        {"temperature": 0.8, "seed": 5, "top_k": 20},
        {"stream": True, "stream_options": {"include_usage": True}},
        {"response_format": {"type": "json_object"}, "max_tokens": 60},
    ],
)
def test_our_model_says_through_another_server_what_it_says_directly(bundled_server, chained, fields):
    body = {"messages": [{"role": "user", "content": "What is 17 times 23?"}], "temperature": 0, **fields}
    found = []
    for port in (bundled_server, chained):
        response = httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=60)
        assert response.status_code == 200, response.text
        if body.get("stream"):
            parts = records(response)
            deltas = [part["choices"][0]["delta"] for part in parts if part["choices"]]
            texts = {
                name: "".join(delta.get(name, "") for delta in deltas) for name in ("reasoning_content", "content")
            }
            found.append((texts, _without_cache(parts[-1]["usage"])))
        else:
            record = response.json()
            found.append((record["choices"], _without_cache(record["usage"])))
    assert found[0] == found[1]


def test_our_model_goes_on_through_another_server(bundled_server, chained):
    def both(path: str, body: dict) -> list[httpx.Response]:
        bodies = [
            httpx.post(f"http://127.0.0.1:{port}{path}", json=body, timeout=60) for port in (bundled_server, chained)
        ]
        return bodies

    messages = [
        {"role": "user", "content": "What is 17 times 23?"},
        {"role": "assistant", "content": "It is ", "prefix": True},
    ]
    direct, through = both("/beta/chat/completions", {"messages": messages, "temperature": 0, "max_tokens": 20})
    assert direct.status_code == through.status_code
    if direct.status_code == 200:
        assert direct.json()["choices"] == through.json()["choices"]
    direct, through = both("/v1/completions", {"prompt": "1 + 1 =", "temperature": 0, "max_tokens": 5})
    assert direct.status_code == through.status_code
    if direct.status_code == 200:
        assert direct.json()["choices"] == through.json()["choices"]


def test_our_refusals_pass_through_as_they_are(bundled_server, chained):
    body = {"messages": [{"role": "user", "content": "x " * 20_000}]}
    direct, through = (
        httpx.post(f"http://127.0.0.1:{port}/v1/chat/completions", json=body, timeout=60)
        for port in (bundled_server, chained)
    )
    assert (direct.status_code, through.status_code) == (400, 400)
    assert direct.json()["error"]["code"] == through.json()["error"]["code"] == "context_length_exceeded"


def _without_cache(counted: dict) -> dict:
    """What was in the cache depends on who asked before."""
    return {name: value for name, value in counted.items() if "cache" not in name and name != "prompt_tokens_details"}


def _wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
