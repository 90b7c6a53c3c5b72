"""Servers of other people that speak OpenAI's API: their address, our key to them, what they are and what they say.

What asking such a server for a reply to pass on (`serve/upstream`) and asking one for answers to learn from
(`train/teacher.py`) have in common, and nothing of how either asks. Nothing is connected to here.

Not trusted: proxies are not taken from the environment, certificates are checked, what they say is shown without
addresses, keys and control characters.
"""

from __future__ import annotations

import json
import os
import re
import ssl
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import httpx

from denken.errors import ConfigError

Kind = Literal["vllm", "sglang", "llamacpp", "ollama", "deepseek", "openai", "denken", "other"]
Record = dict[str, Any]

MESSAGE_CHARACTERS = 1000
# Longer than this nobody waits.
MOST_RETRY_SECONDS = 3600.0
_OWNERS: dict[str, Kind] = {
    "vllm": "vllm",
    "sglang": "sglang",
    "llamacpp": "llamacpp",
    "library": "ollama",
    "deepseek": "deepseek",
    "system": "openai",
    "openai-internal": "openai",
    "denken": "denken",
}
_HOSTS: dict[str, Kind] = {"openai.com": "openai", "deepseek.com": "deepseek"}
# These render a chat template, whose variables can be set.
TEMPLATED: frozenset[Kind] = frozenset({"vllm", "sglang", "llamacpp"})
_REASONS = re.compile(r"(o\d|gpt-([5-9]|\d\d))")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]+")
_ADDRESS = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)


def addresses(url: str, option: str = "--upstream") -> tuple[str, str]:
    """The address of the API and that of the server. One without a path gets /v1.

    option: what the address was given by, for the ConfigError that names it.
    """
    try:
        parts = urlsplit(url.strip())
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query:
        raise ConfigError(f"{option} {url[:100]!r} is no address; give one such as http://127.0.0.1:8000.")
    if parts.username is not None or parts.password is not None:
        key_option = f"{option}-key-env" if option.startswith("--") else "--key-env"
        raise ConfigError(f"{option} holds a password; put the key into a variable and name it: {key_option} NAME.")
    path = parts.path.rstrip("/")
    api = urlunsplit((parts.scheme, parts.netloc, path or "/v1", "", ""))
    return api, urlunsplit((parts.scheme, parts.netloc, (path or "/v1").rpartition("/")[0], "", ""))


def read_key(name: str | None, whose: str = "the upstream") -> str | None:
    """The key in an environment variable. Raises ConfigError where there is none."""
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise ConfigError(f"The environment variable {name} is empty; put the key of {whose} there.")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(f"The environment variable {name} holds no key: it has blanks or other odd characters.")
    return key


def headers(key: str | None) -> dict[str, str]:
    """Encodings are refused, so that no few bytes can unfold to many."""
    given = {"Accept-Encoding": "identity", "User-Agent": "denken"}
    return given | ({"Authorization": f"Bearer {key}"} if key else {})


def secrets(key: str | None, root: str) -> tuple[str, ...]:
    """What an error of the server must not show: our key and its address."""
    parts = urlsplit(root)
    # A bare name such as `vllm` gives nothing away, and may be a word of the sentence.
    host = parts.hostname if parts.hostname and set(".:") & set(parts.hostname) else None
    return tuple(filter(None, (key, root, parts.netloc, host)))


def kind_of(api: str, records: Sequence[Mapping[str, Any]]) -> Kind:
    """What a server is, by its host or by who it says owns its models. records: of its list of models."""
    host = urlsplit(api).hostname or ""
    for domain, kind in _HOSTS.items():
        if host == domain or host.endswith(f".{domain}"):
            return kind
    owners = [owner for record in records if isinstance(owner := record.get("owned_by"), str)]
    return next((_OWNERS[owner] for owner in owners if owner in _OWNERS), "other")


def context_of(record: Mapping[str, Any]) -> int | None:
    """The tokens that a listed model takes, under the name of vLLM and SGLang, denken and OpenRouter, or llama.cpp."""
    inner = record.get("meta")
    meta = inner if isinstance(inner, dict) else {}
    found = (record.get("max_model_len"), record.get("context_length"), meta.get("n_ctx"), meta.get("n_ctx_train"))
    return next((value for value in map(positive, found) if value), None)


def is_name(value: Any) -> bool:
    """Whether it can be what a model is called."""
    return isinstance(value, str) and 0 < len(value) <= 256 and value.isprintable() and value == whole_characters(value)


def positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**40 else None


def thinking_switch(thinking: bool, model: str, kind: Kind) -> Record:
    """Thinking on or off, in the kind's own words; nothing where it has none."""
    if kind in ("denken", "deepseek"):
        return {"thinking": {"type": "enabled" if thinking else "disabled"}}
    if kind in TEMPLATED:
        # Qwen's and GLM's templates read the first name, DeepSeek's and Granite's the second.
        return {"chat_template_kwargs": {"enable_thinking": thinking, "thinking": thinking}}
    if kind == "ollama" or reasons(model, kind):
        return {} if thinking else {"reasoning_effort": "none"}
    return {}


def reasons(model: str, kind: Kind) -> bool:
    """Whether it is one of OpenAI's that think."""
    return kind == "openai" and _REASONS.match(model) is not None


def most_tokens(count: int, kind: Kind) -> Record:
    """The limit of a reply. OpenAI's newer models refuse the old name, the others know the new one since lately or
    not at all."""
    return {"max_completion_tokens" if kind == "openai" else "max_tokens": count}


def blamed(message: str, extras: Mapping[str, Any]) -> set[str]:
    """Those of the fields beyond OpenAI's that a refused request's error seems to mean."""
    message = message.lower()
    if not any(word in message for word in ("chat_template", "thinking")):
        return set()
    return {name for name in extras if name in message} or set(extras)


def parse(data: bytes) -> Any:
    """JSON from elsewhere. Raises ValueError, for what is nested too deeply as well."""
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def said(body: Any, secrets: Collection[str]) -> tuple[str, str | None, str | None]:
    """Message, param and code of an error, wherever its kind of server puts them; secrets taken out."""
    record = body if isinstance(body, dict) else {}
    error = record.get("error", record)
    if isinstance(error, str):
        return clean(error, secrets), None, None
    if not isinstance(error, dict):
        return "", None, None
    message = error.get("message") or error.get("detail")
    param, code = error.get("param"), error.get("code")
    return (
        clean(message, secrets) if isinstance(message, str) else "",
        clean(param, secrets)[:100] if isinstance(param, str) else None,
        clean(code, secrets)[:100] if isinstance(code, str) else None,
    )


def clean(text: str, secrets: Collection[str]) -> str:
    """A sentence of theirs, fit to be shown: short, one line, without addresses and keys."""
    text = whole_characters(_CONTROLS.sub(" ", text[: 4 * MESSAGE_CHARACTERS]))
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "...")
    return _ADDRESS.sub("...", text)[:MESSAGE_CHARACTERS].strip()


def retry_seconds(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After header; a date, which few send, is not read."""
    if retry_after is None or not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", retry_after.strip()):
        return None
    return min(float(retry_after), MOST_RETRY_SECONDS)


def verify(url: str) -> ssl.SSLContext | bool:
    """What httpx checks certificates by."""
    # Making one takes milliseconds, which an unencrypted address need not pay.
    return _certificates() if url.startswith("https:") else False


def whole_characters(text: str) -> str:
    """JSON can hold half of a surrogate pair, where somebody cut a text in two; it cannot be sent back or encoded."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


@cache
def _certificates() -> ssl.SSLContext:
    """The authorities that httpx brings along, and those of this machine."""
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context
