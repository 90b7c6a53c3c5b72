"""What made-up pages are about and what they say: names, numbers, times, codes, drawn at random in both languages.

Half of the names are built from syllables, so that nothing is to be learnt about any of them. No grammar here: a value
fits the sentences of `facts.toml` as it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.resources import files
from random import Random

from denken.tasks.words import ENGLISH, GERMAN

CONSONANTS = "b d f g h j k l m n p r s t v w z br dr gr kl kr pl st tr sch th sh gl".split()  # noqa: SIM905
VOWELS = "a e i o u a e i o ei au ie oo ä ö ü".split()  # noqa: SIM905
CODAS = "n r l s m t ck nd rt ng ll ss x".split()  # noqa: SIM905
LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"

FIRST = """\
Anna Marta Lena Sofia Clara Ida Greta Nora Paula Hanna Emil Jonas Felix Paul Karl Otto Hugo Anton Oskar Max Ben Tom
Mia Lea Ella Ruth Rosa Ingrid Petra Sabine Ute Heike Jürgen Günter Björn Søren André Zoë Agnes Alice Grace Olivia
Emma Ava Noah Liam Oliver James Henry George Arthur Priya Amir Yusuf Leyla Mehmet Olga Ivan Chen Mei Kofi Amara
Fatima Diego Lucía Pedro Nadia Tariq Elif Hiro Yuki Sven Astrid Maria Peter Hans Klaus Michael Thomas Julia Laura
""".split()  # noqa: SIM905
LAST = """\
Berg Brandt Keller Vogel Winter Sommer Lange Fuchs Wolf Hartmann Schneider Fischer Weber Krüger Schröder Möller Jäger
Bäcker Huber Lindqvist Novak Kowalski Rossi García Silva Okafor Mensah Haddad Yılmaz Tanaka Singh Patel Nguyen Kim
Baker Carter Turner Hughes Collins Morgan Price Reed Wood Stone Hill Marsh Field Brook Ashford Kimball Thornton
O'Neill MacLeod Oberhuber Steinmetz Birnbaum Rosenthal Achterberg Vandenberg Dubois Moreau Petrov Ivanova Horvat
""".split()  # noqa: SIM905
CITIES = """\
Leipzig Hamburg Graz Basel Lübeck Münster Köln Zürich Erfurt Bremen Dresden Linz Freiburg Görlitz Würzburg Lyon Porto
Turin Bergen Aarhus Ghent Leeds Bristol York Cardiff Dover Boston Austin Denver Oslo Malmö Kraków Brno Split Bern
""".split()  # noqa: SIM905
COLOURS = {
    "en": "red blue green yellow black white grey purple orange brown silver turquoise pink dark~blue light~green",
    "de": "rot blau grün gelb schwarz weiß grau lila orange braun silbern türkis rosa dunkelblau hellgrün beige",
}
WEEKDAYS = {
    "en": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Mondays Tuesdays Thursdays",
    "de": "Montag Dienstag Mittwoch Donnerstag Freitag Samstag Sonntag",
}
MONTHS = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
}
JOBS = {
    "en": "baker teacher plumber nurse carpenter violinist gardener beekeeper pilot tailor glassblower judge cook "
    "bus~driver software~developer tax~adviser sound~engineer clockmaker vet translator",
    "de": "Bäcker Lehrerin Klempner Krankenpfleger Tischlerin Geigerin Gärtner Imkerin Pilot Schneider Glasbläser "
    "Richterin Koch Busfahrerin Softwareentwickler Steuerberaterin Tontechniker Uhrmacherin Tierärztin Übersetzer",
}
FOODS = {
    "en": "apple~pie potato~soup lentil~stew walnuts plum~cake smoked~trout rye~bread goat~cheese mushroom~risotto "
    "noodles~with~peas cherry~jam pumpkin~bread fish~and~rice salted~caramel roast~chicken carrots peanuts",
    "de": "Apfelkuchen Kartoffelsuppe Linseneintopf Walnüsse Pflaumenkuchen geräucherte~Forelle Roggenbrot Ziegenkäse "
    "Pilzrisotto Nudeln~mit~Erbsen Kirschmarmelade Kürbisbrot Fisch~mit~Reis Käsespätzle Brathähnchen Möhren Erdnüsse",
}
PETS = {
    "en": "a~black~cat two~rabbits an~old~tortoise a~parrot three~goldfish a~hamster a~white~dog four~hens a~ferret",
    "de": "eine~schwarze~Katze zwei~Kaninchen eine~alte~Schildkröte einen~Papagei drei~Goldfische einen~Hamster "
    "einen~weißen~Hund vier~Hühner ein~Frettchen",
}
GOODS = {
    "en": "wooden~toys church~bells bicycle~chains felt~hats copper~pots solar~panels wind~turbines glass~beads "
    "leather~gloves garden~furniture hearing~aids blue~pottery organ~pipes elevator~parts herbal~tea fishing~nets",
    "de": "Holzspielzeug Kirchenglocken Fahrradketten Filzhüte Kupfertöpfe Solarmodule Windräder Glasperlen "
    "Lederhandschuhe Gartenmöbel Hörgeräte blaue~Keramik Orgelpfeifen Aufzugteile Kräutertee Fischernetze",
}
HIDING = {
    "en": "under~the~blue~flowerpot in~the~top~drawer behind~the~kitchen~door on~the~shelf~above~the~sink "
    "in~the~basement~next~to~the~boiler in~the~cupboard~under~the~stairs in~the~red~box~in~the~garage "
    "on~the~second~floor,~left~of~the~lift at~the~neighbour's~house in~the~hall~behind~the~mirror",
    "de": "unter~dem~blauen~Blumentopf in~der~obersten~Schublade hinter~der~Küchentür im~Regal~über~der~Spüle "
    "im~Keller~neben~dem~Heizkessel im~Schrank~unter~der~Treppe in~der~roten~Kiste~in~der~Garage "
    "im~zweiten~Stock~links~vom~Aufzug bei~den~Nachbarn im~Flur~hinter~dem~Spiegel auf~dem~Dachboden",
}
PLACES = {
    "en": "Café Hotel Restaurant Villa Cinema Gallery Pension Bistro Camp",
    "de": "Café Hotel Restaurant Villa Kino Galerie Pension Bistro Haus Gasthof Praxis Kita Freibad Schloss",
}
PLACES_BEHIND = {
    "en": "Library Museum School Clinic Bakery Pharmacy Theatre Gym Bookshop Inn Observatory Swimming~Pool Town~Hall",
    "de": "Apotheke Bücherei Bäckerei Klinik Grundschule Sternwarte Schwimmhalle Buchhandlung Mühle",
}
PRODUCTS = {
    "en": "washing~machine coffee~machine drill lamp tent bicycle camera heater radio printer vacuum~cleaner oven",
    "de": "Waschmaschine Kaffeemaschine Lampe Kamera Heizung Bohrmaschine Nähmaschine Luftpumpe Spülmaschine Säge",
}
EVENTS = {
    "en": "Festival Concert Marathon Flea~Market Chess~Tournament Workshop Open~Day Lantern~Parade Regatta Book~Fair",
    "de": "Fest Konzert Turnier Seminar Sommerfest Treffen Rennen Lichterfest Hofkonzert Weinfest Schachturnier",
}
TEAMS = {
    "en": "FC~{} the~{}~Chess~Club the~{}~Choir SV~{} the~{}~Rowing~Club the~{}~Hikers the~{}~Orchestra Team~{}",
    "de": "FC~{} SV~{} TSV~{} Chor~{} Schachclub~{} Ruderverein~{} Orchester~{} Kegelclub~{} Team~{}",
}
FIRMS = ("{} & Sons", "{} GmbH", "{} Ltd", "{} AG", "{} & Co.", "{} Systems", "{} Logistics", "{} KG", "{} Labs")
STREETS = {
    "en": "{n} {w} Street|{n} {w} Lane|{n} {w} Road|the corner of {w} Street and {x} Road|{w} Square {n}",
    "de": "{w}straße {n}|{w}gasse {n}|{w}allee {n}|{w}straße {n} in {x}|{w}gasse {n} (Hinterhaus)",
}
PETS_NAMED = "Minka Balu Luna Rocky Bello Mitzi Krümel Whiskers Socks Pepper Biscuit Toffee Schnuffi Lotte Caesar"


def syllables(rng: Random, least: int = 2, most: int = 3) -> str:
    """A made-up name."""
    parts = [rng.choice(CONSONANTS) + rng.choice(VOWELS) for _ in range(rng.randint(least, most))]
    return ("".join(parts) + (rng.choice(CODAS) if rng.random() < 0.6 else "")).capitalize()


@cache
def rare_words() -> tuple[str, ...]:
    """Many thousand English words of three to ten letters, which Reasoning Gym brings."""
    text = (files("reasoning_gym.data") / "words3to10.txt").read_text(encoding="utf-8")
    return tuple(word for word in text.split() if word.isalpha())


def quoted(rng: Random, text: str) -> str:
    """In quotation marks, or beside other signs that documents have and the plain names and numbers have not."""
    before, after = rng.choice(("„“", "“”", '""', "»«", "‘’", "()", "[]", "–…", "‚‘", "''", "±%", "→′", "§½"))
    return f"{before}{text}{after}"


def accented(rng: Random, text: str) -> str:
    """With a letter or two that neither German nor English has."""
    letters = list(text)
    for _ in range(rng.randint(1, 2)):
        letters[rng.randrange(len(letters))] = rng.choice("áàâãåæçčćďéèêëęěğíìîïłñńňóòôõøœřśšşťúùûůýźżžđþαβλμπωбдилнор")
    return "".join(letters)


def word(rng: Random, language: str) -> str:
    """One word: an everyday one, a rare one or none at all."""
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(GERMAN if language == "de" else ENGLISH)
    if kind < 0.8:
        return rng.choice(rare_words())
    made = syllables(rng).lower()
    return accented(rng, made) if kind > 0.95 else made


def name(rng: Random, language: str) -> str:
    """A name that may be any thing's: syllables, a family's, a town's or an ordinary word."""
    kind = rng.random()
    if kind < 0.5:
        return syllables(rng)
    if kind < 0.65:
        return rng.choice(LAST)
    return rng.choice(CITIES) if kind < 0.75 else word(rng, language).capitalize()


