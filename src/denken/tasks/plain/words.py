"""Letters, spelling and the order of words."""

from __future__ import annotations

from random import Random

from denken.tasks.plain.question import Question, listed
from denken.tasks.words import ENGLISH, GERMAN


def _word(rng: Random, german: bool) -> str:
    """A word of the language, or a string of letters that is none: spelling must not depend on knowing the word.

    Some strings repeat a few letters over and over, and some are long: that is where copying goes wrong.
    """
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(GERMAN if german else ENGLISH)
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    if kind < 0.7:
        alphabet = "".join(rng.sample(alphabet, rng.randint(2, 5)))
    word = "".join(rng.choice(alphabet) for _ in range(rng.randint(3, rng.choice((10, 10, 16)))))
    return word.capitalize() if rng.random() < 0.2 else word


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


def length(rng: Random, german: bool) -> Question:
    """How many letters a word has."""
    word = _word(rng, german)
    shown = rng.choice(("{}", '"{}"', "'{}'")).format(word)
    texts = (
        ["Wie viele Buchstaben hat {}?", "Wie viele Buchstaben hat das Wort {}?", "Wie lang ist das Wort {}?"]
        if german
        else ["How many letters are in {}?", "How many letters does {} have?", "How long is the word {}?"]
    )
    return Question("word_length", rng.choice(texts).format(shown), str(len(word)), {"word": word})


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
        rng.choice(texts).format(listed(words)),
        listed(ordered),
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
        "word_sequence_reversal", rng.choice(texts).format(listed(words)), listed(words[::-1]), {"words": words}
    )
