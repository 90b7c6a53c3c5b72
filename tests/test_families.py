"""The published families with their own files: the ids of texts, and a question to each."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as Whole

from denken.assistant import Assistant, load
from denken.chat import chatml, llama
from denken.chat.formats import format_of
from denken.chat.message import Message
from denken.chat.page import Page
from denken.chat.template import end_of_thinking, fill_in
from denken.model.checkpoint import save
from denken.model.config import ModelConfig
from denken.model.transformer import Transformer
from denken.tokenizer import Tokenizer
from denken.types import SamplingParams
from small_vocabulary import FAMILY, write_tokenizer

TEXTS = [
    "Die Straße nach Köln-Mülheim ist 12,5 km lang; „schön“, nicht wahr?",
    "def f(x):\n    return [i ** 2 for i in range(x)]  # Quadrate\n\n\tif a != b:\r\n",
    "🥳🥳🥳 👩‍👩‍👧 🇩🇪 ½ ﬁ Å e\u0301 \u200b\ufeff",
    "你好世界。日本語のテキスト、한국어 العربية हिन्दी ไทย",
    " " * 70 + "a" + "\n" * 9 + "\t\t b  c   d    ",
    "I'm we'll DON'T 1234567890 3.14159 1e-9 $5,000.00 https://a.b/c?d=e&f=g#h",
    "",
    " ",
    "\x00\x01\x7f\x85\u2028\U0010ffff",
]
SPELT = "a <think> b </think><|im_start|>user\n<｜User｜>c<|endoftext|><｜end▁of▁sentence｜><tool_call>"


def mixed(seed: int) -> str:
    """Pieces of everything in any order."""
    rng = random.Random(seed)
    pieces = [piece for text in TEXTS for piece in (text, *text.split(" ")) if piece]
    return "".join(rng.choice(pieces) + rng.choice(("", " ", "\n", "  ")) for _ in range(40))


def test_texts_have_the_ids_of_their_makers_library(published_tokenizer: Tokenizer, published_whole: Whole) -> None:
    for text in [*TEXTS, *map(mixed, range(30))]:
        assert published_tokenizer.encode(text) == published_whole.encode(text, add_special_tokens=False).ids, text


def test_control_tokens_that_are_spelt_out_are_text(published_tokenizer: Tokenizer, published_whole: Whole) -> None:
    """There the library gives control ids; here only `control` does, by name."""
    ids = published_tokenizer.encode(SPELT)
    assert not any(map(published_tokenizer.is_control, ids))
    assert published_tokenizer.decode(ids) == SPELT
    named = {id_ for id_ in published_whole.encode(SPELT).ids if published_tokenizer.is_control(id_)}
    assert len(named) >= 4
    assert all(published_whole.id_to_token(id_) in published_tokenizer.control_ids for id_ in named)


def test_public_test_suites_have_the_same_ids(published_tokenizer: Tokenizer) -> None:
    cases_file = FAMILY.parent / "templates" / "upstream_cases.json"
    if not cases_file.is_file():
        pytest.skip("the published cases are not at hand")
    cases = {case["id"]: case for case in json.loads(cases_file.read_text(encoding="utf-8"))}
    if published_tokenizer.folder.name == "Qwen3-30B-A3B":
        case = cases["swift/qwen3-emoji"]
        said = [Message(**message) for message in case["inputs"]["messages"]]
        ids = format_of(published_tokenizer.folder, published_tokenizer).render(said).ids
    elif published_tokenizer.folder.name == "DeepSeek-R1-Distill-Qwen-32B":
        case = cases["swift/r1-distill-qwen-7b-encode"]
        ids = fill_in(case["inputs"]["text"], None, published_tokenizer)
    else:
        case = cases["dsv32/readme"]
        text, page = case["inputs"]["text"], Page(published_tokenizer)
        page.own(text, [name for name in published_tokenizer.control_ids if name in text])
        ids = page.rendered().ids
    assert list(ids) == case["expected_ids"]


def folder_of(made: Path, vocabulary: Path, family: str) -> Path:
    """A tiny network of random weights beside the files of a published vocabulary."""
    made.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        if (vocabulary / name).is_file():
            shutil.copy(vocabulary / name, made)
    latent = {"kv_lora_rank": 4, "qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 4}
    experts = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 6}
    torch.manual_seed(0)
    config = ModelConfig(
        family=family,
        vocab_size=400 if family == "llama" else 152_064,
        hidden_size=8,
        intermediate_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=512,
        initializer_range=0.5,
        **(latent if family == "deepseek_v3" else {}),
        **(experts if family in ("deepseek_v3", "qwen3_moe") else {}),
    )
    save(Transformer(config), made, dtype=torch.bfloat16)
    return made


LLAMAS = (llama.BOS, "<|end_of_text|>", llama.HEADER, llama.END_HEADER, llama.END, llama.END_CALL, "<|python_tag|>")
FAMILIES = [
    ("DeepSeek-R1", "deepseek_v3", "deepseek"),
    ("DeepSeek-R1-Distill-Qwen-32B", "qwen2", "deepseek"),
    ("Qwen3-30B-A3B", "qwen3_moe", "qwen3"),
    ("Llama-3.1", "llama", "llama3.1"),
]


@pytest.fixture(scope="module", params=FAMILIES, ids=[name for name, _, _ in FAMILIES])
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Assistant, str]]:
    name, architecture, format = request.param
    vocabulary, made = FAMILY / name, tmp_path_factory.mktemp(name)
    if name == "Llama-3.1":  # its vocabulary is not at hand: bytes and its control tokens, with its template
        published = pytest.importorskip("published")
        if not published.templates():
            pytest.skip("the published templates are not at hand")
        vocabulary = write_tokenizer(made / "vocabulary", control=LLAMAS)
        text = published.templates()["hfjs/meta-llama/Llama-3.1-8B-Instruct"]
        (vocabulary / "chat_template.jinja").write_text(text, encoding="utf-8")
    elif not (vocabulary / "tokenizer.json").is_file():
        pytest.skip(f"{name} is not at hand")
    with load(folder_of(made / "model", vocabulary, architecture)) as assistant:
        yield assistant, format


def test_each_family_can_be_asked(family: tuple[Assistant, str]) -> None:
    """Random weights say nothing; but they are asked in their format, think where they can, and end where they must."""
    assistant, format = family
    assert assistant.format.name == format
    params = SamplingParams(temperature=1.0, max_tokens=24, seed=1, thinking_budget=6)
    asked = [Message("system", "S"), Message("user", "Hallo, Köln")]
    answer = assistant.ask(asked, params=params)
    assert answer.thought_tokens + answer.answer_tokens == 24 or answer.finish_reason == "stop"
    assert answer.prompt_tokens == len(
        assistant.format.render([Message("system", "S"), Message("user", "Hallo, Köln")]).ids
    )
    thinks = assistant.tokenizer.has_control("</think>")
    assert bool(end_of_thinking(assistant.tokenizer)) == thinks
    ends = {"deepseek": "<｜end▁of▁sentence｜>", "qwen3": chatml.END, "llama3.1": llama.END}[format]
    assert assistant.tokenizer.control(ends) in assistant.engine._endings.eos_ids


def test_each_family_goes_on_with_a_conversation(family: tuple[Assistant, str]) -> None:
    assistant, _ = family
    params = SamplingParams(temperature=0.0, max_tokens=4)
    said = [Message("user", "a"), Message("assistant", "b", reasoning_content="c"), Message("user", "d")]
    first, again = (assistant.ask(said, params=params) for _ in range(2))
    assert first.text == again.text
    assert again.cached_tokens > 0
