"""The routes of one's own documents, under /app/library: add a file or a page, list, show, search, take away.

What a document is, whose it is and how it is found is in `denken.search.library`, how a file becomes text in
`denken.search.convert`, how a page comes here in `denken.search.fetch`. A page is fetched only where this server may go
to the web at all (`denken serve --web`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool

from denken.search.convert import Converted, ConvertError, converted
from denken.search.fetch import FILES, FetchError
from denken.search.library import Document, LibraryError
from denken.search.tool import Searcher
from denken.serve.failure import Failure
from denken.serve.fields import Lenient, whole_characters
from denken.serve.turn import Record

Result = TypeVar("Result")

MOST_NAME = 200
MOST_HITS = 20
PAGE_SECONDS = 20.0
PAGE_BYTES = 16 * 2**20

Id = Annotated[str, Path(max_length=64)]
# FastAPI sees no body where a route reads it by itself.
_BODY = {
    "required": True,
    "content": {
        "application/octet-stream": {"schema": {"type": "string"}},
        "application/json": {
            "schema": {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
        },
    },
}


class PageRequest(Lenient):
    """A page that is to be added, by its address."""

    url: Annotated[str, Field(min_length=1, max_length=2000)]


def add_routes(api: APIRouter, searcher: Searcher) -> None:
    """For a searcher without a library, there are none."""
    library = searcher.library
    if library is None:
        return

    async def documents(request: Request) -> Record:
        """The caller's documents and everybody's, newest first."""
        owner = request.state.caller.key
        found = await _run(lambda: library.documents(owner))
        return {"documents": [_record(document, owner) for document in found]}

    async def add(
        request: Request,
        name: Annotated[str | None, Query(min_length=1, max_length=MOST_NAME, description="Of the file.")] = None,
    ) -> Record:
        """Takes a file's bytes as the body, with its name; or, without a name, JSON with the address of a page."""
        owner, body = request.state.caller.key, await request.body()
        if name is None:
            source = _url(body)
            read = await _page(searcher, source)
        else:
            source = " ".join(whole_characters(name).split()) or "file"
            read = await _converted(body, source)
        return _record(await _run(lambda: library.add(read.title, read.text, source, owner=owner)), owner)

    async def search(
        request: Request, q: Annotated[str, Query(max_length=1000, description="Any of these words.")]
    ) -> Record:
        """The passages that a model would get for these words, best first."""
        owner, query = request.state.caller.key, whole_characters(q)
        hits = await _run(lambda: library.search(query, owner, most=MOST_HITS, each=3))
        shown = ("title", "heading", "text")
        return {
            "hits": [{"document": str(hit.document)} | {field: getattr(hit, field) for field in shown} for hit in hits]
        }

    async def show(request: Request, id: Id) -> Record:
        """A document with its text."""
        owner = request.state.caller.key
        number = _number(id)
        found = await _run(lambda: library.get(number, owner))
        if found is None:
            raise _no_document()
        document, text = found
        return _record(document, owner) | {"text": text}

    async def remove(request: Request, id: Id) -> Record:
        """Takes away a document of one's own."""
        owner, number = request.state.caller.key, _number(id)
        if not await _run(lambda: library.remove(number, owner)):
            if await _run(lambda: library.get(number, owner)) is None:
                raise _no_document()
            raise Failure(
                403,
                "This document is everybody's; only the owner of the machine takes it away: denken library remove",
                code="not_yours",
            )
        return {"id": id, "object": "document", "deleted": True}

    api.add_api_route("/app/library", documents, methods=["GET"])
    api.add_api_route("/app/library", add, methods=["POST"], openapi_extra={"requestBody": _BODY})
    api.add_api_route("/app/library/search", search, methods=["GET"])
    api.add_api_route("/app/library/{id}", show, methods=["GET"])
    api.add_api_route("/app/library/{id}", remove, methods=["DELETE"])


async def _run(work: Callable[[], Result]) -> Result:
    """Off the event loop. Raises Failure 400 for what the library refuses, 503 where its file cannot be used."""
    try:
        return await run_in_threadpool(work)
    except LibraryError as error:
        raise Failure(400, str(error), code="not_added") from error
    except (sqlite3.Error, OSError) as error:
        raise Failure(
            503, "The library cannot be read or written just now; try again soon.", code="store_failed", retry_after=5
        ) from error


async def _converted(body: bytes, name: str, **options: Any) -> Converted:
    try:
        return await converted(body, name, **options)
    except ConvertError as error:
        raise Failure(400, str(error), code="not_readable") from error


async def _page(searcher: Searcher, url: str) -> Converted:
    if searcher.web is None:
        raise Failure(
            400, "This server does not go to the web; start it with --web, or add a file.", param="url", code="no_web"
        )
    try:
        page = await searcher.fetcher.get(url, media_types=FILES, max_bytes=PAGE_BYTES, seconds=PAGE_SECONDS)
    except FetchError as error:
        raise Failure(400, str(error), param="url", code="not_fetched") from error
    return await _converted(page.body, page.url, media_type=page.media_type, url=page.url)


def _url(body: bytes) -> str:
    try:
        return PageRequest.model_validate_json(body).url.strip()
    except ValidationError:
        raise Failure(
            400,
            'Send a file with its ?name=, or JSON with the address of a page: {"url": "https://..."}.',
            code="no_file",
        ) from None


def _record(document: Document, owner: str | None) -> Record:
    return {
        "id": str(document.id),
        "title": document.title,
        "source": document.source,
        "added": document.added,
        "characters": document.characters,
        "passages": document.passages,
        "own": document.owner == owner,
    }


def _number(id: str) -> int:
    """Raises Failure 404 for what no document is called."""
    if not (id.isascii() and id.isdigit() and len(id) < 19):
        raise _no_document()
    return int(id)


def _no_document() -> Failure:
    return Failure(404, "There is no such document.", code="no_document")
