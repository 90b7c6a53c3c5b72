"""Is this text German or English? Told by words, with lists of our own and no model.

The lists hold what a text cannot do without (articles, pronouns, auxiliaries, conjunctions, question words), the words
of working something out ("also", "therefore", "Summe", "carry") and the everyday words of `denken.tasks.words`. They
are meant for thoughts about problems, not for literature.

How a word counts, the first that applies:

1. a single letter is no word, and digits and signs are none: `x`, `7`, `c>d`, `s1t2r3` ("I" and "a" do not count);
2. a word of a list is of that language, a word of both ("Winter", "in") of either;
3. a word with ä, ö, ü or ß is German;
4. a word of another script or with other accents, and a common short word of French, Spanish or Italian, is of
   neither language (each Chinese or Japanese character is one such word);
5. any other word is unknown and does not count: names, made-up words and words to be spelled are of no language.

What is not covered: grammar, sense, and whether text is repeated.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal, get_args

from denken.tasks.words import ENGLISH, GERMAN

Language = Literal["de", "en"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

_ENGLISH = """\
about above add added adding after again all along already also although always am an and another answer any are
as ask at away back be because been before begin being below between big both bracket brackets but by calculate can
cannot carry check close closer come comes compare correct could count counting decimal did differ difference digit
digits divide divided divides division divisor do does doing done double down each easy eight either else end enough
equal equals even every exactly example expression fact factor factors far few fifth find finally first five follows
for found four fourth fraction from get gets give given gives go goes going good got greater guess had half has have
having he hello help hence her here hi him his hmm how however hundred if important impossible in instead into is it
its itself just keep know known large larger largest last later least left length less let letters like line list
little long look made make makes many may maybe me mean means might mine minus more most much multiple multiply must my
need needed needs negative never new next nine no nor not nothing now number numbers odd of off often ok okay on once
one only operation or order other otherwise our out over pair part plus possible power prime problem product put
quotient rather really remainder remaining remains repeat rest result results reverse right root round same say second
see seems seven several she should show shows side since six small smaller smallest so solution solve solved some
something sort sorted spell square start step steps still subtract sum sums sure take takes target ten than that the
their them then there therefore these they thing think third this those though thousand three thus times to together
too total towards tried true try trying turn twice two under unit until up us use used uses using value values very
wait was way we well were what when where whether which while who whole whose why will wish with without word words
work works worth would write wrong yes yet you your zero
alternatively approach around becomes box check clearly compute computed consider continue contains conclude define
easily everything false final finished follow formula got idea indeed longer lower matches method middle missing
multiplied near obtain pattern perhaps question reach reached replace required returns satisfies sequence simply
simplify since start suppose term terms verify
"""

_GERMAN = """\
ab aber acht addieren addiere alle allein allem allen aller alles als also alt am an ander andere anderen anderer
anderes ans antwort auch auf aufgabe aus ausdruck außer bedeutet bei beide beiden beim beispiel berechne berechnen
beste besser bevor bin bis bist bitte bleiben bleibt brauche braucht brauchen bruch buchstabe buchstaben da dabei
dadurch dafür dagegen daher damit danach dann daran darauf daraus darf das dass davon dazu dein deine dem den denke
denken denn der deren des deshalb dessen dich die dies diese diesem diesen dieser dieses differenz dir division doch
dort drei dritte du durch dürfen eben ebenso ein eine einem einen einer eines einfach einmal eins endlich entweder er
ergebnis ergibt erhalte erhalten erst erste ersten erster es etwa etwas euch fast fehlt fertig finde finden folgt
frage fünf für gab ganz ganze geben gegen gehe gehen geht gemacht genau genommen genug gerade gesucht gibt gilt ginge
gleich gleichung groß größe größer größte gut habe haben hallo halb hat hatte hier hin hundert ich ihm ihn ihr ihre
im immer in insgesamt ins ist ja jede jedem jeden jeder jedes jedoch jetzt kann kannst kein keine keinem keinen keiner
klammer klammern klar klein kleiner kleinste komme kommen kommt konnte könnte können lang lange lass lassen leicht
letzte letzten liegt linke links los lösung mache machen macht mal man manchmal mehr mein meine mich mindestens minus
mir mit mitte muss müssen möglich multipliziere nach nacheinander nah nächste nehme nehmen nein nenner neu neun nicht
nichts nie niemals noch nochmal null nun nur nutze ob obwohl oder oft ohne passt paar plus primzahl probe probiere
probieren produkt prüfe prüfen quadrat quotient rechne rechnen rechnung rechte rechts reihe reihenfolge rest richtig
rückwärts sage sagen schon schreibe schreiben schritt schritte sechs sehe sehen sehr sei sein seine seinem seinen
seiner seit selbst setze sich sicher sie sieben sieht sind so sobald solche soll sollte somit sondern sonst sortiere
sortieren statt stehen steht stelle stellen stimmt subtrahiere suche suchen summe tausend teile teilen teiler teilbar
trotzdem übertrag über um umgekehrt und ungefähr ungerade uns unser unter vergleiche versuche versuchen verwende
viel viele vielfaches vielleicht vier vom von vor vorher wahr wann war wäre waren warte warum was weder weg wegen weil
weit weiter welche welchem welchen welcher welches wenig weniger wenn wer werde werden wert werte wie wieder wieviel
will wir wird wirklich wissen wo wobei wohl wollen wort wörter wurde wurden wurzel würde zahl zahlen zähle zählen zehn
zeige zeigen zerlege zeichen ziehe ziehen ziel ziffer ziffern zu zuerst zuletzt zum zur zurück zusammen zwar zwei
zweimal zweite zwischen zähler
falsch addition subtraktion multiplikation schließlich nämlich übrig überprüfe zunächst ansatz bilde ersetze
reicht gerundet dividiere geteilt addiert abgezogen restliche stets ausprobieren
"""

# Short words of other languages, none of which is a word of the lists above.
_ELSEWHERE = """\
le la les une est je nous vous elle ils elles que qui dans pour avec sur pas mais donc deux trois quatre cinq sept huit
neuf dix ce cette sont fait aussi comme nombre nombres somme produit reste égal el los las una uno que con por para
pero como cuando dos tres cuatro cinco siete ocho nueve diez entonces número números suma es está son más il lo gli
della dello che con per ma come quando due tre quattro cinque sette otto nove dieci quindi numero numeri somma è sono
questo più
"""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_CHARACTER_IS_A_WORD = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_INVISIBLE = re.compile("[\u00ad\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_OTHER_LETTER = re.compile("[^a-zäöüß'’]")
_UMLAUT = re.compile("[äöüß]")
# Two spellings of one letter; only these are composed, since composing hostile text in general is slow.
_COMPOSED = {"a\u0308": "ä", "o\u0308": "ö", "u\u0308": "ü", "A\u0308": "Ä", "O\u0308": "Ö", "U\u0308": "Ü"}


def _listed(*texts: str) -> frozenset[str]:
    return frozenset(word.lower() for text in texts for word in text.split())


_WORDS: dict[Language, frozenset[str]] = {
    "de": _listed(_GERMAN, " ".join(GERMAN)),
    "en": _listed(_ENGLISH, " ".join(ENGLISH)),
}
_WORDS_ELSEWHERE = _listed(_ELSEWHERE) - _WORDS["de"] - _WORDS["en"]


def count_words(text: str) -> tuple[int, int, int, int]:
    """How many words are German only, English only, of both, and of neither; unknown words are not counted.

    >>> count_words("Also 3 plus 4, that is 7 und fertig. 所以")
    (2, 2, 2, 2)
    """
    text = _INVISIBLE.sub("", text)
    for pair, letter in _COMPOSED.items():
        text = text.replace(pair, letter)
    german = english = both = neither = 0
    for word, times in Counter(found.lower() for found in _WORD.findall(text)).items():
        if len(word) == 1 and not _CHARACTER_IS_A_WORD.match(word):
            continue
        in_german, in_english = word in _WORDS["de"], _in_english(word)
        if in_german and in_english:
            both += times
        elif in_german:
            german += times
        elif in_english:
            english += times
        elif _OTHER_LETTER.search(word):
            neither += times * (len(_CHARACTER_IS_A_WORD.findall(word)) or 1)
        elif _UMLAUT.search(word):
            german += times
        elif word in _WORDS_ELSEWHERE:
            neither += times
    return german, english, both, neither


def share(text: str, language: Language) -> float:
    """The share of the text's words that are in the language; 1.0 where it has no words that count.

    >>> share("Zuerst 3*4=12, dann 12+5=17.", "de"), share("First 3*4=12, dann 12+5=17.", "de"), share("3*4=12", "de")
    (1.0, 0.5, 1.0)
    """
    german, english, both, neither = count_words(text)
    words = german + english + both + neither
    own = german if language == "de" else english
    return (own + both) / words if words else 1.0


def detect(text: str) -> Language:
    """The language of which the text has more words; English where it has as many of each.

    >>> detect("Was ist 17 mal 23?"), detect("What is 17 times 23?"), detect("17*23")
    ('de', 'en', 'en')
    """
    german, english, *_ = count_words(text)
    return "de" if german > english else "en"


def _in_english(word: str) -> bool:
    """Also with an ending that an apostrophe sets off: "it's", "don't", "we'll"."""
    if word in _WORDS["en"]:
        return True
    stem, apostrophe, ending = word.replace("’", "'").partition("'")
    return bool(apostrophe) and (
        (ending in ("s", "m", "re", "ve", "ll", "d") and stem in _WORDS["en"])
        or (ending == "t" and stem.endswith("n") and (stem[:-1] in _WORDS["en"] or stem in ("can", "won")))
    )
