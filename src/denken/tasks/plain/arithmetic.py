"""Sums, products, quotients and small expressions, in signs and in words."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from denken.tasks.plain.question import Question

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


PAIR_EN = {
    "+": ["Add {} and {}.", "What is the sum of {} and {}?", "{} and {} together?", "Add {} to {}."],
    "-": ["What is the difference of {} and {}?", "Take {1} away from {0}.", "Subtract {1} from {0}."],
    "*": ["Multiply {} by {}.", "What is the product of {} and {}?", "Multiply {} and {}."],
    "/": ["Divide {} by {}.", "What is {} over {}?"],
}


PAIR_DE = {
    "+": ["Addiere {} und {}.", "Was ist die Summe von {} und {}?", "Zähle {} und {} zusammen."],
    "-": ["Was ist die Differenz von {} und {}?", "Ziehe {1} von {0} ab.", "Subtrahiere {1} von {0}."],
    "*": ["Multipliziere {} mit {}.", "Was ist das Produkt von {} und {}?", "Nimm {} mal {}."],
    "/": ["Teile {} durch {}.", "Dividiere {} durch {}."],
}


def _number(rng: Random, digits: int) -> int:
    """A number of one to `digits` digits, every length as likely."""
    length = rng.randint(1, digits)
    return rng.randint(0 if length == 1 else 10 ** (length - 1), 10**length - 1)


def _sum_question(rng: Random, german: bool, terms: Sequence[int], operators: Sequence[str]) -> str:
    if len(operators) == 1 and rng.random() < 0.2:
        return rng.choice((PAIR_DE if german else PAIR_EN)[operators[0]]).format(*terms)
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
