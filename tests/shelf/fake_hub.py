"""A Hugging Face Hub on this machine: one repository, with ranges, gates and connections that break."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

NAME = "acme/small-1"


@dataclass
class Hub:
    """What the server does.

    files: the repository. revision: its commit. cut: file -> bytes after which the connection breaks, once.
    spoilt: files whose bytes are not those of the listing. gated, failing: everything is answered so.
    asked: (path, Range) of every request for a file.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    revision: str = "a" * 40
    cut: dict[str, int] = field(default_factory=dict)
    spoilt: set[str] = field(default_factory=set)
    gated: bool = False
    failing: int = 0
    url: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def put(self, folder: Path) -> None:
        self.files |= {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}

    def listing(self) -> dict:
        siblings = []
        for name, content in self.files.items():
            entry: dict = {"rfilename": name, "size": len(content)}
            entry["blobId"] = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            if name.endswith(".safetensors"):
                digest = hashlib.sha256(content).hexdigest()
                entry |= {"blobId": "0" * 40, "lfs": {"sha256": digest, "size": len(content), "pointerSize": 130}}
            siblings.append(entry)
        return {
            "id": NAME,
            "sha": self.revision,
            "private": False,
            "gated": self.gated,
            "tags": [],
            "siblings": siblings,
        }


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub, path = self.hub, self.path.partition("?")[0]
        if hub.failing:
            return self.answer(hub.failing, b"{}")
        if path.startswith(f"/api/models/{NAME}"):
            revision = path.partition("/revision/")[2]
            if revision not in ("", "main", hub.revision):
                return self.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return self.answer(200, json.dumps(hub.listing()).encode())
        if path.startswith("/api/"):
            return self.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        name = path.removeprefix(f"/{NAME}/resolve/{hub.revision}/")
        hub.asked.append((name, self.headers.get("Range")))
        if hub.gated:
            return self.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if name not in hub.files:
            return self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        return self.send(name, hub.files[name])

    def send(self, name: str, content: bytes) -> None:
        if name in self.hub.spoilt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        begin = int((self.headers.get("Range") or "bytes=0-")[6:].rstrip("-"))
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        stop = self.hub.cut.pop(name, len(content))
        self.wfile.write(content[begin:stop])
        if stop < len(content):
            self.close_connection = True

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
