"""A file or a page to text: plain text, Markdown and source code as they are, HTML, PDF and DOCX through a parser.

What a file is, is told by its first bytes and only then by its name. Parsers run in a locked process (`worker.py`).
Whatever cannot be read is a sentence that names the file and says what to do.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Literal

from denken.errors import DenkenError
from denken.search.passages import heading_of
from denken.search.worker import ParseError, Worker

MAX_BYTES = 16 * 2**20
MAX_CHARACTERS = 4_000_000
SECONDS = 20.0
# So many documents are parsed at a time; others wait for their turn.
AT_ONCE = 4

Kind = Literal["text", "page", "pdf", "docx"]

_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([\w-]{1,40})", re.IGNORECASE)
# Of Python's codecs those that documents are in; some others take a time that grows with the square of the length.
_ENCODING = re.compile(
    r"utf-?8|utf-?16(?:-?[lb]e)?|(?:us-)?ascii|latin-?1|iso-?8859-?\d+|(?:windows|cp)-?\d{3,4}|koi8-[ru]|macintosh|"
    r"gb2312|gbk|gb18030|big5|euc-(?:jp|kr)|shift[_-]jis",
    re.IGNORECASE,
)
# Other than tabs and line ends; and halves of surrogate pairs.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}

_worker = Worker()
_threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="convert")


class ConvertError(DenkenError, ValueError):
    """A file cannot be read as text; the sentence says why."""


@dataclass(frozen=True, slots=True)
class Converted:
    """title: what it calls itself, else its name. published: a date as the page gives it. pages: of a PDF.

    cut: whether the text ends before the file does.
    """

    title: str
    text: str
    published: str = ""
    pages: int | None = None
    cut: bool = False


async def converted(data: bytes, name: str, **options: Any) -> Converted:
    """`convert` for an event loop: in one of a few threads, each of which waits for its process."""
    return await asyncio.get_running_loop().run_in_executor(_threads, partial(convert, data, name, **options))


def prepare() -> None:
    """Starts the process that parses, so that what comes soon need not wait for it."""
    _threads.submit(_worker.start)


def convert(
    data: bytes,
    name: str,
    *,
    media_type: str = "",
    url: str = "",
    characters: int = MAX_CHARACTERS,
    seconds: float = SECONDS,
) -> Converted:
    """The text of a file. Raises ConvertError.

    media_type: as a server gave it, with its charset. url: of a page. characters: what is behind them is left out.
    seconds: how long a parser may take.
    """
    shown = _one_line(name)[-200:] or "The file"
    if len(data) > MAX_BYTES:
        raise ConvertError(f"{shown} is larger than {MAX_BYTES // 2**20} MiB; split it.")
    if not data.strip():
        raise ConvertError(f"{shown} is empty.")
    kind = _kind(data, shown, media_type)
    options: dict[str, Any] = {"characters": characters, "seconds": seconds}
    if kind in ("text", "page"):
        text = _decoded(data, media_type)
        read: dict[str, Any] = {"text": text}
        if kind == "page":
            data, options["url"] = text.encode("utf-8", "replace"), url
    if kind != "text":
        try:
            read = _worker.parse(kind, data, options, seconds=seconds)
        except ParseError as error:
            raise ConvertError(f"{shown} {error}") from error
    return _tidied(read, shown, characters)


def _tidied(read: dict[str, Any], shown: str, characters: int) -> Converted:
    text = _clean(str(read.get("text") or ""))
    if not text:
        raise ConvertError(f"{shown} holds no text.")
    first = text.split("\n", 1)[0].strip()
    title = _one_line(str(read.get("title") or "")) or heading_of(first) or PurePosixPath(shown).stem or shown
    pages = read.get("pages")
    return Converted(
        title[:300],
        text[:characters],
        _one_line(str(read.get("published") or ""))[:40],
        pages if isinstance(pages, int) else None,
        bool(read.get("cut")) or len(text) > characters,
    )


def _kind(data: bytes, shown: str, media_type: str) -> Kind:
    start, ending = data[:1024], PurePosixPath(shown).suffix.lower()
    if b"%PDF-" in start:
        return "pdf"
    if start.startswith(b"PK\x03\x04"):
        return "docx"
    if start.startswith(b"\xd0\xcf\x11\xe0"):
        raise ConvertError(f"{shown} is of an old Office; open it and save it as DOCX or PDF.")
    if ending in (".pdf", ".docx"):
        raise ConvertError(f"{shown} is no {ending[1:].upper()}, whatever its name says.")
    if b"\0" in data[: 1 << 16] and not start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConvertError(f"{shown} is no text; text, Markdown, HTML, PDF and DOCX can be read.")
    looks = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if (
        "html" in media_type.lower()
        or ending in (".html", ".htm", ".xhtml")
        or looks.startswith((b"<!doctype html", b"<html"))
    ):
        return "page"
    return "text"


def _decoded(data: bytes, media_type: str) -> str:
    """By the mark at its beginning, by what the server says, by what the page says, else as UTF-8 or Windows-1252."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    said = [*_CHARSET.findall(media_type), *_CHARSET.findall(data[:2048].decode("ascii", "replace"))]
    for encoding in (name for name in said if _ENCODING.fullmatch(name)):
        try:
            return data.decode(encoding)
        except (LookupError, UnicodeError):
            continue
    try:
        return data.decode("utf-8")
    except UnicodeError:
        return data.decode("cp1252", "replace")


def _clean(text: str) -> str:
    """Without control characters, with plain line ends and at most one empty line in a row."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n"))
    text = _CONTROL.sub("", text)
    lines: list[str] = []
    for line in text.split("\n"):
        line = line.rstrip()
        if line or (lines and lines[-1]):
            lines.append(line)
    return "\n".join(lines).strip("\n")


def _one_line(text: str) -> str:
    return " ".join(_clean(text).split())
