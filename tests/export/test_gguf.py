"""A GGUF file in llama.cpp: the same ids, the same prompt, the same numbers, the same text."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_folders import write_model

from denken.assistant import BUNDLED, load
from denken.chat.message import Message
from denken.chat.template import render
from denken.errors import ConfigError
from denken.export import gguf
from denken.model import checkpoint
from denken.model.rope import RopeScaling
from denken.tokenizer import Tokenizer
from small_configs import SMALL_LATENT
from small_vocabulary import FAMILY

package = pytest.importorskip("gguf")

QUESTIONS = (
    "What is 17 times 23?",
    "Was ist 17 mal 23?",
    "Spell this word backward (example: sun -> nus): denken",
    "Wie viele r sind in Erdbeere?",
    "Find the prime factorization of 84.",
)
CASES = {
    "llama": {
        "attention_bias": True,
        "tie_word_embeddings": True,
        "rope_scaling": RopeScaling("llama3", 8.0, original_max_position_embeddings=16),
    },
    "qwen2": {"rope_scaling": RopeScaling("yarn", 4.0, original_max_position_embeddings=16)},
    "qwen3": {"head_dim": 24, "num_key_value_heads": 1, "rope_scaling": RopeScaling("linear", 2.0)},
}


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf.export(BUNDLED, tmp_path_factory.mktemp("gguf") / "bundled.gguf")


def opened(file: Path, **settings: Any) -> Any:
    llama_cpp = pytest.importorskip("llama_cpp")
    return llama_cpp.Llama(str(file), n_ctx=2048, n_threads=1, verbose=False, **settings)


def texts(tokenizer: Tokenizer, count: int) -> list[str]:
    """Words of the vocabulary, single signs and the rarest corners of Unicode, in any order."""
    draw = random.Random(0)
    signs = [*map(chr, range(1, 127)), *"äöüß€，。漢字のかな😀éſKİıﬁ½²\xa0\u2028\u200d\u0301١٢٣Ⅷ\ufeff"]
    words = [tokenizer.decode([id_]) for id_ in range(tokenizer.vocab_size) if not tokenizer.is_control(id_)]
    lines = [
        "".join(draw.choice(draw.choice((signs, words))) for _ in range(draw.randint(1, 30))) for _ in range(count)
    ]
    return [*lines, *tokenizer.control_ids, "<｜User｜>Hi<think></think>", "a  b\n\n c\r\n"]


def test_text_becomes_the_same_ids(bundled: Path) -> None:
    theirs, ours = opened(bundled, vocab_only=True), Tokenizer.load(BUNDLED)
    for text in texts(ours, 500):
        assert theirs.tokenize(text.encode(), add_bos=False, special=False) == ours.encode(text), repr(text)


def test_a_conversation_becomes_the_same_ids(bundled: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    theirs, ours = opened(bundled, vocab_only=True), Tokenizer.load(BUNDLED)
    pieces = {name: theirs._model.token_get_text(id_) for name, id_ in (("bos", 1), ("eos", 2))}
    formatter = llama_cpp.llama_chat_format.Jinja2ChatFormatter(
        theirs.metadata["tokenizer.chat_template"], eos_token=pieces["eos"], bos_token=pieces["bos"]
    )
    said = [("user", "Was ist 1 + 1?"), ("assistant", "2"), ("user", " And Ä\n?")]
    prompt = formatter(messages=[{"role": role, "content": text} for role, text in said]).prompt
    expected = render([Message(role, text) for role, text in said], ours).ids
    assert tuple(theirs.tokenize(prompt.encode(), add_bos=False, special=True)) == expected
    assert (theirs.token_bos(), theirs.token_eos()) == (1, 2)
    # A bare text begins as ours does.
    assert theirs.tokenize(b"Hi", add_bos=True) == [1, *ours.encode("Hi")]


def test_greedy_text_is_ours(bundled: Path) -> None:
    theirs = opened(bundled)
    with load("bundled", threads=1) as assistant:
        for question in QUESTIONS:
            prompt = list(render([Message("user", question)], assistant.tokenizer).ids)
            ids: list[int] = []
            for id_ in theirs.generate(prompt, temp=0.0):
                if id_ == 2 or len(ids) > 400:
                    break
                ids.append(id_)
            thought, _, answer = assistant.tokenizer.decode(ids, skip_control=False).partition("</think>")
            ours = assistant.ask(question)
            assert (thought.strip(), answer.strip()) == (ours.thought, ours.text), question


@pytest.mark.parametrize("family", CASES)
@pytest.mark.parametrize(("kind", "most"), [("f16", 0.01), ("q8_0", 0.05)])
def test_logits_of_every_family(family: str, kind: gguf.Kind, most: float, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", family, **CASES[family])
    theirs = opened(gguf.export(folder, tmp_path / "model.gguf", kind=kind), logits_all=True)
    ids = torch.randint(0, 250, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    theirs.eval(ids)
    found = torch.from_numpy(np.array(theirs.scores[: len(ids)]))
    with torch.no_grad():
        expected = checkpoint.load(folder)(torch.tensor([ids]))[0]
    difference = (found - expected).norm() / expected.norm()
    assert difference < most, f"{difference:.4f}"


def fields(file: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in package.GGUFReader(file).fields.items()}


def test_what_the_file_says_of_the_model(bundled: Path) -> None:
    found = fields(bundled)
    expected = {
        "general.architecture": "qwen3",
        "general.name": "bundled",
        "general.license": "mit",
        "general.sampling.temp": 0.0,
        "qwen3.context_length": 2048,
        "qwen3.attention.key_length": 48,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "llama-bpe",
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
    assert expected.items() <= found.items()
    assert set(found["tokenizer.ggml.token_type"][:20]) == {3}
    assert set(found["tokenizer.ggml.token_type"][20:]) == {1}


def test_the_parts_of_a_file_in_few_bits(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model", intermediate_size=100)
    types = {
        kind: {
            tensor.name: tensor.tensor_type.name
            for tensor in package.GGUFReader(gguf.export(folder, tmp_path / kind, kind=kind)).tensors
        }
        for kind in gguf.KINDS
    }
    for name, expected in {
        "token_embd.weight": ["F16", "Q8_0", "Q8_0"],
        "output.weight": ["F16", "Q8_0", "Q8_0"],
        "blk.1.attn_q.weight": ["F16", "Q8_0", "Q4_0"],
        "blk.1.ffn_down.weight": ["F16", "F16", "F16"],  # rows of 100 numbers
        "blk.1.attn_q_norm.weight": ["F32", "F32", "F32"],
    }.items():
        assert [types[kind][name] for kind in gguf.KINDS] == expected, name
    unused = fields(tmp_path / "f16")["tokenizer.ggml.token_type"][-3:]
    assert unused == [5, 5, 5]


def test_vocabularies_of_the_family_keep_their_cuts(tmp_path: Path) -> None:
    """Every published vocabulary that is here has a name in llama.cpp; one that is cut otherwise is refused."""
    expected = {"DeepSeek-R1": "deepseek-v3", "DeepSeek-R1-Distill-Qwen-32B": "qwen2", "Qwen3-30B-A3B": "qwen2"}
    if not all((FAMILY / name).is_dir() for name in expected):
        pytest.skip("the published vocabularies are not here")
    for name, cut in expected.items():
        assert gguf.cut_of(json.loads((FAMILY / name / "tokenizer.json").read_text("utf-8"))) == cut


def test_what_llama_cpp_cannot_do_is_refused(tmp_path: Path) -> None:
    latent = {name: value for name, value in SMALL_LATENT.items() if name != "vocab_size"}
    refused = {
        "use the vocabulary|--format hf": ("deepseek_v3", latent),
        "no biases": ("qwen3", {"attention_bias": True}),
        "dynamic": ("llama", {"rope_scaling": RopeScaling("dynamic", 2.0)}),
        "yarn": (
            "llama",
            {"rope_scaling": RopeScaling("yarn", 2.0, original_max_position_embeddings=16, attention_factor=2.0)},
        ),
    }
    for number, (words, (family, shape)) in enumerate(refused.items()):
        folder = write_model(tmp_path / str(number), family, **shape)
        with pytest.raises(ConfigError, match=words):
            gguf.export(folder, tmp_path / "out.gguf")
    folder = write_model(tmp_path / "model")
    file = folder / "tokenizer.json"
    file.write_text(file.read_text("utf-8").replace("{1,3}", "{1,4}"), encoding="utf-8")
    with pytest.raises(ConfigError, match="no name for"):
        gguf.export(folder, tmp_path / "out.gguf")
    assert not (tmp_path / "out.gguf").exists()
