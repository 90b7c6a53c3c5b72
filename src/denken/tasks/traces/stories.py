"""Thoughts for word problems: the numbers of the text get letters in their order, then come equations in letters.

The data set has some ninety stories, told again and again with other names, things and numbers. Which equations a story
needs is all that a model has to know of it: a fixed line of letters for each story, found by words that no other has.
The numbers are copied, and every operation is worked out in digits, as the other writers of this folder do it.
What is not covered: any other story; and two stories whose answers the library cuts to whole numbers after a sum of
binary fractions, so that one in twelve of theirs (1 in 500 of all) is one less than the sum says.
"""

from __future__ import annotations

import re
from fractions import Fraction
from string import ascii_lowercase

from denken.tasks.base import Demonstration
from denken.tasks.traces import decimals, longhand
from denken.tasks.traces.decimals import Fixed
from denken.types import Problem

# A number of the text: money, grouped, with a point, a fraction, a percentage; and fractions written as decimals.
_NUMBER = re.compile(r"[$£€]?\d+(?:,\d{3})*(?:\.\d+)?(?:/\d+)?%?")
_FRACTIONS = {"0.5": "1/2", "0.25": "1/4", "0.75": "3/4", "0.3333333333333333": "1/3", "0.6666666666666666": "2/3"}
_STEP = re.compile(r"(\w+)([-+*/])(\w+)")

# Words of the story -> the operations, on the numbers a, b, ... of the text and what comes of the operations in turn.
# [g] is the whole part of g, ~a is rounded (a half to the even), h:f and m:f are the hours and the minutes of f hours.
_WAYS = {
    "to peel and": "d/a d/b f*c e+g",
    "bringing her total number of toys": "a+b e+c d-f",
    "How many students are leaving early": "a*b a-e f*c [g] e+h",
    "stopped being penpals": "a-b f*c g*d h*e i/60",
    "to use up all": "a*b d/c",
    "compare their autograph books": "b+c e-f",
    "times the number of boys": "a*b a+c",
    "potted plants will": "c*b e+a c*d f-g",
    "in the ratio of": "a+b c/d a*e",
    "much money does he have left": "a*b c*d e*f h+i g-j",
    "times as old as": "a*c d-b",
    "What is the combined total of": "b*a f+b c-d h+c g+i",
    "spend playing these games": "a*c b*d e+f",
    "biggest slide": "a/b c/d e-f",
    "wants to exercise for": "b+c d*a",
    "on athletic gear": "b+a c/2 e-d a+f i+g j+h",
    "friends as": "c/a b*d",
    "patients are admitted into": "a*b a-e c*7 g*d f-h",
    "points in one game of": "a*c d+b a+e",
    "popping popcorn": "c*a e*a k/2 l/4 a+j n+k o+l p+m",
    "won't": "a*c b-d",
    "flower bed": "a/b e-c f*d",
    "will not go beyond": "b*c b*d b+e g+f h-a",
    "losing": "b*a d-c",
    "orbits the sun": "b*c d-a",
    "nutritional info": "d-e f/a b/c h*g",
    "A juggler": "a*b d*c",
    "collects garbage": "b*c h*d h+i j+h k*f l*g",
    "favorite brand was sold out": "a*b a+e c*7 f*g h+d",
    "percentage of all the": "a+c b+d f*100 g/e",
    "various hobbies": "c*2 a-b e-c f-d",
    "did they all eat": "b+c e+d b+e g+f",
    "operates the cash register": "b*a c+b d*7",
    "twins each found": "b*2 a-d e-c",
    "-item quiz": "a*b d*c a-d f/2 e+g",
    "skeins": "b+c g+d h+e i+f a*j",
    "-graders at": "a-b e-d",
    "of all mentioned colors": "a*b a+c a+d e*2",
    "raising money for": "c*a d+b c-e",
    "net proceeds": "a*b a*c e+f g+d a-h",
    "do they have together": "a-b a+c",
    "have received after": "a*d b*e c*f g+h j+i",
    "to sample": "c+b d-a",
    "liters of": "c*d a-e h*b g+i",
    "bond paper": "a*b c*d f+g h+e",
    "How much more do": "c*a d*b e-f",
    "vending machines": "c*e c-f g*100 d*a h-i j/b",
    "piece puzzle": "a/2 c+b",
    "budgeted for her birthday": "c*e d+b f+g a/h i-1",
    "re-writing the alphabet until": "26*a 26*b c+d e*2",
    "letters) until she knows": "a*b a*c d+e f*2",
    "-sided die": "a-b c*100 d/a e-25",
    "without being late": "a-b d-c",
    "number of insects": "a/2 a+b",
    "have they made": "b+c a-d",
    "twice that number playing": "a*2 b+c a+d f+e",
    "calories did": "a*b d*c",
    "fog bank": "c/b d*a",
    "walking trail": "d*c b*2 f/g d+h",
    " last?": "b*c b+d a/e",
    "dozens of": "a*b c*d f+g h/12",
    "watches TV": "a*2 e*2 h+i j+c h:f l-k m*60 m:f n+o p-d q/b",
    "picks": "a+b a*c d+e",
    "infected person infects": "a*b a+d e*b e+f g*b g+h",
    "required to submit": "a*b a-c",
    "tripped over": "a-b e+c f-d",
    "per dozen": "a*b c*d e*f g+h j+i",
    "an unknown number of": "a*b c-a e-d",
    "for a fundraiser": "a+c a+g h*e d-b d+j k*f i+l",
    "times as many tubes": "a/2 b*3 c+d",
    "years apart in age": "b+a c+b d/2",
    "percent of her spools": "a+b c+d e+f e*100 h/g",
    "every month and": "b*a c*d e*12",
    "don't require any response": "a*b a-d e*c",
    "left over for": "a-b c/2",
    "When the water is cold": "c*a e+b d*a d*f h-g",
    "room in feet": "b*3 a/c d+c e*2",
    "room in meters": "a/b c+b d*2",
    "is holding graduation": "b+c a-d e/b",
    "still hidden in": "a*12 b*c g-d h*e b+g j+h k+i f-l",
    "within a year": "b*a 12/c d*e",
    "round all his prices": "~a ~b ~c d*g e*h f*i j+k m+l",
    "slew": "a*b e*c f*d",
    "final value of all": "a*b e*c e+f g*d g-h",
    "in one week": "a+b d+c e*7",
    "in one month": "a+b d+c e*30",
    "less than twice": "a*2 e-b f*d a*c h+g",
    "after paying for": "b*c a-d",
}


