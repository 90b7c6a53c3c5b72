"""A page, a PDF and a DOCX to text: what runs in the locked process of `worker.py`.

Text comes out as Markdown where the parser gives its headings, since passages keep them. What goes wrong is returned
as the end of a sentence ("is encrypted; ..."), for `convert.py` to say of which file.

Not covered: scanned pages (there is no text in them), formulas and pictures.
"""

from __future__ import annotations

import io
import re
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from typing import Any

MAX_UNPACKED_BYTES = 100 * 2**20
MAX_RATIO = 200
MAX_ENTRIES = 5000
# A table of a PDF reader's own would be killed in the middle; this share of the time is for reading, the rest to tell.
READING_SHARE = 0.7

Parsed = dict[str, Any]


class Unreadable(Exception):
    """The end of a sentence that begins with the document's name."""


def parse(kind: str, data: bytes, options: Mapping[str, Any]) -> Parsed:
    """Never raises: {"error": ...} for what cannot be read."""
    try:
        return PARSERS[kind](data, **options)
    except Unreadable as error:
        return {"error": str(error)}
    except MemoryError:
        return {"error": "needs too much memory to read."}
    except Exception as error:  # parsers raise whatever they like on what is broken
        return {"error": f"is damaged or no real {kind.upper()} ({type(error).__name__})."}


def page(data: bytes, *, url: str, characters: int, seconds: float) -> Parsed:
    """The readable part of a page; where there is no telling, all of its text."""
    import trafilatura

    source = data.decode("utf-8", "replace")
    title = published = text = ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = trafilatura.bare_extraction(
                source,
                url=url or None,
                with_metadata=True,
                include_comments=False,
                include_formatting=True,
                output_format="markdown",
                date_extraction_params={"extensive_search": False, "original_date": True, "max_date": "2100-01-01"},
            )
        if read is not None:
            title, published, text = (getattr(read, name, "") or "" for name in ("title", "date", "text"))
    except Exception:  # too deep, too odd: its text is there all the same
        text = ""
    plain = _Plain()
    plain.feed(source)
    whole = plain.text()
    # Of a short page trafilatura takes nothing, or a small part.
    if len(text) < 200 and len(whole) < 5000:
        text = whole
    text = text or whole
    cut = len(text) > characters
    return {"title": title or plain.title, "text": text[:characters], "published": published, "cut": cut}


_BLOCKS = """\
address article aside blockquote br dd div dl dt figcaption footer header hr li main ol p pre section table tr td th ul
h1 h2 h3 h4 h5 h6
"""


