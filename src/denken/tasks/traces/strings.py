"""Thoughts about strings letter by letter: ciphers, hidden sentences, letters cut out of a magazine, bits, formats.

What is copied from the question carries its count or its translation right beside it, so that each place is found
from the letters before it and nothing is counted in the head.
"""

from __future__ import annotations

import json
from collections import Counter

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add, relation
from denken.types import Problem

_FIRST_CHARACTERS = 8
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def _next_letter(letter: str, steps: int = 1) -> str:
    return _ALPHABET[(_ALPHABET.index(letter) + steps) % 26] if letter in _ALPHABET else letter


def caesar_cipher(problem: Problem) -> Demonstration:
    """The first letters moved on by one again and again until they are English; the alphabet; every letter's pair.

        QEB ZXQ          (THE CAT)
        RFC AYR
        SGD BZS
        THE CAT
        QT RU SV ...     the alphabet from the first letter on: Q becomes T
        QTEHBE ZCXAQT

    That a row is English is the one thing here that has to be known; but for the library's one word with an accent
    (AËRIAL), whose cipher is that of another letter.
    """
    cipher, steps = problem.metadata["cipher_text"], 26 - problem.metadata["rotation"]
    start = cipher[:_FIRST_CHARACTERS]
    rows = ["".join(_next_letter(c, i) for c in start) for i in range(steps + 1)]
    alphabet = [_next_letter(cipher[0], i) for i in range(26)]
    table = " ".join(letter + _next_letter(letter, steps) for letter in alphabet)
    pairs = "".join(c if c == " " else c + clear for c, clear in zip(cipher, problem.answer, strict=True))
    return Demonstration("\n".join([*rows, table, pairs]), problem.answer)


def emoji_mystery(problem: Problem) -> Demonstration:
    """The sentence with `|` for every space, which keeps its letters apart: `He|was|there.`

    Each hidden character stands for one byte, so that a letter (a table to be known) is written for each.
    """
    return Demonstration(problem.answer.replace(" ", "|"), problem.answer)


def binary_alternation(problem: Problem) -> Demonstration:
    """The bits in pairs, each with how often that pair has come so far; then the counts, and what follows from them.

        001,011,111,101,112,002,1    a last bit without a partner stands alone
        00:2 01:1 10:1 11:2 1
        2=2 1                        as many 00 as 11: the excess is the last bit's, so 1 has to be first
        01:1 11:2                    each 01 is wrong in both places, each 11 (or 00, if more) in one with its opposite
        1+2=3

    The excess of 1 is twice (11 - 00) and the last bit's. Without one the line says `2=2 =`, another which of 01 and
    10 is rarer, `01:4>3:10`, and that one is wrong; with more than one it ends the thought, `2<4 -`.
    """
    bits: str = problem.metadata["string"]
    counts, marks = dict.fromkeys(("00", "01", "10", "11"), 0), []
    for i in range(0, len(bits) - 1, 2):
        pair = bits[i : i + 2]
        counts[pair] += 1
        marks.append(f"{pair}{counts[pair]}")
    last = bits[-1] if len(bits) % 2 else ""
    lines = [",".join([*marks, *last]), " ".join([*(f"{pair}:{n}" for pair, n in counts.items()), *last])]
    zeros, ones = counts["00"], counts["11"]
    excess = 2 * (ones - zeros) + {"": 0, "0": -1, "1": 1}[last]
    if abs(excess) > 1:
        lines.append(f"{relation(zeros, ones)} -")
        return Demonstration("\n".join(lines), problem.answer)
    first = "1" if excess > 0 else "0" if excess < 0 else ""
    wrong = {"1": "01", "0": "10", "": min("01", "10", key=counts.__getitem__)}[first]
    same = "11" if ones >= zeros else "00"
    lines.append(f"{relation(zeros, ones)} {first or '='}")
    if not first:
        lines.append(f"01:{relation(counts['01'], counts['10'])}:10")
    lines += [
        f"{wrong}:{counts[wrong]} {same}:{counts[same]}",
        add(counts[wrong], counts[same]).text,
    ]
    return Demonstration("\n".join(lines), problem.answer)