def gsm_symbolic(problem: Problem) -> Demonstration:
    """The numbers with their letters, then each operation in letters and in digits, and the letter of its result.

    `Olivia can peel 15 carrots a minute and saute 45 carrots in 5 minutes. How long ... to peel and saute 180 ...?`:
        a=15 b=45 c=5 d=180
        d/a=180/15[18/15=1r3,30/15=2r0]=12r0
        e=12
        d/b=180/45=4[180]r0
        f=4
        f*c=4*5=20
        g=20
        e+g=12+20[2+0=2,1+2=3]=32
        h=32
    """
    named = dict(zip(ascii_lowercase, map(_short, _NUMBER.findall(problem.prompt)), strict=False))
    lines = [" ".join(f"{letter}={number}" for letter, number in named.items())]
    for step in _way(problem.prompt):
        work, value = _carry_out(step, named)
        letter = ascii_lowercase[len(named)]
        named[letter] = value
        lines += [f"{step}={work}", f"{letter}={value}"]
    return Demonstration("\n".join(lines), value)


def _way(prompt: str) -> list[str]:
    return next(way for words, way in _WAYS.items() if words in prompt).split()


def _short(number: str) -> str:
    """A number of the text as it is copied: no currency or grouping, no `.0`, two places at most, `1/2` for `0.5`."""
    plain = _FRACTIONS.get(number, number).replace(",", "").lstrip("$£€")
    if "." not in plain:
        return plain
    return _trimmed(plain[: plain.index(".") + 3])


def _trimmed(number: str) -> str:
    """Without zeros at the end of its places: `27000.00` is `27000`."""
    return number.rstrip("0").rstrip(".") if "." in number else number


def _carry_out(step: str, named: dict[str, str]) -> tuple[str, str]:
    """The work of one step and the number it comes to."""
    operation = _STEP.fullmatch(step)
    if operation is None:
        return _whole(step, named[step.strip("[]")[-1]])
    x, y = (named.get(item, item) for item in operation.group(1, 3))
    return _operate(x, operation[2], y)


def _whole(step: str, number: str) -> tuple[str, str]:
    """What is done to one number: its whole part, rounded, or hours that are given by two places and no more."""
    whole, _, places = number.partition(".")
    if step[0] == "[":
        return f"[{number}]={whole}", whole
    if step[0] == "~":
        value = str(round(Fraction(number)))
        seen = ".5" if places == "5" else f"{places[:1] or 0}{'>4' if places[:1] >= '5' else '<5'}"
        return f"~{number}:{seen}={value}", value
    twelfths = round(12 * Fraction(number))  # minutes come in fives
    value = str(twelfths // 12 if step[0] == "h" else twelfths % 12 * 5)
    return f"{number}:{value}", value


def _operate(x: str, operator: str, y: str) -> tuple[str, str]:
    """The work of one operation on numbers as they are written, and the number that it comes to."""
    if "/" in y:
        above, below = y.split("/")
        times, value = _operate(x, "*", above)
        work, value = _operate(value, "/", below)
        return (f"{x}*{y}={work}" if above == "1" else f"{x}*{y}\n{times}\n{work}"), value
    if operator == "*":
        return _times(x, y)
    a, b = Fixed.of(x), Fixed.of(y)
    if operator == "/":
        return _over(a, b)
    work, sum_ = decimals.add(a, b if operator == "+" else Fixed(-b.units, b.places))
    return work, _trimmed(str(sum_))


def _times(x: str, y: str) -> tuple[str, str]:
    """x * y: a product of whole numbers, then the point has its place; a percentage has two places more."""
    a, b = Fixed.of(x), Fixed.of(y.removesuffix("%"))
    places = a.places + b.places + 2 * y.endswith("%")
    value = _trimmed(str(Fixed(a.units * b.units, places)))
    if not places and (y.strip("0") == "1" or x == "1"):
        return f"{x}*{y}={value}", value
    work = longhand.product(a.units, b.units).text
    if places:
        return f"{x}*{y}\n{work}\n.{places}={Fixed(a.units * b.units, places)}", value
    return (work if work.startswith(f"{x}*{y}") else f"{x}*{y}={work}"), value


def _over(a: Fixed, b: Fixed) -> tuple[str, str]:
    """a / b in whole numbers; both are made whole before."""
    if b.units == 1 and not b.places:
        return f"{a}/{b}={a}", str(a)
    places = max(a.places, b.places)
    work, value, _ = longhand.quotient(a.to(places).units, b.to(places).units)
    return (f"{a}/{b}\n{work}" if places else work), str(value)
