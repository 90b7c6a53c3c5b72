"""The model as a file for the browser, which then answers without this server: what there is of it, and the file.

    GET /app/device                 the model's name, context, sampling, control ids; the file's address, size, digest
    GET /app/device/{digest}.gguf   the file, kept by browsers for good: its digest is its name

The file is made when it is asked for the first time, and lies beside the store from then on, under a digest of what it
was made from. How it is made is not known here (`denken.export.gguf`, which whoever starts the server hands over), and
neither is what browsers do with it (docs/device.md).
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, Response

import denken
from denken.chat.template import ASSISTANT, BOS, END_THINK, EOS, THINK, USER
from denken.errors import DenkenError
from denken.serve.failure import Failure
from denken.serve.speaker import Speaker
from denken.serve.turn import Record
from denken.tokenizer import Tokenizer

log = logging.getLogger(__name__)

MOST_BYTES = 20 * 10**6
# What is larger than this on disk, in fp32 at the most, does not become a file that small.
MOST_SOURCE_BYTES = 4 * MOST_BYTES
# A phone holds a cache for so many tokens.
MOST_CONTEXT = 4096
# What the browser renders a conversation with.
NEEDED = (BOS, EOS, USER, ASSISTANT, THINK, END_THINK)
SOURCES = ("*.safetensors", "*.json", "*.jinja", "README.md")
# The digest stands in the address, and behind a key the file is nobody else's.
FOR_GOOD = "private, max-age=31536000, immutable"


@dataclass(frozen=True)
class Made:
    """The file. digest: SHA-256 of its bytes, in hexadecimal digits."""

    path: Path
    size: int
    digest: str


class Device:
    """A model that may be taken along. Its methods block, and may be called from any thread.

    folder: the model's. kept: a folder for the files, which need not be there yet. make: writes the model of a folder
    to a new file, or raises a DenkenError.
    """

    def __init__(
        self, speaker: Speaker, tokenizer: Tokenizer, folder: Path, kept: Path, make: Callable[[Path, Path], object]
    ):
        self._speaker, self._tokenizer, self._folder, self._kept, self._make = speaker, tokenizer, folder, kept, make
        self._lock = threading.Lock()
        self._made: Made | None = None
        self._problem = self._why_not()

    @property
    def offers(self) -> bool:
        """Whether there is, or may be, a file."""
        return self._problem is None

    def made(self) -> Made:
        """The file, made if it is not there. Raises Failure 404 where there can be none."""
        with self._lock:
            if self._made is not None and not self._made.path.is_file():
                self._made = None  # somebody has tidied up
            if self._made is None and self._problem is None:
                try:
                    self._made = self._find() or self._write()
                except (DenkenError, OSError) as error:
                    log.warning("No file of %s for browsers: %s", self._speaker.name, error)
                    self._problem = f"No file of this model can be made for browsers: {error}"
            if self._made is None:
                raise Failure(404, self._problem or "", code="no_device_model")
            return self._made

    def record(self) -> Record:
        """What a browser has to know to answer by itself. Raises as `made` does."""
        made, speaker = self.made(), self._speaker
        sampling = speaker.defaults
        return {
            "id": speaker.name,
            "context": min(speaker.context, MOST_CONTEXT),
            "about": speaker.about.model_dump(),
            "languages": sorted(speaker.about.summary),
            "sampling": {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "min_p")},
            "controls": dict(self._tokenizer.control_ids),
            "file": {"url": f"/app/device/{made.digest}.gguf", "bytes": made.size, "sha256": made.digest},
        }

    def _why_not(self) -> str | None:
        """What is known before anything is made."""
        size = sum(path.stat().st_size for path in self._folder.glob("*.safetensors"))
        if size > MOST_SOURCE_BYTES:
            return f"The model is too large for a browser: its weights have {size / 1e6:.0f} MB."
        lacking = [name for name in NEEDED if not self._tokenizer.has_control(name)]
        if lacking:
            return f"The model's vocabulary lacks {lacking[0]}, with which browsers render a conversation."
        return None

    def _find(self) -> Made | None:
        """The file that an earlier server has made of the same sources, unless it is damaged."""
        for path in self._kept.glob(f"{self._source()}-*.gguf"):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if path.name == self._name(digest):
                return Made(path, path.stat().st_size, digest)
            path.unlink(missing_ok=True)
        return None

    def _write(self) -> Made:
        """Its name says what is in it, so it is written under another one first."""
        self._kept.mkdir(parents=True, exist_ok=True)
        unfinished = self._kept / f".{uuid.uuid4().hex}.gguf"
        try:
            self._make(self._folder, unfinished)
            content = unfinished.read_bytes()
            if len(content) > MOST_BYTES:
                raise OSError(f"it would have {len(content) / 1e6:.0f} MB, and {MOST_BYTES / 1e6:.0f} are the most")
            digest = hashlib.sha256(content).hexdigest()
            path = self._kept / self._name(digest)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
        return Made(path, len(content), digest)

    def _name(self, digest: str) -> str:
        return f"{self._source()}-{digest[:16]}.gguf"

    def _source(self) -> str:
        """A digest of everything that the file is made from, and of who makes it."""
        found = hashlib.sha256(denken.__version__.encode())
        for path in sorted({path for pattern in SOURCES for path in self._folder.glob(pattern)}):
            found.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return found.hexdigest()[:16]


def add_routes(api: APIRouter, device: Device | None) -> None:
    """device: None where this server has no model for browsers; the routes then say so."""

    def ours() -> Device:
        if device is None:
            raise Failure(404, "This server has no model that a browser could take along.", code="no_device_model")
        return device

    async def told() -> Record:
        """What there is to take along; a file that was never asked for is made first."""
        return await run_in_threadpool(ours().record)

    async def file(request: Request, digest: str) -> Response:
        made = await run_in_threadpool(ours().made)
        if digest != made.digest:
            raise Failure(404, "This server has another model by now; ask GET /app/device.", code="no_device_model")
        headers = {"Cache-Control": FOR_GOOD, "ETag": f'"{digest}"'}
        if headers["ETag"] in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return FileResponse(made.path, media_type="application/octet-stream", headers=headers)

    api.add_api_route("/app/device", told, methods=["GET"])
    binary: Record = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    api.add_api_route("/app/device/{digest}.gguf", file, methods=["GET"], response_model=None, responses={200: binary})
