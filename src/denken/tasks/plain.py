"""Questions in ordinary words, English and German, over the skills that the data sets train.

A data set asks in one fixed wording; people do not. `PlainTask(kind)` asks the same thing as they would ("Was ist 17
mal 23?", "How many r are in strawberry?") and is answered by the same trace writers. Answers are as short as the
question allows: the number, the word, the list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from denken.errors import UnknownNameError
from denken.tasks.base import Demonstration
from denken.tasks.traces import WRITERS
from denken.tasks.traces.division import DIGITS
from denken.tasks.traces.legs import ANIMALS, LEGS
from denken.tasks.words import ENGLISH, GERMAN
from denken.types import Problem, Score


class Question(NamedTuple):
    """A question before it becomes a problem: `skill` names the trace writer, `metadata` is what that writer reads."""

    skill: str
    prompt: str
    answer: str
    metadata: Mapping[str, Any]


SUM_EN = [
    "What is {}?",
    "What's {}?",
    "Calculate {}.",
    "Compute {}",
    "{}",
    "{} =",
    "{} = ?",
    "How much is {}?",
    "Please work out {}.",
    "Can you tell me what {} is?",
    "what is {}",
    "Solve {}",
    "Tell me the result of {}.",
]
SUM_DE = [
    "Was ist {}?",
    "Wie viel ist {}?",
    "Was ergibt {}?",
    "Berechne {}.",
    "Rechne {} aus.",
    "Wieviel ergibt {}?",
    "Bitte berechne {}.",
    "Kannst du {} ausrechnen?",
    "was ist {}",
    "Wie viel macht {}?",
    "Was kommt bei {} heraus?",
    "Rechne bitte {} aus.",
]
SIGNS_EN = {
    "+": [" + ", "+", " plus "],
    "-": [" - ", "-", " minus "],
    "*": [" * ", "*", " times ", " x ", " × ", " multiplied by "],
    "/": [" / ", "/", " divided by ", " ÷ ", " : "],
}
SIGNS_DE = {
    "+": [" + ", "+", " plus "],
    "-": [" - ", "-", " minus ", " weniger "],
    "*": [" * ", "*", " mal ", " x ", " · ", " × "],
    "/": [" / ", "/", " geteilt durch ", " durch ", " : "],
}


def _number(rng: Random, digits: int) -> int:
    """A number of one to `digits` digits, every length as likely."""
    length = rng.randint(1, digits)
    return rng.randint(0 if length == 1 else 10 ** (length - 1), 10**length - 1)


def _sum_question(rng: Random, german: bool, terms: Sequence[int], operators: Sequence[str]) -> str:
    signs = SIGNS_DE if german else SIGNS_EN
    style = rng.randrange(7)
    text = str(terms[0])
    for operator, term in zip(operators, terms[1:], strict=True):
        choices = signs[operator]
        text += choices[style % len(choices)] + str(term)
    return rng.choice(SUM_DE if german else SUM_EN).format(text)


def sums(rng: Random, german: bool) -> Question:
    """Two to five terms with plus and minus."""
    count = rng.choice((2, 2, 2, 3, 4, 5))
    terms = [_number(rng, 4) for _ in range(count)]
    operators = [rng.choice("+-") for _ in terms[1:]]
    expression = " ".join([str(terms[0]), *(f"{o} {t}" for o, t in zip(operators, terms[1:], strict=True))])
    value = terms[0] + sum(t if o == "+" else -t for o, t in zip(operators, terms[1:], strict=True))
    return Question("chain_sum", _sum_question(rng, german, terms, operators), str(value), {"expression": expression})


def products(rng: Random, german: bool) -> Question:
    """Two factors."""
    terms = [_number(rng, 3), _number(rng, 3)]
    prompt = _sum_question(rng, german, terms, ["*"])
    return Question("products", prompt, str(terms[0] * terms[1]), {"expression": f"{terms[0]} * {terms[1]}"})


def division(rng: Random, german: bool) -> Question:
    """A quotient, exact in most questions, else with its remainder."""
    divisor = rng.randint(1, 12) if rng.random() < 0.6 else rng.randint(1, 99)
    quotient = _number(rng, 3)
    remainder = 0 if rng.random() < 0.7 else rng.randrange(divisor)
    dividend = divisor * quotient + remainder
    answer = f"{quotient} {'Rest' if german else 'remainder'} {remainder}" if remainder else str(quotient)
    prompt = _sum_question(rng, german, [dividend, divisor], ["/"])
    return Question("division", prompt, answer, {"dividend": dividend, "divisor": divisor})


def expressions(rng: Random, german: bool) -> Question:
    """Three or four small numbers, products before sums, sometimes a bracket."""
    terms = [_number(rng, 2) for _ in range(rng.choice((3, 3, 4)))]
    operators = [rng.choice("+-*") for _ in terms[1:]]
    if len(set(operators)) == 1 and operators[0] != "-":
        operators[0] = "*" if operators[0] == "+" else "+"
    parts = [str(terms[0])]
    for operator, term in zip(operators, terms[1:], strict=True):
        parts += [operator, str(term)]
    if rng.random() < 0.4:
        start = 2 * rng.randrange(len(terms) - 1)
        parts = [*parts[:start], "(", *parts[start : start + 3], ")", *parts[start + 3 :]]
    gap = rng.choice(("", " "))
    shown = gap.join(parts).replace("( ", "(").replace(" )", ")")
    expression = " ".join(parts)
    value = _value(parts)
    prompt = rng.choice(SUM_DE if german else SUM_EN).format(shown)
    return Question("basic_arithmetic", prompt, str(value), {"expression": expression})


def _value(parts: Sequence[str]) -> int:
    """The value of whole numbers, + - * and one level of brackets, given as a list of symbols."""
    if "(" in parts:
        opening, closing = parts.index("("), parts.index(")")
        return _value([*parts[:opening], str(_value(parts[opening + 1 : closing])), *parts[closing + 1 :]])
    total, sign, product = 0, 1, int(parts[0])
    for operator, term in zip(parts[1::2], parts[2::2], strict=True):
        if operator == "*":
            product *= int(term)
        else:
            total, sign, product = total + sign * product, 1 if operator == "+" else -1, int(term)
    return total + sign * product


def divisors(rng: Random, german: bool) -> Question:
    """Greatest common divisor or least common multiple of two numbers."""
    if rng.random() < 0.5:
        skill, a, b = "gcd", rng.randint(1, 1000), rng.randint(1, 1000)
        value = math.gcd(a, b)
        texts = (
            [
                "Was ist der größte gemeinsame Teiler von {} und {}?",
                "ggT von {} und {}",
                "ggT({}, {})",
                "Bestimme den ggT von {} und {}.",
            ]
            if german
            else [
                "What is the greatest common divisor of {} and {}?",
                "gcd of {} and {}",
                "gcd({}, {})",
                "Find the GCD of {} and {}.",
            ]
        )
    else:
        skill, a, b = "lcm", rng.randint(1, 100), rng.randint(1, 100)
        value = math.lcm(a, b)
        texts = (
            [
                "Was ist das kleinste gemeinsame Vielfache von {} und {}?",
                "kgV von {} und {}",
                "kgV({}, {})",
                "Bestimme das kgV von {} und {}.",
            ]
            if german
            else [
                "What is the least common multiple of {} and {}?",
                "lcm of {} and {}",
                "lcm({}, {})",
                "Find the LCM of {} and {}.",
            ]
        )
    return Question(skill, rng.choice(texts).format(a, b), str(value), {"numbers": [a, b]})


def bases(rng: Random, german: bool) -> Question:
    """To and from binary, hexadecimal and other bases."""
    value = rng.randint(0, 1000)
    source, target = rng.choice(
        ((10, 2), (10, 2), (2, 10), (2, 10), (10, 16), (16, 10), (10, 8), (8, 10), (2, 16), (16, 2))
    )
    shown = in_base(value, source)
    names = (
        {2: "binär", 8: "oktal", 10: "dezimal", 16: "hexadezimal"}
        if german
        else {2: "binary", 8: "octal", 10: "decimal", 16: "hexadecimal"}
    )
    of, to = names[source], names[target]
    if source == 10:
        texts = (
            ["Wandle {n} in {to} um.", "Was ist {n} in {to}?", "Schreibe {n} {to}.", "{n} in {to}"]
            if german
            else ["Convert {n} to {to}.", "What is {n} in {to}?", "Write {n} in {to}.", "{n} to {to}"]
        )
    else:
        texts = (
            ["Wandle {n} von {of} in {to} um.", "Was ist {of} {n} in {to}?", "{of} {n} in {to}"]
            if german
            else ["Convert {n} from {of} to {to}.", "What is {of} {n} in {to}?", "{of} {n} to {to}"]
        )
    metadata = {
        "source_base": source,
        "target_base": target,
        "source_repr": shown,
        "target_repr": in_base(value, target),
    }
    return Question(
        "base_conversion", rng.choice(texts).format(n=shown, of=of, to=to), in_base(value, target), metadata
    )


def in_base(value: int, base: int) -> str:
    """The digits of a whole number >= 0 in a base from 2 to 36, letters for digits above 9."""
    digits = ""
    while value:
        value, digit = divmod(value, base)
        digits = DIGITS[digit] + digits
    return digits or "0"


def primes(rng: Random, german: bool) -> Question:
    """The prime factors of a number."""
    number, factors, left = rng.randint(2, 1000), [], 0
    left, divisor = number, 2
    while left > 1:
        while left % divisor:
            divisor += 1
        factors.append(divisor)
        left //= divisor
    texts = (
        ["Zerlege {} in Primfaktoren.", "Was sind die Primfaktoren von {}?", "Primfaktorzerlegung von {}"]
        if german
        else ["What are the prime factors of {}?", "Factor {} into primes.", "Prime factorization of {}"]
    )
    return Question(
        "prime_factorization", rng.choice(texts).format(number), " × ".join(map(str, factors)), {"number": number}
    )


def _word(rng: Random, german: bool) -> str:
    """A word of the language, or a string of letters that is none: spelling must not depend on knowing the word."""
    if rng.random() < 0.5:
        return rng.choice(GERMAN if german else ENGLISH)
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 10)))


def letters(rng: Random, german: bool) -> Question:
    """How often a letter is in a word or a few words."""
    words = [_word(rng, german) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
    text = " ".join(words)
    letter = (
        rng.choice([c for c in text.lower() if c.isascii() and c.isalpha()])
        if rng.random() < 0.85
        else rng.choice("aeinrst")
    )
    quote = rng.choice(('"', "'", ""))
    shown = f"{quote}{text}{quote}"
    texts = (
        [
            "Wie viele {c} hat {w}?",
            "Wie oft kommt der Buchstabe {c} in {w} vor?",
            "Wie viele {c} sind in {w}?",
            'Zähle den Buchstaben "{c}" in {w}.',
            'Wie oft kommt "{c}" in {w} vor?',
        ]
        if german
        else [
            "How many {c} are in {w}?",
            "How many {c}'s are in {w}?",
            "How often does the letter {c} appear in {w}?",
            'Count the letter "{c}" in {w}.',
            'How many times does "{c}" occur in {w}?',
            "How many {c}s in {w}?",
        ]
    )
    metadata = {"target_letter": letter, "span": words}
    return Question(
        "letter_counting", rng.choice(texts).format(c=letter, w=shown), str(text.lower().count(letter)), metadata
    )


def backward(rng: Random, german: bool) -> Question:
    """A word from its end to its beginning."""
    word = _word(rng, german)
    shown = rng.choice(("{}", '"{}"', "'{}'")).format(word)
    texts = (
        [
            "Schreibe {} rückwärts.",
            "Buchstabiere {} rückwärts.",
            "Wie lautet {} rückwärts?",
            "Was ist {} rückwärts?",
            "Dreh das Wort {} um.",
        ]
        if german
        else [
            "Spell {} backwards.",
            "Write {} backwards.",
            "Reverse the word {}.",
            "What is {} spelled backward?",
            "Spell this word backward: {}",
        ]
    )
    return Question("spell_backward", rng.choice(texts).format(shown), word[::-1], {"word": word})


def order_numbers(rng: Random, german: bool) -> Question:
    """Three to eight whole numbers, upwards unless asked otherwise."""
    low = rng.choice((0, 0, -100))
    count, descending = rng.randint(3, 8), rng.random() < 0.3
    numbers = [rng.randint(low, rng.choice((20, 100, 999))) for _ in range(count)]
    ordered = sorted(numbers, reverse=descending)
    if german:
        texts = (
            ["Sortiere absteigend: {}", "Sortiere diese Zahlen von groß nach klein: {}"]
            if descending
            else [
                "Sortiere: {}",
                "Sortiere diese Zahlen: {}",
                "Ordne diese Zahlen von klein nach groß: {}",
                "Sortiere aufsteigend: {}",
            ]
        )
    else:
        texts = (
            ["Sort in descending order: {}", "Sort these numbers from largest to smallest: {}"]
            if descending
            else [
                "Sort: {}",
                "Sort these numbers: {}",
                "Put these numbers in order: {}",
                "Sort from smallest to largest: {}",
            ]
        )
    metadata = {"original_numbers": list(map(str, numbers)), "direction": "descending" if descending else "ascending"}
    return Question("number_sorting", rng.choice(texts).format(_listed(numbers)), _listed(ordered), metadata)


def order_words(rng: Random, german: bool) -> Question:
    """Three to seven words in the order of the alphabet (of their characters' codes)."""
    words = rng.sample(GERMAN if german else ENGLISH, rng.randint(3, 7))
    ordered = sorted(words)
    texts = (
        [
            "Sortiere alphabetisch: {}",
            "Ordne diese Wörter nach dem Alphabet: {}",
            "Bringe diese Wörter in alphabetische Reihenfolge: {}",
        ]
        if german
        else ["Sort alphabetically: {}", "Sort these words: {}", "Put these words in alphabetical order: {}"]
    )
    return Question(
        "word_sorting",
        rng.choice(texts).format(_listed(words)),
        _listed(ordered),
        {"transformed_words": words, "sorted_words": ordered},
    )


def reverse_words(rng: Random, german: bool) -> Question:
    """A list of words from its end."""
    words = [_word(rng, german) for _ in range(rng.randint(3, 6))]
    texts = (
        ["Kehre die Reihenfolge dieser Wörter um: {}", "Drehe diese Liste um: {}"]
        if german
        else ["Reverse the order of these words: {}", "Reverse this list: {}"]
    )
    return Question(
        "word_sequence_reversal", rng.choice(texts).format(_listed(words)), _listed(words[::-1]), {"words": words}
    )


def legs(rng: Random, german: bool) -> Question:
    """How many legs a few animals have together."""
    chosen = rng.sample(sorted(ANIMALS), rng.choice((1, 2, 2, 3)))
    counts, shown = {}, []
    for name in chosen:
        count = rng.randint(1, 15)
        singular, plural, _ = ANIMALS[name]
        used = (singular if count == 1 else plural) if german else name
        counts[used] = count
        shown.append(f"{count} {used if german or count == 1 else name + 's'}")
    joined = f" {'und' if german else 'and'} ".join([", ".join(shown[:-1]), shown[-1]] if shown[1:] else shown)
    text = rng.choice(
        ["Wie viele Beine haben {}?", "Wie viele Beine haben {} zusammen?"]
        if german
        else ["How many legs do {} have?", "How many legs do {} have in total?"]
    )
    total = sum(count * LEGS[name] for name, count in counts.items())
    return Question("leg_counting", text.format(joined), str(total), {"animals": counts})


def _listed(items: Sequence[object]) -> str:
    return ", ".join(map(str, items))


KINDS: dict[str, Callable[[Random, bool], Question]] = {
    "sums": sums, "products": products, "division": division, "expressions": expressions, "divisors": divisors,
    "bases": bases, "primes": primes, "letters": letters, "backward": backward, "order_numbers": order_numbers,
    "order_words": order_words, "reverse_words": reverse_words, "legs": legs,
}  # fmt: skip


class PlainTask:
    """Ordinary questions of one kind; half of them in German."""

    def __init__(self, kind: str) -> None:
        if kind not in KINDS:
            raise UnknownNameError(f"There are no plain questions of kind {kind!r}; choose one of {', '.join(KINDS)}.")
        self.kind = kind

    @property
    def name(self) -> str:
        return f"plain:{self.kind}"

    def problem(self, seed: int) -> Problem:
        """The question of this seed."""
        rng = Random(f"{self.name}:{seed}")
        question = KINDS[self.kind](rng, rng.random() < 0.5)
        metadata = {**question.metadata, "skill": question.skill}
        return Problem(self.name, question.prompt, question.answer, seed, metadata)

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for the expected words and numbers; blanks and a full stop do not count, a wrong order does."""
        correct = float(_plain(answer) == _plain(problem.answer))
        return Score(correct, {"correct": correct})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """The thought of the data set whose skill the question needs."""
        return WRITERS[problem.metadata["skill"]](problem)


def _plain(text: str) -> str:
    return "".join(text.split()).rstrip(".") if len(text) < 10_000 else ""
