"""What the pages say is there is there: links, names, files, commands, options, recipe keys, request fields.

Examples that show a prompt (`>>>`) are run. How lines to be typed are read and checked is `test_readme.py`'s business.

    python tests/test_docs.py       writes the option tables of docs/cli.md anew
"""

from __future__ import annotations

import ast
import doctest
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

import test_readme
from denken import config
from denken.serve import messages_schemas, responses_schemas
from denken.serve.app import create_app
from denken.serve.chats.chats import Chats
from denken.serve.chats.schemas import TurnRequest
from denken.serve.fields import Sampled
from denken.serve.schemas import UNSUPPORTED, ChatRequest
from denken.serve.speaker import Speaker
from denken.serve.store import open_store
from denken.serve.texts import TextRequest
from denken.train.data import Mixture, Source

ROOT = Path(__file__).parents[1]
SOURCE, TESTS, DOCS = ROOT / "src" / "denken", ROOT / "tests", ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
EVERY_PAGE = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *PAGES]
FOLDERS = sorted(path.name for path in SOURCE.iterdir() if any(path.glob("*.py")))
CODE_FILES = "py|md|toml|html|js|css"
OTHER_FILES = ("db", "json", "jsonl", "safetensors", "png", "tmp")
# Named on the pages as something to come. What has come has to leave this list.
TO_COME: set[str] = set()
# What an installation makes, and git does not hold.
BUILT = {"page/"}
TABLES = {  # what a table in docs/train.md lists -> the records that its keys are read into
    "key before the tables": (config.Recipe,),
    "key of `[tokenizer]`": (config.TokenizerSection,),
    "key of `[data]`": (config.DataSection, Mixture),
    "key of `[[data.sources]]`": (Source,),
    "key of `[optim]`": (config.OptimSection,),
    "key of `[train]`": (config.TrainSection,),
    "key of `[sample]`": (config.SampleSection,),
    "key of `[sample.endpoint]`": (config.EndpointSection,),
    "key of `[rl]`": (config.RLSection,),
    "key of `[[rl.tasks]]`": (config.RLTask,),
    "key of `[reward]`": (config.RewardSection,),
    "key of `[cost]`": (config.CostSection,),
    "key of `[expect]`": (config.ExpectSection,),
}
SECTIONS = {"model", "tokenizer", "data", "sample", "rl", "reward", "optim", "train", "cost", "expect"}

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
by_every_page = pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: str(page.relative_to(ROOT)))


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def fenced(page: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)


