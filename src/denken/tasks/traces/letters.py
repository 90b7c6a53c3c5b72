"""Thoughts about letters and the order of words: what has to be counted or turned round is spelled out first."""

from __future__ import annotations

from collections import Counter
from string import ascii_lowercase

from denken.tasks.base import Demonstration
from denken.types import Problem


def letter_counting(problem: Problem) -> Demonstration:
    """The text again, with the running count after every match (capitals match as well).

    A slash stands for every blank: a word behind a blank may be one token, whose letters do not stand in sight.
    """
    letter, count, out = problem.metadata["target_letter"].lower(), 0, []
    for character in "/".join(problem.metadata["span"]):
        out.append(character)
        if character.lower() == letter:
            count += 1
            out.append(str(count))
    return Demonstration("".join(out), problem.answer)


def spell_backward(problem: Problem) -> Demonstration:
    """Every letter with its number, then from the last number down."""
    word = problem.metadata["word"]
    forward = "".join(f"{letter}{i}" for i, letter in enumerate(word, 1))
    backward = "".join(f"{i}{letter}" for i, letter in reversed(list(enumerate(word, 1))))
    return Demonstration(f"{forward}\n{backward}", problem.answer)


def word_length(problem: Problem) -> Demonstration:
    """Every letter with its number; the last number is the answer."""
    word = problem.metadata["word"]
    return Demonstration("".join(f"{letter}{i}" for i, letter in enumerate(word, 1)), problem.answer)


def word_sequence_reversal(problem: Problem) -> Demonstration:
    """The words, numbered."""
    words = problem.metadata["words"]
    return Demonstration("\n".join(f"{i} {word}" for i, word in enumerate(words, 1)), problem.answer)


_AT_A_GLANCE = 20  # how many letters can be turned round without losing one's place


def palindrome_generation(problem: Problem) -> Demonstration:
    """Every letter with how often it has come so far; those that complete a pair make the left half, in that order.

    Of many letters the left half is in the order of the alphabet, so that it can be written backwards without losing
    one's place: how often each letter comes, from a to z, half of them written out and `!` behind an odd one; and then
    `half|middle`. Of `a4`, `b0`, `c3` that is `a4aa,b0,c3c!` and `aac|c`.
    """
    counts, marks, half = Counter[str](), [], ""
    for letter in problem.metadata["letters"]:
        counts[letter] += 1
        marks.append(f"{letter}{counts[letter]}")
        half += letter if counts[letter] % 2 == 0 else ""
    middle = "".join(letter for letter, count in counts.items() if count % 2)
    lines = ["".join(marks)]
    if sum(counts.values()) > _AT_A_GLANCE:
        lines.append(",".join(_halved(letter, counts[letter]) for letter in ascii_lowercase))
        half = "".join(sorted(half))
    return Demonstration("\n".join([*lines, f"{half}|{middle}"]), half + middle + half[::-1])


def _halved(letter: str, count: int) -> str:
    return f"{letter}{count}{letter * (count // 2)}{'!' if count % 2 else ''}"


def isomorphic_strings(problem: Problem) -> Demonstration:
    """Letter by letter what becomes what; a letter met before recalls its pair, and another pair ends it with `!`."""
    forward: dict[str, str] = {}
    backward: dict[str, str] = {}
    pairs = []
    for left, right in zip(*problem.metadata["words"], strict=True):
        earlier = forward.get(left, right), backward.get(right, left)
        recalled = (
            f"({left}>{earlier[0]})" if left in forward else f"({earlier[1]}>{right})" if right in backward else ""
        )
        contradicts = earlier != (right, left)
        pairs.append(f"{left}>{right}{recalled}{'!' if contradicts else ''}")
        if contradicts:
            break
        forward[left], backward[right] = right, left
    return Demonstration(",".join(pairs), problem.answer)


def letter_jumble(problem: Problem) -> Demonstration:
    """Every jumbled word, its letters in order, and the word that has these letters.

    The last step is the one thing that a model has to know. The words are those of one text, in its order, some 2,300
    different ones: the letters in order are always the same for a word, and the words before it tell anagrams apart.

        eth eht the
        ortcePj cejoprt Project
    """
    jumbled, words = problem.metadata["scrambled_words"], problem.metadata["original_words"]
    lines = [f"{mixed} {''.join(sorted(mixed.lower()))} {word}" for mixed, word in zip(jumbled, words, strict=True)]
    return Demonstration("\n".join(lines), " ".join(words))