class _Plain(HTMLParser):
    """All text of a page but for scripts, styles and navigation, with its headings.

    It keeps no tree, so that no page is too deep for it.
    """

    _SKIPPED = frozenset(("script", "style", "noscript", "template", "nav", "svg", "iframe", "select", "button"))
    _BLOCKS = frozenset(_BLOCKS.split())

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._skipping: str | None = None
        self._in_title = False
        self.title = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if self._skipping is None and tag in self._SKIPPED:
            self._skipping = tag
        self._in_title = tag == "title" and not self.title
        if tag in self._BLOCKS:
            heading = tag[0] == "h" and tag[1:].isdigit()
            self._parts.append("\n\n" + "#" * int(tag[1]) + " " if heading else " " if tag in ("td", "th") else "\n\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == self._skipping:
            self._skipping = None
        self._in_title = False
        if tag in self._BLOCKS:
            self._parts.append(" " if tag in ("td", "th") else "\n\n")

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.title = " ".join(data.split())
        elif self._skipping is None:
            self._parts.append(re.sub(r"\s+", " ", data))

    def text(self) -> str:
        self.close()
        lines = (" ".join(line.split()) for line in "".join(self._parts).split("\n\n"))
        return "\n\n".join(line for line in lines if line.strip("#"))


def pdf(data: bytes, *, characters: int, seconds: float) -> Parsed:
    """Page by page, as far as the time goes."""
    import pypdf

    end = time.monotonic() + seconds * READING_SHARE
    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("is encrypted; save it without a password and add that.")
    pages = len(reader.pages)
    texts: list[str] = []
    left = characters
    for number in range(pages):
        if left <= 0 or time.monotonic() > end:
            break
        texts.append(_unhyphenated(reader.pages[number].extract_text())[:left])
        left -= len(texts[-1])
    text = "\n\n".join(texts)
    if not text.strip():
        raise Unreadable("holds no text, only pictures of it; run it through a program for text recognition first.")
    title = str((reader.metadata and reader.metadata.title) or "")
    return {"title": title, "text": text, "pages": pages, "cut": len(texts) < pages or left <= 0}


def _unhyphenated(text: str) -> str:
    return re.sub(r"(?<=[^\W\d_])-\n(?=[^\W\d_])", "", text)


def docx(data: bytes, *, characters: int, seconds: float) -> Parsed:
    """Through Markdown, for its headings and lists."""
    import mammoth

    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        unpacked = sum(entry.file_size for entry in entries)
        if len(entries) > MAX_ENTRIES or unpacked > min(MAX_UNPACKED_BYTES, max(2**20, MAX_RATIO * len(data))):
            raise Unreadable("unpacks to far more than a document holds.")
        if "word/document.xml" not in archive.namelist():
            raise Unreadable("is no DOCX but another kind of archive; unpack it and add what is in it.")
    said = mammoth.convert_to_markdown(io.BytesIO(data), convert_image=mammoth.images.img_element(lambda _: {})).value
    text = re.sub(r"\\([\\`*_{}\[\]()#+\-.!])", r"\1", said)
    text = re.sub(r"<a id=\"[^\"]*\"></a>|!\[[^\]]*\]\([^)]*\)", "", text)
    if not text.strip():
        raise Unreadable("holds no text.")
    return {"title": "", "text": text[:characters], "cut": len(text) > characters}


PARSERS: Mapping[str, Callable[..., Parsed]] = {"page": page, "pdf": pdf, "docx": docx}


def warm_up() -> None:
    """Everything that the parsers import or open only when they need it; a locked child cannot open it any more."""
    pages = [_PAGE.format(body=f"<p>{_SENTENCE}</p>" * count) for count in (1, 40)]
    samples = [("page", sample.encode()) for sample in pages]
    samples += [("pdf", _small_pdf(b"BT /F1 12 Tf (Harbour) Tj ET")), ("docx", _small_docx())]
    for kind, data in samples:
        options = {"url": "https://a.example/"} if kind == "page" else {}
        parse(kind, data, {"characters": 1000, "seconds": 60.0, **options})


_SENTENCE = "The harbour opens at six, and on the 3rd of May it stays closed, says the master."
_PAGE = """\
<html><head><title>Harbour</title><meta property="article:published_time" content="2024-05-01"></head>
<body><h1>Harbour</h1><h2>Hours</h2><ul><li>at six</li></ul><table><tr><td>6</td></tr></table>{body}</body></html>
"""


def _small_pdf(content: bytes) -> bytes:
    import pypdf
    from pypdf.generic import DecodedStreamObject, DictionaryObject, NameObject

    writer = pypdf.PdfWriter()
    sheet = writer.add_blank_page(100, 100)
    font = DictionaryObject(
        {
            NameObject("/Type"): NameObject("/Font"),
            NameObject("/Subtype"): NameObject("/Type1"),
            NameObject("/BaseFont"): NameObject("/Helvetica"),
        }
    )
    stream = DecodedStreamObject()
    stream.set_data(content)
    sheet[NameObject("/Resources")] = DictionaryObject(
        {NameObject("/Font"): DictionaryObject({NameObject("/F1"): font})}
    )
    sheet[NameObject("/Contents")] = writer._add_object(stream.flate_encode())
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def _small_docx() -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "word/document.xml",
            '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>'
            "<w:p><w:r><w:t>Harbour</w:t></w:r></w:p></w:body></w:document>",
        )
    return written.getvalue()
