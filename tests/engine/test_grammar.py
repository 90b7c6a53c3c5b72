"""Answers that follow a grammar: always valid, never in the thought, never at the cost of others; hostile grammars."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch

from denken.chat.template import EOS, THINK, end_of_thinking
from denken.engine.engine import Engine
from denken.engine.grammar import Grammars
from denken.errors import RequestError
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.tokenizer import Tokenizer
from denken.types import SamplingParams


def schema(**keywords: object) -> str:
    return json.dumps({"grammars": [{"json_schema": {"x-guidance": {"whitespace_flexible": False}, **keywords}}]})


ANY_OBJECT = schema(type="object")
SHORT = schema(
    type="object",
    properties={"colour": {"enum": ["rot", "grün"]}, "n": {"type": "integer", "minimum": 0, "maximum": 99}},
    required=["colour", "n"],
    additionalProperties=False,
)


def engine_of(tokenizer: Tokenizer, *, padding: int = 0, context: int = 512) -> Engine:
    """Random weights; an embedding of more rows than the vocabulary has where padding is given."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Transformer(
            ModelConfig(
                family="llama",
                vocab_size=tokenizer.vocab_size + padding,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=context,
                initializer_range=0.5,
            )
        ).eval()
    return Engine(
        model,
        eos_ids=[tokenizer.control(EOS)],
        end_of_thinking=end_of_thinking(tokenizer),
        tokenizer=tokenizer,
        cache_tokens=4096,
    )


@pytest.fixture(scope="module")
def engine(tokenizer: Tokenizer) -> Engine:
    return engine_of(tokenizer, padding=21)


def answers(engine: Engine, tokenizer: Tokenizer, params: list[SamplingParams], prompt: str = "the") -> list[str]:
    completions = engine([tokenizer.encode(prompt)] * len(params), params)
    assert all(c.finish_reason == "stop" for c in completions)
    return [tokenizer.decode(c.ids, skip_control=False) for c in completions]


@pytest.mark.parametrize(
    "grammar",
    [
        SHORT,
        schema(type="string", maxLength=12),
        schema(type="array", items={"type": "number", "minimum": -5, "maximum": 5, "multipleOf": 1}, maxItems=4),
        schema(enum=["ja", "nein", 3, None, {"a": [1]}]),
        schema(type="object", properties={"a": {"$ref": "#/$defs/b"}}, required=["a"], additionalProperties=False)[:-4]
        + ', "$defs": {"b": {"type": "object", "properties": {"c": {"type": "boolean"}}, "required": ["c"], '
        '"additionalProperties": false}}}}]}',
    ],
)
@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_random_weights_write_valid_json(
    engine: Engine, tokenizer: Tokenizer, grammar: str, temperature: float
) -> None:
    each = [SamplingParams(temperature=temperature, top_p=1, seed=s, grammar=grammar) for s in range(5)]
    for text in answers(engine, tokenizer, each):
        json.loads(text)


def test_strings_hold_whole_characters(engine: Engine, tokenizer: Tokenizer) -> None:
    each = [
        SamplingParams(temperature=2, top_p=1, seed=s, grammar=schema(type="string", minLength=20, maxLength=30))
        for s in range(8)
    ]
    texts = [json.loads(text) for text in answers(engine, tokenizer, each)]
    assert all(20 <= len(text) <= 30 and "\ufffd" not in text for text in texts)
    assert any(ord(character) > 127 for text in texts for character in text)


def test_the_mask_begins_behind_the_thought(engine: Engine, tokenizer: Tokenizer) -> None:
    prompt = [*tokenizer.encode("the"), tokenizer.control(THINK), *tokenizer.encode("\n")]
    each = [SamplingParams(temperature=1, top_p=1, seed=s, grammar=SHORT, thinking_budget=9) for s in range(12)]
    closing = tokenizer.decode(end_of_thinking(tokenizer), skip_control=False)
    own, forced = 0, 0
    for completion in engine([prompt] * len(each), each):
        thought, _, answer = tokenizer.decode(completion.ids, skip_control=False).partition("</think>")
        assert completion.finish_reason == "stop"
        assert answer.startswith("\n\n")
        assert json.loads(answer)["colour"] in ("rot", "grün")
        assert not thought.startswith("{")
        forced += closing.startswith(thought[-1:]) and completion.logprobs.count(0.0) >= 3
        own += len(thought) > 0
    assert own
    assert forced


