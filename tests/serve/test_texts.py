"""/completions: bare texts that go on, in the shape of OpenAI's older API and of DeepSeek's beta."""

from __future__ import annotations

import json

import pytest

from denken.serve.speaker import ContextFull, Piece, TokenLogprob, Unsupported


@pytest.fixture
def complete(client):
    def post(prompt="Once ", path="/v1/completions", **fields):
        return client.post(path, json={"prompt": prompt, **fields})

    return post


def refusal(response) -> dict:
    assert response.status_code == 400, response.text
    return response.json()["error"]


def chunks(response) -> list:
    assert response.text.endswith("data: [DONE]\n\n")
    lines = [line[6:] for line in response.text.split("\n") if line.startswith("data: {")]
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("path", ["/v1/completions", "/completions", "/beta/completions"])
def test_a_text_goes_on(complete, speaker, path):
    speaker.pieces = [Piece("answer", "upon "), Piece("answer", "a time")]
    body = complete(path=path, suffix=" end", stop=["X"], seed=3).json()
    assert body["object"] == "text_completion"
    assert body["id"].startswith("cmpl-")
    assert body["choices"] == [{"text": "upon a time", "index": 0, "logprobs": None, "finish_reason": "stop"}]
    assert body["usage"]["prompt_tokens"] == 10
    asked = speaker.asks[-1]
    assert (asked.prompt, asked.suffix, asked.params.stop, asked.params.seed) == ("Once ", " end", ("X",), 3)
    assert asked.params.max_tokens == 16
    assert asked.params.top_logprobs is None


def test_every_prompt_gets_its_replies(complete, speaker):
    body = complete(["a", "b"], n=2, best_of=2, seed=1).json()
    assert [(choice["index"], choice["text"]) for choice in body["choices"]] == [(0, "a"), (1, "a"), (2, "b"), (3, "b")]
    assert [(asked.prompt, asked.params.seed) for asked in speaker.asks] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (20, 8)
    assert complete([1, 2]).status_code == 200
    assert speaker.asks[-1].prompt == (1, 2)
    assert complete([[1], [2, 3]]).status_code == 200
    assert [asked.prompt for asked in speaker.asks[-2:]] == [(1,), (2, 3)]


def test_an_echo_repeats_the_prompt(complete, speaker):
    speaker.pieces = [Piece("answer", "upon")]
    assert complete(echo=True).json()["choices"][0]["text"] == "Once upon"
    streamed = chunks(complete(echo=True, stream=True))
    assert [chunk["choices"][0]["text"] for chunk in streamed] == ["Once ", "upon", ""]


def test_logprobs_have_the_older_shape(complete, speaker):
    half, other = "ü".encode()[:1], "ü".encode()[1:]
    first = (TokenLogprob(b"up", -0.5, ((b"up", -0.5), (b"x", float("-inf")))), TokenLogprob(half, -1.0))
    last = (TokenLogprob(other, 0.0), TokenLogprob(b"on", -2.0))
    speaker.pieces = [Piece("answer", "up", first), Piece("answer", "üon", last)]
    expected = {
        "tokens": ["up", "bytes:\\xc3", "bytes:\\xbc", "on"],
        "token_logprobs": [-0.5, -1.0, 0.0, -2.0],
        "top_logprobs": [{"up": -0.5, "x": -9999.0}, {"bytes:\\xc3": -1.0}, {"bytes:\\xbc": 0.0}, {"on": -2.0}],
        "text_offset": [0, 2, 2, 3],
    }
    assert complete(logprobs=2).json()["choices"][0]["logprobs"] == expected
    assert speaker.asks[-1].params.top_logprobs == 2
    streamed = [chunk["choices"][0]["logprobs"] for chunk in chunks(complete(logprobs=2, stream=True))]
    for name, values in expected.items():
        assert [value for one in streamed for value in one[name]] == values
    assert complete(logprobs=0).json()["choices"][0]["logprobs"]["top_logprobs"] is None


def test_a_stream_ends_with_reasons_and_usage(complete, speaker):
    speaker.reason = "length"
    streamed = chunks(complete(["a", "b"], stream=True, stream_options={"include_usage": True}))
    assert [chunk["choices"][0]["finish_reason"] for chunk in streamed[-3:-1]] == ["length", "length"]
    assert streamed[-1]["choices"] == []
    assert streamed[-1]["usage"]["prompt_tokens"] == 20
    assert {chunk["object"] for chunk in streamed} == {"text_completion"}


def test_what_the_model_cannot_do_is_said(complete, speaker):
    speaker.refuses = Unsupported("fake fills no gaps; leave suffix out.")
    assert refusal(complete(suffix="x"))["code"] == "unsupported"
    speaker.refuses = ContextFull("The text has 2000 tokens, and fake takes 1000.")
    refused = refusal(complete())
    assert (refused["code"], refused["param"]) == ("context_length_exceeded", "prompt")


@pytest.mark.parametrize(
    ("prompt", "fields"),
    [
        (None, {}),
        ([], {}),
        (5, {}),
        ([[]], {}),
        ([-1], {}),
        ([True], {}),
        (["a", 1], {}),
        (["a"] * 17, {}),
        ("a", {"n": 2, "best_of": 3}),
        ("a", {"best_of": 2}),
        ("a", {"echo": True, "logprobs": 1}),
        ([1], {"echo": True}),
        ("a", {"logprobs": 6}),
        ("a", {"max_tokens": 0}),
        ("a", {"suffix": 5}),
        (["a"] * 16, {"n": 16}),
    ],
)
def test_what_is_no_such_request_is_refused(complete, speaker, prompt, fields):
    assert refusal(complete(prompt, **fields))["message"]
    assert not speaker.asks
