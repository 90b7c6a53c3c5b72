"""Thoughts that count legs: one of the few things a model here has to know rather than work out."""

from __future__ import annotations

from denken.tasks.base import Demonstration
from denken.tasks.traces.digits import add
from denken.types import Problem

# English names (singular, as reasoning-gym's leg_counting uses them) -> German singular, German plural, legs.
ANIMALS: dict[str, tuple[str, str, int]] = {
    "snake": ("Schlange", "Schlangen", 0),
    "sea slug": ("Meeresschnecke", "Meeresschnecken", 0),
    "jellyfish": ("Qualle", "Quallen", 0),
    "flatworm": ("Plattwurm", "Plattwürmer", 0),
    "leech": ("Blutegel", "Blutegel", 0),
    "chicken": ("Huhn", "Hühner", 2),
    "bird": ("Vogel", "Vögel", 2),
    "human": ("Mensch", "Menschen", 2),
    "duck": ("Ente", "Enten", 2),
    "dog": ("Hund", "Hunde", 4),
    "cat": ("Katze", "Katzen", 4),
    "cow": ("Kuh", "Kühe", 4),
    "horse": ("Pferd", "Pferde", 4),
    "lion": ("Löwe", "Löwen", 4),
    "elephant": ("Elefant", "Elefanten", 4),
    "giraffe": ("Giraffe", "Giraffen", 4),
    "tiger": ("Tiger", "Tiger", 4),
    "deer": ("Hirsch", "Hirsche", 4),
    "sheep": ("Schaf", "Schafe", 4),
    "starfish": ("Seestern", "Seesterne", 5),
    "insect": ("Insekt", "Insekten", 6),
    "ant": ("Ameise", "Ameisen", 6),
    "butterfly": ("Schmetterling", "Schmetterlinge", 6),
    "beetle": ("Käfer", "Käfer", 6),
    "bee": ("Biene", "Bienen", 6),
    "wasp": ("Wespe", "Wespen", 6),
    "grasshopper": ("Heuschrecke", "Heuschrecken", 6),
    "cricket": ("Grille", "Grillen", 6),
    "cockroach": ("Kakerlake", "Kakerlaken", 6),
    "praying mantis": ("Gottesanbeterin", "Gottesanbeterinnen", 6),
    "firefly": ("Glühwürmchen", "Glühwürmchen", 6),
    "spider": ("Spinne", "Spinnen", 8),
    "scorpion": ("Skorpion", "Skorpione", 8),
    "crab": ("Krabbe", "Krabben", 10),
    "lobster": ("Hummer", "Hummer", 10),
    "shrimp": ("Garnele", "Garnelen", 10),
    "woodlouse": ("Assel", "Asseln", 14),
}
LEGS: dict[str, int] = {
    name: legs for english, (singular, plural, legs) in ANIMALS.items() for name in (english, singular, plural)
}


def leg_counting(problem: Problem) -> Demonstration:
    """Each kind of animal by itself, with its number and its name as the question has them, then the running total."""
    total = 0
    lines: list[str] = []
    for name, count in problem.metadata["animals"].items():
        more = count * LEGS[name]
        asked = f"{count} {name}s"
        line = f"{asked if asked in problem.prompt else asked[:-1]}*{LEGS[name]}={more}"
        if lines:
            line += f",{add(total, more).text}"
        total += more
        lines.append(line)
    return Demonstration("\n".join(lines), problem.answer)