def test_a_thought_that_the_model_closes_itself_is_followed_by_the_same_empty_line(tokenizer: Tokenizer) -> None:
    engine = engine_of(tokenizer)
    closer = tokenizer.control("</think>")
    prompt = [*tokenizer.encode("the"), tokenizer.control(THINK), *tokenizer.encode("\n")]
    params = SamplingParams(temperature=0, grammar=SHORT, logit_bias=((closer, 100.0),))
    (completion,) = engine([prompt], params)
    assert completion.ids[: 1 + len(tokenizer.encode("\n\n"))] == (closer, *tokenizer.encode("\n\n"))
    json.loads(tokenizer.decode(completion.ids))


def test_batched_is_alone(engine: Engine, tokenizer: Tokenizer) -> None:
    free = SamplingParams(temperature=1, seed=5, max_tokens=20)
    bound = SamplingParams(temperature=1, seed=6, grammar=SHORT)
    penalised = SamplingParams(temperature=1, seed=7, max_tokens=20, presence_penalty=2, logit_bias=((70, -100.0),))
    prompt = tokenizer.encode("Calculate the")
    together = engine([prompt] * 3, [free, bound, penalised])
    for params, completion in zip([free, bound, penalised], together, strict=True):
        assert engine([prompt], params)[0].ids == completion.ids


def test_what_is_reported_is_what_was_drawn_from(engine: Engine, tokenizer: Tokenizer) -> None:
    one_way = json.dumps({"grammars": [{"lark_grammar": 'start: "abc"'}]})
    number = engine.add(
        tokenizer.encode("the"), SamplingParams(temperature=1, top_p=1, grammar=one_way, top_logprobs=5), thinking=False
    )
    outputs = [output for _ in range(3) for output in engine.step() if output.request == number]
    assert [tokenizer.decode(output.ids) for output in outputs] == ["a", "b", "c"]
    assert [output.logprobs[0] for output in outputs] == pytest.approx([0.0] * 3, abs=1e-6)
    assert [len(output.top_logprobs[0]) for output in outputs] == [1] * 3
    assert outputs[-1].finish_reason == "stop"


def test_cut_by_max_tokens_says_length_and_whole_says_stop(engine: Engine, tokenizer: Tokenizer) -> None:
    one_way = json.dumps({"grammars": [{"lark_grammar": 'start: "abc"'}]})
    for most, reason in ((2, "length"), (3, "stop"), (9, "stop")):
        (completion,) = engine([tokenizer.encode("the")], SamplingParams(max_tokens=most, grammar=one_way))
        assert completion.finish_reason == reason


@pytest.mark.parametrize("most", [60, 300])
@pytest.mark.parametrize(
    "keywords",
    [
        {"type": "object"},
        {"type": "string"},
        {"type": "array", "items": {"type": "number", "minimum": 10}, "minItems": 2},
        {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "boolean"}}, "required": ["a", "b"]},
        {"type": "array", "items": {"type": "object", "properties": {"a": {"pattern": "[0-9]+"}}, "required": ["a"]}},
    ],
)
def test_what_would_go_on_is_led_to_its_end(
    engine: Engine, tokenizer: Tokenizer, keywords: dict[str, object], most: int
) -> None:
    """However the weights would ramble, within blanks as well: whole JSON before the limit."""
    grammar = json.dumps({"grammars": [{"json_schema": keywords}]})
    params = [SamplingParams(temperature=1, seed=seed, max_tokens=most, grammar=grammar) for seed in range(4)]
    for answer in answers(engine, tokenizer, params):
        json.loads(answer.removesuffix(EOS))


def test_no_answer_within_the_thought_says_length(engine: Engine, tokenizer: Tokenizer) -> None:
    prompt = [*tokenizer.encode("the"), tokenizer.control(THINK)]
    end = ((tokenizer.control(EOS), 100.0),)
    (completion,) = engine([prompt], SamplingParams(max_tokens=2, grammar=SHORT, logit_bias=end))
    assert completion.finish_reason == "length"
    (completion,) = engine([prompt], SamplingParams(max_tokens=60, temperature=0, grammar=SHORT, logit_bias=end))
    json.loads(tokenizer.decode(completion.ids).strip())


def test_a_preempted_request_keeps_its_place(tokenizer: Tokenizer) -> None:
    engine = engine_of(tokenizer)
    small = Engine(engine._model, eos_ids=[tokenizer.control(EOS)], tokenizer=tokenizer, cache_tokens=192, block_size=4)
    grammar = schema(type="array", items={"type": "integer"}, minItems=25, maxItems=25)
    each = [SamplingParams(temperature=1, top_p=1, seed=s, grammar=grammar, max_tokens=100) for s in range(4)]
    prompt = tokenizer.encode("the")
    assert [c.ids for c in small([prompt] * 4, each)] == [c.ids for c in engine([prompt] * 4, each)]


