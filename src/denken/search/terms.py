"""What of a text is searched by: its words, without accents and endings, and without those that every text has.

The endings are cut by one short list for German and English together, since nothing says which of them a query is in.
The same is done to documents and to queries, so a cut need not be right, only the same for the forms of one word.
Not covered: compounds ("Hafenzeit" is not found by "Hafen"; `library.py` then looks for words that begin so),
irregular forms ("went"), other languages (whose words are found as they are written).
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_WORD = re.compile(r"[^\W_]+")
_ACCENT = re.compile("[\u0300-\u036f]+")
_FOLDED = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d"})

# Cut where three letters are left, or four.
_ENDINGS = "ungen ung ing edly ed ern em en er es et ies um e s t y"
_WEAK_ENDINGS = "heit keit lich ly n"
# The longest that leaves enough is cut, again and again: "listened" -> "listen" -> "list", as "listen" does.
_LONGEST_FIRST = sorted(
    [(ending, 3) for ending in _ENDINGS.split()] + [(ending, 4) for ending in _WEAK_ENDINGS.split()],
    key=lambda pair: -len(pair[0]),
)

_ENGLISH = """\
a about after all also am an and any are as at be been before but by can could did do does for from get got had has
have he her here him his how i if in into is it its just like made make me more most my no not of on or our out over
please she should so some such tell than that the their them then there these they this those to up us was we were
what when where which while who whom whose why will with would you your
"""
_GERMAN = """\
aber alle allem allen aller alles als also am an auch auf aus bei beim bin bis bist bitte da dann das dass dein deine
dem den denn der des dich die dies diese diesem diesen dieser dieses dir doch dort du durch ein eine einem einen
einer eines er es etwas euch euer fur gab gibt habe haben hat hatte hatten hier ich ihm ihn ihnen ihr ihre ihrem
ihren ihrer im in ins ist ja jede jedem jeden jeder jedes kann kein keine keinem keinen keiner konnen man mehr mein
meine mich mir mit muss nach nicht noch nur ob oder ohne sehr sein seine seinem seinen seiner sich sie sind so soll
uber um und uns unser unter vom von vor wann war waren warum was weil welche welchem welchen welcher welches wem wen
wenn wer werden wessen wie wieso wieviele wird wo wurde wurden zu zum zur
"""
STOP_WORDS = frozenset((_ENGLISH + _GERMAN).split())


def words(text: str) -> list[str]:
    """The words in their order, small and without accents.

    >>> words("Öffnet Café-Bar um 9?")
    ['offnet', 'cafe', 'bar', 'um', '9']
    """
    small = text.casefold()
    if not small.isascii():
        small = _ACCENT.sub("", unicodedata.normalize("NFKD", small.translate(_FOLDED)))
    return _WORD.findall(small)


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """What the forms of a word have in common; of a word of `words`.

    >>> {stem(word) for word in ("offnet", "offnen", "geoffnet", "offnung", "offnungen")}
    {'offn'}
    >>> {stem(word) for word in ("open", "opens", "opened", "opening")}
    {'open'}
    """
    if not word.isascii() or not word.isalpha():
        return word
    if len(word) > 5 and word.startswith("ge") and word.endswith(("t", "en")):  # "geöffnet", "gesprochen"
        word = word[2:]
    while True:
        for ending, least in _LONGEST_FIRST:
            if word.endswith(ending) and len(word) - len(ending) >= least:
                word = word[: -len(ending)]
                break
        else:
            return word


def terms(text: str) -> list[str]:
    """The stems of a text's words that are worth a search, in their order; all of them where none is.

    >>> terms("Wann öffnet der Hafen?")
    ['offn', 'haf']
    """
    found = words(text)
    return [stem(word) for word in found if word not in STOP_WORDS] or [stem(word) for word in found]