def ransom_note(problem: Problem) -> Demonstration:
    """The note with how often each letter is needed so far; the magazine with how often it is still needed after that.

        a1b1a2           needs two a and one b
        caa1bba0         a letter that is not needed, or no longer, has no number
        a0b0             what is still needed of each letter

    For the note `aba` and the magazine `cbaab` that is `a1b1a2`, `cb0a1a0b`, `a0b0`.
    """
    needed = Counter[str]()
    note, magazine = [], []
    for letter in problem.metadata["ransom_note"]:
        needed[letter] += 1
        note.append(f"{letter}{needed[letter]}")
    for letter in problem.metadata["magazine"]:
        wanted = needed[letter] > 0
        needed[letter] -= wanted
        magazine.append(f"{letter}{needed[letter]}" if wanted else letter)
    left = [f"{letter}{needed[letter]}" for letter in dict.fromkeys(problem.metadata["ransom_note"])]
    return Demonstration("\n".join(map("".join, (note, magazine, left))), problem.answer)


def count_bits(problem: Problem) -> Demonstration:
    """Halved again and again as in a change of base, with the running count of remainders of 1.

    6/2=3r0
    3/2=1r1,1
    1/2=0r1,2
    """
    left, count, lines = problem.metadata["number"], 0, []
    while left:
        count += left % 2
        lines.append(f"{left}/2={left // 2}r{left % 2}{f',{count}' if left % 2 else ''}")
        left //= 2
    return Demonstration("\n".join(lines), problem.answer)


def group_anagrams(problem: Problem) -> Demonstration:
    """Every word with its letters in order and the number of its group: that of the same letters before, or a new one.

    tea aet1
    tan ant2
    eat aet1
    """
    groups: dict[str, list[str]] = {}
    lines = []
    for word in problem.metadata["words"]:
        letters = "".join(sorted(word))
        groups.setdefault(letters, []).append(word)
        lines.append(f"{word} {letters}{list(groups).index(letters) + 1}")
    return Demonstration("\n".join(lines), json.dumps(list(groups.values())))


_FEW_CANDIDATES = 8


def number_format(problem: Problem) -> Demonstration:
    """The candidates written plainly to three decimals, each with `!` if it is the best so far.

        largest
        1 52 33 1523.000!      1.523000000000000e+03, the digits after the point counted up to the exponent
        1523.412!              1,523.412
        1522.900               1522.900000

    Of more than a few candidates only those are written that are the best so far. All after the third decimal is left
    out, which the judge does not look at.
    """
    size, candidates = problem.metadata["size"], problem.metadata["formatted_candidates"]
    lines, best, best_text = [size], 0.0, ""
    for candidate in candidates:
        text = _plain(candidate)
        value = float(text)
        better = not best_text or (value > best if size == "largest" else value < best)
        if better:
            best, best_text = value, text
        if better or len(candidates) <= _FEW_CANDIDATES:
            counted = _counted(candidate) if len(candidates) <= _FEW_CANDIDATES else ""
            lines.append(f"{counted}{text}{'!' if better else ''}")
    return Demonstration("\n".join(lines), best_text)


def _plain(number: str) -> str:
    """The number without commas or exponent, cut to three decimals."""
    mantissa, _, exponent = number.replace(",", "").partition("e")
    whole, _, decimals = mantissa.partition(".")
    shift = int(exponent or 0)
    digits = decimals.ljust(shift + 3, "0")
    return f"{whole}{digits[:shift]}.{digits[shift : shift + 3]}"


def _counted(number: str) -> str:
    """For a number with an exponent: the digit before the point, and those after it with their numbers up to that."""
    if "e" not in number:
        return ""
    mantissa, _, exponent = number.partition("e")
    whole, _, decimals = mantissa.partition(".")
    return " ".join([whole, *(f"{d}{i}" for i, d in enumerate(decimals[: int(exponent)], 1))]) + " "
