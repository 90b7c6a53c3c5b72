"""Who may import whom: the arrows of the house, read from the source.

    errors < types, config, about, sandbox, remote < tokenizer < chat, model < engine, search, export < tasks < rollout,
        language < reward < evaluate < train < quantize < draft

Each imports from its left and from itself, never from its neighbour or its right. `serve` stands beside: it uses chat,
engine and search. `assistant`, `apart`, `reply` and `cli` put everything together. Imports inside functions and those
for type checkers count like any other.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "denken"

LEFT_TO_RIGHT = (
    ("errors",),
    ("types", "config", "about", "sandbox", "remote"),
    ("tokenizer",),
    ("chat", "model"),
    ("engine", "search", "export"),
    ("tasks",),
    ("rollout", "language", "shelf", "doctor"),
    ("reward",),
    ("evaluate",),
    ("train",),
    ("quantize",),
    ("draft",),
)
ORDER = {unit: place for place, units in enumerate(LEFT_TO_RIGHT) for unit in units}
SERVES = {"errors", "types", "config", "about", "remote", "tokenizer", "chat", "engine", "search"}
TOGETHER = {"assistant", "apart", "reply", "cli", "terminal", "__init__", "__main__"}
# What the order would allow and the house does not.
STRANGERS = {("tasks", "model"), ("search", "model"), ("rollout", "model"), ("rollout", "engine")}
WITHOUT_TORCH = (
    "errors",
    "types",
    "config",
    "about",
    "sandbox",
    "remote",
    "tokenizer",
    "chat",
    "tasks",
    "search",
    "rollout",
    "language",
    "reward",
    "serve",
)
WEB = {"fastapi", "starlette", "sse_starlette", "uvicorn"}

MODULES = sorted(SOURCE.rglob("*.py"))


def unit_of(path: Path) -> str:
    """The folder, or the file, right under src/denken."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it, with its dots."""
    package = ("denken", *path.relative_to(SOURCE).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            name = ".".join(part for part in (base, node.module) if part)
            # `from denken import chat` names the unit only behind the import.
            found |= {f"{name}.{alias.name}" for alias in node.names} if name == "denken" else {name}
    return found


def allowed(unit: str, other: str) -> bool:
    if unit == other or unit in TOGETHER:
        return True
    if unit == "serve":
        return other in SERVES
    return ORDER.get(other, 99) < ORDER[unit] and (unit, other) not in STRANGERS


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_to_the_left(path):
    unit = unit_of(path)
    assert unit in ORDER or unit in TOGETHER or unit == "serve", f"decide where {unit} stands, and list it here"
    for name in imported(path):
        top, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if top == "denken" and other not in ("", "__version__"):
            assert allowed(unit, other), f"{path.relative_to(SOURCE)} imports {name}"
        assert top != "torch" or unit not in WITHOUT_TORCH, f"{path.relative_to(SOURCE)} imports torch"
        assert top not in WEB or unit == "serve", f"{path.relative_to(SOURCE)} imports {top}"


def test_the_arrows_are_kept_apart():
    """The table itself says what the house says."""
    assert allowed("chat", "tokenizer")
    assert allowed("train", "engine")
    assert allowed("serve", "engine")
    for unit, other in (("chat", "model"), ("engine", "train"), ("tasks", "model"), ("serve", "train")):
        assert not allowed(unit, other)
    assert not allowed("engine", "serve")
    assert not allowed("engine", "assistant")


def loads_torch(modules: list[str]) -> bool:
    code = (
        f"import sys, importlib\nfor name in {modules!r}: importlib.import_module(name)\nprint('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1] == "True"


def test_what_stands_without_torch_does_not_load_it_by_a_detour():
    names = []
    for path in MODULES:
        if unit_of(path) in WITHOUT_TORCH:
            parts = path.relative_to(SOURCE).with_suffix("").parts
            names.append(".".join(("denken", *parts)).removesuffix(".__init__"))
    assert "denken.chat.template" in names
    assert not loads_torch(names)


def test_importing_denken_and_its_command_line_is_light():
    assert not loads_torch(["denken", "denken.cli", "denken.assistant"])
    assert loads_torch(["denken.model.transformer"])
