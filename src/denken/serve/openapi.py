"""What `/openapi.json` says beyond what FastAPI sees by itself: how errors look, and what answers by events.

FastAPI describes paths and bodies from the functions that answer. It cannot know that every error here has the shape of
the API that its path belongs to, and would announce a 422 that is never sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI

from denken.serve.failure import is_anthropic

Json = dict[str, Any]

TEXT = {"type": "string"}
NULLABLE = {"anyOf": [TEXT, {"type": "null"}]}
SCHEMAS: Json = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {"message": TEXT, "type": TEXT, "param": NULLABLE, "code": NULLABLE},
            }
        },
    },
    "AnthropicError": {
        "type": "object",
        "required": ["type", "error"],
        "properties": {
            "type": {"const": "error"},
            "error": {
                "type": "object",
                "required": ["type", "message"],
                "properties": {"type": TEXT, "message": TEXT},
            },
        },
    },
}
EVENTS: Json = {}  # the description's words cannot say what the data of events is
STREAM = "/v1/streams/{stream}"
TURNS = "/app/conversations/{id}/turns"


def describe(app: FastAPI, models: Iterable[str]) -> None:
    """From now on the application's description of itself is complete. models: the names that requests may give."""
    plain = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain(), sorted(models))
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _completed(document: Json, models: list[str]) -> Json:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for gone in ("HTTPValidationError", "ValidationError"):
        schemas.pop(gone, None)
    for schema in schemas.values():
        if "model" in schema.get("properties", {}):
            required = "model" in schema.get("required", ())
            schema["properties"]["model"] = {"enum": models if required else [*models, None]}
    schemas |= SCHEMAS
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    # A server for its own machine asks for no key.
    document["security"] = [{}, {"key": []}]
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(path, operation, schemas)
    return document


def _complete(path: str, operation: Json, schemas: Json) -> None:
    answers = operation["responses"]
    answers.pop("422", None)
    name = "AnthropicError" if is_anthropic(path) else "Error"
    error = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    answers["4XX"] = {"description": "The request is refused; the message says why.", "content": error}
    answers["5XX"] = {"description": "The server is full, ending or failing; the message says which.", "content": error}
    if path == TURNS:
        answers["200"]["content"] = {"text/event-stream": EVENTS}
    if path == STREAM and "Go On" in operation["summary"]:
        answers["200"]["content"] = {"text/event-stream": EVENTS}
        answers["204"] = {"description": "Everything of the stream has been seen."}
    elif _streams(operation, schemas):
        answers["200"]["content"]["text/event-stream"] = EVENTS
    if path == "/metrics":
        answers["200"]["content"] = {"text/plain": {"schema": TEXT}}
    if path == "/health":
        answers["503"] = {**answers["200"], "description": "The server is ending, or no upstream answers."}


def _streams(operation: Json, schemas: Json) -> bool:
    """Whether the body has a field `stream`."""
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    name = str(body.get("$ref", "")).rpartition("/")[2]
    return "stream" in schemas.get(name, {}).get("properties", {})