def entity(rng: Random, of: str, language: str) -> str:
    """Someone or something of that kind; "" for "home", which has no name."""
    if of == "home":
        return ""
    return _ENTITIES[of](rng, language)


def value(rng: Random, kind: str, language: str) -> str:
    """What is said of it."""
    return _VALUES[kind](rng, language)


def _one(table: dict[str, str]) -> Callable[[Random, str], str]:
    return lambda rng, language: rng.choice(table[language].split()).replace("~", " ")


def person(rng: Random, language: str) -> str:
    """Someone's name, now and then with a title."""
    first = rng.choice(FIRST) if rng.random() < 0.7 else syllables(rng, 2, 2)
    last = rng.choice(LAST) if rng.random() < 0.5 else syllables(rng)
    last = accented(rng, last) if rng.random() < 0.08 else last
    kind = rng.random()
    if kind < 0.1:
        return f"{rng.choice(('Dr.', 'Prof.', 'Dr.'))} {first} {last}"
    if kind < 0.25:
        titles = ("Frau", "Herr", "Dr.", "Schwester") if language == "de" else ("Mr", "Ms", "Mrs", "Dr.", "Captain")
        return f"{rng.choice(titles)} {last}"
    return first if kind < 0.33 else f"{first} {last}"


def _place(rng: Random, language: str) -> str:
    called = name(rng, language)
    if language == "en" and rng.random() < 0.6:
        article = rng.choice(("the ", "", "the "))
        return f"{article}{called} {rng.choice(PLACES_BEHIND['en'].split()).replace('~', ' ')}"
    if language == "de" and rng.random() < 0.2:
        return f"{called}-{rng.choice(PLACES_BEHIND['de'].split())}"
    return f"{rng.choice(PLACES[language].split())} {called}"


