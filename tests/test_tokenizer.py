"""Text to ids and back: nothing lost, nothing split, and clear words about damaged files."""

from __future__ import annotations

import json
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denken.errors import CheckpointError, ConfigError
from denken.tokenizer import Tokenizer
from small_vocabulary import FAMILY, write_tokenizer

CASES = FAMILY.parent / "templates" / "upstream_cases.json"
TEXTS = [
    "",
    " ",
    "Calculate the 3 * 4.\n\n",
    "Grüße, 世界 🌍!",
    "\x00\r\n\t",
    "e\u0301 \u200b\ufeff",
    "\U0010ffff",
    "�",
]


@pytest.mark.parametrize("text", TEXTS)
def test_decoding_gives_the_text_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@settings(max_examples=80, deadline=None)
@given(text=st.text())
def test_decoding_gives_any_text_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("text", TEXTS)
def test_published_vocabularies_give_normalised_text_back(published_tokenizer: Tokenizer, text: str) -> None:
    decoded = published_tokenizer.decode(published_tokenizer.encode(text))
    assert decoded in (text, unicodedata.normalize("NFC", text))


def test_surrogates(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud83d b")) == "a\ufffd b"
    assert tokenizer.decode(tokenizer.encode("a\ude00\ud83d\ude00")) == "a\ufffd😀"


def test_words_are_one_id(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode("Calculate the")) == 2
    assert len(tokenizer.encode("calculate")) == 9


def test_a_decoder_waits_for_whole_code_points(tokenizer: Tokenizer) -> None:
    decoder = tokenizer.decoder()
    assert [decoder.push(byte) for byte in "é🌍".encode()] == ["", "é", "", "", "", "🌍"]
    assert decoder.push(0xE4) == ""
    assert decoder.finish() == "\ufffd"
    assert decoder.finish() == ""


def test_wrong_bytes_are_replaced_once_they_are_certain(tokenizer: Tokenizer) -> None:
    decoder = tokenizer.decoder()
    assert decoder.push(0xFF) == "\ufffd"
    assert decoder.push(0xE4) == ""
    assert decoder.push(ord("a")) == "\ufffda"


@settings(max_examples=80, deadline=None)
@given(ids=st.lists(st.integers(0, 300)), skip=st.booleans())
def test_pieces_joined_are_the_whole(tokenizer: Tokenizer, ids: list[int], skip: bool) -> None:
    decoder = tokenizer.decoder(skip_control=skip)
    joined = "".join([decoder.push(id_) for id_ in ids]) + decoder.finish()
    assert joined == tokenizer.decode(ids, skip_control=skip)
    if not any(tokenizer.is_control(id_) for id_ in ids):
        assert joined == b"".join(tokenizer.token_bytes(id_) for id_ in ids).decode("utf-8", "replace")


def test_control_tokens_are_left_out_or_spelt(tokenizer: Tokenizer) -> None:
    ids = [*tokenizer.encode("a"), 0xE4, tokenizer.control("</think>"), *tokenizer.encode("b")]
    assert tokenizer.decode(ids) == "a\ufffdb"
    assert tokenizer.decode(ids, skip_control=False) == "a\ufffd</think>b"
    assert tokenizer.token_bytes(tokenizer.control("<｜User｜>")) == "<｜User｜>".encode()


def test_ids_without_an_entry_have_no_bytes(tokenizer: Tokenizer) -> None:
    assert tokenizer.token_bytes(tokenizer.vocab_size + 5) == b""
    assert tokenizer.decode([ord("a"), tokenizer.vocab_size, ord("b")]) == "ab"


def test_a_missing_control_token_is_named(tokenizer: Tokenizer) -> None:
    assert not tokenizer.has_control("<nothing>")
    with pytest.raises(ConfigError, match="no control token <nothing>"):
        tokenizer.control("<nothing>")


@pytest.mark.parametrize("letter", ["a", " ", " \n"])
def test_a_megabyte_of_one_letter_is_quick(tokenizer: Tokenizer, letter: str) -> None:
    text = letter * (1_000_000 // len(letter.encode()))
    began = time.process_time()
    ids = tokenizer.encode(text)
    assert time.process_time() - began < 30
    assert len(ids) > 1000


def test_a_megabyte_is_quick_with_merges(published_tokenizer: Tokenizer) -> None:
    began = time.process_time()
    assert published_tokenizer.encode("a" * 1_000_000)
    assert time.process_time() - began < 30


def test_tokens_that_only_tokenizer_config_names_are_control(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, words=["stop"], control=["<think>"])
    settings_ = {"added_tokens_decoder": {"700": {"content": "<extra>"}}, "eos_token": {"content": "stop"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings_))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.control("<extra>") == 700
    assert tokenizer.vocab_size == 701
    stop = tokenizer.control("stop")
    assert stop not in tokenizer.encode("stop")
    assert tokenizer.decode(tokenizer.encode("stop")) == "stop"


def test_files_of_two_models_are_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, control=["<think>"])
    other = {"added_tokens_decoder": {"3": {"content": "<think>"}}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointError, match="same model"):
        Tokenizer.load(tmp_path)


def test_a_control_token_of_one_byte_is_refused(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "a"}))
    with pytest.raises(CheckpointError, match="255 of the 256 bytes"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    ("id_", "name", "words"),
    [
        (-3, "<a>", "from -3 to"),
        (10**12, "<a>", "to 1000000000000"),
        (300, "<\ud800>", "no text"),
        (300, "", "no text"),
    ],
)
def test_control_tokens_that_cannot_be_are_refused(tmp_path: Path, id_: int, name: str, words: str) -> None:
    path = write_tokenizer(tmp_path) / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"added_tokens": [{"id": id_, "content": name}]}))
    with pytest.raises(CheckpointError, match=words):
        Tokenizer.load(tmp_path)


def test_a_missing_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json in .*Give the folder"):
        Tokenizer.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read"),
        ('{"model": ', "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[]", "no JSON object"),
        ("{}", "not a byte-level BPE"),
        ('{"model": {"type": "Unigram", "vocab": [["a", 0.0]]}}', "not a byte-level BPE"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=words):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        {"added_tokens": [{"id": 1}]},
        {"added_tokens": 5},
        {"added_tokens": [{"id": "x", "content": "<a>"}]},
        {"pre_tokenizer": {"type": "ByteLevel"}},
        {"normalizer": {"type": "Nothing"}},
    ],
)
def test_damage_inside_is_named(tmp_path: Path, damage: dict[str, object]) -> None:
    path = write_tokenizer(tmp_path) / "tokenizer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(CheckpointError, match="Copy the file again"):
        Tokenizer.load(tmp_path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path) / "tokenizer.json"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="Copy the file again"):
        Tokenizer.load(tmp_path)


def test_published_encodings_agree() -> None:
    if not CASES.is_file() or not (FAMILY / "DeepSeek-R1" / "tokenizer.json").is_file():
        pytest.skip("the published cases are not at hand")
    tokenizer = Tokenizer.load(FAMILY / "DeepSeek-R1")
    cases = [case for case in json.loads(CASES.read_text()) if case["id"].startswith("splintr/")]
    assert cases
    for case in cases:
        text = case["inputs"]["text"]
        expected = [id_ for id_ in case["expected_ids"] if not tokenizer.is_control(id_)]
        assert tokenizer.encode(text) == expected, case["id"]
