"""Published benchmarks as their files come: a line in somebody else's format becomes a question in ours.

| format | fields | judged by |
|---|---|---|
| AIME, AMC, MATH-500, MATH | problem, answer | the same value (`verify.math`) |
| GSM8K | question, answer with `#### 72` | the same number |
| SVAMP | Body, Question, Answer | the same number |
| MAWPS | input, target | the same number |
| AQuA | question, options, correct | the letter |
| MMLU | question, choices, answer | the letter |
| TinyZero's countdown | nums, target | any expression that comes out right |
| Bamboogle, MuSiQue and other short answers | question, answer | the same words, as SQuAD counts them |

Questions of mathematics ask for the answer in a box, as DeepSeek-R1 was examined (arXiv 2501.12948, appendix).
`dataset.py` reads the file and turns seeds into questions. Not covered: images, several right answers, code.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
LETTER = "Answer with the letter of the right choice alone."
SHORT = "Answer with as few words as possible."
EXPRESSION = (
    "Using the numbers {numbers}, create an expression that equals {target}. You can use +, -, * and /, and every "
    "number exactly once. Answer with the expression alone."
)
LETTERS = string.ascii_uppercase
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_CHOICE = re.compile(r"\(?([A-Z])\)?(?:[.:)].*)?", re.DOTALL)
_MARKED = re.compile(r"([A-Z])\s*[).:]\s*(.*)", re.DOTALL)

Question = tuple[str, str, str]  # the prompt, the answer, the check


def question(record: Mapping[str, Any]) -> Question | None:
    """What is asked, the right answer and how answers are compared; None for a format that is none of these.

    >>> question({"question": "How many?", "answer": "Six and six.\\n#### 1,200"})[1:]
    ('1,200', 'numeric')
    """
    text = {name: value.strip() for name, value in record.items() if isinstance(value, str)}
    if {"problem", "answer"} <= text.keys():
        return f"{text['problem']}\n{BOXED}", text["answer"], "math"
    if isinstance(record.get("options"), list) and {"question", "correct"} <= text.keys():
        return _choice(text["question"], record["options"], text["correct"])
    if isinstance(record.get("choices"), list) and "question" in text:
        return _choice(text["question"], record["choices"], record.get("answer"))
    if {"question", "answer"} <= text.keys():
        worked, mark, last = text["answer"].rpartition("####")
        if mark and worked:
            return f"{text['question']}\n{BOXED}", last.strip(), "numeric"
        return f"{text['question']}\n{SHORT}", text["answer"], "words"
    if {"Body", "Question"} <= text.keys() and _is_number(record.get("Answer")):
        return f"{text['Body']} {text['Question']}\n{BOXED}", _plain(record["Answer"]), "numeric"
    if "input" in text and _is_number(record.get("target")):
        return f"{text['input']}\n{BOXED}", _plain(record["target"]), "numeric"
    numbers, target = record.get("nums"), record.get("target")
    if isinstance(numbers, list) and numbers and all(type(n) is int for n in [*numbers, target]):
        listed = ", ".join(map(str, numbers))
        return EXPRESSION.format(numbers=listed, target=target), f"{target} from {listed}", "expression"
    return None


def same_letter(answer: str, expected: str) -> bool:
    """A single letter, alone or as `(B)`, `B)` or `B: the text`, in a box or not."""
    from denken.tasks.verify.math import final

    found = _CHOICE.fullmatch(final(answer))
    return found is not None and found[1] == expected


def same_words(answer: str, expected: str) -> bool:
    """The same words but for case, punctuation and articles (SQuAD's exact match, Rajpurkar et al. 2016)."""
    return bool(_words(answer)) and _words(answer) == _words(expected)


def comes_out_right(answer: str, expected: str) -> bool:
    """An expression over exactly the numbers of `98 from 44, 19, 35` that equals the first."""
    from denken.tasks.verify.arithmetic import NotArithmetic, evaluate, uses_each_once

    target, _, listed = expected.partition(" from ")
    try:
        return uses_each_once(answer, [int(number) for number in listed.split(", ")]) and evaluate(answer) == int(
            target
        )
    except NotArithmetic:
        return False


def _choice(asked: str, choices: Sequence[Any], right: object) -> Question | None:
    """right: a letter, or the place of the right choice, from 0."""
    letters = LETTERS[: len(choices)]
    if type(right) is int and 0 <= right < len(letters):
        right = letters[right]
    if not 2 <= len(choices) <= len(LETTERS) or not isinstance(right, str) or len(right) != 1 or right not in letters:
        return None
    lines = []
    for letter, choice in zip(LETTERS, choices, strict=False):
        marked = _MARKED.fullmatch(str(choice))
        lines.append(f"{letter}) {marked[2] if marked and marked[1] == letter else choice}")
    return "\n".join([asked, *lines, LETTER]), right, "choice"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _plain(number: float) -> str:
    return str(int(number)) if float(number).is_integer() else str(number)


def _words(text: str) -> list[str]:
    bare = "".join(character for character in text.lower() if character not in string.punctuation)
    return _ARTICLES.sub(" ", bare).split()