def spans(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def table(page: Path, first: str) -> list[list[str]]:
    """The rows of the table whose first column is headed so, cell by cell."""
    lines = iter(text_of(page).splitlines())
    if not any(line.startswith(f"| {first} |") for line in lines):
        raise AssertionError(f"{page.name} has no table that begins with the column {first!r}.")
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return found


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub makes them into anchors."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_there(path: Path) -> bool:
    """A file, or a folder with something in it: git keeps no empty ones."""
    return path.is_file() or any(path.glob("*"))


@cache
def members() -> dict[str, frozenset[str]]:
    """Of every module's last name and of every class in src/denken: the names defined in it."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in SOURCE.rglob("*.py"):
        module = found[path.parent.name if path.stem == "__init__" else path.stem]
        if path.stem != "__init__":
            found[path.parent.name].add(path.stem)
        tree = ast.parse(text_of(path))
        module |= set(_defined(tree.body))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name] |= set(_defined(node.body))
                found[node.name] |= {
                    inner.attr
                    for inner in ast.walk(node)
                    if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store)
                }
    return {name: frozenset(inside) for name, inside in found.items()}


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (target.id for target in targets if isinstance(target, ast.Name))


@cache
def known_tests() -> frozenset[str]:
    """Every test function, and every file of tests."""
    functions = {
        name
        for path in TESTS.rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", text_of(path), re.MULTILINE)
    }
    return frozenset(functions | {path.stem for path in TESTS.rglob("test_*.py")})


def resolves(dotted: str) -> bool:
    """Whether a name that begins with `denken.` can be imported."""
    value: Any = import_module("denken")
    path = "denken"
    for part in dotted.split(".")[1:]:
        path = f"{path}.{part}"
        if hasattr(value, part):
            value = getattr(value, part)
        elif part in getattr(value, "__annotations__", {}):
            return path == dotted
        else:
            try:
                value = import_module(path)
            except ImportError:
                return False
    return True


def missing(span: str, page: Path) -> str | None:
    """What is wrong with a name in backticks; None where nothing is, or where it is no name of ours."""
    if span in TO_COME | BUILT:
        return None
    if re.fullmatch(r"test_\w+", span):
        return None if span in known_tests() else "no such test"
    dotted = re.fullmatch(r"((?:\w+\.)+)(\w+)(?:\(.*\))?", span)
    if dotted and span.startswith("denken."):
        return None if resolves(dotted[1] + dotted[2]) else "cannot be imported"
    if re.fullmatch(rf"[\w./-]+/|[\w./-]+\.(?:{CODE_FILES})", span) and not span.startswith(("/", "runs/")):
        if any(is_there(base / span) for base in (ROOT, SOURCE, TESTS, SOURCE / page.stem)):
            return None
        everywhere = (path for base in (SOURCE, TESTS, ROOT / "recipes") for path in base.rglob(span))
        return None if "/" not in span and any(everywhere) else "no such file"
    if dotted and dotted[1].count(".") == 1 and dotted[2] not in OTHER_FILES:
        inside = members().get(dotted[1].rstrip("."))
        return f"{dotted[1].rstrip('.')} has no {dotted[2]}" if inside is not None and dotted[2] not in inside else None
    return None


@by_every_page
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{page.name} links to {target}, which is not there"
        assert not anchor or anchor in anchors(there), f"{page.name} links to {target}, and there is no such heading"


@by_every_page
def test_names_in_backticks_exist(page: Path) -> None:
    wrong = {span: why for span in spans(prose(page)) if (why := missing(span, page))}
    assert not wrong, f"{page.name}: {wrong}"


def test_the_reading_of_names_finds_what_is_not_there() -> None:
    page = DOCS / "engine.md"
    for good in ("denken.load", "denken.types.Completion.ids", "Engine.step", "sequence.thought_limit", "cache.py"):
        assert missing(good, page) is None, good
    for wrong in ("denken.lode", "Engine.stop", "sequence.thoughts", "cash.py", "engine/cash.py", "test_no_such_thing"):
        assert missing(wrong, page), wrong
    assert missing("config.json", page) is None


def test_what_is_to_come_is_not_there_yet() -> None:
    here = {name for name in TO_COME if missing_file(name)}
    assert here == TO_COME, f"{TO_COME - here} is there now: give it its page, and take it out of TO_COME"


def missing_file(name: str) -> bool:
    return not any(is_there(base / name) for base in (ROOT, SOURCE)) and not list(SOURCE.rglob(name.rstrip("/") + "/*"))


@by_page
def test_what_is_to_be_typed_exists(page: Path) -> None:
    test_readme.test_what_is_to_be_typed_exists(page)


@by_page
def test_examples_are_python(page: Path) -> None:
    """Blocks with prompts are run, one after another as in one session; the others must at least be Python."""
    blocks = fenced(page, "python")
    for block in blocks:
        if ">>>" not in block:
            compile(block, str(page), "exec")
    session = "\n".join(block for block in blocks if ">>>" in block)
    example = doctest.DocTestParser().get_doctest(session, {}, page.name, str(page), 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False).run(example, out=said.append)
    assert not said, "".join(said)


@by_page
def test_quotations_stand_in_the_source(page: Path) -> None:
    """Blocks of ```py are quoted from the source, line by line."""
    sources = [re.sub(r"^ +", "", text_of(path), flags=re.MULTILINE) for path in SOURCE.rglob("*.py")]
    for block in fenced(page, "py"):
        quoted = re.sub(r"^ +", "", block, flags=re.MULTILINE)
        assert any(quoted in source for source in sources), f"{page.name} quotes what is not there:\n{block}"


@by_page
def test_recipes_on_the_pages_can_be_read(page: Path) -> None:
    for block in fenced(page, "toml"):
        values = tomllib.loads(block)
        if "model" in values:
            recipe = config.parse(config.Recipe, values, where=page.name)
            Mixture.model_validate(recipe.data.sources)


def test_every_folder_has_its_page_and_every_page_its_place_in_the_index() -> None:
    index = text_of(DOCS / "README.md")
    assert {f"{folder}.md" for folder in FOLDERS} <= {page.name for page in PAGES}
    for page in PAGES:
        assert page.name == "README.md" or f"]({page.name})" in index, f"docs/README.md does not list {page.name}"


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folders_page_names_its_files(folder: str) -> None:
    named = set(spans(text_of(DOCS / f"{folder}.md")))
    for path in (SOURCE / folder).iterdir():
        if path.name.startswith("__") or not (path.suffix == ".py" or any(path.glob("*"))):
            continue
        name = path.name if path.is_file() else f"{path.name}/"
        assert name in named, f"docs/{folder}.md does not name `{name}`; give it a line in the table of files"


def test_the_index_names_the_files_beside_the_folders() -> None:
    named = set(spans(text_of(DOCS / "README.md")))
    assert {path.name for path in SOURCE.glob("*.py")} - {"__init__.py", "__main__.py"} <= named


def options(name: str) -> str:
    """The table of a command's arguments and options, as docs/cli.md shows it."""
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for parameter in test_readme.COMMANDS[name].params:
        if parameter.name == "help":
            continue
        if parameter.param_type_name == "argument":
            given = f"`{(parameter.metavar or parameter.name).upper()}`"
        else:
            given = ", ".join(f"`{option}`" for option in (*parameter.opts, *parameter.secondary_opts))
        flag = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
        default = "required" if parameter.required else "off" if flag else parameter.default
        shown = default if default in ("required", "off") else "" if default is None else f"`{default}`"
        lines.append(f"| {given} | {shown} | {(getattr(parameter, 'help', '') or '').replace('|', '/')} |")
    return "\n".join(lines) + "\n" if len(lines) > 2 else "No options.\n"


def with_options(page: str) -> str:
    """The page with every table of options as the command line has it."""
    block = re.compile(r"(<!-- options of ([\w ]+) -->\n\n)(?:(?!<!--).)*?(\n?<!-- end -->)", re.DOTALL)
    return block.sub(lambda found: found[1] + options(found[2]) + found[3], page)


def test_the_option_tables_are_the_command_lines() -> None:
    page = text_of(DOCS / "cli.md")
    listed = re.findall(r"<!-- options of ([\w ]+) -->", page)
    assert listed == re.findall(r"^## denken ([\w ]+)$", page, re.MULTILINE) == list(test_readme.COMMANDS)
    assert page == with_options(page), "docs/cli.md is not up to date; run: python tests/test_docs.py"


def in_toml(value: Any) -> str:
    """A default as docs/train.md writes it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


@pytest.mark.parametrize("first", TABLES)
def test_the_recipes_keys_and_defaults_are_the_recipes(first: str) -> None:
    expected = {
        f"`{name}`": "required" if field.is_required() else in_toml(field.get_default(call_default_factory=True))
        for record in TABLES[first]
        for name, field in record.model_fields.items()
        if record is not config.Recipe or name not in SECTIONS
    }
    assert {row[0]: row[1] for row in table(DOCS / "train.md", first)} == expected


def test_every_route_has_its_place_on_a_page(tmp_path: Path) -> None:
    """By its path, or by the same path under another of the bases that APIs are known under."""
    words = {word for page in PAGES for span in spans(text_of(page)) for word in span.split()}
    bases = ("/anthropic/v1", "/beta", "/v1", "")
    with open_store(str(tmp_path / "denken.db")) as store, closing(Chats(store)) as chats:
        app = create_app(cast(Speaker, SimpleNamespace(name="any", created=0)), chats=chats)
    for path in app.openapi()["paths"]:
        tail = path.removeprefix(next(base for base in bases if path.startswith(base)))
        assert words & {base + tail for base in bases}, f"no page names the route {path}"


def test_the_request_fields_are_the_servers() -> None:
    rows = table(DOCS / "serve.md", "field")
    listed = {name for row in rows for name in spans(row[0])}
    assert listed == set(ChatRequest.model_fields) - UNSUPPORTED.keys()
    (refused,) = re.findall(r"^Refused unless they ask for nothing: (.*?)$", prose(DOCS / "serve.md"), re.MULTILINE)
    assert set(spans(refused)) == set(UNSUPPORTED)
    rows = table(DOCS / "serve.md", "field of a text")
    own = {name for row in rows for name in spans(row[0])}
    assert own == TextRequest.model_fields.keys() - Sampled.model_fields.keys()
    assert Sampled.model_fields.keys() <= listed


def test_the_fields_of_a_turn_are_the_servers() -> None:
    listed = {name for row in table(DOCS / "chats.md", "field of a turn") for name in spans(row[0])}
    assert listed == set(TurnRequest.model_fields)


@pytest.mark.parametrize(
    ("first", "request_type", "unsupported"),
    [
        ("field of a response", responses_schemas.ResponsesRequest, responses_schemas.UNSUPPORTED),
        ("field of a message", messages_schemas.MessagesRequest, messages_schemas.UNSUPPORTED),
    ],
)
def test_the_fields_of_the_other_apis_are_the_servers(first: str, request_type: Any, unsupported: Any) -> None:
    listed = {name for row in table(DOCS / "apis.md", first) for name in spans(row[0])}
    assert listed == request_type.model_fields.keys() - unsupported.keys()
    refused = re.findall(r"^Refused unless they ask for nothing: (.*?)$", prose(DOCS / "apis.md"), re.MULTILINE)
    assert set(unsupported) in [set(spans(line)) for line in refused]


if __name__ == "__main__":
    (DOCS / "cli.md").write_text(with_options(text_of(DOCS / "cli.md")), encoding="utf-8")
