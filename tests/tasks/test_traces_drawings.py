"""Thoughts about drawings: full marks, and what they say stands in the drawing where they say it."""

import re

from denken.tasks.traces import WRITERS
from denken.types import Problem
from worked import task_at, worked

SEEDS = range(2000, 2024)
GATES = {"&&": all, "↑↑": lambda wires: not all(wires), "⊕⊕": lambda wires: sum(wires) % 2}
LAST = {"AND": all, "OR": any, "NOR": lambda gates: not any(gates), "XOR": lambda gates: sum(gates) % 2}


def _wires(prompt: str) -> list[tuple[str, str]]:
    """Each wire of a drawn circuit: its input's letter, by the column it branches off from, and what is drawn of it."""
    drawing = prompt.split("\n\n")[1].split("\n")
    inputs = [line[0] for line in drawing if line[1:2] == ":"]
    found = [(re.match(r"[ │]+[├└](─+(?:>o)?)", line), line) for line in drawing[len(inputs) :]]
    return [
        (inputs[-1 - (wire.start(1) - 5) // 2], wire[1])
        for wire, _ in found
        if wire is not None and wire.start(1) - 5 < 2 * len(inputs)
    ]


def test_circuits_are_read_off_the_drawing_wire_by_wire() -> None:
    for problem, shown in worked("circuit_logic", "easy", SEEDS):
        assert task_at("circuit_logic", "easy").score(problem, shown.answer).reward == 1.0
        last, *gates, result = shown.thought.split("\n")
        read = re.findall(r"[a-z](─+(?:>o)?)([A-Z])", shown.thought)
        assert [(name, drawn) for drawn, name in read] == _wires(problem.prompt)[: len(read)]
        values = []
        for gate in gates:
            sign, wires, value, _ = re.fullmatch(r"\d(\D\D)(.*)=(\d):(\d)", gate).groups()  # type: ignore[union-attr]
            levels = [int(level) for level in re.findall(r"(\d):", wires)]
            values.append(int(value))
            assert values[-1] == GATES[sign](levels), gate
        assert result == f"={shown.answer}" == f"={int(LAST[last](values))}"


def test_what_repeats_a_pattern_stands_around_its_hole() -> None:
    for level in ("easy", "hard"):
        for problem, shown in worked("modulo_grid", level, range(2000, 2006)):
            assert task_at("modulo_grid", level).score(problem, shown.answer).reward == 1.0
            assert "❔" not in shown.answer
            assert len(shown.thought.split("\n")) == 3 * problem.prompt.count("❔")
    prompt = "Fill it in.\n\n❌❌✅❌\n❌✅❌❌\n❔❌❌✅\n❌❌✅❌"
    shown = WRITERS["modulo_grid"](Problem("modulo_grid", prompt, prompt[13:].replace("❔", "✅"), 0))
    assert shown.thought == "/✅-\\-❌=✅\n❔❌❌✅\n✅"


def test_edges_of_rectangles_are_counted_in_order_of_reading() -> None:
    for level in ("easy", "hard"):
        for problem, shown in worked("rectangle_count", level, range(2000, 2012)):
            assert task_at("rectangle_count", level).score(problem, shown.answer).reward == 1.0
            edges = [line.partition(" ")[2] for line in shown.thought.split("\n")[:-1]]
            assert re.search(".*?".join(map(re.escape, edges)), problem.prompt, re.DOTALL)
    puzzle = "####  \n#  #  \n#█████\n #█  #\n #   #\n #####\n"
    shown = WRITERS["rectangle_count"](Problem("rectangle_count", "?", "2", 0, {"puzzle": puzzle}))
    assert shown.thought == "1 ####\n3 #█████\n4 #####\n4/2=2"
    assert shown.answer == "2"
