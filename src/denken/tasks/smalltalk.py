"""What a small model should say when it is not asked to work: greetings, who it is, thanks, and "I do not know".

A model of a few million parameters knows nothing of the world. Questions that lie outside its skills are therefore
taught as such, in English and German, with an answer that says so and what it can do instead. The questions are
built from patterns and topics, and some are simply other data sets' questions, so that the refusal is learnt as the
answer to what is unfamiliar, not as the answer to a list.
"""

from __future__ import annotations

from random import Random

from denken.errors import UnknownNameError
from denken.tasks.base import Demonstration
from denken.tasks.words import ENGLISH, GERMAN
from denken.types import Problem, Score

HELLO_EN = "Hello! I am denken, a small model that thinks in the open. Ask me to calculate, convert, count, spell or sort."
HELLO_DE = "Hallo! Ich bin denken, ein kleines Modell, das offen denkt. Ich kann rechnen, umwandeln, zählen, buchstabieren und sortieren."
WHO_EN = "I am denken, a small open model. I was trained on a CPU to calculate, convert, count, spell and sort, and I show my steps."
WHO_DE = "Ich bin denken, ein kleines offenes Modell. Ich wurde auf einer CPU trainiert und kann rechnen, umwandeln, zählen, buchstabieren und sortieren."
CAN_EN = "I can calculate, find divisors and prime factors, convert numbers between bases, count letters, spell backwards and sort."
CAN_DE = "Ich kann rechnen, Teiler und Primfaktoren finden, Zahlen umwandeln, Buchstaben zählen, rückwärts buchstabieren und sortieren."
THANKS_EN = "You are welcome!"
THANKS_DE = "Gern geschehen!"
BYE_EN = "Goodbye!"
BYE_DE = "Auf Wiedersehen!"
UNKNOWN_EN = "I do not know that. I am a small model: I can only calculate, convert, count, spell and sort."
UNKNOWN_DE = "Das weiß ich nicht. Ich bin ein kleines Modell: Ich kann nur rechnen, umwandeln, zählen, buchstabieren und sortieren."

GREETING = "a greeting"
SELF = "a question about me"
COURTESY = "courtesy"
OUTSIDE = "not one of my skills"

_TALK: dict[str, tuple[str, str, str]] = {  # line -> kind of line, language, reply
    **dict.fromkeys(["Hello", "Hi", "Hey", "Hello!", "Hi!", "Hi there", "Good morning", "Good morning!", "Good evening", "hello",
                     "hi", "hey", "Hello there!", "Hey, how are you?", "How are you?", "Good day", "Greetings", "Hello, how are you?"],
                    (GREETING, "en", HELLO_EN)),
    **dict.fromkeys(["Hallo", "Hallo!", "Guten Tag", "Guten Tag!", "Guten Morgen", "Guten Morgen!", "Guten Abend", "Servus", "Moin",
                     "Grüß Gott", "hallo", "Hallo, wie geht es dir?", "Wie geht es dir?", "Wie geht's?", "Hallo du", "Na?", "Grüezi",
                     "Hallo, wie geht's?"], (GREETING, "de", HELLO_DE)),
    **dict.fromkeys(["Who are you?", "What are you?", "What is your name?", "Tell me about yourself.", "Who made you?", "who are you",
                     "Are you a human?", "Are you ChatGPT?", "Are you DeepSeek?", "What model are you?", "How were you trained?",
                     "Introduce yourself.", "Are you an AI?", "What's your name?", "How big are you?"], (SELF, "en", WHO_EN)),
    **dict.fromkeys(["Wer bist du?", "Was bist du?", "Wie heißt du?", "Erzähl mir von dir.", "Wer hat dich gemacht?", "wer bist du",
                     "Bist du ein Mensch?", "Bist du ChatGPT?", "Bist du DeepSeek?", "Welches Modell bist du?", "Stell dich vor.",
                     "Wie wurdest du trainiert?", "Bist du eine KI?", "Wie ist dein Name?", "Wie groß bist du?"], (SELF, "de", WHO_DE)),
    **dict.fromkeys(["What can you do?", "Help", "help", "How can you help me?", "What are your skills?", "What do you know?",
                     "What should I ask you?", "Can you help me?", "What are you good at?"], (SELF, "en", CAN_EN)),
    **dict.fromkeys(["Was kannst du?", "Hilfe", "hilfe", "Wie kannst du mir helfen?", "Was sind deine Fähigkeiten?", "Was weißt du?",
                     "Was soll ich dich fragen?", "Kannst du mir helfen?", "Was kannst du gut?"], (SELF, "de", CAN_DE)),
    **dict.fromkeys(["Thanks", "Thank you", "Thank you!", "Thanks a lot!", "Great, thanks", "Well done!", "thanks", "Thank you very much!"],
                    (COURTESY, "en", THANKS_EN)),
    **dict.fromkeys(["Danke", "Danke!", "Vielen Dank", "Vielen Dank!", "Danke schön!", "Super, danke", "danke", "Gut gemacht!"],
                    (COURTESY, "de", THANKS_DE)),
    **dict.fromkeys(["Bye", "Goodbye", "Goodbye!", "See you", "bye", "See you later!"], (COURTESY, "en", BYE_EN)),
    **dict.fromkeys(["Tschüss", "Tschüss!", "Auf Wiedersehen", "Bis bald", "tschüss", "Bis später!"], (COURTESY, "de", BYE_DE)),
}  # fmt: skip

