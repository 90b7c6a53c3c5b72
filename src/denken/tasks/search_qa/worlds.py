"""Small worlds: pages about made-up people, places and things, one question, and the sentences that answer it.

Three kinds. "facts" are written by hand (`facts.toml`): opening hours, passwords, who runs what. "made_up" puts random
words where those have relations ("The harbour needle of Brovi is 4711"), and "words" are sentences without sense, so
that finding by shared words and copying to the letter are learnt for any text, and not for a list of questions. Nothing
here knows how a search works or what a thought looks like.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

from denken.tasks.search_qa import values
from denken.tasks.search_qa.library import Page
from denken.tasks.smalltalk import lines

KINDS = {"facts": 0.45, "made_up": 0.3, "words": 0.25}
SECOND = ("phone", "email", "room", "city", "birthday", "animal", "job", "colour")


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that is so. ask: a question for it. say: a sentence that stands alone. note: a line under a heading.

    what: which relation it is; of one entity there is one fact of each. titled: neither sentence names the entity, so
    the page's title has to.
    """

    entity: str
    value: str
    ask: str
    say: str
    note: str = ""
    what: str = ""
    titled: bool = False


@dataclass(frozen=True, slots=True)
class World:
    """pages: what there is to find. question: what is asked, in `language`.

    steps: of every step of the way to the answer the sentence or line that says it, word for word as it stands on a
    page; none where no page answers. value: what the answer must hold. ask_next: what to search for after the first
    step, where there are two.
    """

    pages: tuple[Page, ...]
    question: str
    language: str
    steps: tuple[str, ...]
    value: str
    ask_next: str = ""
    also: dict[str, Any] = field(default_factory=dict)


@cache
def relations(language: str) -> tuple[dict[str, Any], ...]:
    """The tables of `facts.toml`."""
    return tuple(_read("facts.toml")[language])


@cache
def wording(language: str) -> dict[str, Any]:
    """The tables of `wording.toml`."""
    return dict(_read("wording.toml")[language])


def _read(file: str) -> dict[str, Any]:
    return tomllib.loads((files("denken.tasks.search_qa") / file).read_text(encoding="utf-8"))


def world(rng: Random, *, language: str, kind: str, hops: int, answered: bool) -> World:
    """A world of that kind. answered: whether a page says what is asked."""
    if hops == 2:
        return _two_steps(rng, language)
    facts = _FACTS[kind](rng, language)
    target, others = facts[0], facts[1:]
    told = [target, *others] if answered else others
    pages = _pages(rng, told, language)
    steps = tuple(unit for unit in (target.say, target.note) if unit and any(unit in page.text for page in pages))
    question = asked(rng, target.ask, language)
    if not answered and rng.random() < 0.4:
        question = outside(rng, language)
        pages = (*pages, _near(rng, question, language))
    value = steps[0] if kind == "words" and steps else target.value
    return World(pages, question, language, steps[:1] if answered else (), value if answered else "")


def outside(rng: Random, language: str) -> str:
    """A question about the world at large, which the pages say nothing of."""
    table = lines()["outside"][language]
    return str(rng.choice(table["patterns"]).format(rng.choice(table["topics"])))


def _near(rng: Random, question: str, language: str) -> Page:
    """A page that is found by a word of the question and says nothing of it."""
    sentences = []
    for _ in range(rng.randint(1, 3)):
        words = _random_words(rng, language)
        words.insert(rng.randrange(len(words)), rng.choice(question.rstrip("?.!").split()))
        sentences.append(_begun(" ".join(words)) + ".")
    return Page(rng.choice(wording(language)["titles"]), " ".join(sentences))


def fact(rng: Random, relation: dict[str, Any], entity: str, language: str) -> Fact:
    """One relation of someone or something, in one wording."""
    value = values.value(rng, relation["value"], language)
    at = rng.randrange(len(relation["ask"]))
    ask = relation["ask"][at]
    say = relation["say"][at] if relation.get("paired") else rng.choice(relation["say"])
    notes = relation["note"]
    if relation.get("paired"):
        notes = [notes[at]] if len(notes) == len(relation["ask"]) else []
    note = rng.choice(notes).format(v=value) if notes and rng.random() < 0.4 else ""
    what = f"{relation['of']} {relation['value']} {at if relation.get('paired') else ''}"
    return Fact(entity, value, ask.format(e=entity), _begun(say.format(e=entity, v=value)), note, what)