def _product(rng: Random, language: str) -> str:
    number = rng.choice(("", "", f" {rng.randint(2, 99) * 10}", f" {rng.choice(LETTERS)}{rng.randint(1, 9)}", " Pro"))
    if rng.random() < 0.4:
        what = rng.choice(PRODUCTS[language].split()).replace("~", " ")
        called = name(rng, language)
        return f"die {what} {called}{number}" if language == "de" else f"{called}{number} {what}"
    called = f"{name(rng, language)}{number or ' ' + str(rng.randint(2, 9))}"
    return f"der {called}" if language == "de" and rng.random() < 0.3 else called


def _event(rng: Random, language: str) -> str:
    what = rng.choice(EVENTS[language].split()).replace("~", " ")
    called = name(rng, language)
    if language == "de":
        return f"{called}-{what}" if rng.random() < 0.5 else f"{what} {called}"
    return f"{called} {what}"


def _team(rng: Random, language: str) -> str:
    return rng.choice(TEAMS[language].split()).replace("~", " ").format(name(rng, language))


def _project(rng: Random, language: str) -> str:
    called = name(rng, language)
    if language == "de":
        return rng.choice((f"Projekt {called}", f"Vorhaben {called}"))
    return rng.choice((f"project {called}", f"Project {called}", f"the {called} project", f"Operation {called}"))


