"""Mathematical equality of short answers: is `\\frac{1}{2}` the 0.5 that was asked for?

Values are compared, not spellings: integers, decimals, fractions, mixed numbers, percent, powers of ten, in plain text
or simple LaTeX, and tuples, lists and sets of them. Whatever is no such value is compared as text without spaces and
LaTeX's invisible parts. Everything is read by the small parser below; no answer reaches sympy or Python.

An expression that is still to be computed ("17*23", "2+3") is not a value: otherwise repeating the question would
be a correct answer. What is not covered: roots, symbols and units (equal only when written alike), rounding (0.33 is
not 1/3), and sets of solutions written as text.
"""

from __future__ import annotations

import re
from fractions import Fraction

MAX_CHARACTERS = 2_000
MAX_ITEMS = 200
MAX_DEPTH = 8

# A value is a number, or its brackets and its items; a set is sorted and has each item once.
Value = Fraction | tuple[str, tuple["Value", ...]]

_DIGITS = r"[0-9]{1,200}"
_GROUPED = r"[0-9]{1,3}(?:(?:,|\{,\})[0-9]{3}){1,60}"
_DECIMAL = rf"(?:(?:{_GROUPED}|{_DIGITS})(?:\.[0-9]{{1,200}})?|\.[0-9]{{1,200}})"
_TIMES_TEN = (
    r"(?:[eE](?P<e>[+-]?[0-9]{1,2})|(?:\\times|\\cdot|×|\*)10\^(?:\{(?P<p>[+-]?[0-9]{1,2})\}|(?P<q>[0-9]{1,2})))"
)
_NUMBER = re.compile(
    rf"(?P<sign>[+-]?)(?:(?P<whole>{_DIGITS})?\\frac(?:\{{(?P<a>-?{_DECIMAL})\}}|(?P<a1>[0-9]))"
    rf"(?:\{{(?P<b>-?{_DECIMAL})\}}|(?P<b1>[0-9]))"
    rf"|(?:(?P<mixed>{_DIGITS})_)?(?P<c>{_DECIMAL})/(?P<d>{_DECIMAL})"
    rf"|(?P<n>{_DECIMAL}){_TIMES_TEN}?)(?P<percent>\\?%)?"
)
_NAMED = re.compile(r"\A[A-Za-z]=(?=[^=])")
_BRACKETS = {"(": ")", "[": "]", "{": "}"}
_INVISIBLE = re.compile(r"\\(?:(?:left|right)(?![A-Za-z])|[!,])")


def equal(answer: str, expected: str) -> bool:
    """Whether an answer says what was expected; a boxed answer counts as what its last box holds.

    >>> equal("\\\\boxed{\\\\frac{1}{2}}", "0.5"), equal("(1, 2)", "(2, 1)"), equal("50%", "1/2"), equal("2+3", "5")
    (True, False, True, False)
    """
    answer, expected = (final(text) for text in (answer, expected))
    if not answer or not expected or max(len(answer), len(expected)) > MAX_CHARACTERS:
        return False
    ours, theirs = parse(answer), parse(expected)
    if ours is not None and theirs is not None:
        return ours == theirs
    return ours is None and theirs is None and _visible(answer) == _visible(expected)


def number(text: str) -> Fraction | None:
    """The number that the text is, or None."""
    value = parse(final(text)) if len(text) <= MAX_CHARACTERS else None
    return value if isinstance(value, Fraction) else None


def final(text: str) -> str:
    """What the last `\\boxed{...}` holds; without one, the text, without outer spaces and dollar signs."""
    start = text.rfind("\\boxed{")
    if start >= 0:
        text = _braced(text, start + len("\\boxed"))
    text = text.strip()
    for mark in ("$$", "$"):
        if len(text) > 2 * len(mark) and text.startswith(mark) and text.endswith(mark):
            text = text[len(mark) : -len(mark)].strip()
    return text[:-1].rstrip() if text.endswith(".") and not text.endswith("..") else text


def parse(text: str) -> Value | None:
    """The value of a text, or None where it is no number, tuple, list or set of them."""
    if "_" in text or ";" in text:  # the two marks below, which nobody else may set
        return None
    text = text.replace("−", "-").replace("\\%", "%")
    text = re.sub(r"(?<![0-9}])([+-]?[0-9]{1,200}) +(?=[0-9]{1,200} ?/)", r"\1_", text)  # "1 1/2", a mixed number
    text = re.sub(r"([0-9.])\s+(?=[0-9.])", r"\1;", text)  # digits apart are not one number; ";" is in no number
    return _value(_NAMED.sub("", _visible(text), count=1), 0)


def _value(text: str, depth: int) -> Value | None:
    if depth > MAX_DEPTH or not text:
        return None
    read = _NUMBER.fullmatch(text)
    if read:
        return _number(read)
    if text.startswith("\\{") and text.endswith("\\}"):
        text = "{" + text[2:-2] + "}"
    opened, inner = "", text
    if text[0] in _BRACKETS and _closing(text) == len(text) - 1:
        opened, inner = text[0], text[1:-1]
    parts = _split(inner)
    if len(parts) > MAX_ITEMS or (not opened and len(parts) == 1):
        return None
    items = [_value(part, depth + 1) for part in parts] if inner else []
    values = tuple(item for item in items if item is not None)
    if len(values) < len(items):
        return None
    if opened == "{":
        values = tuple(sorted(set(values), key=repr))
    return values[0] if opened == "(" and len(values) == 1 else (opened, values)


def _number(read: re.Match[str]) -> Fraction | None:
    part = {name: (found or "").replace("{,}", "").replace(",", "") for name, found in read.groupdict().items()}
    if part["n"]:
        value = Fraction(part["n"]) * Fraction(10) ** int(part["e"] or part["p"] or part["q"] or 0)
    else:
        below = Fraction(part["b"] or part["b1"] or part["d"])
        if below == 0:
            return None
        value = Fraction(part["whole"] or part["mixed"] or 0)
        value += Fraction(part["a"] or part["a1"] or part["c"]) / below
    return (-value if part["sign"] == "-" else value) / (100 if part["percent"] else 1)


def _visible(text: str) -> str:
    text = _INVISIBLE.sub("", text.replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac"))
    return "".join(text.split())


def _braced(text: str, start: int) -> str:
    """The inside of the brace at `start`; "" where it is not closed."""
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[start + 1 : at]
    return ""


def _closing(text: str) -> int:
    """Where the bracket that opens the text is closed, or -1."""
    depth = 0
    for at, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0:
            return at if character == _BRACKETS[text[0]] else -1
    return -1


def _split(text: str) -> list[str]:
    """The text at its commas outside brackets; `1,234` without a space around never comes here, it is a number."""
    parts, depth, last = [], 0, 0
    for at, character in enumerate(text):
        depth += (character in "([{") - (character in ")]}")
        if character == "," and depth == 0:
            parts.append(text[last:at])
            last = at + 1
    return [*parts, text[last:]]
