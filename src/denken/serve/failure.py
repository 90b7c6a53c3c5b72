"""A request that ends in an error: the status, the sentence, and the words that either kind of client expects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

# OpenAI's clients choose an exception by the status; Anthropic's by the type as well.
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


class Failure(Exception):
    """Ends a request with a status and a sentence.

    param: the field that is at fault, as it was sent. code: what programs tell errors apart by. retry_after: seconds.
    headers: further ones of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after
        self.headers = headers or {}

    def record(self, path: str = "") -> dict[str, Any]:
        """The body, in the shape of the API that the path belongs to."""
        if is_anthropic(path):
            kind = _ANTHROPIC_TYPES.get(self.status, "api_error" if self.status >= 500 else "invalid_request_error")
            return {"type": "error", "error": {"type": kind, "message": self.message}}
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        error = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": error}

    def response(self, path: str = "") -> JSONResponse:
        response = JSONResponse(self.record(path), self.status, dict(self.headers))
        if self.retry_after is not None:
            response.headers["Retry-After"] = str(max(1, round(self.retry_after)))
        return response


def is_responses(path: str) -> bool:
    """Whether a path is that of OpenAI's responses, whose streams end otherwise than those of its completions."""
    return path in ("/v1/responses", "/responses")


def is_anthropic(path: str) -> bool:
    """Whether a path is one of Anthropic's API."""
    return path.startswith("/anthropic/") or path.startswith("/v1/messages")


def is_page(path: str) -> bool:
    """Whether a path is one that the page asks for alone, whose events each say what they are."""
    return path.startswith("/app/")


def store_failed() -> Failure:
    """The database cannot be used just now, whoever wanted something of it."""
    return Failure(
        503,
        "The server's store cannot be read or written just now; try again soon.",
        code="store_failed",
        retry_after=5,
    )