TOPICS_EN = """France, Germany, Brazil, Japan, Egypt, Canada, Berlin, Paris, Rome, Tokyo, Einstein, Newton, Mozart, Goethe,
Shakespeare, Napoleon, Cleopatra, gravity, photosynthesis, evolution, democracy, inflation, bitcoin, chess, football, tennis,
the moon, the sun, the sea, the weather, the internet, black holes, dinosaurs, volcanoes, earthquakes, quantum physics,
the universe, climate change, love, happiness, money, cooking, pasta, pizza, wine, coffee, Python, Java, the Beatles, Star Wars,
Harry Potter, the Bible, the pyramids, the Eiffel Tower, World War II, the French Revolution, the Roman Empire, vaccines,
cancer, sleep, diabetes, politics, the president, the chancellor, religion, philosophy, art, music, history, biology"""
TOPICS_DE = """Frankreich, Deutschland, Brasilien, Japan, Ägypten, Kanada, Berlin, Paris, Rom, Tokio, Einstein, Newton, Mozart,
Goethe, Shakespeare, Napoleon, Kleopatra, Schwerkraft, Photosynthese, Evolution, Demokratie, Inflation, Bitcoin, Schach,
Fußball, Tennis, der Mond, die Sonne, das Meer, das Wetter, das Internet, schwarze Löcher, Dinosaurier, Vulkane, Erdbeben,
Quantenphysik, das Universum, der Klimawandel, Liebe, Glück, Geld, Kochen, Nudeln, Pizza, Wein, Kaffee, Python, Java, die Beatles,
Star Wars, Harry Potter, die Bibel, die Pyramiden, der Eiffelturm, der Zweite Weltkrieg, die Französische Revolution,
das Römische Reich, Impfungen, Krebs, Schlaf, Politik, der Präsident, der Kanzler, Religion, Philosophie, Kunst, Musik,
Geschichte, Biologie"""
OUTSIDE_EN = ["What is the capital of {}?", "Who is {}?", "Who was {}?", "Tell me about {}.", "Explain {}.", "What is {}?", "Why is {} important?",
              "Write a poem about {}.", "Write an essay about {}.", "Tell me a joke about {}.", "How does {} work?", "When was {} born?",
              "Where is {}?", "What do you think about {}?", "Translate {} into French.", "Write a Python program for {}.",
              "What's the weather in {}?", "Who won the {} championship?", "Give me a recipe for {}.", "How old is {}?", "Is {} good or bad?",
              "What is the meaning of {}?", "What colour is {}?", "Summarise {} for me.", "Who invented {}?", "How far is it to {}?",
              "Should I buy {}?", "What is the history of {}?", "Do you like {}?", "Write me a story about a {}.", "How do I learn {}?",
              "What happened in {}?", "Describe {}.", "What is the population of {}?", "Can you recommend {}?", "What does {} mean?"]  # fmt: skip
