"""Files and folders of this machine into the library: which of them, and each one's text.

A folder is walked whole, but for what is hidden and for what is plainly no document. Not covered: watching folders;
`denken library add` again takes in what has changed, in place of what was there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from denken.errors import ConfigError
from denken.search.convert import MAX_BYTES, convert
from denken.search.library import Document, Library, LibraryError

# Of files that are named by themselves any kind is tried; of those in folders these.
KINDS = frozenset(
    {".txt", ".md", ".markdown", ".rst", ".org", ".tex", ".csv", ".tsv", ".json", ".html", ".htm", ".xhtml", ".pdf"}
    | {".docx"}
)
MOST_FILES = 100_000


def files(paths: Iterable[Path]) -> list[Path]:
    """Every file that is meant, once, by its full name. Raises ConfigError for a path that is not there."""
    found: dict[Path, None] = {}
    for path in paths:
        path = path.expanduser().absolute()
        if not path.exists():
            raise ConfigError(f"{path} is not there; name a file or a folder.")
        for file in _walk(path) if path.is_dir() else (path,):
            found[file] = None
            if len(found) > MOST_FILES:
                raise ConfigError(f"{path} holds more than {MOST_FILES} documents; add its folders one by one.")
    return list(found)


def _walk(folder: Path) -> Iterator[Path]:
    """Links to folders are not followed: they may lead round in a circle."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(place, name)
            if not name.startswith(".") and file.suffix.lower() in KINDS and file.is_file():
                yield file


def add_file(library: Library, file: Path, *, owner: str | None = None) -> Document:
    """Takes a file in. Raises LibraryError and ConvertError, which say why not."""
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_BYTES + 1)
    except OSError as error:
        raise LibraryError(f"{file} cannot be read ({error.strerror}).") from error
    read = convert(data, str(file))
    return library.add(read.title, read.text, str(file), owner=owner)
