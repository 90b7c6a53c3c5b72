"""The bundled vocabulary: what is computed on stays single characters, what is read are words."""

from pathlib import Path

import denken
from denken.tokenizer import Tokenizer
from denken.train.vocabulary import CONTROL, build, build_for, common_pieces, joined, repeated

BUNDLED = Path(denken.__file__).parent / "bundled"


def test_digits_and_unknown_words_are_single_characters() -> None:
    tokenizer = Tokenizer.load(BUNDLED)
    assert len(tokenizer.encode("7319")) == 4
    assert len(tokenizer.encode("turnbout")) == 8
    assert len(tokenizer.encode(" of")) == 1
    assert [tokenizer.decode([i]) for i in tokenizer.encode("484+229")] == list("484+229")


def test_only_words_and_single_signs_become_pieces() -> None:
    texts = [["What is 12 + 3?", "What is (4 - -5)?", "What is a b?"]] * 2
    pieces = common_pieces(texts, share=0.3)
    assert set(pieces) == {"What", "Ġis", "Ġ+", "Ġ-", "Ġ("}


def test_pieces_that_are_as_common_come_in_the_order_of_the_text() -> None:
    """Whatever Python's hashes are, the same texts make the same ids."""
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    assert common_pieces([[" ".join(words)], [" nine"]]) == [
        "Ġnine",
        "one",
        *("Ġ" + w for w in words[1:] if w != "nine"),
    ]


def test_a_built_vocabulary_loads_and_round_trips(tmp_path: Path) -> None:
    build(["Ġis", "What", "ĊĊ"], tmp_path, context=64)
    tokenizer = Tokenizer.load(tmp_path)
    text = "What is this?\n\nÄpfel 苹果 🍎"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert set(CONTROL) <= set(tokenizer.control_ids)


def test_a_run_of_a_sign_is_one_id_whatever_stands_beside_it(tmp_path: Path) -> None:
    merges = [*joined("─│"), *repeated("─", 8), *repeated(" ", 8)]
    build(map("".join, merges), tmp_path, context=64, merges=merges)
    tokenizer = Tokenizer.load(tmp_path)
    for length in range(1, 16):
        drawn = "│" + "─" * length + "│"
        assert [tokenizer.decode([i]) for i in tokenizer.encode(drawn)] == ["│", "─" * length, "│"]
        assert [tokenizer.decode([i]) for i in tokenizer.encode(" " * length + "\n")] == [" " * length, "\n"]


def test_a_recipe_gets_the_words_of_its_tasks(tmp_path: Path) -> None:
    recipe = BUNDLED.parents[2] / "recipes" / "bundled" / "recipe.toml"
    size = build_for(recipe, tmp_path, problems=40)
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.vocab_size == size > 256 + len(CONTROL)
    assert len(tokenizer.encode(" Greatest")) == 1  # of gcd's question
    assert len(tokenizer.encode(" Primfaktoren")) == 1  # of plain:primes
    assert len(tokenizer.encode("Greatestest")) == 11