HOSTILE = {
    "a loop of references": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "a reference to itself": {"$ref": "#"},
    "nothing that ends": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "elsewhere": {"$ref": "http://127.0.0.1:9/schema.json"},
    "a large pattern": {"type": "string", "pattern": "(ab|c)" * 20_000},
    "10 MB of pattern": {"type": "string", "pattern": "a" * 10_000_000},
    "parentheses": {"type": "string", "pattern": "(" * 5000 + "a" + ")" * 5000},
    "1500 names": {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(1500)}},
    "everything is everything": {
        "$defs": {
            f"d{i}": {
                "anyOf": [
                    *({"$ref": f"#/$defs/d{j}"} for j in range(60)),
                    {"type": "array", "items": {"$ref": f"#/$defs/d{i}"}},
                ]
            }
            for i in range(60)
        },
        "$ref": "#/$defs/d0",
    },
    "all of any": {
        "allOf": [
            {"anyOf": [{"properties": {f"a{i}": {"type": "string"}}}, {"properties": {f"b{i}": {"type": "null"}}}]}
            for i in range(20)
        ]
    },
    "nothing fits": {"type": "string", "minLength": 5, "maxLength": 2},
    "no schema": {"type": 5},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_schemas_are_refused_at_once(engine: Engine, tokenizer: Tokenizer, name: str) -> None:
    began = time.monotonic()
    with pytest.raises(RequestError, match="schema or grammar") as refused:
        engine.check(tokenizer.encode("the"), SamplingParams(grammar=schema(**HOSTILE[name])))
    assert time.monotonic() - began < 10
    assert len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "keywords",
    [
        {"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"},
        {"type": "string", "pattern": ".*a.{200}"},
        {"type": "string", "pattern": "(\\p{L}{1,100}){100}"},
        {"type": "array", "minItems": 10**9},
        {"type": "object", "properties": {f"p{i}": {"type": "null"} for i in range(400)}, "required": ["p399"]},
    ],
)
def test_what_has_no_end_is_cut(engine: Engine, tokenizer: Tokenizer, keywords: dict[str, object]) -> None:
    params = SamplingParams(temperature=1, seed=1, max_tokens=60, grammar=schema(**keywords))
    (completion,) = engine([tokenizer.encode("the")], params)
    assert completion.finish_reason == "length" or json.loads(tokenizer.decode(completion.ids))


@pytest.mark.parametrize(
    "grammar", ["", "start: nothing", "{", '{"grammars": []}', "\x00", "start: /(/", "x" * 300_000]
)
def test_what_is_no_grammar_is_refused(engine: Engine, tokenizer: Tokenizer, grammar: str) -> None:
    with pytest.raises(RequestError, match="schema or grammar"):
        engine.add(tokenizer.encode("the"), SamplingParams(grammar=grammar))
    assert not engine.has_work


def test_an_engine_without_a_tokenizer_says_so(tokenizer: Tokenizer) -> None:
    engine = Engine(engine_of(tokenizer)._model, eos_ids=[1], cache_tokens=64)
    with pytest.raises(RequestError, match="tokenizer"):
        engine.add([1, 2], SamplingParams(grammar=SHORT))


def test_a_grammar_is_compiled_once(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = Grammars(tokenizer, [tokenizer.control(EOS)])
    compiled = []
    compile_ = grammars._compile
    monkeypatch.setattr(grammars, "_compile", lambda grammar: compiled.append(grammar) or compile_(grammar))
    first, second = grammars.matcher(ANY_OBJECT), grammars.matcher(ANY_OBJECT)
    assert compiled == [ANY_OBJECT]
    (brace,) = tokenizer.encode("{")
    first.take(brace)
    assert first.mask != second.mask


@pytest.mark.parametrize("published", ["DeepSeek-R1"])
def test_published_vocabularies(published: str) -> None:
    from small_vocabulary import FAMILY

    folder = Path(FAMILY) / published
    if not (folder / "tokenizer.json").is_file():
        pytest.skip(f"{folder} is not at hand")
    tokenizer = Tokenizer.load(folder)
    matcher = Grammars(tokenizer, [tokenizer.control(EOS)]).matcher(ANY_OBJECT)
    for id_ in tokenizer.encode('{"größe":[1.5,"中文"],"b":{}}'):
        assert matcher.mask[id_]
        assert not matcher.mask[tokenizer.control(EOS)]
        matcher.take(id_)
    assert matcher.done
