"""A trained network that shall learn more gets room for it: ids for the words of new questions, and more layers.

Nothing that it can do changes by it. New ids, for words and for signs of several bytes, come behind the old ones, and
each begins as the mean of the bytes that it was read as before. A new layer is a copy of the one before it with nothing
to say: what its attention and its MLP would add is multiplied by zero matrices, which training fills.

    python -m denken.train.grow recipes/gym/recipe.toml recipes/bundled_search/model runs/gym_grown --layers 8

The result is a folder in Hugging Face's format, for a recipe's `init_from`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from torch import Tensor

from denken.config import Recipe
from denken.errors import ConfigError
from denken.model import checkpoint
from denken.model.transformer import Transformer
from denken.tasks import get
from denken.tasks.base import Task
from denken.train.vocabulary import CONTROL, build, common_pieces, joined, repeated

# Of what their questions are about every letter matters: words that nearly all of their questions share, and no
# others, are read whole.
SPELT = frozenset({
    "ab", "base_conversion", "bf", "binary_alternation", "bitwise_arithmetic", "caesar_cipher", "count_bits",
    "emoji_mystery", "group_anagrams", "isomorphic_strings", "letter_counting", "number_format",
    "palindrome_generation", "palindrome_partitioning", "ransom_note", "spell_backward", "string_insertion",
    "string_manipulation", "string_splitting", "string_synthesis", "word_sequence_reversal", "word_sorting",
})  # fmt: skip
# Whose questions are drawings: how long a line or a gap is says what a letter says elsewhere.
DRAWN = frozenset({"circuit_logic", "rectangle_count"})
LONGEST_RUN = 32
IN_ALL = 0.6
IN_SOME = 0.03
MOST = 900


def new_pieces(tasks: Iterable[Task], known: Iterable[str], *, problems: int = 400) -> list[str]:
    """What these tasks' questions are worded in and `known` lacks, commonest first, in byte-level spelling.

    Only words of three letters and more, a blank before them counted: `*x` in a formula stays what it is computed with.
    """
    shares: dict[float, list[list[str]]] = {IN_ALL: [], IN_SOME: []}
    for task in tasks:
        if task.name.startswith(("plain:", "fields:", "smalltalk:", "search_qa")):
            continue
        texts = [task.problem(seed).prompt for seed in range(1000, 1000 + problems)]
        shares[IN_ALL if task.name in SPELT else IN_SOME].append(texts)
    found = [piece for share, texts in shares.items() for piece in common_pieces(texts, share=share, most=MOST)]
    known = set(known)
    return [piece for piece in dict.fromkeys(found) if piece not in known and sum(map(str.isalpha, piece)) > 2][:MOST]


def new_characters(tasks: Iterable[Task], *, problems: int = 400) -> list[str]:
    """Characters of three bytes and more, no letters, that stand in `IN_SOME` of some task's questions.

    A question that hides a letter in a sign of four bytes is then as short as what it hides.
    """
    found: dict[str, None] = {}
    for task in tasks:
        counts = Counter(c for seed in range(1000, 1000 + problems) for c in set(task.problem(seed).prompt))
        common = sorted(character for character, count in counts.items() if count >= IN_SOME * problems)
        found.update(dict.fromkeys(c for c in common if len(c.encode()) > 2 and not c.isalnum()))
    return list(found)


def drawing_signs(tasks: Iterable[Task], *, problems: int = 400) -> list[str]:
    """The signs that the drawings' lines and gaps are made of: those that often stand in runs of eight and more."""
    found: dict[str, None] = {}
    for task in tasks:
        if task.name in DRAWN:
            counts = Counter(
                sign for seed in range(1000, 1000 + problems) for sign in _in_runs(task.problem(seed).prompt)
            )
            found.update(dict.fromkeys(sorted(sign for sign, count in counts.items() if count >= IN_ALL * problems)))
    return list(found)


def _in_runs(text: str) -> set[str]:
    return {match[1] for match in re.finditer(r"([^\w\n])\1{7}", text)}