def _begun(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _written(rng: Random, language: str) -> list[Fact]:
    """The fact that is asked for, others of the same entity, and the same of others."""
    table = relations(language)
    chosen = rng.choice(table)
    if chosen["of"] == "home" and rng.random() < 0.6:
        return _of_houses(rng, chosen, language)
    same = [relation for relation in table if relation["of"] == chosen["of"]]
    entity = values.entity(rng, chosen["of"], language)
    facts = [fact(rng, chosen, entity, language)]
    facts += _unasked(facts, [fact(rng, rng.choice(same), entity, language) for _ in range(rng.randint(0, 4))])
    for _ in range(rng.choice((1, 2, 3, 4, 5)) if entity else 0):
        other = values.entity(rng, chosen["of"], language)
        facts += _unasked(facts, [fact(rng, chosen if rng.random() < 0.6 else rng.choice(same), other, language)])
    for _ in range(rng.randint(0, 3)):
        relation = rng.choice(table)
        facts += _unasked(facts, [fact(rng, relation, values.entity(rng, relation["of"], language), language)])
    return facts


def _of_houses(rng: Random, chosen: dict[str, Any], language: str) -> list[Fact]:
    """What is said on the page of a house without naming it, and the same on the pages of others."""
    same = [relation for relation in relations(language) if relation["of"] == "home"]
    houses = [values.entity(rng, "place", language) for _ in range(rng.randint(1, 4))]
    facts: list[Fact] = []
    for house in houses:
        about = [rng.choice(same) for _ in range(rng.randint(1, 5))]
        about = [chosen, *about] if not facts or rng.random() < 0.5 else about
        for relation in about:
            one = fact(rng, relation, "", language)
            where = rng.choice(("at", "in") if language == "en" else ("bei", "in", "von"))
            ask = f"{one.ask.rstrip('?')} {where} {house}?"
            one = replace(one, entity=house, ask=ask, titled=True)
            facts += _unasked(facts, [one]) if facts else [one]
    return facts


def _unasked(facts: Sequence[Fact], more: Sequence[Fact]) -> list[Fact]:
    """Those of `more` that say nothing about a question of `facts`: no two answers to one question."""
    taken = {(fact.entity, fact.what) for fact in facts if fact.what} | {_without_value(fact) for fact in facts}
    return [one for one in more if not {(one.entity, one.what), _without_value(one)} & taken]


def _without_value(fact: Fact) -> tuple[str, str]:
    return fact.entity if fact.titled else "", fact.say.replace(fact.value, "")


_VALUES = """\
phone email password code time hours price date room amount number duration street person city colour food goods hiding
year venue animal
""".split()  # noqa: SIM905


def _made_up(rng: Random, language: str) -> list[Fact]:
    """Facts with random words where others have a relation; some share its words, its entity or its value's kind."""
    facts: list[Fact] = []
    entity, relation = _thing(rng, language), _relation(rng, language)
    frame, kind = rng.choice(wording(language)["frames"]), rng.choice(_VALUES)
    for at in range(rng.randint(2, 9)):
        who = entity if at == 0 or rng.random() < 0.3 else _thing(rng, language)
        what = relation if at == 0 or (who != entity and rng.random() < 0.5) else _relation(rng, language)
        ask, say = frame if at == 0 or rng.random() < 0.6 else rng.choice(wording(language)["frames"])
        value = values.value(rng, kind if rng.random() < 0.6 else rng.choice(_VALUES), language)
        if rng.random() < 0.12:
            value = values.quoted(rng, value)
        note = f"{_begun(what)}: {value}" if rng.random() < 0.25 else ""
        one = Fact(who, value, _begun(ask.format(r=what, e=who)), _begun(say.format(r=what, e=who, v=value)), note)
        facts += _unasked(facts, [one]) if facts else [one]
    return facts


def _thing(rng: Random, language: str) -> str:
    kind = rng.choice(
        ("place", "person", "product", "event", "firm", "project", "village", "team", "animal", "", "", "")
    )
    if kind:
        return values.entity(rng, kind, language)
    return (
        values.name(rng, language)
        if rng.random() < 0.6
        else f"the {values.word(rng, 'en')}"
        if language == "en"
        else values.word(rng, "de")
    )


def _relation(rng: Random, language: str) -> str:
    words = [values.word(rng, language) for _ in range(rng.choice((1, 1, 2, 2, 3)))]
    if language == "de":
        words = [word.capitalize() if rng.random() < 0.6 else word for word in words]
        return " ".join([*rng.choice((["der"], ["die"], ["das"], [], [])), *words])
    return " ".join(words)


def _sentences(rng: Random, language: str) -> list[Fact]:
    """Sentences of random words; the question holds a few of the first one's, which no other shares all of."""
    facts: list[Fact] = []
    for at in range(rng.randint(2, 8)):
        words = _random_words(rng, language)
        if at and rng.random() < 0.5:
            words.insert(rng.randrange(len(words)), rng.choice(facts[0].value.split()))
        if rng.random() < 0.2:  # what is said twice must not be copied from its first place on
            start = rng.randrange(len(words) - 2)
            words[start + 2 : start + 2] = words[start : start + 2]
        sentence = " ".join(words)
        if rng.random() < 0.3 and len(words) > 4:
            cut = rng.randrange(2, len(words) - 1)
            sentence = f"{' '.join(words[:cut])}{rng.choice((',', ':', ' –', ';'))} {' '.join(words[cut:])}"
        content = [word for word in words if word.lower() not in wording(language)["small"].split()]
        keys = rng.sample(content, min(len(content), rng.randint(2, 4)))
        facts.append(
            Fact(
                "",
                " ".join(keys),
                _about(rng, keys, language),
                _begun(sentence) + rng.choice((".", ".", ".", ".", "!", "?")),
                "",
            )
        )
    return facts


def _random_words(rng: Random, language: str) -> list[str]:
    small = wording(language)["small"].split()
    words = []
    for _ in range(rng.randint(5, 13)):
        kind = rng.random()
        if kind < 0.35:
            words.append(rng.choice(small))
        elif kind < 0.85:
            words.append(values.word(rng, language))
        elif kind < 0.89:
            words.append(values.name(rng, language))
        elif kind < 0.93:
            words.append(values.quoted(rng, values.word(rng, language)))
        else:
            words.append(
                values.value(rng, rng.choice(("code", "time", "price", "number", "email", "date", "person")), language)
            )
    return [*words, values.word(rng, language), values.word(rng, language)]


def _about(rng: Random, keys: Sequence[str], language: str) -> str:
    joint = rng.choice((" ", " and ", " ") if language == "en" else (" ", " und ", " "))
    return str(rng.choice(wording(language)["about"]).format(joint.join(keys)))


_FACTS = {"facts": _written, "made_up": _made_up, "words": _sentences}


def _two_steps(rng: Random, language: str) -> World:
    """Who has to do with something, and then what is so of that person."""
    bridged = [relation for relation in relations(language) if "bridge" in relation]
    relation = rng.choice(bridged)
    entity = values.entity(rng, relation["of"], language)
    first = fact(rng, {**relation, **_of_bridge(relation)}, entity, language)
    while len(first.value) < 8 and " " not in first.value:
        first = fact(rng, {**relation, **_of_bridge(relation)}, entity, language)
    about_people = [r for r in relations(language) if r["of"] == "person" and r["value"] in SECOND]
    chosen = rng.choice(about_people)
    at = rng.randrange(len(chosen["ask"]))
    chosen = {
        **chosen,
        "ask": [chosen["ask"][at]],
        "say": [chosen["say"][at]] if chosen.get("paired") else chosen["say"],
    }
    chosen["paired"] = False
    second = fact(rng, {**chosen, "note": []}, first.value, language)
    phrase = relation["bridge"].format(e=entity)
    question = chosen["ask"][0].format(e=phrase)
    facts = [first, second]
    for _ in range(rng.randint(0, 2)):
        other = rng.choice((chosen, rng.choice(about_people)))
        facts += _unasked(facts, [fact(rng, {**other, "note": []}, values.person(rng, language), language)])
    if rng.random() < 0.5:
        facts += _unasked(
            facts,
            [fact(rng, {**relation, **_of_bridge(relation)}, values.entity(rng, relation["of"], language), language)],
        )
    pages = _pages(rng, facts, language, notes=False)
    return World(
        pages,
        question,
        language,
        (first.say, second.say),
        second.value,
        ask_next=chosen["ask"][0].format(e=first.value),
    )


def _of_bridge(relation: dict[str, Any]) -> dict[str, Any]:
    """The wording that the phrase of the bridge fits."""
    if not relation.get("paired"):
        return {"note": []}
    at = (
        {"person": 1, "team": 0, "home": 1}[relation["of"]]
        if relation["of"] != "team"
        else (1 if "Kapitän" in relation["bridge"] else 0)
    )
    return {"ask": [relation["ask"][at]], "say": [relation["say"][at]], "note": []}


def _pages(rng: Random, facts: Sequence[Fact], language: str, *, notes: bool = True) -> tuple[Page, ...]:
    """The facts on pages: each entity's own, or several together; as sentences, as lists, among other sentences."""
    groups: list[list[Fact]] = []
    if rng.random() < 0.5 or any(one.titled for one in facts):
        for one in facts:
            group = next((g for g in groups if g[0].entity == one.entity and one.entity), None)
            if group is None:
                groups.append([one])
            else:
                group.append(one)
    elif rng.random() < 0.2:
        groups = [list(facts)]
    else:
        groups = [[] for _ in range(rng.randint((len(facts) + 1) // 2, len(facts)))]
        for one in facts:
            rng.choice(groups).append(one)
    pages = [_page(rng, group, language, notes) for group in groups if group]
    if not pages or rng.random() < 0.3:
        pages.append(
            Page(rng.choice(wording(language)["titles"]), " ".join(rng.sample(wording(language)["fillers"], 2)))
        )
    rng.shuffle(pages)
    return tuple(pages)


def _page(rng: Random, facts: list[Fact], language: str, notes: bool) -> Page:
    facts = facts[:]
    rng.shuffle(facts)
    own = bool(facts[0].entity) and all(one.entity == facts[0].entity for one in facts)
    named = own and (facts[0].titled or rng.random() < 0.6)
    title = facts[0].entity if named else rng.choice(wording(language)["titles"])
    if rng.random() < 0.3 and not named:
        title = f"{values.name(rng, language)} {title}" if rng.random() < 0.5 else values.name(rng, language)
    may_note = notes and (title == facts[0].entity or not facts[0].entity)
    units = [one.note if one.note and may_note else one.say for one in facts]
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3, 12))):  # with many it is found in several passages
        units.insert(rng.randint(0, len(units)), rng.choice(wording(language)["fillers"]))
    listed = any(unit[-1] not in ".!?" for unit in units)
    shape = rng.random()
    if listed or shape < 0.25:
        mark = rng.choice(("- ", "* ", "", "• "))
        text = "\n".join(mark + unit for unit in units)
    else:
        text = rng.choice((" ", " ", "\n", "\n\n")).join(units)
    if rng.random() < 0.3:
        text = f"# {title}\n\n{text}"
    return Page(_begun(title), text)


def asked(rng: Random, question: str, language: str) -> str:
    """The question as people type it."""
    kind = rng.random()
    if kind < 0.6:
        return question
    if kind < 0.7:
        return question.rstrip("?.")
    if kind < 0.8:
        return question[:1].lower() + question[1:]
    if kind < 0.85:
        return question.lower()
    return str(rng.choice(wording(language)["before"]).format(question))
