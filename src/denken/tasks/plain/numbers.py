"""Divisors, primes, bases, the order of numbers, and legs."""

from __future__ import annotations

import math
from random import Random

from denken.tasks.plain.question import Question, listed
from denken.tasks.traces.division import DIGITS
from denken.tasks.traces.legs import ANIMALS, LEGS


def divisors(rng: Random, german: bool) -> Question:
    """Greatest common divisor or least common multiple of two numbers."""
    if rng.random() < 0.5:
        skill, a, b = "gcd", rng.randint(1, 1000), rng.randint(1, 1000)
        value = math.gcd(a, b)
        texts = (
            [
                "Was ist der größte gemeinsame Teiler von {} und {}?",
                "Was ist der ggT von {} und {}?",
                "ggT von {} und {}",
                "ggT({}, {})",
                "Bestimme den ggT von {} und {}.",
            ]
            if german
            else [
                "What is the greatest common divisor of {} and {}?",
                "What is the gcd of {} and {}?",
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
                "Was ist das kgV von {} und {}?",
                "kgV von {} und {}",
                "kgV({}, {})",
                "Bestimme das kgV von {} und {}.",
            ]
            if german
            else [
                "What is the least common multiple of {} and {}?",
                "What is the lcm of {} and {}?",
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
    if rng.random() < 0.3:
        names = {**names, 16: "hex"}
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


def primality(rng: Random, german: bool) -> Question:
    """Whether a number is prime."""
    number = rng.randint(2, 1000)
    prime = all(number % divisor for divisor in range(2, number))
    texts = ["Ist {} eine Primzahl?", "Ist {} prim?"] if german else ["Is {} prime?", "Is {} a prime number?"]
    answer = ("Ja" if prime else "Nein") if german else ("Yes" if prime else "No")
    return Question("primality", rng.choice(texts).format(number), answer, {"number": number})


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
                "Sortiere {}",
                "Sortiere die Zahlen {}.",
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
                "Sort {}",
                "Sort the numbers {}.",
                "Sort: {}",
                "Sort these numbers: {}",
                "Put these numbers in order: {}",
                "Sort from smallest to largest: {}",
            ]
        )
    metadata = {"original_numbers": list(map(str, numbers)), "direction": "descending" if descending else "ascending"}
    return Question("number_sorting", rng.choice(texts).format(listed(numbers)), listed(ordered), metadata)


def compare(rng: Random, german: bool) -> Question:
    """The larger or smaller of two numbers, often with decimals of different length, as 9.11 and 9.9."""
    whole = rng.randint(0, 99)
    pair = [f"{whole if rng.random() < 0.7 else rng.randint(0, 99)}" for _ in range(2)]
    if rng.random() < 0.75:
        pair = [f"{n}.{rng.randint(0, 9)}{rng.choice(('', str(rng.randint(1, 9))))}" for n in pair]
    if float(pair[0]) == float(pair[1]):
        pair[1] = str(int(float(pair[0])) + 1)
    larger = rng.random() < 0.6
    ordered = sorted(pair, key=float, reverse=larger)
    comma = german and rng.random() < 0.5
    answer, shown = (ordered[0].replace(".", ","), [n.replace(".", ",") for n in pair]) if comma else (ordered[0], pair)
    if german:
        texts = (
            [
                "Ist {} oder {} größer?",
                "Was ist mehr: {} oder {}?",
                "Was ist größer, {} oder {}?",
                "Welche Zahl ist größer: {} oder {}?",
            ]
            if larger
            else ["Was ist kleiner, {} oder {}?", "Welche Zahl ist kleiner: {} oder {}?"]
        )
    else:
        texts = (
            [
                "Which is bigger, {} or {}?",
                "Is {} or {} larger?",
                "Which is larger, {} or {}?",
                "Which number is bigger, {} or {}?",
                "What is greater: {} or {}?",
            ]
            if larger
            else ["Which is smaller, {} or {}?", "Which number is less, {} or {}?"]
        )
    metadata = {"original_numbers": pair, "direction": "descending" if larger else "ascending"}
    return Question("number_sorting", rng.choice(texts).format(*shown), answer, metadata)


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
