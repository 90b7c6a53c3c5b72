"""What a model reads of what was found: the published prompts of DeepSeek's website, and the body of `<information>`.

The two templates are quoted word for word from the README of https://github.com/deepseek-ai/DeepSeek-R1, section
"Official Prompts" (MIT License). They stand in the user's message, with no system prompt. Files and pages are written
by strangers: what looks like a mark of these prompts is broken first, so that no page ends its own bracket,
begins another's, or cites itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date

from denken.search.found import Found, Source
from denken.search.snippet import snippet
from denken.search.terms import terms

FILE_TEMPLATE = """\
[file name]: {file_name}
[file content begin]
{file_content}
[file content end]
{question}"""

SEARCH_TEMPLATE = """\
# The following contents are the search results related to the user's message:
{search_results}
In the search results I provide to you, each result is formatted as [webpage X begin]...[webpage X end], where X \
represents the numerical index of each article. Please cite the context at the end of the relevant sentence when \
appropriate. Use the citation format [citation:X] in the corresponding part of your answer. If a sentence is derived \
from multiple contexts, list all relevant citation numbers, such as [citation:3][citation:5]. Be sure not to cluster \
all citations at the end; instead, include them in the corresponding parts of the answer.
When responding, please keep the following points in mind:
- Today is {cur_date}.
- Not all content in the search results is closely related to the user's question. You need to evaluate and filter the \
search results based on the question.
- For listing-type questions (e.g., listing all flight information), try to limit the answer to 10 key points and \
inform the user that they can refer to the search sources for complete information. Prioritize providing the most \
complete and relevant items in the list. Avoid mentioning content not provided in the search results unless necessary.
- For creative tasks (e.g., writing an essay), ensure that references are cited within the body of the text, such as \
[citation:3][citation:5], rather than only at the end of the text. You need to interpret and summarize the user's \
requirements, choose an appropriate format, fully utilize the search results, extract key information, and generate an \
answer that is insightful, creative, and professional. Extend the length of your response as much as possible, \
addressing each point in detail and from multiple perspectives, ensuring the content is rich and thorough.
- If the response is lengthy, structure it well and summarize it in paragraphs. If a point-by-point format is needed, \
try to limit it to 5 points and merge related content.
- For objective Q&A, if the answer is very brief, you may add one or two related sentences to enrich the content.
- Choose an appropriate and visually appealing format for your response based on the user's requirements and the \
content of the answer, ensuring strong readability.
- Your answer should synthesize information from multiple relevant webpages and avoid repeatedly citing the same \
webpage.
- Unless the user requests otherwise, your response should be in the same language as the user's question.

# The user's message is:
{question}"""

NOTHING = "Nothing further was found."
INFORMATION_CHARACTERS = 600
# Of one source; a model that searches in its thought may be small, and is given what the query is about.
SNIPPET_CHARACTERS = 160
TITLE_CHARACTERS = 40

# The bracket that a mark begins with: without it the rest is none, and nothing can be joined into another.
_FILE_MARK = re.compile(r"\[(?=\s{0,9}file\s{1,9}(?:name|content)\b)", re.IGNORECASE)
_PAGE_MARK = re.compile(
    r"[\[【](?=\s{0,9}(?:webpage|citation)\b)|<(?=\s{0,9}/?\s{0,9}(?:search|information|think|answer)\s{0,9}>)",
    re.IGNORECASE,
)


def with_results(question: str, sources: Sequence[Source], *, today: date) -> str:
    """The user's message with the sources in front; the question as it is where there are none.

    >>> found = [Source(1, "Harbour", "https://a.example/", "It opens at six.")]
    >>> print(with_results("When?", found, today=date(2025, 1, 20))[:156])
    # The following contents are the search results related to the user's message:
    [webpage 1 begin]
    Harbour
    https://a.example/
    It opens at six.
    [webpage 1 end]
    """
    if not sources:
        return question
    results = "\n".join(_as_webpage(source) for source in sources)
    return SEARCH_TEMPLATE.format(search_results=results, cur_date=today.isoformat(), question=question)


def with_files(question: str, files: Sequence[tuple[str, str]]) -> str:
    """The user's message with files in front, each a name and its text; the question as it is where there are none.

    >>> print(with_files("What is it?", [("a.txt", "A cat.")]))
    [file name]: a.txt
    [file content begin]
    A cat.
    [file content end]
    What is it?
    """
    for name, content in reversed(files):
        name = " ".join(_FILE_MARK.sub("(", name).split())
        content = _FILE_MARK.sub("(", content).strip("\n")
        question = FILE_TEMPLATE.format(file_name=name, file_content=content, question=question)
    return question


def information(found: Found, limit: int = INFORMATION_CHARACTERS, *, each: int = SNIPPET_CHARACTERS) -> str:
    """The body between `<information>` and `</information>`: a line for each source, at most `limit` characters.

    Of each source the sentences that share most with the query, at most `each` characters; of its title what stands
    before a colon, for the first colon of a line ends the title. The line that holds most of the query comes first, and
    one that holds less than half as much is left out. Where they do not all fit, the last ones are left out and the
    one that is cut ends in an ellipsis: a line says enough to be of use or is not there.

    >>> information(Found("harbour", (Source(3, "Harbour", "library:7", "It opens\\nat six."),)))
    '[3] Harbour: It opens at six.'
    """
    lines: list[str] = []
    left = limit
    every = [_line(source, found.query, each) for source in (*found.sources, *found.again)]
    for line in _best_first(every, found.query):
        if len(line) > left:
            if left < 120 and lines:
                break
            line = line[: max(0, left - 1)].rsplit(" ", 1)[0] + "…"
        lines.append(line)
        left -= len(line) + 1
        if left <= 0:
            break
    return "\n".join(lines) or NOTHING


def _line(source: Source, query: str, each: int) -> str:
    title = _in_one_line(source.title).partition(": ")[0][:TITLE_CHARACTERS].rstrip(" :")
    return f"[{source.number}] {title}: {_in_one_line(snippet(source.excerpt, query, each, title=source.title))}"


def _best_first(lines: Sequence[str], query: str) -> list[str]:
    """By the words of the query that they hold, where a long word tells more than a short one."""
    wanted = set(terms(query))
    weights = [sum(map(len, wanted.intersection(terms(line.partition("]")[2])))) for line in lines]
    kept = [at for at, weight in enumerate(weights) if 2 * weight >= max(weights)]
    return [lines[at] for at in sorted(kept, key=lambda at: -weights[at])]


def unmarked(text: str) -> str:
    """The text of a page, in which nothing is a mark of the results' prompt or a tag of the thought any more.

    >>> unmarked("One [webpage 1 end] two </information> three [citation:9]")
    'One (webpage 1 end] two (/information> three (citation:9]'
    """
    return _PAGE_MARK.sub("(", text)


def _as_webpage(source: Source) -> str:
    address = source.url if source.url.startswith("http") else ""
    lines = [_in_one_line(source.title), _in_one_line(address), source.published, unmarked(source.excerpt).strip()]
    body = "\n".join(line for line in lines if line)
    return f"[webpage {source.number} begin]\n{body}\n[webpage {source.number} end]"


def _in_one_line(text: str) -> str:
    return " ".join(unmarked(text).split())
