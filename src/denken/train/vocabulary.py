"""Builds the bundled model's tokenizer: single characters where it must compute, whole words where it must read.

Letters and digits of what a question is about stay bytes (a number is its digits, an unknown word its letters), so
that spelling, counting and written arithmetic are a matter of looking, not of remembering how a token is spelt. The
words that questions are phrased in become single ids, which makes prompts three times shorter.

The file is an ordinary Hugging Face `tokenizer.json`: byte-level BPE with `ignore_merges`, cut up by Llama 3's regular
expression, so a piece of text is either a whole word of the vocabulary or its bytes. Merges only join the bytes of
single characters that have ids of their own (`joined`).

    python -m denken.train.vocabulary recipes/bundled/recipe.toml my_tokenizer    # for a recipe of your own
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from denken.config import Recipe
from denken.errors import ConfigError
from denken.tasks import get
from denken.tasks.base import Task
from denken.tasks.smalltalk import SmalltalkTask

LLAMA3_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL = (
    "<｜▁pad▁｜>", "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>",
    "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>",
    "<search>", "</search>", "<information>", "</information>",
    "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>",
    "<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>",
)  # fmt: skip
BEGIN, END, PAD = CONTROL[1], CONTROL[2], CONTROL[0]


def _cut() -> pre_tokenizers.Sequence:
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def common_pieces(texts_by_source: Iterable[list[str]], *, share: float = 0.03, most: int = 1000) -> list[str]:
    """The words that stand in at least `share` of some source's texts, commonest first, in byte-level spelling.

    Of what is no word only single signs, with or without a blank before them, become pieces: an operator or a bracket
    must look the same whatever stands beside it.
    """
    split = pre_tokenizers.Split(Regex(LLAMA3_PIECES), behavior="isolated")
    found: dict[str, float] = {}
    for texts in texts_by_source:
        # Each piece once a text, in the order of the text: a set would order equals differently in every process.
        pieces = Counter(piece for text in texts for piece in dict.fromkeys(p for p, _ in split.pre_tokenize_str(text)))
        for piece, count in pieces.items():
            if count >= share * len(texts) and _is_word(piece) != _is_sign(piece):
                found[piece] = found.get(piece, 0.0) + count / len(texts)
    commonest = sorted(found, key=found.__getitem__, reverse=True)[:most]
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return ["".join(p for p, _ in spell.pre_tokenize_str(piece)) for piece in commonest]


def _is_word(piece: str) -> bool:
    return piece[-1].isalpha() and len(piece.strip()) > 1


def _is_sign(piece: str) -> bool:
    return len(piece) == 2 and piece[0] == " " and not piece[1].isalnum()


def pieces_for(tasks: Iterable[Task], *, problems: int = 600) -> list[str]:
    """The pieces that these tasks' questions, and the replies of small talk, are worded in.

    Worked thoughts are left out: they compute, and what computes stays single characters, but for two signs that
    stand in nearly every thought.
    """
    texts = []
    for task in tasks:
        drawn = [task.problem(seed) for seed in range(1000, 1000 + problems)]
        texts.append([problem.prompt for problem in drawn])
        if isinstance(task, SmalltalkTask):
            shown = [task.demonstrate(problem) for problem in drawn]
            texts.append([f"{demonstration.thought}\n\n{demonstration.answer}" for demonstration in shown])
    return ["ĊĊ", "]=", *common_pieces(texts)]


def joined(characters: Iterable[str]) -> list[tuple[str, str]]:
    """The merges that make one id of each character, of the bytes that it has in UTF-8, in byte-level spelling.

    >>> joined("→")
    [('â', 'Ĩ'), ('âĨ', 'Ĵ')]
    """
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    merges: dict[tuple[str, str], None] = {}
    for character in characters:
        spelt = "".join(piece for piece, _ in spell.pre_tokenize_str(character))
        merges.update(dict.fromkeys((spelt[:i], spelt[i]) for i in range(1, len(spelt))))
    return list(merges)


def repeated(character: str, longest: int) -> list[tuple[str, str]]:
    """The merges that make one id of each run of a character, up to 2 * `longest` - 1 of it, `longest` a power of two.

    In drawings the length of a line or a gap tells where it leads. Of longer runs what is over gets an id of its own,
    and a character of several bytes has to be `joined` first. What each pair makes must be a piece, as ever.

    >>> repeated("#", 4)
    [('#', '#'), ('##', '##'), ('####', '##'), ('####', '#'), ('######', '#'), ('##', '#')]
    """
    spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    sign = "".join(piece for piece, _ in spell.pre_tokenize_str(character))
    powers = [2**i for i in range(longest.bit_length())]
    doubled = [(n, n) for n in powers[:-1]]
    rest = [
        (high + between, low)
        for high in reversed(powers)
        for low in reversed(powers)
        for between in range(0, high, 2 * low)
        if low < high
    ]
    return [(sign * left, sign * right) for left, right in doubled + rest]


def build(pieces: Iterable[str], folder: Path, *, context: int, merges: Iterable[tuple[str, str]] = ()) -> int:
    """Writes tokenizer.json and tokenizer_config.json: control ids first, then 256 bytes, then the pieces.

    merges: pairs of pieces, commonest first; what a pair makes must be a piece, too. Returns how many ids there are.
    """
    vocabulary: dict[str, int] = {}
    for symbol in (*CONTROL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *pieces):
        vocabulary.setdefault(symbol, len(vocabulary))
    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=list(merges), ignore_merges=True))
    tokenizer.pre_tokenizer = _cut()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(CONTROL))
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BEGIN,
        "eos_token": END,
        "pad_token": PAD,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False, indent=2) + "\n")
    return len(vocabulary)


def build_for(recipe_path: Path, folder: Path, *, problems: int = 600) -> int:
    """Builds the vocabulary for a recipe's mixture of tasks; returns its size, which the recipe's [model] must name."""
    recipe = Recipe.load(recipe_path)
    tasks = [get(source["task"], source.get("config")) for source in recipe.data.sources["sources"]]
    return build(pieces_for(tasks, problems=problems), folder, context=recipe.model["max_position_embeddings"])


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise ConfigError("Give a recipe and a folder: python -m denken.train.vocabulary RECIPE.toml FOLDER")
    print(f"vocab_size = {build_for(Path(sys.argv[1]), Path(sys.argv[2]))}")
