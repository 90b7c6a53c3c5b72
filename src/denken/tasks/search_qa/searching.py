"""Thoughts that search: the question as the query, the line that answers it copied, and once more as the answer.

The way is the simplest that a small network can walk for pages it has never seen: nearly all of it is copying. First
the question, word for word; then, of the lines that come back, the one that shares most with it, from its number to its
end; then that line again without its title, as the answer. Nothing is put into other words, and nothing is picked out
of a line: what a line shows was picked by the search (`search/snippet.py`).
"""

from __future__ import annotations

from denken.search.found import Found
from denken.search.prompts import information
from denken.tasks.base import Demonstration
from denken.tasks.search_qa.library import PageLibrary
from denken.types import Problem

NOT_SAID = {"en": "The documents do not say that.", "de": "Das steht nicht in den Dokumenten."}
NONE_SAYS = {"en": "None of these says it.", "de": "Keine davon sagt es."}


def searching(problem: Problem, library: PageLibrary) -> Demonstration:
    """The searches, and the lines that answer; where a line cannot be found, that none says it."""
    known, language = problem.metadata, problem.metadata["language"]
    thought = ""
    answers: list[str] = []
    lines: list[str] = []
    queries = [problem.prompt, known["ask_next"]][: max(1, len(known["steps"]))]
    for at, query in enumerate(queries):
        found = library.look(as_query(query))
        lines = read(problem, found).split("\n") + lines
        thought += searched(as_query(query), read(problem, found))
        step = known["steps"][at] if at < len(known["steps"]) else None
        line = next((line for line in lines if step is not None and step in line), None)
        if line is None:
            return Demonstration(thought + NONE_SAYS[language], NOT_SAID[language])
        thought += line + "\n"
        answers.append(f"{line.partition(': ')[2]} [citation:{number(line)}]")
    return Demonstration(thought.rstrip("\n"), " ".join(answers))


def as_query(question: str) -> str:
    """What is looked up: the question as it is, but for the marks at its end.

    >>> as_query("When is the Lantern Parade?")
    'When is the Lantern Parade'
    """
    return " ".join(question.split()).rstrip("?.! ")


def searched(query: str, body: str) -> str:
    """A search and what came of it, as they stand in a thought."""
    return f"<search>{query}</search>\n<information>\n{body}\n</information>\n"


def read(problem: Problem, found: Found) -> str:
    """What the model reads of what was found."""
    return information(found, int(problem.metadata["characters"]), each=problem.metadata["snippet"])


def number(line: str) -> str:
    """The number of a source's line.

    >>> number("[12] Notes: The key is at the desk.")
    '12'
    """
    return line[1 : line.index("]")]
