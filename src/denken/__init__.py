"""denken: train, shrink, run and talk to reasoning models on your own machine.

>>> import denken
>>> denken.load("bundled").ask("What is 17 times 23?").text        # doctest: +SKIP

Importing the package is quick: PyTorch is only imported once a model is loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from denken.assistant import Answer, Assistant, load

    __version__: str

__all__ = ["Answer", "Assistant", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("denken")
    if name in __all__:
        return getattr(import_module("denken.assistant"), name)
    raise AttributeError(f"module 'denken' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