OUTSIDE_DE = ["Was ist die Hauptstadt von {}?", "Wer ist {}?", "Wer war {}?", "Erzähl mir etwas über {}.", "Erkläre {}.", "Was ist {}?",
              "Warum ist {} wichtig?", "Schreibe ein Gedicht über {}.", "Schreibe einen Aufsatz über {}.", "Erzähl einen Witz über {}.",
              "Wie funktioniert {}?", "Wann wurde {} geboren?", "Wo liegt {}?", "Was hältst du von {}?", "Übersetze {} ins Englische.",
              "Schreibe ein Programm für {}.", "Wie ist das Wetter in {}?", "Wer hat {} erfunden?", "Gib mir ein Rezept für {}.",
              "Wie alt ist {}?", "Ist {} gut oder schlecht?", "Was bedeutet {}?", "Welche Farbe hat {}?", "Fasse {} zusammen.",
              "Wie weit ist es nach {}?", "Soll ich {} kaufen?", "Magst du {}?", "Wie lerne ich {}?", "Was ist in {} passiert?",
              "Beschreibe {}.", "Wie viele Einwohner hat {}?", "Kannst du {} empfehlen?", "Wie spät ist es in {}?"]  # fmt: skip
OTHER_DATA_SETS = ("syllogism", "propositional_logic", "family_relationships", "gsm_symbolic", "calendar_arithmetic", "knights_knaves",
                   "complex_arithmetic", "dice", "time_intervals", "power_function", "number_sequence", "count_primes", "aiw",
                   "color_cube_rotation", "simple_equations", "sentence_reordering", "bitwise_arithmetic", "zebra_puzzles")  # fmt: skip


class SmalltalkTask:
    """Lines that want a fixed reply: `talk` (greetings, courtesy, questions about the model) or `outside`."""

    def __init__(self, kind: str) -> None:
        if kind not in ("talk", "outside"):
            raise UnknownNameError(f"There is no small talk of kind {kind!r}; choose talk or outside.")
        self.kind = kind

    @property
    def name(self) -> str:
        return f"smalltalk:{self.kind}"

    def problem(self, seed: int) -> Problem:
        """The line of this seed."""
        rng = Random(f"{self.name}:{seed}")
        if self.kind == "talk":
            line = rng.choice(sorted(_TALK))
            kind, language, reply = _TALK[line]
        else:
            language = rng.choice(("en", "de"))
            kind, reply = OUTSIDE, UNKNOWN_DE if language == "de" else UNKNOWN_EN
            line = _outside(rng, language)
        return Problem(self.name, line, reply, seed, {"kind": kind, "language": language})

    def score(self, problem: Problem, answer: str) -> Score:
        """1.0 for the expected reply."""
        correct = float(answer.strip() == problem.answer)
        return Score(correct, {"correct": correct})

    def demonstrate(self, problem: Problem) -> Demonstration:
        """One short remark on what kind of line it is."""
        return Demonstration(f"{problem.metadata['kind']} ({problem.metadata['language']})", problem.answer)


def _outside(rng: Random, language: str) -> str:
    german = language == "de"
    if rng.random() < 0.15 and not german:
        return _other_data_set(rng)
    if rng.random() < 0.35:
        topic = rng.choice(GERMAN if german else ENGLISH)
    elif rng.random() < 0.2:
        topic = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(3, 9))).capitalize()
    else:
        topic = rng.choice((TOPICS_DE if german else TOPICS_EN).replace("\n", " ").split(", "))
    line = rng.choice(OUTSIDE_DE if german else OUTSIDE_EN).format(topic)
    style = rng.random()
    if style < 0.1:
        return line.rstrip("?.")
    return line[0].lower() + line[1:] if style < 0.2 else line


def _other_data_set(rng: Random) -> str:
    from denken.tasks.gym import GymTask

    return GymTask(rng.choice(OTHER_DATA_SETS)).problem(rng.randrange(1000, 800_000_000)).prompt
