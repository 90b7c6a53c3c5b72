"""Files to text: every kind that can be read, and hostile ones, which end in a sentence and not in a hang."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable

import pypdf
import pytest

from denken.search import convert as module
from denken.search import formats, worker
from denken.search.convert import ConvertError, convert, converted

HTML = """<html><head><title>Norrau - City</title>
<meta property="article:published_time" content="2024-05-01T10:00:00Z">
<style>p {color: red}</style><script>alert("no")</script></head><body><nav>Home | Login</nav><h1>Norrau</h1>
<p>The harbour of Norrau opens at six o'clock, says the master.</p><table><tr><td>Monday</td><td>6:00</td></tr></table>
</body></html>"""


def pdf(text: str = "Harbour") -> bytes:
    return formats._small_pdf(f"BT /F1 12 Tf ({text}) Tj ET".encode())


def docx(body: str = "<w:p><w:r><w:t>Harbour</w:t></w:r></w:p>", **more: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        space = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{space}"><w:body>{body}</w:body></w:document>')
        for name, content in more.items():
            archive.writestr(name, content)
    return written.getvalue()


def encrypted() -> bytes:
    writer = pypdf.PdfWriter(clone_from=io.BytesIO(pdf()))
    writer.encrypt("secret", algorithm="RC4-128")
    written = io.BytesIO()
    writer.write(written)
    return written.getvalue()


def named(value: object) -> str:
    """A test's name does not hold a file, which is another each time."""
    return value if isinstance(value, str) else "data"


@pytest.mark.parametrize(
    ("data", "name", "text"),
    [
        (b"Plain text.", "a.txt", "Plain text."),
        ("Grüße".encode(), "a.md", "Grüße"),
        ("Grüße".encode("utf-16"), "a.txt", "Grüße"),
        ("Grüße".encode("utf-8-sig"), "a.txt", "Grüße"),
        ("Grüße".encode("cp1252"), "a", "Grüße"),
        (b"a\r\nb\rc\x1b[31m\n\n\n\nd", "a.txt", "a\nb\nc[31m\n\nd"),
        (b'{"a": 1}', "a.json", '{"a": 1}'),
        (b"<p>not a page by name</p>", "a.txt", "<p>not a page by name</p>"),
        (pdf(), "a.pdf", "Harbour"),
        (pdf(), "whatever.txt", "Harbour"),
        (docx(), "a.docx", "Harbour"),
        (docx("<w:p><w:r><w:t>1. A_b (c) - d!</w:t></w:r></w:p>"), "a.docx", "1. A_b (c) - d!"),
        (b"<html><body>caf\xe9 <p>au lait", "a.html", "café\n\nau lait"),
        ("<html><meta charset=koi8-r><body>мир".encode("koi8-r"), "a.html", "мир"),
        (b"<?xml version='1.0' encoding='utf-8'?><html><body>one</body></html>", "a.xhtml", "one"),
    ],
    ids=named,
)
def test_what_can_be_read(data, name, text):
    assert convert(data, name).text == text


def test_a_page_comes_without_what_is_around_it():
    page = convert(HTML.encode(), "norrau.html", url="https://a.example/norrau")
    assert page.title.startswith("Norrau")
    assert page.published == "2024-05-01"
    assert "The harbour of Norrau opens at six o'clock" in page.text
    assert "6:00" in page.text
    for other in ("alert", "color", "Login", "<"):
        assert other not in page.text


def test_titles_come_from_the_document_and_else_from_its_name():
    assert convert(b"# The harbour #\n\nText", "a.md").title == "The harbour"
    assert convert(b"Text", "folder/my notes.txt").title == "my notes"
    assert convert(b"Text", "").title == "The file"


def test_what_is_too_long_is_cut_and_says_so():
    assert convert(b"word " * 100, "a.txt", characters=10) == module.Converted("a", "word word ", cut=True)
    assert convert(HTML.encode(), "a.html", characters=10).cut is True
    assert convert(pdf("A long text"), "a.pdf", characters=3).cut is True
    assert not convert(pdf("A long text"), "a.pdf").cut
    assert convert(pdf("A long text"), "a.pdf").pages == 1


@pytest.mark.parametrize(
    ("data", "name", "problem"),
    [
        (b"", "a.txt", "a.txt is empty"),
        (b" \n", "a.txt", "is empty"),
        (b"\0\1\2\3", "a.bin", "is no text"),
        (b"\x7fELF\2\1\1\0", "a.txt", "is no text"),
        (b"just text", "a.pdf", "is no PDF"),
        (b"%PDF-1.7\nrubbish", "a.pdf", "damaged or no real PDF"),
        (pdf()[:300], "a.pdf", "damaged or no real PDF"),
        (pdf(" "), "a.pdf", "holds no text, only pictures"),
        (encrypted(), "a.pdf", "is encrypted; save it without a password"),
        (b"PK\x03\x04rubbish", "a.docx", "damaged or no real DOCX"),
        (docx("<w:p>"), "a.docx", "damaged or no real DOCX"),
        (docx(""), "a.docx", "holds no text"),
        (docx()[:-40], "a.docx", "damaged or no real DOCX"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "a.doc", "old Office"),
        (docx(bomb=b"0" * 40_000_000), "a.docx", "unpacks to far more"),
        (b"<html><script>alert()</script></html>", "a.html", "holds no text"),
        (b"a" * (module.MAX_BYTES + 1), "a.txt", "larger than 16 MiB"),
    ],
    ids=named,
)  # fmt: skip
def test_what_cannot_be_read_is_said(data, name, problem):
    with pytest.raises(ConvertError, match=problem) as raised:
        convert(data, name)
    assert str(raised.value).startswith(name)