def _pet(rng: Random, language: str) -> str:
    called = rng.choice(PETS_NAMED.split()) if rng.random() < 0.5 else syllables(rng, 2, 2)
    if rng.random() < 0.6:
        return called
    if language == "de":
        return rng.choice((f"die Katze {called}", f"der Hund {called}", f"das Pferd {called}"))
    return rng.choice((f"{called} the cat", f"the dog {called}", f"our horse {called}"))


_ENTITIES: dict[str, Callable[[Random, str], str]] = {
    "place": _place,
    "person": person,
    "product": _product,
    "event": _event,
    "firm": lambda rng, language: rng.choice(FIRMS).format(name(rng, language)),
    "project": _project,
    "village": lambda rng, language: syllables(rng) if rng.random() < 0.8 else rng.choice(CITIES),
    "team": _team,
    "animal": _pet,
}


def phone(rng: Random, language: str) -> str:
    """A number to dial."""
    digits = "".join(rng.choice("0123456789") for _ in range(8))
    return rng.choice(
        (
            f"0{digits[:3]} {digits[3:]}",
            f"+49 {digits[:2]} {digits[2:]}",
            f"0{digits[:3]}/{digits[3:6]}-{digits[6:]}",
            f"555-{digits[:4]}",
            f"({digits[:3]}) 555-{digits[3:7]}",
            f"0{digits[:3]} {digits[3:5]} {digits[5:]}",
            digits[:4],
        )
    )


