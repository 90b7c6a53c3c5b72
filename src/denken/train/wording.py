"""Questions as people send them: with a greeting before, or thanks behind.

A data set words all its questions alike, and a network that has seen nothing else hangs on those words: one sentence
before a sum that it does in its sleep, and it fails. What is added here says nothing about the problem, which itself
stays as it is. None of it is what an examination adds (`denken.evaluate.rewording`).
"""

from __future__ import annotations

from random import Random

GREETINGS = (
    "Hi!", "Hello!", "Hey,", "Good morning.", "Dear assistant,", "Hallo!", "Guten Tag.", "Moin,", "Servus!",
)  # fmt: skip
REQUESTS = (
    "Can you help me with this?", "I have a question.", "I am stuck here:", "My teacher gave us this.", "Quick one:",
    "Next problem:", "Could you do this for me?", "I found this in a book:", "A riddle for you.", "Let us try another.",
    "Kannst du mir helfen?", "Ich habe eine Frage.", "Ich komme hier nicht weiter:", "Das ist meine Hausaufgabe:",
    "Noch eine:", "Kannst du das lösen?", "Jetzt etwas anderes.", "Die nächste Frage:", "Mein Sohn fragt:",
)  # fmt: skip
CLOSINGS = (
    "Thanks!", "Thank you very much.", "Thanks in advance!", "Take your time.", "I need it today.", "What do you say?",
    "Do not make a mistake.", "Can you do it?", "Danke!", "Vielen Dank im Voraus.", "Lass dir Zeit.", "Was meinst du?",
    "Ich brauche es heute noch.", "Danke dir, bis später.", "Mach keinen Fehler.", "Schaffst du das?",
)  # fmt: skip


def reworded(prompt: str, rng: Random) -> str:
    """The question with something before it, behind it, or both.

    >>> reworded("Calculate 3 + 4.", Random(5))
    'Jetzt etwas anderes. Calculate 3 + 4.\\nCan you do it?'
    """
    way = rng.random()
    if way < 0.7:
        said = [rng.choice(GREETINGS)] if rng.random() < 0.4 else []
        if not said or rng.random() < 0.7:
            said.append(rng.choice(REQUESTS))
        prompt = " ".join(said) + rng.choice((" ", "\n", "\n\n")) + prompt
    if way >= 0.5:
        prompt = prompt.rstrip() + rng.choice((" ", "\n", "\n\n")) + rng.choice(CLOSINGS)
    return prompt