def test_an_archive_that_is_no_docx_is_said():
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("a.txt", "text")
    with pytest.raises(ConvertError, match="another kind of archive"):
        convert(written.getvalue(), "a.zip")


def test_entities_that_grow_do_not():
    entities = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + "".join(
        f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(10)
    )
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("word/document.xml", f"{entities}]><a>&k;</a>")
    with pytest.raises(ConvertError):
        convert(written.getvalue(), "a.docx")


@pytest.mark.parametrize(
    "data",
    [b"<div>" * 100_000 + b"deep", b"<" * 300_000 + b"deep", b"<table>" * 20_000 + b"deep", b"<p>deep</p>" * 20_000,
     b"<a href='" * 50_000 + b"'>deep", b"&" * 300_000 + b"deep", b"<![CDATA[" * 20_000 + b"<p>deep",
     b"<!--" * 20_000 + b"--><p>deep"],
    ids=lambda data: data[:8].decode(),
)  # fmt: skip
def test_hostile_pages_are_read_or_refused_in_time(data):
    began = time.monotonic()
    with contextlib.suppress(ConvertError):
        assert convert(b"<html>" + data, "a.html", seconds=5).text
    assert time.monotonic() - began < 5 + worker.START_SECONDS


@pytest.fixture
def hostile_worker(monkeypatch, tmp_path) -> Callable[[str], worker.Worker]:
    """A worker whose parser does what a test says, as a parser would that a document has taken over."""

    def start(body: str) -> worker.Worker:
        code = "from denken.search import formats\n"
        code += "def page(data, **_):\n" + "".join(f"    {line}\n" for line in body.splitlines())
        code += "formats.PARSERS = {'page': page}\nformats.warm_up = lambda: None\n"
        (tmp_path / "taken_over.py").write_text(code)
        popen = subprocess.Popen

        def changed(arguments, **options):
            arguments[-1] = "import taken_over; " + arguments[-1]
            options["env"]["PYTHONPATH"] += os.pathsep + str(tmp_path)
            return popen(arguments, **options)

        monkeypatch.setattr(worker.subprocess, "Popen", changed)
        return worker.Worker()

    return start


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("while True: pass", "took|killed|could not be read"),
        ("import time; time.sleep(100)", "took|could not be read"),
        ("return {'text': 'x' * 10**10}", "too much memory|could not be read"),
        ("import os; os.kill(os.getppid(), 9); return {'text': 'x'}", "EPERM|PermissionError"),
        ("open('/etc/passwd'); return {'text': 'x'}", "PermissionError"),
        ("import socket; socket.create_connection(('127.0.0.1', 80)); return {'text': 'x'}", "Error"),
        ("import os; os.fork(); return {'text': 'x'}", "Error"),
        ("import os; os._exit(0)", "could not be read"),
        ("import os; os.write(3, b'[' * 100_000); os._exit(0)", "could not be read"),
        ("import os; os.write(3, b'[1]'); os._exit(0)", "could not be read"),
    ],
)  # fmt: skip
@pytest.mark.skipif(sys.platform != "linux", reason="the locks are Linux's")
def test_a_parser_that_was_taken_over_can_do_nothing(hostile_worker, body, problem):
    one = hostile_worker(body)
    with pytest.raises(worker.ParseError, match=problem):
        one.parse("page", b"x", {}, seconds=1)
    with pytest.raises(worker.ParseError, match=problem):
        one.parse("page", b"x", {}, seconds=1)


def test_the_server_starts_again_where_it_was_killed():
    assert convert(pdf(), "a.pdf").text == "Harbour"
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    (line,) = [line for line in found.stdout.splitlines() if "search.worker" in line]
    os.kill(int(line.split()[0]), signal.SIGKILL)
    with contextlib.suppress(ConvertError):  # it may have been told to the one that is gone
        convert(pdf(), "a.pdf")
    assert convert(pdf(), "a.pdf").text == "Harbour"


def test_many_at_once_from_an_event_loop():
    async def all_at_once():
        return await asyncio.gather(*(converted(pdf(f"Text {n}"), "a.pdf") for n in range(12)))

    assert [one.text for one in asyncio.run(all_at_once())] == [f"Text {n}" for n in range(12)]