def grow(
    folder: Path,
    pieces: Sequence[str],
    layers: int | None,
    out: Path,
    characters: Iterable[str] = (),
    runs: Iterable[str] = (),
) -> Transformer:
    """Write the grown network of `folder` to `out`, its tokenizer beside it, and return it (fp32).

    folder: one of the tokenizers that `train/vocabulary.py` builds, and a dense network. layers: how many it shall
    have; new ones stand evenly among the old. characters: what shall be one id wherever it stands. runs: of which signs
    every run shall be one id. ConfigError where the folder cannot grow so.
    """
    described = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    vocabulary = described["vocab"]
    old = sorted(vocabulary, key=vocabulary.__getitem__)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    if old[: len(CONTROL) + len(alphabet)] != [*CONTROL, *alphabet]:
        raise ConfigError(f"{folder} has a tokenizer of another kind; only those of train/vocabulary.py can grow.")
    model = checkpoint.load(folder, dtype=torch.float32, whole=True)
    before = model.config.num_hidden_layers
    layers = layers or before
    if layers < before or len(old) != model.config.vocab_size:
        raise ConfigError(f"{folder} has {before} layers and {model.config.vocab_size} ids; a network only grows.")
    signs = [pair for sign in runs for pair in (*joined(sign), *repeated(sign, LONGEST_RUN))]
    merges = dict.fromkeys([*map(tuple, described["merges"]), *joined(characters), *signs])
    pieces = [piece for piece in dict.fromkeys([*pieces, *map("".join, merges)]) if piece not in vocabulary]
    known = old[len(CONTROL) + len(alphabet) :]
    size = build([*known, *pieces], out, context=model.config.max_position_embeddings, merges=merges)
    config = dataclasses.replace(model.config, vocab_size=size, num_hidden_layers=layers)
    grown = Transformer(config)
    ids = {piece: i for i, piece in enumerate(old)}
    spelt = [[ids[byte] for byte in piece] for piece in pieces]
    place = placed(before, layers)
    weights: dict[str, Tensor] = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in grown.named_parameters():
            source, silent = _source(name, place)
            taken = weights[source]
            if taken.shape != weight.shape:  # the embedding, and the head where it is not the same
                taken = _more_rows(taken, spelt)
            weight.copy_(torch.zeros_like(taken) if silent else taken)
    checkpoint.save(grown, out)
    return grown


def placed(before: int, layers: int) -> list[tuple[int, bool]]:
    """For each layer of the grown network the old one that it is a copy of, and whether it is a silent copy.

    >>> placed(3, 5)
    [(0, False), (0, True), (1, False), (2, False), (2, True)]
    """
    copies = [0] * before
    for i in range(layers - before):
        copies[(2 * i + 1) * before // (2 * (layers - before))] += 1
    return [(old, bool(copy)) for old in range(before) for copy in range(1 + copies[old])]


def _source(name: str, place: Sequence[tuple[int, bool]]) -> tuple[str, bool]:
    """The old parameter's name, and whether this one must be zero for its layer to be silent."""
    head, found, rest = name.partition(".layers.")
    if not found:
        return name, False
    number, _, rest = rest.partition(".")
    old, silent = place[int(number)]
    return f"{head}.layers.{old}.{rest}", silent and rest in ("self_attn.o_proj.weight", "mlp.down_proj.weight")


def _more_rows(rows_VD: Tensor, spelt: Sequence[Sequence[int]]) -> Tensor:
    return torch.cat([rows_VD, *(rows_VD[ids].mean(0, keepdim=True) for ids in spelt)])


def main() -> None:
    parser = argparse.ArgumentParser(description="A network with room for a recipe's tasks.")
    parser.add_argument("recipe", type=Path, help="whose questions shall be read in whole words")
    parser.add_argument("folder", type=Path, help="the network to grow, in Hugging Face's format")
    parser.add_argument("out", type=Path)
    parser.add_argument("--layers", type=int, help="as many as now where it is left out")
    given = parser.parse_args()
    sources = Recipe.load(given.recipe).data.sources["sources"]
    tasks = [get(source["task"], source.get("config")) for source in sources if "task" in source]
    known = json.loads((given.folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    pieces, signs = new_pieces(tasks, known), (new_characters(tasks), drawing_signs(tasks))
    model = grow(given.folder, pieces, given.layers, given.out, *signs)
    print(f"vocab_size = {model.config.vocab_size}\nnum_hidden_layers = {model.config.num_hidden_layers}")


if __name__ == "__main__":
    main()
