"""A network that grows: what it could do stays as it was, to the number."""

from pathlib import Path

import pytest
import torch

from denken.errors import ConfigError
from denken.model import checkpoint
from denken.tasks import get
from denken.tokenizer import Tokenizer
from denken.train.grow import drawing_signs, grow, new_characters, new_pieces, placed

BUNDLED = Path("src/denken/bundled").resolve()


def test_a_grown_network_reads_new_words_and_says_what_it_said(tmp_path: Path) -> None:
    text = "How many r are in strawberry? 17 * 23 ="
    before = checkpoint.load(BUNDLED, dtype=torch.float32)
    old = Tokenizer.load(BUNDLED)
    pieces = ["Ġsquirrel", "Ġsudoku"]

    hidden = chr(0xE0154)  # the sign in which emoji_mystery hides a d

    grow(BUNDLED, pieces, 8, tmp_path / "grown", [hidden], ["#"])

    new = Tokenizer.load(tmp_path / "grown")
    after = checkpoint.load(tmp_path / "grown", dtype=torch.float32)
    ids = old.encode(text)
    assert new.encode(text) == ids
    assert len(old.encode(" sudoku")) > 1
    assert new.encode(" sudoku") == [old.vocab_size + 1]
    assert len(set(new.encode(f"\U0001f604{hidden}{hidden}")[-2:])) == 1
    assert [len(new.encode("#" * length)) for length in (1, 2, 7, 40, 63, 64)] == [1, 1, 1, 1, 1, 2]
    assert new.decode(new.encode(text + hidden)) == text + hidden
    with torch.inference_mode():
        said, says = (each.logits(each.hidden(torch.tensor([ids]))) for each in (before, after))
    assert len(after.blocks) == 8
    assert torch.allclose(said, says[..., : old.vocab_size], atol=1e-4)
    spelt = [old.encode(byte)[0] for byte in " sudoku"]
    rows_VM = after.head_weight
    assert torch.allclose(rows_VM[old.vocab_size + 1], rows_VM[spelt].mean(0))


def test_every_layer_stays_and_the_copies_lie_between() -> None:
    for before, layers in ((6, 6), (6, 8), (6, 9), (6, 12), (3, 5)):
        place = placed(before, layers)
        assert len(place) == layers
        assert [old for old, silent in place if not silent] == list(range(before))
        assert place == sorted(place)


def test_what_is_spelt_stays_letters() -> None:
    known = {"Given"}
    pieces = new_pieces([get("word_sorting"), get("aiw")], known, problems=40)
    assert "Ġcolleagues" in pieces
    assert "Ġascending" in pieces  # in every question of word_sorting
    assert not known & set(pieces)
    assert new_characters([get("aiw"), get("shortest_path")], problems=40) == []
    assert drawing_signs([get("aiw"), get("modulo_grid")], problems=10) == []
    assert drawing_signs([get("circuit_logic"), get("rectangle_count")], problems=20) == [" ", "─", "#"]
    assert chr(0xE0154) in new_characters([get("emoji_mystery")], problems=40)
    question = get("word_sorting").problem(1003)
    assert not any(f"Ġ{word}" in pieces for word in question.metadata["original_words"])


def test_a_network_does_not_shrink(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only grows"):
        grow(BUNDLED, [], 4, tmp_path / "grown")