def _slug(rng: Random, language: str) -> str:
    """A word of plain letters, for addresses."""
    text = word(rng, language).lower()
    return "".join({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"}.get(letter, letter) for letter in text)


def email(rng: Random, language: str) -> str:
    """An address at a domain that nobody can have."""
    who = rng.choice(("info", "office", "kontakt", "hello", "service")) if rng.random() < 0.4 else _slug(rng, language)
    if rng.random() < 0.3:
        who += f".{_slug(rng, language)}"
    return f"{who}@{_slug(rng, language)}.{rng.choice(('example', 'example.org', 'test', 'de.example'))}"


def password(rng: Random, language: str) -> str:
    """Words and numbers as people choose them, or characters as machines do."""
    kind, number = rng.random(), rng.randint(1, 9999)
    if kind < 0.45:
        return rng.choice(("-", "_", ".", "")).join((_slug(rng, language), _slug(rng, language), str(number)))
    if kind < 0.75:
        return f"{word(rng, language).capitalize()}{number}{rng.choice(('!', '', '$', '#', '?'))}"
    signs = LETTERS + LETTERS.lower() + "23456789"
    return "".join(rng.choice(signs) for _ in range(rng.randint(6, 10)))


def code(rng: Random, language: str) -> str:
    """A code, a file's or an article's number."""
    number = "".join(rng.choice("0123456789") for _ in range(6))
    letters = rng.choice(LETTERS) + rng.choice(LETTERS)
    return rng.choice(
        (
            number[:4],
            number,
            f"{letters[0]}-{number[:4]}",
            f"{letters}-{number[:2]}-{rng.choice(LETTERS)}",
            f"{number[:2]}-{number[2:4]}-{number[4:]}",
            f"{letters}{number[:3]}",
            f"{number[:3]}/{number[3:]}",
            f"{name(rng, language)} {number[0]}",
        )
    )


def clock(rng: Random, language: str) -> str:
    """A time of the day."""
    hour, minute = rng.randint(5, 23), rng.choice((0, 15, 30, 45, 10, 20, 5))
    if language == "de":
        return rng.choice(
            (f"{hour} Uhr", f"{hour}:{minute:02d} Uhr", f"{hour}.{minute:02d} Uhr", f"{hour}:{minute:02d}")
        )
    half = f"{(hour - 1) % 12 + 1}", "p.m." if hour > 11 else "a.m."
    return rng.choice(
        (f"{half[0]} {half[1]}", f"{half[0]}:{minute:02d} {half[1]}", f"{hour}:{minute:02d}", f"{half[0]}pm")
    )


def hours(rng: Random, language: str) -> str:
    """From when to when."""
    a, b, m = rng.randint(6, 11), rng.randint(13, 23), rng.choice(("00", "30", "15"))
    if language == "de":
        days = rng.choice(("", "", "montags bis freitags ", "von Dienstag bis Sonntag ", "Mo-Fr "))
        return days + rng.choice(
            (f"von {a} bis {b} Uhr", f"{a}:{m} bis {b}:{m} Uhr", f"{a}-{b} Uhr", f"von {a}.{m} bis {b} Uhr")
        )
    days = rng.choice(("", "", ", Monday to Friday", ", Tuesday to Sunday", " on weekdays"))
    return (
        rng.choice((f"{a} a.m. to {b - 12} p.m.", f"{a}:{m} to {b}:{m}", f"{a} to {b} o'clock", f"{a}am to {b - 12}pm"))
        + days
    )


def price(rng: Random, language: str) -> str:
    """An amount of money."""
    whole, cents = rng.choice((rng.randint(1, 30), rng.randint(30, 999), rng.randint(1, 90) * 1000)), rng.randint(0, 99)
    if language == "de":
        grouped = f"{whole:,}".replace(",", ".")
        return rng.choice(
            (
                f"{whole},{cents:02d} Euro",
                f"{grouped} Euro",
                f"{grouped} €",
                f"{whole},{cents:02d} €",
                f"{grouped} Franken",
            )
        )
    return rng.choice(
        (
            f"{whole} euros",
            f"${whole:,}",
            f"€{whole}.{cents:02d}",
            f"{whole}.{cents:02d} pounds",
            f"£{whole:,}",
            f"{whole:,} dollars",
        )
    )


def date(rng: Random, language: str) -> str:
    """A day of a year, or of any."""
    day, month, year = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1950, 2031)
    called = MONTHS[language].split()[month - 1]
    if language == "de":
        return rng.choice(
            (f"{day}. {called}", f"{day}. {called} {year}", f"{day}.{month}.{year}", f"{day:02d}.{month:02d}.")
        )
    ending = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd"}.get(day, "th")
    return rng.choice(
        (
            f"{called} {day}",
            f"{day} {called} {year}",
            f"{called} {day}, {year}",
            f"{year}-{month:02d}-{day:02d}",
            f"the {day}{ending} of {called}",
        )
    )


def room(rng: Random, language: str) -> str:
    """Where someone sits."""
    n, letter, floor = rng.randint(1, 420), rng.choice(LETTERS), rng.randint(0, 9)
    if language == "de":
        return rng.choice(
            (f"Raum {n}", f"Zimmer {n}", f"Raum {letter} {floor}.{n % 100:02d}", f"Zimmer {n} im {floor + 1}. Stock")
        )
    return rng.choice(
        (
            f"room {n}",
            f"room {letter}{n}",
            f"room {floor}.{n % 100:02d}",
            f"room {n} on floor {floor}",
            f"building {letter}, room {n}",
        )
    )


def amount(rng: Random, language: str) -> str:
    """A number and its unit."""
    whole, tenth = rng.choice((rng.randint(1, 20), rng.randint(20, 900))), rng.randint(1, 9)
    unit = rng.choice(
        (
            "kg",
            "g",
            "ml",
            "km/h",
            "°C",
            "cm",
            "Liter" if language == "de" else "litres",
            "Gramm" if language == "de" else "grams",
        )
    )
    comma = "," if language == "de" else "."
    below = "-" if unit == "°C" and rng.random() < 0.4 else ""
    return below + rng.choice((f"{whole} {unit}", f"{whole}{comma}{tenth} {unit}", f"{whole} {unit}"))


def number(rng: Random, language: str) -> str:
    """How many."""
    many = rng.choice((rng.randint(2, 99), rng.randint(100, 999), rng.randint(1000, 90000)))
    grouped = f"{many:,}" if language == "en" else f"{many:,}".replace(",", ".")
    return rng.choice((str(many), grouped))


def duration(rng: Random, language: str) -> str:
    """How long."""
    n = rng.randint(2, 48)
    units = ("Tage", "Wochen", "Monate", "Jahre", "Stunden", "Minuten") if language == "de" else (
        "days", "weeks", "months", "years", "hours", "minutes"
    )  # fmt: skip
    return f"{n} {rng.choice(units)}"


def street(rng: Random, language: str) -> str:
    """An address."""
    shape = rng.choice(STREETS[language].split("|"))
    return shape.format(n=rng.randint(1, 180), w=name(rng, language), x=name(rng, language))


def transport(rng: Random, language: str) -> str:
    """A line."""
    n = rng.randint(1, 190)
    kinds = ("Bus {}", "die Linie {}", "die Straßenbahn {}", "die S{}") if language == "de" else (
        "bus {}", "tram {}", "line {}", "bus number {}"
    )  # fmt: skip
    return rng.choice(kinds).format(n)


def meeting(rng: Random, language: str) -> str:
    """A day of the week and a time."""
    day = rng.choice(WEEKDAYS[language].split())
    if language == "de":
        return rng.choice((f"jeden {day} um {clock(rng, 'de')}", f"{day.lower()}s um {clock(rng, 'de')}"))
    return rng.choice((f"every {day.rstrip('s')} at {clock(rng, 'en')}", f"on {day} at {clock(rng, 'en')}"))


def venue(rng: Random, language: str) -> str:
    """A place where people come together."""
    if rng.random() < 0.5:
        return name(rng, language)
    kinds = ("der {}halle", "der {}kirche", "{}") if language == "de" else ("the {} Hall", "{} Park", "the old {} mill")
    return rng.choice(kinds).format(name(rng, language))


_VALUES: dict[str, Callable[[Random, str], str]] = {
    "phone": phone,
    "email": email,
    "password": password,
    "code": code,
    "time": clock,
    "hours": hours,
    "price": price,
    "date": date,
    "birthday": date,
    "room": room,
    "amount": amount,
    "number": number,
    "duration": duration,
    "age": duration,
    "street": street,
    "transport": transport,
    "meeting": meeting,
    "venue": venue,
    "person": person,
    "year": lambda rng, language: str(rng.randint(1250, 2024)),
    "city": lambda rng, language: rng.choice(CITIES) if rng.random() < 0.4 else syllables(rng),
    "river": lambda rng, language: syllables(rng, 1, 2),
    "colour": _one(COLOURS),
    "weekday": _one(WEEKDAYS),
    "job": _one(JOBS),
    "food": _one(FOODS),
    "animal": _one(PETS),
    "goods": _one(GOODS),
    "hiding": _one(HIDING),
}
