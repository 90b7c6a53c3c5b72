"""Errors of a server upstream as errors of ours: its sentence goes on to the asker, its address and our key do not.

What the asker did wrong keeps its status. What is between that server and us (our key, our account there, a wrong
address) is not the asker's, who gets 502 and a sentence for whoever runs this server, whose log says more.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection
from typing import Any

from denken.remote import clean as clean
from denken.remote import retry_seconds
from denken.remote import said as said
from denken.serve.failure import Failure

log = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
_THE_ASKERS = {400, 404, 409, 413, 422}
_CONTEXT = re.compile(r"context.{0,3}(length|window|size)|maximum context|exceed\w* .{0,40}context", re.IGNORECASE)


def unreachable(model: str) -> Failure:
    return Failure(
        503,
        f"No server that has {model} can be reached; try again soon.",
        code="upstream_unreachable",
        retry_after=RETRY_SECONDS,
    )


def too_slow(what: str) -> Failure:
    return Failure(504, f"The server upstream {what} in time; try again later.", code="upstream_timeout")


def broken(what: str) -> Failure:
    """what: the end of the sentence "The server upstream ..."."""
    return Failure(502, f"The server upstream {what}.", code="upstream_broken")


def of_status(status: int, body: Any, retry_after: str | None, secrets: Collection[str]) -> Failure:
    """The failure for a response that is none of success. body: its JSON, or None. secrets: what nobody may see."""
    message, param, code = said(body, secrets)
    seconds = retry_seconds(retry_after)
    if status in _THE_ASKERS:
        return _the_askers(status, message or "The server upstream refused the request.", param, code)
    if status in (401, 403):
        return _ours("refused our key; whoever runs this server should look at its --upstream-key-env", message)
    if status == 402:
        return _ours("says that the account there is empty; whoever runs this server should fill it up", message)
    if status == 429:
        text = message or "The server upstream has too many requests; try again later."
        return Failure(429, text, code="upstream_rate_limit", retry_after=seconds or RETRY_SECONDS)
    if status in (503, 529):
        text = message or "The server upstream is overloaded; try again soon."
        return Failure(503, text, code="upstream_overloaded", retry_after=seconds or RETRY_SECONDS)
    if status in (408, 504):
        return too_slow("did not answer")
    if 300 <= status < 400:
        return _ours("redirects, which is not followed; --upstream should be the address that it leads to", message)
    if status < 500:
        return _ours(f"does not know such requests (status {status}); is --upstream its OpenAI API?", message)
    return _ours(f"failed with status {status}; try again later", message)


def in_stream(error: Any, secrets: Collection[str]) -> Failure:
    """The failure for an error that came as an event, after the status."""
    message, param, code = said({"error": error}, secrets)
    status = error.get("code") if isinstance(error, dict) else None
    if status in _THE_ASKERS:
        return _the_askers(int(status), message or "The server upstream refused the request.", param, code)
    return Failure(502, message or "The server upstream broke off with an error.", code="upstream_failed")


def _the_askers(status: int, message: str, param: str | None, code: str | None) -> Failure:
    if _CONTEXT.search(message) or code == "context_length_exceeded":
        return Failure(400, message, param="messages", code="context_length_exceeded")
    return Failure(status, message, param=param, code=code)


def _ours(what: str, message: str) -> Failure:
    log.warning("A server upstream %s. It said: %s", what, message or "nothing")
    return broken(what)
